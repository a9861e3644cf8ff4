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

AUXILIARIES = ("none", "same", "complementary")
COSTS = {"seconds": "training seconds", "flops_per_step": "GFLOPs per step"}
CURVES = {"main": "#0072B2", "auxiliary": "#E69F00", "α": "#4D4D4D", "left of the start": "#D55E00"}
DASHES = {"main": "", "auxiliary": (3, 1), "α": (1, 1), "left of the start": (4, 1, 1, 1)}


def results(table: pd.DataFrame, metric: str = "accuracy") -> style.Picture:
    """Every seed's result of every method, their mean and its 95 % interval, one panel per data set, pair, fraction."""
    groups = [
        (title, part_of(table, rows).rename(columns={metric: "value"}), rows)
        for title, rows in panels_of(summary(table, metric))
    ]
    figure = _forests(groups, labels_of(table), _words(metric))
    figure.suptitle("diamond: mean; bar: its 95 % interval; dots: seeds", fontsize=9)
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
        gaps = wide.sub(wide[reference], axis=0).melt()
        groups.append((title, gaps[gaps["method"].isin(own["method"])], own))
    labels = labels_of(table)
    others = {name: label for name, label in labels.items() if name in set(rows["method"])}
    figure = _forests(groups, others, "difference", zero=True)
    figure.suptitle(
        f"{_words(metric)} minus that of {style.wrapped(labels[reference], 60)}, paired by seed. Dots: seeds; bar: "
        "95 % interval;\nfilled diamond: Holm-corrected p < 0.05 and an interval without 0; hollow: not shown",
        fontsize=9,
    )
    figure.alt_text = (
        f"Differences in {_words(metric)} to {labels[reference]}, paired by seed; {rows['shown'].sum()} of {len(rows)} "
        f"are shown (corrected p below 0.05, interval without 0). {_ends(groups, '+.3f')}."
    )
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
    metrics, seeds = [metric] if isinstance(metric, str) else metric, table["seed"].nunique()
    labels, groups = list(dict.fromkeys(table["label"])), []
    for name in metrics:
        values = table[["label", "seed", name]].set_axis(["method", "seed", "value"], axis=1)
        means = {label: interval(own.to_numpy(float)) for label, own in values.groupby("method", sort=False)["value"]}
        groups.append((f"{_words(name)} on {on}", values, pd.DataFrame(means).T.rename_axis("method").reset_index()))
    figure, words = _forests(groups, dict(zip(labels, labels, strict=True)), "", height=0.5), []
    for axes, (title, values, means) in zip(figure.axes, groups, strict=False):
        for row, mean in enumerate(means["mean"]):
            style.note(axes, mean, row - 0.22, f"{mean:.3f}", (0, 5), ha="center", va="bottom")
        if paired:
            wide = values.pivot(index="method", columns="seed", values="value").loc[labels]
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
    figure.suptitle(title + "; bar: 95 % interval of the mean" * (seeds > 1), fontsize=9)
    words += [f"dotted line: {guess} {chance:.3f}"] if chance is not None else []
    figure.alt_text = "; ".join(words) + "."
    return figure


def factorial(table: pd.DataFrame, metric: str = "accuracy") -> style.Picture:
    """How initialisation and auxiliary work together: means, 95 % intervals and seeds of the six cells.

    Raises ValueError naming the methods of FACTORIAL that the table lacks.
    """
    if missing := [name for names in FACTORIAL.values() for name in names if name not in set(table["method"])]:
        raise ValueError(f"the factorial needs {', '.join(missing)} as well: run a study with these methods")
    rows = [
        (name, f"{start} start", place + shift)
        for (start, names), shift in zip(FACTORIAL.items(), (-0.06, 0.06), strict=True)
        for place, name in enumerate(names)
    ]
    places = pd.DataFrame(rows, columns=["method", "start", "x"])
    cells, runs = (_grouped(part).merge(places) for part in (summary(table, metric), table))
    look = style.looks(cells["start"], {"random start": "random", "selected start": "main"})
    words = f"Mean {_words(metric)} without an auxiliary and with the complementary (or another random) one"
    options: style.Style = {"xlabel": "auxiliary", "ylabel": _words(metric), "look": look}
    figure = style.curves(cells.sort_values("x"), "x", "mean", "start", "group", words, **options)
    for axes, (_, own) in zip(figure.axes, runs.groupby("group", sort=False), strict=False):
        axes.scatter(own["x"], own[metric], s=8, c=[look[start]["color"] for start in own["start"]], alpha=0.6)
        axes.set_xticks(range(3), AUXILIARIES)
        axes.set_xlim(-0.4, 2.4)
    return figure


