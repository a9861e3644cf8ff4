"""Checks of chapter 06, training main and auxiliary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from dmws_lite.course.answers import Wrong, called, choice, compared, kind
from dmws_lite.method.distillation import half_life_of, update_auxiliary
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


def exercise_3(averaged: Any) -> str:
    """As many values as a plain mean needs to be as quiet as the moving average: a function of the momentum."""
    for momentum in (0.9, 0.99):
        right = (1 + momentum) / (1 - momentum)
        mistakes = {
            1 / right: "less than one value: this is the variance that is left; how many values leave as much?",
            right**0.5: "the spread falls with the root of the number of values, the variance with the number itself",
            1 / (1 - momentum): "as much as the newest value weighs: a plain mean of so many is noisier than that",
            momentum / (1 - momentum): "this is the mean age of what is averaged",
            half_life_of(momentum): "this is the half-life",
            1.0: "the weights add up to 1 for every momentum: the variance takes their squares",
        }
        compared(called(averaged, momentum), right, mistakes, f"at m = {momentum:g}", relative=1e-3)
    return (
        "So at m = 0.99 noise that is independent from step to step becomes some fourteen times smaller. The steps of "
        "a run are not independent, each starts where the last one ended: the auxiliary's curve is smoother by less."
    )


def exercise_4(best: Any, *, history: Sequence[Mapping[str, float]]) -> str:
    """The share of validation images that at least one of both students gets right half-way through the run."""
    main, auxiliary, both = (
        history[len(history) // 2][key] for key in ("val_accuracy", "auxiliary_accuracy", "both_right")
    )
    mistakes = {
        main + auxiliary: "this counts the images that both get right twice",
        both: "this is the share that both get right",
        (main + auxiliary) / 2: "this is the mean of the two; take the better one for each image",
        max(main, auxiliary): "this is the better student; take the better answer for each image",
        main + auxiliary - 2 * both: "this is the share that exactly one of them gets right",
    }
    compared(best, main + auxiliary - both, mistakes, relative=0, absolute=0.002)
    return (
        f"Even one who knew for each image which student to believe would get {main + auxiliary - both:.1%}; the main "
        f"student alone has {main:.1%} there. The other {auxiliary - both:.1%} of the images are all that choosing "
        "between both answers could gain."
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
                raise Wrong(f"{name} counts batches: whole numbers cannot be averaged; whose count is the newer one?")
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
