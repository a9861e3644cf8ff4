"""Pictures of images and data sets: what is in them, and what is wrong with them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image, UnidentifiedImageError

from dmws_lite.data.probes import PROBES, VISIBLE
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.text import plain
from dmws_lite.views import style

if TYPE_CHECKING:
    from dmws_lite.data.checking import Report
    from dmws_lite.data.sets import ImageSet

LEVELS = 32  # bars of an intensity histogram
SAMPLE = 200  # images per class whose pixels are counted
FLAGGED, PAIRS = 3, 4  # pictures shown at most: flagged ones of a class, pairs
LARGEST = 512  # pixels of the longer side of an image that is shown at full size
ALARM = "#D55E00"  # frames of flagged images, which carry the word too
WHITE = np.full((1, 1, 1), 255, np.uint8)  # an image that leaves its place empty
KIND_WORDS = {"exact": "same bytes", "near": "nearly the same", "similar": "look-alike"}


def images(image_set: ImageSet, per_class: int = 6) -> style.Picture:
    """A contact sheet: the first `per_class` images of every class, one row per class."""
    counts = dict(zip(image_set.classes, image_set.counts, strict=True))
    rows = [image_set.images[image_set.labels == label][:per_class] for label in range(len(counts))]
    figure, _ = style.sheet(rows, [f"{style.wrapped(name, 16)}\n({count})" for name, count in counts.items()])
    return figure.describe(f"The first images of each class of {len(image_set)} images: {style.listed(counts, 'd')}")


def at_full_size(files: Sequence[str | Path]) -> style.Picture:
    """Images as their files have them, side by side: what resizing hides, such as letters in the pixels.

    files: at most a handful, of kinds that Pillow reads.
    Raises ValueError for a file that cannot be read.
    """
    from dmws_lite.data.images import decode, suffix_of

    pixels, titles, names = [], [], []
    for file in map(Path, files):
        try:
            with Image.open(file) as opened:
                side = max(opened.size)
        except UnidentifiedImageError as error:
            raise ValueError(str(error)) from None
        pixels.append(decode(file.read_bytes(), suffix_of(file), min(side, LARGEST), "letterbox").image)
        names.append(f"{file.parent.name}/{file.name}")
        name = style.shortened(names[-1], min(26, 100 // len(files)))
        titles.append(style.literal(f"{name}\n{side} pixels"))
    figure, _ = style.sheet([pixels], [""], titles)
    return figure.describe(f"Files at full size: {', '.join(names)}")


def data_page(report: Report) -> style.Picture:
    """One page on a data set: verdict, sizes, findings, images, class balance, intensities, shortcuts, pairs.

    report: from `check`. An image that something is wrong with has a frame and the word for it.
    """
    gathered, findings = report.gathered, report.findings
    table, classes = gathered.table, gathered.classes
    readable, splits = table["error"] == "", table["split"].to_numpy()
    lines, pairs = _list_findings(findings), gathered.pairs
    across_splits = splits[pairs["first"].to_numpy(int)] != splits[pairs["second"].to_numpy(int)]
    copies = pairs["kind"] != "similar"
    pairs = pd.concat([pairs[across_splits], pairs[~across_splits & copies]]).head(PAIRS)
    counts = table[readable].groupby(["label", "split"]).size().unstack(fill_value=0)
    counts = counts.reindex(index=list(classes), columns=list(SPLITS), fill_value=0)
    per_class = 8 if len(classes) <= 5 else 12
    sheet_height = 0.87 * style.WIDTH / per_class * len(classes)
    heights = [0.145 * len(lines) + 0.1, sheet_height, 0.8 + 0.35 * len(classes), 2.1]
    if len(pairs):
        heights.append(1.6)
    figure = style.Picture(figsize=(style.WIDTH, sum(heights) + 0.6), layout="constrained")
    bands: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    bands[0].text(0.01, 0.95, style.literal("\n".join(lines)), fontsize=8, va="top")
    _draw_sheet(bands[1].subplots(), report, per_class)
    left, right = bands[2].subfigures(1, 2, width_ratios=[3, 2.2])
    _draw_balance(left.subplots(1, 3, sharey=True), counts)
    panels = right.subplots(len(classes), 1, sharex=True, squeeze=False)[:, 0]
    _draw_intensities(panels, gathered.images, classes, table["label"].where(readable, "").to_numpy())
    _draw_probes(bands[3].subplots(), report.probes)
    if len(pairs):
        _draw_pairs(bands[4].subplots(), gathered, pairs)
    split_sizes = " / ".join(str((splits == split).sum()) for split in SPLITS)
    numbers = f"{len(table)} images, {len(classes)} classes, {split_sizes} train / val / test"
    extremes = table.loc[readable, ["width", "height"]].agg(["min", "max"])
    ranges = ["–".join(dict.fromkeys(map(str, ends))) for _, ends in extremes.items()]
    pixels = " × ".join(ranges) if readable.any() else "unknown"
    heading = f"{style.shortened(report.name, 60)}: {report.verdict}\n{numbers}, sizes in pixels: {pixels}"
    figure.suptitle(style.literal(heading), fontsize=10)
    serious = findings[findings["severity"] != "note"]
    words = "; ".join(f"{row.severity}: {row.kind} ({row.count})" for row in serious.itertuples()) or "nothing wrong"
    by_class = "; ".join(f"{name} {' / '.join(map(str, row))}" for name, *row in counts.itertuples())
    probes = style.listed(report.probes.set_index("probe")["accuracy"].dropna()) or "not known"
    text = (
        f"Data set {report.name}: {report.verdict}; {numbers}. Found: {words}. Images by class, train / val / test: "
        f"{by_class}. Sizes in pixels: {pixels}. Class told by a linear model (chance "
        f"{report.probes['chance'].iloc[0]:.2f}): {probes}"
    )
    return figure.describe(plain(text))


def _list_findings(findings: pd.DataFrame) -> list[str]:
    """Lines of text: each finding with its detail, and the names of those that are only notes."""
    is_note = findings["severity"] == "note"
    texts = [f"{row.severity}: {row.kind} ({row.count}): {row.detail}" for row in findings[~is_note].itertuples()]
    texts = texts or ["Nothing was found that makes results wrong."]
    if is_note.any():
        texts.append(f"notes: {', '.join(findings.loc[is_note, 'kind'])}")
    return [line for text in texts for line in textwrap.wrap(plain(text), 128, subsequent_indent="   ")]


def _draw_sheet(axes: Axes, report: Report, per_class: int) -> None:
    """One row per class: images spread over all of its files, then a few of the flagged ones."""
    gathered, flags = report.gathered, np.array(report.flags)
    labels, rows = gathered.table["label"].to_numpy(), []
    for y, name in enumerate(gathered.classes):
        fine = np.flatnonzero((labels == name) & (flags == ""))
        flagged = np.flatnonzero((labels == name) & (flags != ""))[: max(FLAGGED, per_class - len(fine))]
        spread = np.linspace(0, len(fine) - 1, min(len(fine), per_class - len(flagged))).round().astype(int)
        shown = [*fine[spread], *flagged][:per_class]
        rows.append(gathered.images[shown])
        for x, flag in enumerate(flags[shown]):
            if flag:
                left, right, bottom, top = style.square(x, y)
                axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=ALARM, lw=2))
                box = {"color": "white", "pad": 0.6}
                axes.text(x + 0.5, bottom, flag, ha="center", va="bottom", fontsize=7, bbox=box)
    counts = [f"{style.wrapped(name, 16)}\n({(labels == name).sum()})" for name in gathered.classes]
    style.tiles(axes, rows, counts)
    axes.set_anchor("E")


def _draw_balance(columns: Sequence[Any], counts: pd.DataFrame) -> None:
    """One column per split, one bar per class: its share of the split, with its images."""
    for axes, split in zip(columns, counts, strict=True):
        shares = counts[split] / max(1, counts[split].sum())
        sns.barplot(x=shares.to_numpy(), y=counts.index, color=style.PALETTE["main"], saturation=1, orient="h", ax=axes)
        axes.bar_label(axes.containers[0], counts[split].map(str), padding=3)
        axes.set(xlim=(0, 1.5 * max(shares.max(), 1e-6)), xticks=[], ylabel="", title=f"{split}: {counts[split].sum()}")
        axes.tick_params(length=0)
        axes.spines["bottom"].set_visible(False)
    columns[0].set_yticks(range(len(counts)), [style.wrapped(name, 20) for name in counts.index])


def _draw_intensities(grid: Sequence[Axes], pixels: np.ndarray, classes: Sequence[str], labels: np.ndarray) -> None:
    """One histogram per class, of up to SAMPLE images; square roots of counts, so that black does not hide the rest."""
    for axes, name in zip(grid, classes, strict=True):
        indices = np.flatnonzero(labels == name)
        sample = indices[np.linspace(0, len(indices) - 1, min(SAMPLE, len(indices))).astype(int)]
        levels = pixels[sample].mean(axis=1)
        counts, middles = np.histogram(levels, LEVELS, (0, 255))[0], (np.arange(LEVELS) + 0.5) * 255 / LEVELS
        look: style.Style = {"element": "step", "color": style.PALETTE["random"], "alpha": 1, "linewidth": 0}
        sns.histplot(x=middles, weights=np.sqrt(counts), bins=LEVELS, binrange=(0, 255), ax=axes, **look)
        if len(sample):
            axes.axvline(levels.mean(), color=style.PALETTE["main"], linewidth=1.5)
        axes.set(xlim=(0, 255), yticks=[], ylabel="")
    grid[0].set_title("intensities, line: mean")
    grid[-1].set_xlabel("pixel value (share of pixels as square root)")


def _draw_probes(axes: Axes, probes: pd.DataFrame) -> None:
    """Accuracy of each probe, with chance and the share from which a probe is a warning."""
    sees_anatomy, chance = probes["probe"] == PROBES[-1], probes["chance"].iloc[0]
    look: style.Style = {"color": np.where(sees_anatomy, style.UNUSED, style.PALETTE["main"])}
    look |= {"hatch": list(np.where(sees_anatomy, "///", "")), "edgecolor": style.PALETTE["teacher"], "linewidth": 0.5}
    axes.barh(probes["probe"], probes["accuracy"].fillna(0), **look)
    for row, probe in enumerate(probes.itertuples()):
        text = f"{probe.accuracy:.2f} ± {2 * probe.error:.2f}"
        axes.text(1.03, row, "too few patients or groups" if np.isnan(probe.accuracy) else text, va="center")
    thresholds = {"chance": chance, "warning": chance + VISIBLE * (1 - chance)}
    for (name, value), line in zip(thresholds.items(), (":", "--"), strict=True):
        axes.axvline(value, linestyle=line, color="black", linewidth=1)
        axes.text(value, -0.65, name, ha="center", va="bottom")
    axes.set(xlim=(0, 1.35), ylim=(len(probes) - 0.5, -0.6), xticks=np.linspace(0, 1, 6))
    axes.set_xlabel("accuracy of a linear model (mean over classes)")
    axes.set_title("what tells the class without anatomy?", pad=16)


def _draw_pairs(axes: Axes, gathered: Any, pairs: pd.DataFrame) -> None:
    """Pairs side by side, with what they share, their splits and files."""
    row: list[Any] = []
    for pair in pairs.itertuples():
        files = gathered.table[["split", "label", "file"]].iloc[[pair.first, pair.second]].to_numpy()
        lines = [f"{split}, {style.shortened(label, 22)}:\n{style.shortened(file, 30)}" for split, label, file in files]
        text = style.literal("\n".join([KIND_WORDS[pair.kind], *lines]))
        axes.text(len(row), 1.08, text, fontsize=7, va="top", linespacing=1.2)
        row += [gathered.images[pair.first], gathered.images[pair.second], WHITE]
    style.tiles(axes, [row], [""])
    axes.set(xlim=(0, 3 * PAIRS), ylim=(1.9, 0))
    axes.set_title("pairs: copies or look-alikes", loc="left")
