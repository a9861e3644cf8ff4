"""Pictures of selection plans (one, or those of several students, main first): what each student receives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.patches import Patch

from dmws_lite.method.components import FIXED, squeeze, unfuse
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.views import style
from dmws_lite.views.style import HATCHES, PALETTE, SHARED, UNUSED, students

Plans = SelectionPlan | Sequence[SelectionPlan]
OWNERS = {"only main": (PALETTE["main"], ""), "both": (SHARED, "xxx"), "only auxiliary": (PALETTE["auxiliary"], "///")}
OWNERS |= {name.removeprefix("only "): fill for name, fill in OWNERS.items()} | {"not used": (UNUSED, "")}
STROKES: dict[int, Any] = {2: (2, 2, -45), -1: (4, 2, 45)}  # on the auxiliary's and on shared elements of a map
ZOOM = 32  # indices of an axis that strips show one by one
CELLS: style.Style = {"linewidths": 0.8, "linecolor": "white"}


def axis_strips(plans: Plans, axes: Sequence[str] | None = None) -> style.Picture:
    """Which teacher indices each student receives, one strip per named axis and one lane per student.

    axes: named axes; None draws one of each kind: the residual stream or every stage, the first private to a block.
    On the left the whole axis, where a shade is the share taken; on the right its first indices one by one.
    """
    masks = axis_masks(plans)
    masks = {name: masks[name] for name in axes or _pick_typical(masks)}
    figure, (whole, zoomed) = style.picture(0.95 + 0.45 * len(masks), 1, 2, width_ratios=[3, 4])
    for row, mask in enumerate(masks.values()):
        n, size = mask.shape
        bins = max(n for n in range(1, 49) if size % n == 0)  # bins of one size: none looks fuller than it is
        _draw_strip(whole, row, mask.reshape(n, bins, -1).mean(2), 1, "none")
        _draw_strip(zoomed, row, mask[:, :ZOOM], min(ZOOM, size), "white")
    style.clear(whole, zoomed)
    for panel in (whole, zoomed):
        panel.set_ylim(len(masks) - 0.5, -0.5)
    whole.set_yticks(range(len(masks)), [f"{name}\n({mask.shape[1]})" for name, mask in masks.items()])
    whole.set_xticks([0, 1], ["first", "last"])
    whole.set_title("whole axis (shade: share)")
    zoomed.set(xlim=(0, ZOOM), title=f"first {ZOOM} teacher indices")
    zoomed.set_xticks(np.arange(0, ZOOM, 8) + 0.5, np.arange(0, ZOOM, 8))
    _add_legend(figure, plans)
    facts = (_describe_strip(name, mask) for name, mask in masks.items())
    return figure.describe("Strips of teacher indices, one lane per student", *facts)


def tensor_maps(plans: Plans, tensors: Sequence[str]) -> style.Picture:
    """Who receives each element of a few teacher tensors: maps of the first and last rows and columns."""
    figure, grid = style.picture(3.4 if len(tensors) > 2 else 3.8, 1, len(tensors), squeeze=False)
    facts = [_draw_map(axes, plans, tensor) for axes, tensor in zip(grid[0], tensors, strict=True)]
    _add_legend(figure, plans, tensors)
    return figure.describe("Maps of teacher tensors", *facts)


def coverage_bars(plans: Plans) -> style.Picture:
    """How much of each kind of teacher tensor goes to each student and to both. Raises ValueError for 3 plans."""
    counts = count_elements(plans)
    if "both" in counts:
        only = "only " if counts["both"].any() else ""
        main, auxiliary = (counts[name] - counts["both"] for name in ("main", "auxiliary"))
        columns = {f"{only}main": main, "both": counts["both"], f"{only}auxiliary": auxiliary}
        counts = counts[["elements"]].assign(**columns)
    by_kind = counts.groupby(counts.index.str.replace(r"\d+", "*", regex=True), sort=False).sum()
    shares = pd.concat([by_kind.sum().to_frame("all").T, by_kind.iloc[::-1]])
    shares = shares.div(shares.pop("elements"), axis=0)
    shares["not used"] = 1 - shares.sum(axis=1)
    figure, axes = style.picture(1.0 + 0.24 * len(shares))
    style.bars(axes, 100 * shares.loc[:, shares.any()], OWNERS, "barh", stacked=True, xlim=(0, 100))
    axes.set(ylim=(-0.6, len(shares) - 0.4), xlabel="share of the teacher's elements (%)")
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.grid(False)
    style.add_legend(figure, [axes])
    total = style.listed(shares.loc["all"], ".1%")
    return figure.describe(f"Shares of the elements of {len(by_kind)} kinds of teacher tensors", f"in all: {total}")


def consistency(plans: Mapping[str, SelectionPlan]) -> style.Picture:
    """The first teacher indices that tensors use on the axis that most of them have (a ViT's residual stream).

    plans: by the title of their panel; of one teacher and student. One row per tensor, for the first 14.
    """
    first_plan = next(iter(plans.values()))
    shared = Counter(axis for axis, *_ in _trace_indices(first_plan)).most_common(1)[0][0]
    figure, grid = style.picture(4.0, 1, len(plans), squeeze=False, sharey=True)
    facts, look = [], {"cmap": ListedColormap([UNUSED, PALETTE["main"]]), "xticklabels": 8, **CELLS}
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        masks = pd.DataFrame({tensor: mask for axis, tensor, mask in _trace_indices(plan) if axis == shared}).T
        style.heat(axes, masks.iloc[:14, :48], **look)
        facts.append(f"{title}: {len(masks)} tensors {'agree' if plan.consistency()[shared] else 'disagree'}")
        label = f"teacher index on {shared} (first {min(48, masks.shape[1])} of {masks.shape[1]})"
        axes.set(title=facts[-1], xlabel=label)
    return figure.describe(f"Teacher indices that tensors use on axis {shared}, one row per tensor", *facts)


def axis_masks(plans: Plans) -> dict[str, np.ndarray]:
    """For each named axis, bool (student, teacher size): the teacher indices that each student receives.

    Where tensors disagree (random_inconsistent) the first tensor that has the axis counts.
    """
    masks: dict[str, dict[int, np.ndarray]] = {}
    for student, plan in enumerate(_as_sequence(plans)):
        for axis, _, mask in _trace_indices(plan):
            masks.setdefault(axis, {}).setdefault(student, mask)
    return {axis: np.stack(list(by_student.values())) for axis, by_student in masks.items()}


def elements_of(plans: Plans, tensor: str, ends: int = 12) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Who receives each element of a teacher tensor, at the first and the last `ends` indices of its rows and columns.

    Kernel axes are left out, since a kernel goes as a whole; a vector is one row without a name.
    Returns two tables of these rows and columns, "…" between the ends: roles (0: nobody, k: student k alone, where 1
    is main, -1: several, nan: between the ends), and words (which student has the element, at which of its indices).
    Raises ValueError for unknown tensors.
    """
    plans = _as_sequence(plans)
    if tensor not in plans[0].teacher_shapes:
        examples = ", ".join(list(plans[0].teacher_shapes)[:6])
        raise ValueError(f"the teacher {plans[0].teacher} has no tensor {tensor!r}: choose one of {examples}, ...")
    shape = plans[0].teacher_shapes[tensor]
    assignments = [next((a for a in plan.assignments if a.teacher == tensor), None) for plan in plans]
    axes = next((a.axes for a in assignments if a), [""] * len(shape))
    drawn = [i for i, axis in enumerate(axes) if axis not in FIXED and shape[i] > 1][:2]
    labels = []
    for i in drawn:
        first, last = range(ends), range(shape[i] - ends, shape[i])
        indices = [*first, "…", *last] if shape[i] > 2 * ends else range(shape[i])
        labels.append(pd.Index(indices, name=axes[i]))
    student_indices: dict[str, list[dict[Any, int]]] = {}  # of each student and axis, by the teacher's index
    for name, a in zip(students(len(plans)), assignments, strict=True):
        student_indices[name] = [{int(t): s for s, t in enumerate(a.full_indices[i])} if a else {} for i in drawn]
    roles, words = [], []
    for cell in product(*labels):
        owners: dict[int, str] = {}
        for number, (name, axis_indices) in enumerate(student_indices.items(), 1):
            position = [indices.get(t) for indices, t in zip(axis_indices, cell, strict=True)]
            if None not in position:
                owners[number] = f"{name} {position}"
        role = -1 if len(owners) > 1 else sum(owners)
        roles.append(np.nan if "…" in cell else role)
        words.append("; ".join(owners.values()) or "nobody")
    rows, columns = [pd.Index([0], name=""), *labels][-2:]
    size = len(rows), len(columns)
    return tuple(pd.DataFrame(np.reshape(cells, size), rows, columns) for cells in (roles, words))


def summary(plans: Plans) -> str:
    """Coverage, overlap (of the two students that share most), consistency and the teacher's blocks in one line."""
    plans = _as_sequence(plans)
    by_name = zip(students(len(plans)), plans, strict=True)
    covered = ", ".join(f"{name} {100 * plan.coverage().total:.2f} %" for name, plan in by_name)
    shared = [a.overlap(b).total for a, b in combinations(plans, 2)]
    overlap = f"; {'largest ' if len(plans) > 2 else ''}overlap {100 * max(shared):.2f} %" if shared else ""
    consistent = plans[0].consistency().values()
    stages = " | ".join(", ".join(map(str, stage)) for stage in plans[0].layers)
    axes = f"{sum(consistent)} of {len(consistent)} axes consistent"
    return f"coverage: {covered}{overlap}; {axes}; blocks of the teacher: {stages}"


def count_elements(plans: Plans) -> pd.DataFrame:
    """Numbers of elements by teacher tensor: elements (all), main (those it receives), of two plans auxiliary, both."""
    plans = _as_sequence(plans)
    if len(plans) > 2:
        raise ValueError(f"draw one or two plans, not {len(plans)}: pass plans[:2]")
    sizes = pd.Series({name: int(np.prod(shape)) for name, shape in plans[0].teacher_shapes.items()})
    shares = {name: plan.coverage().tensors for name, plan in zip(students(len(plans)), plans, strict=True)}
    if len(plans) > 1:
        shares["both"] = plans[0].overlap(plans[1]).tensors
    counts = pd.DataFrame(shares, sizes.index).mul(sizes, axis=0)
    counts.insert(0, "elements", sizes)
    return counts


def _pick_typical(axes: Iterable[str]) -> list[str]:
    """One named axis of each kind: the residual stream or every stage, and the first of those private to a block."""
    kinds: dict[str, str] = {}
    for axis in axes:
        kinds.setdefault(axis.split("/")[0], axis)
    return list(kinds.values())


def _as_sequence(plans: Plans) -> Sequence[SelectionPlan]:
    return [plans] if isinstance(plans, SelectionPlan) else plans


def _trace_indices(plan: SelectionPlan) -> Iterator[tuple[str, str, np.ndarray]]:
    """Named axis, student's tensor, and bool (teacher size,): the teacher's indices in it; of q, k and v those of q."""
    for a in plan.assignments:
        for axis, index, size in zip(a.axes, a.full_indices, squeeze(a.teacher_shape, len(a.axes)), strict=True):
            if axis not in FIXED:
                fused = 3 if "*" in axis else 1  # q, k and v in one tensor
                yield unfuse(axis), a.student, np.isin(np.arange(size // fused), index[: len(index) // fused])


def _draw_strip(axes: Axes, row: int, shares: np.ndarray, width: float, edges: str) -> None:
    """Cells (student, cell), one lane per student: the more of a cell is taken, the stronger the student's colour."""
    colours = np.array([to_rgb(colour) for colour in students(len(shares)).values()])[:, None]
    cells = shares[..., None] * colours + (1 - shares[..., None]) * to_rgb(UNUSED)
    x, y = np.linspace(0, width, shares.shape[1] + 1), np.linspace(row - 0.4, row + 0.4, len(shares) + 1)
    axes.pcolormesh(x, y, cells, edgecolors=edges, linewidth=0.8)


def _describe_strip(axis: str, mask: np.ndarray) -> str:
    """How many of an axis' indices each student receives, and which: all of up to 4, else the first 3 and the last."""
    receivers, lists = mask.sum(0), []
    for student, lane in zip(students(len(mask)), mask, strict=True):
        indices = list(map(str, lane.nonzero()[0]))
        lists.append(f"{student} {', '.join(indices if len(indices) < 5 else [*indices[:3], '…', indices[-1]])}")
    counts = f"{' and '.join(map(str, mask.sum(1)))} of {mask.shape[1]} indices"
    return f"{axis}: {counts}, {(receivers > 1).sum()} shared, {(receivers == 0).sum()} unused, {'; '.join(lists)}"


def _draw_map(axes: Axes, plans: Plans, tensor: str) -> str:
    """A tensor's ends, coloured by who receives them; returns each student's share of the whole in words."""
    roles, _ = elements_of(plans, tensor)
    plans = _as_sequence(plans)
    colours = students(len(plans))
    look: Any = {"cmap": ListedColormap([SHARED, UNUSED, *colours.values()]), "vmin": -1, "vmax": len(plans)}
    look |= {"xticklabels": 6, "yticklabels": 6 if len(roles) > 1 else False}
    style.heat(axes, roles, **look, **CELLS)
    for role, stroke in STROKES.items():
        y, x = np.nonzero(roles == role)
        axes.scatter(x + 0.5, y + 0.5, 16, "white", marker=stroke, linewidths=0.8)
    axes.tick_params(length=2)
    axes.set_aspect(1 if len(roles) > 1 else 4)
    axes.set_title(f"{tensor}\n{' × '.join(map(str, plans[0].teacher_shapes[tensor]))}")
    shares = {name: plan.coverage().tensors[tensor] for name, plan in zip(colours, plans, strict=True)}
    return f"{tensor} goes to {style.listed(shares, '.0%')}"


def _add_legend(figure: style.Picture, plans: Plans, tensors: Sequence[str] = ()) -> None:
    """One patch per student; where tensors are drawn as maps, with the marks of the maps."""
    n = len(_as_sequence(plans))
    fills = {name: (colour, "") for name, colour in students(n).items()}
    if tensors and n > 1:
        fills["auxiliary"] = PALETTE["auxiliary"], HATCHES["auxiliary"]
    if any((elements_of(plans, tensor)[0] == -1).any(axis=None) for tensor in tensors):
        fills["both" if n == 2 else "several"] = OWNERS["both"]
    fills["not used"] = OWNERS["not used"]
    handles = [Patch(facecolor=c, hatch=hatch, edgecolor="white", label=name) for name, (c, hatch) in fills.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
