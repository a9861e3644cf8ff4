"""Pictures of runs, of images in a network's features, and of volumes, to explore: see `views.interactive`."""

from __future__ import annotations

import math
import textwrap
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots
from torchvision.transforms.functional import resize
from torchvision.utils import make_grid

from dmws_lite.data.images import decode, frames, suffix_of
from dmws_lite.data.sets import ImageSet
from dmws_lite.studies.statistics import SMALLER_IS_BETTER
from dmws_lite.views import style
from dmws_lite.views.interactive import Interactive, choices, interactive, slider
from dmws_lite.views.studies import cost_accuracy, looks_of

COSTS = {  # name and unit, by the column of a table of runs
    "seconds": ("training seconds", 1),
    "flops_per_step": ("GFLOPs per step", 1e9),
    "peak_memory_mb": ("peak memory (MB)", 1),
    "parameters": ("parameters (thousands)", 1e3),
    "latency_ms": ("latency at batch 1 (ms)", 1),
}
RUN_AXES = ("label", "run", "data", "pair", "fraction", "seed", "steps", "batch_size", "size", "device", *COSTS, "ece")
NAMES = """circle square triangle-up diamond triangle-down cross triangle-left x triangle-right pentagon diamond-tall
hexagon octagon hexagon2 star-diamond star-square star-triangle-up star-triangle-down hexagram hourglass"""
SYMBOLS = dict(zip(style.MARKS, NAMES.split(), strict=True)) | {"*": "star"}  # plotly's names of matplotlib's marks
TILE, SHOWN = 64, 128  # pixels per side of a thumbnail, as stored and as shown
MISSING = -0.15  # position of a missing value on an axis from 0 to 1
FITTED = {"fitted": "images of the fit", "others": "other images"}  # columns of explore_ridge


