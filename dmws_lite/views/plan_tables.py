"""What the pictures of selection plans show, as data: index sets, roles of elements, shares, consistency."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from dmws_lite.method.components import FIXED, squeezed
from dmws_lite.method.plan import Assignment, SelectionPlan
from dmws_lite.views.picture import student_names

if TYPE_CHECKING:
    import pandas as pd

Plans = SelectionPlan | Sequence[SelectionPlan]


def axis_masks(plans: Plans) -> dict[str, np.ndarray]:
    """For each named axis, bool (student, teacher size): the teacher indices that each student receives.

    Where tensors disagree (random_inconsistent) the first tensor that has the axis counts.
    """
    masks: dict[str, np.ndarray] = {}
    plans = several(plans)
    for number, plan in enumerate(plans):
        for a in plan.assignments:
            for axis, index, size in plain_axes(a):
                mask = masks.setdefault(axis, np.zeros((len(plans), size), bool))
                if not mask[number].any():
                    mask[number, slice(None) if index is None else index] = True
    return masks


def tensor_roles(plans: Plans, tensor: str) -> np.ndarray:
    """Who receives each element of a teacher tensor, as a map int (rows, columns).

    tensor: a teacher tensor's name; a vector is a map of one row. All elements of a kernel go the same way, so kernel
            axes are left out.
    Returns 0 for nobody, k for student k alone (1 is main), n + 1 for several of the n students.
    Raises ValueError for a tensor that the teacher does not have.
    """
    plans = several(plans)
    if tensor not in plans[0].teacher_shapes:
        some = ", ".join(list(plans[0].teacher_shapes)[:6])
        raise ValueError(f"the teacher {plans[0].teacher} has no tensor {tensor!r}: choose one of {some}, ...")
    shape = plans[0].teacher_shapes[tensor]
    kept, _ = map_axes(plans, tensor)
    roles = np.zeros([shape[i] for i in kept], np.int64)
    for number, plan in enumerate(plans, 1):
        a = next((a for a in plan.assignments if a.teacher == tensor), None)
        if a is not None:
            where = np.ix_(*(np.arange(shape[i]) if a.indices[i] is None else a.indices[i] for i in kept))
            roles[where] = np.where(roles[where] == 0, number, len(plans) + 1)
    return np.atleast_2d(roles)


def coverage_table(plans: Plans) -> pd.DataFrame:
    """Shares of the teacher's elements by kind of tensor (block numbers are left out), and in all.

    Returns columns tensors, elements, one share a student (main, auxiliary, ...), and with two students `shared` (both)
    and `unused` (neither). A share is of the elements of that kind, in [0, 1].
    """
    import pandas as pd

    plans = several(plans)
    columns = {name: plan.coverage().tensors for name, plan in zip(student_names(len(plans)), plans, strict=True)}
    if len(plans) == 2:
        columns["shared"] = plans[0].overlap(plans[1]).tensors
    sizes = {name: int(np.prod(shape)) for name, shape in plans[0].teacher_shapes.items()}
    kinds = [re.sub(r"\d+", "*", name) for name in sizes]
    used = {column: [shares[name] * size for name, size in sizes.items()] for column, shares in columns.items()}
    frame = pd.DataFrame({"tensors": kinds, "elements": sizes.values(), **used})
    table = frame.groupby("tensors", sort=False).sum()
    table.loc["all"] = table.sum()
    table[list(columns)] = table[list(columns)].div(table["elements"], axis=0)
    if len(plans) == 2:
        table["unused"] = 1 - table["main"] - table["auxiliary"] + table["shared"]
    return table.reset_index().astype({"elements": int})


def consistency_table(plan: SelectionPlan) -> pd.DataFrame:
    """Columns axis, tensors (how many have it) and consistent (whether they all use the same teacher indices)."""
    import pandas as pd

    counts = Counter(axis for a in plan.assignments for axis, _, _ in plain_axes(a))
    frame = pd.DataFrame({"axis": counts.keys(), "tensors": counts.values()})
    return frame.assign(consistent=frame["axis"].map(plan.consistency()))


def typical_axes(plans: Plans) -> list[str]:
    """One named axis of each kind: the residual stream or every stage, and the first of those private to a block."""
    kinds: dict[str, str] = {}
    for axis in axis_masks(plans):
        kinds.setdefault(axis.split("/")[0], axis)
    return list(kinds.values())


def several(plans: Plans) -> Sequence[SelectionPlan]:
    """One plan as a sequence of one."""
    return [plans] if isinstance(plans, SelectionPlan) else plans


def plain_axes(a: Assignment) -> list[tuple[str, np.ndarray | None, int]]:
    """(axis, teacher indices, teacher size) of the axes that elements are selected along; of q, k and v those of q."""
    found = []
    for axis, index, size in zip(a.axes, a.indices, squeezed(a.teacher_shape, len(a.axes)), strict=True):
        if axis not in FIXED:
            parts = 3 if "*" in axis else 1
            found.append((axis.split("*")[-1], index if index is None else index[: len(index) // parts], size // parts))
    return found


def summary(plans: Plans) -> str:
    """Coverage, overlap (of the two students that share most) and consistency in one line.

    >>> from dmws_lite.method.selection import complementary_plans
    >>> summary(complementary_plans("vit_small_patch16_224", "vit_tiny_patch16_224"))
    'coverage: main 25.50 %, auxiliary 25.50 %; overlap 0.00 %; 25 of 25 axes consistent'
    """
    plans = several(plans)
    named = zip(student_names(len(plans)), plans, strict=True)
    covered = ", ".join(f"{name} {100 * plan.coverage().total:.2f} %" for name, plan in named)
    shared = [a.overlap(b).total for a, b in combinations(plans, 2)]
    overlap = f"; {'largest ' if len(plans) > 2 else ''}overlap {100 * max(shared):.2f} %" if shared else ""
    agreed = plans[0].consistency().values()
    return f"coverage: {covered}{overlap}; {sum(agreed)} of {len(agreed)} axes consistent"


def map_axes(plans: Plans, tensor: str) -> tuple[list[int], list[str]]:
    """Position and name of the axes of a teacher tensor along which elements are selected: one or two."""
    plan = several(plans)[0]
    a = next((a for a in plan.assignments if a.teacher == tensor), None)
    if a is None:
        kept = [i for i, size in enumerate(plan.teacher_shapes[tensor]) if size > 1][:2]
        return kept, []
    kept = [i for i, axis in enumerate(a.axes) if axis not in FIXED]
    return kept, [a.axes[i] for i in kept]
