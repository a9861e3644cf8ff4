"""Checks of chapter 06, training main and auxiliary."""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import nn

from dmws_lite.course.answers import call_function, choice, compare, describe, reject
from dmws_lite.method.distillation import update_auxiliary
from dmws_lite.studies.methods import METHODS


def exercise_1(followed):
    """The auxiliary's state after a step, as a function of both states and the momentum."""
    auxiliary, main = _make_network(0, batches=5), _make_network(1, batches=9)
    states = {"auxiliary": auxiliary.state_dict(), "main": main.state_dict()}
    copies = deepcopy(states)
    state = call_function(followed, copies["auxiliary"], copies["main"], 0.9)
    reject(not isinstance(state, Mapping), f"{describe(state)}, where a dict of tensors is asked for")
    for name in states["main"]:
        reject(name not in state, "missing", name=name)
    for student, before in states.items():
        changed = any(not torch.equal(copies[student][name], tensor) for name, tensor in before.items())
        reject(changed, "in_place", student=student)
    update_auxiliary(expected := deepcopy(auxiliary), main, 0.9)
    for name, right in expected.state_dict().items():
        answer, old, new = torch.as_tensor(state[name]), states["auxiliary"][name], states["main"][name]
        if right.is_floating_point():
            mistakes = {"copy": new, "unchanged": old, "exchanged": 0.1 * old + 0.9 * new}
            mistakes["unbalanced"] = 0.9 * old + new
            compare(answer, right.numpy(), name, 1e-5, 1e-6, otherwise="no_mean", **mistakes)
        else:
            reject(answer.is_floating_point() or not torch.equal(answer, right), "count", name=name)


def values_4(*, history):
    """The shares of validation images that main, auxiliary and both get right half-way through the run."""
    row = history[len(history) // 2]
    return {"main": row["val_accuracy"], "auxiliary": row["auxiliary_accuracy"], "both": row["both_right"]}


def exercise_5(one, other):
    """The two methods whose difference says what the second subset is worth."""
    pair = {choice(name, list(METHODS)) for name in (one, other)}
    starts = {name: METHODS[name].students.get("auxiliary", "complementary") for name in pair}
    if pair == {"single_skd", "dual_skd"}:
        return
    reject(len(pair) == 1, "same")
    reject(pair <= {"dual_skd", "dual_swapped"}, "swapped")
    reject("complementary" not in starts.values(), "no_second")
    reject("dual" in pair, "not_heard")
    reject("random_skd" in pair, "random")
    for name, start in starts.items():
        reject(start is None, "no_auxiliary", name=name)
    reject(True, "other")


def _make_network(seed, batches):
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(4)
    norm.num_batches_tracked = torch.tensor(batches)
    return nn.Sequential(nn.Linear(3, 4), norm)