def fraction_curves(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> style.Picture:
    """Mean and 95 % interval over the fraction of training images, a line per method, a panel per data set and pair.

    reference: a method drawn black and dotted. More than about eight methods are hard to read: pass some of them.
    """
    means, fractions = _grouped(summary(table, metric), GROUP[:2]), sorted(table["fraction"].unique())
    labels = list(labels_of(table).values())
    beside = means["label"].map(lambda label: 1.04 ** (labels.index(label) - (len(labels) - 1) / 2))  # not on top
    means = means.assign(x=means["fraction"] * beside).sort_values("fraction", kind="stable")
    words = f"Mean {_words(metric)} from {100 * fractions[0]:g} % to {100 * fractions[-1]:g} % of the training images"
    options: style.Style = {"xlabel": "training images (%)", "ylabel": _words(metric), "look": _looks(table, reference)}
    figure = style.curves(means, "x", "mean", "label", "group", words, **options)
    for axes in figure.axes:
        axes.set(xscale="log", xlim=(fractions[0] / 1.5, fractions[-1] * 1.5))
        axes.set_xticks(fractions, [f"{100 * value:g}" for value in fractions])
        axes.minorticks_off()
    return figure


def cost_accuracy(table: pd.DataFrame, metric: str = "accuracy", reference: str | None = None) -> style.Picture:
    """Mean result against training seconds (left) and FLOPs of a step (right), a row of panels per group."""
    runs = _grouped(table.assign(flops_per_step=table["flops_per_step"] / 1e9)).rename(columns=COSTS)
    means = runs.groupby(["group", "label"], sort=False)[[metric, *COSTS.values()]].mean().reset_index()
    costs = means.melt(["group", "label", metric], var_name="cost").sort_values("group", kind="stable")
    costs["panel"] = (costs["group"] + ": " + costs["cost"]).str.removeprefix(": ")
    look = {name: own | {"linestyle": "none"} for name, own in _looks(table, reference).items()}
    options: style.Style = {"xlabel": "cost", "ylabel": _words(metric), "look": look, "sharex": False, "columns": 2}
    figure = style.curves(costs, "value", metric, "label", "panel", **options)
    for axes in figure.axes:
        axes.set_xlim(0, 1.08 * axes.dataLim.x1 or 1)
    spans = means.groupby("group", sort=False)[COSTS["seconds"]].agg(["min", "max"])
    words = "; ".join(
        f"{group}: {low:.3g} to {high:.3g} s".removeprefix(": ") for group, low, high in spans.itertuples()
    )
    figure.alt_text = f"Mean {_words(metric)} against training time and FLOPs of a step. Training took {words}."
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
    rows["left of the start"] = pd.concat(_left(run) for _, run in rows.groupby("key")).mask(frozen)
    rows = rows.rename(columns={"val_accuracy": "main", "auxiliary_accuracy": "auxiliary", "alpha": "α"})
    labels, words = [label for label in labels_of(table).values() if label in set(rows["label"])], []
    figure, grid = style.panels(len(labels), 2.6, len(CURVES), sharex=True, sharey=True)
    look: style.Style = {"hue": "curve", "style": "curve", "palette": CURVES, "dashes": DASHES}
    for axes, label in zip(grid, labels, strict=True):
        own = rows[rows["label"] == label].melt("step", list(CURVES), "curve")
        sns.lineplot(own, x="step", y="value", errorbar=("pi", 100), ax=axes, **look)
        axes.legend().remove()  # one for all panels stands above them
        axes.set(xlabel="", ylabel="", ylim=(-0.02, 1.02))
        axes.set_title(style.wrapped(label, 34), fontsize=9)
        ends = own.groupby(["curve", "step"])["value"].mean().groupby("curve").agg(["first", "last"])
        for student in ("main", "auxiliary"):
            first, last = ends.loc[student]
            words.append(f"{label}, {student}: from {first:.2f} to {last:.2f}")
    style.finish(figure, grid, "step", "validation accuracy; share")
    figure.alt_text = f"Validation accuracy over training, mean over seeds. {'; '.join(words)}."
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


def _forests(
    groups: Sequence[tuple[str, pd.DataFrame, pd.DataFrame]],
    labels: Mapping[str, str],
    xlabel: str,
    height: float = 0.29,
    zero: bool = False,
) -> style.Picture:
    """A panel for each group (title, values, means), a row for each method, `height` inches high; `zero` marks 0."""
    figure, grid = style.panels(len(groups), 1.0 + height * len(labels), sharey=True)
    for axes, (title, values, means) in zip(grid, groups, strict=True):
        style.forest(axes, values, means.set_index("method").reindex(labels), by="method")
        shown = np.append(values["value"].dropna(), [0.0] if zero else [])
        room = max(float(np.ptp(shown)), 0.01)  # an interval of two seeds may be far wider: it leaves the frame
        left, right = axes.get_xlim()
        axes.set_xlim(max(left, shown.min() - 1.5 * room), min(right, shown.max() + 1.5 * room))
        axes.xaxis.set_major_locator(MaxNLocator(4 if len(groups) > 1 else 8, steps=[1, 2, 5, 10]))
        if zero:
            axes.axvline(0, color=style.PALETTE["teacher"], linewidth=1)
        axes.set_title(style.wrapped(title, 34, lines=3), fontsize=9)
    grid[0].set_yticks(range(len(labels)), [style.wrapped(label, 28) for label in labels.values()], fontsize=8)
    style.finish(figure, grid, xlabel, legend=False)
    return figure


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
    """Colour, mark and line of each method by its place in the table; the reference is black and dotted."""
    labels = labels_of(table)
    return style.looks(labels.values(), {labels[reference]: "reference"} if reference in labels else {})


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _ends(groups: Sequence[tuple[str, pd.DataFrame, pd.DataFrame]], form: str) -> str:
    """For the alt text: the methods with the smallest and the largest mean of each group."""
    words = []
    for title, _, means in groups:
        ordered = means.dropna(subset="mean").sort_values("mean", kind="stable").set_index("label")["mean"]
        ends = dict.fromkeys(f"{label} {ordered[label]:{form}}" for label in ordered.index[[0, -1]])
        words.append(f"{title}: {' to '.join(ends)}".removeprefix(": "))
    return "; ".join(words)
