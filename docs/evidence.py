"""What the pages of findings share: which waves are whole, paired differences, their pictures, tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from dmws_lite.runtime.files import writable_folder
from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.statistics import SMALLER_IS_BETTER, check_comparable, corrected, interval, paired_statistics
from dmws_lite.views import style

BLOCK = ["pair", "fraction", "study_steps"]  # runs of one of these, and of one data set, may be compared
KEYS = ["reference_method", "reference", "method", "label"]
HALF_A_POINT = 0.005
MINUS = "\N{MINUS SIGN}"


class Wave(NamedTuple):
    """What makes a wave whole: so many data sets, with these seeds each."""

    sets: int
    seeds: int


class Headline(NamedTuple):
    """One comparison of the overview: what it is, the differences of its pairs, and a sentence ("": only drawn)."""

    name: str
    gaps: pd.Series
    sentence: str


def read(records: Path, study: str) -> pd.DataFrame:
    """The runs of the files STUDY*.parquet, each run once; other image sizes count as other pairs.

    Raises ValueError where runs under one name may not be compared.
    """
    tables = [pd.read_parquet(path) for path in sorted(records.glob(f"{study}*.parquet"))]
    if not (tables := [table for table in tables if len(table)]):
        return pd.DataFrame(columns=[*BLOCK, "data", "method", "label", "seed", "error", "accuracy"])
    table = pd.concat(tables).drop_duplicates("key")
    if table["size"].nunique() > 1:
        table["pair"] += table["size"].map(", {:.0f} px".format)
    for _, part in finished(table).groupby("study_steps"):
        check_comparable(part)
    order = table["method"].map({name: place for place, name in enumerate(METHODS)}).fillna(len(METHODS))
    return table.assign(order=order).sort_values([*BLOCK, "data", "order", "seed"], ignore_index=True)


def finished(table: pd.DataFrame, phantoms: bool | None = None) -> pd.DataFrame:
    """The runs that did not fail; of real images only (False) or of phantoms only (True)."""
    table = table[table["error"].isna()]
    return table if phantoms is None else table[table["data"].str.startswith("phantom").eq(phantoms)]


def gaps(table: pd.DataFrame, method: str, reference: str, metric: str = "accuracy") -> pd.DataFrame:
    """The difference of two methods in each block, data set and seed that both have: BLOCK, data, seed, gap."""
    on = [*BLOCK, "data", "seed"]
    first, second = (table.loc[table["method"] == name, [*on, metric]] for name in (method, reference))
    both = first.merge(second, on=on, suffixes=("", "_of_reference"))
    return both[on].assign(gap=(both[metric] - both[f"{metric}_of_reference"]).astype(float)).dropna()


def keep_whole(differences: pd.DataFrame, wave: Wave) -> pd.DataFrame:
    """The differences of the blocks that are whole: their sets with enough seeds, and the seeds that all have."""
    whole_blocks = [differences.head(0)]
    for _, block in differences.groupby(BLOCK):
        present = block.pivot(index="seed", columns="data", values="gap").notna()
        present = present.loc[:, present.sum() >= wave.seeds]
        seeds = present.index[present.all(axis=1)]
        if present.shape[1] >= wave.sets and len(seeds) >= wave.seeds:
            whole_blocks.append(block[block["data"].isin(present.columns) & block["seed"].isin(seeds)])
    return pd.concat(whole_blocks)


def mean_by_seed(differences: pd.DataFrame) -> pd.Series:
    """One difference per data set and seed: the mean over fractions and network pairs, which share test images."""
    return differences.groupby(["data", "seed"])["gap"].mean().round(12)


def compare(
    table: pd.DataFrame, comparisons: Sequence[tuple[str, str]], wave: Wave, metric: str = "accuracy"
) -> pd.DataFrame:
    """One row for each (method, reference) that has a whole block, Holm-corrected over these rows.

    Returns KEYS, blocks (how many) and the columns of `statistics.differences`.
    """
    labels, rows = dict(zip(table["method"], table["label"], strict=True)), []
    for method, reference in comparisons:
        differences = keep_whole(gaps(table, method, reference, metric), wave)
        if len(differences):
            names = dict(zip(KEYS, (reference, labels[reference], method, labels[method]), strict=True))
            sign = -1 if metric in SMALLER_IS_BETTER else 1
            blocks = differences.groupby(BLOCK).ngroups
            rows.append(names | {"blocks": blocks} | paired_statistics(mean_by_seed(differences).to_numpy(), sign))
    return corrected(rows, [*KEYS, "blocks"])


def changes(table: pd.DataFrame) -> pd.Series:
    """Each run's change of validation accuracy: last three evaluations minus the three before; nan with fewer."""
    curves = table["curve_accuracy"].map(lambda values: np.asarray(values, float)[1:])
    return curves.map(lambda c: c[-3:].mean() - c[-6:-3].mean() if len(c) > 5 else np.nan)


def converged(table: pd.DataFrame) -> pd.DataFrame:
    """Whether each data set, block and method has converged, by the design's rule.

    Returns the names, runs, change (the mean of `changes`), error (its standard error) and converged (the change is
    below half a point).
    """
    groups = table.assign(change=changes(table)).groupby([*BLOCK, "data", "method", "label"], sort=False)["change"]
    groups = groups.agg(runs="size", change="mean", error="sem").reset_index()
    return groups.assign(converged=groups["change"].abs() < HALF_A_POINT)


