"""Pictures of runs, of images in a network's features, and of volumes, to explore: see `views.interactive`."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image

from dmws_lite.data.images import decode, frames, suffix_of
from dmws_lite.views import style
from dmws_lite.views.interactive import Interactive, choices, interactive, slider
from dmws_lite.views.studies import cost_accuracy, labels_of

COSTS = {  # column of a table of runs: name, unit
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
MISSING = -0.15  # where a missing value lies, on an axis from 0 to 1
FITTED = {"fitted": "images of the fit", "others": "other images"}  # columns of explore_ridge


def explore_costs(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> Interactive:
    """Each run's result against what it cost, with all of its settings under the mouse; a list chooses the cost.

    table:     one row per run, as `Store.table` gives it; without the metric or the cost it has no mark.
    reference: a method drawn as a black star.
    """
    costs = {name: COSTS[name] for name in COSTS if name in table and table[name].notna().any()}
    labels = labels_of(table)
    looks = style.looks(labels.values(), {labels[reference]: "reference"} if reference in labels else {})
    parts = [(label, table[table["method"] == method]) for method, label in labels.items()]
    first, traces = next(iter(costs)), []
    for label, runs in parts:
        mark = {"color": looks[label]["color"], "symbol": SYMBOLS[looks[label]["marker"]], "size": 10}
        told = {"text": [_settings(run) for _, run in runs.iterrows()], "hovertemplate": "%{text}<extra></extra>"}
        values = {"x": _plain(runs[first] / COSTS[first][1]), "y": _plain(runs[metric])}
        traces.append(go.Scatter(mode="markers", name=escape(label), marker=mark, **values, **told))
    options = {
        name: [{"x": [_plain(runs[column] / unit) for _, runs in parts]}, {"xaxis.title.text": name}]
        for column, (name, unit) in costs.items()
    }
    axes: dict[str, Any] = {"xaxis": {"title": {"text": costs[first][0]}, "rangemode": "tozero", "zeroline": False}}
    axes["yaxis"] = {"title": {"text": metric.replace("_", " ")}, "zeroline": False}
    legend = {"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0}
    layout = {**axes, "legend": legend, "updatemenus": choices("update", options)}
    title = "Each run: result against cost"
    return interactive(cost_accuracy(table, metric, reference), traces, title, 520, **layout)


def explore_runs(table: pd.DataFrame, metric: str = "accuracy") -> Interactive:
    """All runs as lines through their settings, costs and results; drag along an axis to keep some of them.

    table: one row per run, as `Store.table` gives it. A column that is the same everywhere has no axis; a missing value
           lies at the axis' foot, marked as missing. Colour is the metric, from pale to dark.
    """
    scaled = {name: table[name] / unit for name, (_, unit) in COSTS.items() if name in table}
    table = table.assign(**scaled).reset_index(drop=True)
    columns = [name for name in RUN_AXES if name in table and table[name].nunique() > 1 and name != metric]
    axes = {name: _axis(table[name]) for name in [*columns, metric]}
    numbers = {"label": axes.pop("label")} if "label" in axes else {}
    axes = numbers | {"run": _axis(pd.Series(range(1, len(table) + 1)))} | axes
    dimensions = [_dimension(name, places, ticks) for name, (places, ticks) in axes.items()]
    scale = [[0, "#CFE2F1"], [1, "#08306B"]]
    line = {"color": axes[metric][0].tolist(), "colorscale": scale, "cmin": 0, "cmax": 1}
    trace = go.Parcoords(dimensions=dimensions, line=line, labelangle=-20, tickfont={"size": 10})
    margin = {"l": 150, "r": 50, "t": 120, "b": 30}
    title = f"{len(table)} runs; dark: high {metric.replace('_', ' ')}"
    return interactive(_lines(table, axes, metric), [trace], title, 500, margin=margin)


def explore_features(table: pd.DataFrame) -> Interactive:
    """Test images in the plane of each network's two main directions, a panel for each; a slider over training steps.

    table: as `representations.in_plane` gives it. Colour and mark are the class, a hollow mark is a wrong answer; hover
           tells class, answer, and the image's file and number. A network without steps stays where it is.
    """
    table = table.assign(right=table["class"] == table["answer"])
    networks, classes = list(table["network"].unique()), list(dict.fromkeys(sorted(table["class"])))
    steps = sorted(table["step"].dropna().unique())
    last = table[table["step"].isna() | (table["step"] == (steps[-1] if steps else 0))]
    traces, names = [], [(network, name) for network in networks for name in classes]
    for network, name in names:
        own = last[(last["network"] == network) & (last["class"] == name)]
        colour = style.DISTINCT[classes.index(name) % len(style.DISTINCT)]
        panel = "" if network == networks[0] else str(networks.index(network) + 1)
        told = [f"{escape(file)} (image {image})" for file, image in zip(own["file"], own["image"], strict=True)]
        hover = f"%{{text}}<br>class: {escape(name)}<br>{escape(network)} says: %{{customdata}}<extra></extra>"
        place = {"xaxis": f"x{panel}", "yaxis": f"y{panel}", "legendgroup": name, "showlegend": panel == ""}
        look = {"mode": "markers", "name": escape(name), "text": told, "hovertemplate": hover}
        traces.append(go.Scatter(**_points(own, classes.index(name), colour), **place, **look))
    moving = [i for i, (network, _) in enumerate(names) if table.loc[table["network"] == network, "step"].notna().any()]
    pictures = []
    for step in steps:
        now = table[table["step"] == step].groupby(["network", "class"])
        data = [go.Scatter(**_points(now.get_group(names[i]), classes.index(names[i][1]))) for i in moving]
        pictures.append(go.Frame(name=str(int(step)), data=data, traces=moving))
    layout = _panels(table, networks)
    if len(steps) > 1:
        layout["sliders"] = slider([frame.name for frame in pictures], "training step: ", len(steps) - 1)
    title = "Test images by what each classifier reads of them; hollow: a wrong answer"
    return interactive(_planes(last, networks, classes), traces, title, 500, pictures, **layout)


def explore_ridge(table: pd.DataFrame, alone: float) -> Interactive:
    """The error of a least-squares fit over its ridge, on the fit's images and on others; a slider over their number.

    table: one row per number of images and ridge: images, ridge (above 0), and the errors (above 0) fitted and others.
    alone: the error without a fit, drawn as a line.
    """
    rows = table.melt(["images", "ridge"], list(FITTED), "on", "error").replace({"on": FITTED})
    rows = rows.assign(number=rows["images"].astype(str) + " images")
    names = [*FITTED.values(), "selection alone"]
    options: dict[str, Any] = {"look": style.looks(names, dict(zip(names, ("main", "auxiliary"), strict=False)))}
    options |= {"level": (alone, names[-1]), "xlabel": "λ", "ylabel": "error"}
    twin = style.curves(rows, "ridge", "error", "on", "number", "Error over λ by number of images", **options)
    twin.axes[0].set(xscale="log", yscale="log")
    pictures, ends = [], [float(rows["ridge"].min()), float(rows["ridge"].max())]
    for number, own in rows.groupby("number", sort=False):
        lines = {name: own[own["on"] == name] for name in names[:-1]}
        data = [{"x": _plain(line["ridge"]), "y": _plain(line["error"]), "name": name} for name, line in lines.items()]
        data.append({"x": ends, "y": [alone, alone], "name": names[-1]})
        pictures.append(go.Frame(name=number, data=[go.Scatter(**one) for one in data]))
    marks = zip(
        (style.PALETTE["main"], style.PALETTE["auxiliary"], style.PALETTE["teacher"]),
        ("solid", "dash", "dot"),
        strict=True,
    )
    traces = [
        go.Scatter(first, line={"color": colour, "dash": dash}, hovertemplate="λ %{x}: error %{y:.4f}")
        for first, (colour, dash) in zip(pictures[0].data, marks, strict=True)
    ]
    low, high = np.log10([min(alone, rows["error"].min()) / 1.3, max(alone, rows["error"].max()) * 1.3])
    layout: dict[str, Any] = {"xaxis": {"type": "log", "title": {"text": "λ"}, "exponentformat": "power"}}
    layout["yaxis"] = {"type": "log", "title": {"text": "error"}, "range": [float(low), float(high)]}
    layout["sliders"] = slider([frame.name for frame in pictures], "fitted on ")
    return interactive(twin, traces, "Error over λ, by the number of images", 480, pictures, **layout)


def explore_slices(file: str | Path, size: int = 128, most: int = 24) -> Interactive:
    """The slices of one file (NIfTI, multi-frame DICOM, multi-page TIFF), with a slider; hover tells gray values.

    size: pixels per side, as networks get them. most: of more slices, so many are taken, evenly spread.
    Raises ValueError for a file that cannot be read, with the reason.
    """
    file, count = Path(file), frames(file)
    numbers = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    data = file.read_bytes()
    slices = [style.gray_or_rgb(decode(data, suffix_of(file), size, frame=number).image) for number in numbers]
    told = "row %{y}, column %{x}: %{z[0]}<extra></extra>"
    traces = [go.Image(source=_png(one), hovertemplate=told) for one in slices]
    pictures = [go.Frame(name=str(number + 1), data=[trace]) for number, trace in zip(numbers, traces, strict=True)]
    middle = len(numbers) // 2
    bare = {"showgrid": False, "zeroline": False, "visible": False}
    layout = {"xaxis": bare, "yaxis": bare, "margin": {"l": 10, "r": 10, "t": 40, "b": 10}}
    layout["sliders"] = slider([frame.name for frame in pictures], f"slice (of {count}): ", middle)
    title = f"{file.name}: {count} slices" + f", {len(numbers)} of them shown" * (count > len(numbers))
    twin = _slices(slices, numbers, file.name, count)
    return interactive(twin, [traces[middle]], escape(title), 560, pictures, **layout)


def _settings(run: pd.Series) -> str:
    """All that is known of a run, as lines for the mouse; what is missing is left out."""
    known = run.drop("key", errors="ignore").dropna()
    lines = [f"{name.replace('_', ' ')}: {_short(value)}" for name, value in known.items() if name != "method"]
    return "<br>".join(escape(part, quote=False) for line in lines for part in textwrap.wrap(line, 70))


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _plain(values: pd.Series) -> list[float | None]:
    """Numbers for plotly: four digits are enough, and missing ones are None."""
    return [None if pd.isna(value) else float(f"{value:.4g}") for value in values]


def _axis_name(column: str) -> str:
    return "method" if column == "label" else COSTS.get(column, (column.replace("_", " "),))[0]


def _axis(values: pd.Series) -> tuple[np.ndarray, dict[float, str]]:
    """Where a column's values lie on an axis from 0 to 1, and its ticks; missing values lie below it."""
    known = values.dropna()
    if pd.api.types.is_numeric_dtype(values):
        low, high = float(known.min()), float(known.max())
        width = (high - low) or 1.0
        places, shown = (values - low) / width, sorted(known.unique())
        shown = shown if len(shown) < 5 else [low, (low + high) / 2, high]
        ticks = {(float(value) - low) / width: f"{value:.3g}" for value in shown}
    else:
        place = {kind: i / max(1, known.nunique() - 1) for i, kind in enumerate(dict.fromkeys(known))}
        names = {kind: escape(textwrap.shorten(kind, 26, placeholder="…")) for kind in place}
        places, ticks = values.map(place), {place[kind]: name for kind, name in names.items()}
    if values.isna().any():
        ticks = {MISSING: "missing"} | ticks
    return places.astype(float).fillna(MISSING).round(4).to_numpy(), ticks


