"""Pictures of training: its history, what the students know, soft targets, and the memory of the auxiliary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from scipy.special import softmax
from torch.nn import functional as F

from dmws_lite.method.distillation import half_life_of, momentum_of, soft_loss
from dmws_lite.views import style

if TYPE_CHECKING:
    from dmws_lite.training.fit import Run

PARTS = {"labels": ("#009E73", "..."), "soft targets": (style.PALETTE["auxiliary"], "///"), "sum": (style.SHARED, "")}


def history(runs: Run | Mapping[str, Run]) -> style.Picture:
    """How training went, one column per run: loss, both students' validation accuracy, and alpha with the momentum.

    runs: a Run, or Runs by the title of their column (at most four are readable).
    """
    by_title = runs if isinstance(runs, Mapping) else {"": runs}
    figure, grid = style.picture(
        5.6, 3, len(by_title), squeeze=False, sharex="col", sharey="row", height_ratios=[2, 3, 1.4]
    )
    words = []
    for (loss, accuracy, schedule), (title, run) in zip(grid.T, by_title.items(), strict=True):
        rows = pd.DataFrame(run.history).set_index("step")
        loss.plot(rows["loss"], color=style.PALETTE["main"], marker=".")
        loss.set_title(title, fontsize=10)
        for student, column in (("main", "val_accuracy"), ("auxiliary", "auxiliary_accuracy")):
            if rows[column].notna().any():
                accuracy.plot(rows[column], label=student, **style.role_look(student))
                ends = rows[column].iloc[[0, -1]]
                words.append(f"{title} {student}: from {ends.iloc[0]:.2f} to {ends.iloc[1]:.2f}.".strip())
        star: style.Style = {"color": style.PALETTE["main"], "markersize": 14, "label": "kept: best on validation"}
        accuracy.plot(run.best_step, rows["val_accuracy"][run.best_step], "*", **star)
        for name, line in (("alpha", "-"), ("momentum", ":")):
            schedule.plot(rows[name], color=style.PALETTE["teacher"], linestyle=line, label=name)
        schedule.set(xlabel="step", ylim=(-0.05, 1.05))
    style.finish(figure, grid.ravel(), legend=False)
    for axes, label in zip(grid[:, 0], ("training loss", "validation accuracy", "schedules"), strict=True):
        axes.set_ylabel(label)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(fontsize=8, frameon=False)
    figure.alt_text = f"Loss, validation accuracy and schedules over training steps. Accuracy of {' '.join(words)}"
    return figure


def disagreement(run: Run) -> style.Picture:
    """What each student knows that the other does not: shares of validation images over the evaluations of a run.

    Raises ValueError for a run without an auxiliary student.
    """
    rows = pd.DataFrame(run.history).set_index("step")
    if "both_right" not in rows:
        raise ValueError("disagreement needs a run with an auxiliary student: pass one to fit")
    both, main, other = rows["both_right"], rows["val_accuracy"], rows["auxiliary_accuracy"]
    shares = {"both right": both, "only main right": main - both, "only auxiliary right": other - both}
    shares = pd.DataFrame(shares | {"both wrong": 1 - main - other + both})
    figure, axes = style.picture(3.4)
    looks = (
        (style.PALETTE["teacher"], ""),
        (style.PALETTE["main"], ""),
        (style.PALETTE["auxiliary"], "///"),
        (style.UNUSED, ""),
    )
    bottom = np.zeros(len(rows))
    for (label, share), look in zip(shares.items(), looks, strict=True):
        _bars(axes, range(len(rows)), share, 0.85, look, str(label), bottom)
        bottom += share
    axes.set_xticks(range(len(rows)), map(str, rows.index))
    axes.set(xlabel="step", ylabel="share of validation images", ylim=(0, 1))
    style.bare(axes)
    style.add_legend(figure, [axes])
    first, last = (style.listed(shares.iloc[i], ".0%") for i in (0, -1))
    figure.alt_text = f"Right and wrong answers of both students. First evaluation: {first}. Last: {last}."
    return figure


def confusion(counts: pd.DataFrame) -> style.Picture:
    """Numbers of images by true class (rows) and predicted class (columns); shades are shares of the row."""
    shares = counts.div(counts.sum(axis=1).clip(1), axis=0).rename(index=style.literal, columns=style.literal)
    texts = counts.to_numpy().astype(str) + "\n" + shares.map("{:.0%}".format).to_numpy()
    figure, axes = style.picture(1.2 + 0.6 * len(counts))
    style.heat(axes, shares, texts, cbar=True, cbar_kws={"label": "share of the true class"})
    axes.set(xlabel="predicted", ylabel="true")
    right = style.listed(pd.Series(np.diag(shares), counts.index), ".0%")
    figure.alt_text = f"Confusion matrix of {counts.to_numpy().sum()} images. Right answers: {right}."
    return figure


def half_life(steps: int, half_lives: Sequence[float]) -> style.Picture:
    """How much of the auxiliary's start an EMA still holds after each step, for a few half-lives (in steps)."""
    names = [f"half-life {life:.0f} steps (momentum {momentum_of(life):.4g})" for life in half_lives]
    left = [(100 * momentum_of(life) ** np.arange(steps + 1)).tolist() for life in half_lives]
    words = f"Share (%) of its start that an exponential moving average holds, over {steps} steps"
    return _curves(dict(zip(names, left, strict=True)), 0, words, xlabel="step", ylabel="left of the start (%)")


