"""Pictures of a study: results, paired differences, factorial, fractions and costs.

Every table has one row per run, as `Store.table` gives it; the columns data, pair and fraction may be absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import seaborn as sns

from dmws_lite.runtime.text import require
from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.statistics import FACTORIAL, GROUP, differences, interval, summary, titles
from dmws_lite.views import style

ROLES = {"default": "random", "weight_selection": "main", "full_teacher": "teacher"}  # of methods in all chapters
COSTS = {"seconds": "training seconds", "flops_per_step": "GFLOPs per step"}


def results(table: pd.DataFrame, metric: str = "accuracy") -> style.Picture:
    """Every seed's result of every method, their mean and its 95 % interval, one panel per data set, pair, fraction."""
    means, words = add_groups(summary(table, metric)), f"{_spell(metric)} on the test images by method".capitalize()
    title = "diamond: mean; bar: its 95 % interval; dots: seeds"
    return style.forests(add_groups(table), means, metric, words, xlabel=_spell(metric), title=title)


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
    rows = rows[rows["seeds"] > 0]
    if fraction is not None:
        require("fraction", fraction, table["fraction"].unique())
        rows = rows[rows["fraction"] == fraction]
    if rows.empty:
        raise ValueError(f"reference={reference!r} has no seed in common with another method: run it with their seeds")
    keys, label = [key for key in GROUP if key in table], labels_of(table)[reference]
    of_reference = table[table["method"] == reference].set_index([*keys, "seed"])[metric].rename("of_reference")
    gaps = table.join(of_reference, on=[*keys, "seed"]).merge(rows[[*keys, "method"]])
    gaps = add_groups(gaps.assign(gap=(gaps[metric] - gaps["of_reference"]).astype(float)))
    means = add_groups(rows).rename(columns={"difference": "mean", "shown": "filled"})
    title = (
        f"{_spell(metric)} minus that of {style.wrapped(label, 60)}, paired by seed. Dots: seeds; bar: "
        "95 % interval;\nfilled diamond: Holm-corrected p < 0.05 and an interval without 0; hollow: not shown"
    )
    count = f"{rows['shown'].sum()} of {len(rows)} are shown (corrected p below 0.05, interval without 0)"
    words = f"Differences in {_spell(metric)} to {label}, paired by seed; {count}"
    return style.forests(gaps, means, "gap", words, xlabel="difference", title=title, level=(0, ""), form="+.3f")


def comparison(
    table: pd.DataFrame,
    metric: str | Sequence[str] = "accuracy",
    chance: float | None = None,
    paired: bool = False,
    on: str = "the test images",
) -> style.Picture:
    """Every seed's result of every label, their mean, and the mean's 95 % interval (Student's t over seeds).

    table:  columns label, seed and the metrics, each of which has a panel. One seed has no interval.
    chance: what naming the most frequent class reaches, drawn as a line.
    paired: join the results of each seed by a line.
    on:     what was measured on.
    """
    metrics, seeds = [metric] if isinstance(metric, str) else list(metric), table["seed"].nunique()
    names = {name: f"{_spell(name)} on {on}" for name in metrics}
    runs = table.rename(columns=names).melt(["label", "seed"], [*names.values()], "data", "result")
    runs = add_groups(runs.dropna(subset="result").assign(method=runs["label"]))
    means = add_groups(summary(runs, "result"))
    means["text"] = means["mean"].map("{:.3f}".format)
    title = f"diamond: mean of {seeds} seed(s); dots: seeds{', joined by lines' if paired else ''}"
    title += "; bar: 95 % interval of the mean" if seeds > 1 else ""
    level, words = None if chance is None else (chance, "most frequent class"), f"Results of {seeds} seed(s)"
    figure = style.forests(runs, means, "result", words, title=title, level=level)
    for axes, (_, rows) in zip(figure.axes, runs.groupby("group", sort=False), strict=False):
        if paired:
            wide = rows.pivot(index="label", columns="seed", values="result").loc[rows["label"].unique()]
            axes.plot(wide.to_numpy(), range(len(wide)), color=style.PALETTE["random"], linewidth=0.7, zorder=1)
    return figure


def factorial(table: pd.DataFrame, metric: str = "accuracy") -> style.Picture:
    """How initialisation and auxiliary work together: means, 95 % intervals and seeds of the six cells.

    Raises ValueError naming the methods of FACTORIAL that the table lacks.
    """
    if missing := [name for names in FACTORIAL.values() for name in names if name not in set(table["method"])]:
        raise ValueError(f"the factorial needs {', '.join(missing)} as well: run a study with these methods")
    summary(table, metric)  # raises where runs may not be compared
    tables = []
    for (start, names), shift in zip(FACTORIAL.items(), (-0.06, 0.06), strict=True):
        rows = add_groups(table[table["method"].isin(names)])
        tables.append(rows.assign(start=f"{start} start", x=rows["method"].map(names.index) + shift))
    runs = pd.concat(tables).sort_values("x", kind="stable")
    look = style.looks(runs["start"], {"random start": "random", "selected start": "main"})
    words = f"Mean {_spell(metric)} without an auxiliary and with the complementary (or another random) one"
    options: style.Style = {"xlabel": "auxiliary", "ylabel": _spell(metric), "look": look, "drawn": INTERVALS}
    figure = style.curves(runs, "x", metric, "start", "group", words, **options)
    for axes, (_, rows) in zip(figure.axes, runs.groupby("group", sort=False), strict=False):
        axes.scatter(rows["x"], rows[metric], s=8, c=rows["start"].map(look["palette"]), alpha=0.6)
        axes.set_xticks(range(3), ["none", "same", "complementary"])
        axes.set_xlim(-0.4, 2.4)
    return figure


