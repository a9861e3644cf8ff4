"""Checks of chapter 05, self-distillation."""

import math

import numpy as np
from scipy.special import softmax

from dmws_lite.course.answers import Open, call_function, compare, names, reject
from dmws_lite.method.distillation import STRATEGIES, half_life_of

LOGITS = np.array([[2.0, 0.5, -1.0], [0.2, 0.1, 1.3], [-0.4, 2.2, 0.0], [0.9, -0.7, 0.3]])
TARGETS = np.array([[1.0, 1.5, -0.5], [0.0, -0.3, 2.1], [0.6, 1.1, 0.4], [-0.2, 0.8, 1.9]])


def exercise_1(soft):
    """The soft part of the loss: a function of the student's logits, the target's logits and the temperature."""
    for temperature in (1.0, 3.0):
        right, hard = _soft_loss(LOGITS, TARGETS, temperature), _soft_loss(LOGITS, TARGETS, 1.0)
        mistakes = {
            "exchanged": _soft_loss(TARGETS, LOGITS, temperature),
            "total": right * len(LOGITS),
            "undivided": hard,
            "undivided_with_factor": temperature**2 * hard,
            "entropy": _soft_loss(LOGITS, TARGETS, temperature, entropy=True),
            "sign": -right,
            "no_factor": right / temperature**2,
            "no_axis": _soft_loss(LOGITS, TARGETS, temperature, axis=None),
        }
        answer = call_function(soft, LOGITS.copy(), TARGETS.copy(), temperature)
        compare(answer, right, f"T = {temperature:g}", 1e-4, **mistakes)


def exercise_2(gradient):
    """The gradient of one image's soft loss with respect to the student's logits, as a function of both and T."""
    for temperature in (1.0, 3.0):
        z, target = LOGITS[0], TARGETS[0]
        right = temperature * (softmax(z / temperature) - softmax(target / temperature))
        undivided = softmax(z) - softmax(target)
        mistakes = {
            "sign": -right,
            "no_factor": right / temperature,
            "two_factors": right * temperature,
            "undivided": undivided,
            "undivided_with_factor": temperature * undivided,
        }
        answer = call_function(gradient, z.copy(), target.copy(), temperature)
        compare(answer, right, f"T = {temperature:g}", 1e-4, 1e-6, otherwise="autograd", **mistakes)


def exercise_4(settings, *, steps):
    """Settings that need no warm-up of alpha: the average forgets its start early, and still is an average."""
    if settings is None:
        raise Open
    reject(settings.strategy != "ema" or settings.auxiliary_update != "ema" or settings.alpha == 0, "no_average")
    reject(not math.isclose(settings.alpha, 0.9), "alpha", alpha=settings.alpha)
    reject(settings.alpha_warmup, "warmup")
    reject(not math.isclose(settings.alpha_at(steps - 1, steps), 0.9), "changes")
    left = math.prod(settings.momentum_at(step, steps, epoch=1) for step in range(20))
    reject(left > 0.1 + 1e-6, "slow", left=left)
    half_life = half_life_of(settings.momentum_at(0, steps, epoch=1))
    reject(half_life < 5 - 1e-6, "short", half_life=half_life)
    return {"left": left, "half_life": half_life}


def exercise_5(needing):
    """The strategies that need a second network."""
    chosen = names(needing, list(STRATEGIES))
    right = {name for name, strategy in STRATEGIES.items() if "targets" in strategy.__code__.co_names}  # of `Step`
    for name in sorted(chosen - right):
        reject(True, "alone", name)
    reject(chosen != right, "missing")


def _soft_loss(z, target, temperature, entropy=False, axis=1):
    p, q = softmax(target / temperature, axis), softmax(z / temperature, axis)
    return float(temperature**2 * (p * np.log((1 if entropy else p) / q)).sum(1).mean())
