"""Pictures of architectures: where weights sit (tables: `analysis.anatomy`), and which part feeds which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from dmws_lite.analysis.anatomy import KINDS
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.views import style
from dmws_lite.views.style import FURTHER, MARKERS, PALETTE

COUNTS = {"parameters": "weights", "flops": "FLOPs"}
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


def shares_by_kind(tables: Mapping[str, pd.DataFrame]) -> style.Picture:
    """Where weights and FLOPs sit, by kind of layer: one bar per network, by the names of the tables from `anatomy`."""
    figure, grid = style.picture(1.3 + 0.38 * len(tables), 1, 2, sharey=True)
    sums = pd.concat({name: table.groupby("kind")[list(COUNTS)].sum() for name, table in tables.items()})
    totals, facts = sums.groupby(level=0, sort=False).sum(), []
    for axes, (column, count) in zip(grid, COUNTS.items(), strict=True):
        shares = sums[column].div(totals[column], level=0).unstack().reindex(index=tables, columns=KINDS)
        shares = shares.dropna(axis=1, how="all").fillna(0)
        style.bars(axes, shares, FILLS, "barh", stacked=True, edgecolor="#222222", linewidth=0.5)
        axes.set(xlim=(0, 1), ylim=(len(tables) - 0.5, -0.5), title=f"{count}: share of the network", ylabel="")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        facts += [f"{name}: {row.idxmax()} {row.max():.0%} of the {count}" for name, row in shares.iterrows()]
    amounts = totals.map(lambda count: f"{count / 1e9:.1f} G" if count >= 1e9 else f"{count / 1e6:.1f} M")
    texts = [f"{name}\n{weights} weights, {flops} FLOPs" for name, weights, flops in amounts.itertuples()]
    grid[0].set_yticks(range(len(tables)), map(style.literal, texts))
    style.add_legend(figure, grid)
    return figure.describe("The largest shares of weights and FLOPs by kind of layer", *facts)


def place_of(tensor: str) -> str:
    """Where in a network a tensor sits: its block ("block 3", or "block stage.block"), or what is around the blocks.

    >>> place_of("blocks.3.attn.qkv.weight"), place_of("stages.1.downsample.1.bias"), place_of("head.fc.weight")
    ('block 3', 'downsampling 1', 'classifier')
    """
    for pattern, name in PLACES:
        if match := re.match(pattern, tensor):
            return name.format(**match.groupdict())
    return tensor


def streams(plan: SelectionPlan) -> pd.DataFrame:
    """What feeds what: source and target (parts of teacher and student), tensors, and elements that are copied."""
    rows = [(place_of(a.teacher), place_of(a.student), a.size) for a in plan.assignments]
    pairs = pd.DataFrame(rows, columns=["source", "target", "elements"]).groupby(["source", "target"], sort=False)
    return pairs["elements"].agg(tensors="count", elements="sum").reset_index()


def mapped_blocks(plans: SelectionPlan | Mapping[str, SelectionPlan]) -> style.Picture:
    """Which part of the teacher feeds which part of the student; hollow parts feed nothing, or are fed by nothing.

    plans: one plan, or several by the title of their panel. A number on an edge is the number of tensors it stands for.
    """
    plans = {f"{plans.teacher} → {plans.student}": plans} if isinstance(plans, SelectionPlan) else plans
    most = max(len(_list_parts(plan.teacher_shapes)) for plan in plans.values())
    figure, grid = style.picture(0.7 + 0.25 * most, 1, len(plans), squeeze=False)
    box, facts = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}, []
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        edges, sources = streams(plan), _list_parts(plan.teacher_shapes)
        targets = _list_parts([a.student for a in plan.assignments])
        source_rows = dict(zip(sources, np.arange(len(sources)), strict=True))
        target_rows = dict(zip(targets, np.linspace(0, len(sources) - 1, len(targets)), strict=True))
        style.clear(axes)
        for edge in edges.itertuples():
            ends = source_rows[edge.source], target_rows[edge.target]
            axes.plot([0, 1], ends, color=PALETTE["teacher"], linewidth=1, zorder=1)
            axes.text(0.5, sum(ends) / 2, str(edge.tensors), ha="center", va="center", bbox=box, zorder=3)
        _draw_parts(axes, axes, 0, "teacher", source_rows, set(edges["source"]))
        _draw_parts(axes, axes.secondary_yaxis("right"), 1, "main", target_rows, set(edges["target"]))
        axes.set_xticks([0, 1], ["teacher", "student"])
        axes.tick_params(labeltop=True, labelbottom=False)
        axes.set(ylim=(len(sources) - 0.4, -0.6), title=style.literal(title))
        unused = ", ".join(name for name in sources if name not in set(edges["source"])) or "nothing"
        feeds = ", ".join(edges["source"] + " feeds " + edges["target"])
        facts.append(f"{title}: {feeds}. Not used: {unused}")
    figure.supxlabel("number on a line: tensors", fontsize="medium")
    return figure.describe("Parts of the teacher, and the parts of the student that they feed", *facts)


def _draw_parts(axes: Axes, side: Any, x: int, role: str, rows: Mapping[str, Any], joined: set[str]) -> None:
    """A network's parts in a column at x, their names at a side of the axes; those not joined are hollow."""
    faces, places = [PALETTE[role] if name in joined else "white" for name in rows], list(rows.values())
    axes.scatter([x] * len(rows), places, 70, faces, marker=MARKERS[role], edgecolors=PALETTE[role], zorder=2)
    side.set_yticks(places, list(rows))
    side.tick_params(length=0)
    side.spines[:].set_visible(False)


def _list_parts(tensors: Iterable[str]) -> list[str]:
    """The parts that tensors sit in, each once; the classifier, which a plan's shapes do not hold, last."""
    return [*dict.fromkeys(part for part in map(place_of, tensors) if part != "classifier"), "classifier"]