def similarity(curves: Mapping[str, Sequence[float]], ylabel: str = "similarity to the teacher") -> style.Picture:
    """One curve per kind of student, over the student's blocks 1, 2, ..."""
    words = f"{ylabel.capitalize()} after each block"
    figure = _curves(curves, 1, words, xlabel="after block", ylabel=ylabel, level=(0, ""))
    figure.axes[0].set_xticks(range(1, 1 + max(map(len, curves.values()))))
    return figure


def soft_targets(
    student_logits: Sequence[float],
    target_logits: Sequence[float],
    label: int,
    temperature: float = 2.0,
    alpha: float = 0.5,
    classes: Sequence[str] | None = None,
) -> style.Picture:
    """What one image teaches the main student: both distributions, the parts of the loss, and their gradients.

    student_logits, target_logits: (classes,), the main student's and the auxiliary's on one image.
    label:       index of the right class.
    temperature: T > 0 of the softmax on both sides; a line shows where a bar ends at T = 1.
    alpha:       weight of the soft targets, 0 to 1.
    classes:     their names; None numbers them.
    The loss is that of the strategy "ema", without label smoothing: (1 - alpha) CE + alpha T^2 KL(target || student).
    The gradient is with respect to the student's logits: training lowers a logit whose bar points up.
    Raises ValueError for logits and classes that do not fit together, and for label, temperature or alpha out of range.
    """
    names = list(classes or (f"class {k}" for k in range(len(student_logits))))
    _check_soft_targets(len(student_logits), len(target_logits), len(names), label, temperature, alpha)
    logits = {"main": np.asarray(student_logits, float), "auxiliary": np.asarray(target_logits, float)}
    soft = {name: softmax(values / temperature) for name, values in logits.items()}
    losses, gradients = _loss_parts(logits["main"], logits["auxiliary"], label, temperature, alpha)
    figure, grid = style.placed(3.4, (0.07, 0.15, 0.36, 0.64), (0.5, 0.15, 0.11, 0.64), (0.685, 0.15, 0.31, 0.64))
    (shares, loss, push), places = grid, np.arange(len(names))
    for shift, (name, values) in zip((-0.2, 0.2), soft.items(), strict=True):
        _bars(
            shares,
            places + shift,
            values,
            0.38,
            (style.PALETTE[name], style.HATCHES[name]),
            f"{name}, T = {temperature:g}",
        )
        shares.hlines(softmax(logits[name]), places + shift - 0.19, places + shift + 0.19, style.SHARED, linewidth=2)
    shares.plot([], [], color=style.SHARED, linewidth=2, label="at T = 1")
    for at, (name, look) in enumerate(PARTS.items()):
        _bars(loss, [at], [losses[at]], 0.7, look)
        loss.text(at, losses[at], f"{losses[at]:.2f}", ha="center", va="bottom", fontsize=8)
        _bars(push, places + 0.28 * (at - 1), gradients[at], 0.26, look, name)
    ticks = [style.literal(f"{name}\n(right)" if k == label else name) for k, name in enumerate(names)]
    shares.set(ylim=(0, 1.02), ylabel="probability")
    loss.set(xlim=(-0.6, 2.6), xticks=[], ylim=(0, 1.12 * max(*losses, 0.1)))
    loss.set_title("loss", fontsize=9)
    room = 1.1 * max(np.abs(gradients).max(), 0.1)
    push.set_ylim(-room, room)
    push.set_title("gradient on the logits", fontsize=9)
    push.axhline(0, color=style.SHARED, linewidth=0.8)
    for axes in grid:
        axes.tick_params(labelsize=8)
        style.bare(axes, left=True)
    for axes, left in ((shares, 0.06), (push, 0.51)):
        axes.set_xticks(places, ticks)
        style.add_legend(figure, [axes], loc="upper left", bbox_to_anchor=(left, 1.0), ncols=3, handlelength=1.5)
    figure.alt_text = (
        f"Soft targets on one image; right: {names[label]}; T = {temperature:g}, alpha = {alpha:g}. "
        f"Main: {_pairs(names, soft['main'])}. Auxiliary: {_pairs(names, soft['auxiliary'])}. "
        f"Loss: {_pairs(PARTS, losses)}. Gradient on the logits, in sum: {_pairs(names, gradients[2])}."
    )
    return figure


