"""Checks of chapter 02, teacher and students."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dmws_lite.course.answers import Open, Wrong, called, close, compared, kind
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
    mistakes = {
        one: "half of it: are two factors of 2 in it, one for multiply and add, one for the two products?",
        one / 2: "a quarter of it: count a multiplication and an addition, and both products",
        patches: "this counts patches only; one more token takes part",
        2 * one * 3: "the heads share the 192 channels: 3 heads of 64",
        2 * one * 12: "this is for all blocks; one is asked for",
        2 * 2 * TOKENS * width**2: "this is quadratic in the width; the products are quadratic in the tokens",
    }
    compared(flops, 2 * one, mistakes, relative=1e-4)
    return "Four times tokens² times width. It needs no weights, and grows with the fourth power of the image's side."


def exercise_3(blocks: Any) -> str:
    """The teacher blocks of ConvNeXt-F's third stage with layers="uniform": six of nine."""
    found = _list(blocks, int, "block numbers")
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
        raise Wrong("first and last are right; the others lie at multiples of 8/5, rounded")
    return "Nine blocks do not divide into six, so the steps are not all alike: some neighbours stay together."


def exercise_4(fitting: Any, *, teacher: str, candidates: Iterable[str]) -> str:
    """The students that a teacher can feed, out of some candidates."""
    candidates = list(candidates)
    found = set(_list(fitting, str, "names"))
    if unknown := found - set(candidates):
        raise Wrong(f"{sorted(unknown)[0]!r} is none of the candidates")
    for name in sorted(found):
        if refused := _refusal(teacher, name):
            raise Wrong(f"{name} does not fit: {refused.split(':')[0][:160]}")
    missing = sum(not _refusal(teacher, name) for name in set(candidates) - found)
    if missing:
        raise Wrong(f"those that you name fit, but {missing} more would: what must be equal, and what may be smaller?")
    return "Family, patch size and input channels must be equal; width, depth and the position grid may be smaller."


def exercise_5(weights: Any) -> str:
    """Weights in the matrices of a ViT's 12 blocks at half of ViT-T's width: 96 channels, MLPs four times as wide."""
    width, blocks = 96, 12
    right = blocks * 12 * width**2
    mistakes: dict[float, str] = {
        12 * width**2: "this is one block; there are twelve",
        right * 4: "this is ViT-T's own width; halve it first",
        blocks * 8 * width**2: "this counts the MLPs; attention has matrices too",
        blocks * 4 * width**2: "this counts attention; the MLPs have matrices too",
        blocks * 10 * width**2: "the qkv matrix is three matrices in one",
        right * 2: "half the width is less than half of the weights",
    }
    try:
        close(weights, right, relative=1e-6)
    except Wrong:
        compared(weights, right, mistakes, relative=0.01)
        raise Wrong("close, but the matrices' weights can be counted exactly; leave the vectors out") from None
    return "12 · width² a block. Halving the width again leaves a quarter of a quarter."


def _refusal(teacher: str, student: str) -> str:
    try:
        make_plan(teacher, student)
    except ValueError as error:
        return str(error)
    return ""


def _list(answer: Any, of: type, what: str) -> list:
    """A list of plain numbers or texts out of any collection of them."""
    if answer is None:
        raise Open
    if isinstance(answer, str | bytes | Mapping) or not isinstance(answer, Iterable):
        raise Wrong(f"{kind(answer)} is no list of {what}")
    try:
        found = [value.item() if hasattr(value, "item") else value for value in answer]
    except Exception:
        raise Wrong(f"{kind(answer)} is no list of {what}") from None
    if not found or not all(type(value) is of for value in found):
        raise Wrong(f"{kind(answer)} is no list of {what}")
    return found


def _fixed(axes: tuple[str, ...]) -> str:
    return ", ".join(axis for axis in axes if axis in FIXED) or "the fused ones"


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
