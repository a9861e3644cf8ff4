"""Figures of a student that is taken away: what it costs where it is used, and what it says of one image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from PIL import Image

from dmws_lite.views.picture import HATCHES, MARKERS, PALETTE, Picture, bare, literal, picture

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 512  # pixels of the longer side of an image that is shown at full size


def deployed(table: pd.DataFrame) -> Picture:
    """Size on disk, time an image and accuracy of each way to ask a network.

    table: as `training.deployed.measure` returns it; ways whose name begins with "teacher" are drawn as the teacher.
    The bars of the times are their middle half; those of the accuracy a 95 % interval over the images (Wilson), for
    the number of images in `table.attrs["images"]`.
    """
    rows = range(len(table))
    figure, (sizes, times, accuracies) = picture(1.5 + 0.42 * len(table), 1, 3, sharey=True)
    roles = ["teacher" if way.startswith("teacher") else "main" for way in table["way"]]
    for k, row in enumerate(table.to_dict("records")):
        style = {"color": PALETTE[roles[k]], "marker": MARKERS[roles[k]]}
        if np.isfinite(row["kilobytes"]):
            sizes.barh(k, row["kilobytes"], 0.6, color=PALETTE[roles[k]], alpha=0.75, hatch=HATCHES[roles[k]])
            _note(sizes, row["kilobytes"], k, f"{row['kilobytes']:,.0f}")
        times.plot([row["low_ms"], row["high_ms"]], [k, k], color=PALETTE[roles[k]], linewidth=3, alpha=0.4)
        times.plot(row["median_ms"], k, **style)
        _note(times, row["high_ms"], k, f"{row['median_ms']:.2g}")
        low, high = _wilson(row["accuracy"], table.attrs["images"])
        accuracies.plot([low, high], [k, k], color=PALETTE[roles[k]], linewidth=3, alpha=0.4)
        accuracies.plot(row["accuracy"], k, **style)
        _note(accuracies, high, k, f"{row['accuracy']:.3f}")
    sizes.set_yticks(rows, map(literal, table["way"]))
    sizes.set(xlabel="size (kB)", ylim=(len(table) - 0.5, -0.5))
    times.set(xlabel="ms an image, batch 1")
    accuracies.set(xlabel="test accuracy")
    for axes in (sizes, times, accuracies):
        axes.margins(x=0.25)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(axis="y", length=0)
        bare(axes)
    for axes in (sizes, times):
        axes.set_xlim(left=0)
    words = [
        f"{row['way']}: {row['kilobytes']:,.0f} kB, {row['median_ms']:.2g} ms, accuracy {row['accuracy']:.3f}"
        for row in table.to_dict("records")
    ]
    figure.alt_text = f"Cost of each way to ask. {'; '.join(words)}."
    return figure


def answer(image: np.ndarray, probabilities: Sequence[float], classes: Sequence[str], name: str = "image") -> Picture:
    """What a student says of one image: the image as it sees it, and a bar a class; the likeliest is solid and bold.

    image: uint8 (C, H, W). probabilities: (classes,). name: what the image is called.
    """
    values, best = np.asarray(probabilities, float), int(np.argmax(probabilities))
    figure, (left, right) = picture(1.2 + 0.4 * len(classes), 1, 2, width_ratios=(1, 2.4))
    left.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    left.set_title(literal(name), fontsize=9)
    left.axis("off")
    for k, value in enumerate(values):
        look = (
            {"color": PALETTE["main"]} if k == best else {"facecolor": "white", "hatch": "///", "edgecolor": "#777777"}
        )
        right.barh(k, value, 0.55, **look)
        right.annotate(
            f"{value:.1%}",
            (value, k),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontweight="bold" if k == best else None,
        )
    right.set_yticks(range(len(classes)), [literal(f"▸ {c}" if k == best else c) for k, c in enumerate(classes)])
    right.set(xlim=(0, 1.12), ylim=(len(classes) - 0.5, -0.5), xlabel="probability")
    right.set_xticks(np.linspace(0, 1, 6))
    bare(right, left=True)
    listed = ", ".join(f"{c} {value:.1%}" for c, value in zip(classes, values, strict=True))
    figure.alt_text = f"{name}: the student says {classes[best]}. Probabilities: {listed}."
    return figure


def at_full_size(files: Sequence[str | Path]) -> Picture:
    """Images as their files have them, side by side: what resizing hides, such as letters in the pixels.

    files: at most a handful, of kinds that Pillow reads.
    Raises ValueError for a file that cannot be read.
    """
    from dmws_lite.data.images import decode, suffix_of

    figure, grid = picture(3.3, 1, len(files), squeeze=False)
    names = [f"{Path(file).parent.name}/{Path(file).name}" for file in files]
    for axes, file, name in zip(grid[0], files, names, strict=True):
        with Image.open(file) as opened:
            side = max(opened.size)
        image = decode(Path(file).read_bytes(), suffix_of(file), min(side, LARGEST), "letterbox").image
        axes.imshow(image.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=255)
        axes.set_title(literal(f"{_wrapped(name)}\n{side} pixels"), fontsize=8)
        axes.axis("off")
    figure.alt_text = f"Files at full size: {', '.join(names)}."
    return figure


def _wrapped(name: str) -> str:
    return name if len(name) < 26 else f"{name[:12]}…{name[-12:]}"


def _note(axes: Axes, x: float, y: float, text: str) -> None:
    axes.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", fontsize=8)


def _wilson(share: float, n: int) -> tuple[float, float]:
    from statsmodels.stats.proportion import proportion_confint

    return proportion_confint(round(share * n), n, method="wilson")
