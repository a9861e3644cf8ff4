"""Checks of chapter 00, the quickstart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dmws_lite.course.answers import array, called, compared, smallest
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.studies.statistics import smallest_p

LEVEL = 0.05
CLASSES = ("a", "b", "c")
MADE_UP = pd.DataFrame([[6, 3, 1], [2, 15, 3], [0, 4, 36]], pd.Index(CLASSES), pd.Index(CLASSES))


def exercise_1(together: Any, *, plans: Sequence[SelectionPlan]) -> str:
    """The share of the teacher's weights that both students hold together."""
    main, auxiliary = (plan.coverage().total for plan in plans)
    shared = plans[0].overlap(plans[1]).total
    mistakes = {
        main: "this is what one student holds",
        1.0: "each index goes to a student, but an element of a matrix needs both of its indices in the same student",
        main * auxiliary: "shares of one whole are added",
        main + auxiliary: "what both hold is counted twice",
    }
    found = compared(together, main + auxiliary - shared, mistakes, relative=0.005)
    return (
        f"{found:.1%}, and {1 - found:.1%} of the teacher goes to nobody: whole blocks, where students have fewer, and "
        "all connections from one student's channels to the other's. Chapter 03 draws them."
    )


def exercise_2(measures: Any, *, counts: pd.DataFrame) -> str:
    """Sensitivity and specificity of a class, as a function of the table of counts and the class's name."""
    for table in (MADE_UP, counts):
        for name in _with_images(table):
            _check_measures(measures, table, name)
    lowest = min(_with_images(counts), key=lambda name: counts.loc[name, name] / counts.loc[name].sum())
    return f"The student misses {lowest!r} most often: an accuracy over all classes does not say that."


def exercise_3(seeds: Any) -> str:
    """The smallest number of seeds with which agreement by chance alone has p below 0.05."""

    def too_few(n: int) -> str:
        return (
            f"with {n} seeds all agree in {smallest_p(n):.3g} of the comparisons of equal methods: all better or all "
            "worse, both look clear"
        )

    smallest(seeds, lambda n: smallest_p(n) < LEVEL, too_few)
    return (
        "And this holds for a single comparison with all seeds on one side. Whoever compares several methods needs "
        "more: chapter 07."
    )


def _with_images(table: pd.DataFrame) -> list[Any]:
    """The classes that have images, and others to be told from."""
    rows = table.sum(axis=1)
    return list(table.index[(rows > 0) & (rows < rows.sum())])


def _check_measures(measures: Any, table: pd.DataFrame, name: Any) -> None:
    answer = array(called(measures, table.copy(), name), (2,), name="sensitivity and specificity")
    whole, row, column = table.to_numpy().sum(), table.loc[name].sum(), table[name].sum()
    hit = table.loc[name, name]
    sensitivity, specificity = hit / row, (whole - row - column + hit) / (whole - row)
    accuracy = {sum(table.loc[k, k] for k in table.index) / whole: "this is the accuracy over all classes"}
    first = {specificity: "sensitivity and specificity are exchanged", **accuracy}
    if column:
        first[hit / column] = (
            "this is a share of the images that are called so; a share of those that are so is asked for"
        )
    compared(answer[0], sensitivity, first, f"sensitivity of {name!r}")
    second = {sensitivity: "this is the sensitivity once more", 1 - specificity: "this is the rate of false alarms"}
    compared(answer[1], specificity, {**second, **accuracy}, f"specificity of {name!r}")
