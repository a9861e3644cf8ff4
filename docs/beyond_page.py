"""The page beyond.md: what starts beyond selection give, from the runs of the study `beyond`."""

from __future__ import annotations

from pathlib import Path

import evidence
import pandas as pd
from evidence import BLOCK, Headline, Wave, compare, finished, gaps, keep_whole, markdown, mean_by_seed, percent, signed

from dmws_lite.studies.statistics import paired_statistics
from dmws_lite.views import style

WAVE = Wave(sets=3, seeds=3)
REFERENCE, LONGER, BEST = "weight_selection", "equal_time", ("selection_ls", "projection_ls", "projection")
TWO = {  # methods with a second student, by how both are used, without and with least squares
    "SKD, same subset": ("single_skd", "single_skd_ls"),
    "SKD, second subset": ("dual_skd", "dual_skd_ls"),
    "two on the labels": ("two_selected", "two_ls"),
}
VALUES = {"study_steps": "{:.0f} steps".format, "fraction": lambda value: percent([value])}  # in words
ALONE, BOTH = (REFERENCE, "selection_ls"), "_both"
OPENING = """# Beyond selecting: what the runs say

`selection_ls` refits each layer of the selected student to its teacher by least squares; `projection` starts from
principal components of the teacher's stream, `projection_ls` refits these too. All measure on the training images of
the run, without labels. This page is made by `python docs/findings.py` from the runs in `benchmarks/studies`; nobody
edits it. A pair is one data set and seed; intervals are 95 % t intervals over pairs; p is of a two-sided sign-flip
test, Holm-corrected over the rows of its table. Nothing was tuned, weights are chosen on validation, test is read
once. *At equal time* compares with single selection that trains as many steps longer as the seconds of least squares
buy. A comparison is reported as soon as three data sets have three seeds each. `python benchmarks/waves.py beyond`
makes these runs.
"""


def write(beyond: pd.DataFrame, docs: Path) -> None:
    """Write docs/beyond.md and its pictures."""
    done, failed = finished(beyond), beyond[beyond["error"].notna()]
    sections = [OPENING]
    if len(done):
        sections.append(f"{len(done)} runs in {done['hours'].sum():.1f} hours of one core; {len(failed)} failed.")
    for phantoms, title in ((False, "real images"), (True, "phantoms")):
        table = finished(beyond, phantoms)
        sections += _write_gains(table, docs, title) + _write_two_students(table, docs, title)
    if len(sections) < 3:
        sections.append("No comparison is whole yet.")
    (docs / "beyond.md").write_text("\n\n".join(section.strip() for section in sections) + "\n", encoding="utf-8")


def headlines(beyond: pd.DataFrame) -> list[Headline]:
    """Least squares against selection, for each network pair at the number of steps with most pairs."""
    lines = []
    for pair, table in finished(beyond, phantoms=False).groupby("pair", sort=False):
        gains = gain_rows(table)
        gains = gains[gains["method"] == "selection_ls"] if len(gains) else gains
        for row in gains.sort_values(["seeds", "study_steps"], ascending=False).head(1).to_dict("records"):
            runs = table[table["fraction"].eq(row["fraction"]) & table["study_steps"].eq(row["study_steps"])]
            differences = mean_by_seed(keep_whole(gaps(runs, "selection_ls", REFERENCE), WAVE))
            name = f"selection + least squares {evidence.MINUS} {row['reference']}, {_student_of(pair)}"
            where = f"{row['seeds']} pairs, {percent([row['fraction']])} of the images, {row['study_steps']:.0f} steps"
            timed = compare(runs, [("selection_ls", LONGER)], WAVE)
            equal = f"; against selection trained for as many seconds {signed(timed.iloc[0])}" if len(timed) else ""
            sentence = f"{name}: accuracy {signed(row)}, {where}: **{evidence.verdict(row)}**{equal}."
            short = f"least squares, {_student_of(pair)}, {row['study_steps']:.0f} steps"
            lines.append(Headline(short, differences, sentence))
    return lines


