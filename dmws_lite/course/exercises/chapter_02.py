"""Checks of chapter 02, teacher and students."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from dmws_lite.course.answers import Wrong, array, called, compared, names
from dmws_lite.method.components import FIXED
from dmws_lite.method.layers import select_layers
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.selection import plan as make_plan

TOKENS = 14 * 14 + 1  # patches of 16 pixels in an image of 224, and the class token


def exercise_1(share: Any, *, plan: SelectionPlan) -> str:
    """The share of a tensor that is left when every axis that is selected along is halved: a function of the axes."""
    shown = {a.axes: a for a in plan.assignments}
    for axes, a in shown.items():
        right = _product(a.student_shape) / _product(a.teacher_shape)
        written = ", ".join(axes)
        found = called(share, axes)
        mistakes = {
            0.5: "how many of these axes are halved?",
            1.0: "here at least one axis is halved",
            0.5 ** len(axes): f"not every axis is halved; what about {_fixed(axes)}?",
        }
        compared(found, right, {value: text for value, text in mistakes.items() if value != right}, written)
    return f"It holds for all {len(plan.assignments)} tensors of this plan: matrices keep ¼, vectors and patches ½."


def exercise_2(flops: Any) -> str:
    """FLOPs of the two attention products of one block of ViT-T at 224 pixels."""
    width = 192
    one = 2 * TOKENS**2 * width
    patches = 2 * 2 * (TOKENS - 1) ** 2 * width
    mistakes: dict[float, str] = {
        one: "either the additions beside the multiplications are missing, or one of the products",
        one / 2: "these are the multiplications of one product: what else is counted?",
        patches: "this counts patches only; one more token takes part",
        2 * one * 3: "the heads share the 192 channels, they do not have 192 each",
        2 * one * 12: "this is for all blocks; one is asked for",
        2 * 2 * TOKENS * width**2: "this is quadratic in the width; the products are quadratic in the tokens",
    }
    mistakes[2 * one / 1e6] = "these are millions: give the number itself"
    compared(flops, 2 * one, mistakes, relative=0.005)
    return "Four times tokens² times width. It needs no weights, and grows with the fourth power of the image's side."


def exercise_3(blocks: Any) -> str:
    """The teacher blocks of ConvNeXt-F's third stage with layers="uniform": six of nine."""
    found = array(blocks, of=int, name="the block numbers").tolist()
    (right,) = select_layers([9], [6], "uniform")
    if len(found) != len(right):
        raise Wrong(f"{len(found)} block(s): the student's stage holds {len(right)}")
    if min(found) < 0 or max(found) > 8:
        raise Wrong("the teacher's nine blocks are counted from 0 to 8")
    if sorted(set(found)) != found:
        raise Wrong("the numbers must rise, each at most once: blocks are not swapped or repeated")
    if tuple(found) in (select_layers([9], [6], "first")[0], select_layers([9], [6], "last")[0]):
        raise Wrong("six in a row: that is 'first' or 'last'")
    if (found[0], found[-1]) != (0, 8):
        raise Wrong("'uniform' keeps the first and the last block")
    if tuple(found) != right:
        astray = int((np.array(found) != right).sum())
        raise Wrong(f"first and last are right, but {astray} of the others: are they spread as evenly as can be?")
    return "Nine blocks do not divide into six, so the steps are not all alike: some neighbours stay together."


def exercise_4(fitting: Any, *, teacher: str, candidates: Iterable[str]) -> str:
    """The students that a teacher can feed, out of some candidates."""
    candidates = list(candidates)
    found = names(fitting, candidates)
    for name in sorted(found):
        if refused := _refusal(teacher, name):
            raise Wrong(f"{name} does not fit: {refused.split(':')[0][:160]}")
    missing = sum(not _refusal(teacher, name) for name in set(candidates) - found)
    if missing:
        raise Wrong(f"those that you name fit, but {missing} more would: what must be equal, and what may be smaller?")
    return "Family, patch size and channels must be equal; width and depth may shrink, the position grid is resampled."


def exercise_5(weights: Any) -> str:
    """Weights in the matrices of a ViT's 12 blocks at half of ViT-T's width: 96 channels, MLPs four times as wide."""
    width, blocks = 96, 12
    right = blocks * 12 * width**2
    vectors = "close, but vectors are counted, too: leave out biases and norms"
    mistakes: dict[float, str] = {
        12 * width**2: "this is one block; there are twelve",
        right * 4: "this is ViT-T's own width; halve it first",
        blocks * 8 * width**2: "this counts the MLPs; attention has matrices too",
        blocks * 4 * width**2: "this counts attention; the MLPs have matrices too",
        blocks * 10 * width**2: "the qkv matrix is three matrices in one",
        right * 2: "with the width both sides of a matrix shrink",
        right + blocks * 9 * width: vectors,
        right + blocks * 13 * width: vectors,
    }
    compared(weights, right, mistakes, relative=0.005)
    return "12 · width² a block. Halving the width again leaves a quarter of a quarter."


def _refusal(teacher: str, student: str) -> str:
    try:
        make_plan(teacher, student)
    except ValueError as error:
        return str(error)
    return ""


def _fixed(axes: tuple[str, ...]) -> str:
    return ", ".join(axis for axis in axes if axis in FIXED) or "the fused ones"


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
