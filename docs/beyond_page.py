"""The page beyond.md: what starts beyond selection give, from the runs of the study `beyond`."""

from __future__ import annotations

from pathlib import Path

import evidence
import numpy as np
import pandas as pd
from evidence import BLOCK, MINUS, Headline, Wave, compare, finished, gaps, markdown, percent, signed, units, whole

from dmws_lite.studies.statistics import paired_statistics
from dmws_lite.views import style

WAVE = Wave(sets=3, seeds=3)
REFERENCE, LONGER, BEST = "weight_selection", "equal_time", ("selection_ls", "projection_ls", "projection")
TWO = {  # methods with a second student, by how both are used, without and with least squares
    "SKD, same subset": ("single_skd", "single_skd_ls"),
    "SKD, second subset": ("dual_skd", "dual_skd_ls"),
    "two on the labels": ("two_selected", "two_ls"),
}
ALONE, BOTH = (REFERENCE, "selection_ls"), "_both"
OPENING = """# Beyond selecting: what the runs say

`selection_ls` refits each layer of the selected student to its teacher by least squares; `projection` starts from
principal components of the teacher's stream, `projection_ls` refits these too. All measure on the training images of
the run, without labels. This page is made by `python docs/findings.py` from the runs in `benchmarks/studies`; nobody
edits it. A pair is one data set and seed; intervals are 95 % t intervals over pairs; p is of a two-sided sign-flip
test, Holm-corrected over the rows of its table. Nothing was tuned, weights are chosen on validation, test is read
once. *At equal time* compares with single selection that trains 50 steps longer, as many as the seconds of least
squares buy. A comparison is reported as soon as three data sets have three seeds each.
"""


