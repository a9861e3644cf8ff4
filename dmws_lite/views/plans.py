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
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from dmws_lite.method.components import FIXED, depths, squeezed, unfused
from dmws_lite.method.plan import Assignment, SelectionPlan
from dmws_lite.views import style

Plans = SelectionPlan | Sequence[SelectionPlan]
CORNER = 24  # rows and columns of a tensor that its map shows


def axis_strips(plans: Plans, axes: Sequence[str] | None = None) -> style.Picture:
    """Which teacher indices each student receives, one strip per named axis and one lane per student.

    axes: named axes; None draws one of each kind: the residual stream or every stage, the first private to a block.
    On the left the whole axis, where a shade is the share taken; on the right its first indices one by one.
    """
    masks = axis_masks(plans)
    names = list(axes or _typical(masks))
    figure, (whole, near) = style.picture(0.95 + 0.45 * len(names), 1, 2, width_ratios=[3, 4])
    _draw_strips(whole, near, masks, names, 32)
    _legend(figure, len(_several(plans)))
    figure.alt_text = f"Strips of teacher indices, one lane per student. {_strip_words(masks, names)}"
    return figure


def tensor_maps(plans: Plans, tensors: Sequence[str]) -> style.Picture:
    """Who receives each element of a few teacher tensors, as maps of their first rows and columns."""
    figure, grid = style.picture(3.0 if len(tensors) > 2 else 3.8, 1, len(tensors), squeeze=False)
    words = [_draw_map(axes, plans, tensor) for axes, tensor in zip(grid[0], tensors, strict=True)]
    _legend(figure, len(_several(plans)), _shared(plans, tensors))
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
    only = "only " if table["both"].any() else ""
    parts = [
        (f"{only}main", table["main"] - table["both"], style.PALETTE["main"], ""),
        ("both", table["both"], style.SHARED, "xxx"),
        (f"{only}auxiliary", table["auxiliary"] - table["both"], style.PALETTE["auxiliary"], "///"),
        ("not used", 1 - table["main"] - table["auxiliary"] + table["both"], style.UNUSED, ""),
    ]
    figure, axes = style.picture(1.0 + 0.24 * len(table))
    left = np.zeros(len(table))
    for label, share, colour, hatch in parts:
        if share.any():
            look = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": label}
            axes.barh(table.index, 100 * share, left=100 * left, **look)
        left = left + share.to_numpy()
    axes.set(xlim=(0, 100), ylim=(-0.6, len(table) - 0.4), xlabel="share of the teacher's elements (%)")
    axes.tick_params(axis="y", labelsize=9, length=0)
    axes.get_yticklabels()[0].set_fontweight("bold")
    style.bare(axes)
    style.add_legend(figure, [axes])
    total = style.listed({label: share.loc["all"] for label, share, *_ in parts}, ".1%")
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
        users = [(a.student, *own[1:]) for a in plan.assignments for own in _plain_axes(a) if own[0] == axis]
        shown, size = users[:14], users[0][2]
        raster = np.array([_mask(index, size)[:48] for _, index, _ in shown])
        colours = np.where(raster[..., None], to_rgb(style.PALETTE["main"]), to_rgb(style.UNUSED))
        _draw_cells(axes, colours, 0, raster.shape[1], -0.5, len(raster) - 0.5)
        axes.set_ylim(len(raster) - 0.5, -0.5)
        axes.set_yticks(range(len(raster)), [name for name, *_ in shown], fontsize=8)
        verdict = "agree" if plan.consistency()[axis] else "disagree"
        axes.set_title(f"{title}: {len(users)} tensors {verdict}", fontsize=10)
        axes.set_xlabel(f"teacher index on {axis} (first {raster.shape[1]} of {size})", fontsize=9)
        axes.tick_params(length=0)
        words.append(f"{title}: the {len(users)} tensors {verdict}.")
    figure.alt_text = f"Teacher indices that tensors use on axis {axis}, one row per tensor. {' '.join(words)}"
    return figure


