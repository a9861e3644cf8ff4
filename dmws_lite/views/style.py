"""What all figures share: fixed colours and marks, a figure that carries its alt text, panels, legends and saving."""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.text import plain

# Okabe & Ito's colours: told apart with any colour vision. Each comes with a mark, so that print in gray works too.
PALETTE = {"teacher": "#4D4D4D", "main": "#0072B2", "auxiliary": "#E69F00", "random": "#999999", "reference": "#000000"}
MARKERS = {"teacher": "s", "main": "o", "auxiliary": "^", "random": "x", "reference": "*"}
LINES = {"teacher": ":", "main": "-", "auxiliary": "--", "random": "-.", "reference": ":"}
HATCHES = {"teacher": "", "main": "", "auxiliary": "///", "random": "..."}
FURTHER = ("#009E73", "#CC79A7", "#56B4E9")  # third and later students, or runs that are neither main nor auxiliary
DISTINCT = (*FURTHER, "#D55E00", "#882255")
MARKS = "os^DvP<X>p"  # filled for the first ten names, hollow for the next ten
SHARED, UNUSED = "#222222", "#F0F0F0"
WIDTH = 8.0  # inches; text is readable at this width
Style = dict[str, Any]


class Picture(Figure):
    """A matplotlib figure with alt text, which notebooks, screen readers and HTML exports receive with the image."""

    alt_text: str = ""

    def png(self, dpi: int = 110) -> bytes:
        """The picture as PNG; its alt text is in the file's Description.

        Drawn once: savefig draws twice, and an explorer would feel it.
        """
        canvas, before = FigureCanvasAgg(self), self.dpi
        self.set_dpi(dpi)
        with warnings.catch_warnings():  # names of data sets may hold letters that the font lacks: a box is enough
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            canvas.draw()
        self.set_dpi(before)
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        description, buffer = PngInfo(), io.BytesIO()
        description.add_itxt("Description", self.alt_text)
        pixels.save(buffer, "png", dpi=(dpi, dpi), pnginfo=description)
        return buffer.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        image = base64.b64encode(self.png()).decode()
        return {"image/png": image, "text/plain": self.alt_text}, {"image/png": {"alt": self.alt_text}}


def picture(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Picture, Any]:
    """An empty Picture, `height` inches high, and its axes as `Figure.subplots(rows, columns, ...)` gives them."""
    figure = Picture(figsize=(WIDTH, height), layout="constrained")
    return figure, figure.subplots(rows, columns, **options)


def placed(height: float, *places: tuple[float, float, float, float]) -> tuple[Picture, list[Axes]]:
    """An empty Picture, `height` inches high, with axes at fixed places: left, bottom, width, height as shares of it.

    Quicker than `picture`, which measures all text to find the places: for pictures that explorers draw.
    """
    figure = Picture(figsize=(WIDTH, height))
    return figure, [figure.add_axes(place) for place in places]


