"""Pictures of images, of training runs and of what their students can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dmws_lite.method.distillation import momentum_of
from dmws_lite.views.picture import FURTHER, HATCHES, LINES, MARKERS, PALETTE, UNUSED, Picture, bare, literal, picture

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.sets import ImageSet
    from dmws_lite.training.fit import Run

DISTINCT = (*FURTHER, "#D55E00", PALETTE["teacher"], "#000000")  # for curves that are neither main nor auxiliary


def images(image_set: ImageSet, per_class: int = 6) -> Picture:
    """A contact sheet: the first `per_class` images of every class, one row a class."""
    classes = image_set.classes
    figure, grid = picture(0.2 + 8 / (per_class + 1) * len(classes), len(classes), per_class, squeeze=False)
    for label, row in enumerate(grid):
        found = np.flatnonzero(image_set.labels == label)
        for axes, index in zip(row, found, strict=False):
            pixels = image_set.images[index].transpose(1, 2, 0)
            axes.imshow(pixels if pixels.shape[2] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=255)
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(literal(f"{classes[label]}\n({len(found)})"), rotation=0, ha="right", va="center", fontsize=9)
    counts = ", ".join(f"{n} {name}" for n, name in zip(image_set.counts, classes, strict=True))
    figure.alt_text = f"The first images of each class of {len(image_set)} images: {counts}."
    return figure


def history(runs: Run | Mapping[str, Run]) -> Picture:
    """How training went, one column a run: loss, both students' validation accuracy, and alpha with the momentum.

    runs: a Run, or Runs by the title of their column (at most four are readable).
    """
    named = runs if isinstance(runs, Mapping) else {"": runs}
    figure, grid = picture(5.6, 3, len(named), squeeze=False, sharex="col", sharey="row", height_ratios=[2, 3, 1.4])
    words = []
    for (loss, accuracy, schedule), (title, run) in zip(grid.T, named.items(), strict=True):
        rows = run.history
        steps = [row["step"] for row in rows]
        loss.plot(steps, [row["loss"] for row in rows], color=PALETTE["main"], marker=".")
        loss.set_title(title, fontsize=10)
        for student, column in (("main", "val_accuracy"), ("auxiliary", "auxiliary_accuracy")):
            values = [row[column] for row in rows]
            if not np.isnan(values).all():
                accuracy.plot(steps, values, label=student, **_style(student))
                words.append(f"{title} {student}: from {values[0]:.2f} to {values[-1]:.2f}.".strip())
        best = next(row for row in rows if row["step"] == run.best_step)
        label = "kept: best on validation"
        accuracy.plot(run.best_step, best["val_accuracy"], "*", color=PALETTE["main"], markersize=14, label=label)
        for name, line in (("alpha", "-"), ("momentum", ":")):
            schedule.plot(steps, [row[name] for row in rows], color=PALETTE["teacher"], linestyle=line, label=name)
        schedule.set(xlabel="step", ylim=(-0.05, 1.05))
        for axes in (loss, accuracy, schedule):
            axes.grid(alpha=0.3)
            bare(axes, left=True)
    for axes, label in zip(grid[:, 0], ("training loss", "validation accuracy", "schedules"), strict=True):
        axes.set_ylabel(label)
    grid[1, 0].legend(fontsize=8, frameon=False)
    grid[2, 0].legend(fontsize=8, frameon=False)
    figure.alt_text = f"Loss, validation accuracy and schedules over training steps. Accuracy of {' '.join(words)}"
    return figure


def disagreement(run: Run) -> Picture:
    """What each student knows that the other does not: shares of validation images over the evaluations of a run.

    Raises ValueError for a run without an auxiliary student.
    """
    rows = [row for row in run.history if "both_right" in row]
    if not rows:
        raise ValueError("disagreement needs a run with an auxiliary student: pass one to fit")
    both, main, other = (np.array([r[k] for r in rows]) for k in ("both_right", "val_accuracy", "auxiliary_accuracy"))
    parts = [
        ("both right", both, PALETTE["teacher"], ""),
        ("only main right", main - both, PALETTE["main"], HATCHES["main"]),
        ("only auxiliary right", other - both, PALETTE["auxiliary"], HATCHES["auxiliary"]),
        ("both wrong", 1 - main - other + both, UNUSED, ""),
    ]
    figure, axes = picture(3.4)
    bottom = np.zeros(len(rows))
    for label, share, colour, hatch in parts:
        axes.bar(range(len(rows)), share, 0.85, bottom, color=colour, hatch=hatch, edgecolor="white", label=label)
        bottom += share
    axes.set_xticks(range(len(rows)), [str(row["step"]) for row in rows])
    axes.set(xlabel="step", ylabel="share of validation images", ylim=(0, 1))
    bare(axes)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    first, last = (", ".join(f"{label} {share[i]:.0%}" for label, share, *_ in parts) for i in (0, -1))
    figure.alt_text = f"Right and wrong answers of both students. First evaluation: {first}. Last: {last}."
    return figure


def comparison(
    table: pd.DataFrame,
    metric: str = "accuracy",
    chance: float | None = None,
    paired: bool = False,
    guess: str = "chance",
) -> Picture:
    """Every seed's result of every method, their mean, and the mean's 95 % interval (Student's t over seeds).

    table:  columns label, seed and the metric, as `compare(...).table` has them.
    chance: what guessing would reach, drawn as a line.
    paired: join the results of each seed by a line.
    guess:  the line's label.
    The methods stay in the table's order; a method with a single seed has no interval.
    """
    from scipy.stats import t

    labels = list(dict.fromkeys(table["label"]))
    figure, axes = picture(1.2 + 0.5 * len(labels))
    words = []
    for row, label in enumerate(labels):
        values = table.loc[table["label"] == label, metric].to_numpy(float)
        n, mean = len(values), values.mean()
        half = t.ppf(0.975, n - 1) * values.std(ddof=1) / n**0.5 if n > 1 else 0.0
        if n > 1:
            axes.plot([mean - half, mean + half], [row, row], color=PALETTE["main"], linewidth=3, alpha=0.35)
        axes.plot(values, np.full(n, row + 0.22), MARKERS["main"], color=PALETTE["random"], markersize=4)
        axes.plot(mean, row, "D", color=PALETTE["main"], markersize=7)
        axes.annotate(f"{mean:.3f}", (mean, row), (0, 7), textcoords="offset points", ha="center", fontsize=8)
        words.append(f"{label} {mean:.3f}" + (f" ± {half:.3f}" if n > 1 else ""))
    for _, run in table.groupby("seed") if paired else ():
        rows = [labels.index(label) + 0.22 for label in run["label"]]
        axes.plot(run[metric], rows, color=PALETTE["random"], linewidth=0.8)
    if chance is not None:
        axes.axvline(chance, color=PALETTE["teacher"], linestyle=":", linewidth=1)
        axes.annotate(guess, (chance, -0.75), (3, 0), textcoords="offset points", fontsize=8, va="center")
        words.append(f"dotted line: {guess} {chance:.3f}")
    axes.set_yticks(range(len(labels)), map(literal, labels))
    axes.set(ylim=(len(labels) - 0.5, -0.95), xlabel=f"{metric.replace('_', ' ')} on the test images")
    axes.grid(axis="x", alpha=0.3)
    if "accuracy" in metric:  # an interval may reach beyond 0 or 1, an accuracy cannot
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, -0.02), min(high, 1.02))
    bare(axes)
    seeds = table["seed"].nunique()
    note = (
        f"diamond: mean of {seeds} seed{'s' if seeds > 1 else ''}; dots: seeds{', joined by lines' if paired else ''}"
    )
    axes.set_title(note + ("; bar: 95 % interval of the mean" if seeds > 1 else ""), fontsize=9, loc="left")
    measured = metric.replace("_", " ").capitalize()
    figure.alt_text = f"{measured} on the test images, {seeds} seed(s): {'; '.join(words)}."
    return figure


def confusion(counts: pd.DataFrame) -> Picture:
    """Numbers of images by true class (rows) and predicted class (columns); shades are shares of the row."""
    numbers, n = counts.to_numpy(), len(counts)
    shares = numbers / numbers.sum(1, keepdims=True).clip(1)
    figure, axes = picture(1.2 + 0.6 * n)
    drawn = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.6 else "black"
        axes.text(column, row, f"{numbers[row, column]}\n{share:.0%}", ha="center", va="center", color=colour)
    axes.set_xticks(range(n), map(literal, counts.columns))
    axes.set_yticks(range(n), map(literal, counts.index))
    axes.set(xlabel="predicted", ylabel="true")
    axes.spines[:].set_visible(False)
    figure.colorbar(drawn, label="share of the true class")
    right = ", ".join(f"{name} {shares[i, i]:.0%}" for i, name in enumerate(counts.index))
    figure.alt_text = f"Confusion matrix of {numbers.sum()} images. Right answers: {right}."
    return figure


def half_life(steps: int, half_lives: Sequence[float] | None = None) -> Picture:
    """How much of the auxiliary's start an EMA still holds after each step, for a few half-lives (in steps).

    half_lives: None draws 2 %, 10 % and 50 % of the run, and 693 steps (momentum 0.999).
    """
    half_lives = half_lives or (0.02 * steps, 0.1 * steps, 0.5 * steps, 693.1)
    figure, axes = picture(3.2)
    words, x = [], np.arange(steps + 1)
    for life, colour, line in zip(half_lives, DISTINCT, ("-", "--", "-.", ":") * 2, strict=False):
        left = 100 * momentum_of(life) ** x
        label = f"half-life {life:.0f} steps (momentum {momentum_of(life):.4g})"
        axes.plot(x, left, color=colour, linestyle=line, linewidth=2, label=label)
        words.append(f"{label}: {left[-1]:.0f} % left.")
    axes.set(xlabel="step", ylabel="left of the start (%)", ylim=(0, 102), xlim=(0, steps))
    axes.axhline(50, color=PALETTE["random"], linewidth=0.8)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    bare(axes, left=True)
    figure.alt_text = (
        f"Share of its start that an exponential moving average holds, after {steps} steps. {' '.join(words)}"
    )
    return figure


def similarity(curves: Mapping[str, Sequence[float]], ylabel: str = "similarity to the teacher") -> Picture:
    """One curve a kind of student, over the student's blocks 1, 2, ..."""
    figure, axes = picture(3.2)
    for (label, values), colour, marker, line in zip(
        curves.items(), DISTINCT, "o^sDvx", ("-", "--", "-.", ":") * 2, strict=False
    ):
        axes.plot(range(1, len(values) + 1), values, color=colour, marker=marker, linestyle=line, label=label)
    axes.set(xlabel="after block", ylabel=ylabel, ylim=(min(-0.2, axes.get_ylim()[0]), 1.02))
    axes.set_xticks(range(1, 1 + max(map(len, curves.values()))))
    axes.axhline(0, color=PALETTE["random"], linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    bare(axes, left=True)
    words = "; ".join(f"{label}: {', '.join(f'{v:.2f}' for v in values)}" for label, values in curves.items())
    figure.alt_text = f"{ylabel} after each block. {words}."
    return figure


def _style(student: str) -> dict[str, str]:
    return {"color": PALETTE[student], "marker": MARKERS[student], "linestyle": LINES[student]}
