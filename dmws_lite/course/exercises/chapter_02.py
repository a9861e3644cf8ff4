"""Checks of chapter 02, teacher and students."""

from math import prod

import numpy as np

from dmws_lite.course.answers import array, call_function, compare, names, reject
from dmws_lite.method.components import FIXED
from dmws_lite.method.layers import select_layers
from dmws_lite.method.selection import plan as make_plan


def exercise_1(share, *, plan):
    """The share of a tensor that is left when every axis that is selected along is halved: a function of the axes."""
    for axes, a in {a.axes: a for a in plan.assignments}.items():
        right = prod(a.student_shape) / prod(a.teacher_shape)
        fixed = {"axes": ", ".join(axis for axis in axes if axis in FIXED) or "the fused ones"}
        answer, every = call_function(share, axes), 0.5 ** len(axes)
        compare(answer, right, f"axes {', '.join(axes)}", fields=fixed, one_axis=0.5, no_axis=1.0, every_axis=every)
    return {"tensors": len(plan.assignments)}


def exercise_3(blocks):
    """The teacher blocks of ConvNeXt-F's third stage with layers="uniform": six of nine."""
    chosen = sorted(array(blocks, of=int, case="the block numbers").tolist())
    right, first, last = (select_layers([9], [6], rule)[0] for rule in ("uniform", "first", "last"))
    reject(len(chosen) != len(right), "count", n=len(chosen), asked=len(right))
    reject(tuple(chosen) in (first, last), "neighbours")
    reject((chosen[0], chosen[-1]) != (0, 8), "ends")
    reject(tuple(chosen) != right, "uneven", n=int(np.not_equal(chosen, right).sum()))


def exercise_4(fitting, *, teacher, candidates):
    """The students that a teacher can feed, out of some candidates."""
    candidates = list(candidates)
    chosen, refusals = names(fitting, candidates), {}
    for name in candidates:
        try:
            make_plan(teacher, name)
        except ValueError as error:
            refusals[name] = str(error).split(":")[0][:160]
    for name in sorted(chosen & set(refusals)):
        reject(True, "refused", name=name, why=refusals[name])
    missing = len(set(candidates) - set(refusals) - chosen)
    reject(missing, "missing", n=missing)
