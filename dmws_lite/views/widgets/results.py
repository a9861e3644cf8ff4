"""The explorer of a study's results."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import ipywidgets

from dmws_lite.studies.statistics import differences
from dmws_lite.views.study_figures import differences_found, results
from dmws_lite.views.study_panels import in_words, labels_of, panels_of, part_of
from dmws_lite.views.widgets.parts import as_html, choice, choices, explorer

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece", "seconds", "flops_per_step", "step_memory_mb")


def results_explorer(table: pd.DataFrame) -> ipywidgets.VBox:
    """Choose methods, data set and fraction, a metric and what to compare with, and see intervals over seeds.

    table: a row a run, as `Store.table` or `compare(...).table` gives it.
    p values are corrected over all methods and groups of the table, however few of them are shown.
    The static twins are `figures.results(table, metric)` and `figures.paired_differences(table, reference, metric)`.
    Raises ValueError for a table without runs.
    """
    if table.empty:
        raise ValueError("the table has no runs: run a study first")
    labels, groups = labels_of(table), dict(panels_of(table))
    metrics = [name for name in METRICS if name in table and table[name].notna().any()]
    controls = {
        "methods": choices("methods", [(label, name) for name, label in labels.items()], labels),
        "group": choice(
            "data, fraction", [*([(t or "all", t) for t in groups]), *([("all", None)] * (len(groups) > 1))]
        ),
        "metric": choice("metric", [(in_words(name), name) for name in metrics]),
        "reference": choice(
            "difference to", [("– (results)", None), *((label, name) for name, label in labels.items())]
        ),
    }

    @cache
    def found(reference: str, metric: str) -> pd.DataFrame:
        return differences(table, reference, metric)

    def draw(methods: tuple[str, ...], group: str | None, metric: str, reference: str | None) -> str:
        runs = table if group is None else groups[group]
        if reference is None:
            if not methods:
                raise ValueError("no method is chosen: choose one or more")
            return as_html(results(runs[runs["method"].isin(methods)], metric))
        rows = found(reference, metric)
        rows = rows[rows["method"].isin(methods) & (rows["seeds"] > 0)]
        rows = rows if group is None else part_of(rows, runs)
        if rows.empty:
            raise ValueError(f"no chosen method has a seed in common with {labels[reference]}: choose others")
        return as_html(differences_found(runs, rows, reference, metric))

    return explorer(controls, draw)
