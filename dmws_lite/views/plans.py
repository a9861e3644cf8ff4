"""Pictures of selection plans (one, or those of several students, main first): what each student receives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.patches import Patch

from dmws_lite.method.components import FIXED, depths, squeezed, unfused
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.views import style
from dmws_lite.views.style import HATCHES, PALETTE, SHARED, UNUSED, students

Plans = SelectionPlan | Sequence[SelectionPlan]
OWNERS = {"only main": (PALETTE["main"], ""), "both": (SHARED, "xxx"), "only auxiliary": (PALETTE["auxiliary"], "///")}
OWNERS |= {name.removeprefix("only "): fill for name, fill in OWNERS.items()} | {"not used": (UNUSED, "")}
STROKES: dict[int, Any] = {2: (2, 2, -45), -1: (4, 2, 45)}  # on the auxiliary's and on shared elements of a map
CELLS: style.Style = {"cbar": False, "linewidths": 0.8, "linecolor": "white"}


def axis_strips(plans: Plans, axes: Sequence[str] | None = None) -> style.Picture:
    """Which teacher indices each student receives, one strip per named axis and one lane per student.

    axes: named axes; None draws one of each kind: the residual stream or every stage, the first private to a block.
    On the left the whole axis, where a shade is the share taken; on the right its first indices one by one.
    """
    masks = axis_masks(plans)
    names = list(axes or _typical(masks))
    figure, (whole, near) = style.picture(0.95 + 0.45 * len(names), 1, 2, width_ratios=[3, 4])
    words = _draw_strips(whole, near, {name: masks[name] for name in names}, 32)
    _add_legend(figure, plans)
    figure.alt_text = f"Strips of teacher indices, one lane per student. {words}"
    return figure


def tensor_maps(plans: Plans, tensors: Sequence[str]) -> style.Picture:
    """Who receives each element of a few teacher tensors: maps of the first and last rows and columns."""
    figure, grid = style.picture(3.4 if len(tensors) > 2 else 3.8, 1, len(tensors), squeeze=False)
    words = [_draw_map(axes, plans, tensor) for axes, tensor in zip(grid[0], tensors, strict=True)]
    _add_legend(figure, plans, tensors)
    figure.alt_text = f"Maps of teacher tensors. {' '.join(words)}"
    return figure


def coverage_bars(plans: Plans) -> style.Picture:
    """How much of each kind of teacher tensor goes to each student and to both. Raises ValueError for 3 plans."""
    used = owned(plans)
    if "both" in used:
        only = "only " if used["both"].any() else ""
        alone = {f"{only}{name}": used[name] - used["both"] for name in ("main", "auxiliary")}
        used = used[["elements", "both"]].assign(**alone)[["elements", f"{only}main", "both", f"{only}auxiliary"]]
    kinds = used.groupby(used.index.str.replace(r"\d+", "*", regex=True), sort=False).sum()
    table = pd.concat([kinds.sum().to_frame("all").T, kinds.iloc[::-1]])
    table = table.div(table.pop("elements"), axis=0)
    table["not used"] = 1 - table.sum(axis=1)
    total = style.listed(table.loc["all"], ".1%")
    figure, axes = style.picture(1.0 + 0.24 * len(table))
    style.bars(axes, 100 * table.loc[:, table.any()], OWNERS, "barh", stacked=True, xlim=(0, 100))
    axes.set(ylim=(-0.6, len(table) - 0.4), xlabel="share of the teacher's elements (%)")
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.grid(False)
    style.add_legend(figure, [axes])
    figure.alt_text = f"Shares of the elements of {len(kinds)} kinds of teacher tensors. In all: {total}."
    return figure


def layer_map(plan: SelectionPlan) -> style.Picture:
    """Which teacher block feeds each student block: teacher above, student below, one column of blocks per stage."""
    figure, axes = style.picture(1.9)
    _draw_layers(axes, plan)
    stages = "; ".join(f"stage {i}: {', '.join(map(str, stage))}" for i, stage in enumerate(plan.layers))
    figure.alt_text = f"Teacher blocks that feed the student's blocks 0, 1, ... in turn. {stages}."
    return figure


def consistency(plans: Mapping[str, SelectionPlan]) -> style.Picture:
    """The first teacher indices that tensors use on the axis that most of them have (a ViT's residual stream).

    plans: by the title of their panel; of one teacher and student. One row per tensor, for the first 14.
    """
    axis = Counter(axis for axis, *_ in _taken(next(iter(plans.values())))).most_common(1)[0][0]
    figure, grid = style.picture(4.0, 1, len(plans), squeeze=False, sharey=True)
    words, look = [], {"cmap": ListedColormap([UNUSED, PALETTE["main"]]), "vmin": 0, "vmax": 1, "xticklabels": 8}
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        masks = pd.DataFrame({tensor: mask for own, tensor, mask in _taken(plan) if own == axis}).T
        sns.heatmap(masks.iloc[:14, :48], ax=axes, **look, **CELLS)
        axes.tick_params(length=0, rotation=0)
        verdict = f"{len(masks)} tensors {'agree' if plan.consistency()[axis] else 'disagree'}"
        label = f"teacher index on {axis} (first {min(48, masks.shape[1])} of {masks.shape[1]})"
        axes.set(title=f"{title}: {verdict}", xlabel=label)
        words.append(f"{title}: the {verdict}.")
    figure.alt_text = f"Teacher indices that tensors use on axis {axis}, one row per tensor. {' '.join(words)}"
    return figure


def selection(plans: Plans, tensor: str) -> style.Picture:
    """One look at a selection, as the explorer draws it: layers, strips of (at most four) axes, the map of a tensor."""
    masks = axis_masks(plans)
    roles, _ = elements_of(plans, tensor)
    axes = [*map(unfused, [roles.index.name, roles.columns.name]), *_typical(masks)]
    names = [name for name in dict.fromkeys(axes) if name in masks][:4]
    figure = style.Picture(figsize=(style.WIDTH, 4.9))
    places = [(0.08, 0.73, 0.91, 0.26), (0.08, 0.15, 0.2, 0.48), (0.3, 0.15, 0.27, 0.48), (0.64, 0.15, 0.35, 0.48)]
    layers, whole, near, elements = map(figure.add_axes, places)
    _draw_layers(layers, _several(plans)[0])
    strips = _draw_strips(whole, near, {name: masks[name] for name in names}, 16)
    words = _draw_map(elements, plans, tensor)
    _add_legend(figure, plans, [tensor], "lower center")
    figure.alt_text = f"{summary(plans)}. {words} {strips}"
    return figure


def axis_masks(plans: Plans) -> dict[str, np.ndarray]:
    """For each named axis, bool (student, teacher size): the teacher indices that each student receives.

    Where tensors disagree (random_inconsistent) the first tensor that has the axis counts.
    """
    masks: dict[str, dict[int, np.ndarray]] = {}
    for number, plan in enumerate(_several(plans)):
        for axis, _, mask in _taken(plan):
            masks.setdefault(axis, {}).setdefault(number, mask)
    return {axis: np.stack(list(own.values())) for axis, own in masks.items()}


def elements_of(plans: Plans, tensor: str, ends: int = 12) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Who receives each element of a teacher tensor, at the first and the last `ends` indices of its rows and columns.

    Kernel axes are left out, since a kernel goes as a whole; a vector is one row without a name.
    Returns two tables of these rows and columns, "…" between the ends: roles (0 is nobody, k student k alone, 1 is
    main, -1 is several, nan between the ends), and words (which student has the element, as which of its own).
    Raises ValueError for unknown tensors.
    """
    plans = _several(plans)
    if tensor not in plans[0].teacher_shapes:
        some = ", ".join(list(plans[0].teacher_shapes)[:6])
        raise ValueError(f"the teacher {plans[0].teacher} has no tensor {tensor!r}: choose one of {some}, ...")
    shape = plans[0].teacher_shapes[tensor]
    fed = [next((a for a in plan.assignments if a.teacher == tensor), None) for plan in plans]
    axes = next((a.axes for a in fed if a), [""] * len(shape))
    kept = [i for i, axis in enumerate(axes) if axis not in FIXED and shape[i] > 1][:2]
    shown = []
    for i in kept:
        whole = [*range(ends), "…", *range(shape[i] - ends, shape[i])] if shape[i] > 2 * ends else range(shape[i])
        shown.append(pd.Index(whole, name=axes[i]))
    own: dict[str, list[dict[Any, int]]] = {  # by student and axis: its own index of each of the teacher's
        name: [{int(t): s for s, t in enumerate(a.written_out[i])} for i in kept] if a else [{}] * len(kept)
        for name, a in zip(students(len(plans)), fed, strict=True)
    }
    roles, words = [], []
    for cell in product(*shown):
        places = {name: [axis.get(t) for axis, t in zip(own[name], cell, strict=True)] for name in own}
        numbers = [number for number, place in enumerate(places.values(), 1) if None not in place]
        roles.append(np.nan if "…" in cell else -1 if len(numbers) > 1 else sum(numbers))
        words.append("; ".join(f"{name} {place}" for name, place in places.items() if None not in place) or "nobody")
    rows, columns = [pd.Index([0], name=""), *shown][-2:]
    both = (np.reshape(cells, (len(rows), len(columns))) for cells in (roles, words))
    return tuple(pd.DataFrame(cells, rows, columns) for cells in both)


def summary(plans: Plans) -> str:
    """Coverage, overlap (of the two students that share most) and consistency in one line."""
    plans = _several(plans)
    by_name = zip(students(len(plans)), plans, strict=True)
    covered = ", ".join(f"{name} {100 * plan.coverage().total:.2f} %" for name, plan in by_name)
    shared = [a.overlap(b).total for a, b in combinations(plans, 2)]
    overlap = f"; {'largest ' * (len(plans) > 2)}overlap {100 * max(shared):.2f} %" if shared else ""
    agreeing = plans[0].consistency().values()
    return f"coverage: {covered}{overlap}; {sum(agreeing)} of {len(agreeing)} axes consistent"


def owned(plans: Plans) -> pd.DataFrame:
    """Elements of each teacher tensor: how many there are, go to main, and of two plans to auxiliary and to both."""
    plans = _several(plans)
    if len(plans) > 2:
        raise ValueError(f"draw one or two plans, not {len(plans)}: pass plans[:2]")
    sizes = pd.Series({name: int(np.prod(shape)) for name, shape in plans[0].teacher_shapes.items()})
    shares = {name: plan.coverage().tensors for name, plan in zip(students(len(plans)), plans, strict=True)}
    if len(plans) > 1:
        shares["both"] = plans[0].overlap(plans[1]).tensors
    used = pd.DataFrame(shares, sizes.index).mul(sizes, axis=0)
    used.insert(0, "elements", sizes)
    return used


def _typical(axes: Iterable[str]) -> list[str]:
    """One named axis of each kind: the residual stream or every stage, and the first of those private to a block."""
    kinds: dict[str, str] = {}
    for axis in axes:
        kinds.setdefault(axis.split("/")[0], axis)
    return list(kinds.values())


def _several(plans: Plans) -> Sequence[SelectionPlan]:
    return [plans] if isinstance(plans, SelectionPlan) else plans


def _taken(plan: SelectionPlan) -> Iterator[tuple[str, str, np.ndarray]]:
    """Named axis, student's tensor, and bool (teacher size,) where its elements come from; of q, k and v those of q."""
    for a in plan.assignments:
        for axis, index, size in zip(a.axes, a.written_out, squeezed(a.teacher_shape, len(a.axes)), strict=True):
            if axis not in FIXED:
                parts = 3 if "*" in axis else 1
                yield unfused(axis), a.student, np.isin(np.arange(size // parts), index[: len(index) // parts])


def _draw_strips(whole: Axes, near: Axes, masks: dict[str, np.ndarray], zoom: int) -> str:
    """A strip per axis, a lane per student: shares of the whole axis, and its first indices; returns them in words."""
    words = []
    for row, (name, mask) in enumerate(masks.items()):
        n, size = mask.shape
        colours = np.array([to_rgb(colour) for colour in students(n).values()])[:, None]
        bins = max(n for n in range(1, 49) if size % n == 0)  # bins of one size: none looks fuller than it is
        shares, first, times = mask.reshape(n, bins, -1).mean(2), mask[:, :zoom], mask.sum(0)
        for axes, taken, width, line in ((whole, shares, 1, "none"), (near, first, first.shape[1], "white")):
            cells = taken[..., None] * colours + (1 - taken[..., None]) * to_rgb(UNUSED)
            x, y = np.linspace(0, width, taken.shape[1] + 1), np.linspace(row - 0.4, row + 0.4, n + 1)
            axes.pcolormesh(x, y, cells, edgecolors=line, linewidth=0.8)
        lists = [list(map(str, own.nonzero()[0])) for own in mask]
        ends = [", ".join(own if len(own) < 5 else [*own[:3], "…", own[-1]]) for own in lists]
        which = "; ".join(map(" ".join, zip(students(n), ends, strict=True)))
        counts = f"{' and '.join(str(len(own)) for own in lists)} of {size} indices"
        words.append(f"{name}: {counts}, {(times > 1).sum()} shared, {(times == 0).sum()} unused; {which}.")
    style.clear(whole, near)
    for axes in (whole, near):
        axes.set_ylim(len(masks) - 0.5, -0.5)
    whole.set_yticks(range(len(masks)), [f"{name}\n({mask.shape[1]})" for name, mask in masks.items()])
    whole.set_xticks([0, 1], ["first", "last"])
    whole.set_title("whole axis (shade: share)")
    near.set(xlim=(0, zoom), title=f"first {zoom} teacher indices")
    near.set_xticks(np.arange(0, zoom, 8) + 0.5, np.arange(0, zoom, 8))
    return " ".join(words)


def _draw_map(axes: Axes, plans: Plans, tensor: str) -> str:
    """A tensor's ends by who receives them; returns each student's share of the whole in words."""
    plans, (roles, _) = _several(plans), elements_of(plans, tensor)
    colours = students(len(plans))
    look: Any = {"cmap": ListedColormap([SHARED, UNUSED, *colours.values()]), "vmin": -1, "vmax": len(plans)}
    look |= {"xticklabels": 6, "yticklabels": 6 if len(roles) > 1 else False}
    sns.heatmap(roles, ax=axes, **look, **CELLS)
    axes.grid(False)
    for role, spokes in STROKES.items():
        y, x = np.nonzero(roles == role)
        axes.scatter(x + 0.5, y + 0.5, 16, "white", marker=spokes, linewidths=0.8)
    axes.tick_params(length=2, rotation=0)
    axes.set_aspect(1 if len(roles) > 1 else 4)
    axes.set_title(f"{tensor}\n{' × '.join(map(str, plans[0].teacher_shapes[tensor]))}")
    shares = {name: plan.coverage().tensors[tensor] for name, plan in zip(colours, plans, strict=True)}
    return f"{tensor} goes to {style.listed(shares, '.0%')}."


def _draw_layers(axes: Axes, plan: SelectionPlan) -> None:
    """Numbered blocks of the teacher above those of the student, joined by lines; hollow ones feed nothing."""
    start, teacher = 0.0, depths(plan.teacher_shapes, plan.family)
    for stage, (blocks, depth) in enumerate(zip(plan.layers, teacher, strict=True)):
        below = start + (depth - len(blocks)) / 2 + np.arange(len(blocks))
        for block, x in zip(blocks, below, strict=True):
            axes.plot([start + block, x], [1, 0], color=PALETTE["teacher"], linewidth=1)
        nodes = [(start + block, 1, block, "teacher", "square", block in blocks) for block in range(depth)]
        nodes += [(x, 0, number, "main", "circle", True) for number, x in enumerate(below)]
        for x, y, number, role, shape, full in nodes:
            box = {"boxstyle": shape, "facecolor": PALETTE[role] if full else "white", "edgecolor": PALETTE[role]}
            colour = "white" if full else PALETTE[role]
            axes.text(x, y, str(number), color=colour, ha="center", va="center", bbox=box)
        if len(teacher) > 1:
            axes.text(start + (depth - 1) / 2, 1.45, f"stage {stage}", ha="center")
        start += depth + 0.7
    style.clear(axes)
    axes.set(xlim=(-0.7, start), ylim=(-0.5, 1.7))
    axes.set_yticks([0, 1], ["student", "teacher"])


def _add_legend(
    figure: style.Picture, plans: Plans, tensors: Sequence[str] = (), loc: Any = "outside lower center"
) -> None:
    """One patch per student; where tensors are drawn as maps, with the marks of the maps."""
    n = len(_several(plans))
    parts = {name: (colour, "") for name, colour in students(n).items()}
    if tensors and n > 1:
        parts["auxiliary"] = PALETTE["auxiliary"], HATCHES["auxiliary"]
    if any((elements_of(plans, tensor)[0] == -1).any(axis=None) for tensor in tensors):
        parts["both" if n == 2 else "several"] = OWNERS["both"]
    parts["not used"] = OWNERS["not used"]
    handles = [Patch(facecolor=c, hatch=hatch, edgecolor="white", label=name) for name, (c, hatch) in parts.items()]
    figure.legend(handles=handles, loc=loc, ncols=len(handles))
