"""The page claim.md: what the runs of the study `claim` answer, by the rules of claim_design.md."""

from __future__ import annotations

from pathlib import Path

import evidence
import pandas as pd
from evidence import BLOCK, Headline, Wave, compare, finished, gaps, keep_whole, markdown, mean_by_seed, percent, signed
from scipy.stats import t
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from dmws_lite.studies.claims import sentences
from dmws_lite.studies.statistics import LEVEL, SMALLER_IS_BETTER, SMALLEST, paired_statistics
from dmws_lite.training.evaluation import BINS
from dmws_lite.views import style

WAVE = Wave(sets=3, seeds=14)
PRIMARY = [("dual_skd", "single_skd"), ("single_skd", "weight_selection")]
RIVALS = ("ema_of_main", "smoother", "longer", "mimetic", "xavier")
READINGS = (
    *("skd_first", "skd_annealed", "half_life_half_epoch", "half_life_1_epoch", "half_life_2_epochs"),
    "norm_per_batch",  # added to the design
)
QUESTIONS = {
    "What is the second subset worth, given SKD?": PRIMARY[:1],
    "What is SKD worth, given selection?": PRIMARY[1:],
    "Is SKD above rivals that do not distil?": [("dual_skd", rival) for rival in RIVALS],
    "Does another reading of the abstract do better?": [(reading, "dual_skd") for reading in READINGS],
}
BEYOND_QUESTIONS = [("skd_first", "weight_selection"), ("skd_first", "longer")]
WITH_LEAST_SQUARES = {  # the primary comparisons from starts with least squares, in the study beyond
    "dual_skd": ("dual_skd_ls", "single_skd_ls"),
    "single_skd": ("single_skd_ls", "selection_ls"),
}
SHORT = {  # by the method that another is compared with
    "single_skd": "second subset, given SKD",
    "weight_selection": "SKD, given selection",
    "ema_of_main": "SKD against the EMA",
    "smoother": "SKD against label smoothing",
    "longer": "SKD against longer training",
    "mimetic": "SKD against a mimetic start",
    "dual_skd": "SKD first, then labels, against SKD",
}
IN_WORDS = ("single_skd", "weight_selection", "longer")  # these are lines of the README, too; the others are drawn only
METRICS = ("accuracy", "balanced_accuracy", "nll", "nll_scaled", "ece", "ece_scaled")
MAIN = ("weight_selection", "single_skd", "dual_skd", "ema_of_main", "smoother", "longer")  # drawn
FEWEST = 50  # images in a bin that is drawn

OPENING = """# The claim at full strength: what the runs say

The papers say that dual selection with self-knowledge distillation (SKD) is above single selection. [The
design](claim_design.md) was fixed before the first run. This page is made by `python docs/findings.py` from the runs
in `benchmarks/studies`, and these by `python benchmarks/waves.py claim --data brain_mri lung_ct chest_xray --weights
FOLDER`; nobody edits it. A pair is one data set and seed; intervals are 95 % t intervals over pairs; p is of a
two-sided sign-flip test (42 pairs: of 32,768 random flips), Holm-corrected over the comparisons of a question (the
first two questions together). *Shown*: corrected p
below 0.05 and an interval without 0. *Equivalent*: the interval lies within ± one point. *Not shown*: neither; the
interval says how large it could still be.
"""
LIMITS = """## Limits

- Intervals are about other seeds (part of the training images, classifier, data order, augmentation) on these test
  images and data sets; they are not about other hospitals. Seeds of one data set share its test images.
- Patients are unknown in two of the sets; in one, classes come from different hospitals, so a network may learn the
  hospital.
- Images (64 px) and networks are small, and the teachers are not the papers': the embedded one has seen drawings of
  formulas only.
- Runs are short. A group that has not converged says what a method gives in this time, not what it would give in the
  end.
- Seconds were measured with other work on the same two cores, more on some days than on others: they compare methods
  roughly, even those of the quickest run.
- Of the design, not run: whatever is not listed under "What was run".
"""