def _dimension(name: str, places: np.ndarray, ticks: Mapping[float, str]) -> dict[str, Any]:
    """An axis of parallel coordinates."""
    marks = {"tickvals": list(ticks), "ticktext": list(ticks.values()), "range": [min(0, *ticks), 1]}
    return {"label": _axis_name(name), "values": places.tolist(), **marks}


def _lines(table: pd.DataFrame, axes: Mapping[str, tuple[np.ndarray, dict[float, str]]], metric: str) -> style.Picture:
    """The static twin of `explore_runs`."""
    figure, plot = style.picture(4.2)
    looks, places = style.looks(table["label"]), np.stack([places for places, _ in axes.values()], 1)
    for label, row in zip(table["label"], places, strict=True):
        colour, line = looks[label]["color"], looks[label]["linestyle"]
        plot.plot(row, color=colour, linestyle=line, marker=looks[label]["marker"], markersize=4, linewidth=0.9)
    for x, (_, ticks) in enumerate(axes.values()):
        plot.axvline(x, color=style.PALETTE["random"], linewidth=0.7, zorder=0)
        for y, text in list(ticks.items())[:12]:
            style.note(plot, x, y, style.wrapped(text, 14), fontsize=7)
    names = [style.wrapped(_axis_name(name), 14) for name in axes]
    plot.set_xticks(range(len(axes)), names)
    plot.set(yticks=[], xlim=(-0.2, len(axes) - 0.3))
    ordered = table.dropna(subset=metric).sort_values(metric, kind="stable")[["label", metric]]
    ends = " to ".join(f"{value:.3f} ({label})" for label, value in ordered.values[:: max(1, len(ordered) - 1)])
    axis_names = ", ".join(map(_axis_name, axes))
    figure.alt_text = (
        f"{len(table)} runs as lines through {axis_names}. {_axis_name(metric).capitalize()} goes from {ends}."
    )
    return figure