def write(beyond: pd.DataFrame, docs: Path) -> None:
    """Write docs/beyond.md and its pictures."""
    done, failed = finished(beyond), beyond[beyond["error"].notna()]
    parts = [OPENING]
    if len(done):
        parts.append(f"{len(done)} runs in {done['hours'].sum():.1f} hours of one core; {len(failed)} failed.")
    for phantoms, title in ((False, "real images"), (True, "phantoms")):
        table = finished(beyond, phantoms)
        parts += _gains(table, docs, title) + _two_students(table, docs, title)
    if len(parts) < 3:
        parts.append("No comparison is whole yet.")
    (docs / "beyond.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


def headlines(beyond: pd.DataFrame) -> list[Headline]:
    """Least squares against selection, for each network pair at the number of steps with most pairs."""
    found = []
    for pair, table in finished(beyond, phantoms=False).groupby("pair", sort=False):
        gains = gain_rows(table)
        gains = gains[gains["method"] == "selection_ls"] if len(gains) else gains
        for row in gains.sort_values(["seeds", "study_steps"], ascending=False).head(1).to_dict("records"):
            part = table[table["fraction"].eq(row["fraction"]) & table["study_steps"].eq(row["study_steps"])]
            own = units(whole(gaps(part, "selection_ls", REFERENCE), WAVE))
            name = f"selection + least squares {MINUS} {row['reference']}, {_short(pair)}"
            where = f"{row['seeds']} pairs, {percent([row['fraction']])} of the images, {row['study_steps']:.0f} steps"
            timed = compare(part, [("selection_ls", LONGER)], WAVE)
            equal = f"; against selection trained for as many seconds {signed(timed.iloc[0])}" if len(timed) else ""
            sentence = f"{name}: accuracy {signed(row)}, {where}: **{row['verdict']}**{equal}."
            found.append(
                Headline(
                    f"least squares, {_short(pair)}, {row['study_steps']:.0f} steps", own, row["verdict"], sentence
                )
            )
    return found


def gain_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Each method against single selection in each block that is whole: BLOCK and the columns of `compare`."""
    rows = []
    others = [name for names in TWO.values() for name in names]
    for block, part in table.groupby(BLOCK, sort=False):
        methods = [name for name in part["method"].unique() if name != REFERENCE and name not in others]
        found = compare(part, [(name, REFERENCE) for name in methods], WAVE)
        rows.append(found.assign(**dict(zip(BLOCK, block, strict=True))))
    return pd.concat([row for row in rows if len(row)]) if any(map(len, rows)) else pd.DataFrame()


def _gains(table: pd.DataFrame, docs: Path, title: str) -> list[str]:
    gains = gain_rows(table) if len(table) else table
    if gains.empty:
        return []
    name, parts = f"beyond_{title.split()[0]}", [f"## Starts, on {title}"]
    for (pair, fraction), own in gains.groupby(["pair", "fraction"], sort=False):
        for steps in sorted(own["study_steps"].unique()):
            part = table[table[BLOCK].eq([pair, fraction, steps]).all(axis=1)]
            rows = own[own["study_steps"] == steps]
            parts.append(f"**{pair}, {percent([fraction])} of the training images, {steps:.0f} steps**")
            parts.append(_block(part, rows))
    parts += [f"### Where the gain ends, on {title}", *_ends(gains, docs, name)]
    drawn = table[table["method"].isin([REFERENCE, *BEST, "default", "native"])]
    drawn = drawn.sort_values(["pair", "study_steps"], kind="stable")
    place = drawn.apply(
        lambda r: f"{_short(r['pair'])}, {percent([r['fraction']])}, {r['study_steps']:.0f} steps", axis=1
    )
    drawn = drawn[place.isin(_places(gains))].assign(place=place)
    picture = evidence.learning_curves(drawn, "place", "Mean validation accuracy against seconds, the start included")
    return [*parts, f"### Accuracy against seconds, on {title}", evidence.save(picture, docs, f"{name}_seconds")]


def _places(gains: pd.DataFrame) -> set[str]:
    return {f"{_short(r.pair)}, {percent([r.fraction])}, {r.study_steps:.0f} steps" for r in gains.itertuples()}


def _block(part: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table of one pair, fraction and number of steps."""
    sets = sorted(part["data"].unique())
    seeds = whole(gaps(part, rows["method"].iloc[0], REFERENCE), WAVE)["seed"].unique()
    equal = compare(part, [(name, LONGER) for name in rows["method"] if name in BEST], WAVE).set_index("method")

    def means(method: str, among: np.ndarray) -> list[str]:
        own = part[part["method"].eq(method) & part["seed"].isin(among)].groupby("data")["accuracy"].mean()
        return [f"{own[name]:.3f}" if name in own else "" for name in sets]

    reference = part[part["method"] == REFERENCE]
    lines = [[reference["label"].iloc[0], *means(REFERENCE, seeds), "", "", "", "", ""]]
    for row in rows.to_dict("records"):
        seeds = whole(gaps(part, row["method"], REFERENCE), WAVE)["seed"].unique()
        counts = f"{row['better']} / {row['equal']} / {row['worse']}"
        p = f"{row['p']:.3g} ({row['p_holm']:.3g})"
        timed = signed(equal.loc[row["method"]]) if row["method"] in equal.index else ""
        lines.append([row["label"], *means(row["method"], seeds), signed(row), counts, p, row["verdict"], timed])
    header = ["start", *sets, "minus single selection", "better / equal / worse", "p (Holm)", "", "at equal time"]
    return markdown(header, lines)


def _ends(gains: pd.DataFrame, docs: Path, name: str) -> list[str]:
    """How the gain over selection changes with the steps, in sentences and a picture."""
    own = gains[gains["method"].isin([*BEST, "native", "default"])].sort_values("study_steps")
    lines = []
    for (pair, fraction, _), part in own[own["method"].isin(BEST)].groupby(["pair", "fraction", "method"], sort=False):
        told = [
            f"{signed(row)} at {row['study_steps']:.0f} steps ({row['verdict']})" for row in part.to_dict("records")
        ]
        place = f"{part['label'].iloc[0]}, {_short(pair)}, {percent([fraction])}"
        lines.append(f"- {place}: {'; '.join(told)}. {where_it_ends(part)}")
    own = own[own["method"] != "default"].assign(
        place=[f"{_short(r.pair)}, {percent([r.fraction])}" for r in own[own["method"] != "default"].itertuples()]
    )
    options: style.Style = {"xlabel": "steps", "ylabel": "accuracy minus single selection", "level": (0, "no gain")}
    words = "Difference to single selection by steps of training"
    figure = style.curves(own, "study_steps", "difference", "label", "place", words, **options, columns=2)
    told = [f"{r.place}, {r.label}, {r.study_steps:.0f} steps: {r.difference:+.3f}" for r in own.itertuples()]
    figure.alt_text = f"{words}: {'; '.join(told)}."
    for axes in figure.axes:
        axes.set(xscale="log", xlim=(own["study_steps"].min() / 1.4, own["study_steps"].max() * 1.4))
        axes.set_xticks(steps := sorted(own["study_steps"].unique()), [f"{value:.0f}" for value in steps])
        axes.minorticks_off()
    return ["\n".join(lines), evidence.save(figure, docs, f"{name}_gain")]


def where_it_ends(part: pd.DataFrame) -> str:
    """Where a gain is no longer seen: the numbers of steps whose interval holds 0."""
    apart = part["low"].gt(0).tolist()
    if len(part) < 2:
        return "One number of steps says nothing about where it ends."
    first, last = part.iloc[0], part.iloc[-1]
    if all(apart):
        change = "smaller" if last["difference"] < first["difference"] else "no smaller"
        few, many = (f"{row['study_steps']:.0f}" for row in (first, last))
        return f"It is {change} with {many} steps than with {few}, and not at its end."
    ended = [row["study_steps"] for row, above in zip(part.to_dict("records"), apart, strict=True) if not above]
    return f"Its interval holds 0 at {', '.join(f'{steps:.0f}' for steps in ended)} steps."


def _two_students(table: pd.DataFrame, docs: Path, title: str) -> list[str]:
    """What a second student adds, in training and at inference, without and with least squares."""
    parts = []
    for block, part in table.groupby(BLOCK, sort=False):
        part, rows, drawn, texts = with_ensembles(part), [], [], []
        for words, methods in TWO.items():
            for suffix, used in (("", "main alone"), (BOTH, "both at inference")):
                adds = [_added(part, name + suffix, alone) for name, alone in zip(methods, ALONE, strict=True)]
                if any(own.empty for own in adds):
                    continue
                found = [paired_statistics(own.to_numpy()) for own in (*adds, (adds[1] - adds[0]).dropna())]
                rows.append((words, used, *map(signed, found), found[2]["seeds"]))
                drawn.append((f"{words}, {used}", adds))
                texts.append(_captured(f"{words}, {used}", found))
        if rows:
            pair, fraction, steps = block
            header = [
                "second student",
                "used",
                "adds without least squares",
                "adds with",
                "with minus without",
                "pairs",
            ]
            where = f"{_short(pair)}, {percent([fraction])}, {steps:.0f} steps"
            names = ["without least squares", "with least squares"]
            groups = [
                (name, pd.concat(adds[i].to_frame("gap").assign(place=place) for place, adds in drawn))
                for i, name in enumerate(names)
            ]
            figure = evidence.forest(groups, f"What a second student adds to one, {where}")
            picture = evidence.save(
                figure, docs, f"beyond_two_{title.split()[0]}_{_short(pair)}_{fraction:g}_{steps:.0f}"
            )
            parts += [f"**{where}**", "\n".join(texts), markdown(header, rows), picture]
    note = "Differences to one student with the same start, trained on the labels; *both at inference* averages the "
    note += "answers of main and auxiliary."
    return [f"## A second student, on {title}", note, *parts] if parts else []


def with_ensembles(table: pd.DataFrame) -> pd.DataFrame:
    """The runs, and those with two students once more under METHOD_both with the accuracy of both at inference."""
    two = table[table["ensemble_accuracy"].notna()]
    both = two.assign(method=two["method"] + BOTH, label=two["label"] + ", both", accuracy=two["ensemble_accuracy"])
    return pd.concat([table, both])


def _added(part: pd.DataFrame, method: str, alone: str) -> pd.Series:
    return units(whole(gaps(part, method, alone), WAVE))


def _captured(words: str, found: list[dict]) -> str:
    """Whether least squares leaves less for a second student to add: the sentence of one row."""
    without, with_, change = found
    adds = f"adds {signed(without)} without least squares and {signed(with_)} with"
    less = "less with (the interval of the change leaves out 0)" if change["high"] < 0 else None
    more = "more with (the interval of the change leaves out 0)" if change["low"] > 0 else None
    verdict = less or more or f"a change by {signed(change)} is not shown"
    return f"- A second student ({words}) {adds}: {verdict}."


def _short(pair: str) -> str:
    """A network pair by its student."""
    return pair.split(" → ")[-1]