def ema_memory(momentum: float, steps: int) -> style.Picture:
    """What the auxiliary consists of after `steps` steps of its EMA: its start, and the main student at each step.

    momentum: m in [0, 1): at each step the auxiliary becomes m * auxiliary + (1 - m) * main.
    steps:    1 or more.
    Left: the weight of the main student after each step, (1 - m) m^(steps - step), as a share of the newest one's.
    Right: the sums, of which the start's is m^steps.
    Raises ValueError for values out of range.
    """
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum} is out of range: 0 <= momentum < 1")
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    life, after = half_life_of(momentum), np.arange(1, steps + 1)
    left = momentum ** (steps - after)  # (step,)
    older, newer = (1 - momentum) * left[: steps // 2].sum(), (1 - momentum) * left[steps // 2 :].sum()
    sums = {"start of the\nauxiliary": momentum**steps, "main, older\nhalf": older, "main, newer\nhalf": newer}
    figure, (curve, share) = style.placed(3.0, (0.09, 0.17, 0.53, 0.66), (0.76, 0.17, 0.23, 0.66))
    curve.plot(after, 100 * left, color=style.PALETTE["main"], drawstyle="steps-mid")
    curve.fill_between(after, 100 * left, step="mid", color=style.PALETTE["main"], alpha=0.3, linewidth=0)
    if 0 < life < steps:
        curve.axvline(steps - life, color=style.SHARED, linestyle=":")
        curve.text(steps - life, 50, "one half-life ago ", ha="right" if life < steps / 2 else "left", fontsize=8)
    curve.set(xlim=(0, steps + 1), ylim=(0, 105), xlabel="main student after step", ylabel="weight (% of the newest)")
    looks = ((style.PALETTE["auxiliary"], "///"), (style.PALETTE["main"], "..."), (style.PALETTE["main"], ""))
    for row, (value, (colour, hatch)) in enumerate(zip(sums.values(), looks, strict=True)):
        share.barh(row, 100 * value, color=colour, hatch=hatch, edgecolor="white")
        share.text(100 * value + 2, row, _percent(value), va="center", fontsize=9)
    share.set_yticks(range(3), list(sums))
    share.set(xlim=(0, 130), xticks=[0, 50, 100], ylim=(2.6, -0.6), xlabel="share of the auxiliary (%)")
    for axes in (curve, share):
        axes.tick_params(labelsize=8)
        style.bare(axes, left=True)
    title = f"half-life {life:.4g} steps (momentum {momentum:.4g}), after {steps} step{'s' if steps > 1 else ''}"
    figure.text(0.09, 0.91, title, fontsize=10)
    start, before, recently = map(_percent, sums.values())
    figure.alt_text = (
        f"What an exponential moving average consists of; {title}: {start} its start, {before} the main student in the "
        f"older half of the steps, {recently} in the newer half."
    )
    return figure


def _curves(curves: Mapping[str, Sequence[float]], first: int, words: str, **options: Any) -> style.Picture:
    """Curves by name over x = first, first + 1, ..."""
    parts = [pd.DataFrame({"name": name, "y": values}) for name, values in curves.items()]
    table = pd.concat([part.assign(x=part.index + first) for part in parts])
    look = {name: own | {"markevery": 0.1} for name, own in style.looks(curves).items()}
    return style.curves(table, "x", "y", "name", words=words, look=look, height=3.0, **options)


def _check_soft_targets(student: int, target: int, classes: int, label: int, temperature: float, alpha: float) -> None:
    if not (student >= 2 and target == student == classes):
        raise ValueError(
            f"{student} student_logits, {target} target_logits, {classes} classes: pass one of each per class, "
            "and 2 classes or more"
        )
    if label not in range(student):
        raise ValueError(f"label={label} is out of range: 0 to {student - 1}")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature={temperature} must be above 0: 1 leaves the softmax as it is")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} is out of range: 0 <= alpha <= 1")


def _loss_parts(
    student: np.ndarray, target: np.ndarray, label: int, temperature: float, alpha: float
) -> tuple[list[float], np.ndarray]:
    """The loss and its gradient (part, class) by part: from the labels, from the soft targets, and their sum."""
    logits = torch.tensor(student)[None].requires_grad_()
    parts = (
        (1 - alpha) * F.cross_entropy(logits, torch.tensor([label])),
        alpha * soft_loss(logits, torch.tensor(target)[None], temperature),
    )
    losses = [part.item() for part in parts]
    gradients = np.stack([torch.autograd.grad(part, logits)[0][0].numpy() for part in parts])
    return [*losses, sum(losses)], np.concatenate([gradients, gradients.sum(0, keepdims=True)])


def _bars(axes: Axes, places, heights, width: float, look: tuple[str, str], label: str = "", bottom=0.0) -> None:
    axes.bar(places, heights, width, bottom, color=look[0], hatch=look[1], edgecolor="white", label=label)


def _pairs(names, values) -> str:
    return style.listed(dict(zip(names, values, strict=True)))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share >= 0.001 or share == 0 else "below 0.1 %"
