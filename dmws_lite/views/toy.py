"""Pictures of the toy: what two tiny networks believe about each place of a plane, and how they learn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from dmws_lite.training.toy import WINDOW, Points
from dmws_lite.views import style

BELIEF = LinearSegmentedColormap.from_list("belief", ["#E9A3C9", "#F7F7F7", "#A1D76A"])  # class 0, undecided, class 1
CLASSES: tuple[style.Style, ...] = ({"marker": "v", "color": "#8E0152"}, {"marker": "^", "color": "#276419"})
RING: style.Style = {"facecolors": "none", "edgecolors": "black", "linewidths": 0.8, "label": "label is wrong"}


def surfaces(grids: Mapping[str, Mapping[str, np.ndarray]], points: Points | None = None) -> style.Picture:
    """Probability of class 1 over the plane, a row per network, a column per moment or setting; the line is one half.

    grids:  by row and column, float (resolution, resolution) from `surface`.
    points: training points, drawn with their labels; those with a wrong label are ringed.
    """
    columns, words = list(next(iter(grids.values()))), []
    height = 0.5 + len(grids) * (0.1 + 4.8 / len(columns)) + 0.4 * (points is not None)
    figure, axes = style.picture(height, len(grids), len(columns), squeeze=False)
    for line, (row, surfaces_of_row) in zip(axes, grids.items(), strict=True):
        line[0].set_ylabel(row)
        for panel, column in zip(line, columns, strict=True):
            belief = surfaces_of_row[column]
            drawn = panel.imshow(belief, extent=WINDOW, origin="lower", cmap=BELIEF, vmin=0, vmax=1)
            if np.ptp(np.sign(belief - 0.5)):
                panel.contour(belief, [0.5], extent=WINDOW, colors="black", linewidths=1)
            if points is not None:
                _scatter(panel, points, 9 if len(columns) > 2 else 22)
            sure = f"class 1 on {(belief > 0.5).mean():.0%} of the plane"
            words.append(f"{row} {column}: {sure}, mean confidence {np.maximum(belief, 1 - belief).mean():.2f}".strip())
    for panel, column in zip(axes[0], columns, strict=True):
        panel.set_title(column)
    style.clear(*axes.flat)
    figure.colorbar(drawn, ax=axes, shrink=0.9, pad=0.01, label="probability of class 1", ticks=[0, 0.5, 1])
    style.add_legend(figure, axes[0, :1], loc="outside lower center", ncols=3, markerscale=1.5)
    figure.alt_text = f"What networks believe over the plane. {'; '.join(words)}."
    return figure


def toy_course(courses: Mapping[str, pd.DataFrame]) -> style.Picture:
    """Accuracy and loss of main and auxiliary on clean points while the main student learns, one column per setting.

    courses: by title, columns step, student ("main" or "auxiliary"), accuracy, loss.
    """
    table = pd.concat([course.assign(title=title) for title, course in courses.items()])
    long = table.melt(["title", "step", "student"], ["accuracy", "loss"], "metric")
    long["panel"] = long["title"] + ": " + long["metric"]
    options: style.Style = {"ylabel": "accuracy; loss (nats)", "columns": len(courses), "sharey": "row", "height": 2.1}
    words = "On clean points during training"
    return style.curves(long, "step", "value", "student", "panel", words, drawn={"markevery": 0.2}, **options)


def _scatter(axes: Axes, points: Points, size: float) -> None:
    for label, look in enumerate(CLASSES):
        own = points.x[points.labels == label]
        axes.scatter(own[:, 0], own[:, 1], size, **look, edgecolors="white", linewidths=0.4, label=f"labelled {label}")
    x, y = points.x[points.wrong].T
    axes.scatter(x, y, 4 * size, **RING)
