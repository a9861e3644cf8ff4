"""Pictures of what networks are like: CKA, where they look, calibration, robustness, and cost."""

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
    """CKA of each block of a student (rows) with each of the teacher (columns), one panel per `cka_table`, by title."""
    figure, grid = style.panels(len(tables), 1.1 + 0.27 * max(map(len, tables.values())))
    facts = []
    for axes, (title, table) in zip(grid, tables.items(), strict=True):
        numbered = table.set_axis(_number_blocks(table.index)).set_axis(_number_blocks(table.columns), axis=1)
        columns = len(table.columns)
        style.heat(axes, numbered, columns <= NUMBERS, annot_kws={"fontsize": 7}, xticklabels=1 + (columns - 1) // 8)
        axes.set_title(style.wrapped(title, 34))
        low, high, last = table.min(axis=None), table.max(axis=None), table.iloc[-1, -1]
        facts.append(f"{title}: from {low:.2f} to {high:.2f}, last blocks {last:.2f}")
    style.finish(figure, grid, "teacher's block", "student's block")
    figure.colorbar(grid[-1].collections[0], ax=grid, label="CKA", fraction=0.03)
    return figure.describe("CKA of each student's block with each teacher's block", *facts)


def saliency(images: ImageSet, indices: Sequence[int], maps: Maps, masks: np.ndarray | None = None) -> style.Picture:
    """Maps laid over images: one row per image, one column per kind of map; the lesion's outline is white.

    maps: float (N, H, W), 0 to 1, by name, for all images of the set. masks: bool (N, H, W), or None.
    """
    names = [style.wrapped(images.classes[images.labels[index]], 16) for index in indices]
    titles = ["image", *("\n".join(style.wrapped(line, 18) for line in title.split(", ")) for title in maps)]
    figure, axes = style.sheet([[images.images[index]] * len(titles) for index in indices], names, titles)
    height, width = images.images.shape[2:]
    lesions = np.zeros((len(images), height, width), bool) if masks is None else masks
    count, hits = sum(lesions[index].any() for index in indices), dict.fromkeys(maps, 0)
    for y, index in enumerate(indices):
        for x, (name, heats) in enumerate(maps.items(), 1):
            small = Image.fromarray(heats[index].astype(np.float32))
            heat = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
            axes.imshow(heat, cmap="viridis", vmin=0, vmax=1, alpha=0.75 * heat, extent=style.square(x, y))
            hits[name] += lesions[index].flat[heat.argmax()]
        for x in range(len(titles) if lesions[index].any() else 0):
            outline: style.Style = {"levels": [0.5], "origin": "upper", "extent": style.square(x, y)}
            axes.contour(lesions[index], colors="black", linewidths=2.4, **outline)
            axes.contour(lesions[index], colors="white", linewidths=1.0, **outline)
    facts = [f"peaks within the outlines of {count} lesions: {style.listed(hits, 'd')}"] if count else []
    words = f"Maps of {', '.join(maps)} over images of {', '.join(names)}; bright: where a map is high"
    return figure.describe("; ".join([words, *facts]))


def localisation(table: pd.DataFrame) -> style.Picture:
    """Mean mass and hit rate of each map, with 95 % intervals, of `saliency.localisation`; dotted: chance."""
    titles = {"mass": "share of the map in the lesion", "hit": "peak in the lesion"}
    means = table.assign(group=table["score"].map(titles), method=table["map"], label=table["map"], mean=table["value"])
    words, chance = f"How well maps find lesions, {table['images'].iloc[0]} images with one", table.attrs["chance"]
    figure = style.forests(means.head(0), means, "mean", words, level=(chance, "chance"))
    for axes in figure.axes:
        axes.set_xlim(left=0)
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
    errors_in_words = style.listed(errors, ".3f")
    return figure.describe("Accuracy against confidence by method", f"mean calibration error (ece): {errors_in_words}")


def corruptions(images: ImageSet, index: int = 0, seed: int = 0) -> style.Picture:
    """One image, corrupted: one row per kind of corruption, one column per severity."""
    severities, image = (0, *SEVERITIES), images.take(np.array([index]))
    rows = [[corrupt(image, kind, k, seed).images[0] for k in severities] for kind in CORRUPTIONS]
    titles = ["as it is", *(f"severity {severity}" for severity in SEVERITIES)]
    figure, _ = style.sheet(rows, list(CORRUPTIONS), titles)
    kinds = f"{', '.join(CORRUPTIONS)}, from severity 0 (as it is) to {max(SEVERITIES)}"
    return figure.describe(f"An image of {images.classes[images.labels[index]]} with {kinds}")


def robustness(table: pd.DataFrame, column: str = "accuracy", chance: float | None = None) -> style.Picture:
    """Accuracy (or another column, such as confidence) over severity, one line per network, one panel per corruption.

    table: from `robustness` in `analysis.robustness`. Bars at the accuracy: 95 % intervals over images.
    """
    numbers = pd.factorize(table["model"])[0]
    rows = table.assign(x=table["severity"] + 0.08 * (numbers - numbers.max() / 2))  # beside each other
    if column != "accuracy":
        rows = rows.drop(columns=["low", "high"])
    words = f"{column.capitalize()} on the test images from severity 0 to {table['severity'].max()}"
    level = None if chance is None else (chance, "most frequent class" if column == "accuracy" else "chance")
    options: style.Style = {"xlabel": "severity", "ylabel": column, "level": level}
    figure = style.curves(rows, "x", column, "model", "corruption", words, **options)
    figure.axes[0].set_xticks(sorted(table["severity"].unique()))
    if table[column].between(0, 1).all():
        figure.axes[0].set_ylim(0, 1.02)
    return figure


def deployed(table: pd.DataFrame) -> style.Picture:
    """Size on disk, time per image and accuracy of each way to run a network.

    table: as `training.deployed.measure` returns it; ways whose name begins with "teacher" are drawn as the teacher.
    The bars of the times are their middle half; those of the accuracy a 95 % interval over the images (Wilson), for
    the number of images in `table.attrs["images"]`.
    """
    n = table.attrs["images"]
    low, high = proportion_confint((n * table["accuracy"]).round(), n, method="wilson")
    columns = {  # values, with the ends of their intervals and their texts
        "size (kB)": (table["kilobytes"], np.nan, np.nan, "{:,.0f}".format),
        "ms per image, batch 1": (table["median_ms"], table["low_ms"], table["high_ms"], "{:,.1f}".format),
        "test accuracy": (table["accuracy"], low, high, "{:.3f}".format),
    }
    ways = pd.DataFrame({"method": table["way"], "label": table["way"]})
    ways["role"] = np.where(table["way"].str.startswith("teacher"), "teacher", "main")
    parts = []
    for title, (values, low, high, spell) in columns.items():
        parts.append(ways.assign(group=title, mean=values, low=low, high=high, text=values.map(spell)))
    means = pd.concat(parts, ignore_index=True)
    figure = style.forests(means.head(0), means, "mean", "")
    for axes in figure.axes[:2]:
        axes.set_xlim(left=-0.1 * axes.get_xlim()[1])  # room for the text of a small value
    groups = means.dropna(subset="mean").groupby("group", sort=False)
    facts = [f"{title}: {', '.join(rows['label'] + ' ' + rows['text'])}" for title, rows in groups]
    return figure.describe("Cost of each way to ask", *facts)


def _number_blocks(names: Sequence[str]) -> list[str]:
    """Numbers from 1 on in place of the blocks' names; a stem keeps its name."""
    return [name if name == "stem" else str(k) for k, name in enumerate(names, names[0] != "stem")]
