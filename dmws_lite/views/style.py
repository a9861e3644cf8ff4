"""What all figures share: seaborn's theme (set at import), alt text, panels, legends and saving."""

from __future__ import annotations

import base64
import io
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.text import plain

# Okabe & Ito's colours differ for any colour vision. Each comes with a mark, so that print in gray works too.
PALETTE = {"teacher": "#4D4D4D", "main": "#0072B2", "auxiliary": "#E69F00", "random": "#999999", "reference": "#000000"}
MARKERS = {"teacher": "s", "main": "o", "auxiliary": "^", "random": "X", "reference": "*"}
LINES = {"teacher": ":", "main": "-", "auxiliary": "--", "random": "-.", "reference": ":"}
HATCHES = {"teacher": "", "main": "", "auxiliary": "///", "random": "..."}
FURTHER = ("#009E73", "#CC79A7", "#56B4E9")  # third and later students, or runs that are neither main nor auxiliary
DISTINCT = (*FURTHER, "#D55E00", "#882255")
MARKS = (*"os^DvP<X>pdh8H", (4, 1, 0), (4, 1, 45), (3, 1, 0), (3, 1, 60), (5, 1, 36), (6, 1, 0))
DASHES: dict[str, Any] = {"-": "", "--": (4, 1.5), "-.": (4, 1.5, 1, 1.5), ":": (1, 1.5)}  # as seaborn wants them
SHARED, UNUSED = "#222222", "#F0F0F0"
MOST_DESCRIBED = 12  # lines whose ends an alt text names one by one
WIDTH = 8.0  # inches: with the sizes of seaborn's context "paper", text is readable in a narrow window too
Style = dict[str, Any]

THEME: Style = {"axes.grid": True, "grid.color": "#E6E6E6", "axes.spines.top": False, "axes.spines.right": False}
THEME |= {"legend.frameon": False, "font.size": 8.8, "hatch.linewidth": 1.5}
THEME |= {"lines.markersize": 6.5, "lines.linewidth": 1.4, "lines.markeredgewidth": 0.4}
THEME["image.interpolation"] = "nearest"  # the pixels that a network sees; half the bytes of a smoothed picture
sns.set_theme("paper", "ticks", [PALETTE["main"], PALETTE["auxiliary"], *DISTINCT], font="DejaVu Sans", rc=THEME)


class Picture(Figure):
    """A matplotlib figure with alt text, which notebooks, screen readers and HTML exports receive with the image."""

    alt_text: str = ""

    def describe(self, heading: str, *facts: str) -> Picture:
        """The figure, with its alt text: a heading, and facts from the figure's data."""
        self.alt_text = f"{heading}. {'; '.join(facts)}." if facts else f"{heading}."
        return self

    def png(self, dpi: int = 110) -> bytes:
        """The picture as PNG; its alt text is in the file's Description."""
        buffer = io.BytesIO()
        with warnings.catch_warnings():  # names of data sets may hold letters that the font lacks: a box is enough
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            self.savefig(buffer, dpi=dpi, metadata={"Description": self.alt_text})
        return buffer.getvalue()

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        image = base64.b64encode(self.png()).decode()
        return {"image/png": image, "text/plain": self.alt_text}, {"image/png": {"alt": self.alt_text}}


def picture(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Picture, Any]:
    """An empty Picture, `height` inches high, and its axes, as `Figure.subplots` gives them."""
    figure = Picture(figsize=(WIDTH, height), layout=options.pop("layout", "constrained"))
    return figure, figure.subplots(rows, columns, **options)


