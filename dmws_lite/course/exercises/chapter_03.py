"""Checks of chapter 03, weight selection."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dmws_lite.course.answers import Open, Wrong, array, called, compared, kind
from dmws_lite.method.elements import phased, spread, subsets

TEACHER, STUDENT, HEADS = 768, 192, 3  # ViT-B and ViT-T: channels, and the student's heads
HEAD = STUDENT // HEADS  # channels of a head, the same in both


def exercise_1(matrix: Any, vector: Any) -> str:
    """The shares of a matrix and of a vector that three students a quarter as wide hold together."""
    held = [set(indices.tolist()) for indices in subsets(TEACHER, STUDENT, 3)]
    one, of_vector = STUDENT / TEACHER, len(set.union(*held)) / TEACHER
    alone = "this is the share of one student; how many are there?"
    compared(vector, of_vector, {one: alone, one**2: "a vector has one axis, so it is divided once"}, "vector")
    rows = {
        one**2: alone,
        of_vector: "this is the share of the rows; the columns are divided too",
        of_vector**2: "among these are connections from one student's channels to another's, which nobody can carry",
    }
    compared(matrix, sum(len(channels) ** 2 for channels in held) / TEACHER**2, rows, "matrix")
    return (
        "All of the channels but a quarter, and few of the connections: those between the students' subsets are lost. "
        "A fourth student would complete every vector, and three quarters of each matrix would still go to nobody."
    )


def exercise_2(subset: Any) -> str:
    """The indices of a student along an axis, as a function of both lengths and the phase."""
    for size, pick, phase in ((8, 4, 0), (8, 4, 1), (12, 3, 2), (TEACHER, STUDENT, 3)):
        case = f"subset({size}, {pick}, {phase})"
        found = array(called(subset, size, pick, phase), of=int, name=case)
        right = phased(size, pick, phase)
        if len(found) != pick:
            raise Wrong(f"{case} gives {len(found)} indices: the student's axis holds {pick}")
        if found.min() < 0 or found.max() >= size:
            raise Wrong(f"{case} gives an index outside 0 to {size - 1}")
        if np.array_equal(np.sort(found), right) and not np.array_equal(found, right):
            raise Wrong(f"{case} has the right indices in another order: they must rise")
        if phase and np.array_equal(found, phased(size, pick, 0)):
            raise Wrong(f"{case} gives what phase 0 gets: the sets of two phases share no index")
        if np.array_equal(found, np.arange(pick) + phase * pick):
            raise Wrong(f"{case} is a block of neighbours, the rule 'consecutive'; here every k-th index is asked for")
        if not np.array_equal(found, right):
            raise Wrong(
                f"{case} is not evenly spaced from the phase on: how far apart are neighbours if {pick} fill {size}?"
            )
    return "The phases 0 to k - 1 share out the axis: no index twice, none left over. On 384 → 192 there is no phase 2."


def exercise_3(heads: Any) -> str:
    """The teacher heads that feed the last student head, ViT-B to ViT-T, under the published rule."""
    found = set(array(heads, of=int, name="the heads").tolist())
    channels = spread(TEACHER, STUDENT)
    right = set((channels[-HEAD:] // HEAD).tolist())
    if found == right:
        return (
            "One student head is cut from four teacher heads, a quarter of each, and all four meet under one softmax."
        )
    if min(found) < 0 or max(found) >= TEACHER // HEAD:
        raise Wrong(f"the teacher has {TEACHER // HEAD} heads, counted from 0")
    if len(found) == 1:
        raise Wrong("a single head would be fed with elements='heads'; the published rule knows nothing of heads")
    if found == {4, 5}:
        raise Wrong("this holds for a teacher twice as wide as the student; ViT-B is wider")
    raise Wrong(
        f"these are {len(found)} heads: which channels does the last student head have, and where do they come from?"
    )


def exercise_4(shuffled: Any, *, model: nn.Module, images: Tensor) -> str:
    """A network whose hidden units stand in another order: its state, as a function of the state and the order."""
    state, copy = model.state_dict(), deepcopy(model)
    rows, bias, columns = (f"blocks.0.mlp.{part}" for part in ("fc1.weight", "fc1.bias", "fc2.weight"))
    order = torch.randperm(len(state[bias]), generator=torch.Generator().manual_seed(0))
    given = {name: tensor.clone() for name, tensor in state.items()}
    found = called(shuffled, given, order)
    if not isinstance(found, Mapping):
        raise Wrong(f"{kind(found)} is no state: return a dict of tensors with the same names")
    if any(not torch.equal(given[name], tensor) for name, tensor in state.items() if name in given):
        raise Wrong("the state that was passed in has changed: work on a copy, `dict(state)`, and give it new tensors")
    try:
        copy.load_state_dict(found)
    except (RuntimeError, TypeError) as error:
        raise Wrong(f"the network does not take this state: {str(error).splitlines()[-1].strip()}") from error
    moved = {name for name, tensor in copy.state_dict().items() if not torch.equal(tensor, state[name])}
    if not moved:
        raise Open("Nothing has moved yet.")
    if rows not in moved:
        raise Wrong(f"{rows} is as it was: its rows are the hidden units")
    with torch.inference_mode():
        change = float((copy.eval()(images) - model.eval()(images)).abs().max())
    if change < 1e-3:
        return (
            f"The outputs changed by {change:.0e} at most, which is rounding. Hidden units have no order, and so it is "
            "with the channels of the residual stream, if every tensor moves along. So it matters little which half is "
            "taken, and a lot that all tensors take the same one."
        )
    for name, what in ((bias, "each hidden unit's bias"), (columns, "what the next layer reads from each hidden unit")):
        if name not in moved:
            raise Wrong(f"the outputs change by {change:.2g}: {what} has stayed where it was")
    if not torch.equal(copy.state_dict()[columns].sum(1), state[columns].sum(1)) and torch.allclose(
        copy.state_dict()[columns].sum(0), state[columns].sum(0), atol=1e-5
    ):
        raise Wrong(f"the outputs change by {change:.2g}: in {columns} the hidden units are not the rows")
    raise Wrong(
        f"the outputs change by {change:.2g}: rows, bias and columns must follow the same order, and nothing else"
    )
