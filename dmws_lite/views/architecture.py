"""Pictures of architectures: how wide and deep networks are, where their weights sit, which part feeds which.

The tables are those of `dmws_lite.analysis.anatomy`. The teacher is to the left, the student to the right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from dmws_lite.analysis.anatomy import KINDS
from dmws_lite.method.components import FIXED
from dmws_lite.method.plan import Assignment, SelectionPlan
from dmws_lite.views import style
from dmws_lite.views.style import FURTHER, MARKERS, PALETTE

COUNTS = {"parameters": "weights", "flops": "FLOPs"}
COUNT_LOOKS: dict[str, style.Style] = {
    "weights": {"color": FURTHER[0], "marker": "o", "linestyle": "-"},
    "FLOPs": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
}
COLOURS = ("#FFFFFF", FURTHER[1], FURTHER[0], "#B2E2D2", "#D55E00", FURTHER[2], PALETTE["teacher"])
FILLS = dict(zip(KINDS, zip(COLOURS, ("", "..", "", "////", "xx", "\\\\", ""), strict=True), strict=True))
PLACES = (  # the first pattern that a tensor's name matches says where it is drawn; what none matches goes by its own
    (r"blocks\.(?P<block>\d+)\.(?:norm|attn|mlp|ls)", "block {block}"),
    (r"stages\.(?P<stage>\d+)\.downsample", "downsampling {stage}"),
    (r"stages\.(?P<stage>\d+)\.blocks\.(?P<block>\d+)\.", "block {stage}.{block}"),
    (r"blocks\.(?P<stage>\d+)\.(?P<block>\d+)\.", "block {stage}.{block}"),
    (r"patch_embed\.", "patches"),
    (r"(?:stem|conv_stem|bn1)\.", "stem"),
    (r"(?:cls_token|dist_token|reg_token|pos_embed)", "tokens"),
    (r"(?:conv_head|bn2)\.", "last convolution"),
    (r"(?:norm|fc_norm|norm_pre|head\.norm)\.", "final norm"),
    (r"(?:head|head_dist|classifier)\.", "classifier"),
)
EDGES = {  # by the number of axes along which elements are selected
    2: ("-", "two axes selected: matrices"),
    1: ("--", "one axis: vectors, depthwise kernels, patches"),
    0: (":", "none: all is taken"),
}


def silhouettes(pairs: Mapping[str, tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]]) -> style.Picture:
    """Teacher and student side by side: a bar per block, as wide as its number of channels; input above, output below.

    pairs: by title, the channels of the teacher's and of the student's blocks, stage by stage (see `block_widths`).
    """
    figure, grid = style.picture(3.9, 1, len(pairs), squeeze=False)
    words = []
    for axes, (title, networks) in zip(grid[0], pairs.items(), strict=True):
        apart, ends = 1.15 * max(max(map(max, widths)) for widths in networks), []
        for role, widths, centre in zip(("teacher", "main"), networks, (0.0, apart), strict=True):
            top = 0.0
            for stage in widths:  # from the top down; the number of channels stands above each stage
                rows = top + np.arange(len(stage))
                axes.barh(rows, stage, left=centre - np.array(stage) / 2, height=0.8, color=PALETTE[role])
                axes.text(centre, top - 0.55, f"{stage[0]}", ha="center", va="bottom")
                top += len(stage) + 1.1
            ends.append(f"{sum(map(len, widths))} blocks of {'/'.join(str(stage[0]) for stage in widths)} channels")
        style.clear(axes)
        depths = [sum(map(len, widths)) for widths in networks]
        axes.set_xticks([0, apart], [f"teacher\n{depths[0]} blocks", f"student\n{depths[1]} blocks"])
        axes.set(title=title.replace(" → ", "\n→ "), ylim=(22, -1.2))
        axes.grid(False)
        axes.tick_params(length=0)
        words.append(f"{title}: {' to '.join(ends)}")
    figure.alt_text = f"Blocks of teacher and student, as wide as their channels. {'; '.join(words)}."
    return figure


def shares_by_kind(tables: Mapping[str, pd.DataFrame]) -> style.Picture:
    """Where weights and FLOPs sit, by kind of layer: a bar per network.

    tables: by the name of their row, from `anatomy`.
    """
    figure, grid = style.picture(1.3 + 0.38 * len(tables), 1, 2, sharey=True)
    sums = pd.concat({name: table.groupby("kind")[list(COUNTS)].sum() for name, table in tables.items()})
    words, totals = [], sums.groupby(level=0, sort=False).sum()
    for axes, (column, count) in zip(grid, COUNTS.items(), strict=True):
        shares = sums[column].unstack(fill_value=0).reindex(index=tables, columns=KINDS).dropna(axis=1, how="all")
        shares = shares.div(totals[column], axis=0).fillna(0)
        style.bars(axes, shares, FILLS, "barh", stacked=True, edgecolor="#222222", linewidth=0.5)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set(xlim=(0, 1), ylim=(len(tables) - 0.5, -0.5), title=f"{count}: share of the network", ylabel="")
        words += [f"{name}: {own.idxmax()} {own.max():.0%} of the {count}" for name, own in shares.iterrows()]
    amounts = totals.map(lambda count: f"{count / 1e9:.1f} G" if count >= 1e9 else f"{count / 1e6:.1f} M")
    texts = [f"{name}\n{weights} weights, {flops} FLOPs" for name, weights, flops in amounts.itertuples()]
    grid[0].set_yticks(range(len(tables)), texts)
    style.add_legend(figure, grid)
    figure.alt_text = f"Shares of weights and FLOPs by kind of layer. Largest: {'; '.join(words)}."
    return figure


def shares_by_stage(tables: Mapping[str, pd.DataFrame]) -> style.Picture:
    """Share of the weights and of the FLOPs in each stage, a panel per network; stem and classifier are left out.

    tables: by the title of their panel, from `anatomy`.
    """
    parts = []
    for title, table in tables.items():
        stages = table[table["stage"].str.startswith("stage")].groupby("stage", sort=False)[list(COUNTS)].sum()
        shares = (stages / stages.sum()).rename(columns=COUNTS).rename(index=lambda stage: stage.split()[1])
        parts.append(shares.reset_index().melt("stage", var_name="count", value_name="share").assign(title=title))
    options: style.Style = {"look": COUNT_LOOKS, "ylabel": "share of all stages", "sharex": False, "height": 2.2}
    words = "Shares of the stages, first and last"
    figure = style.curves(pd.concat(parts), "stage", "share", "count", "title", words, **options)
    for axes in figure.axes:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylim(0, None)
    return figure


def ratios(pairs: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]) -> style.Picture:
    """What is left in the student of each kind of layer's weights and FLOPs, one panel per pair; a log scale.

    pairs: by the title of their panel, the tables of teacher and student from `anatomy`. The classifier is left out.
    """
    figure, grid = style.picture(2.9, 1, len(pairs), squeeze=False, sharex=True, sharey=True)
    kinds, words = [kind for kind in KINDS if kind != "classifier"], []
    look: style.Style = {"palette": [own["color"] for own in COUNT_LOOKS.values()], "markers": ["o", "s"]}
    look |= {"dodge": 0.4, "linestyles": "none", "errorbar": None, "markersize": 5}
    for axes, (title, tables) in zip(grid[0], pairs.items(), strict=True):
        teacher, student = (table.groupby("kind")[list(COUNTS)].sum().reindex(kinds) for table in tables)
        left = (student / teacher.where(teacher > 0)).rename(columns=COUNTS)
        long = left.reset_index().melt("kind", var_name="count", value_name="left")
        sns.pointplot(long, x="left", y="kind", hue="count", ax=axes, **look)
        for x in (1 / 4, 1 / 2):
            axes.axvline(x, color=PALETTE["teacher"], linestyle=":", linewidth=1, zorder=0)
        axes.set(xscale="log", xlim=(0.1, 1.15), title=title.replace(" → ", "\n→ "))
        axes.set_xticks([1 / 8, 1 / 4, 1 / 2, 1], ["⅛", "¼", "½", "1"])
        axes.set_xticks([], minor=True)
        words.append(f"{title}: {style.listed(left['weights'].dropna())}")
    style.finish(figure, grid[0], "student / teacher")
    figure.alt_text = f"Weights of the student as a share of the teacher's, by kind of layer. {'; '.join(words)}."
    return figure


def place_of(tensor: str) -> str:
    """Where in a network a tensor sits: its block ("block 3", or "block stage.block"), or what is around the blocks.

    >>> place_of("blocks.3.attn.qkv.weight"), place_of("stages.1.downsample.1.bias"), place_of("head.fc.weight")
    ('block 3', 'downsampling 1', 'classifier')
    """
    for pattern, name in PLACES:
        if match := re.match(pattern, tensor):
            return name.format(**match.groupdict())
    return tensor


def mapped_blocks(plans: SelectionPlan | Mapping[str, SelectionPlan]) -> style.Picture:
    """Which part of the teacher feeds which part of the student; hollow parts feed nothing, or are fed by nothing.

    plans: one plan, or several by the title of their panel. A number on an edge is the number of tensors it stands for.
    """
    plans = {"": plans} if isinstance(plans, SelectionPlan) else plans
    theirs = {title: _places(plan.teacher_shapes) for title, plan in plans.items()}
    figure, grid = style.picture(0.5 + 0.27 * max(map(len, theirs.values())), 1, len(plans), squeeze=False)
    words = []
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        sources, targets = theirs[title], _places([a.student for a in plan.assignments])
        left = {name: float(row) for row, name in enumerate(sources)}
        right = dict(zip(targets, np.linspace(0, len(sources) - 1, len(targets)), strict=True))
        edges = Counter((place_of(a.teacher), place_of(a.student)) for a in plan.assignments)
        for (source, target), tensors in edges.items():
            unit = "" if len(plans) > 1 else " tensors" if tensors > 1 else " tensor"
            _draw_edge(axes, left[source], right[target], f"{tensors}{unit}")
        for x, heights in enumerate((left, right)):
            used = {edge[x] for edge in edges}
            _draw_column(axes, x, list(heights.values()), list(heights), [name in used for name in heights])
        _frame(axes, len(left), title or f"{plan.teacher} → {plan.student}", 0.7 if len(plans) == 1 else 0.95)
        fed = "; ".join(f"{source} feeds {target}" for source, target in edges)
        unused = ", ".join(name for name in sources if name not in {source for source, _ in edges}) or "nothing"
        words.append(f"{title or plan.student}: {fed}. Not used: {unused}.")
    figure.alt_text = f"Parts of the teacher, and the parts of the student that they feed. {' '.join(words)}"
    return figure


def mapped_tensors(plan: SelectionPlan, place: str) -> style.Picture:
    """The tensors of one part of the student and the teacher tensors that feed them, with the names of their axes.

    place: a part as `mapped_blocks` names it, such as "block 0" or "downsampling 1".
    Raises ValueError for a place that nothing feeds, with those that there are.
    """
    shown = [a for a in plan.assignments if place_of(a.student) == place]
    if not shown:
        fed = ", ".join(dict.fromkeys(place_of(a.student) for a in plan.assignments))
        raise ValueError(f"nothing feeds place={place!r} of {plan.student}: choose one of {fed}")
    figure, axes = style.picture(0.9 + 0.38 * len(shown))
    words, rows = [], list(range(len(shown)))
    for row, a in enumerate(shown):
        line, meaning = EDGES[sum(axis not in FIXED for axis in a.axes)]
        _draw_edge(axes, row, row, f"{', '.join(a.axes)}   {_fraction(a)}", linestyle=line, label=meaning)
        words.append(f"{a.student}: {', '.join(a.axes)}, {_fraction(a)} of the teacher's {_shape(a.teacher_shape)}")
    _draw_column(axes, 0, rows, [f"{a.teacher}\n{_shape(a.teacher_shape)}" for a in shown])
    _draw_column(axes, 1, rows, [f"{a.student}\n{_shape(a.student_shape)}" for a in shown])
    style.add_legend(figure, [axes], loc="outside lower center")
    _frame(axes, len(shown), f"{place}: {plan.teacher} → {plan.student}", 0.55)
    figure.alt_text = f"Tensors of {place}, their axes, and the share that the student receives. {'; '.join(words)}."
    return figure


def _places(tensors: Iterable[str]) -> list[str]:
    """Where tensors sit, each place once; the classifier, which a plan's shapes do not hold, last."""
    names = dict.fromkeys(map(place_of, tensors))
    names.pop("classifier", None)
    return [*names, "classifier"]


