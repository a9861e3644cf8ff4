"""Pictures of a study: results, paired differences, factorial, fractions, costs, and the auxiliary over time.

Every table has one row per run, as `Store.table` gives it; the columns data, pair and fraction may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import MaxNLocator

from dmws_lite.studies.statistics import FACTORIAL, GROUP, differences, interval, summary, titles
from dmws_lite.views import style

COSTS = {"seconds": "training seconds", "flops_per_step": "GFLOPs per step"}
STUDENTS = {"val_accuracy": "main", "auxiliary_accuracy": "auxiliary", "alpha": "α", "left": "left of the start"}
CURVES = style.looks(STUDENTS.values(), {"main": "main", "auxiliary": "auxiliary", "α": "teacher"})
CURVES["left of the start"] = {"color": "#D55E00", "marker": "D", "linestyle": "-."}
Group = tuple[str, pd.DataFrame, pd.DataFrame]  # title, values (one row per dot), means (one row per method)


def results(table: pd.DataFrame, metric: str = "accuracy") -> style.Picture:
    """Every seed's result of every method, their mean and its 95 % interval, one panel per data set, pair, fraction."""
    groups = [(title, part_of(table, rows), rows) for title, rows in panels_of(summary(table, metric))]
    figure = forests(groups, metric, labels_of(table), _words(metric))
    figure.suptitle("diamond: mean; bar: its 95 % interval; dots: seeds", fontsize="medium")
    figure.alt_text = f"{_words(metric).capitalize()} on the test images by method. {_ends(groups, '.3f')}."
    return figure


def paired_differences(
    table: pd.DataFrame, reference: str = "default", metric: str = "accuracy", fraction: float | None = None
) -> style.Picture:
    """Differences to a reference by seed: mean, 95 % interval and every seed, one panel per data set and fraction.

    fraction: draw this one only. A filled diamond is a difference that is shown: a p below 0.05, Holm-corrected over
              the whole table, and an interval without 0.
    Groups that have no seed in common with the reference are left out.
    Raises ValueError when the reference is not in the table, or has no seed in common with any method.
    """
    rows = differences(table, reference, metric)
    rows = rows[(rows["seeds"] > 0) & ((rows["fraction"] == fraction) if fraction is not None else True)]
    if rows.empty:
        raise ValueError(f"reference={reference!r} has no seed in common with another method: run it with their seeds")
    return measured_differences(table, rows, reference, metric)


def measured_differences(table: pd.DataFrame, rows: pd.DataFrame, reference: str, metric: str) -> style.Picture:
    """The picture of `paired_differences`, from rows of `statistics.differences` of this table."""
    groups = []
    for title, own in panels_of(rows.rename(columns={"difference": "mean", "shown": "filled"})):
        wide = part_of(table, own).pivot(index="seed", columns="method", values=metric).astype(float)
        groups.append((title, wide.sub(wide[reference], axis=0)[own["method"]].melt(), own))
    labels, shown = labels_of(table), f"{rows['shown'].sum()} of {len(rows)}"
    others = {name: label for name, label in labels.items() if name in set(rows["method"])}
    figure = forests(groups, "value", others, "difference", zero=True)
    figure.suptitle(
        f"{_words(metric)} minus that of {style.wrapped(labels[reference], 60)}, paired by seed. Dots: seeds; bar: "
        "95 % interval;\nfilled diamond: Holm-corrected p < 0.05 and an interval without 0; hollow: not shown",
        fontsize="medium",
    )
    words = f"Differences in {_words(metric)} to {labels[reference]}, paired by seed; {shown} are shown"
    figure.alt_text = f"{words} (corrected p below 0.05, interval without 0). {_ends(groups, '+.3f')}."
    return figure