def learning_curves(table: pd.DataFrame, panel: str, words: str) -> style.Picture:
    """Mean validation accuracy against seconds, one line per method, one panel per value of the column `panel`.

    Seconds are those of the quickest run, because other work slows a machine. They include what a start measures on
    images before the training.
    """
    rows = table[[panel, "label", "seconds", "curve_seconds", "curve_accuracy"]].copy()
    rows["start"] = (rows["seconds"] - rows["curve_seconds"].map(lambda values: values[-1])).clip(lower=0)
    rows["evaluation"] = rows["curve_accuracy"].map(lambda values: range(len(values)))
    rows = rows.explode(["curve_seconds", "curve_accuracy", "evaluation"])
    rows["accuracy"] = rows["curve_accuracy"].astype(float)
    rows["seconds"] = rows["start"] + rows["curve_seconds"].astype(float)
    groups = rows.groupby([panel, "label", "evaluation"], sort=False)
    means = groups.agg({"seconds": "min", "accuracy": "mean"}).reset_index()
    options: style.Style = {"xlabel": "seconds of the quickest run, those of the start included", "sharex": False}
    return style.curves(means, "seconds", "accuracy", "label", panel, words, ylabel="validation accuracy", **options)


def forest(groups: Sequence[tuple[str, pd.DataFrame]], words: str) -> style.Picture:
    """Paired differences, a panel for each (title, rows of place and gap), a row for each place: mean, interval, dots.

    A filled diamond is an interval without 0.
    """
    dots, means, texts = [], [], []
    for title, rows in groups:
        intervals = {
            place: interval(values.to_numpy(float)) for place, values in rows.groupby("place", sort=False)["gap"]
        }
        table = pd.DataFrame(intervals).T.rename_axis("method").reset_index()
        table = table.assign(label=table["method"], group=title)
        table["filled"] = table["low"].gt(0) | table["high"].lt(0)
        dots.append(rows.rename(columns={"place": "method"}).assign(group=title))
        means.append(table)
        text = "; ".join(f"{r.label} {r.mean:+.3f} ({r.low:+.3f} to {r.high:+.3f})" for r in table.itertuples())
        texts.append(f"{title}: {text}" if title else text)
    figure = style.forests(
        pd.concat(dots), pd.concat(means), "gap", words, xlabel="difference in accuracy", level=(0, "")
    )
    figure.alt_text = f"{words}. {'. '.join(texts)}."
    return figure


def save(figure: style.Picture, docs: Path, name: str) -> str:
    """Write docs/findings/NAME.png, in 64 colours, and return it as Markdown with its alt text."""
    buffer = BytesIO()
    Image.open(BytesIO(figure.png(dpi=110))).convert("RGB").quantize(64).save(buffer, "PNG", optimize=True)
    (writable_folder(docs / "findings") / f"{name}.png").write_bytes(buffer.getvalue())
    alt = figure.alt_text.replace("[", "(").replace("]", ")").replace("\n", " ")
    return f"![{alt}](findings/{name}.png)"


def overview(claim: Sequence[Headline], beyond: Sequence[Headline], docs: Path) -> str:
    """The README's lines, and their picture."""
    headlines, studies = [*claim, *beyond], {"claim": claim, "beyond": beyond}
    missing = [f"- No wave of the study `{name}` is whole yet." for name, of_study in studies.items() if not of_study]
    if not headlines:
        return "\n".join([*missing, ""])
    rows = pd.concat(h.gaps.rename("gap").reset_index(drop=True).to_frame().assign(place=h.name) for h in headlines)
    figure = forest([("", rows)], "What each part adds to test accuracy: mean of paired differences and 95 % interval")
    picture = save(figure, docs, "overview").replace("](", "](docs/")
    return "\n".join([picture, "", *(f"- {h.sentence}" for h in headlines if h.sentence), *missing, ""])


def percent(fractions) -> str:
    """Fractions in words, such as "1, 5 and 10 %"."""
    *others, last = (f"{100 * fraction:g}" for fraction in sorted(set(fractions)))
    return f"{', '.join(others)} and {last} %" if others else f"{last} %"


def scope(rows: pd.DataFrame) -> str:
    """The fractions of the images, and the students where there are several pairs, that runs or differences are of."""
    students: dict[str, list[str]] = {}
    for pair, fractions in rows.groupby("pair", sort=False)["fraction"]:
        students.setdefault(f"{percent(fractions)} of the images", []).append(pair.split()[-1])
    several = (f"{text} ({' and '.join(names)})" for text, names in students.items())
    return "; ".join(several if rows["pair"].nunique() > 1 else students)


def signed(row: pd.Series | dict) -> str:
    """A difference with its interval, for tables."""
    return f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"


def verdict(row: dict) -> str:
    """The verdict of a difference in accuracy, with its side where it has one."""
    side = "higher" if row["difference"] > 0 else "lower"
    return f"shown to be {side}" if row["verdict"] == "shown" else row["verdict"]


def label_of(row: dict) -> str:
    """The labels of the two methods that a row of `compare` compares."""
    return f"{row['label']} {MINUS} {row['reference']}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