def gain_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Each method against single selection in each block that is whole: BLOCK and the columns of `compare`."""
    tables = []
    not_compared = {REFERENCE, *(name for names in TWO.values() for name in names)}
    for block, runs in table.groupby(BLOCK, sort=False):
        methods = [name for name in runs["method"].unique() if name not in not_compared]
        rows = compare(runs, [(name, REFERENCE) for name in methods], WAVE)
        if len(rows):
            tables.append(rows.assign(**dict(zip(BLOCK, block, strict=True))))
    return pd.concat(tables) if tables else pd.DataFrame()


def _write_gains(table: pd.DataFrame, docs: Path, title: str) -> list[str]:
    gains = gain_rows(table) if len(table) else table
    if gains.empty:
        return []
    name, sections, places = f"beyond_{title.split()[0]}", [f"## Starts, on {title}"], set()
    for (pair, fraction), of_pair in gains.groupby(["pair", "fraction"], sort=False):
        for steps, rows in of_pair.groupby("study_steps"):
            places.add(_name_place(pair, fraction, steps))
            sections.append(f"**{pair}, {percent([fraction])} of the training images, {steps:.0f} steps**")
            sections.append(_block_table(table[table[BLOCK].eq([pair, fraction, steps]).all(axis=1)], rows))
    for column, words in (("study_steps", "longer training"), ("fraction", "more images")):
        if trend := _write_trend(gains, column, docs, name):
            sections += [f"### With {words}, on {title}", *trend]
    drawn = table[table["method"].isin([REFERENCE, *BEST, "default", "native"])]
    drawn = drawn.sort_values(["pair", "study_steps"], kind="stable")
    drawn = drawn.assign(place=[_name_place(*block) for block in drawn[BLOCK].itertuples(index=False)])
    words = "Mean validation accuracy against the seconds of the quickest run, the start included"
    picture = evidence.learning_curves(drawn[drawn["place"].isin(places)], "place", words)
    return [*sections, f"### Accuracy against seconds, on {title}", evidence.save(picture, docs, f"{name}_seconds")]


def _block_table(runs: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The table of one pair, fraction and number of steps."""
    sets = sorted(runs["data"].unique())
    equal = compare(runs, [(name, LONGER) for name in rows["method"] if name in BEST], WAVE).set_index("method")
    lines = []

    def means(method: str, like: str) -> list[str]:
        """Mean accuracies by data set, over the seeds that `like` shares with the reference."""
        seeds = keep_whole(gaps(runs, like, REFERENCE), WAVE)["seed"].unique()
        accuracies = runs[runs["method"].eq(method) & runs["seed"].isin(seeds)].groupby("data")["accuracy"].mean()
        return [f"{accuracies[name]:.3f}" if name in accuracies else "" for name in sets]

    for row in rows.to_dict("records"):
        if not lines:
            lines.append([row["reference"], *means(REFERENCE, row["method"]), "", "", "", "", ""])
        counts = f"{row['better']} / {row['equal']} / {row['worse']}"
        p = f"{row['p']:.3g} ({row['p_holm']:.3g})"
        at_equal_time = signed(equal.loc[row["method"]]) if row["method"] in equal.index else ""
        cells = signed(row), counts, p, row["verdict"], at_equal_time
        lines.append([row["label"], *means(row["method"], row["method"]), *cells])
    more = (runs["steps"] - runs["study_steps"])[runs["method"] == LONGER].max()  # NaN without such runs
    last = f"at equal time (+ {more:.0f} steps)" if len(equal) else "at equal time"
    header = ["start", *sets, "minus single selection", "better / equal / worse", "p (Holm)", "", last]
    return markdown(header, lines)


def _write_trend(gains: pd.DataFrame, column: str, docs: Path, name: str) -> list[str]:
    """How the gain over selection changes with the steps or the fraction, in sentences and a picture."""
    (other,) = {"study_steps", "fraction"} - {column}
    groups = gains[gains["method"].isin([*BEST, "native"])].groupby(["pair", other, "method"], sort=False)
    rows = groups.filter(lambda group: group[column].nunique() > 1).sort_values(column, kind="stable")
    if rows.empty:
        return []
    rows = rows.assign(place=[_name_place(r.pair, **{other: getattr(r, other)}) for r in rows.itertuples()])
    lines, value_in_words = [], VALUES[column]
    for (place, label), of_method in rows[rows["method"].isin(BEST)].groupby(["place", "label"], sort=False):
        records = of_method.to_dict("records")
        texts = (f"{signed(row)} at {value_in_words(row[column])} ({row['verdict']})" for row in records)
        lines.append(f"- {label}, {place}: {'; '.join(texts)}. {where_it_ends(of_method, column)}")
    xlabel = {"study_steps": "steps", "fraction": "fraction of the training images"}[column]
    options: style.Style = {"xlabel": xlabel, "ylabel": "accuracy minus single selection", "level": (0, "no gain")}
    words = f"Difference to single selection by {xlabel}"
    figure = style.curves(rows, column, "difference", "label", "place", words, **options, columns=2)
    points = [
        f"{r.place}, {r.label}, {value_in_words(getattr(r, column))}: {r.difference:+.3f}" for r in rows.itertuples()
    ]
    figure.alt_text = f"{words}: {'; '.join(points)}."
    values = sorted(rows[column].unique())
    for axes in figure.axes:
        axes.set(xscale="log", xlim=(values[0] / 1.4, values[-1] * 1.4))
        axes.set_xticks(values, [value_in_words(value) for value in values])
        axes.minorticks_off()
    return ["\n".join(lines), evidence.save(figure, docs, f"{name}_by_{column}")]