def selection(plans: Plans, tensor: str) -> style.Picture:
    """One look at a selection, as the explorer draws it: layers, strips of (at most four) axes, the map of a tensor."""
    masks = axis_masks(plans)
    own = [unfused(axis) for axis in _map_axes(plans, tensor)[1]]
    names = list(dict.fromkeys(own + _typical(masks)))[:4]
    figure, (layers, whole, near, map_) = style.placed(
        4.9, (0.08, 0.73, 0.91, 0.26), (0.08, 0.15, 0.2, 0.48), (0.3, 0.15, 0.27, 0.48), (0.64, 0.15, 0.35, 0.48)
    )
    _draw_layers(layers, _several(plans)[0])
    _draw_strips(whole, near, masks, names, 16)
    words = _draw_map(map_, plans, tensor)
    _legend(figure, len(_several(plans)), _shared(plans, [tensor]), loc="lower center")
    figure.alt_text = f"{summary(plans)}. {words} {_strip_words(masks, names)}"
    return figure


# --- what is drawn, as data ------------------------------------------------------------------------------------------


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
    """Who receives each element of a teacher tensor, as a map int (rows, columns).

    tensor: a teacher tensor's name; a vector is a map of one row. All elements of a kernel go the same way, so kernel
            axes are left out.
    Returns 0 for nobody, k for student k alone (1 is main), n + 1 for several of the n students.
    Raises ValueError for a tensor that the teacher does not have.
    """
    plans = _several(plans)
    if tensor not in plans[0].teacher_shapes:
        some = ", ".join(list(plans[0].teacher_shapes)[:6])
        raise ValueError(f"the teacher {plans[0].teacher} has no tensor {tensor!r}: choose one of {some}, ...")
    shape, (kept, _) = plans[0].teacher_shapes[tensor], _map_axes(plans, tensor)
    roles = np.zeros([shape[i] for i in kept], np.int64)
    for number, plan in enumerate(plans, 1):
        a = next((a for a in plan.assignments if a.teacher == tensor), None)
        if a is not None:
            where = np.ix_(*(_mask(a.indices[i], shape[i]) for i in kept))
            roles[where] = np.where(roles[where] == 0, number, len(plans) + 1)
    return np.atleast_2d(roles)


def summary(plans: Plans) -> str:
    """Coverage, overlap (of the two students that share most) and consistency in one line.

    >>> from dmws_lite.method.selection import complementary_plans
    >>> summary(complementary_plans("vit_small_patch16_224", "vit_tiny_patch16_224"))
    'coverage: main 25.50 %, auxiliary 25.50 %; overlap 0.00 %; 25 of 25 axes consistent'
    """
    plans = _several(plans)
    by_name = zip(style.student_names(len(plans)), plans, strict=True)
    covered = ", ".join(f"{name} {100 * plan.coverage().total:.2f} %" for name, plan in by_name)
    shared = [a.overlap(b).total for a, b in combinations(plans, 2)]
    overlap = f"; {'largest ' if len(plans) > 2 else ''}overlap {100 * max(shared):.2f} %" if shared else ""
    agreeing = plans[0].consistency().values()
    return f"coverage: {covered}{overlap}; {sum(agreeing)} of {len(agreeing)} axes consistent"


def _shares(plans: Sequence[SelectionPlan]) -> pd.DataFrame:
    """By kind of tensor (block numbers are left out), "all" first: shares of its elements for main, auxiliary, both."""
    sizes = pd.Series({name: int(np.prod(shape)) for name, shape in plans[0].teacher_shapes.items()})
    shares = pd.DataFrame({"main": plans[0].coverage().tensors, "auxiliary": 0.0, "both": 0.0}, sizes.index)
    if len(plans) == 2:
        shares["auxiliary"], shares["both"] = plans[1].coverage().tensors, plans[0].overlap(plans[1]).tensors
    used = shares.mul(sizes, axis=0).assign(size=sizes)
    table = used.groupby(used.index.str.replace(r"\d+", "*", regex=True), sort=False).sum()
    table = pd.concat([table.sum().to_frame("all").T, table.iloc[::-1]])
    return table.div(table.pop("size"), axis=0)


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
    a = next((a for a in plan.assignments if a.teacher == tensor), None)
    if a is None:
        return [i for i, size in enumerate(plan.teacher_shapes[tensor]) if size > 1][:2], []
    kept = [i for i, axis in enumerate(a.axes) if axis not in FIXED]
    return kept, [a.axes[i] for i in kept]


