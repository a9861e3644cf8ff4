"""Pictures of architectures: where weights sit (tables: `analysis.anatomy`), and which part feeds which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
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
    fed = pd.DataFrame(rows, columns=["source", "target", "elements"]).groupby(["source", "target"], sort=False)
    return fed["elements"].agg(tensors="count", elements="sum").reset_index()


def mapped_blocks(plans: SelectionPlan | Mapping[str, SelectionPlan]) -> style.Picture:
    """Which part of the teacher feeds which part of the student; hollow parts feed nothing, or are fed by nothing.

    plans: one plan, or several by the title of their panel. A number on an edge is the number of tensors it stands for.
    """
    plans = {f"{plans.teacher} → {plans.student}": plans} if isinstance(plans, SelectionPlan) else plans
    words, theirs, alone = [], {title: _places(plan.teacher_shapes) for title, plan in plans.items()}, len(plans) == 1
    figure, grid = style.picture(0.5 + 0.27 * max(map(len, theirs.values())), 1, len(plans), squeeze=False)
    box, margin = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}, 0.7 if alone else 0.95
    for axes, (title, plan) in zip(grid[0], plans.items(), strict=True):
        edges = streams(plan)
        sources, targets = theirs[title], _places([a.student for a in plan.assignments])
        right = np.linspace(0, len(sources) - 1, len(targets))
        for edge in edges.itertuples():
            ends = sources.index(edge.source), right[targets.index(edge.target)]
            axes.plot([0, 1], ends, color=PALETTE["teacher"], linewidth=1, zorder=1)
            text = f"{edge.tensors}{' tensors' * alone}"
            axes.text(0.5, sum(ends) / 2, text, ha="center", va="center", bbox=box, zorder=3)
        used, fed = set(edges["source"]), set(edges["target"])
        sides: Any = [("teacher", "teacher", "right", np.arange(len(sources)), sources, used)]
        sides += [("student", "main", "left", right, targets, fed)]
        for x, (who, role, side, rows, names, filled) in enumerate(sides):
            faces = [PALETTE[role] if name in filled else "white" for name in names]
            axes.scatter([x] * len(rows), rows, 70, faces, marker=MARKERS[role], edgecolors=PALETTE[role], zorder=2)
            for name, row in zip(names, rows, strict=True):
                style.note(axes, x, row, name, (16 * x - 8, 0), ha=side)
            style.note(axes, x, -1.0, who, (16 * x - 8, 0), ha=side, color=PALETTE[role], weight="bold")
        style.clear(axes)
        axes.set(xlim=(-margin, 1 + margin), ylim=(len(sources) - 0.4, -1.3), title=title)
        unused = ", ".join(name for name in sources if name not in used) or "nothing"
        feeds = "; ".join(edges["source"] + " feeds " + edges["target"])
        words.append(f"{title}: {feeds}. Not used: {unused}.")
    figure.alt_text = f"Parts of the teacher, and the parts of the student that they feed. {' '.join(words)}"
    return figure


def _places(tensors: Iterable[str]) -> list[str]:
    """Where tensors sit, each place once; the classifier, which a plan's shapes do not hold, last."""
    return [*dict.fromkeys(place for place in map(place_of, tensors) if place != "classifier"), "classifier"]
