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

ALL = "all"
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece", "seconds", "flops_per_step")


def results_explorer(table: pd.DataFrame) -> ipywidgets.VBox:
    """Choose methods, data set and fraction, a metric and what to compare with, and see intervals over seeds.

    table: a row a run, as `Store.table` or `compare(...).table` gives it.
    p values are corrected over all methods and groups of the table, however few of them are shown.
    The static twins are `figures.results(table, metric)` and `figures.paired_differences(table, reference, metric)`.
    Raises ValueError for a table without runs.
    """
    if table.empty:
        raise ValueError("the table has no runs: run a study first")
    labels = labels_of(table)
    groups = {title or ALL: rows for title, rows in panels_of(table)}
    groups |= {ALL: table} if len(groups) > 1 else {}
    metrics = [name for name in METRICS if name in table and table[name].notna().any()]
    named = [(label, name) for name, label in labels.items()]
    controls = {
        "methods": choices("methods", named, labels),
        "group": choice("data, fraction", groups),
        "metric": choice("metric", [(in_words(name), name) for name in metrics]),
        "reference": choice("difference to", [("– (results)", ""), *named]),
    }

    @cache
    def found(reference: str, metric: str) -> pd.DataFrame:
        return differences(table, reference, metric)

    def draw(methods: tuple[str, ...], group: str, metric: str, reference: str) -> str:
        runs = groups[group]
        if not reference:
            if not methods:
                raise ValueError("no method is chosen: choose one or more")
            return as_html(results(runs[runs["method"].isin(methods)], metric))
        rows = found(reference, metric)
        rows = part_of(rows[rows["method"].isin(methods) & (rows["seeds"] > 0)], runs)
        if rows.empty:
            raise ValueError(f"no chosen method has a seed in common with {labels[reference]}: choose others")
        return as_html(differences_found(runs, rows, reference, metric))

    return explorer(controls, draw)
