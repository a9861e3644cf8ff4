"""Pictures of a student that is taken away: what it costs where it is used, and what it says about one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from statsmodels.stats.proportion import proportion_confint

from dmws_lite.views.style import PALETTE, Picture, gray_or_rgb, listed, literal, note, panels, picture


def deployed(table: pd.DataFrame) -> Picture:
    """Size on disk, time per image and accuracy of each way to ask a network.

    table: as `training.deployed.measure` returns it; ways whose name begins with "teacher" are drawn as the teacher.
    The bars of the times are their middle half; those of the accuracy a 95 % interval over the images (Wilson), for
    the number of images in `table.attrs["images"]`.
    """
    figure, grid = panels(3, 1.0 + 0.42 * len(table), sharey=True)
    n, words = table.attrs["images"], []
    for k, row in enumerate(table.itertuples()):
        teacher = row.way.startswith("teacher")
        look: dict[str, Any] = {"color": PALETTE["teacher" if teacher else "main"], "marker": "s" if teacher else "o"}
        if np.isfinite(row.kilobytes):
            grid[0].barh(k, row.kilobytes, 0.6, color=look["color"], alpha=0.75)
            note(grid[0], row.kilobytes, k, f"{row.kilobytes:,.0f}")
        wilson = proportion_confint(round(row.accuracy * n), n, method="wilson")
        times = (row.low_ms, row.high_ms)
        for axes, ends, value, form in ((grid[1], times, row.median_ms, ".2g"), (grid[2], wilson, row.accuracy, ".3f")):
            axes.hlines(k, *ends, color=look["color"], linewidth=3, alpha=0.4)
            axes.plot(value, k, **look)
            note(axes, ends[1], k, f"{value:{form}}")
        words.append(f"{row.way}: {row.kilobytes:,.0f} kB, {row.median_ms:.2g} ms, accuracy {row.accuracy:.3f}")
    for axes, label in zip(grid, ("size (kB)", "ms per image, batch 1", "test accuracy"), strict=True):
        axes.set(xlabel=label, ylim=(len(table) - 0.5, -0.5))
        axes.margins(x=0.3)
    for axes in grid[:2]:
        axes.set_xlim(left=0)
    grid[0].set_yticks(range(len(table)), map(literal, table["way"]))
    figure.alt_text = f"Cost of each way to ask. {'; '.join(words)}."
    return figure


def answer(image: np.ndarray, probabilities: Sequence[float], classes: Sequence[str], name: str = "image") -> Picture:
    """What a student says about one image: the image as it sees it, and a bar per class, the likeliest solid and bold.

    image: uint8 (C, H, W). probabilities: (classes,). name: what the image is called.
    """
    values, best = np.asarray(probabilities, float), int(np.argmax(probabilities))
    figure, (left, right) = picture(1.2 + 0.4 * len(classes), 1, 2, width_ratios=(1, 2.4))
    left.imshow(gray_or_rgb(image), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    left.set_title(literal(name))
    left.axis("off")
    bars = right.barh(range(len(classes)), values, 0.55, facecolor="white", hatch="///", edgecolor="#777777")
    bars[best].set(facecolor=PALETTE["main"], edgecolor=PALETTE["main"], hatch="")
    for k, text in enumerate(right.bar_label(bars, [f"{value:.1%}" for value in values], padding=3, fontsize=10)):
        text.set_fontweight("bold" if k == best else "normal")
    right.set_yticks(range(len(classes)), [literal(f"▸ {c}" if k == best else c) for k, c in enumerate(classes)])
    right.set(xlim=(0, 1.12), ylim=(len(classes) - 0.5, -0.5), xlabel="probability", xticks=np.linspace(0, 1, 6))
    shares = listed(dict(zip(classes, values, strict=True)), ".1%")
    figure.alt_text = f"{name}: the student says {classes[best]}. Probabilities: {shares}."
    return figure