def _points(rows: pd.DataFrame, number: int, colour: str | None = None) -> dict[str, Any]:
    """Places, marks and answers of one network's images of one class, the class' number being `number`."""
    symbol = SYMBOLS[style.MARKS[number % 10]]
    mark: dict[str, Any] = {"symbol": [symbol if right else f"{symbol}-open" for right in rows["right"]]}
    mark |= {"color": colour, "size": 7} if colour else {}
    answers = [escape(answer) for answer in rows["answer"]]
    return {"x": _plain(rows["x"]), "y": _plain(rows["y"]), "customdata": answers, "marker": mark}


def _panels(table: pd.DataFrame, networks: list[str]) -> dict[str, Any]:
    """Axes side by side, of a fixed range for each network, with its name above."""
    layout: dict[str, Any] = {"annotations": [], "margin": {"l": 20, "r": 20, "t": 90, "b": 20}}
    width = 1 / len(networks)
    for i, network in enumerate(networks):
        own, panel = table[table["network"] == network], "" if i == 0 else str(i + 1)
        for name in "xy":
            room = 0.06 * float(np.ptp(own[name])) or 1.0
            ends = [float(own[name].min()) - room, float(own[name].max()) + room]
            layout[f"{name}axis{panel}"] = {"range": ends, "showticklabels": False, "zeroline": False, "ticks": ""}
        layout[f"xaxis{panel}"] |= {"domain": [i * width + 0.01, (i + 1) * width - 0.01], "anchor": f"y{panel}"}
        layout[f"yaxis{panel}"] |= {"anchor": f"x{panel}"}
        dot = f'<span style="color:{style.PALETTE[network]}">■</span> ' if network in style.PALETTE else ""
        text = {"text": dot + escape(network), "x": (i + 0.5) * width, "y": 1, "yanchor": "bottom", "showarrow": False}
        layout["annotations"].append({**text, "xref": "paper", "yref": "paper", "font": {"size": 13}})
    layout["legend"] = {"orientation": "h", "y": 1.08, "yanchor": "bottom", "x": 0}
    return layout