def write(claim: pd.DataFrame, beyond: pd.DataFrame, docs: Path) -> None:
    """Write docs/claim.md and its pictures."""
    sections = []
    for phantoms, title in ((False, "Real images"), (True, "Phantoms")):
        table = finished(claim, phantoms)
        for steps, runs in table.groupby("study_steps"):
            if any(len(keep_whole(gaps(runs, *pair), WAVE)) for pair in PRIMARY):
                name = f"claim_{'phantoms_' if phantoms else ''}{steps:.0f}"
                count = _count_converged(_whole_groups(runs))
                sections += [f"## {title}, {steps:.0f} steps", f"{count} ([what that means](#convergence))."]
                sections += _write_answers(runs, finished(beyond, phantoms), docs, name)
    sections = sections or ["No wave of the primary comparisons is whole yet: nothing is answered."]
    sections = [OPENING, _write_summary(claim), *sections, _describe_waves(claim), _write_convergence(claim), LIMITS]
    text = "\n\n".join(section.strip() for section in sections) + "\n"
    (docs / "claim.md").write_text(text, encoding="utf-8")


def headlines(claim: pd.DataFrame) -> list[Headline]:
    """The primary comparisons of real images that are whole, the four nearest rivals, and the first other reading.

    Each has the verdict that its question gives it; what is shown, and most runs' number of steps, has words.
    """
    lines, usual = [], finished(claim, phantoms=False)["study_steps"].mode().to_list()
    for row in _answer_rows(claim):
        sentence = f"{row['name'][0].upper()}{row['name'][1:]} ({evidence.label_of(row)}): accuracy {signed(row)}, "
        sentence += f"{row['words']} ({row['seeds']} pairs, {row['where']}, {row['steps']:.0f} steps)."
        told = row["reference_method"] in IN_WORDS and (row["steps"] in usual or row["verdict"] == "shown")
        lines.append(Headline(f"{row['name']}, {row['steps']:.0f} steps", row["gaps"], sentence if told else ""))
    return lines


def _answer_rows(claim: pd.DataFrame) -> list[dict]:
    """One row for each comparison of `headlines` and number of steps: its statistics, and what the pages say of it.

    A primary one that is shown in its wave has in its words what is left with a correction over all numbers of steps.
    """
    drawn, rows = [*PRIMARY, *(("dual_skd", rival) for rival in RIVALS[:4]), (READINGS[0], "dual_skd")], []
    _, _, rivals, readings = QUESTIONS.values()
    for steps, runs in finished(claim, phantoms=False).groupby("study_steps"):
        answers = [
            pd.concat([compare(runs, pairs, WAVE, metric) for pairs in (PRIMARY, rivals, readings)]).to_dict("records")
            for metric in ("accuracy", "val_accuracy")
        ]
        for row, on_validation in zip(*answers, strict=True):
            pair = row["method"], row["reference_method"]
            if pair in drawn:
                differences = keep_whole(gaps(runs, *pair), WAVE)
                names = {"name": SHORT[pair[1]], "where": evidence.scope(differences), "steps": steps}
                names |= {"words": f"**{evidence.verdict(row)}**", "validation": signed(on_validation)}
                rows.append(row | names | {"gaps": mean_by_seed(differences)})
    primary = [row for row in rows if (row["method"], row["reference_method"]) in PRIMARY]
    corrected = multipletests([row["p"] for row in primary], method="holm")[1] if primary else []
    for row, p in zip(primary, corrected, strict=True):
        if row["verdict"] == "shown" and p >= LEVEL:
            row["words"] += (
                f" in its wave; corrected over the {len(primary)} answers of all waves: p = {p:.2f}, not shown"
            )
    return rows