def explore_costs(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> Interactive:
    """Each run's result against what it cost, with all of its settings under the mouse; a list chooses the cost.

    table:     one row per run, as `Store.table` gives it; without the metric or the cost it has no mark.
    reference: a method drawn as a black star.
    """
    look, options = looks_of(table, reference), {}
    runs = table.assign(text=[_describe_run(run) for _, run in table.iterrows()])
    for column, (name, unit) in COSTS.items():
        if column in table and table[column].notna().any():
            runs[name] = _round_values(table[column] / unit)
            x = [rows[name].tolist() for _, rows in runs.groupby("label", sort=False)]
            options[name] = [{"x": x}, {"xaxis.title.text": name}]
    drawn = px.scatter(
        runs.replace({"label": {name: escape(name) for name in look["palette"]}}),
        x=next(iter(options)),
        y=metric,
        color="label",
        symbol="label",
        hover_name="text",
        labels={metric: metric.replace("_", " ")},
        color_discrete_sequence=list(look["palette"].values()),
        symbol_sequence=[SYMBOLS[mark] for mark in look["markers"].values()],
    )
    drawn.update_traces(marker_size=10, hovertemplate="%{hovertext}<extra></extra>")
    layout: dict[str, Any] = {"xaxis": {"rangemode": "tozero", "zeroline": False}, "yaxis_zeroline": False}
    layout["legend"] = {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0, "title": None}
    layout["updatemenus"] = choices("update", options)
    title, twin = "Each run: result against cost", cost_accuracy(table, metric, reference)
    return interactive(twin, drawn, title, 520, **layout)


def explore_runs(table: pd.DataFrame, metric: str = "accuracy") -> Interactive:
    """All runs as lines through their settings, costs and results; drag along an axis to keep some of them.

    table: one row per run, as `Store.table` gives it. A column that is the same everywhere has no axis; a missing value
           lies at the foot of its axis, marked as missing. Colour is the metric, from pale to dark.
    """
    runs = table.reset_index(drop=True).assign(run=range(1, len(table) + 1))
    varying = [name for name in RUN_AXES if name in runs and runs[name].nunique() > 1 and name != metric]
    axes, shown, dimensions = {}, {}, []
    for column in (*varying, metric):
        name, unit = COSTS.get(column, (column.replace("label", "method").replace("_", " "), 1))
        shown[name] = runs[column] if unit == 1 else runs[column] / unit
        axes[name], ticks = _place_values(shown[name])
        dimension = {"label": name, "values": axes[name].tolist(), "range": [min(0, *ticks), 1]}
        dimensions.append(dimension | {"tickvals": list(ticks), "ticktext": list(ticks.values())})
    line = {"color": axes[name].tolist(), "colorscale": "Blues", "cmin": -0.2, "cmax": 1}
    trace = go.Parcoords(dimensions=dimensions, line=line, labelangle=-20, tickfont={"size": 10})
    title, margin = f"{len(table)} runs; dark: high {name}", {"l": 150, "r": 50, "t": 120, "b": 30}
    twin = _draw_runs(pd.DataFrame(axes), pd.DataFrame(shown), runs["label"])
    return interactive(twin, go.Figure(trace), title, 500, margin=margin)


def _draw_runs(places: pd.DataFrame, values: pd.DataFrame, labels: pd.Series) -> style.Picture:
    """The static twin of `explore_runs`: a row per run with its values, the best one first, shades by their places."""
    *columns, result = [name for name in places if name != "method"]
    order = values[result].sort_values(ascending=result in SMALLER_IS_BETTER, kind="stable").index
    texts = values.astype(object).where(values.notna(), "missing")
    texts = texts.map(lambda value: style.wrapped(value, 13) if isinstance(value, str) else f"{value:.4g}")
    figure, axes = style.picture(1.1 + 0.2 * len(places))
    cells = places.loc[order, [*columns, result]].set_axis(map(style.literal, labels[order]))
    style.heat(axes, cells, texts.loc[order, cells.columns], yticklabels=True, annot_kws={"fontsize": 7})
    axes.set(ylabel="", xticklabels=[style.wrapped(name, 13) for name in cells])
    ends = style.extremes(values[result].set_axis(labels), ".3f")
    return figure.describe(
        f"{len(places)} runs by {', '.join(cells)}, the best one first", f"{result} goes from {ends}"
    )


def explore_features(table: pd.DataFrame, images: ImageSet | None = None) -> Interactive:
    """Test images in the plane of each network's two main directions, a panel for each; a slider over training steps.

    table:  as `representations.in_plane` gives it. Colour and mark are the class, a hollow mark is a wrong answer;
            hovering shows class, answer, and the image's file and number. A network without steps stays where it is.
    images: those that `in_plane` got: hovering shows them, too, on the right.
    Raises ValueError for images that are not those of the table.
    """
    networks, classes = list(table["network"].unique()), sorted(table["class"].unique())
    steps, look = sorted(table["step"].dropna().unique()) or [0], style.looks(classes, {})
    symbols = {name: SYMBOLS[mark] for name, mark in look["markers"].items()}
    drawn, frames = make_subplots(1, len(networks), subplot_titles=list(map(escape, networks))), []
    for step in steps:
        moment, traces = table[table["step"].isna() | (table["step"] == step)], []
        moved: dict[int, go.Scatter] = {}  # what changes from step to step, by the number of the trace
        for number, (name, (column, network)) in enumerate(product(classes, enumerate(networks, 1))):
            rows = moment[(moment["class"] == name) & (moment["network"] == network)]
            marker = {"symbol": np.where(rows["answer"] == name, symbols[name], f"{symbols[name]}-open")}
            place = go.Scatter(x=_round_values(rows["x"]), y=_round_values(rows["y"]), marker=marker)
            place.text = list(map(escape, rows["answer"]))
            if rows["step"].notna().all():
                moved[number] = place
            files = [[escape(file), image] for file, image in zip(rows["file"], rows["image"], strict=True)]
            hover = f"%{{customdata[0]}} (image %{{customdata[1]}})<br>class: {escape(name)}<br>"
            trace = go.Scatter(place, mode="markers", customdata=files, legendgroup=name, showlegend=False)
            trace.update(xaxis=f"x{column}", yaxis=f"y{column}", marker={"color": look["palette"][name], "size": 7})
            traces.append(trace.update(hovertemplate=f"{hover}{escape(network)} says: %{{text}}<extra></extra>"))
        frames.append(go.Frame(name=str(int(step)), data=list(moved.values()), traces=list(moved)))
    for name in classes:  # the legend: a mark of the images would be hollow where the first answer is wrong
        mark = {"color": look["palette"][name], "symbol": symbols[name], "size": 7}
        traces.append(go.Scatter(x=[None], y=[None], mode="markers", marker=mark, legendgroup=name, name=escape(name)))
    for column, network in enumerate(networks, 1):
        points = table[table["network"] == network]
        drawn.update_xaxes(range=_widen(points["x"]), showticklabels=False, zeroline=False, col=column)
        drawn.update_yaxes(range=_widen(points["y"]), showticklabels=False, zeroline=False, col=column)
    drawn = go.Figure(traces, drawn.layout, frames if len(steps) > 1 else None)
    layout: dict[str, Any] = {"margin": {"l": 20, "r": 20, "t": 90, "b": 20}, "legend": {"y": 1.08}}
    layout["sliders"] = slider([frame.name for frame in frames], "training step: ", len(steps) - 1)
    if images is not None:
        if {*zip(table["image"], table["file"], strict=True)} != {*enumerate(images.names)}:
            raise ValueError("images are not those of the table: pass the image set that in_plane got")
        layout |= {"meta": {"thumbnails": _pack_thumbnails(images)}, "margin": layout["margin"] | {"r": SHOWN + 20}}
    title = "Test images by what each classifier reads of them; hollow: a wrong answer"
    return interactive(_draw_planes(moment, look), drawn, title, 500, **layout)


def _widen(values: pd.Series) -> list[float]:
    """A range that holds the values, with a margin: it stays the same at all steps."""
    margin = 0.06 * np.ptp(values) or 1.0
    return [values.min() - margin, values.max() + margin]


def _draw_planes(table: pd.DataFrame, look: style.Style) -> style.Picture:
    """The static twin of `explore_features`; look: of the classes."""
    table = table.assign(right=table["class"] == table["answer"])
    shares = table.groupby("network", sort=False)["right"].mean()
    figure, grid = style.panels(len(shares), 2.6, len(look["palette"]))
    for axes, network in zip(grid, shares.index, strict=True):
        for name, colour in look["palette"].items():
            rows = table[(table["network"] == network) & (table["class"] == name)]
            marks: style.Style = {"s": 22, "marker": look["markers"][name], "edgecolors": colour, "linewidths": 0.8}
            axes.scatter("x", "y", data=rows[rows["right"]], facecolors=colour, label=name, **marks)
            axes.scatter("x", "y", data=rows[~rows["right"]], facecolors="white", label="_wrong", **marks)
        axes.set(xticks=[], yticks=[], title=style.wrapped(network, 34))
    style.finish(figure, grid)
    words = f"Images of {', '.join(look['palette'])} in the plane of each network's features"
    return figure.describe(words, f"right answers: {style.listed(shares, '.0%')}")


def _pack_thumbnails(images: ImageSet) -> dict[str, Any]:
    """All images in one JPEG, row by row, and what beside.js needs to show each of them."""
    columns = math.ceil(math.sqrt(len(images)))
    tiles = resize(torch.from_numpy(np.array(images.images)), [TILE, TILE])
    sheet = make_grid(tiles, columns, padding=0)[: tiles.shape[1]].numpy()  # of gray images it makes three channels
    sprite = f"data:image/jpeg;base64,{style.encode_image(sheet, 'jpeg', quality=80)}"
    return {"sprite": sprite, "columns": columns, "side": SHOWN}


def explore_ridge(table: pd.DataFrame, alone: float) -> Interactive:
    """The error of a least-squares fit over its ridge, on the fit's images and on others; a slider over their number.

    table: one row per number of images and ridge: images, ridge (above 0), and the errors (above 0) fitted and others.
    alone: the error without a fit, drawn as a line.
    """
    rows = table.assign(number=table["images"].astype(str) + " images", alone=alone)
    titles = FITTED | {"alone": "selection alone"}
    rows = rows.melt(["number", "ridge"], list(titles), "on", "error").replace({"on": titles})
    look = style.looks(titles.values(), dict(zip(titles.values(), ("main", "auxiliary", "teacher"), strict=True)))
    words = "Error over λ by number of images"
    twin = style.curves(rows, "ridge", "error", "on", "number", words, look=look, xlabel="λ", ylabel="error")
    twin.axes[0].set(xscale="log", yscale="log")
    drawn = px.line(
        rows,
        x="ridge",
        y="error",
        color="on",
        line_dash="on",
        animation_frame="number",
        labels={"ridge": "λ", "number": "fitted on", "on": "error on"},
        color_discrete_map=look["palette"],
        line_dash_sequence=["solid", "dash", "dot"],
        markers=True,
        log_x=True,
        log_y=True,
        range_y=[rows["error"].min() / 1.3, rows["error"].max() * 1.3],
    )
    drawn.update_xaxes(exponentformat="power").update_yaxes(exponentformat="power")
    sliders = slider([frame.name for frame in drawn.frames], "fitted on ")
    return interactive(twin, drawn, "Error over λ, by the number of images", 480, sliders=sliders, legend_title=None)


def explore_slices(file: str | Path, size: int = 128, most: int = 24) -> Interactive:
    """The slices of one file (NIfTI, multi-frame DICOM, multi-page TIFF), with a slider; hovering shows gray values.

    size: pixels per side, as networks get them. most: of more slices, so many are taken, evenly spread.
    Raises ValueError for a file that cannot be read, with the reason.
    """
    file, count = Path(file), frames(file)
    numbers = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    data = file.read_bytes()
    slices = [decode(data, suffix_of(file), size, frame=number).image for number in numbers]
    pictures = []
    for number, image in zip(numbers, slices, strict=True):
        source = f"data:image/png;base64,{style.encode_image(image, optimize=True)}"
        trace = go.Image(source=source, hovertemplate="row %{y}, column %{x}: %{z[0]}<extra></extra>")
        pictures.append(go.Frame(name=str(number + 1), data=[trace]))
    middle, hidden = len(numbers) // 2, {"showgrid": False, "zeroline": False, "visible": False}
    layout = {"xaxis": hidden, "yaxis": hidden, "margin": {"l": 10, "r": 10, "t": 40, "b": 10}}
    layout["sliders"] = slider([frame.name for frame in pictures], f"slice (of {count}): ", middle)
    title = f"{file.name}: {count} slices"
    if count > len(numbers):
        title += f", {len(numbers)} of them shown"
    sample = np.unique(np.linspace(0, len(slices) - 1, min(6, len(slices))).round().astype(int))
    labels = [f"slice {numbers[i] + 1}" for i in sample]
    twin, _ = style.sheet([[slices[i] for i in sample]], [""], labels)
    twin.describe(f"{len(sample)} of the {count} slices of {file.name}, from first to last: {', '.join(labels)}")
    drawn = go.Figure(pictures[middle].data, frames=pictures)
    return interactive(twin, drawn, escape(title), 560, **layout)


def _describe_run(run: pd.Series) -> str:
    """All fields of a run, as lines for the mouse; missing ones are left out."""
    lines = []
    for name, value in run.drop(["key", "method"], errors="ignore").dropna().items():
        text = str(value)
        if isinstance(value, float):
            text = f"{value:.4g}"
        elif isinstance(value, int):
            text = f"{value:,}"
        lines += textwrap.wrap(f"{str(name).replace('_', ' ')}: {text}", 70)
    return "<br>".join(escape(line, quote=False) for line in lines)


def _round_values(values: pd.Series) -> list[float]:
    """Numbers for plotly, to four digits, which are enough."""
    return [float(f"{value:.4g}") for value in values]


def _place_values(values: pd.Series) -> tuple[np.ndarray, dict[float, str]]:
    """Positions of a column's values on an axis from 0 to 1, and its ticks; missing values lie below it."""
    if pd.api.types.is_numeric_dtype(values):
        low, high = float(values.min()), float(values.max())
        marked = sorted(values.dropna().unique()) if values.nunique() < 5 else [low, (low + high) / 2, high]
        texts = {value: f"{value:.3g}" for value in marked}
    else:
        codes, names = pd.factorize(values)
        values = pd.Series(codes).where(codes >= 0)
        low, high = 0, len(names) - 1
        texts = {code: escape(style.shortened(name, 26)) for code, name in enumerate(names)}
    span = (high - low) or 1.0
    ticks = {MISSING: "missing"} if values.isna().any() else {}
    ticks |= {float(value - low) / span: text for value, text in texts.items()}
    return ((values - low) / span).fillna(MISSING).round(4).to_numpy(), ticks
