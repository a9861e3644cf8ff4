"""Pictures of training: its history, what the students know, soft targets, and the memory of the auxiliary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from scipy.special import softmax
from torch.nn import functional as F

from dmws_lite.method.distillation import half_life_of, momentum_of, soft_loss
from dmws_lite.views import style
from dmws_lite.views.style import HATCHES, PALETTE, SHARED, UNUSED

if TYPE_CHECKING:
    from dmws_lite.training.fit import Run

STUDENTS = {"val_accuracy": "main", "auxiliary_accuracy": "auxiliary"}
FILLS = {name: (PALETTE[name], HATCHES[name]) for name in ("main", "auxiliary")}
KNOWN = {
    "both right": (PALETTE["teacher"], ""),
    "only main right": FILLS["main"],
    "only auxiliary right": FILLS["auxiliary"],
    "both wrong": (UNUSED, ""),
}
PARTS = {"labels": ("#009E73", "..."), "soft targets": FILLS["auxiliary"], "sum": (SHARED, "")}


def history(runs: Run | Mapping[str, Run]) -> style.Picture:
    """How training went, one column per run: loss, both students' validation accuracy, and alpha with the momentum.

    runs: a Run, or Runs by the title of their column (at most four are readable).
    """
    runs = runs if isinstance(runs, Mapping) else {"": runs}
    shape: style.Style = {"sharex": "col", "sharey": "row", "height_ratios": [2, 3, 1.4]}
    figure, grid = style.picture(5.6, 3, len(runs), squeeze=False, **shape)
    words = []
    for (loss, accuracy, schedule), (title, run) in zip(grid.T, runs.items(), strict=True):
        rows = pd.DataFrame(run.history).set_index("step")
        sns.lineplot(rows["loss"], ax=loss, color=PALETTE["main"], marker="o")
        students = rows[list(STUDENTS)].rename(columns=STUDENTS).dropna(axis=1, how="all")
        sns.lineplot(students, ax=accuracy, **style.semantics(style.looks(STUDENTS.values())))
        star = {"color": PALETTE["main"], "markersize": 14, "label": "kept: best on validation", "zorder": 3}
        accuracy.plot(run.best_step, students["main"][run.best_step], "*", **star)
        sns.lineplot(rows[["alpha", "momentum"]], ax=schedule, palette=[PALETTE["teacher"]] * 2, dashes=["", (1, 1)])
        loss.set_title(title)
        schedule.set(ylim=(-0.05, 1.05))
        for name, values in students.items():
            words.append(f"{title} {name}: from {values.iloc[0]:.2f} to {values.iloc[-1]:.2f}.".strip())
    for row, label in zip(grid, ("training loss", "validation accuracy", "schedules"), strict=True):
        row[0].set_ylabel(label)
        for axes in row[1:]:
            axes.legend([])
    grid[1, 0].legend(title="")
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
    shares = pd.concat([both, main - both, other - both, 1 - main - other + both], axis=1, keys=KNOWN)
    figure, axes = style.picture(3.4)
    style.bars(axes, shares, KNOWN, stacked=True)
    axes.set(xlabel="step", ylabel="share of validation images", ylim=(0, 1))
    axes.grid(False)
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
    after, momenta = np.arange(steps + 1), {life: momentum_of(life) for life in half_lives}
    left = {f"half-life {life:.0f} steps (momentum {m:.4g})": 100 * m**after for life, m in momenta.items()}
    words = f"Share (%) of its start that an exponential moving average holds, over {steps} steps"
    return _curves(left, 0, words, xlabel="step", ylabel="left of the start (%)", drawn={"markevery": 0.1})


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

    student_logits, target_logits: (classes,), the main student's and the auxiliary's on one image, whose class is
                 `label`.
    temperature: T > 0 of the softmax on both sides; a line shows where a bar ends at T = 1.
    alpha:       weight of the soft targets, 0 to 1.
    classes:     their names; None numbers them.
    The loss is (1 - alpha) CE + alpha T^2 KL(target || student); training lowers a logit whose gradient points up.
    Raises ValueError for logits and classes that do not fit together, and for label, temperature or alpha out of range.
    """
    names = list(classes or (f"class {k}" for k in range(len(student_logits))))
    _check_soft_targets(len(student_logits), len(target_logits), len(names), label, temperature, alpha)
    logits = pd.DataFrame({"main": student_logits, "auxiliary": target_logits}, dtype=float)
    losses, gradients = _loss_parts(logits, label, temperature, alpha)
    soft = logits.div(temperature).apply(softmax)
    soft.columns = at_t = [f"{name}, T = {temperature:g}" for name in logits]
    shape = {"left": 0.07, "right": 0.995, "bottom": 0.15, "top": 0.79, "width_ratios": [3.2, 2, 3], "wspace": 0.35}
    figure, grid = style.picture(3.4, 1, 3, layout=None, gridspec_kw=shape)
    shares, loss, push = grid
    style.bars(shares, soft, dict(zip(at_t, FILLS.values(), strict=True)))
    for side, values in zip((-0.2, 0.2), logits.apply(softmax).to_numpy().T, strict=True):
        places = np.arange(len(names)) + side
        shares.hlines(values, places - 0.19, places + 0.19, SHARED, linewidth=2, label="at T = 1" if side > 0 else "")
    style.bars(loss, pd.DataFrame([losses], columns=list(PARTS)), PARTS)
    for group in loss.containers:
        loss.bar_label(group, fmt="%.2f", fontsize=7.5)
    style.bars(push, pd.DataFrame(gradients.T, columns=list(PARTS)), PARTS)
    shares.set(ylim=(0, 1.02), ylabel="probability")
    loss.set(xticks=[], ylim=(0, 1.12 * max(*losses, 0.1)), title="loss")
    room = 1.1 * max(np.abs(gradients).max(), 0.1)
    push.set(ylim=(-room, room), title="gradient on the logits")
    push.axhline(0, color=SHARED, linewidth=0.8)
    ticks = [style.literal(f"{name}\n(right)" if k == label else name) for k, name in enumerate(names)]
    for axes, left in ((shares, 0.06), (push, 0.6)):
        axes.set_xticks(range(len(names)), ticks)
        style.add_legend(figure, [axes], loc="upper left", bbox_to_anchor=(left, 1.0), ncols=3, handlelength=1.5)
    figure.alt_text = (
        f"Soft targets on one image; right: {names[label]}; T = {temperature:g}, alpha = {alpha:g}. "
        f"Main: {_pairs(names, soft[at_t[0]])}. Auxiliary: {_pairs(names, soft[at_t[1]])}. "
        f"Loss: {_pairs(PARTS, losses)}. Gradient on the logits, in sum: {_pairs(names, gradients[2])}."
    )
    return figure