def where_it_ends(rows: pd.DataFrame, column: str) -> str:
    """Where a gain is no longer seen: the steps or fractions whose interval holds 0."""
    value_in_words = VALUES[column]
    if ended := [value_in_words(value) for value in rows.loc[rows["low"].le(0) & rows["high"].ge(0), column]]:
        return f"Its interval holds 0 at {', '.join(ended)}."
    first, last = rows.iloc[0], rows.iloc[-1]
    change = "smaller" if last["difference"] < first["difference"] else "no smaller"
    few, many = (value_in_words(row[column]) for row in (first, last))
    return f"It is {change} with {many} than with {few}, and not at its end."


def _write_two_students(table: pd.DataFrame, docs: Path, title: str) -> list[str]:
    """What a second student adds, in training and at inference, without and with least squares."""
    sections = []
    for block, runs in table.groupby(BLOCK, sort=False):
        runs, where, rows, texts = with_ensembles(runs), _name_place(*block), [], []
        groups: dict[str, list[pd.DataFrame]] = {"without least squares": [], "with least squares": []}
        for words, methods in TWO.items():
            for suffix, used in (("", "main alone"), (BOTH, "both at inference")):
                pairs = zip(methods, ALONE, strict=True)
                gains = [mean_by_seed(keep_whole(gaps(runs, method + suffix, alone), WAVE)) for method, alone in pairs]
                if any(gain.empty for gain in gains):
                    continue
                without, with_ls = gains
                change = (with_ls - without).dropna()
                numbers = [paired_statistics(values.to_numpy()) for values in (without, with_ls, change)]
                rows.append((words, used, *map(signed, numbers), len(change)))
                texts.append(_compare_gains(f"{words}, {used}", *numbers))
                for gain, group in zip(gains, groups.values(), strict=True):
                    group.append(gain.to_frame("gap").assign(place=f"{words}, {used}"))
        if rows:
            forest_groups = [(name, pd.concat(group)) for name, group in groups.items()]
            figure = evidence.forest(forest_groups, f"What a second student adds to one, {where}")
            pair, fraction, steps = block
            name = f"beyond_two_{title.split()[0]}_{_student_of(pair)}_{fraction:g}_{steps:.0f}"
            header = ["second student", "used", "adds without least squares", "adds with", "with minus without"]
            sections += [f"**{where}**", "\n".join(texts), markdown([*header, "pairs"], rows)]
            sections.append(evidence.save(figure, docs, name))
    note = "Differences to one student with the same start, trained on the labels; *both at inference* averages the "
    note += "answers of main and auxiliary."
    return [f"## A second student, on {title}", note, *sections] if sections else []


def with_ensembles(table: pd.DataFrame) -> pd.DataFrame:
    """The runs, and those with two students once more under METHOD_both with the accuracy of both at inference."""
    two = table[table["ensemble_accuracy"].notna()]
    both = two.assign(method=two["method"] + BOTH, label=two["label"] + ", both", accuracy=two["ensemble_accuracy"])
    return pd.concat([table, both])


def _compare_gains(words: str, without: dict, with_: dict, change: dict) -> str:
    """Whether least squares leaves less for a second student to add: the sentence of one row."""
    verdict = f"a change by {signed(change)} is not shown"
    if change["high"] < 0:
        verdict = "less with (the interval of the change leaves out 0)"
    if change["low"] > 0:
        verdict = "more with (the interval of the change leaves out 0)"
    adds = f"adds {signed(without)} without least squares and {signed(with_)} with"
    return f"- A second student ({words}) {adds}: {verdict}."


def _student_of(pair: str) -> str:
    """A network pair by its student."""
    return pair.split(" → ")[-1]


def _name_place(pair: str, fraction: float | None = None, study_steps: float | None = None) -> str:
    values = {"fraction": fraction, "study_steps": study_steps}
    return ", ".join([_student_of(pair), *(VALUES[name](value) for name, value in values.items() if value is not None)])
