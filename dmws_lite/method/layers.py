"""Layer selection: which teacher block feeds each student block.

The first of the three steps (Tsutsumi et al. 2026, arXiv 2508.20461). "first" is the default of Xu et al. 2024.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

STRATEGIES = ("first", "last", "uniform")
Layers = str | Sequence[int] | Sequence[Sequence[int]]


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
        return tuple(_by_rule(t, s, layers) for t, s in zip(teacher, student, strict=True))
    return _explicit(teacher, student, layers)


def _by_rule(teacher: int, student: int, rule: str) -> tuple[int, ...]:
    if rule == "first":
        return tuple(range(student))
    if rule == "last":
        return tuple(range(teacher - student, teacher))
    if rule == "uniform":
        return tuple(int(i) for i in np.round(np.linspace(0, teacher - 1, student)))
    raise ValueError(f"unknown layers={rule!r}: choose one of {', '.join(STRATEGIES)}, or give the block numbers")


def _explicit(teacher: Sequence[int], student: Sequence[int], layers: Sequence) -> tuple[tuple[int, ...], ...]:
    stages = [layers] if len(teacher) == 1 and all(isinstance(i, int | np.integer) for i in layers) else layers
    if len(stages) != len(teacher) or any(isinstance(s, int | np.integer) for s in stages):
        raise ValueError(f"layers={layers!r} must hold a list of block numbers for each of {len(teacher)} stage(s)")
    chosen = tuple(tuple(int(i) for i in stage) for stage in stages)
    for stage, (t, s, picked) in enumerate(zip(teacher, student, chosen, strict=True)):
        if len(picked) != s or list(picked) != sorted(set(picked)) or not all(0 <= i < t for i in picked):
            raise ValueError(
                f"layers={layers!r}: stage {stage} needs {s} different block numbers in rising order, "
                f"each from 0 to {t - 1}"
            )
    return chosen
