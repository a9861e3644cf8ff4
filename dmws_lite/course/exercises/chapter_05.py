"""Checks of chapter 05, self-distillation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from dmws_lite.course.answers import Open, Wrong, array, called, compared, kind, names
from dmws_lite.method.distillation import STRATEGIES, Distillation, Step, half_life_of, soft_loss

LOGITS = np.array([[2.0, 0.5, -1.0], [0.2, 0.1, 1.3], [-0.4, 2.2, 0.0], [0.9, -0.7, 0.3]])
TARGETS = np.array([[1.0, 1.5, -0.5], [0.0, -0.3, 2.1], [0.6, 1.1, 0.4], [-0.2, 0.8, 1.9]])
CASES = ((1.0, "T = 1"), (3.0, "T = 3"))


def exercise_1(soft: Any) -> str:
    """The soft part of the loss: a function of the student's logits, the target's logits and the temperature."""
    for temperature, case in CASES:
        found = called(soft, LOGITS.copy(), TARGETS.copy(), temperature)
        right = _soft(LOGITS, TARGETS, temperature)
        mistakes = {
            _soft(TARGETS, LOGITS, temperature): "the two sides are exchanged: the target's distribution comes first",
            right * len(LOGITS): "this is the sum over the images; the mean is asked for",
            right / LOGITS.shape[1]: "this is the mean over images and classes; sum over the classes",
            _soft(LOGITS, TARGETS, 1.0): "the logits are not divided by T",
            _soft(LOGITS, TARGETS, temperature, entropy=True): "the target's own entropy is still in it",
            -right: "the sign is wrong: a divergence is never negative",
        }
        if temperature != 1:
            mistakes |= {
                right / temperature**2: "the factor T² is missing",
                right / temperature: "this has the factor T, not its square",
                temperature**2 * _soft(LOGITS, TARGETS, 1.0): "the logits are not divided by T",
            }
        compared(found, right, mistakes, case, relative=1e-4)
    return "It is zero only where both agree, and the package's `soft_loss` gives the same."


def exercise_2(gradient: Any) -> str:
    """The gradient of one image's soft loss with respect to the student's logits, as a function of both and T."""
    for temperature, case in CASES:
        z, target = LOGITS[0], TARGETS[0]
        found = array(called(gradient, z.copy(), target.copy(), temperature), z.shape, name=f"{case}: your gradient")
        right = _autograd(z, target, temperature)
        for wrong, text in (
            (-right, "has the opposite sign: the step goes against the gradient"),
            (right / temperature, "lacks a factor: which one does the chain rule leave of T²?"),
            (right * temperature, "has one factor too many: the chain rule takes one away from T²"),
            (temperature * (softmax(z) - softmax(target)), "does not divide the logits by T"),
            (softmax(z) - softmax(target), "does not divide the logits by T"),
        ):
            if not np.allclose(wrong, right) and np.allclose(found, wrong):
                raise Wrong(f"{case}: your gradient {text}")
        if not np.allclose(found, right, rtol=1e-4, atol=1e-6):
            raise Wrong(f"{case}: compare with what autograd finds for `soft_loss`")
    return (
        "For a large T the difference of the two softmaxes shrinks as 1/T, so the product hardly depends on T: that is "
        "what T² is for."
    )


def exercise_3(weight: Any) -> str:
    """The weight in the moving average of the main student as it was some updates ago."""
    for age, m in ((0, 0.9), (1, 0.9), (10, 0.99)):
        case = f"weight({age}, {m})"
        right = (1 - m) * m**age
        mistakes = {
            m**age: "these are not weights of an average yet: with the start's they must add up to 1",
            (1 - m) * m ** (age + 1): "one update too many: age 0 is the newest",
            m * (1 - m) ** age: "m and (1 - m) are exchanged: which of them belongs to the main student?",
        }
        compared(called(weight, age, m), right, {k: v for k, v in mistakes.items() if k != right}, case, 1e-6)
    return "Over n updates these add up to 1 - mⁿ; the rest, mⁿ, is the weight of the auxiliary's own start."


def exercise_4(settings: Any, *, steps: int) -> str:
    """Settings that need no warm-up of alpha: the start is forgotten early, and an average is kept all the same."""
    if settings is None:
        raise Open
    if not isinstance(settings, Distillation):
        raise Wrong(f"{kind(settings)} are no settings: give a dm.Distillation(...)")
    if settings.strategy != "ema" or settings.auxiliary_update != "ema" or settings.alpha == 0:
        raise Wrong("this does not listen to a moving average at all")
    if not math.isclose(settings.alpha, 0.9):
        raise Wrong(f"α is {settings.alpha:g} here; the colleague wants another one")
    if settings.alpha_warmup:
        raise Wrong("α still rises: it is to be constant from the first step")
    left = math.prod(settings.momentum_at(step, steps) for step in range(20))
    if left > 0.1 + 1e-6:
        raise Wrong(f"after 20 steps {left:.0%} of the start are left; at most a tenth is asked for")
    half_life = half_life_of(settings.momentum_at(0, steps))
    if half_life < 5 - 1e-6:
        raise Wrong(
            f"half of it is forgotten in {half_life:.1f} steps: an average this short is the main student itself, and "
            "has nothing of its own to teach"
        )
    return f"After 20 of {steps} steps {left:.0%} of the start are left; its half-life is {half_life:.1f} steps."


def exercise_5(needing: Any) -> str:
    """The strategies that need a second network."""
    found = names(needing, list(STRATEGIES))
    right = {name for name, strategy in STRATEGIES.items() if _asks_another(strategy)}
    for name in sorted(found - right):
        raise Wrong(f"{name}: look at what it takes as its soft target; is there a second network in it?")
    if found != right:
        raise Wrong("all of these do, and at least one more")
    return "All others ask the main student itself, at another time or about another image, or a table made by hand."


def _soft(z: np.ndarray, target: np.ndarray, temperature: float, entropy: bool = False) -> float:
    p, q = softmax(target / temperature, axis=1), softmax(z / temperature, axis=1)
    return float(temperature**2 * (p * np.log((1 if entropy else p) / q)).sum(1).mean())


def _autograd(z: np.ndarray, target: np.ndarray, temperature: float) -> np.ndarray:
    logits = torch.tensor(z[None], requires_grad=True)
    soft_loss(logits, torch.tensor(target[None]), temperature).backward()
    assert logits.grad is not None
    return logits.grad[0].numpy()


def _asks_another(strategy: Any) -> bool:
    """Whether a strategy asks for the targets that come from another network."""
    asked: list[bool] = []

    def targets() -> torch.Tensor:
        asked.append(True)
        return logits.detach()

    logits = torch.tensor(LOGITS, dtype=torch.float32, requires_grad=True)
    labels, memory = torch.tensor([0, 2, 1, 0]), {"probabilities": torch.full((4, 3), math.nan)}
    step = Step(logits, labels, torch.arange(4), 0.5, 2.0, 0.0, targets, lambda: logits.detach(), memory)
    strategy(step)
    return bool(asked)
