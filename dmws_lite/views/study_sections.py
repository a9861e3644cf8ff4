"""What the report of a study says, section by section."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dmws_lite.runtime.text import plain
from dmws_lite.studies.statistics import FACTORIAL, GROUP, LEVEL, factorial, smallest_p, summary
from dmws_lite.training.evaluation import confusion
from dmws_lite.views import run_figures, study_figures
from dmws_lite.views.study_blocks import NONE, Block, figure_block, interval, number, percent, table_block
from dmws_lite.views.study_material import Material, again, failures, methods, what_was_run
from dmws_lite.views.study_panels import panels_of, part_of

if TYPE_CHECKING:
    import pandas as pd

SENTENCES = 40  # claims that are listed at most; above that those that are shown, and the number of the others


def sections(m: Material) -> dict[str, list[Block]]:
    """The blocks of each section; sections that this study has nothing for are left out."""
    found = {
        "Summary": _summary(m),
        "What was run": what_was_run(m),
        "Results": _results(m),
        "Paired differences": _paired(m),
        "What each part contributes": _factorial(m),
        "Fractions of the training images": _fractions(m),
        "Cost beside accuracy": _cost(m),
        "Calibration": _calibration(m),
        "Confusion": _confusion(m),
        "The auxiliary student over time": _auxiliary(m),
        "The methods": methods(m),
        "Failures": failures(m),
        "How to make it again": again(m),
    }
    return {name: blocks for name, blocks in found.items() if blocks}


def _summary(m: Material) -> list[Block]:
    asked = len(m.table) + len(m.failures) + len(m.missing)
    text = f"{len(m.table)} of {asked} runs are finished, {len(m.failures)} failed, {len(m.missing)} are missing."
    if m.reference is None or m.gaps is None or m.gaps.empty:
        return [Block("text", text)]
    groups = m.table.groupby(list(GROUP)).ngroups
    whole = m.claims[len(m.gaps) :] if groups > 1 else m.claims
    shown = [sentence for sentence in whole if sentence.endswith(": shown.")]
    text += (
        f" Each method is compared with {m.labels[m.reference]}, seed by seed: {len(shown)} of {len(whole)} differences"
        f"{' over all data sets and fractions together' if groups > 1 else ''} in {m.words} are shown."
    )
    return [Block("text", plain(" ".join([text, *(whole if len(whole) <= 3 else shown)])))]


def _results(m: Material) -> list[Block]:
    text = f"Mean {m.words} on the test images [95 % t interval over seeds], n seeds."
    figures = [
        figure_block(study_figures.results(runs, m.metric), f"{m.words.capitalize()} with {percent(fraction)}")
        for fraction, runs in m.by_fraction()
    ]
    return [Block("text", text), *_mean_tables(m, m.metric), *figures]


def _mean_tables(m: Material, metric: str) -> list[Block]:
    """A table a data set and pair: a row a method, a column a fraction."""
    blocks = []
    found = summary(m.table, metric)
    found["cell"] = [f"{interval(row, 'mean')}, n {row['seeds']}" for row in found.to_dict("records")]
    for (data, pair), rows in found.groupby(["data", "pair"], sort=False):
        wide = rows.pivot(index="label", columns="fraction", values="cell").reindex(rows["label"].unique())
        wide = wide.fillna(NONE).rename(columns=percent).rename_axis("method").reset_index()
        blocks.append(table_block(f"{data}, {pair}: {metric.replace('_', ' ')}", wide))
    return blocks


def _paired(m: Material) -> list[Block]:
    import pandas as pd

    if m.reference is None or m.gaps is None:
        return [Block("warning", "the reference has no finished run, so nothing is compared: pass another reference")]
    found = m.gaps
    if found.empty:
        return []
    text = (
        f"{m.words.capitalize()} of each method minus that of {m.labels[m.reference]}, paired by seed. p: two-sided "
        "sign-flip test (Wilcoxon's for many seeds); Holm: corrected for all "
        f"{found['p'].notna().sum()} differences; effect: Cohen's d_z with Hedges' correction; detectable: the true "
        "difference that a t test would find 4 times in 5."
    )
    if m.metric == "accuracy":
        text += (
            " The interval over seeds is about other seeds on these test images; that over images (a bootstrap) about "
            "these trained networks on other test images of the kind."
        )
    blocks = [Block("text", plain(text))]
    for title, rows in panels_of(found):
        records = rows.to_dict("records")
        cells = {
            "method": rows["label"],
            "difference [95 %, seeds]": [interval(row, "difference", "+") for row in records],
            **({"[95 %, images]": _over_images(m, rows)} if m.metric == "accuracy" else {}),
            "smallest, largest": [f"{number('+.3f')(r['smallest'])}, {number('+.3f')(r['largest'])}" for r in records],
            "better / equal / worse": [f"{row['better']} / {row['equal']} / {row['worse']}" for row in records],
            "p": rows["p"].map(number(".3g")),
            "Holm": rows["p_holm"].map(number(".3g")),
            "effect": rows["effect"].map(number("+.2f")),
            "detectable": rows["detectable"].map(number(".3f")),
            "n": rows["seeds"],
        }
        blocks.append(table_block(f"{title}: difference to {m.labels[m.reference]}", pd.DataFrame(cells)))
    for fraction, rows in found.groupby("fraction"):
        if rows["seeds"].any():
            figure = study_figures.paired_differences(m.table, m.reference, m.metric, fraction)
            blocks.append(figure_block(figure, f"Paired differences with {percent(fraction)}"))
    return [*blocks, *_said(m, found)]


def _over_images(m: Material, rows: pd.DataFrame) -> list[str]:
    """The interval over test images of each row of one group, as text."""
    runs, form = part_of(m.table, rows), number("+.3f")
    found = [m.over_images(runs, name) for name in rows["method"]]
    return [f"[{form(ends[0])}, {form(ends[1])}]" if ends else NONE for ends in found]


def _said(m: Material, found: pd.DataFrame) -> list[Block]:
    """What can be said and what cannot."""
    said = m.claims
    shown = [sentence for sentence in said if sentence.endswith(": shown.")]
    told = said if len(said) <= SENTENCES else shown
    seeds = max(int(found["seeds"].max()), 1)
    text = (
        f"{len(shown)} of {len(said)} differences are shown (Holm's p below {LEVEL}, and an interval without 0). One "
        f"that is not shown may still be there. With {seeds} seed(s) no p on one group is below {smallest_p(seeds):.3g}"
        f"{', so that nothing can be shown there' if smallest_p(seeds) >= LEVEL else ''}."
    )
    if m.table.groupby(list(GROUP)).ngroups > 1:
        text += (
            " Where several groups are taken together, a pair is the two methods' runs of one data set and seed, their "
            "difference averaged over fractions and networks, which share classifier and test images."
        )
    return [Block("text", text), Block("list", entries=[plain(sentence) for sentence in told])]


def _factorial(m: Material) -> list[Block]:
    import pandas as pd

    cells = {name for names in FACTORIAL.values() for name in names}
    groups = m.table[m.table["method"].isin(cells)].groupby(list(GROUP), sort=False)
    whole = groups.filter(lambda runs: cells <= set(runs["method"]))
    if whole.empty:
        return []
    text = "Differences between means of the six cells initialisation x auxiliary, paired by seed."
    blocks = [Block("text", text)]
    for title, rows in panels_of(factorial(whole, m.metric)):
        table = {
            "contrast": rows["contrast"],
            "difference [95 %]": [interval(row, "difference", "+") for row in rows.to_dict("records")],
            "p": rows["p"].map(number(".3g")),
            "Holm": rows["p_holm"].map(number(".3g")),
            "n": rows["seeds"],
        }
        blocks.append(table_block(f"{title}: contrasts in {m.words}", pd.DataFrame(table)))
    return blocks + [
        figure_block(study_figures.factorial(runs, m.metric), f"Initialisation and auxiliary with {percent(fraction)}")
        for fraction, runs in whole.groupby("fraction")
    ]


def _fractions(m: Material) -> list[Block]:
    if m.table["fraction"].nunique() < 2:
        return []
    figure = study_figures.fraction_curves(m.table, m.metric, m.reference)
    return [figure_block(figure, f"Mean {m.words} over the part of the training images; bars: 95 % intervals")]


def _cost(m: Material) -> list[Block]:
    columns = {
        m.metric: (m.words, ".3f", 1.0),
        "seconds": ("training (s)", ".3g", 1.0),
        "flops_per_step": ("GFLOPs a step", ".3g", 1e-9),
        "peak_memory_mb": ("peak memory (MB)", ".4g", 1.0),
        "parameters": ("parameters (thousands)", ".4g", 1e-3),
        "latency_ms": ("latency at batch 1 (ms)", ".3g", 1.0),
    }
    blocks = []
    for title, runs in panels_of(m.table):
        means = runs.groupby(["method", "label"], sort=False)[list(columns)].mean().reset_index()
        table = means[["label"]].set_axis(["method"], axis=1)
        for column, (words, form, unit) in columns.items():
            table[words] = (means[column] * unit).map(number(form))
        blocks.append(table_block(f"{title}: cost, mean over seeds", table))
    for fraction, runs in m.by_fraction():
        figure = study_figures.cost_accuracy(runs, m.metric, m.reference)
        blocks.append(figure_block(figure, f"{m.words.capitalize()} and cost with {percent(fraction)}"))
    return blocks


def _calibration(m: Material) -> list[Block]:
    text = "Expected calibration error (ece) on the test images, mean [95 % t interval over seeds], n seeds."
    figures = [
        figure_block(
            study_figures.reliability(runs, m.predictions), f"Accuracy and confidence with {percent(fraction)}"
        )
        for fraction, runs in m.by_fraction()
    ]
    return [Block("text", text), *_mean_tables(m, "ece"), *figures]


def _confusion(m: Material) -> list[Block]:
    """For the reference and the method that is best on validation."""
    classes = {record["key"]: record["classes"] for record in m.records}
    blocks = []
    for title, runs in panels_of(m.table):
        best = runs.groupby("method", sort=False)["val_accuracy"].mean().idxmax()
        roles = {m.reference: "the reference"} | {best: "best on validation"}
        for name in [name for name in roles if name in set(runs["method"])]:
            keys = [key for key in runs.loc[runs["method"] == name, "key"] if key in m.images]
            if not keys:
                continue
            probabilities = np.concatenate([m.images[key][1] for key in keys])
            labels = np.concatenate([m.images[key][0]["label"] for key in keys])
            counts = confusion(probabilities, labels, classes[keys[0]])
            caption = f"{title}: {m.labels[name]}, {roles[name]}; images summed over {len(keys)} seeds"
            table = counts.rename_axis("true class").reset_index()
            blocks += [table_block(f"{caption}; a column a predicted class", table)]
            blocks += [figure_block(run_figures.confusion(counts), caption)]
    return blocks


def _auxiliary(m: Material) -> list[Block]:
    settings = {r["names"]["method"]: r["config"]["distillation"] for r in m.records}
    updates = {name: found.get("auxiliary_update", "ema") for name, found in settings.items()}
    with_one = m.table.dropna(subset=["auxiliary_accuracy"])
    if with_one.empty:
        return []
    text = (
        "On the test images the main student is that of its best evaluation on validation, the auxiliary that of the "
        "last step: the two are of different steps, and so is what is averaged."
    )
    blocks, columns = [Block("text", text)], {"accuracy": "main (best on validation)"}
    columns |= {"auxiliary_accuracy": "auxiliary (last step)", "ensemble_accuracy": "both, averaged"}
    for title, runs in panels_of(with_one):
        means = runs.groupby(["method", "label"], sort=False)[list(columns)].mean().map(number(".3f"))
        table = means.rename(columns=columns).reset_index("label").rename(columns={"label": "method"})
        blocks.append(table_block(f"{title}: accuracy on the test images, mean over seeds", table))
        if not m.history["key"].isin(runs["key"]).any():
            continue
        figure = study_figures.auxiliary_over_time(runs, m.history, updates)
        blocks.append(figure_block(figure, f"{title}: means over seeds, bands from lowest to highest"))
    return blocks
