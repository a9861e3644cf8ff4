"""Pictures of initialisations: what is in the weights, what becomes of images and attention, and the first steps.

The tables are those of `dmws_lite.analysis.starts`. Each method has the same colour, mark and line in all pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from dmws_lite.analysis.starts import STARTS, TEACHER
from dmws_lite.views.picture import LINES, MARKERS, PALETTE, Picture
from dmws_lite.views.run_figures import DISTINCT
from dmws_lite.views.study_panels import MARKS, Style, add_legend, finish, grid_of, labels_of

if TYPE_CHECKING:
    import pandas as pd

ROLES = {"default": "random", "weight_selection": "main", TEACHER: "teacher"}  # those that have a colour already
PLACES = np.linspace(0, 1, 61)  # along a spectrum: matrices of different sizes are drawn on one axis


def spectra(weights: pd.DataFrame) -> Picture:
    """Singular values divided by the largest, means over blocks, a panel a kind of matrix.

    weights: from `matrices`.
    """
    kinds, looks, labels = weights["kind"].unique(), _looks(weights), labels_of(weights)
    figure, grid = grid_of(len(kinds), 2.3, len(labels), 2, sharex=True, sharey=True)
    for axes, kind in zip(grid, kinds, strict=True):
        for method, rows in _by_method(weights[weights["kind"] == kind]):
            curves = [np.interp(PLACES, np.linspace(0, 1, len(s)), s / s[0]) for s in rows["singular"]]
            axes.plot(PLACES, np.mean(curves, 0), **looks[method], label=labels[method], markevery=10)
        axes.set_title(kind, fontsize=9)
        axes.set_ylim(0, 1.03)
    finish(figure, grid, "place in the spectrum (0: the largest singular value, 1: the smallest)", "σ / largest σ")
    add_legend(figure, grid)
    figure.alt_text = (
        f"Normalised singular values of the weight matrices ({', '.join(kinds)}). "
        f"Stable rank as a share of the full rank, means: {_means(weights, 'rank_share')}."
    )
    return figure


def gains(weights: pd.DataFrame) -> Picture:
    """The gain of every matrix by block, a panel a kind of matrix.

    weights: from `matrices`.
    """
    kinds = weights["kind"].unique()
    figure = _by_block([(kind, weights[weights["kind"] == kind], "gain") for kind in kinds], weights, "gain", log=True)
    figure.alt_text = f"Gain of the weight matrices ({', '.join(kinds)}) by block. Means: {_means(weights, 'gain')}."
    return figure


def through_depth(found: pd.DataFrame) -> Picture:
    """Spread of the activations, and similarity of different images, before the first block and after each.

    found: from `signals`.
    """
    panels = [("standard deviation of the activations", found, "spread"), ("cosine of two images", found, "similarity")]
    figure = _by_block(panels, found, None)
    _logarithmic(figure.axes[0])
    last = found.loc[found.groupby("method", sort=False)["block"].idxmax()]
    figure.alt_text = (
        f"Activations through depth. Standard deviation after the last block: {_means(last, 'spread')}. "
        f"Cosine of two images there: {_means(last, 'similarity')}."
    )
    return figure


def attention(found: pd.DataFrame) -> Picture:
    """Entropy and distance of the attention by block, relative to attention to everything alike (dotted line).

    found: from `attention` in `dmws_lite.analysis.starts`. Raises ValueError for a table without rows.
    """
    if found.empty:
        raise ValueError("the table of attention has no rows: these networks have no attention to draw")
    figure = _by_block([("entropy", found, "entropy"), ("distance", found, "distance")], found, "relative to uniform")
    for axes in figure.axes:
        axes.axhline(1, color=PALETTE["teacher"], linestyle=":", linewidth=1)
    figure.alt_text = (
        f"Attention relative to uniform attention, means over blocks. Entropy: {_means(found, 'entropy')}. "
        f"Distance: {_means(found, 'distance')}."
    )
    return figure


def first_steps(losses: pd.DataFrame, chance: float | None = None) -> Picture:
    """Validation loss over the first steps: mean over seeds (thick) and every seed (thin).

    losses: from `first_steps` in `dmws_lite.analysis.starts`.
    chance: the loss of equal probabilities for all classes, drawn as a line.
    """
    looks, labels = _looks(losses), labels_of(losses)
    figure, (axes,) = grid_of(1, 3.6, len(labels))
    for method, rows in _by_method(losses):
        wide = rows.pivot(index="step", columns="seed", values="val_loss")
        axes.plot(wide.index, wide.to_numpy(), color=looks[method]["color"], linewidth=0.6, alpha=0.5)
        axes.plot(wide.index, wide.mean(axis=1), **{**looks[method], "linewidth": 2}, label=labels[method])
    if chance is not None:
        axes.axhline(chance, color=PALETTE["teacher"], linestyle=":", linewidth=1)
        axes.annotate(
            "chance", (1, chance), (-3, 3), ("axes fraction", "data"), "offset points", fontsize=8, ha="right"
        )
    finish(figure, [axes], "step", "validation loss")
    add_legend(figure, [axes])
    last = losses[losses["step"] == losses["step"].max()]
    seeds = losses["seed"].nunique()
    figure.alt_text = (
        f"Validation loss over the first {losses['step'].max()} steps, {seeds} seed(s) a method. "
        f"Means at the end: {_means(last, 'val_loss')}."
    )
    return figure


def _by_block(
    panels: list[tuple[str, pd.DataFrame, str]], everything: pd.DataFrame, ylabel: str | None, log: bool = False
) -> Picture:
    """One column of a table over the blocks, a line a method; each panel is (title, rows, column)."""
    looks, labels = _looks(everything), labels_of(everything)
    shared = ylabel is not None
    figure, grid = grid_of(len(panels), 2.3 if len(panels) > 2 else 2.9, len(labels), 2, sharex=True, sharey=shared)
    for axes, (title, rows, column) in zip(grid, panels, strict=True):
        for method, line in _by_method(rows):
            axes.plot(line["block"], line[column], **looks[method], label=labels[method])
        axes.set_title(title, fontsize=9)
        axes.set_xticks(sorted(everything["block"].unique()))
        if log:
            _logarithmic(axes)
    finish(figure, grid, "block", ylabel)
    add_legend(figure, grid)
    return figure


def _logarithmic(axes: Axes) -> None:
    """A logarithmic axis with plain numbers at 1, 2 and 5."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _by_method(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    return iter(table.groupby("method", sort=False))


def _looks(table: pd.DataFrame) -> dict[str, Style]:
    """Colour, mark and line of each method: the roles that all chapters share, then STARTS, then what else there is."""
    others = [name for name in dict.fromkeys([*STARTS, *table["method"]]) if name not in ROLES]
    colours = [colour for colour in DISTINCT if colour != PALETTE["teacher"]]
    found: dict[str, Style] = {}
    for i, name in enumerate(others):
        found[name] = {"color": colours[i % len(colours)], "marker": MARKS[i + 2], "linestyle": ("--", "-")[i % 2]}
    for name, role in ROLES.items():
        found[name] = {"color": PALETTE[role], "marker": MARKERS[role], "linestyle": LINES[role], "linewidth": 2}
    return {name: {"markersize": 5, **style} for name, style in found.items()}


def _means(table: pd.DataFrame, column: str) -> str:
    return ", ".join(
        f"{label} {value:.2f}" for label, value in table.groupby("label", sort=False)[column].mean().items()
    )
