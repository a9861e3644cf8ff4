"""What the pictures of a study share: panels a group, rows and marks a method, legends, names that fit."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dmws_lite.runtime.text import plain
from dmws_lite.studies.statistics import GROUP, LEVEL, titles
from dmws_lite.views.picture import MARKERS, PALETTE, Picture, bare, literal, picture
from dmws_lite.views.run_figures import DISTINCT

if TYPE_CHECKING:
    import pandas as pd

MARKS = "os^DvP<X>p"  # filled for the first ten methods, hollow for the next ten
COLUMNS = 3  # panels in a row: text stays readable
Style = dict[str, Any]


def styles(table: pd.DataFrame, reference: str | None = None) -> dict[str, Style]:
    """Colour, mark and line of each method by its place in the table; the reference is black and dotted."""
    found: dict[str, Style] = {}
    for i, name in enumerate(name for name in labels_of(table) if name != reference):
        colour = DISTINCT[i % (len(DISTINCT) - 1)]
        face = colour if i // len(MARKS) % 2 == 0 else "white"
        line = ("-", "--", "-.")[i % 3]
        found[name] = {"color": colour, "marker": MARKS[i % len(MARKS)], "markerfacecolor": face, "linestyle": line}
    if reference is not None:
        found[reference] = {"color": "#000000", "marker": "*", "markerfacecolor": "#000000", "linestyle": ":"}
    return found


def forest(
    panels: Sequence[tuple[str, pd.DataFrame, dict[str, np.ndarray]]],
    labels: dict[str, str],
    centre: str,
    xlabel: str,
    zero: bool = False,
) -> Picture:
    """A row a method, a panel a group: centre and interval from the rows, and the value of every seed."""
    figure, grid = grid_of(len(panels), 1.0 + 0.29 * len(labels), sharey=True)
    at = {name: row for row, name in enumerate(labels)}
    for axes, (title, rows, seeds) in zip(grid, panels, strict=True):
        for line in rows.to_dict("records"):
            row, values = at[line["method"]], seeds[line["method"]]
            filled = not zero or is_shown(line)
            axes.plot([line["low"], line["high"]], [row, row], **interval_bar())
            axes.plot(values, np.full(len(values), row + 0.24), **seed_dots())
            face = PALETTE["main"] if filled else "white"
            axes.plot(line[centre], row, "D", color=PALETTE["main"], markerfacecolor=face, markersize=5)
        shown = np.concatenate([[0.0 if zero else rows[centre].mean()], *(seeds[name] for name in rows["method"])])
        room = max(float(np.ptp(shown)), 0.01)  # an interval of two seeds may be far wider: it leaves the frame
        left, right = axes.get_xlim()
        axes.set_xlim(max(left, shown.min() - 1.5 * room), min(right, shown.max() + 1.5 * room))
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        if zero:
            axes.axvline(0, color=PALETTE["teacher"], linewidth=1)
        axes.set_title(named(title, 34, lines=3), fontsize=9)
    grid[0].set_yticks(range(len(labels)), [named(label, 28) for label in labels.values()], fontsize=8)
    grid[0].set_ylim(len(labels) - 0.4, -0.6)
    finish(figure, grid, xlabel, None)
    return figure


def is_shown(found: Any) -> Any:
    """Whether a difference, or each of a table, has a corrected p below LEVEL and an interval without 0."""
    return (found["p_holm"] < LEVEL) & ((found["low"] > 0) | (found["high"] < 0))


def panels_of(table: pd.DataFrame, by: Sequence[str] = GROUP) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each group of a table, in its order, with the group's title."""
    keys = [key for key in by if key in table]
    if keys:
        yield from table.groupby(np.array(titles(table[keys])), sort=False)
    else:
        yield "", table


def part_of(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The runs of the group that the rows are about."""
    keys = [key for key in GROUP if key in table]
    return table.merge(rows[keys].drop_duplicates(), on=keys) if keys else table


def labels_of(table: pd.DataFrame) -> dict[str, str]:
    """The label of each method, in the table's order."""
    return dict(table.drop_duplicates("method")[["method", "label"]].itertuples(index=False, name=None))


def halves(rows: pd.DataFrame) -> np.ndarray:
    """Lengths of the intervals below and above the mean, (2, row); nan where there is none."""
    return np.stack([rows["mean"] - rows["low"], rows["high"] - rows["mean"]])


def extremes(rows: pd.DataFrame, column: str, form: str) -> str:
    ordered = rows.dropna(subset=[column]).sort_values(column, kind="stable")
    ends = dict.fromkeys(f"{row['label']} {form.format(row[column])}" for _, row in ordered.iloc[[0, -1]].iterrows())
    return " to ".join(ends)


def named(text: str, width: int, lines: int = 2) -> str:
    """A name on few lines, broken at spaces and underscores, in which matplotlib finds no formula."""
    loose = plain(text).replace("_", "_ ").replace(" %", "\N{NO-BREAK SPACE}%")
    return literal("\n".join(textwrap.wrap(loose, width, max_lines=lines, placeholder="…")).replace("_ ", "_"))


def in_words(metric: str) -> str:
    return metric.replace("_", " ")


def interval_bar() -> Style:
    return {"color": PALETTE["main"], "linewidth": 3, "alpha": 0.35, "solid_capstyle": "butt"}


def seed_dots() -> Style:
    return {"linestyle": "none", "marker": MARKERS["main"], "color": PALETTE["random"], "markersize": 3}


def grid_of(
    n: int, height: float, legend: int = 0, columns: int = COLUMNS, **options: Any
) -> tuple[Picture, list[Axes]]:
    """n panels, each `height` inches high, with room for a legend of so many entries."""
    rows, columns = -(-n // columns), min(n, columns)
    figure, grid = picture(0.5 + rows * height + 0.17 * -(-legend // 3), rows, columns, squeeze=False, **options)
    for axes in grid.flat[n:]:
        axes.set_visible(False)
    return figure, list(grid.flat[:n])


def finish(figure: Picture, grid: list[Axes], xlabel: str | None, ylabel: str | None) -> None:
    """Lines behind the data, small ticks, and each label once: below all panels, and left of each row."""
    for axes in grid:
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        bare(axes, left=True)
        place = axes.get_subplotspec()
        if ylabel and place is not None and place.is_first_col():
            axes.set_ylabel(ylabel, fontsize=9)
    if xlabel:
        figure.supxlabel(xlabel, fontsize=9)


def add_legend(figure: Picture, grid: Sequence[Axes]) -> None:
    """One legend for all panels, above them."""
    found: dict[str, Any] = {}
    for axes in grid:
        handles, labels = axes.get_legend_handles_labels()
        found |= {label: handle for handle, label in zip(handles, labels, strict=True) if label not in found}
    if found:
        short = sum(len(name) + 8 for name in found) < 100
        options: Style = {"ncols": len(found) if short else 3, "frameon": False, "fontsize": 8}
        names = [named(name, 40) for name in found]
        figure.legend(found.values(), names, loc="outside upper center", **options)
