"""Pictures of selection plans: which teacher layers and elements each student receives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from dmws_lite.method.components import depths
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.views.picture import (
    PALETTE,
    SHARED,
    UNUSED,
    Picture,
    bare,
    picture,
    placed,
    student_colours,
    student_names,
)
from dmws_lite.views.plan_tables import (
    Plans,
    axis_masks,
    consistency_table,
    coverage_table,
    map_axes,
    plain_axes,
    several,
    summary,
    tensor_roles,
    typical_axes,
)


def axis_strips(plans: Plans, axes: Sequence[str] | None = None, zoom: int = 32) -> Picture:
    """Which teacher indices each student receives, one strip a named axis and one lane a student.

    plans: one plan, or those of several students, main first.
    axes:  named axes; None draws one of each kind (see typical_axes).
    zoom:  the right-hand panel shows the first `zoom` indices one by one; the left-hand one the whole axis, where a
           shade is the share taken.
    """
    masks, names = axis_masks(plans), list(axes or typical_axes(plans))
    figure, (whole, near) = picture(0.95 + 0.45 * len(names), 1, 2, width_ratios=[3, 4])
    _draw_strips(whole, near, masks, names, zoom)
    _legend(figure, len(several(plans)))
    figure.alt_text = f"Strips of teacher indices, one lane a student. {_strip_words(masks, names)}"
    return figure


def tensor_maps(plans: Plans, tensors: Sequence[str], corner: int = 24) -> Picture:
    """Who receives each element of a few teacher tensors, as maps of their first `corner` rows and columns."""
    figure, grid = picture(3.0 if len(tensors) > 2 else 3.8, 1, len(tensors), squeeze=False)
    for axes, tensor in zip(grid[0], tensors, strict=True):
        _draw_map(axes, plans, tensor, corner)
    _legend(figure, len(several(plans)), _shared(plans, tensors))
    figure.alt_text = "Maps of teacher tensors. " + " ".join(_map_words(plans, tensor) for tensor in tensors)
    return figure


def coverage_bars(plans: Plans) -> Picture:
    """How much of each kind of teacher tensor goes to each student, and to several of them.

    plans: one plan or two.
    Raises ValueError for more than two: draw them in pairs.
    """
    plans = several(plans)
    if len(plans) > 2:
        raise ValueError(f"coverage_bars draws one or two plans, not {len(plans)}: pass plans[:2]")
    table = coverage_table(plans).iloc[::-1].assign(**({} if len(plans) == 2 else {"auxiliary": 0.0, "shared": 0.0}))
    only = "only " if table["shared"].any() else ""
    parts = [
        (f"{only}main", table["main"] - table["shared"], PALETTE["main"], ""),
        ("both", table["shared"], SHARED, "xxx"),
        (f"{only}auxiliary", table["auxiliary"] - table["shared"], PALETTE["auxiliary"], "///"),
        ("not used", 1 - table["main"] - table["auxiliary"] + table["shared"], UNUSED, ""),
    ]
    figure, axes = picture(1.0 + 0.24 * len(table))
    left = np.zeros(len(table))
    for label, share, colour, hatch in parts:
        if share.any():
            style = {"color": colour, "hatch": hatch, "edgecolor": "white", "label": label}
            axes.barh(table["tensors"], 100 * share, left=100 * left, **style)
        left = left + share.to_numpy()
    axes.set(xlim=(0, 100), xlabel="share of the teacher's elements (%)")
    axes.margins(y=0.01)
    axes.tick_params(axis="y", labelsize=9, length=0)
    axes.get_yticklabels()[0].set_fontweight("bold")
    bare(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    total = ", ".join(f"{label} {share.iloc[0]:.1%}" for label, share, *_ in parts)
    figure.alt_text = f"Shares of the elements of {len(table) - 1} kinds of teacher tensors. In all: {total}."
    return figure


def layer_map(plan: SelectionPlan) -> Picture:
    """Which teacher block feeds each student block: teacher above, student below, one column of blocks a stage."""
    figure, axes = picture(1.9)
    _draw_layers(axes, plan)
    stages = "; ".join(f"stage {i}: {_numbers(stage)}" for i, stage in enumerate(plan.layers))
    figure.alt_text = f"Teacher blocks that feed the student's blocks 0, 1, ... in turn. {stages}."
    return figure


def consistency(plans: Mapping[str, SelectionPlan], axis: str | None = None, tensors: int = 14) -> Picture:
    """The teacher indices that the tensors of one named axis use: one row a tensor, one panel a plan.

    plans: by the title of their panel; of one teacher and student.
    axis:  a named axis; None takes the one that most tensors have (a ViT's residual stream).
    """
    zoom, words = 48, []
    first = consistency_table(next(iter(plans.values())))
    axis = axis or str(first.loc[first["tensors"].idxmax(), "axis"])
    figure, grid = picture(1.2 + 0.2 * tensors, 1, len(plans), squeeze=False, sharey=True)
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        rows = [(a.student, *found[1:]) for a in plan.assignments for found in plain_axes(a) if found[0] == axis]
        raster = np.zeros((min(tensors, len(rows)), rows[0][2], 1), bool)
        for row, (_, index, _) in zip(raster, rows, strict=False):
            row[slice(None) if index is None else index] = True
        shown = raster[:, :zoom]
        colours = np.where(shown, to_rgb(PALETTE["main"]), to_rgb(UNUSED))
        _draw_cells(axes, colours, (0, shown.shape[1], len(shown), 0))
        axes.set_yticks(np.arange(len(raster)) + 0.5, [name for name, *_ in rows[: len(raster)]], fontsize=8)
        verdict = "agree" if plan.consistency()[axis] else "disagree"
        axes.set_title(f"{title}: {len(rows)} tensors {verdict}", fontsize=10)
        axes.set_xlabel(f"teacher index on {axis} (first {shown.shape[1]} of {raster.shape[1]})", fontsize=9)
        axes.tick_params(length=0)
        words.append(f"{title}: the {len(rows)} tensors {verdict}.")
    figure.alt_text = f"Teacher indices that tensors use on axis {axis}, one row a tensor. {' '.join(words)}"
    return figure


def selection(plans: Plans, tensor: str, corner: int = 24) -> Picture:
    """One look at a selection, as the explorer draws it: layers, strips of (at most four) axes, the map of a tensor."""
    masks = axis_masks(plans)
    own = [axis.split("*")[-1] for axis in map_axes(plans, tensor)[1]]
    names = list(dict.fromkeys(own + typical_axes(plans)))[:4]
    figure, (layers, whole, near, map_) = placed(
        4.9, (0.08, 0.73, 0.91, 0.26), (0.08, 0.15, 0.2, 0.48), (0.3, 0.15, 0.27, 0.48), (0.64, 0.15, 0.35, 0.48)
    )
    _draw_layers(layers, several(plans)[0])
    _draw_strips(whole, near, masks, names, 16)
    _draw_map(map_, plans, tensor, corner)
    _legend(figure, len(several(plans)), _shared(plans, [tensor]), loc="lower center")
    figure.alt_text = f"{summary(plans)}. {_map_words(plans, tensor)} {_strip_words(masks, names)}"
    return figure


# --- parts of pictures -----------------------------------------------------------------------------------------------


def _draw_strips(whole: Axes, near: Axes, masks: dict[str, np.ndarray], names: Sequence[str], zoom: int) -> None:
    for row, name in enumerate(names):
        mask = masks[name]
        students, size = mask.shape
        colours = np.array([to_rgb(c) for c in student_colours(students)])[:, None]
        bins = max(
            count for count in range(1, 49) if size % count == 0
        )  # bins of one size: none looks fuller than it is
        shares = mask.reshape(students, bins, -1).mean(2)
        for axes, taken, width in ((whole, shares, 1), (near, mask[:, :zoom], min(zoom, size))):
            shade = np.expand_dims(taken, 2)
            cells = shade * colours + (1 - shade) * to_rgb(UNUSED)
            _draw_cells(axes, cells, (0, width, row + 0.4, row - 0.4), columns=axes is near)
    for axes in (whole, near):
        axes.set(ylim=(len(names) - 0.5, -0.5))
        axes.tick_params(length=0, labelsize=8)
    whole.set_yticks(range(len(names)), [f"{name}\n({masks[name].shape[1]})" for name in names], fontsize=9)
    whole.set_xticks([0, 1], ["first", "last"])
    near.set_yticks([])
    near.set_xlim(0, zoom)
    near.set_xticks(np.arange(0, zoom, 8) + 0.5, np.arange(0, zoom, 8))
    whole.set_title("whole axis (shade: share taken)", fontsize=9)
    near.set_title(f"first {zoom} teacher indices", fontsize=9)


def _draw_cells(
    axes: Axes,
    colours: np.ndarray,
    extent: tuple[float, float, float, float],
    *,
    columns: bool = True,
    marks: dict[str, np.ndarray] | None = None,
) -> None:
    """Cells of colours (row, column, RGB) with white lines between rows (and columns), and marks "/" or "x" in some.

    extent: left, right, bottom, top on the axes.
    """
    side = 16
    image = colours.repeat(side, 0).repeat(side, 1)
    inside = np.arange(3, side - 3)
    for mark, where in (marks or {}).items():
        for row, column in zip(*np.nonzero(where), strict=True):
            image[row * side + inside, column * side + (side - 1 - inside)] = 1
            if mark == "x":
                image[row * side + inside, column * side + inside] = 1
    image[::side] = 1
    image[side - 1 :: side] = 1
    if columns:
        image[:, ::side] = 1
    axes.imshow(image, extent=extent, aspect="auto")
    axes.spines[:].set_visible(False)


def _draw_map(axes: Axes, plans: Plans, tensor: str, corner: int) -> None:
    roles, n = tensor_roles(plans, tensor), len(several(plans))
    (rows, columns), shown = roles.shape, roles[:corner, :corner]
    colours = np.array([to_rgb(c) for c in (UNUSED, *student_colours(n), SHARED)])[shown]
    marks = {"/": shown == 2, "x": shown == n + 1} if n > 1 else None
    _draw_cells(axes, colours, (0, shown.shape[1], shown.shape[0], 0), marks=marks)
    axes.set_aspect(1 if rows > 1 else 4)
    size = f"{rows} x {columns}" if rows > 1 else f"{columns}"
    first = f"first {shown.shape[0]} x {shown.shape[1]} of " if rows > 1 else f"first {shown.shape[1]} of "
    axes.set_title(f"{tensor}\n{'all' if shown.shape == roles.shape else first + size}", fontsize=9)
    names = map_axes(plans, tensor)[1]
    axes.set_xlabel(names[-1] if names else "", fontsize=9)
    axes.set_ylabel(names[0] if rows > 1 and names else "", fontsize=9)
    axes.tick_params(labelsize=8, length=2)
    if rows == 1:
        axes.set_yticks([])


def _draw_layers(axes: Axes, plan: SelectionPlan) -> None:
    above = 0.0
    teacher = depths(plan.teacher_shapes, plan.family)
    for stage, (blocks, depth) in enumerate(zip(plan.layers, teacher, strict=True)):
        start = above + (depth - len(blocks)) / 2
        for number, block in enumerate(blocks):
            axes.plot([above + block, start + number], [1, 0], color=PALETTE["teacher"], linewidth=1, zorder=1)
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
    colour, marker = PALETTE[role], "s" if role == "teacher" else "o"
    faces = [colour if full else "white" for full in filled]
    axes.scatter(x, np.full(len(x), y), s=210, marker=marker, facecolors=faces, edgecolors=colour, zorder=2)
    for number, (place, full) in enumerate(zip(x, filled, strict=True)):
        axes.text(
            place, y, str(number), ha="center", va="center", fontsize=8, color="white" if full else colour, zorder=3
        )


def _legend(figure: Picture, n: int, shared: bool | None = None, loc: Any = "outside lower center") -> None:
    """One patch a student, with the marks of the maps.

    shared: whether the maps hold elements that several students receive; None where there are strips only.
    """
    colours, names = student_colours(n), student_names(n)
    hatches = ["///" if i == 1 and shared is not None else "" for i in range(n)]
    parts = [*zip(colours, names, hatches, strict=True)]
    if shared:
        parts.append((SHARED, "both" if n == 2 else "several", "xxx"))
    parts.append((UNUSED, "not used", ""))
    handles = [Patch(facecolor=c, hatch=hatch, edgecolor="white", label=name) for c, name, hatch in parts]
    figure.legend(handles=handles, loc=loc, ncols=len(handles), frameon=False, fontsize=9)


def _strip_words(masks: dict[str, np.ndarray], names: Sequence[str]) -> str:
    words = []
    for name in names:
        counts, times = masks[name].sum(1), masks[name].sum(0)
        taken, shared, unused = " and ".join(map(str, counts)), int((times > 1).sum()), int((times == 0).sum())
        found = zip(student_names(len(counts)), masks[name], strict=True)
        which = "; ".join(f"{student} {_ends(mask.nonzero()[0])}" for student, mask in found)
        words.append(f"{name}: {taken} of {len(times)} indices, {shared} shared, {unused} unused; {which}.")
    return " ".join(words)


def _ends(indices: np.ndarray) -> str:
    """The first three indices and the last."""
    return _numbers(indices) if len(indices) < 5 else f"{_numbers(indices[:3])}, …, {indices[-1]}"


def _shared(plans: Plans, tensors: Sequence[str]) -> bool:
    n = len(several(plans))
    return n > 1 and any((tensor_roles(plans, tensor) == n + 1).any() for tensor in tensors)


def _map_words(plans: Plans, tensor: str) -> str:
    roles, n = tensor_roles(plans, tensor), len(several(plans))
    parts = [f"{name} {np.mean(roles == k):.0%}" for k, name in enumerate(student_names(n), 1)]
    parts += [f"several {np.mean(roles == n + 1):.0%}"] if n > 1 else []
    return f"{tensor}: {', '.join(parts)}, nobody {np.mean(roles == 0):.0%}."


def _numbers(found: Iterable[int]) -> str:
    return ", ".join(map(str, found))
