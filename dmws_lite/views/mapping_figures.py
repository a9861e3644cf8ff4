"""Pictures of layer selection and component mapping: the teacher to the left, the student to the right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import prod
from typing import Any

from matplotlib.axes import Axes

from dmws_lite.method.components import FIXED
from dmws_lite.method.plan import Assignment, SelectionPlan
from dmws_lite.views.picture import MARKERS, PALETTE, Picture, bare, picture

PLACES = (  # the first pattern that a tensor's name matches says where it is drawn; what none matches goes by its own
    (r"blocks\.(?P<block>\d+)\.(?:norm|attn|mlp|ls)", "block {block}"),
    (r"stages\.(?P<stage>\d+)\.downsample", "downsampling {stage}"),
    (r"stages\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.", "block {stage}.{block}"),
    (r"blocks\.(?P<stage>\d+)\.(?P<block>\d+)\.", "block {stage}.{block}"),
    (r"patch_embed\.", "patches"),
    (r"(?:stem|conv_stem|bn1)\.", "stem"),
    (r"(?:cls_token|dist_token|reg_token|pos_embed)", "tokens"),
    (r"(?:norm|fc_norm|norm_pre|head\.norm)\.", "final norm"),
    (r"(?:head|head_dist|classifier)\.", "classifier"),
)
EDGES = {2: "-", 1: "--", 0: ":"}  # by the number of axes along which elements are selected
SAID = {2: "two axes selected: matrices", 1: "one axis: vectors, depthwise kernels, patches", 0: "none: all is taken"}


def place_of(tensor: str) -> str:
    """Where in a network a tensor sits: its block ("block 3", or "block stage.block"), or what is around the blocks.

    >>> place_of("blocks.3.attn.qkv.weight"), place_of("stages.1.downsample.1.bias"), place_of("head.fc.weight")
    ('block 3', 'downsampling 1', 'classifier')
    """
    for pattern, name in PLACES:
        if match := re.match(pattern, tensor):
            return name.format(**match.groupdict())
    return tensor


def mapped_blocks(plans: SelectionPlan | Mapping[str, SelectionPlan]) -> Picture:
    """Which part of the teacher feeds which part of the student; hollow parts feed nothing, or are fed by nothing.

    plans: one plan, or several by the title of their panel. A number on an edge is the number of tensors it stands for.
    """
    plans = {"": plans} if isinstance(plans, SelectionPlan) else plans
    depth = max(len(_teacher_places(plan)) for plan in plans.values())
    figure, grid = picture(0.5 + 0.27 * depth, 1, len(plans), squeeze=False)
    words = []
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        theirs, own = _teacher_places(plan), _student_places(plan)
        edges = Counter((place_of(a.teacher), place_of(a.student)) for a in plan.assignments)
        rows, heights = _rows(theirs), _spread(own, len(theirs))
        for (source, target), tensors in edges.items():
            y = rows[source], heights[target]
            axes.plot([0, 1], y, color=PALETTE["teacher"], linewidth=1, zorder=1)
            number = f"{tensors}" if len(plans) > 1 else f"{tensors} tensor{'s' if tensors > 1 else ''}"
            _label(axes, 0.5, sum(y) / 2, number)
        sources, targets = {source for source, _ in edges}, {target for _, target in edges}
        _column(axes, 0, rows, sources, "teacher", "right")
        _column(axes, 1, heights, targets, "main", "left")
        _frame(axes, len(theirs), title or f"{plan.teacher} → {plan.student}", 0.7 if len(plans) == 1 else 0.85)
        fed = "; ".join(f"{source} feeds {target}" for source, target in edges)
        left = [name for name in theirs if name not in sources]
        words.append(f"{title or plan.student}: {fed}. Not used: {', '.join(left) or 'nothing'}.")
    figure.alt_text = f"Parts of the teacher, and the parts of the student that they feed. {' '.join(words)}"
    return figure


def mapped_tensors(plan: SelectionPlan, place: str) -> Picture:
    """The tensors of one part of the student and the teacher tensors that feed them, with the names of their axes.

    place: a part as `mapped_blocks` names it, such as "block 0" or "downsampling 1".
    Raises ValueError for a place that nothing feeds, with those that there are.
    """
    shown = [a for a in plan.assignments if place_of(a.student) == place]
    if not shown:
        fed = ", ".join(dict.fromkeys(place_of(a.student) for a in plan.assignments))
        raise ValueError(f"nothing feeds place={place!r} of {plan.student}: choose one of {fed}")
    figure, axes = picture(0.9 + 0.36 * len(shown))
    words = []
    for row, a in enumerate(shown):
        selected = sum(axis not in FIXED for axis in a.axes)
        axes.plot([0, 1], [row, row], color=PALETTE["teacher"], linestyle=EDGES[selected], linewidth=1, zorder=1)
        _label(axes, 0.5, row, f"{', '.join(a.axes)}   {_fraction(a)}")
        axes.text(-0.04, row, f"{a.teacher}\n{_shape(a.teacher_shape)}", ha="right", va="center", fontsize=8)
        axes.text(1.04, row, f"{a.student}\n{_shape(a.student_shape)}", ha="left", va="center", fontsize=8)
        words.append(f"{a.student}: {', '.join(a.axes)}, {_fraction(a)} of the teacher's {_shape(a.teacher_shape)}")
    for x, role in ((0, "teacher"), (1, "main")):
        axes.scatter([x] * len(shown), range(len(shown)), s=60, marker=MARKERS[role], color=PALETTE[role], zorder=2)
    kinds = sorted({sum(axis not in FIXED for axis in a.axes) for a in shown}, reverse=True)
    for kind in kinds:
        axes.plot([], [], color=PALETTE["teacher"], linestyle=EDGES[kind], label=SAID[kind])
    figure.legend(loc="outside lower center", ncols=len(kinds), frameon=False, fontsize=8)
    _frame(axes, len(shown), f"{place}: {plan.teacher} → {plan.student}", 0.55)
    figure.alt_text = f"Tensors of {place}, their axes, and the share that the student receives. {'; '.join(words)}."
    return figure


def _teacher_places(plan: SelectionPlan) -> list[str]:
    return list(dict.fromkeys([*map(place_of, plan.teacher_shapes), "classifier"]))


def _student_places(plan: SelectionPlan) -> list[str]:
    """In the teacher's order; the plan's classifier is fed only where it was asked for."""
    names = [a.student for a in plan.assignments] + [name for name, why in plan.skipped.items() if "counter" not in why]
    found = dict.fromkeys(map(place_of, names))
    classifier = [name for name in found if name == "classifier"]
    return [name for name in found if name != "classifier"] + classifier


def _rows(places: Sequence[str]) -> dict[str, float]:
    return {name: float(row) for row, name in enumerate(places)}


def _spread(places: Sequence[str], height: int) -> dict[str, float]:
    """The rows of a column that is as long as the other one, first and last at its ends."""
    step = (height - 1) / max(1, len(places) - 1)
    return {name: row * step for row, name in enumerate(places)}


def _column(axes: Axes, x: float, rows: Mapping[str, float], used: set[str], role: str, side: str) -> None:
    faces = [PALETTE[role] if name in used else "white" for name in rows]
    style: dict[str, Any] = {
        "s": 70,
        "marker": MARKERS[role],
        "facecolors": faces,
        "edgecolors": PALETTE[role],
        "zorder": 2,
    }
    axes.scatter([x] * len(rows), list(rows.values()), **style)
    for name, row in rows.items():
        offset = (8 if side == "left" else -8, 0)
        axes.annotate(name, (x, row), offset, textcoords="offset points", ha=side, va="center", fontsize=8)


def _label(axes: Axes, x: float, y: float, text: str) -> None:
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box, zorder=3)


def _frame(axes: Axes, rows: int, title: str, margin: float) -> None:
    axes.set(xlim=(-margin, 1 + margin), ylim=(rows - 0.4, -1.3), xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)
    axes.text(0.04, -1.0, "teacher", ha="right", fontsize=9, color=PALETTE["teacher"], weight="bold")
    axes.text(0.96, -1.0, "student", ha="left", fontsize=9, color=PALETTE["main"], weight="bold")
    bare(axes)
    axes.spines["bottom"].set_visible(False)


def _fraction(a: Assignment) -> str:
    share = Fraction(a.size, prod(a.teacher_shape))
    return str(share) if share.denominator < 100 else f"{float(share):.0%}"


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
