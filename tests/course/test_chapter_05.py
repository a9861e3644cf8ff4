"""Chapter 05: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from dmws_lite.course import check
from dmws_lite.method.distillation import Distillation, momentum_of, soft_loss

GIVEN = {"05.1": {}, "05.2": {}, "05.3": {}, "05.4": {"steps": 400}, "05.5": {}}
ODD = ["a text", [], 7, float("nan"), {"a": 1}, np.zeros((2, 2)), object(), lambda *arguments: "text"]


def kl(z, target, T):
    p, q = softmax(target / T, axis=1), softmax(z / T, axis=1)
    return (p * np.log(p / q)).sum(1)


def cross_entropy(z, target):
    return -(softmax(target, axis=1) * np.log(softmax(z, axis=1))).sum(1)


def by_torch(z, target, T):
    """A gradient that itself requires one."""
    return torch.tensor(T * (softmax(z / T) - softmax(target / T)), requires_grad=True)


def heeding(**settings):
    return Distillation(**{"alpha": 0.9, "alpha_warmup": 0.0, **settings})


def test_right_answers():
    right = [
        check("05.1", lambda z, target, T: T**2 * kl(z, target, T).mean()),
        check("05.1", lambda z, target, T: soft_loss(torch.tensor(z), torch.tensor(target), T)),
        check("05.2", lambda z, target, T: T * (softmax(z / T) - softmax(target / T))),
        check("05.2", lambda z, target, T: list(T * (softmax(z / T) - softmax(target / T)))),
        check("05.2", by_torch),
        check("05.3", lambda age, m: (1 - m) * m**age),
        check("05.4", heeding(momentum=momentum_of(6)), steps=400),
        check("05.4", heeding(half_life=0.015), steps=400),
        check("05.4", heeding(momentum=momentum_of(5)), steps=400),
        check("05.4", heeding(half_life=5 / 400), steps=400),
        check("05.5", {"ema", "kd"}),
        check("05.5", ["kd", "ema"]),
        check("05.5", np.array(["KD", "ema"])),
        check("05.5", ("kd", "ema")),
    ]
    assert [verdict.state for verdict in right] == ["right"] * len(right)


def test_stubs_are_open():
    def stub(*arguments):
        return ...

    assert [check(f"05.{i}", stub).state for i in (1, 2, 3)] == ["open"] * 3
    assert check("05.4", ..., steps=400).state == check("05.4", None, steps=400).state == "open"
    assert check("05.5", ...).state == check("05.5", None).state == "open"


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("answer", ODD, ids=lambda answer: type(answer).__name__)
def test_odd_answers_are_wrong_and_no_error(number, answer):
    assert check(f"05.{number}", answer, **({"steps": 400} if number == 4 else {})).state == "wrong"


@pytest.mark.parametrize(
    ("soft", "part"),
    [
        (lambda z, target, T: T**2 * kl(target, z, T).mean(), "T = 1: the two sides are exchanged"),
        (lambda z, target, T: T**2 * kl(z, target, T).sum(), "sum over the images"),
        (lambda z, target, T: T**2 * kl(z, target, T).mean() / 3, "mean over images and classes"),
        (lambda z, target, T: -(T**2) * kl(z, target, T).mean(), "never negative"),
        (lambda z, target, T: kl(z, target, T).mean(), "T = 3: the factor T² is missing"),
        (lambda z, target, T: T * kl(z, target, T).mean(), "not its square"),
        (lambda z, target, T: kl(z, target, 1).mean(), "not divided by T"),
        (lambda z, target, T: T**2 * kl(z, target, 1).mean(), "not divided by T"),
        (lambda z, target, T: T**2 * kl(z, target, T), "is no number"),
        (lambda z, target, T: T**2 * cross_entropy(z / T, target / T).mean(), "own entropy"),
        (lambda z: z, "TypeError"),
    ],
)
def test_mistakes_about_the_soft_loss(refused, soft, part):
    refused("05.1", soft, part=part)


@pytest.mark.parametrize(
    ("gradient", "part"),
    [
        (lambda z, target, T: T * (softmax(target / T) - softmax(z / T)), "opposite sign"),
        (lambda z, target, T: softmax(z / T) - softmax(target / T), "T = 3: your gradient lacks a factor"),
        (lambda z, target, T: T**2 * (softmax(z / T) - softmax(target / T)), "one factor too many"),
        (lambda z, target, T: T * (softmax(z) - softmax(target)), "does not divide"),
        (lambda z, target, T: z - target, "compare with what autograd finds"),
        (lambda z, target, T: 1.0, "the number 1, where a list or an array of 3 numbers"),
        (lambda z, target, T: z * np.nan, "no finite numbers"),
    ],
)
def test_mistakes_about_the_gradient(refused, gradient, part):
    refused("05.2", gradient, part=part)


@pytest.mark.parametrize(
    ("weight", "part"),
    [
        (lambda age, m: m**age, "add up to 1"),
        (lambda age, m: (1 - m) * m ** (age + 1), "age 0 is the newest"),
        (lambda age, m: m * (1 - m) ** age, "exchanged"),
        (lambda age, m: 1 - m, "weight(1, 0.9)"),
    ],
)
def test_mistakes_about_the_average(refused, weight, part):
    refused("05.3", weight, part=part, secrets=["(1 - m) * m", "0.09 "])


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        (heeding(momentum=0.99), "at most a tenth"),
        (heeding(momentum=0.5), "an average this short"),
        (heeding(momentum=0.0), "an average this short"),
        (heeding(auxiliary_update="frozen"), "does not listen to a moving average"),
        (heeding(alpha=0.5, momentum=momentum_of(6)), "α is 0.5 here"),
        (heeding(strategy="none"), "does not listen to a moving average"),
        (heeding(alpha_warmup=1.0, momentum=momentum_of(6)), "α still rises"),
        (0.89, "no settings"),
    ],
)
def test_mistakes_about_settings(refused, settings, part):
    refused("05.4", settings, part=part, steps=400)


@pytest.mark.parametrize(
    ("names", "part"),
    [
        ({"ema"}, "at least one more"),
        ({"ema", "kd", "cs_kd"}, "cs_kd: look at"),
        ("ema", "no list of names"),
    ],
)
def test_mistakes_about_strategies(refused, names, part):
    refused("05.5", names, part=part, secrets=["'kd'", "ema and kd"])


def test_a_name_that_is_no_strategy_hears_all_that_are(refused):
    refused("05.5", {"ema", "teacher"}, part="'teacher' is none of the options: choose from 'ema'")
