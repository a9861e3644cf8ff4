import numpy as np
import torch
from scipy.special import softmax

from dmws_lite.method.distillation import Distillation, momentum_of, soft_loss


def kl(z, target, T):
    p, q = softmax(target / T, axis=1), softmax(z / T, axis=1)
    return (p * np.log(p / q)).sum(1)


def cross_entropy(z, target):
    return -(softmax(target, axis=1) * np.log(softmax(z, axis=1))).sum(1)


def gradient(z, target, T):
    return T * (softmax(z / T) - softmax(target / T))


def by_autograd(z, target, T):
    logits = torch.tensor(z[None], requires_grad=True)
    soft_loss(logits, torch.tensor(target[None]), T).backward()
    return logits.grad[0]


def settings(**changed):
    return Distillation(**{"alpha": 0.9, "alpha_warmup": 0.0, **changed})


GIVEN = {"05.4": {"steps": 400}}
RIGHT = {
    "05.1": [
        lambda z, target, T: T**2 * kl(z, target, T).mean(),
        lambda z, target, T: soft_loss(torch.tensor(z), torch.tensor(target), T),
    ],
    "05.2": [gradient, by_autograd],
    "05.3": [lambda age, m: (1 - m) * m**age],
    "05.4": [
        *(settings(momentum=momentum_of(6)), settings(momentum=momentum_of(5))),
        *(settings(half_life=0.015), settings(half_life=5 / 400), settings(half_life_epochs=6)),
    ],
    "05.5": [{"ema", "kd"}, np.array(["KD", "ema"]), ("kd", "ema")],
}
WRONG = {
    "05.1": [
        (lambda z, target, T: T**2 * kl(target, z, T).mean(), "T = 1: the two sides are exchanged"),
        (lambda z, target, T: T**2 * kl(z, target, T).sum(), "sum over the images"),
        (lambda z, target, T: -(T**2) * kl(z, target, T).mean(), "never negative"),
        (lambda z, target, T: kl(z, target, T).mean(), "T = 3: the factor T² is missing"),
        (lambda z, target, T: kl(z, target, 1).mean(), "not divided by T"),
        (lambda z, target, T: T**2 * kl(z.reshape(1, -1), target.reshape(1, -1), T).sum() / len(z), "take `axis=1`"),
        (lambda z, target, T: T**2 * cross_entropy(z / T, target / T).mean(), "own entropy"),
    ],
    "05.2": [
        (lambda *given: -gradient(*given), "opposite sign"),
        (lambda z, target, T: gradient(z, target, T) / T, "T = 3: your gradient lacks a factor"),
        (lambda z, target, T: gradient(z, target, T) * T, "one factor too many"),
        (lambda z, target, T: T * (softmax(z) - softmax(target)), "does not divide"),
        (lambda z, target, T: z - target, "compare with what autograd finds"),
    ],
    "05.3": [(lambda age, m: 1 - m, "weight(1, 0.9)")],
    "05.4": [
        *((settings(momentum=0.99), "at most a tenth"), (settings(momentum=0.5), "so short an average")),
        (settings(auxiliary_update="frozen"), "does not learn from a moving average"),
        (settings(alpha=0.5, momentum=momentum_of(6)), "α is 0.5 here"),
        (settings(alpha_warmup=1.0, momentum=momentum_of(6)), "α still rises"),
        (settings(alpha_until=0.01, momentum=momentum_of(6)), "α falls again"),
    ],
    "05.5": [
        ({"ema"}, "at least one more"),
        ({"ema", "kd", "cs_kd"}, "cs_kd: look at"),
        ({"ema", "teacher"}, "'teacher' is none of the options: choose from 'ema'"),
    ],
}
SECRETS = {"05.3": ("(1 - m) * m", "0.09 "), "05.5": ("ema and kd",)}