def fraction_curves(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> style.Picture:
    """Mean and 95 % interval over the fraction of training images, a line per method, a panel per data set and pair.

    reference: a method drawn black and dotted. More than about eight methods are hard to read: pass some of them.
    """
    summary(table, metric)  # raises where runs may not be compared
    runs, fractions = add_groups(table, GROUP[:2]), sorted(table["fraction"].unique())
    labels = list(labels_of(table).values())
    shift = runs["label"].map(lambda label: 1.04 ** (labels.index(label) - (len(labels) - 1) / 2))  # beside each other
    runs = runs.assign(x=runs["fraction"] * shift).sort_values("fraction", kind="stable")
    words = f"Mean {_spell(metric)} from {100 * fractions[0]:g} % to {100 * fractions[-1]:g} % of the training images"
    options: style.Style = {"look": looks_of(table, reference), "drawn": INTERVALS}
    options |= {"xlabel": "training images (%)", "ylabel": _spell(metric)}
    figure = style.curves(runs, "x", metric, "label", "group", words, **options)
    for axes in figure.axes:
        axes.set(xscale="log", xlim=(runs["x"].min() / 1.4, runs["x"].max() * 1.4))
        axes.set_xticks(fractions, [f"{100 * value:g}" for value in fractions])
        axes.minorticks_off()
    is_share = not metric.startswith(("nll", "val_loss")) and table[metric].dropna().between(0, 1).all()
    if is_share:  # intervals of two seeds are cut at 0 and 1
        bottom, top = figure.axes[0].get_ylim()
        figure.axes[0].set_ylim(max(bottom, -0.02), min(top, 1.02))
    return figure


def cost_accuracy(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> style.Picture:
    """Mean result of each method against training seconds (left) and FLOPs of a step (right).

    Raises ValueError for runs that may not be compared, as `studies.statistics.summary` does.
    """
    summary(table, metric)
    means = table.groupby("label", sort=False)[[metric, *COSTS]].mean()
    means["flops_per_step"] /= 1e9
    look = looks_of(table, reference)
    del look["dashes"]
    figure, grid = style.panels(2, 2.5, len(means), columns=2, sharey=True)
    for axes, (column, title) in zip(grid, COSTS.items(), strict=True):
        sns.scatterplot(means, x=column, y=metric, hue="label", style="label", s=60, edgecolor="none", ax=axes, **look)
        axes.set(title=title, xlim=(0, 1.08 * means[column].max() or 1))
    style.finish(figure, grid, "cost", _spell(metric))
    low, high = means["seconds"].agg(["min", "max"])
    words = f"Mean {_spell(metric)} against training time and FLOPs of a step"
    facts = f"training took {low:.3g} to {high:.3g} s", f"{_spell(metric)}: {style.extremes(means[metric])}"
    return figure.describe(words, *facts)


def add_groups(table: pd.DataFrame, by: Sequence[str] = GROUP) -> pd.DataFrame:
    """The table with the column group: the title of each row's data set, pair and fraction."""
    keys = [key for key in by if key in table]
    return table.assign(group=titles(table[keys]) if keys else "")


def labels_of(table: pd.DataFrame) -> dict[str, str]:
    """The label of each method, in the table's order."""
    return dict(table.drop_duplicates("method")[["method", "label"]].itertuples(index=False, name=None))


def looks_of(table: pd.DataFrame, reference: str | None) -> style.Style:
    """Colour, marker and line of each method by its place in the table; the reference is black and dotted."""
    labels = labels_of(table)
    return style.looks(labels.values(), {labels[reference]: "reference"} if reference in labels else {})


def method_looks(methods: Iterable[str]) -> style.Style:
    """`looks` of the labels of METHODS: random initialisation, single selection and the teacher have their own."""
    roles = {METHODS[name].label: role for name, role in ROLES.items()}
    return style.looks([METHODS[name].label for name in methods], roles)


def _t_interval(values: pd.Series) -> tuple[float, float]:
    """The t interval over seeds, as seaborn wants it."""
    ends = interval(values.to_numpy(float))
    return ends["low"], ends["high"]


INTERVALS: style.Style = {"errorbar": _t_interval}


def _spell(metric: str) -> str:
    """The metric's name in words, such as "balanced accuracy"."""
    return metric.replace("_", " ")
