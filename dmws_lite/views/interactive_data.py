"""Pictures of runs, of images in a network's features, and of volumes, to explore: see `views.interactive`."""

from __future__ import annotations

import base64
import math
import textwrap
from html import escape
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from PIL import Image

from dmws_lite.data.images import decode, frames, suffix_of
from dmws_lite.data.sets import ImageSet
from dmws_lite.views import style
from dmws_lite.views.interactive import Interactive, choices, interactive, slider
from dmws_lite.views.studies import cost_accuracy, labels_of, looks_of

COSTS = {  # name and unit, by the column of a table of runs
    "seconds": ("training seconds", 1),
    "flops_per_step": ("GFLOPs per step", 1e9),
    "peak_memory_mb": ("peak memory (MB)", 1),
    "parameters": ("parameters (thousands)", 1e3),
    "latency_ms": ("latency at batch 1 (ms)", 1),
}
RUN_AXES = ("label", "data", "pair", "fraction", "seed", "steps", "batch_size", "size", "device", *COSTS, "ece")
NAMES = """circle square triangle-up diamond triangle-down cross triangle-left x triangle-right pentagon diamond-tall
hexagon octagon hexagon2 star-diamond star-square star-triangle-up star-triangle-down hexagram star-square-dot"""
SYMBOLS = dict(zip(style.MARKS, NAMES.split(), strict=True)) | {"*": "star"}  # plotly's names of matplotlib's marks
TILE, SHOWN = 64, 128  # pixels per side of a thumbnail, as stored and as shown
SHADES = ("#CFE2F1", "#08306B")  # of lines, by the result: pale to dark
MISSING = -0.15  # position of a missing value on an axis from 0 to 1
FITTED = {"fitted": "images of the fit", "others": "other images"}  # columns of explore_ridge


def explore_costs(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> Interactive:
    """Each run's result against what it cost, with all of its settings under the mouse; a list chooses the cost.

    table:     one row per run, as `Store.table` gives it; without the metric or the cost it has no mark.
    reference: a method drawn as a black star.
    """
    labels, looks, traces = labels_of(table), looks_of(table, reference), []
    runs_of_methods = [table[table["method"] == method] for method in labels]
    values: dict[str, list[list[float]]] = {}  # by cost, those of each method's runs
    for column, (name, unit) in COSTS.items():
        if column in table and table[column].notna().any():
            values[name] = [_round_values(runs[column] / unit) for runs in runs_of_methods]
    first = next(iter(values))
    for label, runs, x in zip(labels.values(), runs_of_methods, values[first], strict=True):
        mark = {"color": looks[label]["color"], "symbol": SYMBOLS[looks[label]["marker"]], "size": 10}
        hover = {"text": [_describe_run(run) for _, run in runs.iterrows()], "hovertemplate": "%{text}<extra></extra>"}
        y = _round_values(runs[metric])
        traces.append(go.Scatter(mode="markers", name=escape(label), marker=mark, x=x, y=y, **hover))
    options = {name: [{"x": x}, {"xaxis.title.text": name}] for name, x in values.items()}
    layout: dict[str, Any] = {"xaxis": {"title": {"text": first}, "rangemode": "tozero", "zeroline": False}}
    layout["yaxis"] = {"title": {"text": metric.replace("_", " ")}, "zeroline": False}
    layout["legend"] = {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0}
    layout["updatemenus"] = choices("update", options)
    title, twin = "Each run: result against cost", cost_accuracy(table, metric, reference)
    return interactive(twin, traces, title, 520, **layout)


def explore_runs(table: pd.DataFrame, metric: str = "accuracy") -> Interactive:
    """All runs as lines through their settings, costs and results; drag along an axis to keep some of them.

    table: one row per run, as `Store.table` gives it. A column that is the same everywhere has no axis; a missing value
           lies at the foot of its axis, marked as missing. Colour is the metric, from pale to dark.
    """
    runs = table.reset_index(drop=True).assign(run=range(1, len(table) + 1))
    varying = [name for name in RUN_AXES if name in table and table[name].nunique() > 1 and name != metric]
    first = ["label", "run"] if "label" in varying else ["run"]
    axes = {}
    for column in [*first, *(name for name in varying if name != "label"), metric]:
        name, unit = COSTS.get(column, (column.replace("label", "method").replace("_", " "), 1))
        axes[name] = _place_values(runs[column] if unit == 1 else runs[column] / unit)
    dimensions = []
    for name, (values, ticks) in axes.items():
        dimension = {"label": name, "values": values.tolist(), "range": [min(0, *ticks), 1]}
        dimensions.append(dimension | {"tickvals": list(ticks), "ticktext": list(ticks.values())})
    *_, result = axes  # the metric
    results, _ = axes[result]
    line = {"color": results.tolist(), "colorscale": list(enumerate(SHADES)), "cmin": 0, "cmax": 1}
    trace = go.Parcoords(dimensions=dimensions, line=line, labelangle=-20, tickfont={"size": 10})
    twin = _draw_lines(axes, results)
    extremes = style.extremes(runs.set_index("label")[metric], ".3f")
    twin.alt_text = f"{len(table)} runs as lines through {', '.join(axes)}. {result.capitalize()} goes from {extremes}."
    title, margin = f"{len(table)} runs; dark: high {result}", {"l": 150, "r": 50, "t": 120, "b": 30}
    return interactive(twin, [trace], title, 500, margin=margin)


def _draw_lines(axes: dict[str, tuple[np.ndarray, dict[float, str]]], results: np.ndarray) -> style.Picture:
    """The static twin of `explore_runs`; axes: values and ticks by name; results, 0 to 1, give the lines' shades."""
    figure, plot = style.picture(4.2)
    rows = pd.DataFrame({style.wrapped(name, 14): values for name, (values, _) in axes.items()})
    colours = LinearSegmentedColormap.from_list("shades", SHADES)(results)
    look: style.Style = {"color": colours, "linewidth": 0.9, "axvlines_kwds": {"color": style.PALETTE["random"]}}
    pd.plotting.parallel_coordinates(rows.assign(number=rows.index), "number", ax=plot, **look)
    plot.get_legend().remove()
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}
    for x, (_, ticks) in enumerate(axes.values()):
        for y, text in list(ticks.items())[:12]:
            style.note(plot, x, y, style.wrapped(text, 16), fontsize=7, bbox=box)
    plot.set(yticks=[], xlim=(-0.2, len(axes) - 0.3))
    return figure


