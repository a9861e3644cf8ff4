"""Checks of chapter 06, training main and auxiliary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from dmws_lite.course.answers import Wrong, called, choice, compared, kind
from dmws_lite.method.distillation import Step, ema, update_auxiliary
from dmws_lite.studies.methods import METHODS

STEPS, PART, LEFT = 50 * 1200 / 64, 0.1, 0.01  # of exercise 2: steps, when to have forgotten, what may be left


def exercise_1(followed: Any) -> str:
    """The auxiliary's state after a step, as a function of both states and the momentum."""
    auxiliary, main = _network(0, batches=5), _network(1, batches=9)
    states = {"auxiliary": auxiliary.state_dict(), "main": main.state_dict()}
    given = deepcopy(states)
    found = called(followed, given["auxiliary"], given["main"], 0.9)
    if not isinstance(found, Mapping):
        raise Wrong(f"{kind(found)} is no state: return a dict with a tensor for each name")
    if lacking := [name for name in states["main"] if name not in found]:
        raise Wrong(f"{lacking[0]} is missing: the auxiliary needs every tensor, buffers included")
    for student in ("main", "auxiliary"):
        if any(not torch.equal(given[student][name], tensor) for name, tensor in states[student].items()):
            raise Wrong(f"the {student} student that was passed in has changed: return a new dict of new tensors")
    expected = deepcopy(auxiliary)
    update_auxiliary(expected, main, 0.9)
    _compare_states(found, expected.state_dict(), states)
    return (
        "As the package does it. One step at m = 0.9 takes the auxiliary a tenth of the way; nothing of this is "
        "seen by the optimizer, so no gradient is needed and none is made."
    )


def exercise_2(momentum: Any, half_life: Any) -> str:
    """The momentum, and the half-life as a share of the run, that forget 99 % of the start in a tenth of the run."""
    in_lives = np.log2(1 / LEFT)
    lives = {
        PART: "with this, half of the start is left at a tenth of the run",
        PART * STEPS / in_lives: "this is in steps; a share of the run is asked for",
        1 / in_lives: "with this, the start is forgotten at the end of the run only",
    }
    compared(half_life, PART / in_lives, lives, "half_life", relative=0.02)
    momenta = {
        0.5 ** (1 / (PART * STEPS)): "with this, half of the start is left at a tenth of the run",
        LEFT ** (1 / STEPS): "with this, the start is forgotten at the end of the run only",
    }
    compared(momentum, LEFT ** (1 / (PART * STEPS)), momenta, "momentum", absolute=0.002, relative=0)
    return "Give the half-life: it stays right when the run gets longer, while the momentum has to be computed anew."


def exercise_3(gradient: Any) -> str:
    """The gradient of the loss on a batch with respect to the main student's logits."""
    rng = np.random.default_rng(0)
    for temperature, alpha in ((1.0, 0.0), (1.0, 1.0), (2.0, 0.3), (4.0, 0.5)):
        z, target, labels = rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), np.array([0, 1, 2, 0, 1, 1])
        found = called(gradient, z.copy(), target.copy(), labels.copy(), alpha, temperature)
        case = f"at alpha={alpha:g}, T={temperature:g}"
        found = _floats(found, z.shape)
        right = _gradient(z, target, labels, alpha, temperature)
        if np.allclose(found, right, atol=1e-6):
            continue
        for mistake, text in _gradient_mistakes(z, target, labels, alpha, temperature):
            if np.allclose(found, mistake, atol=1e-6):
                raise Wrong(f"{case}: {text}")
        raise Wrong(f"{case} it differs from torch's gradient by up to {np.abs(found - right).max():.2g}")
    return (
        "As torch computes it. Both parts pull the student's probabilities towards a target: the label, or the "
        "auxiliary's softened ones. The softened difference shrinks as 1/T, and the T in front of it makes up for that."
    )


def exercise_4(best: Any, *, history: Sequence[Mapping[str, float]]) -> str:
    """The share of validation images that at least one of both students gets right at the last evaluation."""
    main, auxiliary, both = (history[-1][key] for key in ("val_accuracy", "auxiliary_accuracy", "both_right"))
    mistakes = {
        main + auxiliary: "this counts the images that both get right twice",
        both: "this is the share that both get right",
        (main + auxiliary) / 2: "this is the mean of the two; take the better one for each image",
        max(main, auxiliary): "this is the better student; take the better answer for each image",
        main + auxiliary - 2 * both: "this is the share that exactly one of them gets right",
    }
    compared(best, main + auxiliary - both, mistakes, relative=0, absolute=1e-4)
    return (
        f"Even one who knew for each image which student to believe would get {main + auxiliary - both:.1%}; the main "
        f"student alone has {main:.1%}. At the end of the run, {auxiliary - both:.1%} of the images are all that the "
        "auxiliary could still teach."
    )


