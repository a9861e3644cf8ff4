"""Pictures of trained networks: CKA, where they look, calibration, robustness, and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

from dmws_lite.analysis.robustness import CORRUPTIONS, SEVERITIES, corrupt
from dmws_lite.data.sets import ImageSet
from dmws_lite.training.evaluation import BINS, calibration_error
from dmws_lite.views import style

NUMBERS = 8  # columns up to which a table's numbers are written into its cells
Maps = Mapping[str, np.ndarray]


def cka_tables(tables: Mapping[str, pd.DataFrame]) -> style.Picture:
    """CKA of each block of a student (rows) with each of the teacher (columns), one panel per `cka_table`, by title."""
    figure, grid = style.panels(len(tables), 1.1 + 0.27 * max(map(len, tables.values())))
    words = []
    for axes, (title, table) in zip(grid, tables.items(), strict=True):
        numbered = table.set_axis(_number_blocks(table.index)).set_axis(_number_blocks(table.columns), axis=1)
        style.heat(axes, numbered, len(table.columns) <= NUMBERS, annot_kws={"fontsize": 7})
        axes.set_title(style.wrapped(title, 34))
        values = table.to_numpy()
        extremes = f"from {np.nanmin(values):.2f} to {np.nanmax(values):.2f}"
        words.append(f"{title}: {extremes}, last blocks {values[-1, -1]:.2f}")
    style.finish(figure, grid, "teacher's block", "student's block")
    figure.colorbar(grid[-1].collections[0], ax=grid, label="CKA", fraction=0.03)
    figure.alt_text = f"CKA of each student's block with each teacher's block. {'; '.join(words)}."
    return figure


def saliency(images: ImageSet, indices: Sequence[int], maps: Maps, masks: np.ndarray | None = None) -> style.Picture:
    """Maps laid over images: one row per image, one column per kind of map; the lesion's outline is white.

    maps: float (N, H, W), 0 to 1, by name, for all images of the set. masks: bool (N, H, W), or None.
    """
    names = [images.classes[images.labels[index]] for index in indices]
    titles = ["image", *("\n".join(style.wrapped(line, 18) for line in title.split(", ")) for title in maps)]
    rows = [[style.gray_or_rgb(images.images[index])] * len(titles) for index in indices]
    figure, grid = style.sheet(rows, names, titles, 0.35 + 8 / (len(maps) + 1) * len(names))
    height, width = images.images.shape[2:]
    lesions = np.zeros((len(images), height, width), bool) if masks is None else masks
    count, hits = sum(lesions[index].any() for index in indices), dict.fromkeys(maps, 0)
    for row, index in zip(grid, indices, strict=True):
        for axes, (name, heats) in zip(row[1:], maps.items(), strict=True):
            small = Image.fromarray(heats[index].astype(np.float32))
            heat = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
            axes.imshow(heat, cmap="viridis", vmin=0, vmax=1, alpha=0.75 * heat)
            hits[name] += lesions[index].flat[heat.argmax()]
        if lesions[index].any():
            for axes in row:
                axes.contour(lesions[index], [0.5], colors="black", linewidths=2.4)
                axes.contour(lesions[index], [0.5], colors="white", linewidths=1.0)
    words = f"Maps of {', '.join(maps)} over images of {', '.join(names)}; bright: where a map is high"
    peaks = f"; peaks within the outlines of {count} lesions: {style.listed(hits, 'd')}" if count else ""
    figure.alt_text = f"{words}{peaks}."
    return figure


def localisation(table: pd.DataFrame) -> style.Picture:
    """Mean mass and hit rate of each map, with 95 % intervals, of `saliency.localisation`; dotted: chance."""
    titles = {"mass": "share of the map in the lesion", "hit": "peak in the lesion"}
    figure, grid = style.panels(2, 0.9 + 0.27 * table["map"].nunique(), columns=2, sharey=True)
    for axes, (score, title) in zip(grid, titles.items(), strict=True):
        means = table[table["score"] == score].set_index("map").rename(columns={"value": "mean"})
        style.forest(axes, table.head(0), means, by="map")
        axes.axvline(table.attrs["chance"], color=style.PALETTE["teacher"], linestyle=":", linewidth=1.2)
        axes.set(xlim=(0, None), title=title)
    hits = style.listed(table[table["score"] == "hit"].set_index("map")["value"])
    words = f"How well maps find lesions, {table['images'].iloc[0]} images with one"
    figure.alt_text = f"{words}. Peak in the lesion: {hits}. Chance: {table.attrs['chance']:.2f}."
    return figure


def calibration(probabilities: Maps, labels: np.ndarray) -> style.Picture:
    """Accuracy against confidence, one panel per name with its calibration error (ece); bars: images by confidence."""
    figure, grid = style.panels(len(probabilities), 2.3, sharex=True, sharey=True)
    errors = {name: calibration_error(shares, labels) for name, shares in probabilities.items()}
    for axes, (name, shares) in zip(grid, probabilities.items(), strict=True):
        table = pd.DataFrame({"confidence": shares.max(1), "accuracy": shares.argmax(1) == labels})
        groups = table.groupby(np.digitize(table["confidence"], np.linspace(0, 1, BINS + 1)[1:-1], right=True))
        means, counts = groups.mean(), groups.size()
        axes.bar(counts.index / BINS, 0.3 * counts / counts.max(), 1 / BINS, align="edge", color="#DDDDDD")
        axes.plot([0, 1], [0, 1], color=style.PALETTE["random"], linewidth=0.8)
        axes.plot(means["confidence"], means["accuracy"], color=style.PALETTE["main"])
        axes.scatter(means["confidence"], means["accuracy"], 120 * counts / counts.sum(), zorder=3)
        title = f"{style.wrapped(name, 30)}\nece {errors[name]:.3f}"
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], title=title)
    style.finish(figure, grid, "confidence", "accuracy")
    words = style.listed(errors, ".3f")
    figure.alt_text = f"Accuracy against confidence by method. Mean calibration error (ece): {words}."
    return figure


def corruptions(images: ImageSet, index: int = 0, seed: int = 0) -> style.Picture:
    """One image, corrupted: one row per kind of corruption, one column per severity."""
    severities, image = (0, *SEVERITIES), images.take(np.array([index]))
    rows = [[style.gray_or_rgb(corrupt(image, kind, k, seed).images[0]) for k in severities] for kind in CORRUPTIONS]
    titles = ["as it is", *(f"severity {severity}" for severity in SEVERITIES)]
    figure, _ = style.sheet(rows, list(CORRUPTIONS), titles, 0.3 + 8 / (len(severities) + 0.7) * len(CORRUPTIONS))
    words = f"An image of {images.classes[images.labels[index]]} with {', '.join(CORRUPTIONS)}"
    figure.alt_text = f"{words}, from severity 0 (as it is) to {max(severities)}."
    return figure


def robustness(table: pd.DataFrame, column: str = "accuracy", chance: float | None = None) -> style.Picture:
    """Accuracy (or another column, such as confidence) over severity, one line per network, one panel per corruption.

    table: from `robustness` in `analysis.robustness`. Bars at the accuracy: 95 % intervals over images.
    """
    numbers = pd.factorize(table["model"])[0]
    rows = table.assign(x=table["severity"] + 0.08 * (numbers - numbers.max() / 2))  # beside each other
    if column != "accuracy":
        rows = rows.drop(columns=["low", "high"])
    words = f"{column.capitalize()} on the test images from severity 0 to {table['severity'].max()}"
    level = None if chance is None else (chance, "chance")
    options: style.Style = {"xlabel": "severity", "ylabel": column, "level": level}
    figure = style.curves(rows, "x", column, "model", "corruption", words, **options)
    figure.axes[0].set(ylim=(0, 1.02), xticks=sorted(table["severity"].unique()))
    return figure


def deployed(table: pd.DataFrame) -> style.Picture:
    """Size on disk, time per image and accuracy of each way to run a network.

    table: as `training.deployed.measure` returns it; ways whose name begins with "teacher" are drawn as the teacher.
    The bars of the times are their middle half; those of the accuracy a 95 % interval over the images (Wilson), for
    the number of images in `table.attrs["images"]`.
    """
    figure, grid = style.panels(3, 1.0 + 0.42 * len(table), sharey=True)
    n, words = table.attrs["images"], []
    for k, row in enumerate(table.itertuples()):
        role = "teacher" if row.way.startswith("teacher") else "main"
        if np.isfinite(row.kilobytes):
            grid[0].barh(k, row.kilobytes, 0.6, color=style.PALETTE[role], alpha=0.75)
            style.note(grid[0], row.kilobytes, k, f"{row.kilobytes:,.0f}")
        time = f"{float(f'{row.median_ms:.2g}'):g}"  # two digits, and no 2.7e+02
        accuracy = f"{row.accuracy:.3f}"
        low, high = proportion_confint(round(row.accuracy * n), n, method="wilson")
        _draw_interval(grid[1], k, row.median_ms, row.low_ms, row.high_ms, time, role)
        _draw_interval(grid[2], k, row.accuracy, low, high, accuracy, role)
        words.append(f"{row.way}: {row.kilobytes:,.0f} kB, {time} ms, accuracy {accuracy}")
    for axes, label in zip(grid, ("size (kB)", "ms per image, batch 1", "test accuracy"), strict=True):
        axes.set(xlabel=label, ylim=(len(table) - 0.5, -0.5))
        axes.margins(x=0.3)
    for axes in grid[:2]:
        axes.set_xlim(left=0)
    grid[0].set_yticks(range(len(table)), map(style.literal, table["way"]))
    figure.alt_text = f"Cost of each way to ask. {'; '.join(words)}."
    return figure


def _number_blocks(names: Sequence[str]) -> list[str]:
    """Numbers from 1 on in place of the blocks' names; a stem keeps its name."""
    return [name if name == "stem" else str(k) for k, name in enumerate(names, names[0] != "stem")]


def _draw_interval(axes: Axes, row: int, value: float, low: float, high: float, text: str, role: str) -> None:
    """A value as a mark on its interval, with its text on the right."""
    axes.hlines(row, low, high, color=style.PALETTE[role], linewidth=3, alpha=0.4)
    axes.plot(value, row, color=style.PALETTE[role], marker=style.MARKERS[role])
    style.note(axes, high, row, text)