def panels(n: int, height: float, legend: int = 0, columns: int = 3, **options: Any) -> tuple[Picture, list[Axes]]:
    """A Picture of n panels (4 are 2 by 2), each `height` inches high, with room for a legend of so many entries."""
    columns = min(n, 2 if n == 4 else columns)
    rows = -(-n // columns)
    figure, grid = picture(0.5 + rows * height + 0.2 * -(-legend // 3), rows, columns, squeeze=False, **options)
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    for axes in grid.flat[max(0, n - columns) : n]:  # shared numbers stand below the lowest panel that is there
        axes.xaxis.set_tick_params(labelbottom=True)
    return figure, list(grid.flat[:n])


def sheet(
    rows: Sequence[Sequence[np.ndarray]], names: Sequence[str], titles: Sequence[str] = ()
) -> tuple[Picture, Axes]:
    """A Picture of images in rows and columns, and its axes; arguments as in `tiles`."""
    size = WIDTH / (max(min(len(rows), 3), *map(len, rows)) + 0.8)
    figure, axes = picture(0.5 + size * len(rows), layout="compressed")
    tiles(axes, rows, names, titles)
    return figure, axes


def tiles(axes: Axes, rows: Sequence[Any], names: Sequence[str], titles: Sequence[str] = ()) -> None:
    """Images (1 or 3, H, W), 0 to 255, a row for each name, a title above each column; each is at its `square`."""
    clear(axes)
    for y, images in enumerate(rows):
        for x, image in enumerate(images):
            axes.imshow(gray_or_rgb(image), cmap="gray", vmin=0, vmax=255, extent=square(x, y))
    axes.set(xlim=(0, max(map(len, rows))), ylim=(len(rows), 0))
    axes.set_yticks(np.arange(len(names)) + 0.5, names)
    axes.set_xticks(np.arange(len(titles)) + 0.5, titles)
    axes.tick_params(labeltop=True, labelbottom=False)


def square(x: int, y: int) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the image in column x and row y of `tiles`."""
    return x + 0.03, x + 0.97, y + 0.97, y + 0.03


def clear(*grid: Axes) -> None:
    """Take away ticks, frames and grid lines; ticks that come back have no length."""
    for axes in grid:
        axes.set(xticks=[], yticks=[])
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)


def gray_or_rgb(image: np.ndarray) -> np.ndarray:
    """An image (1 or 3, H, W) as matplotlib draws it, (H, W) or (H, W, 3)."""
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def encode_image(image: np.ndarray, kind: str = "png", **options: Any) -> str:
    """An image (1 or 3, H, W), uint8, as a file of this kind, in base64."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(gray_or_rgb(image))).save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def finish(figure: Picture, grid: Sequence[Axes], xlabel: str = "", ylabel: str = "") -> None:
    """Each label once (below all panels, left of each row), and one legend above."""
    for axes in grid:
        position = axes.get_subplotspec()
        axes.set(xlabel="", ylabel=ylabel if position and position.is_first_col() else "")
    figure.supxlabel(xlabel, fontsize=9.6)
    add_legend(figure, grid)


def add_legend(figure: Picture, grid: Iterable[Axes]) -> None:
    """One legend for all panels in place of their own, above them, if anything in them has a label."""
    handles: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
        if legend := axes.get_legend():
            legend.remove()
    if handles:
        names = [wrapped(label, 40) for label in handles]
        columns = min(len(names), max(1, 116 // (8 + max(map(len, names)))))
        figure.legend([*handles.values()], names, loc="outside upper center", ncols=columns)


def curves(
    table: pd.DataFrame,
    x: str,
    y: str,
    by: str,
    panel: str | None = None,
    words: str = "",
    *,
    look: Style | None = None,
    drawn: Style | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    level: tuple[float, str] | None = None,
    height: float = 2.5,
    columns: int = 3,
    **options: Any,
) -> Picture:
    """Means of y over x, one line for each value of the column `by`, one panel for each value of the column `panel`.

    words: how the alt text begins, which goes on with numbers from the lines.
    look:  by the values of `by`; None takes `looks` of them.
    drawn: options of `seaborn.lineplot`, such as errorbar. Columns low and high of the table are drawn as bars.
    level: a y with its name, drawn as a dotted line.
    Other options go to `Figure.subplots`. Raises ValueError for a table without rows.
    """
    if table.empty:
        raise ValueError("the table has no rows: there is nothing to draw")
    table, panel = (table, panel) if panel else (table.assign(panel=""), "panel")
    names, titles = list(table[by].unique()), table[panel].unique()
    look = look or looks(names)
    line_options: Style = {"hue_order": names, "style_order": names, "errorbar": None, "err_style": "bars"}
    line_options |= look | (drawn or {})
    figure, grid = panels(len(titles), height, len(names), columns, **{"sharex": True, "sharey": True} | options)
    for axes, title in zip(grid, titles, strict=True):
        rows = table[table[panel] == title]
        sns.lineplot(rows, x=x, y=y, hue=by, style=by, ax=axes, **line_options)
        if "low" in table:
            axes.vlines(rows[x], rows["low"], rows["high"], rows[by].map(look["palette"]), linewidth=1)
        if level:
            axes.axhline(level[0], color=PALETTE["teacher"], linestyle=":", linewidth=1)
            if axes is grid[0]:
                note(axes, table[x].min(), *level, (0, 2), va="bottom")
        axes.set_title(wrapped(str(title), 34 if columns > 2 else 52))
        if pd.api.types.is_integer_dtype(table[x]):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    finish(figure, grid, x if xlabel is None else xlabel, y if ylabel is None else ylabel)
    means = table.groupby([panel, by, x], sort=False)[y].mean().dropna()
    ends = means.groupby([panel, by], sort=False).agg(["first", "last"])
    return figure.describe(words, _describe_ends(ends))


def _describe_ends(lines: pd.DataFrame) -> str:
    """First and last value of each line, by panel and name; of too many lines the lowest and highest last one."""
    if len(lines) > MOST_DESCRIBED:
        by_panel = lines["last"].groupby(level=0, sort=False)
        texts = [f"{panel}: {extremes(values.droplevel(0))}".removeprefix(": ") for panel, values in by_panel]
        return "At the end: " + "; ".join(texts)
    texts = [f"{panel}, {name}: {first:.2f} to {last:.2f}" for (panel, name), first, last in lines.itertuples()]
    return "; ".join(text.removeprefix(", ") for text in texts)


def forests(
    values: pd.DataFrame,
    means: pd.DataFrame,
    value: str,
    words: str,
    *,
    xlabel: str = "",
    title: str = "",
    level: tuple[float, str] | None = None,
    form: str = ".3f",
) -> Picture:
    """Values as dots, and above them their mean as a diamond on its interval: a panel per group, a row per method.

    values: one row per dot, columns group, method and `value`.
    means:  one row per diamond, columns group, method, label, mean, low, high; where it has them, text (written above
            the diamond), filled (False is hollow) and role (whose colour it has: that of "main" otherwise).
    words:  how the alt text begins, which goes on with the means, their `form` in words.
    level:  a value with its name, drawn as a dotted line.
    A group or a method without any value is left out. Raises ValueError where no row has one.
    """
    means = pd.DataFrame({"filled": True, "role": "main", "text": ""}, means.index).assign(**means)
    labels, means = dict(zip(means["method"], means["label"], strict=True)), means.dropna(subset="mean")
    if means.empty:
        raise ValueError(f"no row of the table has a value of {value!r}: there is nothing to draw")
    groups, measured = list(means["group"].unique()), {*means["method"]}
    labels = {method: label for method, label in labels.items() if method in measured}
    height = 0.5 if means["text"].any() else 0.29
    figure, grid = panels(len(groups), 1.0 + height * len(labels), sharey=True)
    for axes, group in zip(grid, groups, strict=True):
        dots, rows = values[values["group"] == group], means[means["group"] == group]
        look: Style = {"color": PALETTE["random"], "size": 4, "zorder": 2, "jitter": False}
        sns.stripplot(dots, x=value, y="method", order=labels, ax=axes, **look)
        heights, colours = rows["method"].map(list(labels).index) - 0.22, rows["role"].map(PALETTE)
        axes.hlines(heights, rows["low"], rows["high"], color=colours, linewidth=3, alpha=0.35)
        faces = colours.where(rows["filled"], "white")
        axes.scatter(rows["mean"], heights, 30, marker="D", facecolors=faces, edgecolors=colours, zorder=3)
        for x, y, text in zip(rows["mean"], heights, rows["text"], strict=True):
            note(axes, x, y, text, (0, 5), ha="center", va="bottom")
        if level:
            axes.axvline(level[0], color=PALETTE["teacher"], linestyle=":", linewidth=1)
            note(axes, level[0], -0.85, level[1])
        if len(dots):  # an interval of two seeds may be far wider: it is cut off
            visible = [*dots[value].dropna(), *(level or ())[:1]]
            left, right = axes.get_xlim()
            margin = 1.5 * max(float(np.ptp(visible)), 0.01)
            axes.set_xlim(max(left, min(visible) - margin), min(right, max(visible) + margin))
        axes.set(ylim=(len(labels) - 0.5, -1.0), title=wrapped(group, 34, lines=3))
        axes.xaxis.set_major_locator(MaxNLocator(4 if len(groups) > 1 else 8, steps=[1, 2, 5, 10]))
    grid[0].set_yticks(range(len(labels)), [wrapped(label, 28) for label in labels.values()])
    finish(figure, grid, xlabel)
    if title:
        figure.suptitle(title, fontsize="medium")
    lines = [f"dotted line: {level[1]} {level[0]:.3f}"] if level and level[1] else []
    return figure.describe(words, *_describe_means(means, form), *lines)


def _describe_means(means: pd.DataFrame, form: str) -> Iterator[str]:
    """The means of each group with half of their intervals; of too many the smallest and the largest."""
    for group, rows in means.groupby("group", sort=False):
        text = extremes(rows.set_index("label")["mean"], form)
        if len(means) <= MOST_DESCRIBED:
            numbers = rows["mean"].map(f"{{:{form}}}".format) + (rows["high"] - rows["mean"]).map(" ± {:.3f}".format)
            text = ", ".join(rows["label"] + " " + numbers.str.removesuffix(" ± nan"))
        yield f"{group}: {text}".removeprefix(": ")


def heat(axes: Axes, table: pd.DataFrame, texts: Any = False, **options: Any) -> None:
    """A table of shares as a heat map, white to blue; `texts` are written into the cells (True: the shares)."""
    number_format = ".2f" if texts is True else ""
    look: Style = {"cmap": "Blues", "vmin": 0, "vmax": 1, "annot": texts, "fmt": number_format, "cbar": False}
    sns.heatmap(table, ax=axes, **look | options)
    axes.tick_params(length=0, rotation=0)
    axes.grid(False)


def bars(axes: Axes, table: pd.DataFrame, fills: Mapping[str, tuple[str, str]], kind: str = "bar", **options: Any):
    """One bar for each row and column of a table, side by side or stacked; fills: colour and hatch by column."""
    colours = [fills[name][0] for name in table]
    table.plot(kind=kind, ax=axes, color=colours, rot=0, legend=False, **{"width": 0.8, "xlabel": "", **options})
    for group, name in zip(axes.containers, table, strict=True):
        for bar in group:
            bar.set_hatch(fills[name][1])


def looks(names: Iterable[str], roles: Mapping[str, str] | None = None) -> Style:
    """Colour, marker and dashes of each name, as seaborn's palette, markers and dashes.

    They are those of the name's role (by default the name itself, where it is one), or else the next ones.
    """
    names = list(dict.fromkeys(names))
    roles = {name: name for name in names if name in PALETTE} if roles is None else roles
    palette, markers, lines = ({n: table[role] for n, role in roles.items()} for table in (PALETTE, MARKERS, LINES))
    marks = [mark for mark in MARKS if mark not in markers.values()]
    for i, name in enumerate(name for name in names if name not in roles):
        palette[name] = DISTINCT[i % len(DISTINCT)]
        markers[name] = marks[i % len(marks)]
        lines[name] = ("-", "--", "-.")[i % 3]
    return {"palette": palette, "markers": markers, "dashes": {name: DASHES[line] for name, line in lines.items()}}


def students(n: int) -> dict[str, str]:
    """Name and colour of each student: main, auxiliary, auxiliary 2, ... (from the sixth on colours repeat)."""
    names = ["main", "auxiliary", *(f"auxiliary {i}" for i in range(2, n))][:n]
    return dict(zip(names, [PALETTE["main"], PALETTE["auxiliary"], *FURTHER * n], strict=False))


def note(axes: Axes, x: float, y: float, text: str, offset: tuple[int, int] = (4, 0), **options: Any) -> None:
    """Text beside a point, `offset` in points away from it."""
    axes.annotate(text, (x, y), offset, **{"textcoords": "offset points", "va": "center"} | options)


def literal(text: str) -> str:
    """Text that matplotlib does not take for a formula: names of classes may hold dollars."""
    return text.replace("$", r"\$")


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """A name on few lines, broken at spaces and underscores; matplotlib does not take it for a formula."""
    breakable = plain(text).replace("_", "_ ").replace(" %", "\N{NO-BREAK SPACE}%")
    text = "\n".join(textwrap.wrap(breakable, width, max_lines=lines, placeholder="…"))
    return literal(text.replace("_ ", "_"))


def shortened(text: str, length: int) -> str:
    """A text without its middle where it is longer: names of networks and files differ at both ends."""
    return plain(text if len(text) <= length else f"{text[: length // 2]}…{text[1 - length // 2 :]}")


def listed(values: Mapping[Any, float] | pd.Series, form: str = ".2f") -> str:
    """Names with their numbers, for alt texts.

    >>> listed({"main": 0.5, "auxiliary": 0.25})
    'main 0.50, auxiliary 0.25'
    """
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())


def extremes(values: pd.Series, form: str = ".2f") -> str:
    """The smallest and the largest of values by name, for alt texts.

    >>> extremes(pd.Series({"main": 0.5, "auxiliary": 0.25, "teacher": 0.4}))
    'auxiliary 0.25 to main 0.50'
    """
    ordered = values.dropna().sort_values(kind="stable")
    if ordered.empty:
        return "no value"
    return " to ".join(dict.fromkeys(f"{name} {value:{form}}" for name, value in ordered.iloc[[0, -1]].items()))


def styled(table: pd.DataFrame) -> Any:
    """A table's pandas Styler that shows texts as they are: names of classes and files are not to act as HTML.

    >>> "&lt;img" in styled(pd.DataFrame({"<b>": ["<img src=x onerror=alert(1)>"]})).to_html()
    True
    """

    def escaped(value: Any) -> Any:
        return escape(value, quote=False) if isinstance(value, str) else value

    return table.map(escaped).rename(index=escaped, columns=escaped).style


def save(figure: Picture, folder: str | Path, name: str) -> Picture:
    """Write `folder/name.png` and return the figure. Raises OSError when it can't be written."""
    path = writable_folder(folder) / f"{name}.png"
    write_atomically(path, lambda part: part.write_bytes(figure.png(dpi=150)))
    return figure
