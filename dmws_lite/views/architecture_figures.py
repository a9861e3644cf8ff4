"""Pictures of architectures: how wide and deep teacher and student are, and where their weights and FLOPs sit.

The tables are those of `dmws_lite.analysis.anatomy`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from dmws_lite.analysis.anatomy import KINDS
from dmws_lite.views.picture import FURTHER, PALETTE, Picture, bare, picture

if TYPE_CHECKING:
    import pandas as pd

COUNTS = {"parameters": "weights", "flops": "FLOPs"}
FILLS = ("#FFFFFF", FURTHER[1], FURTHER[0], "#B2E2D2", "#D55E00", FURTHER[2], PALETTE["teacher"])
KIND_HATCHES = ("", "..", "", "////", "xx", "\\\\", "")


def silhouettes(pairs: Mapping[str, tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]]) -> Picture:
    """Teacher and student side by side: a bar a block, as wide as its number of channels; input above, output below.

    pairs: by title, the channels of the teacher's and of the student's blocks, stage by stage (see `block_widths`).
    """
    figure, grid = picture(3.9, 1, len(pairs), squeeze=False)
    words = []
    for axes, (title, networks) in zip(grid[0], pairs.items(), strict=True):
        widest = max(max(map(max, widths)) for widths in networks)
        for role, widths, centre in zip(("teacher", "main"), networks, (0.0, 1.15 * widest), strict=True):
            _silhouette(axes, widths, centre, widest, role)
        axes.set_xticks([0, 1.15 * widest], [_depth("teacher", networks[0]), _depth("student", networks[1])])
        axes.set_title(title.replace(" → ", "\n→ "), fontsize=10)
        axes.set(ylim=(22, -1.2), yticks=[])
        axes.tick_params(length=0, labelsize=9)
        bare(axes)
        axes.spines["bottom"].set_visible(False)
        words.append(f"{title}: {_channels(networks[0])} to {_channels(networks[1])}")
    figure.alt_text = f"Blocks of teacher and student, as wide as their channels. {'; '.join(words)}."
    return figure


def shares_by_kind(tables: Mapping[str, pd.DataFrame]) -> Picture:
    """Where weights and FLOPs sit, by kind of layer: a bar a network.

    tables: by the name of their row, from `anatomy`.
    """
    figure, grid = picture(1.3 + 0.36 * len(tables), 1, 2, sharey=True)
    kinds = [kind for kind in KINDS if any((table["kind"] == kind).any() for table in tables.values())]
    words = []
    for axes, (column, name) in zip(grid, COUNTS.items(), strict=True):
        shares = {label: _shares(table, "kind", column) for label, table in tables.items()}
        left = np.zeros(len(tables))
        for kind in kinds:
            place = list(KINDS).index(kind)
            width = np.array([share.get(kind, 0.0) for share in shares.values()])
            style = {"facecolor": FILLS[place], "hatch": KIND_HATCHES[place], "edgecolor": "#222222", "linewidth": 0.5}
            axes.barh(range(len(tables)), width, left=left, height=0.72, label=kind, **style)
            left += width
        axes.set_title(f"{name}: share of the network", fontsize=10)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlim(0, 1)
        bare(axes)
        words += [f"{label}: {_largest(share)} of the {name}" for label, share in shares.items()]
    totals = [f"{label}\n{_amount(t, 'parameters')}, {_amount(t, 'flops')}" for label, t in tables.items()]
    grid[0].set_yticks(range(len(tables)), totals, fontsize=8)
    grid[0].set_ylim(len(tables) - 0.5, -0.5)
    grid[1].tick_params(axis="y", length=0)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    figure.alt_text = f"Shares of weights and FLOPs by kind of layer. Largest: {'; '.join(words)}."
    return figure


def shares_by_stage(tables: Mapping[str, pd.DataFrame]) -> Picture:
    """Share of the weights and of the FLOPs in each stage, a panel a network; stem and classifier are left out.

    tables: by the title of their panel, from `anatomy`.
    """
    figure, grid = picture(2.7, 1, len(tables), squeeze=False, sharey=True)
    words = []
    for axes, (title, table) in zip(grid[0], tables.items(), strict=True):
        stages = table[table["stage"].str.startswith("stage")]
        for column, marker, line, colour in zip(COUNTS, "os", ("-", "--"), (FURTHER[0], "#D55E00"), strict=True):
            shares = _shares(stages, "stage", column)
            style = {"marker": marker, "linestyle": line, "color": colour, "linewidth": 2}
            axes.plot(range(len(shares)), list(shares.values()), **style, label=COUNTS[column])
            words.append(f"{title}, {COUNTS[column]}: {', '.join(f'{share:.0%}' for share in shares.values())}")
        axes.set_xticks(range(len(shares)), [stage.split()[1] for stage in shares])
        axes.set(title=title, xlabel="stage")
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylim(0, None)
        axes.grid(alpha=0.3)
        bare(axes, left=True)
    grid[0, 0].set_ylabel("share of all stages")
    grid[0, 0].legend(fontsize=9, frameon=False)
    figure.alt_text = f"Shares of the stages, first to last. {'; '.join(words)}."
    return figure


def ratios(pairs: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]]) -> Picture:
    """What is left in the student of each kind of layer's weights and FLOPs, one panel a pair; a log scale.

    pairs: by the title of their panel, the tables of teacher and student from `anatomy`. The classifier is left out.
    """
    figure, grid = picture(2.9, 1, len(pairs), squeeze=False, sharex=True, sharey=True)
    kinds = [kind for kind in KINDS if kind != "classifier"]
    words = []
    for axes, (title, tables) in zip(grid[0], pairs.items(), strict=True):
        for (column, name), marker, colour, shift in zip(
            COUNTS.items(), "os", (FURTHER[0], "#D55E00"), (-0.12, 0.12), strict=True
        ):
            left = [_left(*tables, kind, column) for kind in kinds]
            axes.plot(left, np.arange(len(kinds)) + shift, marker, color=colour, label=name, markersize=6)
        for x in (1 / 4, 1 / 2):
            axes.axvline(x, color=PALETTE["teacher"], linestyle=":", linewidth=1, zorder=0)
        axes.set_xscale("log")
        axes.set_xticks([1 / 8, 1 / 4, 1 / 2, 1], ["⅛", "¼", "½", "1"])
        axes.set_xticks([], minor=True)
        axes.set(xlim=(0.1, 1.15), ylim=(len(kinds) - 0.5, -0.5), xlabel="student / teacher")
        axes.set_title(title.replace(" → ", "\n→ "), fontsize=10)
        axes.grid(axis="y", alpha=0.3)
        bare(axes)
        parts = [f"{kind} {_left(*tables, kind, 'parameters'):.2f}" for kind in kinds]
        words.append(f"{title}: {', '.join(part for part in parts if 'nan' not in part)}")
    grid[0, 0].set_yticks(range(len(kinds)), kinds, fontsize=8)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    figure.alt_text = f"Weights of the student as a share of the teacher's, by kind of layer. {'; '.join(words)}."
    return figure


def _silhouette(axes: Axes, widths: Sequence[Sequence[int]], centre: float, widest: int, role: str) -> None:
    """Bars of one network from the top down, stages apart; the number of channels stands beside each stage."""
    top = 0.0
    for stage in widths:
        rows = top + np.arange(len(stage))
        axes.barh(rows, stage, left=centre - np.array(stage) / 2, height=0.8, color=PALETTE[role])
        axes.text(centre, rows[0] - 0.55, f"{stage[0]}", ha="center", va="bottom", fontsize=8)
        top += len(stage) + 1.1


def _depth(role: str, widths: Sequence[Sequence[int]]) -> str:
    return f"{role}\n{sum(map(len, widths))} blocks"


def _channels(widths: Sequence[Sequence[int]]) -> str:
    return f"{sum(map(len, widths))} blocks of {'/'.join(str(stage[0]) for stage in widths)} channels"


def _shares(table: pd.DataFrame, by: str, column: str) -> dict[str, float]:
    return (table.groupby(by, sort=False)[column].sum() / table[column].sum()).to_dict()


def _largest(shares: Mapping[str, float]) -> str:
    kind = max(shares, key=lambda name: shares[name])
    return f"{kind} {shares[kind]:.0%}"


def _amount(table: pd.DataFrame, column: str) -> str:
    total, unit = table[column].sum(), "weights" if column == "parameters" else "FLOPs"
    scale, letter = (1e9, "G") if total >= 1e9 else (1e6, "M")
    return f"{total / scale:.1f} {letter} {unit}"


def _left(teacher: pd.DataFrame, student: pd.DataFrame, kind: str, column: str) -> float:
    """The student's amount of a kind as a share of the teacher's; nan where the teacher has none."""
    theirs, own = (table.loc[table["kind"] == kind, column].sum() for table in (teacher, student))
    return own / theirs if theirs else float("nan")
