"""Pictures of training: its history, answers, soft targets, the auxiliary's memory, refitted layers, and the toy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from scipy.special import rel_entr, softmax

from dmws_lite.method.distillation import Distillation, half_life_of
from dmws_lite.method.measuring import Measured
from dmws_lite.training.toy import WINDOW, Points
from dmws_lite.views import style
from dmws_lite.views.style import HATCHES, PALETTE, SHARED

if TYPE_CHECKING:
    from dmws_lite.training.fit import Run

HISTORY = {  # the panel and the line of each column
    "loss": ("training loss", "main"),
    "val_accuracy": ("validation accuracy", "main"),
    "auxiliary_accuracy": ("validation accuracy", "auxiliary"),
    "alpha": ("schedules", "alpha"),
    "momentum": ("schedules", "momentum"),
}
FILLS = {name: (PALETTE[name], HATCHES[name]) for name in ("main", "auxiliary")}
PARTS = {"labels": ("#009E73", "..."), "soft targets": FILLS["auxiliary"], "sum": (SHARED, "")}
BELIEF = LinearSegmentedColormap.from_list("belief", ["#E9A3C9", "#F7F7F7", "#A1D76A"])  # class 0, undecided, class 1
CLASSES: tuple[style.Style, ...] = ({"marker": "v", "color": "#8E0152"}, {"marker": "^", "color": "#276419"})
RING: style.Style = {"facecolors": "none", "edgecolors": "black", "linewidths": 0.8, "label": "label is wrong"}


def history(runs: Run | Mapping[str, Run]) -> style.Picture:
    """How training went, one column per run: loss, both students' validation accuracy, and alpha with the momentum.

    runs: a Run, or Runs by the title of their column (at most four are readable).
    """
    runs, tables = runs if isinstance(runs, Mapping) else {"": runs}, []
    for column, (panel, line) in HISTORY.items():
        for title, run in runs.items():
            rows = pd.DataFrame(run.history)[["step", column]].set_axis(["step", "value"], axis=1)
            tables.append(rows.assign(line=line, panel=f"{title}: {panel}".removeprefix(": ")))
    table = pd.concat(tables)
    table = table[table["value"].notna() | table["line"].ne("auxiliary")]  # a run may have none
    roles = {"main": "main", "auxiliary": "auxiliary", "alpha": "teacher", "momentum": "random"}
    options: style.Style = {"sharex": "col", "sharey": "row", "columns": len(runs), "height": 1.7, "ylabel": ""}
    options |= {"look": style.looks(roles, roles), "gridspec_kw": {"height_ratios": [2, 3, 1.4]}}
    words = "Loss, validation accuracy and schedules over training steps"
    figure = style.curves(table, "step", "value", "line", "panel", words, **options)
    accuracies = figure.axes[len(runs) : 2 * len(runs)]
    for axes, run in zip(accuracies, runs.values(), strict=True):
        best = next(row for row in run.history if row["step"] == run.best_step)
        look: style.Style = {"color": PALETTE["main"], "markersize": 14, "zorder": 3}
        axes.plot(run.best_step, best["val_accuracy"], "*", label="kept: best on validation", **look)
    accuracies[0].legend(handles=accuracies[0].lines[-1:], loc="lower right")
    return figure


def confusion(counts: pd.DataFrame) -> style.Picture:
    """Numbers of images by true class (rows) and predicted class (columns); shades are shares of the row."""
    shares = counts.div(counts.sum(axis=1).clip(1), axis=0)
    texts = counts.to_numpy().astype(str) + "\n" + shares.map("{:.0%}".format).to_numpy()
    figure, axes = style.picture(1.2 + 0.6 * len(counts))
    names = [style.wrapped(name, 60 // len(counts) if len(counts) < 5 else 20) for name in counts]
    longest, middles = max(map(len, "\n".join(names).split("\n"))), np.arange(len(names)) + 0.5
    look: style.Style = {"cbar": True, "cbar_kws": {"label": "share of the true class"}}
    style.heat(axes, shares, texts, xticklabels=False, yticklabels=False, **look)
    axes.set_xticks(middles, names, rotation=90 if longest * len(names) > 60 else 0)
    axes.set(xlabel="predicted", ylabel="true", yticks=middles, yticklabels=names)
    right = style.listed(pd.Series(np.diag(shares), counts.index), ".0%")
    return figure.describe(f"Confusion matrix of {counts.to_numpy().sum()} images. Right answers: {right}")


def soft_targets(
    student_logits: Sequence[float],
    target_logits: Sequence[float],
    label: int,
    temperature: float = 2.0,
    alpha: float = 0.5,
    classes: Sequence[str] | None = None,
) -> style.Picture:
    """What one image teaches the main student: both distributions, the parts of the loss, and their gradients.

    student_logits, target_logits: (classes,), the main student's and the auxiliary's on one image, whose class is
                 `label`.
    temperature: T > 0 of the softmax on both sides; a line shows where a bar ends at T = 1.
    alpha:       weight of the soft targets, 0 to 1.
    classes:     their names; None numbers them.
    The loss is (1 - alpha) CE + alpha T^2 KL(target || student); training lowers a logit whose gradient points up.
    Raises ValueError for logits and classes that do not fit together, and for label, temperature or alpha out of range.
    """
    names = list(classes or (f"class {k}" for k in range(len(student_logits))))
    sizes = len(student_logits), len(target_logits), len(names)
    if sizes[0] < 2 or len(set(sizes)) > 1:
        counts = "{} student_logits, {} target_logits, {} classes".format(*sizes)
        raise ValueError(f"{counts}: pass one of each per class, and 2 classes or more")
    if label not in range(len(names)):
        raise ValueError(f"label={label} is out of range: 0 to {len(names) - 1}")
    Distillation(alpha=alpha, temperature=temperature)  # refuses what is out of range
    logits = pd.DataFrame({"main": student_logits, "auxiliary": target_logits}, names, dtype=float)
    soft, hard, right = logits.div(temperature).apply(softmax), logits.apply(softmax), np.arange(len(names)) == label
    gradients = pd.DataFrame({"labels": (1 - alpha) * (hard["main"] - right)})
    gradients["soft targets"] = alpha * temperature * (soft["main"] - soft["auxiliary"])
    losses = pd.DataFrame({"labels": [-(1 - alpha) * np.log(hard["main"].iloc[label])]})
    losses["soft targets"] = alpha * temperature**2 * rel_entr(soft["auxiliary"], soft["main"]).sum()
    losses, gradients = (table.assign(sum=table.sum(axis=1)) for table in (losses, gradients))
    soft = soft.add_suffix(f", T = {temperature:g}")
    figure, (shares, loss, gradient) = style.picture(3.4, 1, 3, width_ratios=[3.2, 2, 3])
    style.bars(shares, soft, dict(zip(soft, FILLS.values(), strict=True)), ylim=(0, 1.02), ylabel="probability")
    for student, shift, text in (("main", -0.2, ""), ("auxiliary", 0.2, "at T = 1")):
        x = np.arange(len(names)) + shift
        shares.hlines(hard[student], x - 0.19, x + 0.19, SHARED, linewidth=2, label=text)
    style.bars(loss, losses, PARTS, ylim=(0, 1.12 * max(losses.to_numpy().max(), 0.1)), title="loss")
    loss.set_xticks([])
    for group in loss.containers:
        loss.bar_label(group, fmt="%.2f", fontsize=7.5)
    limit = 1.1 * max(gradients.abs().to_numpy().max(), 0.1)
    style.bars(gradient, gradients, PARTS, ylim=(-limit, limit), title="gradient on the logits")
    gradient.axhline(0, color=SHARED, linewidth=0.8)
    ticks = [style.literal(f"{name}\n(right)" if k == label else name) for k, name in enumerate(names)]
    for axes in (shares, gradient):
        axes.set_xticks(range(len(names)), ticks)
    style.add_legend(figure, (shares, gradient))
    series = {**soft, "loss": losses.iloc[0], "gradient on the logits, in sum": gradients["sum"]}
    numbers = (f"{name}: {style.listed(values)}" for name, values in series.items())
    words = f"Soft targets on one image; right: {names[label]}; T = {temperature:g}, alpha = {alpha:g}"
    return figure.describe(words, *numbers)


def ema_memory(momentum: float, steps: int) -> style.Picture:
    """What the auxiliary consists of after `steps` steps of its EMA: its start, and the main student at each step.

    momentum: m in [0, 1): at each step the auxiliary becomes m * auxiliary + (1 - m) * main.
    steps:    1 or more.
    Left: the weight of the main student after each step, as a share of the newest one's. Right: the sums.
    Raises ValueError for values out of range.
    """
    if not 0 <= momentum < 1 or steps < 1:
        raise ValueError(f"momentum={momentum}, steps={steps}: pass 0 <= momentum < 1 and at least 1 step")
    half_life, step = half_life_of(momentum), np.arange(1, steps + 1)
    weights = momentum ** (steps - step)
    older, newer = (1 - momentum) * weights[: steps // 2].sum(), (1 - momentum) * weights[steps // 2 :].sum()
    sums = {"start of the\nauxiliary": momentum**steps, "main, older\nhalf": older, "main, newer\nhalf": newer}
    figure, (curve, share) = style.picture(3.0, 1, 2, width_ratios=[5, 2.2])
    curve.fill_between(step, 100 * weights, step="mid", color=PALETTE["main"], alpha=0.3, linewidth=0)
    curve.plot(step, 100 * weights, color=PALETTE["main"], drawstyle="steps-mid")
    if 0 < half_life < steps:
        curve.axvline(steps - half_life, color=SHARED, linestyle=":")
        side, y = ("right", 75) if half_life < steps / 2 else ("left", 25)  # above the curve, or below it
        curve.text(steps - half_life, y, " one half-life ago ", ha=side)
    curve.set(xlim=(0, steps + 1), ylim=(0, 105), xlabel="main student after step", ylabel="weight (% of the newest)")
    texts = [f"{100 * s:.3g} %" if s >= 0.001 or s == 0 else "below 0.1 %" for s in sums.values()]
    colours = [PALETTE["auxiliary"], PALETTE["main"], PALETTE["main"]]
    bars = share.barh(list(sums), [100 * value for value in sums.values()], color=colours, hatch=["///", "...", ""])
    share.bar_label(bars, texts, padding=3)
    share.set(xlim=(0, 135), xticks=[0, 50, 100], ylim=(2.6, -0.6), xlabel="share of the auxiliary (%)")
    title = f"half-life {half_life:.4g} steps (momentum {momentum:.4g}), after {steps} step{'s' if steps > 1 else ''}"
    figure.suptitle(title, fontsize="medium")
    words = "{} its start, {} the main student in the older half of the steps, {} in the newer half".format(*texts)
    return figure.describe(f"What an exponential moving average consists of; {title}: {words}")


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


def surfaces(grids: Mapping[str, Mapping[str, np.ndarray]], points: Points | None = None) -> style.Picture:
    """Probability of class 1 over the plane, one row per network, one column per moment or setting; line: one half.

    grids:  by row and column, float (resolution, resolution) from `surface`.
    points: training points, drawn with their labels; those with a wrong label are ringed.
    """
    columns, facts = list(next(iter(grids.values()))), []
    height = 0.9 + len(grids) * (0.1 + 4.8 / len(columns))
    figure, grid = style.picture(height, len(grids), len(columns), squeeze=False)
    for row, (name, surfaces) in zip(grid, grids.items(), strict=True):
        row[0].set_ylabel(style.literal(name))
        for axes, column in zip(row, columns, strict=True):
            surface = surfaces[column]
            image = axes.imshow(surface, extent=WINDOW, origin="lower", cmap=BELIEF, vmin=0, vmax=1)
            if np.ptp(np.sign(surface - 0.5)):
                axes.contour(surface, [0.5], extent=WINDOW, colors="black", linewidths=1)
            if points is not None:
                _draw_points(axes, points)
            area, mean = (surface > 0.5).mean(), np.maximum(surface, 1 - surface).mean()
            facts.append(f"{name} {column}: class 1 on {area:.0%} of the plane, mean confidence {mean:.2f}".strip())
    for axes, column in zip(grid[0], columns, strict=True):
        axes.set_title(style.literal(column))
    style.clear(*grid.flat)
    figure.colorbar(image, ax=grid, shrink=0.9, pad=0.01, label="probability of class 1", ticks=[0, 0.5, 1])
    style.add_legend(figure, grid[0])
    return figure.describe("What networks believe over the plane", *facts)


def _draw_points(axes: Axes, points: Points) -> None:
    """Training points by label; those with a wrong label are ringed."""
    for label, look in enumerate(CLASSES):
        x, y = points.x[points.labels == label].T
        axes.scatter(x, y, 20, label=f"labelled {label}", edgecolors="white", linewidths=0.4, **look)
    x, y = points.x[points.wrong].T
    axes.scatter(x, y, 80, **RING)
