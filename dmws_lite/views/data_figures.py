"""Pictures of data sets: what is in them, and what is wrong with them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from PIL import Image

from dmws_lite.data.probes import PROBES, VISIBLE
from dmws_lite.runtime.text import plain
from dmws_lite.views.picture import PALETTE, UNUSED, WIDTH, Picture, bare, literal, picture

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.checking import Report
    from dmws_lite.data.opening import Gathered
    from dmws_lite.data.sets import Splits

Array = np.ndarray
SPLITS = ("train", "val", "test")
TILE, GAP = 96, 8  # pixels of one picture in a sheet, and between two
LEVELS = 32  # bars of an intensity histogram
SAMPLE = 200  # images a class whose pixels are counted
FLAGGED, PAIRS = 3, 4  # pictures shown at most: flagged ones of a class, pairs
ALARM = "#D55E00"  # frames of flagged images, which carry the word too
KIND_WORDS = {"exact": "same bytes", "near": "nearly the same", "similar": "look-alike"}


def data_page(report: Report) -> Picture:
    """One page on a data set: verdict, findings, images, class balance, intensities, sizes, shortcuts, shared pairs.

    report: from `check`. An image that something is wrong with has a frame and the word for it.
    """
    gathered, lines, pairs = report.gathered, _finding_lines(report), _first_pairs(report)
    classes, counts = gathered.classes, _counts(gathered)
    per_class = 8 if len(classes) <= 5 else 12
    heights = [0.135 * len(lines) + 0.1, 0.87 * WIDTH / per_class * len(classes), 0.7 + 0.3 * len(classes), 2.1]
    heights += [1.6] if pairs else []
    figure = Picture(figsize=(WIDTH, sum(heights) + 0.6), layout="constrained")
    title = report.name if len(report.name) <= 60 else f"{report.name[:59]}…"
    figure.suptitle(literal(f"{plain(title)}: {report.verdict}\n{_numbers(gathered)}"), fontsize=11)
    parts: Any = figure.subfigures(len(heights), 1, height_ratios=heights)
    parts[0].text(0.01, 0.95, literal("\n".join(lines)), fontsize=7.5, va="top")
    _draw_sheet(parts[1].subplots(), report, per_class)
    *columns, levels = parts[2].subplots(1, 4, width_ratios=[1, 1, 1, 2.4])
    _draw_balance(columns, counts)
    labels = gathered.table["label"].where(gathered.table["error"] == "", "").to_numpy(str)
    _draw_levels(levels, _histograms(gathered.images, [labels == name for name in classes]))
    levels.set_yticks([])
    sizes, probes = parts[3].subplots(1, 2, width_ratios=[1, 2])
    _draw_sizes(sizes, gathered.table)
    _draw_probes(probes, report.probes)
    if pairs:
        _draw_pairs(parts[4].subplots(), gathered, pairs)
    figure.alt_text = plain(_alt_text(report, counts))
    return figure


def class_balance(splits: Splits) -> Picture:
    """The share of each class in train, val and test, one column a split, with the numbers of images."""
    import pandas as pd

    counts = pd.DataFrame({split: getattr(splits, split).counts for split in SPLITS}, index=list(splits.classes))
    figure, axes = picture(0.8 + 0.32 * len(counts), 1, 3)
    _draw_balance(list(axes), counts)
    figure.alt_text = f"Images of each class of {splits.name}, train / val / test: {_listed(counts)}."
    return figure


def intensities(splits: Splits) -> Picture:
    """How bright the training images of each class are: a histogram of pixel values a class, and its mean."""
    train = splits.train
    histograms = _histograms(train.images, [train.labels == k for k in range(len(train.classes))])
    figure, axes = picture(0.9 + 0.45 * len(histograms))
    _draw_levels(axes, histograms)
    axes.set_yticks(range(len(histograms)), [_wrapped(name) for name in train.classes])
    means = ", ".join(f"{name} {_mean(row):.0f}" for name, row in zip(train.classes, histograms, strict=True))
    figure.alt_text = f"Pixel values of the training images of {splits.name} by class; means of 0 to 255: {means}."
    return figure


def _finding_lines(report: Report) -> list[str]:
    """Findings in words: what is invalid and what is a warning in full, notes by their kind."""
    lines = []
    for row in report.findings[report.findings["severity"] != "note"].itertuples():
        text = plain(f"{row.severity}: {row.kind} ({row.count}): {row.detail}")
        lines += textwrap.wrap(text, 128, subsequent_indent="   ")
    notes = ", ".join(report.findings.loc[report.findings["severity"] == "note", "kind"])
    return [*(lines or ["Nothing was found that makes results wrong."]), *textwrap.wrap(f"notes: {notes}", 128)]


def _draw_sheet(axes: Axes, report: Report, per_class: int) -> None:
    """A row a class: images spread over all of its files, then a few of the flagged ones."""
    gathered, flags = report.gathered, np.array(report.flags)
    rows = []
    for name in gathered.classes:
        found = (gathered.table["label"] == name).to_numpy()
        fine = np.flatnonzero(found & (flags == ""))
        flagged = np.flatnonzero(found & (flags != ""))[: max(FLAGGED, per_class - len(fine))]
        spread = np.linspace(0, len(fine) - 1, min(len(fine), per_class - len(flagged))).round().astype(int)
        rows.append([*fine[spread], *flagged])
    step = TILE + GAP
    canvas = np.full((len(rows) * step, per_class * step, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            canvas[i * step : i * step + TILE, j * step : j * step + TILE] = _tile(gathered.images[image])
            if flags[image]:
                _frame(axes, j * step, i * step, flags[image])
    axes.imshow(canvas, interpolation="antialiased")
    axes.set_anchor("E")
    counts = gathered.table["label"].value_counts()
    names = [f"{_wrapped(name)}\n({counts.get(name, 0)})" for name in gathered.classes]
    axes.set_yticks([i * step + TILE / 2 for i in range(len(rows))], names, fontsize=8)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_balance(columns: list[Axes], counts: pd.DataFrame) -> None:
    """A column a split, a bar a class: its share of the split, with the number of images."""
    for axes, split in zip(columns, counts, strict=True):
        total = max(1, counts[split].sum())
        axes.barh(range(len(counts)), counts[split] / total, 0.7, color=PALETTE["main"])
        longest = max(counts[split].max() / total, 1e-6)
        for row, count in enumerate(counts[split]):
            axes.text(count / total + 0.04 * longest, row, str(count), va="center", fontsize=8)
        axes.set(xlim=(0, 1.45 * longest), ylim=(len(counts) - 0.5, -0.5), xticks=[], yticks=[])
        axes.set_title(f"{split}: {counts[split].sum()}", fontsize=9)
        bare(axes)
        axes.spines["bottom"].set_visible(False)
    columns[0].set_yticks(range(len(counts)), [_wrapped(name) for name in counts.index], fontsize=8)
    columns[0].tick_params(length=0)


def _draw_levels(axes: Axes, histograms: Array) -> None:
    """A histogram a row, heights as square roots of shares, so that a black background does not hide the rest."""
    heights = 0.85 * np.sqrt(histograms / max(histograms.max(), 1e-9))
    edges = np.linspace(0, 255, LEVELS + 1)
    for row, (bars, shares) in enumerate(zip(heights, histograms, strict=True)):
        axes.stairs(row + 0.42 - bars, edges, baseline=row + 0.42, fill=True, color=PALETTE["random"])
        axes.plot([_mean(shares)] * 2, [row + 0.42, row - 0.4], color=PALETTE["main"], linewidth=1.5)
    axes.set(xlim=(0, 255), ylim=(len(heights) - 0.5, -0.5), xlabel="pixel value (share of pixels as square root)")
    axes.set_title("intensities, line: mean", fontsize=9)
    _small(axes)


def _draw_sizes(axes: Axes, table: pd.DataFrame) -> None:
    """Original widths and heights, areas by the number of images."""
    sizes = _sizes(table)
    if sizes.empty:
        axes.set_axis_off()
        return
    width, height = (sizes.index.get_level_values(side).to_numpy() for side in ("width", "height"))
    axes.scatter(width, height, 6 + 90 * sizes / sizes.sum(), color=PALETTE["main"], alpha=0.5, linewidth=0)
    limit = 1.15 * max(width.max(), height.max())
    axes.set(xlim=(0, limit), ylim=(0, limit), xlabel="width (pixels)", ylabel="height (pixels)", aspect="equal")
    axes.set_title(f"sizes: {_common_size(sizes)}", fontsize=9)
    _small(axes)


def _draw_probes(axes: Axes, probes: pd.DataFrame) -> None:
    """Accuracy of each probe, with chance and the share from which a probe is a warning."""
    chance = probes["chance"].iloc[0]
    for row, probe in enumerate(probes.itertuples()):
        compared = probe.probe == PROBES[-1]
        if np.isnan(probe.accuracy):
            axes.text(0.02, row, "too few patients or groups", va="center", fontsize=8)
            continue
        colour, hatch = (UNUSED, "///") if compared else (PALETTE["main"], "")
        axes.barh(row, probe.accuracy, 0.7, color=colour, hatch=hatch, edgecolor=PALETTE["teacher"], linewidth=0.5)
        text = f"{probe.accuracy:.2f} ± {2 * probe.error:.2f}"
        axes.text(1.03, row, text, va="center", fontsize=8)
    last = len(probes) - 1
    warning = chance + VISIBLE * (1 - chance)
    for value, line, text, end in ((chance, ":", "chance", last + 0.5), (warning, "--", "warning", last - 0.5)):
        axes.plot([value, value], [-0.6, end], line, color="black", linewidth=1)
        axes.text(value, -0.65, text, ha="center", va="bottom", fontsize=8)
    axes.set_yticks(range(len(probes)), probes["probe"], fontsize=8)
    axes.set(xlim=(0, 1.25), ylim=(last + 0.5, -1.3), xlabel="accuracy of a linear model (mean over classes)")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_title("what tells the class without anatomy?", fontsize=9)
    _small(axes)


def _draw_pairs(axes: Axes, gathered: Gathered, pairs: list[tuple[int, int, str]]) -> None:
    """Pairs side by side, with what they share, their splits and files."""
    step = 3 * TILE
    canvas = np.full((TILE, PAIRS * step, 3), 255, np.uint8)
    for k, (first, second, kind) in enumerate(pairs):
        for place, image in ((0, first), (TILE + GAP // 2, second)):
            canvas[:, k * step + place : k * step + place + TILE] = _tile(gathered.images[image])
        rows = gathered.table.iloc[[first, second]]
        told = [f"{row.split}, {_tail(row.label, 22)}:\n{_tail(row.file, 30)}" for row in rows.itertuples()]
        text = literal("\n".join([KIND_WORDS[kind], *told]))
        axes.text(k * step, TILE + GAP, text, fontsize=6.5, va="top", linespacing=1.2)
    axes.imshow(canvas, interpolation="antialiased")
    axes.set_ylim(TILE + 80, 0)
    axes.set_title("pairs: copies or look-alikes", fontsize=9, loc="left")
    axes.set_axis_off()


def _first_pairs(report: Report) -> list[tuple[int, int, str]]:
    """Pairs to show: what two splits share, then copies within a split."""
    pairs, splits = report.gathered.pairs, report.gathered.table["split"].to_numpy()
    apart = splits[pairs["first"].to_numpy(int)] != splits[pairs["second"].to_numpy(int)]
    shown = [
        *pairs[apart][["first", "second", "kind"]].itertuples(index=False),
        *pairs[~apart & (pairs["kind"] != "similar")][["first", "second", "kind"]].itertuples(index=False),
    ]
    return [(int(first), int(second), kind) for first, second, kind in shown[:PAIRS]]


def _frame(axes: Axes, left: int, top: int, word: str) -> None:
    axes.add_patch(Rectangle((left, top), TILE - 1, TILE - 1, fill=False, edgecolor=ALARM, linewidth=2))
    box = {"color": "white", "pad": 0.6}
    axes.text(left + TILE / 2, top + TILE - 3, word, ha="center", va="bottom", fontsize=6.5, color="black", bbox=box)


def _tile(image: Array) -> Array:
    """An image (C, S, S) as an RGB tile uint8 (TILE, TILE, 3)."""
    pixels = image.transpose(1, 2, 0) if len(image) == 3 else image[0]
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((TILE, TILE)).convert("RGB"))


def _histograms(images: Array, members: list[Array]) -> Array:
    """The share of pixels in each of LEVELS ranges, a row a class: from SAMPLE images at most, spread over its rows."""
    rows = []
    for member in members:
        found = np.flatnonzero(member)
        chosen = found[np.linspace(0, len(found) - 1, min(SAMPLE, len(found))).astype(int)]
        values = images[chosen].mean(axis=1) if len(chosen) else np.zeros(0)
        counts = np.histogram(values, LEVELS, (0, 255))[0]
        rows.append(counts / max(1, counts.sum()))
    return np.array(rows)


def _mean(shares: Array) -> float:
    """The mean pixel value of a histogram."""
    return float(shares @ ((np.arange(LEVELS) + 0.5) * 255 / LEVELS))


def _counts(gathered: Gathered) -> pd.DataFrame:
    """Readable images, a row a class, a column a split."""
    table = gathered.table[gathered.table["error"] == ""]
    counts = table.groupby(["label", "split"]).size().unstack(fill_value=0)
    return counts.reindex(index=list(gathered.classes), columns=list(SPLITS), fill_value=0)


def _sizes(table: pd.DataFrame) -> pd.Series:
    """Numbers of readable images by width and height, the most frequent first."""
    return table[table["error"] == ""].groupby(["width", "height"]).size().sort_values(ascending=False, kind="stable")


def _common_size(sizes: pd.Series) -> str:
    """The most frequent size and its share, or the ranges when none is frequent."""
    (width, height), share = sizes.index[0], sizes.iloc[0] / sizes.sum()
    if share >= 0.1:
        return f"{share:.0%} are {width} × {height}"
    ranges = (sizes.index.get_level_values(side) for side in ("width", "height"))
    return " × ".join(f"{values.min()}–{values.max()}" for values in ranges)


def _numbers(gathered: Gathered) -> str:
    counts = gathered.table["split"].value_counts()
    parts = " / ".join(str(counts.get(split, 0)) for split in SPLITS)
    return f"{len(gathered.table)} images, {len(gathered.classes)} classes, {parts} train / val / test"


def _alt_text(report: Report, counts: pd.DataFrame) -> str:
    serious = report.findings[report.findings["severity"] != "note"]
    found = "; ".join(f"{row.severity}: {row.kind} ({row.count})" for row in serious.itertuples()) or "nothing wrong"
    sizes = _sizes(report.gathered.table)
    common = _common_size(sizes) if len(sizes) else "unknown"
    probes = ", ".join(f"{row.probe} {row.accuracy:.2f}" for row in report.probes.itertuples())
    return (
        f"Data set {report.name}: {report.verdict}; {_numbers(report.gathered)}. Found: {found}. "
        f"Images by class, train / val / test: {_listed(counts)}. Sizes in pixels: {common}. "
        f"Class told by a linear model (chance {report.probes['chance'].iloc[0]:.2f}): {probes}."
    )


def _listed(counts: pd.DataFrame) -> str:
    return "; ".join(
        f"{name} {' / '.join(map(str, row))}" for name, row in zip(counts.index, counts.values, strict=True)
    )


def _small(axes: Axes) -> None:
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(8)
    axes.tick_params(labelsize=8)
    bare(axes, left=True)


def _wrapped(name: str) -> str:
    """A class name on at most two lines of at most 20 characters, broken at spaces and underscores."""
    lines = textwrap.wrap(plain(name).replace("_", "_ "), 20, max_lines=2, placeholder="…")
    return literal("\n".join(lines).replace("_ ", "_"))


def _tail(text: str, length: int) -> str:
    return plain(text if len(text) <= length else f"…{text[1 - length :]}")