def panels(n: int, height: float, legend: int = 0, columns: int = 3, **options: Any) -> tuple[Picture, list[Axes]]:
    """A Picture of n panels, each `height` inches high, with room for a legend of so many entries."""
    rows, columns = -(-n // columns), min(n, columns)
    figure, grid = picture(0.5 + rows * height + 0.17 * -(-legend // 3), rows, columns, squeeze=False, **options)
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, n - columns) : n]:  # shared numbers stand below the lowest panel that is there
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, list(grid.flat[:n])


def sheet(
    rows: Iterable[Iterable[np.ndarray]], names: Sequence[str], titles: Sequence[str], height: float, **options: Any
) -> tuple[Picture, np.ndarray]:
    """A Picture of images, one row for each name, and its axes.

    rows: of each name the images, (H, W) or (H, W, 3), 0 to 255; a row may be shorter than `titles`.
    """
    figure, grid = picture(height, len(names), len(titles), squeeze=False, **options)
    for line, images, name in zip(grid, rows, names, strict=True):
        for axes, image in zip(line, images, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        line[0].set_ylabel(wrapped(name, 20), fontsize=9)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure, grid


def gray_or_rgb(image: np.ndarray) -> np.ndarray:
    """An image (1 or 3, H, W) as matplotlib draws it, (H, W) or (H, W, 3)."""
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def finish(figure: Picture, grid: Sequence[Axes], xlabel: str = "", ylabel: str = "", legend: bool = True) -> None:
    """Lines behind the data, small ticks, each label once (below all panels, left of each row), one legend above."""
    for axes in grid:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8)
        bare(axes, left=True)
        place = axes.get_subplotspec()
        if ylabel and place is not None and place.is_first_col():
            axes.set_ylabel(ylabel, fontsize=9)
    if xlabel:
        figure.supxlabel(xlabel, fontsize=9)
    if legend:
        add_legend(figure, grid)


def add_legend(figure: Picture, grid: Sequence[Axes], **options: Any) -> None:
    """One legend for all panels, above them, if anything in them has a label."""
    handles: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        names = [wrapped(name, 40) for name in handles]
        columns = min(len(names), max(1, 120 // (8 + max(map(len, names)))))
        place: Style = {"loc": "outside upper center", "ncols": columns} | options
        figure.legend(handles.values(), names, frameon=False, fontsize=8, **place)


def lines(axes: Axes, table: pd.DataFrame, x: str, y: str, by: str, look: Mapping[str, Style]) -> None:
    """A line for each value of the column `by`, with bars from low to high where the table has these columns."""
    for name, rows in table.groupby(by, sort=False):
        bars = [rows[y] - rows["low"], rows["high"] - rows[y]] if "low" in rows else None
        marks: Style = {"markersize": 5, "elinewidth": 0.8, "capsize": 2} | look[name]
        axes.errorbar(rows[x], rows[y], bars, label=str(name), **marks)


def curves(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    panel: str | None = None,
    words: str = "",
    *,
    look: Mapping[str, Style] | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    level: tuple[float, str] | None = None,
    height: float = 2.5,
    columns: int = 3,
    **options: Any,
) -> Picture:
    """Lines of y over x, one for each value of the column `by`, one panel for each value of the column `panel`.

    words: how the alt text begins, which goes on with the first and the last y of each line.
    look:  by the values of `by`; None takes `looks` of them.
    level: a y with its name, drawn as a dotted line.
    Other options go to `Figure.subplots`.
    """
    table, panel = (table, panel) if panel else (table.assign(panel=""), "panel")
    names, titles = table[by].unique(), table[panel].unique()
    options = {"sharex": True, "sharey": True} | options
    figure, grid = panels(len(titles), height, len(names), columns, **options)
    for axes, title in zip(grid, titles, strict=True):
        lines(axes, table[table[panel] == title], x, y, by, look or looks(names))
        axes.set_title(wrapped(str(title), 34 if columns > 2 else 52), fontsize=9)
        if level:
            axes.axhline(level[0], color=PALETTE["teacher"], linestyle=":", linewidth=1)
            note(axes, table[x].min(), level[0], level[1] * (axes is grid[0]), (0, 2), va="bottom")
    finish(figure, grid, x if xlabel is None else xlabel, y if ylabel is None else ylabel)
    ends = table.groupby([panel, by], sort=False)[y].agg(["first", "last"])
    parts = [f"{title}, {name}: {a:.2f} to {b:.2f}".removeprefix(", ") for (title, name), a, b in ends.itertuples()]
    figure.alt_text = f"{words}. {'; '.join(parts)}."
    return figure


def forest(axes: Axes, values: pd.DataFrame, means: pd.DataFrame, value: str = "value", by: str = "label") -> None:
    """A row for each name: all its values as dots, and above them their mean as a diamond on its interval.

    values: one row for each dot, with the columns `by` and `value`.
    means:  by name, in the order of the rows; columns mean, low, high (nan draws no interval) and, if some diamonds are
            hollow, filled.
    """
    dots: Style = {"color": PALETTE["random"], "size": 3.5, "zorder": 2, "jitter": False}
    sns.stripplot(values, x=value, y=by, order=means.index, ax=axes, **dots)
    above, colour = np.arange(len(means)) - 0.22, PALETTE["main"]
    filled = means["filled"] if "filled" in means else [True] * len(means)
    axes.hlines(above, means["low"], means["high"], color=colour, linewidth=3, alpha=0.35)
    faces = [colour if full else "white" for full in filled]
    axes.scatter(means["mean"], above, 30, marker="D", facecolors=faces, edgecolors=colour, zorder=3)
    axes.set(ylim=(len(means) - 0.5, -0.75), xlabel="", ylabel="")
    axes.set_yticks(range(len(means)), [wrapped(str(name), 30) for name in means.index], fontsize=8)


def heat(axes: Axes, table: pd.DataFrame, texts: Any = False, **options: Any) -> None:
    """A table of shares as a heat map, white to blue; `texts` are written into the cells (True: the shares)."""
    form = ".2f" if texts is True else ""
    look: Style = {"cmap": "Blues", "vmin": 0, "vmax": 1, "annot": texts, "fmt": form, "cbar": False}
    sns.heatmap(table, ax=axes, **look | options)
    axes.tick_params(length=0, labelsize=8, rotation=0)


def looks(names: Iterable[str], roles: Mapping[str, str] | None = None) -> dict[str, Style]:
    """Colour, mark and line of each name: those of its role in PALETTE, else the next; 20 differ in their marks alone.

    roles: by name; None gives each role to the name that it is.
    """
    names = list(dict.fromkeys(names))
    roles = {name: name for name in names if name in PALETTE} if roles is None else roles
    by_name = {name: role_look(role) for name, role in roles.items()}
    marks = [mark for mark in MARKS if mark not in {look["marker"] for look in by_name.values()}]
    for i, name in enumerate(name for name in names if name not in roles):
        colour, line = DISTINCT[i % len(DISTINCT)], ("-", "--", "-.")[i % 3]
        face = colour if i // len(marks) % 2 == 0 else "white"
        by_name[name] = {"color": colour, "marker": marks[i % len(marks)], "markerfacecolor": face, "linestyle": line}
    return by_name


def role_look(role: str) -> Style:
    """Colour, mark and line of "teacher", "main", "auxiliary", "random" or "reference"."""
    return {"color": PALETTE[role], "marker": MARKERS[role], "linestyle": LINES[role]}


def student_colours(n: int) -> list[str]:
    """One colour for each student: main, auxiliary, then FURTHER (which repeat)."""
    return [PALETTE["main"], PALETTE["auxiliary"], *(FURTHER[i % len(FURTHER)] for i in range(n - 2))][:n]


def student_names(n: int) -> list[str]:
    """One name for each student: main, auxiliary, auxiliary 2, ..."""
    return ["main", "auxiliary", *(f"auxiliary {i}" for i in range(2, n))][:n]


def bare(axes: Axes, *, left: bool = False, bottom: bool = True) -> None:
    """Take away the box around a plot; `left` and `bottom` say which of these sides stay."""
    for side, stays in {"top": False, "right": False, "left": left, "bottom": bottom}.items():
        axes.spines[side].set_visible(stays)


def note(axes: Axes, x: float, y: float, text: str, offset: tuple[int, int] = (4, 0), **options: Any) -> None:
    """Small text beside a point, `offset` in points away from it."""
    place: Style = {"textcoords": "offset points", "va": "center", "fontsize": 8}
    axes.annotate(text, (x, y), offset, **place | options)


def literal(text: str) -> str:
    """Text in which matplotlib finds no formula: names of classes may hold dollars."""
    return text.replace("$", r"\$")


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """A name on few lines, broken at spaces and underscores, in which matplotlib finds no formula."""
    loose = plain(text).replace("_", "_ ").replace(" %", "\N{NO-BREAK SPACE}%")
    return literal("\n".join(textwrap.wrap(loose, width, max_lines=lines, placeholder="…")).replace("_ ", "_"))


def listed(values: Mapping[Any, float] | pd.Series, form: str = ".2f") -> str:
    """Names with their numbers, for alt texts.

    >>> listed({"main": 0.5, "auxiliary": 0.25})
    'main 0.50, auxiliary 0.25'
    """
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())


def save(figure: Picture, folder: str | Path, name: str) -> Picture:
    """Write `folder/name.png`; returns the figure, so that a notebook's cell can end with it.

    Raises PermissionError or OSError when it can't be written.
    """
    path = writable_folder(folder) / f"{name}.png"
    write_atomically(path, lambda part: part.write_bytes(figure.png(dpi=150)))
    return figure