def explore_features(table: pd.DataFrame, images: ImageSet | None = None) -> Interactive:
    """Test images in the plane of each network's two main directions, a panel for each; a slider over training steps.

    table:  as `representations.in_plane` gives it. Colour and mark are the class, a hollow mark is a wrong answer;
            hovering shows class, answer, and the image's file and number. A network without steps stays where it is.
    images: those that `in_plane` got: hovering shows them, too, on the right.
    Raises ValueError for images that are not those of the table.
    """
    networks, classes = list(table["network"].unique()), sorted(table["class"].unique())
    steps = sorted(table["step"].dropna().unique()) or [0]
    moments = [table[table["step"].isna() | (table["step"] == step)].assign(step=int(step)) for step in steps]
    looks = style.looks(classes, {})
    drawn = px.scatter(
        pd.concat(moments),
        x="x",
        y="y",
        color="class",
        facet_col="network",
        animation_frame="step",
        custom_data=["answer", "image", "file"],
        category_orders={"class": classes, "network": networks},
        color_discrete_map={name: look["color"] for name, look in looks.items()},
    )
    look = {"title": None, "showticklabels": False, "zeroline": False, "matches": None, "ticks": ""}
    for column, network in enumerate(networks, 1):
        points = table[table["network"] == network]
        drawn.update_xaxes(range=_widen(points["x"]), col=column, **look)
        drawn.update_yaxes(range=_widen(points["y"]), col=column, **look)
        drawn.layout.annotations[column - 1].update(text=escape(network), font_size=13)
    every_step = [frame.data for frame in drawn.frames] or [drawn.data]
    for trace in chain(*every_step):
        network, symbol = networks[int(trace.xaxis[1:] or 1) - 1], SYMBOLS[looks[trace.name]["marker"]]
        right, name = trace.customdata[:, 0] == trace.name, escape(trace.name)
        trace.marker.update(size=7, symbol=np.where(right, symbol, f"{symbol}-open"))
        hover = f"%{{customdata[2]}} (image %{{customdata[1]}})<br>class: {name}<br>"
        hover += f"{escape(network)} says: %{{customdata[0]}}<extra></extra>"
        facts = [[escape(answer), image, escape(file)] for answer, image, file in trace.customdata]
        x, y = _round_values(trace.x), _round_values(trace.y)
        trace.update(x=x, y=y, customdata=facts, hovertemplate=hover, showlegend=False)
    legend = []  # traces of its own, whose marks are full: else a mark would be that of the first image's answer
    for name, look in looks.items():
        mark = {"color": look["color"], "symbol": SYMBOLS[look["marker"]], "size": 7}
        entry = {"x": [None], "y": [None], "mode": "markers", "marker": mark, "legendgroup": name}
        legend.append(go.Scatter(name=escape(name), **entry))
    layout: dict[str, Any] = {"margin": {"l": 20, "r": 20, "t": 90, "b": 20}, "legend": {"y": 1.08}}
    layout |= {key: drawn.layout[key] for key in drawn.layout if key.startswith(("xaxis", "yaxis", "annotations"))}
    if len(steps) > 1:
        layout["sliders"] = slider([frame.name for frame in drawn.frames], "training step: ", len(steps) - 1)
    if images is not None:
        if {*zip(table["image"], table["file"], strict=True)} != {*enumerate(images.names)}:
            raise ValueError("images are not those of the table: pass the image set that in_plane got")
        layout |= {"meta": {"thumbnails": _pack_thumbnails(images)}, "margin": layout["margin"] | {"r": SHOWN + 20}}
    title = "Test images by what each classifier reads of them; hollow: a wrong answer"
    twin, traces = _draw_planes(moments[-1], looks), [*every_step[-1], *legend]
    return interactive(twin, traces, title, 500, drawn.frames, **layout)