# --- parts of pictures -----------------------------------------------------------------------------------------------


def _draw_strips(whole: Axes, near: Axes, masks: dict[str, np.ndarray], names: Sequence[str], zoom: int) -> None:
    for row, name in enumerate(names):
        mask = masks[name]
        students, size = mask.shape
        colours = np.array([to_rgb(c) for c in style.student_colours(students)])[:, None]
        bins = max(n for n in range(1, 49) if size % n == 0)  # bins of one size: none looks fuller than it is
        shares = mask.reshape(students, bins, -1).mean(2)
        for axes, taken, width in ((whole, shares, 1), (near, mask[:, :zoom], min(zoom, size))):
            shade = np.expand_dims(taken, 2)
            cells = shade * colours + (1 - shade) * to_rgb(style.UNUSED)
            _draw_cells(axes, cells, 0, width, row - 0.4, row + 0.4, "white" if axes is near else "none")
    for axes in (whole, near):
        axes.set(ylim=(len(names) - 0.5, -0.5))
        axes.tick_params(length=0, labelsize=8)
    whole.set_yticks(range(len(names)), [f"{name}\n({masks[name].shape[1]})" for name in names], fontsize=9)
    whole.set_xticks([0, 1], ["first", "last"])
    near.set(yticks=[], xlim=(0, zoom))
    near.set_xticks(np.arange(0, zoom, 8) + 0.5, np.arange(0, zoom, 8))
    whole.set_title("whole axis (shade: share taken)", fontsize=9)
    near.set_title(f"first {zoom} teacher indices", fontsize=9)


def _draw_cells(axes: Axes, colours: np.ndarray, left: float, right: float, top: float, bottom: float, line="white"):
    """Cells of colours (row, column, RGB) between these places on the axes."""
    rows, columns = colours.shape[:2]
    x, y = np.linspace(left, right, columns + 1), np.linspace(top, bottom, rows + 1)
    axes.pcolormesh(x, y, colours, edgecolors=line, linewidth=0.8)
    axes.spines[:].set_visible(False)


def _draw_map(axes: Axes, plans: Plans, tensor: str) -> str:
    """The first rows and columns of a tensor, by who receives them; returns the shares of the whole in words."""
    roles, n = tensor_roles(plans, tensor), len(_several(plans))
    (rows, columns), shown = roles.shape, roles[:CORNER, :CORNER]
    colours = np.array([to_rgb(c) for c in (style.UNUSED, *style.student_colours(n), style.SHARED)])[shown]
    _draw_cells(axes, colours, 0, shown.shape[1], 0, shown.shape[0])
    axes.set(xlim=(0, shown.shape[1]), ylim=(shown.shape[0], 0))
    strokes: dict[int, Any] = {2: (2, 2, -45), n + 1: (4, 2, 45)} if n > 1 else {}  # one stroke, a cross
    for role, spokes in strokes.items():
        y, x = np.nonzero(shown == role)
        axes.scatter(x + 0.5, y + 0.5, 16, "white", marker=spokes, linewidths=0.8)
    axes.set_aspect(1 if rows > 1 else 4)
    first, size = (
        (f"{shown.shape[0]} x {shown.shape[1]}", f"{rows} x {columns}") if rows > 1 else (shown.shape[1], columns)
    )
    axes.set_title(f"{tensor}\n{'all' if shown.shape == roles.shape else f'first {first} of {size}'}", fontsize=9)
    names = _map_axes(plans, tensor)[1]
    axes.set_xlabel(names[-1] if names else "", fontsize=9)
    axes.set_ylabel(names[0] if rows > 1 and names else "", fontsize=9)
    axes.tick_params(labelsize=8, length=2)
    if rows == 1:
        axes.set_yticks([])
    several = ["several"] if n > 1 else []
    shares = {name: float(np.mean(roles == k)) for k, name in enumerate([*style.student_names(n), *several], 1)}
    return f"{tensor}: {style.listed(shares | {'nobody': float(np.mean(roles == 0))}, '.0%')}."


