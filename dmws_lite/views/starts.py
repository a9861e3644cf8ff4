"""Pictures of initialisations (tables: `analysis.starts`): weights, signals, attention, first steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from dmws_lite.analysis.starts import STARTS, TEACHER
from dmws_lite.method.measuring import Measured
from dmws_lite.studies.methods import METHODS
from dmws_lite.views import style

ROLES = {"default": "random", "weight_selection": "main", TEACHER: "teacher"}  # those that have a colour already
PLACES = np.linspace(0, 1, 61)  # along a spectrum: matrices of different sizes are drawn on one axis


def spectra(weights: pd.DataFrame) -> style.Picture:
    """Singular values divided by the largest, means over blocks, a panel per kind of matrix, from `starts.matrices`."""
    shares = [np.interp(PLACES, np.linspace(0, 1, len(s)), s / s[0]) for s in weights["singular"]]
    table = weights[["method", "kind", "label"]].assign(place=[PLACES] * len(weights), share=shares)
    table = table.explode(["place", "share"]).astype({"share": float})
    xlabel = "place in the spectrum (0: the largest singular value, 1: the smallest)"
    options: style.Style = {"drawn": {"markevery": 10}, "xlabel": xlabel, "ylabel": "σ / largest σ", "height": 2.3}
    return _draw_curves(table, "place", "share", "kind", "Normalised singular values of the weight matrices", **options)


def through_depth(signals: pd.DataFrame) -> style.Picture:
    """Spread of activations and similarity of images before the first block and after each, from `signals`."""
    titles = {"spread": "standard deviation of the activations", "similarity": "cosine of two images"}
    figure = _draw_by_block(signals, titles, "Activations through depth", ylabel="", sharey=False)
    spread = figure.axes[0]
    spread.set_yscale("log")
    spread.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    spread.yaxis.set_major_formatter("{x:g}")
    spread.yaxis.set_minor_formatter(NullFormatter())
    return figure


def attention(looking: pd.DataFrame) -> style.Picture:
    """Entropy and distance of the attention by block, relative to uniform attention (dotted line).

    looking: from `attention` in `dmws_lite.analysis.starts`. Raises ValueError for a table without rows.
    """
    if looking.empty:
        raise ValueError("the table of attention has no rows: these networks have no attention to draw")
    titles, words = {"entropy": "entropy", "distance": "distance"}, "Attention by block, relative to uniform attention"
    return _draw_by_block(looking, titles, words, ylabel="relative to uniform", level=(1, ""))


def first_steps(losses: pd.DataFrame, chance: float | None = None) -> style.Picture:
    """Validation loss over the first steps: mean over seeds (thick) and every seed (thin).

    losses: from `first_steps` in `dmws_lite.analysis.starts`.
    chance: the loss of equal probabilities for all classes, drawn as a line.
    """
    level = None if chance is None else (chance, "chance")
    steps, seeds = losses["step"].max(), losses["seed"].nunique()
    words = f"Validation loss over the first {steps} steps, {seeds} seed(s) per method"
    options: style.Style = {"ylabel": "validation loss", "level": level, "height": 3.6}
    figure = _draw_curves(losses, "step", "val_loss", None, words, **options)
    thin: style.Style = {"estimator": None, "linewidth": 0.6, "alpha": 0.5, "legend": False}
    thin["palette"] = style.semantics(_choose_looks(losses))["palette"]
    sns.lineplot(losses, x="step", y="val_loss", hue="label", units="seed", ax=figure.axes[0], **thin)
    figure.axes[0].set(xlabel="", ylabel="validation loss")
    return figure


def layer_errors(measured: Sequence[Measured]) -> style.Picture:
    """Error of each layer before and after it was refitted, one panel per student; measured: `students.measured`."""
    names = style.students(len(measured))
    tables = [errors.table.assign(student=name) for name, errors in zip(names, measured, strict=True)]
    table = pd.concat(tables).melt(["module", "student"], ["before", "after"], "when", "error").dropna()
    look = style.looks(["before", "after"], {"before": "random", "after": "main"})
    labels: style.Style = {"xlabel": "", "ylabel": "share of the teacher's variance", "height": 3.6, "columns": 2}
    figure = style.curves(table, "module", "error", "when", "student", "Error of each layer", look=look, **labels)
    for axes in figure.axes:
        axes.tick_params(axis="x", rotation=90, labelsize=7)
        axes.set_yscale("log")
    return figure


def _draw_by_block(table: pd.DataFrame, titles: dict[str, str], words: str, **options: Any) -> style.Picture:
    """Columns of a table over the blocks, one line per method; one panel per column, with its title."""
    long = table.melt(["method", "label", "block"], list(titles), "column").replace({"column": titles})
    return _draw_curves(long, "block", "value", "column", words, height=2.9, **options)


def _draw_curves(table: pd.DataFrame, x: str, y: str, panel: str | None, words: str, **options: Any) -> style.Picture:
    """The table's curves, one line per method in the colour that it has in all chapters."""
    figure = style.curves(table, x, y, "label", panel, words, look=_choose_looks(table), columns=2, **options)
    if x == "block":
        figure.axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _choose_looks(table: pd.DataFrame) -> dict[str, style.Style]:
    """The look of each label: that of its role in all chapters, else the next one, those of STARTS first."""
    roles = {METHODS[name].label: role for name, role in ROLES.items()}
    return style.looks([METHODS[name].label for name in [*STARTS, *table["method"].unique()]], roles)
