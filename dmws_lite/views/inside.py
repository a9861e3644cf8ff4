"""Pictures of trained networks: CKA, where they look, calibration, robustness, and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from PIL import Image
from statsmodels.stats.proportion import proportion_confint

from dmws_lite.analysis.robustness import CORRUPTIONS, SEVERITIES, corrupt
from dmws_lite.data.sets import ImageSet
from dmws_lite.training.evaluation import BINS, calibration_error
from dmws_lite.views import style

NUMBERS = 8  # columns up to which a table's numbers are written into its cells
Maps = Mapping[str, np.ndarray]


def cka_tables(tables: Mapping[str, pd.DataFrame]) -> style.Picture:
    """CKA of each block of a student (rows) with each of the teacher (columns), a panel per title of a `cka_table`."""
    figure, grid = style.panels(len(tables), 1.1 + 0.27 * max(map(len, tables.values())))
    words = []
    for axes, (title, table) in zip(grid, tables.items(), strict=True):
        names = [
            [name if name == "stem" else str(k) for k, name in enumerate(names, names[0] != "stem")]
            for names in (table.index, table.columns)
        ]
        shown = table.set_axis(names[0]).set_axis(names[1], axis=1)
        style.heat(axes, shown, len(table.columns) <= NUMBERS, annot_kws={"fontsize": 7})
        axes.set_title(style.wrapped(title, 34))
        values = table.to_numpy()
        ends = f"from {np.nanmin(values):.2f} to {np.nanmax(values):.2f}"
        words.append(f"{title}: {ends}, last blocks {values[-1, -1]:.2f}")
    style.finish(figure, grid, "teacher's block", "student's block")
    figure.colorbar(grid[-1].collections[0], ax=grid, label="CKA", fraction=0.03)
    figure.alt_text = f"CKA of each student's block with each teacher's block. {'; '.join(words)}."
    return figure


def saliency(images: ImageSet, indices: Sequence[int], maps: Maps, masks: np.ndarray | None = None) -> style.Picture:
    """Maps laid over images: a row per image, a column per kind of map; the lesion's outline is white.

    maps: float (N, H, W), 0 to 1, by name, for all images of the set. masks: bool (N, H, W), or None.
    """
    names = [images.classes[images.labels[index]] for index in indices]
    titles = ["image", *("\n".join(style.wrapped(part, 18) for part in title.split(", ")) for title in maps)]
    rows = [[style.gray_or_rgb(images.images[index])] * len(titles) for index in indices]
    figure, grid = style.sheet(rows, names, titles, 0.35 + 8 / (len(maps) + 1) * len(names))
    outlines = np.zeros((len(images), *images.images.shape[2:]), bool) if masks is None else masks
    found, hits = sum(outlines[index].any() for index in indices), dict.fromkeys(maps, 0)
    for row, index in zip(grid, indices, strict=True):
        for axes, (name, heats) in zip(row[1:], maps.items(), strict=True):
            small = Image.fromarray(heats[index].astype(np.float32))
            heat = np.asarray(small.resize(outlines.shape[:0:-1], Image.Resampling.BILINEAR)).clip(0, 1)
            axes.imshow(heat, cmap="viridis", vmin=0, vmax=1, alpha=0.75 * heat)
            hits[name] += outlines[index].flat[heat.argmax()]
        for axes in row if outlines[index].any() else ():
            axes.contour(outlines[index], [0.5], colors="black", linewidths=2.4)
            axes.contour(outlines[index], [0.5], colors="white", linewidths=1.0)
    words = f"Maps of {', '.join(maps)} over images of {', '.join(names)}; bright: where a map is high"
    outlined = f"; peaks within the outlines of {found} lesions: {style.listed(hits, 'd')}" if found else ""
    figure.alt_text = f"{words}{outlined}."
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
    """Accuracy against confidence, a panel per name with its calibration error (ece); bars: images by confidence."""
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
    """One image, spoilt: a row per kind of corruption, a column per severity."""
    severities, one = (0, *SEVERITIES), images.take(np.array([index]))
    rows = [[style.gray_or_rgb(corrupt(one, kind, k, seed).images[0]) for k in severities] for kind in CORRUPTIONS]
    titles = ["as it is", *(f"severity {severity}" for severity in SEVERITIES)]
    figure, _ = style.sheet(rows, list(CORRUPTIONS), titles, 0.3 + 8 / (len(severities) + 0.7) * len(CORRUPTIONS))
    words = f"An image of {images.classes[images.labels[index]]} with {', '.join(CORRUPTIONS)}"
    figure.alt_text = f"{words}, from severity 0 (as it is) to {max(severities)}."
    return figure


def robustness(table: pd.DataFrame, column: str = "accuracy", chance: float | None = None) -> style.Picture:
    """Accuracy (or another column, such as confidence) over severity, a line per network, a panel per corruption.

    table: from `robustness` in `analysis.robustness`. Bars at the accuracy: 95 % intervals over images.
    """
    places = pd.factorize(table["model"])[0]
    shown = table.assign(x=table["severity"] + 0.08 * (places - places.max() / 2))  # beside each other
    shown = shown if column == "accuracy" else shown.drop(columns=["low", "high"])
    words = f"{column.capitalize()} on the test images from severity 0 to {table['severity'].max()}"
    level = None if chance is None else (chance, "chance")
    options: style.Style = {"xlabel": "severity", "ylabel": column, "level": level}
    figure = style.curves(shown, "x", column, "model", "corruption", words, **options)
    figure.axes[0].set(ylim=(0, 1.02), xticks=sorted(table["severity"].unique()))
    return figure


def deployed(table: pd.DataFrame) -> style.Picture:
    """Size on disk, time per image and accuracy of each way to ask a network.

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
        wilson, times = proportion_confint(round(row.accuracy * n), n, method="wilson"), (row.low_ms, row.high_ms)
        time = f"{float(f'{row.median_ms:.2g}'):g}"  # two digits, and no 2.7e+02
        accuracy = f"{row.accuracy:.3f}"
        for axes, ends, value, text in (
            (grid[1], times, row.median_ms, time),
            (grid[2], wilson, row.accuracy, accuracy),
        ):
            axes.hlines(k, *ends, color=style.PALETTE[role], linewidth=3, alpha=0.4)
            axes.plot(value, k, color=style.PALETTE[role], marker=style.MARKERS[role])
            style.note(axes, ends[1], k, text)
        words.append(f"{row.way}: {row.kilobytes:,.0f} kB, {time} ms, accuracy {accuracy}")
    for axes, label in zip(grid, ("size (kB)", "ms per image, batch 1", "test accuracy"), strict=True):
        axes.set(xlabel=label, ylim=(len(table) - 0.5, -0.5))
        axes.margins(x=0.3)
    for axes in grid[:2]:
        axes.set_xlim(left=0)
    grid[0].set_yticks(range(len(table)), map(style.literal, table["way"]))
    figure.alt_text = f"Cost of each way to ask. {'; '.join(words)}."
    return figure