def comparison(
    table: pd.DataFrame,
    metric: str | Sequence[str] = "accuracy",
    chance: float | None = None,
    paired: bool = False,
    guess: str = "chance",
    on: str = "the test images",
) -> style.Picture:
    """Every seed's result of every label, their mean, and the mean's 95 % interval (Student's t over seeds).

    table:  columns label, seed and the metrics, each of which has a panel. One seed has no interval.
    chance: what guessing would reach, drawn as a line, and `guess`, the line's label.
    paired: join the results of each seed by a line.
    on:     what was measured on.
    """
    table, seeds, words = table.assign(method=table["label"]), table["seed"].nunique(), []
    groups, labels = [], labels_of(table)
    for name in [metric] if isinstance(metric, str) else metric:
        groups.append((f"{_words(name)} on {on}", table.rename(columns={name: "value"}), _means(table, name)))
    figure = forests(groups, "value", labels, "", height=0.5)
    for axes, (title, values, means) in zip(figure.axes, groups, strict=False):
        for row, mean in enumerate(means["mean"]):
            style.note(axes, mean, row - 0.22, f"{mean:.3f}", (0, 5), ha="center", va="bottom")
        if paired:
            wide = values.pivot(index="method", columns="seed", values="value").loc[list(labels)]
            axes.plot(wide.to_numpy(), range(len(labels)), color=style.PALETTE["random"], linewidth=0.7, zorder=1)
        if chance is not None:
            axes.axvline(chance, color=style.PALETTE["teacher"], linestyle=":", linewidth=1)
            style.note(axes, chance, -0.85, guess)
            axes.set_xlim(min(axes.get_xlim()[0], chance - 0.02))
        axes.set_ylim(len(labels) - 0.5, -1.0)
        numbers = means["mean"].map("{:.3f}".format) + (means["high"] - means["mean"]).map(" ± {:.3f}".format)
        told = "; ".join(means["method"] + " " + numbers.str.removesuffix(" ± nan"))
        words.append(f"{title.capitalize()}, {seeds} seed(s): {told}")
    title = f"diamond: mean of {seeds} seed{'s' * (seeds > 1)}; dots: seeds{', joined by lines' * paired}"
    figure.suptitle(title + "; bar: 95 % interval of the mean" * (seeds > 1), fontsize="medium")
    words += [f"dotted line: {guess} {chance:.3f}"] if chance is not None else []
    figure.alt_text = "; ".join(words) + "."
    return figure


def factorial(table: pd.DataFrame, metric: str = "accuracy") -> style.Picture:
    """How initialisation and auxiliary work together: means, 95 % intervals and seeds of the six cells.

    Raises ValueError naming the methods of FACTORIAL that the table lacks.
    """
    if missing := [name for names in FACTORIAL.values() for name in names if name not in set(table["method"])]:
        raise ValueError(f"the factorial needs {', '.join(missing)} as well: run a study with these methods")
    summary(table, metric)  # raises where runs may not be compared
    parts = []
    for (start, names), shift in zip(FACTORIAL.items(), (-0.06, 0.06), strict=True):
        own = _grouped(table[table["method"].isin(names)])
        parts.append(own.assign(start=f"{start} start", x=own["method"].map(names.index) + shift))
    runs = pd.concat(parts).sort_values("x", kind="stable")
    look = style.looks(runs["start"], {"random start": "random", "selected start": "main"})
    words = f"Mean {_words(metric)} without an auxiliary and with the complementary (or another random) one"
    options: style.Style = {"xlabel": "auxiliary", "ylabel": _words(metric), "look": look, "errorbar": _t_interval}
    figure = style.curves(runs, "x", metric, "start", "group", words, **options)
    for axes, (_, own) in zip(figure.axes, runs.groupby("group", sort=False), strict=False):
        axes.scatter(own["x"], own[metric], s=8, c=[look[start]["color"] for start in own["start"]], alpha=0.6)
        axes.set_xticks(range(3), ["none", "same", "complementary"])
        axes.set_xlim(-0.4, 2.4)
    return figure