def _write_summary(claim: pd.DataFrame) -> str:
    """The answers before all else, in one table; a wave is what was run with one number of steps."""
    rows = [
        (row["name"], signed(row), row["words"], row["validation"], row["where"], f"{row['steps']:.0f}")
        for row in _answer_rows(claim)
    ]
    header = ["what it is worth", "accuracy", "verdict", "accuracy, validation", "images", "steps"]
    note = (
        "Each number of steps is a wave of its own, and corrected by itself. Verdicts are about the test images. On "
        "validation images every method but the EMA is taken at its best evaluation there, which favours it."
    )
    return "\n\n".join(["## In short, on real images", markdown(header, rows), note])


def _describe_waves(claim: pd.DataFrame) -> str:
    """What was run, and which waves are whole."""
    done, failed = finished(claim), claim[claim["error"].notna()]
    errors = f" ({'; '.join(failed['error'].unique())})" if len(failed) else ""
    text = (
        f"{len(done)} runs in {done['hours'].sum():.1f} hours of one core, {len(failed)} failed{errors}. A wave is "
        f"whole with {WAVE.sets * WAVE.seeds} pairs: {WAVE.sets} data sets with {WAVE.seeds} seeds each. One that is "
        "not is not reported."
    )
    rows = []
    for (pair, fraction, steps, phantoms), runs in done.groupby([*BLOCK, done["data"].str.startswith("phantom")]):
        place = pair, "phantoms" if phantoms else "real", percent([fraction]), f"{steps:.0f}"
        for label, of_method in runs.groupby("label", sort=False):
            is_whole = (of_method.groupby("data")["seed"].nunique() >= WAVE.seeds).sum() >= WAVE.sets
            rows.append((*place, label, len(of_method), "yes" if is_whole else "not yet"))
    header = ["pair", "images", "fraction", "steps", "method", "runs", "whole"]
    return "\n\n".join(["## What was run", text, markdown(header, rows)])


def _write_answers(runs: pd.DataFrame, beyond: pd.DataFrame, docs: Path, name: str) -> list[str]:
    primary, sections = compare(runs, PRIMARY, WAVE), []
    for number, (question, pairs) in enumerate(QUESTIONS.items(), 1):
        rows = primary[primary["method"] == pairs[0][0]] if pairs[0] in PRIMARY else compare(runs, pairs, WAVE)
        sections += [f"### {number}. {question}", _describe_comparisons(runs, rows, pairs)]
        sections += _compare_sets(runs, pairs) if pairs[0] not in PRIMARY else []
    sections += _compare_readings(runs)
    sections.append("### 5. Does it depend on the fraction, the pair or the start?")
    sections += _compare_places(runs, beyond, docs, name)
    sections += ["### On what: accuracy, balanced accuracy, calibration", *_write_calibration(runs, docs, name)]
    sections += ["### How sure, and how long", _power_table(primary), *_write_seconds(runs, docs, name)]
    return sections


def _describe_comparisons(runs: pd.DataFrame, rows: pd.DataFrame, pairs: list[tuple[str, str]]) -> str:
    """One sentence per comparison: its result when it is whole, else how many pairs it has."""
    lines, reported = [], []
    texts = sentences(rows, [""] * len(rows), "accuracy", "pair")
    for row, text in zip(rows.to_dict("records"), texts, strict=True):
        reported.append((row["method"], row["reference_method"]))
        differences = keep_whole(gaps(runs, *reported[-1]), WAVE)
        where = f"({evidence.scope(differences)}, {differences['data'].nunique()} data sets.)"
        lines.append(f"- **{row['verdict'].capitalize()}.** {text} {where}")
    counts = {pair: gaps(runs, *pair).groupby(BLOCK).size() for pair in pairs if pair not in reported}
    if not reported and not any(map(len, counts.values())):
        return "- Not run with this number of steps."
    whole = WAVE.sets * WAVE.seeds
    missing = [
        f"`{method}` {evidence.MINUS} `{reference}` has {most.max() if len(most) else 0} of {whole} pairs"
        for (method, reference), most in counts.items()
    ]
    return "\n".join([*lines, *([f"- Not answered yet: {'; '.join(missing)}."] if missing else [])])


