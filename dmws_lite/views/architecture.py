"""Pictures of architectures (tables: `analysis.anatomy`): widths, depths, where weights sit, what feeds what."""

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
from dmws_lite.method.plan import SelectionPlan
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
        apart, names, ends = 1.15 * max(max(map(max, widths)) for widths in networks), [], []
        for who, role, widths, centre in zip(
            ("teacher", "student"), ("teacher", "main"), networks, (0.0, apart), strict=True
        ):
            top = 0.0
            for stage in widths:  # from the top down; the number of channels stands above each stage
                axes.barh(top + np.arange(len(stage)), stage, 0.8, centre - np.array(stage) / 2, color=PALETTE[role])
                axes.text(centre, top - 0.55, f"{stage[0]}", ha="center", va="bottom")
                top += len(stage) + 1.1
            names.append(f"{who}\n{sum(map(len, widths))} blocks")
            ends.append(f"{sum(map(len, widths))} blocks of {'/'.join(str(stage[0]) for stage in widths)} channels")
        style.clear(axes)
        axes.set_xticks([0, apart], names)
        axes.set(title=title.replace(" → ", "\n→ "), ylim=(22, -1.2))
        words.append(f"{title}: {' to '.join(ends)}")
    figure.alt_text = f"Blocks of teacher and student, as wide as their channels. {'; '.join(words)}."
    return figure


def shares_by_kind(tables: Mapping[str, pd.DataFrame]) -> style.Picture:
    """Where weights and FLOPs sit, by kind of layer: a bar per network, by the names of the tables from `anatomy`."""
    figure, grid = style.picture(1.3 + 0.38 * len(tables), 1, 2, sharey=True)
    sums = pd.concat({name: table.groupby("kind")[list(COUNTS)].sum() for name, table in tables.items()})
    words, totals = [], sums.groupby(level=0, sort=False).sum()
    for axes, (column, count) in zip(grid, COUNTS.items(), strict=True):
        shares = sums[column].div(totals[column], level=0).unstack().reindex(index=tables, columns=KINDS)
        shares = shares.dropna(axis=1, how="all").fillna(0)
        style.bars(axes, shares, FILLS, "barh", stacked=True, edgecolor="#222222", linewidth=0.5)
        axes.set(xlim=(0, 1), ylim=(len(tables) - 0.5, -0.5), title=f"{count}: share of the network", ylabel="")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        words += [f"{name}: {own.idxmax()} {own.max():.0%} of the {count}" for name, own in shares.iterrows()]
    amounts = totals.map(lambda count: f"{count / 1e9:.1f} G" if count >= 1e9 else f"{count / 1e6:.1f} M")
    texts = [f"{name}\n{weights} weights, {flops} FLOPs" for name, weights, flops in amounts.itertuples()]
    grid[0].set_yticks(range(len(tables)), texts)
    style.add_legend(figure, grid)
    figure.alt_text = f"Shares of weights and FLOPs by kind of layer. Largest: {'; '.join(words)}."
    return figure