def _draw_edge(axes: Axes, left: float, right: float, text: str, **line: Any) -> None:
    axes.plot([0, 1], [left, right], color=PALETTE["teacher"], linewidth=1, zorder=1, **line)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.text(0.5, (left + right) / 2, text, ha="center", va="center", bbox=box, zorder=3)


def _draw_column(axes: Axes, x: int, rows: Sequence[float], names: list[str], filled: list[bool] | None = None) -> None:
    """The parts of the teacher (x = 0) or of the student (x = 1), with their names outside; hollow where not filled."""
    role, side, offset = ("teacher", "right", -8) if x == 0 else ("main", "left", 8)
    faces = [PALETTE[role] if full else "white" for full in filled or [True] * len(rows)]
    axes.scatter([x] * len(rows), rows, 70, faces, marker=MARKERS[role], edgecolors=PALETTE[role], zorder=2)
    for name, row in zip(names, rows, strict=True):
        style.note(axes, x, row, name, (offset, 0), ha=side)


def _frame(axes: Axes, rows: int, title: str, margin: float) -> None:
    style.clear(axes)
    axes.set(xlim=(-margin, 1 + margin), ylim=(rows - 0.4, -1.3), title=title)
    axes.text(0.04, -1.0, "teacher", ha="right", color=PALETTE["teacher"], weight="bold")
    axes.text(0.96, -1.0, "student", ha="left", color=PALETTE["main"], weight="bold")


def _fraction(a: Assignment) -> str:
    share = Fraction(a.size, prod(a.teacher_shape))
    return str(share) if share.denominator < 100 else f"{float(share):.0%}"


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