def _widen(values: pd.Series) -> list[float]:
    """A range that holds the values, with a margin: it stays the same at all steps."""
    margin = 0.06 * np.ptp(values) or 1.0
    return [values.min() - margin, values.max() + margin]


def _draw_planes(table: pd.DataFrame, looks: dict[str, style.Style]) -> style.Picture:
    """The static twin of `explore_features`; looks: by class."""
    networks, right = table["network"].unique(), table["class"] == table["answer"]
    figure, grid = style.panels(len(networks), 2.6, len(looks))
    options = {"hue": "class", "style": "class", "hue_order": looks, "style_order": looks, **style.semantics(looks)}
    del options["dashes"]
    for axes, network in zip(grid, networks, strict=True):
        of_network = table["network"] == network
        sns.scatterplot(table[of_network], x="x", y="y", ax=axes, s=22, linewidth=0.8, **options)
        (dots,) = axes.collections
        colours = dots.get_facecolor()
        dots.set(edgecolors=colours, facecolors=np.where(right[of_network].to_numpy()[:, None], colours, 1.0))
        axes.set(xticks=[], yticks=[], title=style.wrapped(network, 34))
    style.finish(figure, grid)
    shares = style.listed(right.groupby(table["network"], sort=False).mean(), ".0%")
    words = f"Images of {', '.join(looks)} in the plane of each network's features"
    figure.alt_text = f"{words}. Right answers: {shares}."
    return figure


def _pack_thumbnails(images: ImageSet) -> dict[str, Any]:
    """All images in one JPEG, row by row, and what beside.js needs to show each of them."""
    columns = math.ceil(math.sqrt(len(images)))
    rows, mode = -(-len(images) // columns), "L" if images.images.shape[1] == 1 else "RGB"
    sheet = Image.new(mode, (TILE * columns, TILE * rows))
    for number, image in enumerate(images.images):
        tile = Image.fromarray(np.ascontiguousarray(style.gray_or_rgb(image))).resize((TILE, TILE))
        sheet.paste(tile, (TILE * (number % columns), TILE * (number // columns)))
    return {"sprite": _encode_image(sheet, "jpeg", quality=80), "columns": columns, "side": SHOWN}


def _encode_image(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


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
        color_discrete_sequence=[line["color"] for line in look.values()],
        line_dash_sequence=["solid", "dash", "dot"],
        markers=True,
    )
    low, high = np.log10([rows["error"].min() / 1.3, rows["error"].max() * 1.3])
    layout: dict[str, Any] = {"xaxis": {"type": "log", "title": {"text": "λ"}, "exponentformat": "power"}}
    layout["yaxis"] = {"type": "log", "title": {"text": "error"}, "range": [float(low), float(high)]}
    layout["sliders"] = slider([frame.name for frame in drawn.frames], "fitted on ")
    return interactive(twin, drawn.data, "Error over λ, by the number of images", 480, drawn.frames, **layout)


def explore_slices(file: str | Path, size: int = 128, most: int = 24) -> Interactive:
    """The slices of one file (NIfTI, multi-frame DICOM, multi-page TIFF), with a slider; hovering shows gray values.

    size: pixels per side, as networks get them. most: of more slices, so many are taken, evenly spread.
    Raises ValueError for a file that cannot be read, with the reason.
    """
    file, count = Path(file), frames(file)
    numbers = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    data, slices, pictures = file.read_bytes(), [], []
    for number in numbers:
        slices.append(style.gray_or_rgb(decode(data, suffix_of(file), size, frame=number).image))
        source = _encode_image(Image.fromarray(slices[-1]), "png", optimize=True)
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
    twin, _ = style.sheet([[slices[i] for i in sample]], [file.name], labels, 1.8)
    twin.alt_text = f"{len(sample)} of the {count} slices of {file.name}, from first to last: {', '.join(labels)}."
    return interactive(twin, pictures[middle].data, escape(title), 560, pictures, **layout)


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
    distinct = values.dropna().unique()
    if pd.api.types.is_numeric_dtype(values):
        low, high = float(distinct.min()), float(distinct.max())
        span = (high - low) or 1.0
        marked = sorted(distinct) if len(distinct) < 5 else [low, (low + high) / 2, high]
        positions = (values - low) / span
        ticks = {float(value - low) / span: f"{value:.3g}" for value in marked}
    else:
        steps = {text: i / max(1, len(distinct) - 1) for i, text in enumerate(distinct)}
        positions = values.map(steps)
        ticks = {step: escape(textwrap.shorten(text, 26, placeholder="…")) for text, step in steps.items()}
    if values.isna().any():
        ticks = {MISSING: "missing"} | ticks
    return positions.astype(float).fillna(MISSING).round(4).to_numpy(), ticks
