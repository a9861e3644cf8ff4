"""Layer selection: which teacher block feeds each student block.

The first of the three steps (Tsutsumi et al. 2026, arXiv 2508.20461). "first" is the default of Xu et al. 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Layers = str | Sequence[int] | Sequence[Sequence[int]]
RULES = {  # from the teacher's and the student's number of blocks
    "first": lambda t, s: range(s),
    "last": lambda t, s: range(t - s, t),
    "uniform": lambda t, s: np.round(np.linspace(0, t - 1, s)).astype(int).tolist(),
}
STRATEGIES = tuple(RULES)


def select_layers(
    teacher: Sequence[int], student: Sequence[int], layers: Layers = "first"
) -> tuple[tuple[int, ...], ...]:
    """The teacher block for each student block, stage by stage, from the numbers of blocks in each stage.

    layers: "first", "last", "uniform" (first and last kept, the rest evenly between), or the block numbers themselves:
            one list for a model with one stage, one list per stage otherwise.
    Raises ValueError for a student deeper than its teacher, another number of stages, or impossible block numbers.

    >>> select_layers([6], [4], "uniform")
    ((0, 2, 3, 5),)
    >>> select_layers([3, 9], [2, 6], "last")
    ((1, 2), (3, 4, 5, 6, 7, 8))
    """
    if len(teacher) != len(student) or any(s > t for t, s in zip(teacher, student, strict=True)):
        raise ValueError(
            f"the student is deeper than its teacher, or of another family ({list(student)} blocks in its stages, its "
            f"teacher {list(teacher)}): choose a shallower one of its family"
        )
    if isinstance(layers, str):
        if layers not in RULES:
            raise ValueError(f"unknown layers={layers!r}: choose one of {', '.join(RULES)}, or give the block numbers")
        return tuple(tuple(RULES[layers](t, s)) for t, s in zip(teacher, student, strict=True))
    stages: Any = [layers] if all(isinstance(block, int | np.integer) for block in layers) else layers
    whole = all(np.asarray(stage).dtype.kind in "iu" for stage in stages)
    chosen = tuple(tuple(int(block) for block in np.atleast_1d(stage)) for stage in stages) if whole else ()
    valid = [sorted({*stage} & {*range(t)}) for stage, t in zip(chosen, teacher, strict=False)]  # in rising order
    if list(map(len, chosen)) != list(student) or list(map(list, chosen)) != valid:
        raise ValueError(
            f"layers={layers!r}: give a list for each of {len(teacher)} stage(s), with {list(student)} different block "
            f"numbers in rising order, from 0 to below {list(teacher)}"
        )
    return chosen