def shares_by_stage(tables: Mapping[str, pd.DataFrame]) -> style.Picture:
    """Share of weights and FLOPs in each stage (stem and classifier left out), a panel per table of `anatomy`."""
    table = pd.concat(tables, names=["title"]).reset_index()
    sums = table[table["stage"].str.startswith("stage")].groupby(["title", "stage"], sort=False)[list(COUNTS)].sum()
    shares = (sums / sums.groupby(level="title").sum()).rename(columns=COUNTS).rename_axis(columns="count").stack()
    rows = shares.rename("share").reset_index().assign(stage=lambda rows: rows["stage"].str.removeprefix("stage "))
    options: style.Style = {"look": COUNT_LOOKS, "ylabel": "share of all stages", "sharex": False, "height": 2.2}
    figure = style.curves(rows, "stage", "share", "count", "title", "Shares of the stages, first and last", **options)
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
        axes.minorticks_off()
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
    plans = {f"{plans.teacher} → {plans.student}": plans} if isinstance(plans, SelectionPlan) else plans
    words, theirs = [], {title: _places(plan.teacher_shapes) for title, plan in plans.items()}
    figure, grid = style.picture(0.5 + 0.27 * max(map(len, theirs.values())), 1, len(plans), squeeze=False)
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        edges = Counter((place_of(a.teacher), place_of(a.student)) for a in plan.assignments)
        sources, targets = theirs[title], _places([a.student for a in plan.assignments])
        right = np.linspace(0, len(sources) - 1, len(targets))
        lines: list[Any] = [
            (
                sources.index(source),
                right[targets.index(target)],
                f"{count} tensors" if len(plans) == 1 else str(count),
                {},
            )
            for (source, target), count in edges.items()
        ]
        used, fed = (dict.fromkeys(names) for names in zip(*edges, strict=True))
        columns = [[(row, name, name in used) for row, name in enumerate(sources)]]
        columns.append([(row, name, name in fed) for row, name in zip(right, targets, strict=True)])
        _draw_flow(axes, lines, columns, title, 0.7 if len(plans) == 1 else 0.95)
        unused = ", ".join(name for name in sources if name not in used) or "nothing"
        told = "; ".join(f"{source} feeds {target}" for source, target in edges)
        words.append(f"{title}: {told}. Not used: {unused}.")
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
    lines: list[Any] = []
    columns: tuple[list[Any], list[Any]] = ([], [])
    words = []
    for row, a in enumerate(shown):
        line, meaning = EDGES[sum(axis not in FIXED for axis in a.axes)]
        names, share = ", ".join(a.axes), Fraction(a.size, prod(a.teacher_shape))
        part = str(share) if share.denominator < 100 else f"{float(share):.0%}"
        lines.append((row, row, f"{names}   {part}", {"linestyle": line, "label": meaning}))
        sizes = [" × ".join(map(str, shape)) for shape in (a.teacher_shape, a.student_shape)]
        for column, tensor, size in zip(columns, (a.teacher, a.student), sizes, strict=True):
            column.append((row, f"{tensor}\n{size}", True))
        words.append(f"{a.student}: {names}, {part} of the teacher's {sizes[0]}")
    figure, axes = style.picture(0.9 + 0.38 * len(shown))
    _draw_flow(axes, lines, columns, f"{place}: {plan.teacher} → {plan.student}", 0.55)
    style.add_legend(figure, [axes], loc="outside lower center")
    figure.alt_text = f"Tensors of {place}, their axes, and the share that the student receives. {'; '.join(words)}."
    return figure


def _places(tensors: Iterable[str]) -> list[str]:
    """Where tensors sit, each place once; the classifier, which a plan's shapes do not hold, last."""
    return [*dict.fromkeys(place for place in map(place_of, tensors) if place != "classifier"), "classifier"]


def _draw_flow(axes: Axes, lines: Iterable[Any], columns: Iterable[Any], title: str, margin: float) -> None:
    """Lines (left, right, text, look) from the parts (height, name, whether filled) of the teacher to the student's."""
    for left, right, text, look in lines:
        axes.plot([0, 1], [left, right], color=PALETTE["teacher"], linewidth=1, zorder=1, **look)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.text(0.5, (left + right) / 2, text, ha="center", va="center", bbox=box, zorder=3)
    sides = (("teacher", "teacher", "right", -8), ("main", "student", "left", 8))
    for x, ((role, who, side, offset), parts) in enumerate(zip(sides, columns, strict=True)):
        rows, names, filled = zip(*parts, strict=True)
        faces = [PALETTE[role] if full else "white" for full in filled]
        axes.scatter([x] * len(rows), rows, 70, faces, marker=MARKERS[role], edgecolors=PALETTE[role], zorder=2)
        for name, row in zip(names, rows, strict=True):
            style.note(axes, x, row, name, (offset, 0), ha=side)
        style.note(axes, x, -1.0, who, (offset, 0), ha=side, color=PALETTE[role], weight="bold")
    style.clear(axes)
    axes.set(xlim=(-margin, 1 + margin), ylim=(max(rows) + 0.6, -1.3), title=title)
