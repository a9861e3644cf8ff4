"""Pictures of the toy: what two tiny networks believe about each place of a plane, and how they learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D

from dmws_lite.training.toy import WINDOW, Points
from dmws_lite.views.picture import LINES, MARKERS, PALETTE, Picture, bare, picture

if TYPE_CHECKING:
    import pandas as pd

BELIEF = LinearSegmentedColormap.from_list("belief", ["#E9A3C9", "#F7F7F7", "#A1D76A"])  # class 0, undecided, class 1
CLASSES: tuple[dict[str, Any], ...] = ({"marker": "v", "color": "#8E0152"}, {"marker": "^", "color": "#276419"})


def surfaces(grids: Mapping[str, Mapping[str, np.ndarray]], points: Points | None = None) -> Picture:
    """Probability of class 1 over the plane, a row a network, a column a moment or a setting; the line is one half.

    grids:  by row and column, float (resolution, resolution) from `surface`.
    points: training points, drawn with their labels; those with a wrong label are ringed.
    """
    rows, columns = list(grids), list(next(iter(grids.values())))
    figure, axes = picture(
        0.5 + len(rows) * (0.1 + 4.8 / len(columns)) + 0.4 * (points is not None),
        len(rows),
        len(columns),
        squeeze=False,
    )
    for line, row in zip(axes, rows, strict=True):
        for panel, column in zip(line, columns, strict=True):
            drawn = panel.imshow(grids[row][column], extent=WINDOW, origin="lower", cmap=BELIEF, vmin=0, vmax=1)
            if np.ptp(np.sign(grids[row][column] - 0.5)):
                panel.contour(grids[row][column], [0.5], extent=WINDOW, colors="black", linewidths=1)
            if points is not None:
                _scatter(panel, points, 9 if len(columns) > 2 else 22)
            panel.set(xticks=[], yticks=[], aspect="equal")
            panel.spines[:].set_visible(False)
        if row:
            line[0].set_ylabel(row, fontsize=10)
    for panel, column in zip(axes[0], columns, strict=True):
        panel.set_title(column, fontsize=10)
    figure.colorbar(drawn, ax=axes, shrink=0.9, pad=0.01, label="probability of class 1")
    if points is not None:
        _point_legend(figure)
    words = [f"{row} {column}".strip() + f": {_said(grids[row][column])}" for row in rows for column in columns]
    figure.alt_text = f"What networks believe over the plane. {'; '.join(words)}."
    return figure


def toy_course(courses: Mapping[str, pd.DataFrame]) -> Picture:
    """Accuracy and loss of main and auxiliary on clean points while the main student learns, one column a setting.

    courses: by title, columns step, student ("main" or "auxiliary"), accuracy, loss.
    """
    figure, grid = picture(4.4, 2, len(courses), sharex="col", sharey="row", squeeze=False)
    words = []
    for column, (title, course) in zip(grid.T, courses.items(), strict=True):
        for axes, metric in zip(column, ("accuracy", "loss"), strict=True):
            for student, rows in course.groupby("student", sort=False):
                style = {"color": PALETTE[student], "linestyle": LINES[student], "marker": MARKERS[student]}
                axes.plot(rows["step"], rows[metric], **style, label=student, markevery=0.2, markersize=5)
            axes.grid(alpha=0.3)
            bare(axes, left=True)
        column[1].axhline(np.log(2), color=PALETTE["random"], linestyle=":", linewidth=1)
        column[0].set_title(title, fontsize=10)
        column[1].set_xlabel("step")
        last = course[course["step"] == course["step"].max()]
        said = [f"{r.student} accuracy {r.accuracy:.2f}, loss {r.loss:.2f}" for r in last.itertuples()]
        words.append(f"{title}, at the end: {'; '.join(said)}")
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("loss (nats)")
    handles, labels = max((axes.get_legend_handles_labels() for axes in grid[0]), key=lambda found: len(found[1]))
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=9)
    figure.alt_text = f"Accuracy and loss on clean points during training. {'. '.join(words)}."
    return figure


def toy_seeds(table: pd.DataFrame, metrics: Sequence[str] = ("accuracy", "loss")) -> Picture:
    """Every seed's result of every setting and their mean, one panel a metric; seeds are joined by lines.

    table: columns setting, seed and the metrics.
    """
    settings, seeds = list(dict.fromkeys(table["setting"])), table["seed"].nunique()
    figure, grid = picture(1.0 + 0.42 * len(settings), 1, len(metrics), sharey=True, squeeze=False)
    words = []
    for axes, metric in zip(grid[0], metrics, strict=True):
        wide = table.pivot(index="setting", columns="seed", values=metric).loc[settings]
        rows = np.arange(len(settings))
        axes.plot(wide.to_numpy(), rows + 0.15, color=PALETTE["random"], linewidth=0.5)
        axes.plot(wide.to_numpy(), rows + 0.15, "o", color=PALETTE["random"], markersize=3)
        axes.plot(wide.mean(axis=1), rows, "D", color=PALETTE["main"], markersize=7)
        for row, mean in zip(rows, wide.mean(axis=1), strict=True):
            axes.annotate(f"{mean:.2f}", (mean, row), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        axes.set(xlabel=f"{metric} on clean points", ylim=(len(settings) - 0.6, -0.6))
        axes.grid(axis="x", alpha=0.3)
        bare(axes)
        words.append(f"{metric}: " + ", ".join(f"{name} {mean:.2f}" for name, mean in wide.mean(axis=1).items()))
    grid[0, 0].set_yticks(range(len(settings)), settings)
    figure.suptitle(
        f"diamonds: means of {seeds} seed{'s' if seeds > 1 else ''}; dots: seeds, joined by lines", fontsize=9
    )
    figure.alt_text = f"The main student after training, means of {seeds} seed(s). {'; '.join(words)}."
    return figure


def _scatter(axes: Axes, points: Points, size: float) -> None:
    for label, style in enumerate(CLASSES):
        own = points.x[points.labels == label]
        axes.scatter(own[:, 0], own[:, 1], s=size, **style, edgecolors="white", linewidths=0.4)
    wrong = points.x[points.wrong]
    axes.scatter(wrong[:, 0], wrong[:, 1], s=4 * size, facecolors="none", edgecolors="black", linewidths=0.8)


def _point_legend(figure: Picture) -> None:
    handles = [
        Line2D([], [], linestyle="", **style, markersize=6, label=f"labelled {label}")
        for label, style in enumerate(CLASSES)
    ]
    ring: dict[str, Any] = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "black", "markersize": 9}
    handles.append(Line2D([], [], linestyle="", **ring, label="label is wrong"))
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)


def _said(grid: np.ndarray) -> str:
    sure = np.maximum(grid, 1 - grid).mean()
    return f"class 1 on {(grid > 0.5).mean():.0%} of the plane, mean confidence {sure:.2f}"