def exercise_5(one: Any, other: Any) -> str:
    """The two methods whose difference says what the second subset is worth."""
    pair = {choice(name, list(METHODS)) for name in (one, other)}
    if pair == {"single_skd", "dual_skd"}:
        return "Only the auxiliary's start differs: the same subset, or the complementary one. All the rest is shared."
    if len(pair) == 1:
        raise Wrong("that is one method twice")
    if pair <= {"dual_skd", "dual_swapped"}:
        raise Wrong("both of these have both subsets, in other roles")
    if not any(METHODS[name].students.get("auxiliary", "complementary") == "complementary" for name in pair):
        raise Wrong("neither of these has a second subset")
    if "dual" in pair:
        raise Wrong("'dual' never listens to its auxiliary, so whatever the second subset knows is not heard")
    if pair & {"random_skd"}:
        raise Wrong("this tells what selected weights are worth in the auxiliary, not what other selected ones are")
    silent = [name for name in pair if METHODS[name].students.get("auxiliary", "complementary") is None]
    if silent:
        raise Wrong(
            f"{silent[0]!r} has no auxiliary at all, so two things change: that there is one, and where it starts"
        )
    raise Wrong("more changes between these than the subset from which the auxiliary starts")


def _network(seed: int, batches: int) -> nn.Module:
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(4)
    norm.num_batches_tracked = torch.tensor(batches)
    return nn.Sequential(nn.Linear(3, 4), norm)


def _compare_states(found: Mapping[str, Any], expected: Mapping[str, torch.Tensor], states: Mapping[str, Any]) -> None:
    for name, right in expected.items():
        tensor = found[name]
        if not isinstance(tensor, torch.Tensor) or tensor.shape != right.shape:
            raise Wrong(f"{name}: {kind(tensor)} is no tensor of shape {tuple(right.shape)}")
        if not right.is_floating_point():
            if tensor.is_floating_point() or not torch.equal(tensor, right):
                raise Wrong(f"{name} counts batches: whole numbers cannot be averaged, take the main student's")
        elif not torch.allclose(tensor, right, atol=1e-6):
            raise Wrong(f"{name}: {_state_mistake(tensor, states['auxiliary'][name], states['main'][name])}")


def _state_mistake(tensor: torch.Tensor, auxiliary: torch.Tensor, main: torch.Tensor) -> str:
    known = {
        "this is the main student's: a copy has no memory": main,
        "this is as it was before the step": auxiliary,
        "the two weights are exchanged: at m = 0.9 most of the auxiliary stays": 0.1 * auxiliary + 0.9 * main,
        "the two weights must add up to 1": 0.9 * auxiliary + main,
    }
    return next(
        (text for text, value in known.items() if torch.allclose(tensor, value, atol=1e-6)),
        "this is not the mean with the weights m and 1 - m",
    )


def _gradient(z: np.ndarray, target: np.ndarray, labels: np.ndarray, alpha: float, temperature: float) -> np.ndarray:
    logits = torch.tensor(z, dtype=torch.float32, requires_grad=True)
    wanted = torch.tensor(target, dtype=torch.float32)
    indices = torch.arange(len(z))
    ema(Step(logits, torch.tensor(labels), indices, alpha, temperature, targets=lambda: wanted)).backward()
    assert logits.grad is not None
    return logits.grad.double().numpy()


def _gradient_mistakes(
    z: np.ndarray, target: np.ndarray, labels: np.ndarray, alpha: float, temperature: float
) -> list[tuple[np.ndarray, str]]:
    """What known mistakes give, and what to say of them."""

    def softened(x: np.ndarray, t: float) -> np.ndarray:
        shifted = np.exp((x - x.max(1, keepdims=True)) / t)
        return shifted / shifted.sum(1, keepdims=True)

    n, t = len(z), temperature
    hard = (softened(z, 1) - np.eye(z.shape[1])[labels]) / n
    soft = (softened(z, t) - softened(target, t)) / n
    sharp = (softened(z, 1) - softened(target, 1)) / n
    right = (1 - alpha) * hard + alpha * t * soft
    return [
        (n * right, "the loss is a mean over the batch, this is the gradient of a sum"),
        (-right, "the sign is reversed: this is the way down, the gradient points up"),
        ((1 - alpha) * hard + alpha * soft, "a factor T is missing in the soft part: T² is in the loss, 1/T from z/T"),
        ((1 - alpha) * hard + alpha * t**2 * soft, "T² is one factor T too many: inside the softmax z is divided by T"),
        (
            (1 - alpha) * hard + alpha / t * soft,
            "the loss has a factor T² before the soft part, so that it keeps its size",
        ),
        ((1 - alpha) * hard + alpha * t * sharp, "the temperature belongs into both softmaxes of the soft part"),
        (alpha * hard + (1 - alpha) * t * soft, "alpha weighs the soft part, 1 - alpha the hard one"),
        (hard + alpha * t * soft, "the hard part is weighed by 1 - alpha"),
        (hard, "this is the hard part alone"),
    ]


def _floats(answer: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(answer.detach() if hasattr(answer, "detach") else answer, dtype=float)
    except (TypeError, ValueError):
        raise Wrong(f"{kind(answer)} is no array of numbers") from None
    if array.shape != shape:
        raise Wrong(f"{kind(answer)}: a gradient has the shape of the logits, {shape}")
    return array