def _compare_sets(runs: pd.DataFrame, pairs: list[tuple[str, str]]) -> list[str]:
    """Each comparison by data set: the sets may differ by more than their seeds do."""
    rows = []
    for pair in pairs:
        for data, of_set in keep_whole(gaps(runs, *pair), WAVE).groupby("data"):
            row = paired_statistics(mean_by_seed(of_set).to_numpy())
            rows.append((f"`{pair[0]}` {evidence.MINUS} `{pair[1]}`", data, signed(row), row["seeds"]))
    return [markdown(["difference", "data set", "accuracy", "seeds"], rows)] if rows else []


def _compare_readings(runs: pd.DataFrame) -> list[str]:
    """What would change a default: the other readings on test and validation images, at each fraction and together."""
    pairs = [*((reading, "dual_skd") for reading in READINGS), *BEYOND_QUESTIONS]
    places = {percent([fraction]): of_fraction for fraction, of_fraction in runs.groupby("fraction")}
    rows = []
    for place, of_place in {"all together": runs, **places}.items():
        tables = [compare(of_place, pairs, WAVE, metric).to_dict("records") for metric in ("accuracy", "val_accuracy")]
        rows += [(evidence.label_of(test), place, signed(test), signed(val)) for test, val in zip(*tables, strict=True)]
    rule = (
        "A default changes only if a reading is better on validation over all sets and fractions. These intervals "
        "describe; they are not tested one by one. The last two differences are beyond the design's questions."
    )
    table = markdown(["difference", "images", "accuracy, test", "accuracy, validation"], rows)
    return [rule, table] if rows else []


def _compare_places(runs: pd.DataFrame, beyond: pd.DataFrame, docs: Path, name: str) -> list[str]:
    """The primary differences by data set, fraction and network pair, and from starts with least squares."""
    groups, rows, texts = [], [], []
    for method, reference in PRIMARY:
        differences, title = keep_whole(gaps(runs, method, reference), WAVE), SHORT[reference]
        if differences.empty:
            continue
        places = _group_by_place(differences)
        for steps, beyond_runs in beyond.groupby("study_steps"):
            with_ls = keep_whole(gaps(beyond_runs, *WITH_LEAST_SQUARES[method]), Wave(3, 3))
            if len(with_ls):
                places[f"with least squares, {steps:.0f} steps"] = mean_by_seed(with_ls)
        groups.append((title, pd.concat(v.to_frame("gap").assign(place=place) for place, v in places.items())))
        numbers = {place: paired_statistics(values.to_numpy()) for place, values in places.items()}
        rows += [(title, place, signed(row), row["seeds"]) for place, row in numbers.items()]
        del numbers["all together"]
        lowest, *_, highest = sorted(numbers, key=lambda place: numbers[place]["difference"])
        without_zero = [place for place, row in numbers.items() if row["low"] > 0 or row["high"] < 0]
        texts.append(
            f"- {title[0].upper()}{title[1:]}: from {numbers[lowest]['difference']:+.3f} ({lowest}) to "
            f"{numbers[highest]['difference']:+.3f} ({highest}). Intervals without 0: "
            f"{', '.join(without_zero) or 'none'}."
        )
    words = "Paired differences by data set, fraction and pair, described and not tested one by one"
    picture = evidence.save(evidence.forest(groups, words), docs, f"{name}_forest")
    note = (
        "These intervals describe; they are not tested one by one. Dots: pairs; filled diamond: an interval without 0."
    )
    return ["\n".join(texts), note, picture, markdown(["difference", "where", "accuracy", "pairs"], rows)]


def _group_by_place(differences: pd.DataFrame) -> dict[str, pd.Series]:
    """All differences together, and those of each data set, fraction and pair, where there are several."""
    places = {"all together": mean_by_seed(differences)}
    for column in ("data", "fraction", "pair"):
        groups = differences.groupby(column, sort=False)
        if column == "fraction":  # of the pairs that were run at several: a fraction's row is not about other networks
            several = differences.groupby("pair")["fraction"].transform("nunique") > 1
            groups = differences[several].groupby(column, sort=False)
        if groups.ngroups > 1:
            for value, group in groups:
                places[percent([value]) if column == "fraction" else value] = mean_by_seed(group)
    return places


