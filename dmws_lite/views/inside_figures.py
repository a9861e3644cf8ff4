"""Pictures of what is inside trained networks: CKA, saliency maps and their scores, calibration, robustness.

The tables are those of `analysis.representations`, `analysis.saliency` and `analysis.robustness`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np

from dmws_lite.analysis.robustness import CORRUPTIONS, SEVERITIES, corrupt
from dmws_lite.data.sets import ImageSet
from dmws_lite.training.evaluation import calibration_error
from dmws_lite.views.picture import LINES, MARKERS, PALETTE, Picture, bare, picture
from dmws_lite.views.run_figures import DISTINCT
from dmws_lite.views.study_figures import reliability
from dmws_lite.views.study_panels import MARKS, Style, add_legend, finish, grid_of, interval_bar, named

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = 8  # columns up to which a table's numbers are written into its cells


def cka_tables(
    tables: Mapping[str, pd.DataFrame], first: str = "student's block", second: str = "teacher's block"
) -> Picture:
    """CKA of each layer of one network (rows) with each of another (columns), a panel a table.

    tables: from `cka_table`, by the panel's title. first, second: what rows and columns are.
    """
    rows = max(map(len, tables.values()))
    figure, grid = grid_of(len(tables), 1.1 + 0.27 * rows)
    told = []
    for axes, (title, table) in zip(grid, tables.items(), strict=True):
        values = table.to_numpy()
        drawn = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        if len(table.columns) <= NUMBERS:
            for (row, column), value in np.ndenumerate(values):
                colour = "white" if value > 0.6 else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
        axes.set_xticks(range(len(table.columns)), _numbered(table.columns))
        axes.set_yticks(range(len(table)), _numbered(table.index))
        axes.set_title(named(title, 34), fontsize=9)
        told.append(
            f"{title}: from {np.nanmin(values):.2f} to {np.nanmax(values):.2f}, last blocks {values[-1, -1]:.2f}"
        )
    finish(figure, grid, second, first)
    for axes in grid:
        axes.grid(visible=False)
    figure.colorbar(drawn, ax=grid, label="CKA", fraction=0.03)
    figure.alt_text = f"CKA of each {first} with each {second}. {'; '.join(told)}."
    return figure


def cka_estimators(table: pd.DataFrame) -> Picture:
    """Biased and debiased CKA over the number of images, for the same images and for shuffled ones.

    table: from `estimators`.
    """
    figure, axes = picture(3.2)
    told = []
    for pairs, line in (("same", "-"), ("shuffled", "--")):
        rows = table[table["pairs"] == pairs]
        for kind, colour, mark in (("biased", DISTINCT[3], "o"), ("debiased", DISTINCT[0], "s")):
            label = f"{kind}, {pairs} images"
            axes.plot(rows["images"], rows[kind], color=colour, marker=mark, linestyle=line, label=label)
            told.append(f"{label}: {rows[kind].iloc[0]:.2f} with the fewest, {rows[kind].iloc[-1]:.2f} with the most")
    axes.axhline(0, color=PALETTE["teacher"], linewidth=0.8)
    axes.set(xlabel="images", ylabel="CKA", ylim=(min(-0.15, axes.get_ylim()[0]), 1.03))
    axes.grid(alpha=0.3)
    bare(axes, left=True)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    counts = table["images"]
    figure.alt_text = f"Two estimates of CKA from {counts.min()} to {counts.max()} images. {'; '.join(told)}."
    return figure


def cka_over_training(table: pd.DataFrame) -> Picture:
    """CKA by block over the steps of a training, a panel a pair of networks.

    table: from `over_training`.
    """
    pairs, blocks = table["pair"].unique(), table["block"].unique()
    figure, grid = grid_of(len(pairs), 2.6, len(blocks), sharex=True, sharey=True)
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(blocks)))
    told = []
    for axes, pair in zip(grid, pairs, strict=True):
        rows = table[table["pair"] == pair].pivot(index="step", columns="block", values="cka")
        for i, (block, colour) in enumerate(zip(blocks, shades, strict=True)):
            style: Style = {
                "marker": MARKS[i % len(MARKS)],
                "linestyle": ("-", "--", "-.", ":")[i % 4],
                "markersize": 4,
            }
            axes.plot(rows.index, rows[block], color=colour, label=f"block {block}", **style)
        axes.set_title(pair.replace(", ", " and "), fontsize=9)
        told.append(
            f"{pair.replace(', ', ' and ')}, block {blocks[-1]}: {rows.iloc[0, -1]:.2f} to {rows.iloc[-1, -1]:.2f}"
        )
    grid[0].set_ylim(min(-0.05, table["cka"].min() - 0.03), 1.03)
    finish(figure, grid, "step", "CKA")
    add_legend(figure, grid)
    figure.alt_text = f"CKA from the first to the last evaluation of a training. {'; '.join(told)}."
    return figure


def saliency(
    images: ImageSet, indices: Sequence[int], maps: Mapping[str, np.ndarray], masks: np.ndarray | None = None
) -> Picture:
    """Maps laid over images: a row an image, a column a kind of map; the lesion's outline is white and dashed.

    maps: float (N, H, W), 0 to 1, by name, for all images of the set. masks: bool (N, H, W), or None.
    """
    size = 8 / (len(maps) + 1)
    figure, grid = picture(0.35 + size * len(indices), len(indices), len(maps) + 1, squeeze=False)
    for row, index in zip(grid, indices, strict=True):
        pixels = images.images[index].transpose(1, 2, 0).mean(2)
        for axes in row:
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if masks is not None and masks[index].any():
                axes.contour(masks[index], [0.5], colors="black", linewidths=2.2, zorder=3)
                axes.contour(masks[index], [0.5], colors="white", linewidths=1.2, linestyles="--", zorder=3)
        for axes, one in zip(row[1:], maps.values(), strict=True):
            axes.imshow(one[index], cmap="viridis", vmin=0, vmax=1, alpha=0.55)
        row[0].set_ylabel(named(images.classes[images.labels[index]], 14), fontsize=8)
    for axes, title in zip(grid[0], ("image", *maps), strict=True):
        axes.set_title("\n".join(named(part, 18) for part in title.split(", ")), fontsize=8)
    shown = ", ".join(images.classes[images.labels[index]] for index in indices)
    outlined = "" if masks is None else "; outlines show the lesions"
    figure.alt_text = (
        f"Maps of {', '.join(maps)} over images of {shown}{outlined}. Bright places are where a map is high."
    )
    return figure


def localisation(table: pd.DataFrame) -> Picture:
    """Mean mass and hit rate of each kind of map, with 95 % intervals; the dotted line is chance.

    table: from `localisation` in `analysis.saliency`.
    """
    names = list(dict.fromkeys(table["map"]))
    panels = {"mass": "share of the map in the lesion", "hit": "peak in the lesion"}
    figure, grid = grid_of(2, 0.9 + 0.27 * len(names), columns=2, sharey=True)
    for axes, (score, words) in zip(grid, panels.items(), strict=True):
        rows = table[table["score"] == score].set_index("map").loc[names]
        for row, (_, line) in enumerate(rows.iterrows()):
            axes.plot([line["low"], line["high"]], [row, row], **interval_bar())
            axes.plot(line["value"], row, "D", color=PALETTE["main"], markersize=5)
        axes.axvline(table.attrs["chance"], color=PALETTE["teacher"], linestyle=":", linewidth=1.2)
        axes.set_xlim(0)
        axes.set_xlabel(words, fontsize=9)
    grid[0].set_yticks(range(len(names)), [named(name, 30) for name in names], fontsize=8)
    grid[0].set_ylim(len(names) - 0.4, -0.6)
    finish(figure, grid, None, None)
    lines = [f"{row['map']} {row['value']:.2f}" for row in table[table["score"] == "hit"].to_dict("records")]
    figure.alt_text = (
        f"How well maps find lesions, {table['images'].iloc[0]} images with one. Peak in the lesion: "
        f"{', '.join(lines)}. Chance: {table.attrs['chance']:.2f}."
    )
    return figure


def calibration(probabilities: Mapping[str, np.ndarray], labels: np.ndarray) -> Picture:
    """Accuracy against confidence, a panel a name, such as "main" and "main, T = 0.6"; see `reliability`."""
    import pandas as pd

    table = pd.DataFrame(
        {"method": name, "label": name, "key": name, "ece": calibration_error(p, labels)}
        for name, p in probabilities.items()
    )
    parts = [
        pd.DataFrame(
            {"key": name, "student": "main", "label": labels, "predicted": p.argmax(1), "probabilities": list(p)}
        )
        for name, p in probabilities.items()
    ]
    return reliability(table, pd.concat(parts))


def corruptions(images: ImageSet, index: int = 0, seed: int = 0) -> Picture:
    """One image, spoilt: a row a kind of corruption, a column a severity."""
    severities = (0, *SEVERITIES)
    figure, grid = picture(0.3 + 8 / (len(severities) + 0.7) * len(CORRUPTIONS), len(CORRUPTIONS), len(severities))
    one = images.take(np.array([index]))
    for row, kind in zip(grid, CORRUPTIONS, strict=True):
        for axes, severity in zip(row, severities, strict=True):
            axes.imshow(corrupt(one, kind, severity, seed).images[0].mean(0), cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(kind, fontsize=9)
    for axes, severity in zip(grid[0], severities, strict=True):
        axes.set_title(f"severity {severity}" if severity else "as it is", fontsize=9)
    name = images.classes[images.labels[index]]
    figure.alt_text = (
        f"An image of {name} with {', '.join(CORRUPTIONS)}, from severity 0 (as it is) to {max(severities)}."
    )
    return figure


def robustness(table: pd.DataFrame, column: str = "accuracy", chance: float | None = None) -> Picture:
    """Accuracy (or another column, such as confidence) over severity, a line a network, a panel a kind of corruption.

    table: from `robustness` in `analysis.robustness`. Bars at the accuracy: 95 % intervals over images.
    """
    names, kinds = list(dict.fromkeys(table["model"])), list(dict.fromkeys(table["corruption"]))
    figure, grid = grid_of(len(kinds), 2.6, len(names), sharey=True)
    told = []
    for axes, kind in zip(grid, kinds, strict=True):
        for i, name in enumerate(names):
            rows = table[(table["corruption"] == kind) & (table["model"] == name)]
            x = rows["severity"] + 0.08 * (i - (len(names) - 1) / 2)
            halves = np.stack([rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]])
            bars: Style = {"yerr": halves, "elinewidth": 0.7} if column == "accuracy" else {}
            axes.errorbar(x, rows[column], **bars, **_look(name, names), label=name)
            told.append(f"{kind}, {name}: {rows[column].iloc[0]:.2f} to {rows[column].iloc[-1]:.2f}")
        if chance is not None:
            axes.axhline(chance, color=PALETTE["teacher"], linestyle=":", linewidth=1)
        axes.set_title(kind, fontsize=9)
        axes.set_xticks(sorted(table["severity"].unique()))
    if chance is not None:
        grid[0].annotate("chance", (0, chance), (3, -10), ("axes fraction", "data"), "offset points", fontsize=8)
    grid[0].set_ylim(0, 1.02)
    finish(figure, grid, "severity", column)
    add_legend(figure, grid)
    figure.alt_text = (
        f"{column.capitalize()} on the test images from severity 0 to {table['severity'].max()}. {'; '.join(told)}."
    )
    return figure


def _look(name: str, names: Sequence[str]) -> Style:
    """Colour, mark and line: the roles that all chapters share, and FURTHER colours for other names."""
    if name in PALETTE:
        return {"color": PALETTE[name], "marker": MARKERS[name], "linestyle": LINES[name], "markersize": 5}
    others = [other for other in names if other not in PALETTE]
    i = others.index(name)
    return {
        "color": DISTINCT[i % 3],
        "marker": MARKS[(i + 3) % len(MARKS)],
        "linestyle": (0, (4, 1, 1, 1)),
        "markersize": 5,
    }


def _numbered(names: Sequence[str]) -> list[str]:
    """Names of layers as ticks: "stem", then 1, 2, ..."""
    first = names[0] == "stem"
    return [("stem" if first and i == 0 else str(i + (not first))) for i in range(len(names))]