def ema_memory(momentum: float, steps: int) -> style.Picture:
    """What the auxiliary consists of after `steps` steps of its EMA: its start, and the main student at each step.

    momentum: m in [0, 1): at each step the auxiliary becomes m * auxiliary + (1 - m) * main.
    steps:    1 or more.
    Left: the weight of the main student after each step, as a share of the newest one's. Right: the sums.
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
    shape = {"left": 0.09, "right": 0.99, "bottom": 0.17, "top": 0.83, "width_ratios": [5, 2.2], "wspace": 0.35}
    figure, (curve, share) = style.picture(3.0, 1, 2, layout=None, gridspec_kw=shape)
    curve.fill_between(after, 100 * left, step="mid", color=PALETTE["main"], alpha=0.3, linewidth=0)
    curve.plot(after, 100 * left, color=PALETTE["main"], drawstyle="steps-mid")
    if 0 < life < steps:
        curve.axvline(steps - life, color=SHARED, linestyle=":")
        curve.text(steps - life, 50, " one half-life ago ", ha="right" if life < steps / 2 else "left")
    curve.set(xlim=(0, steps + 1), ylim=(0, 105), xlabel="main student after step", ylabel="weight (% of the newest)")
    colours = [PALETTE["auxiliary"], *[PALETTE["main"]] * 2]
    drawn = share.barh(list(sums), [100 * value for value in sums.values()], color=colours, hatch=["///", "...", ""])
    share.bar_label(drawn, [_percent(value) for value in sums.values()], padding=3)
    share.set(xlim=(0, 135), xticks=[0, 50, 100], ylim=(2.6, -0.6), xlabel="share of the auxiliary (%)")
    title = f"half-life {life:.4g} steps (momentum {momentum:.4g}), after {steps} step{'s' * (steps > 1)}"
    figure.text(0.09, 0.91, title)
    start, before, recently = map(_percent, sums.values())
    words = f"{start} its start, {before} the main student in the older half of the steps, {recently} in the newer half"
    figure.alt_text = f"What an exponential moving average consists of; {title}: {words}."
    return figure


def _curves(curves: Mapping[str, Any], first: int, words: str, **options: Any) -> style.Picture:
    """Curves by name over x = first, first + 1, ..."""
    parts = [pd.DataFrame({"name": name, "y": values}) for name, values in curves.items()]
    table = pd.concat([part.assign(x=part.index + first) for part in parts], ignore_index=True)
    return style.curves(table, "x", "y", "name", words=words, height=3.0, **options)


def _check_soft_targets(student: int, target: int, classes: int, label: int, temperature: float, alpha: float) -> None:
    if not (student >= 2 and target == student == classes):
        given = f"{student} student_logits, {target} target_logits, {classes} classes"
        raise ValueError(f"{given}: pass one of each per class, and 2 classes or more")
    if label not in range(student):
        raise ValueError(f"label={label} is out of range: 0 to {student - 1}")
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature={temperature} must be above 0: 1 leaves the softmax as it is")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} is out of range: 0 <= alpha <= 1")


def _loss_parts(logits: pd.DataFrame, label: int, temperature: float, alpha: float) -> tuple[list[float], np.ndarray]:
    """The loss and its gradient (part, class) by part: from the labels, from the soft targets, and their sum."""
    main, target = (torch.tensor(logits[name].to_numpy())[None] for name in ("main", "auxiliary"))
    main.requires_grad_()
    right = (1 - alpha) * F.cross_entropy(main, torch.tensor([label]))
    soft = alpha * soft_loss(main, target, temperature)
    gradients = np.stack([torch.autograd.grad(part, main)[0][0].numpy() for part in (right, soft)])
    losses = [right.item(), soft.item()]
    return [*losses, sum(losses)], np.vstack([gradients, gradients.sum(0)])


def _pairs(names, values) -> str:
    return style.listed(dict(zip(names, values, strict=True)))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share >= 0.001 or share == 0 else "below 0.1 %"
