"""Pictures that an explorer draws at each move and a chapter draws once: soft targets, the EMA's memory, an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from PIL import Image
from torch.nn import functional as F

from dmws_lite.method.distillation import half_life_of, soft_loss
from dmws_lite.views.picture import HATCHES, PALETTE, SHARED, Picture, bare, literal, placed

if TYPE_CHECKING:
    from dmws_lite.data.sets import ImageSet

PARTS = {"labels": ("#009E73", "..."), "soft targets": (PALETTE["auxiliary"], "///"), "sum": (SHARED, "")}
NETWORKS = ("teacher", "main", "auxiliary")


def soft_targets(
    student_logits: Sequence[float],
    target_logits: Sequence[float],
    label: int,
    temperature: float = 2.0,
    alpha: float = 0.5,
    classes: Sequence[str] | None = None,
) -> Picture:
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
    from scipy.special import softmax

    names = _names_of(student_logits, target_logits, label, classes)
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature={temperature} must be above 0: 1 leaves the softmax as it is")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha={alpha} is out of range: 0 <= alpha <= 1")
    logits = {"main": np.asarray(student_logits, float), "auxiliary": np.asarray(target_logits, float)}
    soft = {name: softmax(values / temperature) for name, values in logits.items()}
    losses, gradients = _loss_parts(logits["main"], logits["auxiliary"], label, temperature, alpha)
    figure, (shares, loss, push) = placed(
        3.4, (0.07, 0.15, 0.36, 0.64), (0.5, 0.15, 0.11, 0.64), (0.685, 0.15, 0.31, 0.64)
    )
    places = np.arange(len(names))
    for shift, (name, values) in zip((-0.2, 0.2), soft.items(), strict=True):
        _bars(shares, places + shift, values, 0.38, (PALETTE[name], HATCHES[name]), f"{name}, T = {temperature:g}")
        shares.hlines(softmax(logits[name]), places + shift - 0.19, places + shift + 0.19, SHARED, linewidth=2)
    shares.plot([], [], color=SHARED, linewidth=2, label="at T = 1")
    for at, (name, look) in enumerate(PARTS.items()):
        _bars(loss, [at], [losses[at]], 0.7, look)
        loss.text(at, losses[at], f"{losses[at]:.2f}", ha="center", va="bottom", fontsize=8)
        _bars(push, places + 0.28 * (at - 1), gradients[at], 0.26, look, name)
    ticks = [literal(f"{name}\n(right)" if k == label else name) for k, name in enumerate(names)]
    for axes in (shares, push):
        axes.set_xticks(places, ticks)
    loss.set(xlim=(-0.6, 2.6), xticks=[], ylim=(0, 1.12 * max(*losses, 0.1)))
    shares.set(ylim=(0, 1.02), ylabel="probability")
    loss.set_title("loss", fontsize=9)
    push.set_title("gradient on the logits", fontsize=9)
    push.axhline(0, color=SHARED, linewidth=0.8)
    room = 1.1 * max(np.abs(gradients).max(), 0.1)
    push.set_ylim(-room, room)
    for axes in (shares, loss, push):
        axes.tick_params(labelsize=8)
        bare(axes, left=True)
    for axes, left in ((shares, 0.06), (push, 0.51)):
        handles = sorted(axes.get_legend_handles_labels()[0], key=lambda handle: isinstance(handle, Line2D))
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(left, 1.0), ncols=3, **_SMALL)
    figure.alt_text = (
        f"Soft targets on one image; right: {names[label]}; T = {temperature:g}, alpha = {alpha:g}. "
        f"Main: {_told(names, soft['main'])}. Auxiliary: {_told(names, soft['auxiliary'])}. "
        f"Loss: {_told(PARTS, losses)}. Gradient on the logits, in sum: {_told(names, gradients[2])}."
    )
    return figure


def ema_memory(momentum: float, steps: int) -> Picture:
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
    figure, (curve, share) = placed(3.0, (0.09, 0.17, 0.53, 0.66), (0.76, 0.17, 0.23, 0.66))
    curve.plot(after, 100 * left, color=PALETTE["main"], drawstyle="steps-mid")
    curve.fill_between(after, 100 * left, step="mid", color=PALETTE["main"], alpha=0.3, linewidth=0)
    if 0 < life < steps:
        curve.axvline(steps - life, color=SHARED, linestyle=":")
        curve.text(steps - life, 50, "one half-life ago ", ha="right" if life < steps / 2 else "left", fontsize=8)
    curve.set(xlim=(0, steps + 1), ylim=(0, 105), xlabel="main student after step", ylabel="weight (% of the newest)")
    looks = ((PALETTE["auxiliary"], "///"), (PALETTE["main"], "..."), (PALETTE["main"], ""))
    for row, (value, (colour, hatch)) in enumerate(zip(sums.values(), looks, strict=True)):
        share.barh(row, 100 * value, color=colour, hatch=hatch, edgecolor="white")
        share.text(100 * value + 2, row, _percent(value), va="center", fontsize=9)
    share.set_yticks(range(3), list(sums))
    share.set(xlim=(0, 130), xticks=[0, 50, 100], ylim=(2.6, -0.6), xlabel="share of the auxiliary (%)")
    for axes in (curve, share):
        axes.tick_params(labelsize=8)
        bare(axes, left=True)
    words = f"half-life {life:.4g} steps (momentum {momentum:.4g}), after {steps} step{'s' if steps > 1 else ''}"
    figure.text(0.09, 0.91, words, fontsize=10)
    start, older_, newer_ = map(_percent, sums.values())
    figure.alt_text = (
        f"What an exponential moving average consists of; {words}: {start} its start, {older_} the main student in the "
        f"older half of the steps, {newer_} in the newer half."
    )
    return figure


def inspected(
    images: ImageSet,
    index: int,
    probabilities: Mapping[str, np.ndarray],
    maps: Mapping[str, np.ndarray],
    masks: np.ndarray | None = None,
) -> Picture:
    """One image; of each network the map of where it looks, and below what it predicts.

    index:         of the image in `images`.
    probabilities: of "teacher", "main", "auxiliary" or some of them, each (N, classes).
    maps:          of the same networks, each (N, h, w) in [0, 1]; stretched to the images' size.
    masks:         bool (N, H, W), the pixels of the finding, drawn as an outline; None draws none.
    Raises ValueError for an index, names or shapes that do not fit the images.
    """
    names = _networks(images, index, probabilities, maps, masks)
    columns = [0.005 + 0.25 * k for k in range(len(names) + 1)]
    figure, axes = placed(
        4.3, *((x, 0.44, 0.24, 0.4466) for x in columns), *((x + 0.005, 0.11, 0.2, 0.22) for x in columns[1:])
    )
    pictures, bars = axes[: len(columns)], axes[len(columns) :]
    label, pixels = images.classes[images.labels[index]], _rgb(images.images[index])
    heats = {name: _stretched(maps[name][index], pixels.shape[:2]) for name in names}
    outline = [] if masks is None else _outline(masks[index])
    for panel, name in zip(pictures, ("", *names), strict=True):
        panel.imshow(_heated(pixels, heats[name]) if name else pixels)
        for colour, width in (("black", 2.4), ("white", 1.0)) if outline else ():
            panel.add_collection(LineCollection(outline, colors=colour, linewidths=width))
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    pictures[0].set_title(literal(f"image {index}\n{label}"), fontsize=10)
    words, places = [], np.arange(len(images.classes))
    for panel, bar, name in zip(pictures[1:], bars, names, strict=True):
        shares = probabilities[name][index]
        best = int(shares.argmax())
        verdict = "right" if best == images.labels[index] else "wrong"
        panel.set_title(literal(f"{name}: {verdict}\n{images.classes[best]}, {100 * shares[best]:.0f} %"), fontsize=10)
        bar.barh(places, 100 * shares, color=PALETTE[name], hatch=HATCHES[name], edgecolor="white")
        bar.set(xlim=(0, 100), ylim=(len(places) - 0.5, -0.5), xticks=[0, 50, 100])
        bar.set_yticks(places, map(literal, images.classes) if bar is bars[0] else [""] * len(places))
        bar.set_xlabel("probability (%)", fontsize=8)
        bar.tick_params(labelsize=8, length=2)
        bare(bar, left=True)
        row, column = np.unravel_index(heats[name].argmax(), heats[name].shape)
        side = (
            f", {'inside' if masks[index][row, column] else 'outside'} the finding"
            if masks is not None and outline
            else ""
        )
        found = f"{images.classes[best]} ({100 * shares[best]:.0f} %, {verdict})"
        words.append(f"{name} predicts {found} and looks most at row {row}, column {column}{side}")
    note = "yellow: looks most" + ("\noutline: the finding" if outline else "")
    figure.text(0.015, 0.41, note, va="top", fontsize=9)
    figure.alt_text = f"Image {index}, {label}: {'; '.join(words)}."
    return figure


# --- parts -----------------------------------------------------------------------------------------------------------

_SMALL = {"frameon": False, "fontsize": 8, "handlelength": 1.5, "columnspacing": 1.2}


def _names_of(
    student: Sequence[float], target: Sequence[float], label: int, classes: Sequence[str] | None
) -> list[str]:
    count = len(student)
    names = [f"class {k}" for k in range(count)] if classes is None else list(classes)
    if not (count >= 2 and len(target) == count == len(names)):
        raise ValueError(
            f"{count} student_logits, {len(target)} target_logits, {len(names)} classes: pass one of each a class, "
            "and 2 classes or more"
        )
    if label not in range(count):
        raise ValueError(f"label={label} is out of range: 0 to {count - 1}")
    return names


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


def _bars(axes: Axes, places, heights, width: float, look: tuple[str, str], label: str = "") -> None:
    axes.bar(places, heights, width, color=look[0], hatch=look[1], edgecolor="white", label=label)


def _told(names, values) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in zip(names, values, strict=True))


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share >= 0.001 or share == 0 else "below 0.1 %"


def _networks(
    images: ImageSet,
    index: int,
    probabilities: Mapping[str, np.ndarray],
    maps: Mapping[str, np.ndarray],
    masks: np.ndarray | None,
) -> list[str]:
    """The networks that are drawn, in fixed order."""
    count, size = len(images), images.images.shape[2:]
    if index not in range(count):
        raise ValueError(f"index={index} is out of range: the image set has images 0 to {count - 1}")
    names = [name for name in NETWORKS if name in probabilities]
    if not names or len(names) < len(probabilities) or set(maps) != set(probabilities):
        raise ValueError(
            f"probabilities of {list(probabilities)}, maps of {list(maps)}: pass both of the same networks, out of "
            f"{', '.join(NETWORKS)}"
        )
    for name in names:
        if probabilities[name].shape != (count, len(images.classes)):
            raise ValueError(
                f"probabilities of {name} are {probabilities[name].shape}: pass ({count}, {len(images.classes)})"
            )
        if maps[name].ndim != 3 or len(maps[name]) != count:
            raise ValueError(f"maps of {name} are {maps[name].shape}: pass ({count}, height, width)")
    if masks is not None and masks.shape != (count, *size):
        raise ValueError(f"masks are {masks.shape}: pass {(count, *size)}, or None")
    return names


def _rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 (1 or 3, H, W) as floats (H, W, 3) in [0, 1]."""
    return np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0) / 255


def _stretched(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) at the size (H, W) of the images, in [0, 1]."""
    stretched = Image.fromarray(heat.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(stretched).clip(0, 1)


def _heated(pixels: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The image with the map over it: the higher the map, the more of its colour."""
    cover = 0.75 * heat[..., None]
    return (1 - cover) * pixels + cover * matplotlib.colormaps["viridis"](heat)[..., :3]


def _outline(mask: np.ndarray) -> list[list[tuple[float, float]]]:
    """The edges between pixels inside and outside of a mask, as segments of (x, y)."""
    padded = np.pad(mask.astype(np.int8), 1)
    across = [[(x - 0.5, y - 1.5), (x - 0.5, y - 0.5)] for y, x in np.argwhere(np.diff(padded, axis=1))]
    along = [[(x - 1.5, y - 0.5), (x - 0.5, y - 0.5)] for y, x in np.argwhere(np.diff(padded, axis=0))]
    return across + along
