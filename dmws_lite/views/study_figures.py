"""Pictures of a study: results, paired differences, factorial, fractions, cost, calibration, the auxiliary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from dmws_lite.studies.statistics import FACTORIAL, GROUP, differences, summary
from dmws_lite.training.evaluation import BINS
from dmws_lite.views.picture import LINES, MARKERS, PALETTE, Picture, bare, picture
from dmws_lite.views.run_figures import DISTINCT
from dmws_lite.views.study_panels import (
    MARKS,
    Style,
    add_legend,
    extremes,
    finish,
    forest,
    grid_of,
    halves,
    in_words,
    is_shown,
    labels_of,
    named,
    panels_of,
    part_of,
    styles,
)

if TYPE_CHECKING:
    import pandas as pd

CURVES = 6  # methods in one panel, and the reference with them
AUXILIARIES = ("none", "same", "complementary")


def results(table: pd.DataFrame, metric: str = "accuracy") -> Picture:
    """Every seed's result of every method, their mean and its 95 % interval, one panel a data set, pair and fraction.

    table: a row a run, as `Store.table` gives it; columns data, pair and fraction may be absent.
    """
    panels = [
        (
            title,
            rows,
            {name: run[metric].dropna().to_numpy(float) for name, run in part_of(table, rows).groupby("method")},
        )
        for title, rows in panels_of(summary(table, metric))
    ]
    figure = forest(panels, labels_of(table), "mean", in_words(metric))
    figure.suptitle("diamond: mean; bar: its 95 % interval; dots: seeds", fontsize=9)
    told = [f"{title}: {extremes(rows, 'mean', '{:.3f}')}".strip(": ") for title, rows, _ in panels]
    figure.alt_text = f"{in_words(metric).capitalize()} on the test images by method. {'; '.join(told)}."
    return figure


def paired_differences(
    table: pd.DataFrame, reference: str = "default", metric: str = "accuracy", fraction: float | None = None
) -> Picture:
    """Differences to a reference, seed by seed: mean, 95 % interval and every seed, one panel a data set and fraction.

    fraction: draw this one only. A filled diamond is a difference that is shown: a p below 0.05, Holm-corrected over
              the whole table, and an interval without 0.
    Groups that have no seed in common with the reference are left out.
    Raises ValueError when the reference is not in the table, or has no seed in common with any method.
    """
    found = differences(table, reference, metric)
    found = found[(found["seeds"] > 0) & ((found["fraction"] == fraction) if fraction is not None else True)]
    if found.empty:
        raise ValueError(f"reference={reference!r} has no seed in common with another method: run it with their seeds")
    return differences_found(table, found, reference, metric)


def differences_found(table: pd.DataFrame, found: pd.DataFrame, reference: str, metric: str) -> Picture:
    """The picture of `paired_differences`, of rows that `statistics.differences` found in the table before."""
    panels = []
    for title, rows in panels_of(found):
        wide = part_of(table, rows).pivot(index="seed", columns="method", values=metric).astype(float)
        gaps = wide.sub(wide[reference], axis=0)
        panels.append((title, rows, {name: gaps[name].dropna().to_numpy() for name in gaps}))
    labels = labels_of(table)
    others = {name: label for name, label in labels.items() if name in set(found["method"])}
    figure = forest(panels, others, "difference", "difference", zero=True)
    figure.suptitle(
        f"{in_words(metric)} minus that of {named(labels[reference], 60)}, paired by seed. Dots: seeds; bar: 95 % "
        "interval;\nfilled diamond: Holm-corrected p < 0.05 and an interval without 0; hollow: not shown",
        fontsize=9,
    )
    told = [f"{title}: {extremes(rows, 'difference', '{:+.3f}')}".strip(": ") for title, rows, _ in panels]
    figure.alt_text = (
        f"Differences in {in_words(metric)} to {labels[reference]}, paired by seed; {is_shown(found).sum()} of "
        f"{len(found)} are shown (corrected p below 0.05, interval without 0). {'; '.join(told)}."
    )
    return figure


def factorial(table: pd.DataFrame, metric: str = "accuracy") -> Picture:
    """How initialisation and auxiliary work together: means, 95 % intervals and seeds of the six cells.

    Raises ValueError naming the methods of FACTORIAL that the table lacks.
    """
    if missing := [name for names in FACTORIAL.values() for name in names if name not in set(table["method"])]:
        raise ValueError(f"the factorial needs {', '.join(missing)} as well: run a study with these methods")
    panels = list(panels_of(summary(table, metric)))
    figure, grid = grid_of(len(panels), 2.5, sharex=True)
    told = []
    for axes, (title, rows) in zip(grid, panels, strict=True):
        found, runs = rows.set_index("method"), part_of(table, rows)
        for (start, names), student, shift in zip(FACTORIAL.items(), ("random", "main"), (-0.06, 0.06), strict=True):
            cells, x, colour = found.reindex(names), np.arange(3) + shift, PALETTE[student]
            for at, name in zip(x, names, strict=True):
                seeds = runs.loc[runs["method"] == name, metric]
                axes.plot(np.full(len(seeds), at + shift), seeds, ".", color=colour, markersize=4, alpha=0.6)
            line: Style = {"color": colour, "marker": MARKERS[student], "linestyle": LINES[student]}
            axes.errorbar(
                x, cells["mean"], halves(cells), **line, label=f"{start} start", markersize=6, capsize=2, elinewidth=1
            )
            told.append(f"{title}, {start}: {', '.join(f'{v:.3f}' for v in cells['mean'])}".strip(", "))
        axes.set_title(named(title, 34, lines=3), fontsize=9)
        axes.set_xticks(range(3), AUXILIARIES, fontsize=8)
        axes.set_xlim(-0.4, 2.4)
    finish(figure, grid, "auxiliary", in_words(metric))
    add_legend(figure, grid[:1])
    figure.alt_text = (
        f"Mean {in_words(metric)} without an auxiliary, with one from the same start, and with the complementary (or "
        f"another random) one. {'; '.join(told)}."
    )
    return figure


def fraction_curves(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> Picture:
    """Mean and 95 % interval over the fraction of training images, a line a method, a panel a data set and pair.

    reference: a method drawn in every panel; above CURVES + 1 methods each data set has several panels.
    """
    found, look, labels = summary(table, metric), styles(table, reference), labels_of(table)
    others = [name for name in labels if name != reference]
    parts = np.array_split(others, max(1, -(-len(others) // CURVES)))
    panels = [(title, rows, part.tolist()) for part in parts for title, rows in panels_of(found, GROUP[:2])]
    figure, grid = grid_of(len(panels), 2.4, legend=len(labels))
    fractions = sorted(table["fraction"].unique())
    for axes, (title, rows, part) in zip(grid, panels, strict=True):
        names = [reference, *part] if reference in labels else part
        for i, name in enumerate(names):
            line = rows[rows["method"] == name].sort_values("fraction")
            x = line["fraction"] * 1.04 ** (i - (len(names) - 1) / 2)  # beside each other, not on top
            axes.errorbar(x, line["mean"], halves(line), **look[name], label=labels[name], capsize=2, elinewidth=0.8)
        axes.set(xscale="log", xlim=(fractions[0] / 1.5, fractions[-1] * 1.5))
        axes.set_xticks(fractions, [f"{100 * value:g}" for value in fractions], fontsize=8)
        axes.minorticks_off()
        axes.set_title(named(title, 34, lines=3), fontsize=9)
    finish(figure, grid, "training images (%)", in_words(metric))
    add_legend(figure, grid)
    told = [
        f"{title}, {100 * fraction:g} %: {extremes(rows[rows['fraction'] == fraction], 'mean', '{:.3f}')}".strip(", ")
        for title, rows in panels_of(found, GROUP[:2])
        for fraction in (fractions[0], fractions[-1])
    ]
    figure.alt_text = f"Mean {in_words(metric)} over the fraction of training images. {'; '.join(dict.fromkeys(told))}."
    return figure


def cost_accuracy(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> Picture:
    """Mean result against training seconds (left) and FLOPs of a step (right), a row of panels a group."""
    look, labels, panels = styles(table, reference), labels_of(table), list(panels_of(table))
    figure, grid = grid_of(2 * len(panels), 2.3, legend=len(labels), columns=2)
    told = []
    for row, (title, runs) in enumerate(panels):
        means = runs.groupby("method", sort=False)[[metric, "seconds", "flops_per_step"]].mean()
        means["flops_per_step"] /= 1e9
        for axes, column, words in zip(
            grid[2 * row : 2 * row + 2],
            ("seconds", "flops_per_step"),
            ("training seconds", "GFLOPs a step"),
            strict=True,
        ):
            for name, found in means.iterrows():
                style = {**look[str(name)], "linestyle": "none", "markersize": 6.5}
                axes.plot(found[column], found[metric], **style, label=labels[str(name)])
            axes.set_xlim(0, 1.08 * means[column].max() if means[column].max() > 0 else 1)
            axes.set_xlabel(words, fontsize=9)
            axes.set_title(named(title, 34, lines=3), fontsize=9)
        cost = means["seconds"].sort_values()
        ends = [f"{cost.iloc[i]:.3g} s ({labels[str(cost.index[i])]})" for i in (0, -1)]
        told.append(f"{title}: from {ends[0]} to {ends[1]}")
    finish(figure, grid, None, in_words(metric))
    add_legend(figure, grid)
    figure.alt_text = (
        f"Mean {in_words(metric)} against training time and against the FLOPs of a step. Training took "
        f"{'; '.join(text.strip(': ') for text in told)}."
    )
    return figure


def reliability(table: pd.DataFrame, predictions: pd.DataFrame) -> Picture:
    """Calibration: accuracy against confidence of the main students on the test images, a panel a method.

    predictions: as `Store.predictions` gives them; runs without any are left out. Lines: data sets, all seeds; the area
    of a mark is the bin's share of the images. Bars below: how confidence is distributed. In the titles: the mean
    ece over runs.
    """
    labels, several = labels_of(table), "data" in table and table["data"].nunique() > 1
    figure, grid = grid_of(len(labels), 2.3, sharex=True, sharey=True, legend=table["data"].nunique() if several else 0)
    mains, edges, told = predictions[predictions["student"] == "main"], np.linspace(0, 1, BINS + 1), []
    for axes, (name, label) in zip(grid, labels.items(), strict=True):
        own = table[table["method"] == name]
        axes.plot([0, 1], [0, 1], color=PALETTE["random"], linewidth=0.8)
        parts = list(own.groupby("data", sort=False)) if several else [("", own)]
        whole = np.zeros(BINS)
        for i, (data, runs) in enumerate(parts):
            images = mains[mains["key"].isin(runs["key"])]
            if images.empty:
                continue
            confidence = np.stack(images["probabilities"].to_list()).max(1)
            bins = np.digitize(confidence, edges[1:-1], right=True)
            counts = np.bincount(bins, minlength=BINS)
            filled, whole = np.flatnonzero(counts), whole + counts
            right = np.bincount(bins, (images["label"] == images["predicted"]), BINS)[filled] / counts[filled]
            x = np.bincount(bins, confidence, BINS)[filled] / counts[filled]
            colour = DISTINCT[i % len(DISTINCT)] if several else PALETTE["main"]
            axes.plot(
                x, right, color=colour, linestyle=("-", "--", "-.", ":")[i % 4], linewidth=1, label=named(data, 30)
            )
            axes.scatter(x, right, 120 * counts[filled] / counts.sum(), color=colour, marker=MARKS[i % len(MARKS)])
        axes.bar(edges[:-1], 0.3 * whole / max(whole.max(), 1), 1 / BINS, align="edge", color="#DDDDDD", zorder=0)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.set_title(f"{named(label, 30)}\nece {own['ece'].mean():.3f}", fontsize=8)
        told.append(f"{label} {own['ece'].mean():.3f}")
    finish(figure, grid, "confidence", "accuracy")
    if several:
        add_legend(figure, grid)
    figure.alt_text = f"Accuracy against confidence by method. Mean calibration error (ece): {'; '.join(told)}."
    return figure


def auxiliary_over_time(
    table: pd.DataFrame, history: pd.DataFrame, updates: Mapping[str, str] | None = None
) -> Picture:
    """Validation accuracy of main and auxiliary over steps, and below what the EMA still holds of its start; by method.

    history: as `Store.history` gives it, of runs on one data set, pair and fraction.
    updates: auxiliary_update by method; of "frozen" and "trained" auxiliaries the share of the start is not drawn.
    Lines: means over seeds; bands: from the lowest to the highest seed. Methods without an auxiliary are left out.
    Raises ValueError where no method has one.
    """
    rows = history.merge(table[["key", "method"]], on="key").sort_values(["key", "step"])
    with_one = set(rows.loc[rows["auxiliary_accuracy"].notna(), "method"])
    labels = {name: label for name, label in labels_of(table).items() if name in with_one}
    if not labels:
        raise ValueError("no method here has an auxiliary student: add one that has, such as dual_skd")
    blocks = -(-len(labels) // 4)
    columns = -(-len(labels) // blocks)
    figure, grid = picture(
        0.7 + 3.1 * blocks, 2 * blocks, columns, squeeze=False, sharex=True, sharey="row", height_ratios=[2, 1] * blocks
    )
    figure.set_layout_engine("constrained", hspace=0.02)
    told = []
    for i, (name, label) in enumerate(labels.items()):
        accuracy, schedule = grid[i // columns * 2 : i // columns * 2 + 2, i % columns]
        own = rows[rows["method"] == name]
        for student, column in (("main", "val_accuracy"), ("auxiliary", "auxiliary_accuracy")):
            seeds = own.groupby("step")[column].agg(["mean", "min", "max"])
            line = {"color": PALETTE[student], "marker": MARKERS[student], "linestyle": LINES[student], "markersize": 3}
            accuracy.plot(seeds.index, seeds["mean"], **line, label=student)
            accuracy.fill_between(
                seeds.index, seeds["min"], seeds["max"], color=PALETTE[student], alpha=0.2, linewidth=0
            )
            told.append(f"{label}, {student}: from {seeds['mean'].iloc[0]:.2f} to {seeds['mean'].iloc[-1]:.2f}")
        first = own[own["key"] == own["key"].iloc[0]]
        schedule.plot(first["step"], first["alpha"], color=PALETTE["teacher"], label="α")
        if (updates or {}).get(name, "ema") == "ema":
            schedule.plot(
                first["step"], _left(first), color=PALETTE["auxiliary"], linestyle=":", label="left of the start"
            )
        schedule.set_ylim(-0.05, 1.05)
        accuracy.set_title(named(label, 24), fontsize=8)
    for axes in grid.flat:
        axes.grid(alpha=0.3)
        bare(axes, left=True)
        axes.tick_params(labelsize=8)
        axes.set_visible(bool(axes.lines))
    for schedule in grid[1::2].flat:
        schedule.tick_params(labelbottom=True)
    for accuracy, schedule in zip(grid[::2, 0], grid[1::2, 0], strict=True):
        accuracy.set_ylabel("validation accuracy", fontsize=8)
        schedule.set_ylabel("schedules", fontsize=8)
    figure.supxlabel("step", fontsize=9)
    add_legend(figure, [grid[0, 0], grid[1, 0]])
    figure.alt_text = f"Validation accuracy over training, mean over seeds. {'; '.join(told)}."
    return figure


def _left(run: pd.DataFrame) -> np.ndarray:
    """The share of the auxiliary's start that an EMA holds at each row of a run's history: the product of momenta."""
    with np.errstate(divide="ignore"):
        logs = np.log(run["momentum"].to_numpy(float))
    steps = np.diff(run["step"].to_numpy(float), prepend=run["step"].iloc[0])
    between = (logs + np.concatenate([logs[:1], logs[:-1]])) / 2
    return np.exp(np.cumsum(np.where(steps > 0, steps * between, 0.0)))