def _draw_layers(axes: Axes, plan: SelectionPlan) -> None:
    above = 0.0
    teacher = depths(plan.teacher_shapes, plan.family)
    for stage, (blocks, depth) in enumerate(zip(plan.layers, teacher, strict=True)):
        start = above + (depth - len(blocks)) / 2
        for number, block in enumerate(blocks):
            axes.plot([above + block, start + number], [1, 0], color=style.PALETTE["teacher"], linewidth=1, zorder=1)
        _nodes(axes, above + np.arange(depth), 1, "teacher", [b in blocks for b in range(depth)])
        _nodes(axes, start + np.arange(len(blocks)), 0, "main", [True] * len(blocks))
        if len(teacher) > 1:
            axes.text(above + (depth - 1) / 2, 1.45, f"stage {stage}", ha="center", fontsize=8)
        above += depth + 0.7
    axes.set(xlim=(-0.7, above), ylim=(-0.5, 1.7), xticks=[])
    axes.set_yticks([0, 1], ["student", "teacher"], fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _nodes(axes: Axes, x: np.ndarray, y: float, role: str, filled: list[bool]) -> None:
    colour, marker = style.role_look(role)["color"], style.role_look(role)["marker"]
    faces = [colour if full else "white" for full in filled]
    axes.scatter(x, np.full(len(x), y), s=210, marker=marker, facecolors=faces, edgecolors=colour, zorder=2)
    text: style.Style = {"ha": "center", "va": "center", "fontsize": 8, "zorder": 3}
    for number, (place, full) in enumerate(zip(x, filled, strict=True)):
        axes.text(place, y, str(number), color="white" if full else colour, **text)


def _legend(figure: style.Picture, n: int, shared: bool | None = None, loc: Any = "outside lower center") -> None:
    """One patch per student, with the marks of the maps.

    shared: whether the maps hold elements that several students receive; None where there are strips only.
    """
    hatches = ["///" if i == 1 and shared is not None else "" for i in range(n)]
    parts = [*zip(style.student_colours(n), style.student_names(n), hatches, strict=True)]
    parts += [(style.SHARED, "both" if n == 2 else "several", "xxx")] if shared else []
    parts.append((style.UNUSED, "not used", ""))
    handles = [Patch(facecolor=c, hatch=hatch, edgecolor="white", label=name) for c, name, hatch in parts]
    figure.legend(handles=handles, loc=loc, ncols=len(handles), frameon=False, fontsize=9)


def _shared(plans: Plans, tensors: Sequence[str]) -> bool:
    n = len(_several(plans))
    return n > 1 and any((tensor_roles(plans, tensor) == n + 1).any() for tensor in tensors)


def _strip_words(masks: dict[str, np.ndarray], names: Sequence[str]) -> str:
    words = []
    for name in names:
        counts, times = masks[name].sum(1), masks[name].sum(0)
        taken, shared, unused = " and ".join(map(str, counts)), int((times > 1).sum()), int((times == 0).sum())
        students = zip(style.student_names(len(counts)), masks[name], strict=True)
        which = "; ".join(f"{student} {_ends(mask.nonzero()[0])}" for student, mask in students)
        words.append(f"{name}: {taken} of {len(times)} indices, {shared} shared, {unused} unused; {which}.")
    return " ".join(words)


def _ends(indices: np.ndarray) -> str:
    """The first three indices and the last."""
    return _numbers(indices) if len(indices) < 5 else f"{_numbers(indices[:3])}, …, {indices[-1]}"


def _numbers(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