def fraction_curves(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> style.Picture:
    """Mean and 95 % interval over the fraction of training images, a line per method, a panel per data set and pair.

    reference: a method drawn black and dotted. More than about eight methods are hard to read: pass some of them.
    """
    summary(table, metric)  # raises where runs may not be compared
    runs, fractions = _grouped(table, GROUP[:2]), sorted(table["fraction"].unique())
    labels = list(labels_of(table).values())
    beside = runs["label"].map(lambda label: 1.04 ** (labels.index(label) - (len(labels) - 1) / 2))  # not on top
    runs = runs.assign(x=runs["fraction"] * beside).sort_values("fraction", kind="stable")
    words = f"Mean {_words(metric)} from {100 * fractions[0]:g} % to {100 * fractions[-1]:g} % of the training images"
    options: style.Style = {"look": _looks(table, reference), "errorbar": _t_interval}
    options |= {"xlabel": "training images (%)", "ylabel": _words(metric)}
    figure = style.curves(runs, "x", metric, "label", "group", words, **options)
    for axes in figure.axes:
        axes.set(xscale="log", xlim=(fractions[0] / 1.5, fractions[-1] * 1.5))
        axes.set_xticks(fractions, [f"{100 * value:g}" for value in fractions])
        axes.minorticks_off()
    return figure


def cost_accuracy(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> style.Picture:
    """Mean result against training seconds (left) and FLOPs of a step (right), a row of panels per group."""
    runs = _grouped(table.assign(flops_per_step=table["flops_per_step"] / 1e9)).rename(columns=COSTS)
    means = runs.groupby(["group", "label"], sort=False)[[metric, *COSTS.values()]].mean().reset_index()
    groups, look = means["group"].unique(), style.semantics(_looks(table, reference))
    del look["dashes"]
    figure, grid = style.panels(2 * len(groups), 2.5, len(labels_of(table)), columns=2, sharey=True)
    places = [(group, cost) for group in groups for cost in COSTS.values()]
    for axes, (group, cost) in zip(grid, places, strict=True):
        own = means[means["group"] == group]
        sns.scatterplot(own, x=cost, y=metric, hue="label", style="label", s=60, edgecolor="none", ax=axes, **look)
        axes.set(title=style.wrapped(f"{group}: {cost}".removeprefix(": "), 52), xlim=(0, 1.08 * own[cost].max() or 1))
    style.finish(figure, grid, "cost", _words(metric))
    spans = means.groupby("group", sort=False)[COSTS["seconds"]].agg(["min", "max"])
    parts = [f"{group}: {low:.3g} to {high:.3g} s".removeprefix(": ") for group, low, high in spans.itertuples()]
    words = f"Mean {_words(metric)} against training time and FLOPs of a step"
    figure.alt_text = f"{words}. Training took {'; '.join(parts)}."
    return figure


def auxiliary_over_time(
    table: pd.DataFrame, history: pd.DataFrame, updates: Mapping[str, str] | None = None
) -> style.Picture:
    """Validation accuracy of both students over steps, alpha, and what the EMA still holds of its start; by method.

    history: as `Store.history` gives it, of runs on one data set, pair and fraction.
    updates: auxiliary_update by method; of "frozen" and "trained" auxiliaries the share of the start is not drawn.
    Lines: means over seeds; bands: from the lowest to the highest seed. Methods without an auxiliary are left out.
    Raises ValueError where no method has one.
    """
    history = history.drop(columns=["method", "label"], errors="ignore")
    rows = history.merge(table[["key", "method", "label"]], on="key").sort_values(["key", "step"])
    rows = rows[rows.groupby("method")["auxiliary_accuracy"].transform("count") > 0]
    if rows.empty:
        raise ValueError("no method here has an auxiliary student: add one that has, such as dual_skd")
    frozen = rows["method"].map(lambda name: (updates or {}).get(name, "ema") != "ema")
    rows["left"] = pd.concat(_left(run) for _, run in rows.groupby("key")).mask(frozen)
    long = rows.rename(columns=STUDENTS).melt(["label", "step"], list(STUDENTS.values()), "curve")
    order = {label: place for place, label in enumerate(labels_of(table).values())}
    long = long.sort_values("label", key=lambda labels: labels.map(order), kind="stable")
    drawn = {"err_style": "band", "markers": False}
    options: style.Style = {"errorbar": ("pi", 100), "drawn": drawn, "look": CURVES, "height": 2.6}
    options |= {"words": "Validation accuracy over training, mean over seeds", "ylabel": "validation accuracy; share"}
    figure = style.curves(long.dropna(subset="value"), "step", "value", "curve", "label", **options)
    figure.axes[0].set_ylim(-0.02, 1.02)
    return figure


def panels_of(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each group (data set, pair, fraction) of a table, in its order, with the group's title."""
    yield from _grouped(table).groupby("group", sort=False)


def part_of(table: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The runs of the group that the rows are about."""
    keys = [key for key in GROUP if key in table]
    return table.merge(rows[keys].drop_duplicates(), on=keys) if keys else table


def labels_of(table: pd.DataFrame) -> dict[str, str]:
    """The label of each method, in the table's order."""
    return dict(table.drop_duplicates("method")[["method", "label"]].itertuples(index=False, name=None))


def forests(
    groups: Sequence[Group],
    value: str,
    labels: Mapping[str, str],
    xlabel: str,
    height: float = 0.29,
    zero: bool = False,
) -> style.Picture:
    """A panel for each group, a row for each method, `height` inches high; `zero` marks 0."""
    figure, grid = style.panels(len(groups), 1.0 + height * len(labels), sharey=True)
    for axes, (title, values, means) in zip(grid, groups, strict=True):
        style.forest(axes, values, means.set_index("method").reindex(labels), value, by="method")
        shown = np.append(values[value].dropna(), [0.0] if zero else [])
        room = max(float(np.ptp(shown)), 0.01)  # an interval of two seeds may be far wider: it leaves the frame
        left, right = axes.get_xlim()
        axes.set_xlim(max(left, shown.min() - 1.5 * room), min(right, shown.max() + 1.5 * room))
        axes.xaxis.set_major_locator(MaxNLocator(4 if len(groups) > 1 else 8, steps=[1, 2, 5, 10]))
        if zero:
            axes.axvline(0, color=style.PALETTE["teacher"], linewidth=1)
        axes.set_title(style.wrapped(title, 34, lines=3))
    grid[0].set_yticks(range(len(labels)), [style.wrapped(label, 28) for label in labels.values()])
    style.finish(figure, grid, xlabel)
    return figure


def _means(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean and interval of a metric by label."""
    means = {label: interval(own.to_numpy(float)) for label, own in table.groupby("label", sort=False)[metric]}
    return pd.DataFrame(means).T.rename_axis("method").reset_index()


def _t_interval(values: pd.Series) -> tuple[float, float]:
    """The t interval over seeds, as seaborn wants it."""
    own = interval(values.to_numpy(float))
    return own["low"], own["high"]


def _left(run: pd.DataFrame) -> pd.Series:
    """The share of the auxiliary's start that an EMA holds at each row of a run's history: the product of momenta."""
    with np.errstate(divide="ignore"):
        logs = np.log(run["momentum"].astype(float))
    steps = run["step"].diff().fillna(0)
    return np.exp((steps * logs.rolling(2, 1).mean()).where(steps > 0, 0.0).cumsum())


def _grouped(table: pd.DataFrame, by: Sequence[str] = GROUP) -> pd.DataFrame:
    """The table with its rows' groups by their titles."""
    keys = [key for key in by if key in table]
    return table.assign(group=titles(table[keys]) if keys else "")


def _looks(table: pd.DataFrame, reference: str | None) -> dict[str, style.Style]:
    """Colour, marker and line of each method by its place in the table; the reference is black and dotted."""
    labels = labels_of(table)
    return style.looks(labels.values(), {labels[reference]: "reference"} if reference in labels else {})


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _ends(groups: Sequence[Group], form: str) -> str:
    """For the alt text: the methods with the smallest and the largest mean of each group."""
    words = []
    for title, _, means in groups:
        ordered = means.dropna(subset="mean").sort_values("mean", kind="stable").set_index("label")["mean"]
        ends = dict.fromkeys(f"{label} {ordered[label]:{form}}" for label in ordered.index[[0, -1]])
        words.append(f"{title}: {' to '.join(ends)}".removeprefix(": "))
    return "; ".join(words)