def _write_calibration(runs: pd.DataFrame, docs: Path, name: str) -> list[str]:
    """Each whole comparison in each metric, and reliability diagrams."""
    pairs = [pair for pairs in QUESTIONS.values() for pair in pairs]
    tables = {metric: compare(runs, pairs, WAVE, metric).to_dict("records") for metric in METRICS}
    rows = [(evidence.label_of(metrics[0]), *map(signed, metrics)) for metrics in zip(*tables.values(), strict=True)]
    without_zero = []
    for metric in METRICS[2:]:
        for row in tables[metric]:
            if row["low"] > 0 or row["high"] < 0:
                side = "better" if (row["difference"] < 0) == (metric in SMALLER_IS_BETTER) else "worse"
                without_zero.append(f"{metric}: {row['label']} is {side} than {row['reference']} ({signed(row)})")
    text = f"Intervals without 0 in calibration (not corrected): {'; '.join(without_zero) or 'none'}."
    lower = "Lower is better for nll and ece; `_scaled`: at the temperature that fits the validation images best."
    drawn = _select_drawn(runs)
    picture = evidence.save(_draw_reliability(drawn), docs, f"{name}_reliability")
    words = f"Accuracy against confidence, {evidence.scope(drawn)}:"
    return [text, lower, markdown(["difference", *METRICS], rows), words, picture]