def _planes(table: pd.DataFrame, networks: list[str], classes: list[str]) -> style.Picture:
    """The static twin of `explore_features`."""
    figure, grid = style.panels(len(networks), 2.6, len(classes))
    words = []
    for axes, network in zip(grid, networks, strict=True):
        own = table[table["network"] == network]
        for i, name in enumerate(classes):
            rows, colour = own[own["class"] == name], style.DISTINCT[i % len(style.DISTINCT)]
            faces = [colour if right else "white" for right in rows["right"]]
            mark = {"s": 16, "marker": style.MARKS[i % 10], "edgecolors": colour, "linewidths": 0.8}
            axes.scatter(rows["x"], rows["y"], c=faces, **mark)
            axes.scatter([], [], c=colour, label=name, **mark)
        axes.set(xticks=[], yticks=[])
        axes.set_title(style.wrapped(network, 34))
        words.append(f"{network}: {own['right'].mean():.0%} right")
    style.finish(figure, grid)
    figure.alt_text = f"Images of {', '.join(classes)} in the plane of each network's features. {'; '.join(words)}."
    return figure


def _slices(slices: list[np.ndarray], numbers: list[int], name: str, count: int) -> style.Picture:
    """The static twin of `explore_slices`: six of the slices."""
    chosen = np.unique(np.linspace(0, len(slices) - 1, min(6, len(slices))).round().astype(int))
    labels = [f"slice {numbers[i] + 1}" for i in chosen]
    figure, _ = style.sheet([[slices[i] for i in chosen]], [name], labels, 1.8)
    figure.alt_text = f"{len(chosen)} of the {count} slices of {name}, from first to last: {', '.join(labels)}."
    return figure


def _png(image: np.ndarray) -> str:
    """An image as text that a page shows."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
