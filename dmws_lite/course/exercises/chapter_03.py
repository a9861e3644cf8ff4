"""Checks of chapter 03, weight selection."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch

from dmws_lite.course.answers import Open, Wrong, array, call_function, reject
from dmws_lite.method.elements import phase_subset, spread

TEACHER, STUDENT, HEADS = 768, 192, 3  # ViT-B and ViT-T: channels, and the student's heads
HEAD = STUDENT // HEADS  # channels of a head, the same in both
ROWS, BIAS, COLUMNS = (f"blocks.0.mlp.{part}" for part in ("fc1.weight", "fc1.bias", "fc2.weight"))


def exercise_2(subset):
    """The indices of a student along an axis, as a function of both lengths and the phase."""
    for size, pick, phase in ((8, 4, 0), (8, 4, 1), (12, 3, 2), (TEACHER, STUDENT, 3)):
        call, right = f"subset({size}, {pick}, {phase})", phase_subset(size, pick, phase)
        indices = array(call_function(subset, size, pick, phase), of=int, case=call)
        fields: dict[str, Any] = {"call": call, "n": len(indices), "pick": pick, "size": size}
        reject(len(indices) != pick, "count", **fields)
        reject(phase > 0 and np.array_equal(indices, phase_subset(size, pick, 0)), "phase", **fields)
        reject(np.array_equal(indices, np.arange(pick) + phase * pick), "block", **fields)
        reject(not np.array_equal(indices, right), "uneven", **fields)


def exercise_3(heads):
    """The teacher heads that feed the last student head, ViT-B to ViT-T, under the published rule."""
    chosen = set(array(heads, of=int, case="the heads").tolist())
    reject(len(chosen) == 1, "single")
    reject(chosen == {4, 5}, "twice")
    reject(chosen != set((spread(TEACHER, STUDENT)[-HEAD:] // HEAD).tolist()), "others", n=len(chosen))


def exercise_4(shuffled, *, model, images):
    """A network whose hidden units stand in another order: its state, as a function of the state and the order."""
    before, network = model.state_dict(), deepcopy(model)
    order = torch.randperm(len(before[BIAS]), generator=torch.Generator().manual_seed(0))
    copies = {name: tensor.clone() for name, tensor in before.items()}
    state = call_function(shuffled, copies, order)
    reject(any(not torch.equal(tensor, before[name]) for name, tensor in copies.items()), "in_place")
    try:
        network.load_state_dict(state)
    except Exception as error:  # of any kind, for what is no state
        raise Wrong("not_loaded", why=str(error).splitlines()[-1].strip()) from error
    after = network.state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    if not moved:
        raise Open("Nothing has moved yet.")
    reject(ROWS not in moved, "rows", name=ROWS)
    with torch.inference_mode():
        change = float((network.eval()(images) - model.eval()(images)).abs().max())
    new, old = after[COLUMNS], before[COLUMNS]
    along_rows = not torch.equal(new.sum(1), old.sum(1)) and torch.allclose(new.sum(0), old.sum(0), atol=1e-5)
    if change < 1e-3:
        reject(not torch.equal(after[ROWS], before[ROWS][order]), "order")
        return {"change": change}
    faults = {"bias": BIAS not in moved, "columns": COLUMNS not in moved, "along_rows": along_rows}
    reason = next((reason for reason, fault in faults.items() if fault), "other")
    raise Wrong(reason, change=change, name=COLUMNS)