def _select_drawn(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the main methods whose wave is whole, of the network pairs and fractions that all of them have."""
    waves = {name: keep_whole(gaps(runs, name, "weight_selection"), WAVE).set_index(BLOCK).index for name in MAIN}
    blocks = {name: set(index) for name, index in waves.items() if len(index)}
    shared = runs.set_index(BLOCK).index.isin(set.intersection(*blocks.values()))
    return runs[runs["method"].isin(blocks) & shared]


def _draw_reliability(runs: pd.DataFrame) -> style.Picture:
    """Accuracy against confidence over all seeds, one panel per data set; bins of few images are not drawn."""
    columns = ["bin_images", "bin_confidence", "bin_right"]
    rows = runs[["data", "label", *columns]].assign(bin=[range(BINS)] * len(runs)).explode([*columns, "bin"])
    sums = rows.groupby(["data", "label", "bin"], sort=False)[columns].sum().reset_index()
    sums = sums[sums["bin_images"] >= FEWEST]
    for column, total in (("confidence", "bin_confidence"), ("accuracy", "bin_right")):
        sums[column] = (sums[total] / sums["bin_images"]).astype(float)
    options: style.Style = {"xlabel": "confidence", "ylabel": "accuracy on test images"}
    figure = style.curves(sums, "confidence", "accuracy", "label", "data", **options)
    for axes in figure.axes:
        axes.plot([0, 1], [0, 1], color=style.PALETTE["random"], linewidth=0.8, zorder=0)
        axes.set(xlim=(sums["confidence"].min() - 0.03, 1.01), ylim=(sums["accuracy"].min() - 0.05, 1.01))
    errors = runs.groupby(["data", "label"], sort=False)["ece"].mean()
    words = "; ".join(f"{data}, {label}: {error:.3f}" for (data, label), error in errors.items())
    figure.alt_text = f"Reliability diagrams: accuracy against confidence. Mean calibration error (ece): {words}."
    return figure


def _power_table(rows: pd.DataFrame) -> str:
    """The smallest difference that so many pairs can find, and the power, if differences vary as these do."""
    table = []
    for row in rows.to_dict("records"):
        half_width, n = (row["high"] - row["low"]) / 2, row["seeds"]  # t times the standard error
        spread = half_width * n**0.5 / float(t.ppf(1 - LEVEL / 2, n - 1))
        power = (100 * TTestPower().power(SMALLEST / spread, n, level) for level in (LEVEL / 2, LEVEL))
        cells = [f"{spread:.4f}", f"{row['detectable']:.4f}", *(f"{share:.0f} %" for share in power)]
        table.append((evidence.label_of(row), n, *cells))
    header = ["difference", "pairs", "sd of a pair", "found with power 0.8", "power for one point at 0.025", "at 0.05"]
    return markdown(header, table)


def _write_seconds(runs: pd.DataFrame, docs: Path, name: str) -> list[str]:
    words = "Mean validation accuracy against the seconds of the quickest run"
    drawn = _select_drawn(runs)
    picture = evidence.save(evidence.learning_curves(drawn, "data", words), docs, f"{name}_seconds")
    quickest = style.listed(drawn.groupby("label", sort=False)["seconds"].min(), ".0f")
    quickest += " (waves of different hours ran beside other work: compare within a wave)"
    words = f"Seconds of the quickest run: {quickest}. Accuracy on validation against seconds, {evidence.scope(drawn)}:"
    return [words, picture]


def _write_convergence(claim: pd.DataFrame) -> str:
    runs = finished(claim)
    groups = _whole_groups(runs)
    if groups.empty:
        return "## Convergence\n\nNo group has all its seeds yet."
    rule = (
        "A group is a data set, pair, fraction, number of steps and method with all its seeds. It has converged when "
        "the mean validation accuracy of its last three evaluations is within half a point of that of the three "
        f"before. {_count_converged(groups)}. A group's change has a standard error of {groups['error'].median():.3f} "
        "itself (the median): one that is at rest may miss the rule, one that moves may meet it. The last column is "
        "the change of all groups of its row together, over pairs."
    )
    runs, rows = runs.assign(gap=evidence.changes(runs)), []
    for (pair, fraction, steps, phantoms), of_key in groups.groupby([*BLOCK, groups["data"].str.startswith("phantom")]):
        names = [f"{group.data}: {group.label}" for group in of_key[of_key["converged"]].itertuples()]
        own = runs[runs[BLOCK].eq([pair, fraction, steps]).all(axis=1) & runs["data"].isin(of_key["data"])]
        change = signed(paired_statistics(mean_by_seed(own).to_numpy()))
        place = pair, "phantoms" if phantoms else "real", percent([fraction]), f"{steps:.0f}"
        rows.append((*place, len(of_key), f"{len(names)}{': ' if names else ''}{'; '.join(names)}", change))
    header = ["pair", "images", "fraction", "steps", "groups", "converged", "change"]
    return "\n\n".join(["## Convergence", rule, *_compare_steps(runs), markdown(header, rows)])


def _whole_groups(runs: pd.DataFrame) -> pd.DataFrame:
    """The groups that have all their seeds, and whether they have converged."""
    groups = evidence.converged(runs) if len(runs) else pd.DataFrame({"runs": []})
    return groups[groups["runs"] >= WAVE.seeds]


def _count_converged(groups: pd.DataFrame) -> str:
    return f"{int(groups['converged'].sum())} of {len(groups)} groups have converged"


def _compare_steps(runs: pd.DataFrame) -> list[str]:
    """What the most steps add to each method, at each fraction that was run with several numbers of steps."""
    columns, lines = ["pair", "fraction", "data", "seed"], []
    for _, of_fraction in runs.groupby("fraction"):
        texts = []
        for label, of_method in of_fraction.groupby("label", sort=False):
            accuracies = of_method.pivot_table(index=columns, columns="study_steps", values="accuracy").dropna()
            fewest, most = accuracies.columns[[0, -1]]
            added = (accuracies[most] - accuracies[fewest]).rename("gap").reset_index()
            if fewest < most and len(added) >= WAVE.sets * WAVE.seeds:
                texts.append(f"{label} {signed(paired_statistics(mean_by_seed(added).to_numpy()))}")
                title = f"{most:.0f} steps in place of {fewest:.0f} add to test accuracy ({evidence.scope(added)}):"
        lines += [f"{title} {'; '.join(texts)}."] if texts else []
    return lines
