"""Pictures of selection plans: which teacher layers and elements each student receives.

`plans` is one plan, or those of several students, main first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.patches import Patch

from dmws_lite.method.components import FIXED, depths, squeezed, unfused
from dmws_lite.method.plan import Assignment, SelectionPlan
from dmws_lite.views import style
from dmws_lite.views.style import HATCHES, PALETTE, SHARED, UNUSED, student_colours, student_names

Plans = SelectionPlan | Sequence[SelectionPlan]
CORNER = 24  # rows and columns of a tensor that its map shows
OWNERS = {"only main": (PALETTE["main"], ""), "both": (SHARED, "xxx"), "only auxiliary": (PALETTE["auxiliary"], "///")}
OWNERS |= {"not used": (UNUSED, "")}
SHAPES = {"teacher": "square", "main": "circle"}
CELLS: style.Style = {"cbar": False, "linewidths": 0.8, "linecolor": "white", "vmin": 0}


def axis_strips(plans: Plans, axes: Sequence[str] | None = None) -> style.Picture:
    """Which teacher indices each student receives, one strip per named axis and one lane per student.

    axes: named axes; None draws one of each kind: the residual stream or every stage, the first private to a block.
    On the left the whole axis, where a shade is the share taken; on the right its first indices one by one.
    """
    masks = axis_masks(plans)
    names = list(axes or _typical(masks))
    figure, (whole, near) = style.picture(0.95 + 0.45 * len(names), 1, 2, width_ratios=[3, 4])
    _draw_strips(whole, near, masks, names, 32)
    _add_legend(figure, plans)
    figure.alt_text = f"Strips of teacher indices, one lane per student. {_strip_words(masks, names)}"
    return figure


def tensor_maps(plans: Plans, tensors: Sequence[str]) -> style.Picture:
    """Who receives each element of a few teacher tensors, as maps of their first rows and columns."""
    figure, grid = style.picture(3.0 if len(tensors) > 2 else 3.8, 1, len(tensors), squeeze=False)
    words = [_draw_map(axes, plans, tensor) for axes, tensor in zip(grid[0], tensors, strict=True)]
    _add_legend(figure, plans, tensors)
    figure.alt_text = f"Maps of teacher tensors. {' '.join(words)}"
    return figure


def coverage_bars(plans: Plans) -> style.Picture:
    """How much of each kind of teacher tensor goes to each student, and to several of them.

    plans: one plan or two.
    Raises ValueError for more than two: draw them in pairs.
    """
    plans = _several(plans)
    if len(plans) > 2:
        raise ValueError(f"coverage_bars draws one or two plans, not {len(plans)}: pass plans[:2]")
    table = _shares(plans)
    total = style.listed(table.loc["all"], ".1%")
    table = table.loc[:, table.any()]
    fills = OWNERS | {name.removeprefix("only "): fill for name, fill in OWNERS.items()}
    figure, axes = style.picture(1.0 + 0.24 * len(table))
    style.bars(axes, 100 * table, fills, "barh", stacked=True)
    axes.set(xlim=(0, 100), ylim=(-0.6, len(table) - 0.4), xlabel="share of the teacher's elements (%)")
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.grid(False)
    style.add_legend(figure, [axes])
    figure.alt_text = f"Shares of the elements of {len(table) - 1} kinds of teacher tensors. In all: {total}."
    return figure


def layer_map(plan: SelectionPlan) -> style.Picture:
    """Which teacher block feeds each student block: teacher above, student below, one column of blocks per stage."""
    figure, axes = style.picture(1.9)
    _draw_layers(axes, plan)
    stages = "; ".join(f"stage {i}: {_numbers(stage)}" for i, stage in enumerate(plan.layers))
    figure.alt_text = f"Teacher blocks that feed the student's blocks 0, 1, ... in turn. {stages}."
    return figure


def consistency(plans: Mapping[str, SelectionPlan]) -> style.Picture:
    """The first teacher indices that tensors use on the axis that most of them have (a ViT's residual stream).

    plans: by the title of their panel; of one teacher and student. One row per tensor, for the first 14.
    """
    names = Counter(name for a in next(iter(plans.values())).assignments for name, _, _ in _plain_axes(a))
    axis = names.most_common(1)[0][0]
    figure, grid = style.picture(4.0, 1, len(plans), squeeze=False, sharey=True)
    words = []
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        masks = {a.student: _mask(*own[1:]) for a in plan.assignments for own in _plain_axes(a) if own[0] == axis}
        raster = pd.DataFrame(list(masks.values())[:14], list(masks)[:14]).iloc[:, :48]
        colours = ListedColormap([UNUSED, PALETTE["main"]])
        sns.heatmap(raster, ax=axes, cmap=colours, vmax=1, xticklabels=8, **CELLS)
        axes.tick_params(length=0, rotation=0)
        verdict = f"{len(masks)} tensors {'agree' if plan.consistency()[axis] else 'disagree'}"
        size = len(next(iter(masks.values())))
        axes.set(title=f"{title}: {verdict}", xlabel=f"teacher index on {axis} (first {raster.shape[1]} of {size})")
        words.append(f"{title}: the {verdict}.")
    figure.alt_text = f"Teacher indices that tensors use on axis {axis}, one row per tensor. {' '.join(words)}"
    return figure


def selection(plans: Plans, tensor: str) -> style.Picture:
    """One look at a selection, as the explorer draws it: layers, strips of (at most four) axes, the map of a tensor."""
    masks = axis_masks(plans)
    names = list(dict.fromkeys([*map(unfused, _map_axes(plans, tensor)[1]), *_typical(masks)]))[:4]
    figure = style.Picture(figsize=(style.WIDTH, 4.9))
    places = [(0.08, 0.73, 0.91, 0.26), (0.08, 0.15, 0.2, 0.48), (0.3, 0.15, 0.27, 0.48), (0.64, 0.15, 0.35, 0.48)]
    layers, whole, near, elements = map(figure.add_axes, places)
    _draw_layers(layers, _several(plans)[0])
    _draw_strips(whole, near, masks, names, 16)
    words = _draw_map(elements, plans, tensor)
    _add_legend(figure, plans, [tensor], loc="lower center")
    figure.alt_text = f"{summary(plans)}. {words} {_strip_words(masks, names)}"
    return figure


def axis_masks(plans: Plans) -> dict[str, np.ndarray]:
    """For each named axis, bool (student, teacher size): the teacher indices that each student receives.

    Where tensors disagree (random_inconsistent) the first tensor that has the axis counts.
    """
    masks: dict[str, np.ndarray] = {}
    plans = _several(plans)
    for number, plan in enumerate(plans):
        for a in plan.assignments:
            for axis, index, size in _plain_axes(a):
                mask = masks.setdefault(axis, np.zeros((len(plans), size), bool))
                if not mask[number].any():
                    mask[number] = _mask(index, size)
    return masks


def tensor_roles(plans: Plans, tensor: str) -> np.ndarray:
    """Who receives each element of a teacher tensor, int (rows, columns), without kernel axes; a vector is one row.

    0 is nobody, k student k alone (1 is main), n + 1 several of the n students. Raises ValueError for unknown tensors.
    """
    plans = _several(plans)
    if tensor not in plans[0].teacher_shapes:
        some = ", ".join(list(plans[0].teacher_shapes)[:6])
        raise ValueError(f"the teacher {plans[0].teacher} has no tensor {tensor!r}: choose one of {some}, ...")
    shape, (kept, _) = plans[0].teacher_shapes[tensor], _map_axes(plans, tensor)
    roles = np.zeros([shape[i] for i in kept], np.int64)
    for number, plan in enumerate(plans, 1):
        if a := _assignment(plan, tensor):
            where = np.ix_(*(_mask(a.indices[i], shape[i]) for i in kept))
            roles[where] = np.where(roles[where] == 0, number, len(plans) + 1)
    return np.atleast_2d(roles)


def summary(plans: Plans) -> str:
    """Coverage, overlap (of the two students that share most) and consistency in one line."""
    plans = _several(plans)
    by_name = zip(student_names(len(plans)), plans, strict=True)
    covered = ", ".join(f"{name} {100 * plan.coverage().total:.2f} %" for name, plan in by_name)
    shared = [a.overlap(b).total for a, b in combinations(plans, 2)]
    overlap = f"; {'largest ' * (len(plans) > 2)}overlap {100 * max(shared):.2f} %" if shared else ""
    agreeing = plans[0].consistency().values()
    return f"coverage: {covered}{overlap}; {sum(agreeing)} of {len(agreeing)} axes consistent"


def _shares(plans: Sequence[SelectionPlan]) -> pd.DataFrame:
    """By kind of tensor (block numbers are left out), "all" first: shares of its elements by who receives them."""
    sizes = pd.Series({name: int(np.prod(shape)) for name, shape in plans[0].teacher_shapes.items()})
    own = [pd.Series(plan.coverage().tensors).reindex(sizes.index) for plan in plans]
    both = pd.Series(plans[0].overlap(plans[1]).tensors if len(plans) > 1 else 0.0, sizes.index)
    only = "only " if both.any() else ""
    shares = {f"{only}main": own[0] - both, "both": both, f"{only}auxiliary": (own[1:] or [both])[0] - both}
    used = pd.DataFrame(shares).mul(sizes, axis=0).assign(size=sizes)
    table = used.groupby(used.index.str.replace(r"\d+", "*", regex=True), sort=False).sum()
    table = pd.concat([table.sum().to_frame("all").T, table.iloc[::-1]])
    table = table.div(table.pop("size"), axis=0)
    return table.assign(**{"not used": 1 - table.sum(axis=1)})


def _typical(axes: Iterable[str]) -> list[str]:
    """One named axis of each kind: the residual stream or every stage, and the first of those private to a block."""
    kinds: dict[str, str] = {}
    for axis in axes:
        kinds.setdefault(axis.split("/")[0], axis)
    return list(kinds.values())


def _several(plans: Plans) -> Sequence[SelectionPlan]:
    return [plans] if isinstance(plans, SelectionPlan) else plans


def _mask(index: np.ndarray | None, size: int) -> np.ndarray:
    """bool (size,): the indices of an axis; None is all of them."""
    return np.isin(np.arange(size), np.arange(size) if index is None else index)


def _assignment(plan: SelectionPlan, tensor: str) -> Assignment | None:
    return next((a for a in plan.assignments if a.teacher == tensor), None)


def _plain_axes(a: Assignment) -> list[tuple[str, np.ndarray | None, int]]:
    """(axis, teacher indices, teacher size) of the axes that elements are selected along; of q, k and v those of q."""
    axes = []
    for axis, index, size in zip(a.axes, a.indices, squeezed(a.teacher_shape, len(a.axes)), strict=True):
        if axis not in FIXED:
            parts = 3 if "*" in axis else 1
            axes.append((unfused(axis), index if index is None else index[: len(index) // parts], size // parts))
    return axes


def _map_axes(plans: Plans, tensor: str) -> tuple[list[int], list[str]]:
    """Position and name of the axes of a teacher tensor along which elements are selected: one or two."""
    plan = _several(plans)[0]
    a = _assignment(plan, tensor)
    if a is None:
        return [i for i, size in enumerate(plan.teacher_shapes[tensor]) if size > 1][:2], []
    kept = [i for i, axis in enumerate(a.axes) if axis not in FIXED]
    return kept, [a.axes[i] for i in kept]


def _draw_strips(whole: Axes, near: Axes, masks: dict[str, np.ndarray], names: Sequence[str], zoom: int) -> None:
    """A strip per axis, a lane per student: the shares of the whole axis, and its first indices one by one."""
    for row, name in enumerate(names):
        students, size = masks[name].shape
        colours = np.array([to_rgb(c) for c in student_colours(students)])[:, None]
        bins = max(n for n in range(1, 49) if size % n == 0)  # bins of one size: none looks fuller than it is
        shares, first = masks[name].reshape(students, bins, -1).mean(2), masks[name][:, :zoom]
        for axes, taken, width, line in ((whole, shares, 1, "none"), (near, first, first.shape[1], "white")):
            cells = taken[..., None] * colours + (1 - taken[..., None]) * to_rgb(UNUSED)
            x, y = np.linspace(0, width, taken.shape[1] + 1), np.linspace(row - 0.4, row + 0.4, students + 1)
            axes.pcolormesh(x, y, cells, edgecolors=line, linewidth=0.8)
    style.clear(whole, near)
    for axes in (whole, near):
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(length=0)
    whole.set_yticks(range(len(names)), [f"{name}\n({masks[name].shape[1]})" for name in names])
    whole.set_xticks([0, 1], ["first", "last"])
    whole.set_title("whole axis (shade: share)")
    near.set(xlim=(0, zoom), title=f"first {zoom} teacher indices")
    near.set_xticks(np.arange(0, zoom, 8) + 0.5, np.arange(0, zoom, 8))


def _draw_map(axes: Axes, plans: Plans, tensor: str) -> str:
    """The first rows and columns of a tensor, by who receives them; returns the shares of the whole in words."""
    roles, n = tensor_roles(plans, tensor), len(_several(plans))
    rows, shown = len(roles), roles[:CORNER, :CORNER]
    colours = ListedColormap([UNUSED, *student_colours(n), SHARED])
    ticks: Any = {"xticklabels": 5, "yticklabels": 5 if rows > 1 else False}
    sns.heatmap(shown, ax=axes, cmap=colours, vmax=n + 1, **CELLS, **ticks)
    axes.tick_params(length=2, rotation=0)
    strokes: dict[int, Any] = {2: (2, 2, -45), n + 1: (4, 2, 45)} if n > 1 else {}  # one stroke, a cross
    for role, spokes in strokes.items():
        y, x = np.nonzero(shown == role)
        axes.scatter(x + 0.5, y + 0.5, 16, "white", marker=spokes, linewidths=0.8)
    axes.set_aspect(1 if rows > 1 else 4)
    first, size = (" x ".join(map(str, shape[-2 if rows > 1 else -1 :])) for shape in (shown.shape, roles.shape))
    names = _map_axes(plans, tensor)[1] or [""]
    axes.set_title(f"{tensor}\n{'all' if shown.shape == roles.shape else f'first {first} of {size}'}")
    axes.set(xlabel=names[-1], ylabel=names[0] if rows > 1 else "")
    people = ["nobody", *student_names(n), *["several"] * (n > 1)]
    shares = {name: float(np.mean(roles == k)) for k, name in enumerate(people)}
    return f"{tensor}: {style.listed(shares | {'nobody': shares.pop('nobody')}, '.0%')}."


def _draw_layers(axes: Axes, plan: SelectionPlan) -> None:
    """Numbered blocks of the teacher above those of the student, joined by lines; hollow ones feed nothing."""
    above = 0.0
    teacher = depths(plan.teacher_shapes, plan.family)
    for stage, (blocks, depth) in enumerate(zip(plan.layers, teacher, strict=True)):
        start = above + (depth - len(blocks)) / 2
        for number, block in enumerate(blocks):
            axes.plot([above + block, start + number], [1, 0], color=PALETTE["teacher"], linewidth=1)
            _draw_node(axes, start + number, 0, number, "main")
        for block in range(depth):
            _draw_node(axes, above + block, 1, block, "teacher", block in blocks)
        if len(teacher) > 1:
            axes.text(above + (depth - 1) / 2, 1.45, f"stage {stage}", ha="center")
        above += depth + 0.7
    style.clear(axes)
    axes.set(xlim=(-0.7, above), ylim=(-0.5, 1.7))
    axes.set_yticks([0, 1], ["student", "teacher"])
    axes.grid(False)
    axes.tick_params(length=0)


def _draw_node(axes: Axes, x: float, y: float, number: int, role: str, filled: bool = True) -> None:
    colour = PALETTE[role]
    box = {"boxstyle": SHAPES[role], "facecolor": colour if filled else "white", "edgecolor": colour}
    axes.text(x, y, str(number), color="white" if filled else colour, ha="center", va="center", bbox=box)


def _add_legend(
    figure: style.Picture, plans: Plans, tensors: Sequence[str] = (), loc: Any = "outside lower center"
) -> None:
    """One patch per student; where tensors are drawn as maps, with the marks of the maps."""
    n = len(_several(plans))
    shared = n > 1 and any((tensor_roles(plans, tensor) == n + 1).any() for tensor in tensors)
    hatches = ["", HATCHES["auxiliary"] if tensors else "", *[""] * n]
    parts = list(zip(student_names(n), student_colours(n), hatches, strict=False))
    parts += [("both" if n == 2 else "several", SHARED, "xxx")] if shared else []
    parts.append(("not used", UNUSED, ""))
    handles = [Patch(facecolor=colour, hatch=hatch, edgecolor="white", label=name) for name, colour, hatch in parts]
    figure.legend(handles=handles, loc=loc, ncols=len(handles))


def _strip_words(masks: dict[str, np.ndarray], names: Sequence[str]) -> str:
    words = []
    for name in names:
        counts, times = masks[name].sum(1), masks[name].sum(0)
        taken, shared, unused = " and ".join(map(str, counts)), int((times > 1).sum()), int((times == 0).sum())
        students = zip(student_names(len(counts)), masks[name], strict=True)
        which = "; ".join(f"{student} {_ends(mask.nonzero()[0])}" for student, mask in students)
        words.append(f"{name}: {taken} of {len(times)} indices, {shared} shared, {unused} unused; {which}.")
    return " ".join(words)


def _ends(indices: np.ndarray) -> str:
    return _numbers(indices) if len(indices) < 5 else f"{_numbers(indices[:3])}, …, {indices[-1]}"


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
