"""Checks of chapter 00, the quickstart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dmws_lite.course.answers import array, called, compare, smallest
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.studies.statistics import LEVEL, smallest_p

CLASSES = ("a", "b", "c")
MADE_UP = pd.DataFrame([[6, 3, 1], [2, 15, 3], [0, 4, 36]], pd.Index(CLASSES), pd.Index(CLASSES))


def values_1(*, plans: Sequence[SelectionPlan]) -> dict[str, float]:
    """The shares of the teacher that the main student, the auxiliary, and both at once hold."""
    main, auxiliary = plans
    shared = main.overlap(auxiliary).total
    return {"main": main.coverage().total, "auxiliary": auxiliary.coverage().total, "shared": shared}


def exercise_2(measures: Any, *, counts: pd.DataFrame) -> dict[str, Any]:
    """Sensitivity and specificity of a class, as a function of the table of counts and the class's name."""
    for table in (MADE_UP, counts):
        images = table.sum(axis=1)
        named = table.index[(images > 0) & (images < images.sum())]  # have images, and others to be told from
        for name in named:
            _check_measures(measures, table, name)
    return {"name": min(named, key=lambda name: counts.loc[name, name] / counts.loc[name].sum())}


def exercise_3(seeds: Any) -> None:
    """The smallest number of seeds with which agreement by chance alone has p below 0.05."""
    smallest(seeds, smallest_p, LEVEL)


def _check_measures(measures: Any, table: pd.DataFrame, name: Any) -> None:
    answer = array(called(measures, table.copy(), name), (2,), case="sensitivity and specificity")
    whole, row, column = table.to_numpy().sum(), table.loc[name].sum(), table[name].sum()
    hit = table.loc[name, name]
    sensitivity, specificity = hit / row, (whole - row - column + hit) / (whole - row)
    accuracy = sum(table.loc[k, k] for k in table.index) / whole
    first = {"exchanged": specificity, "accuracy": accuracy} | ({"precision": hit / column} if column else {})
    compare(answer[0], sensitivity, f"sensitivity of {name!r}", **first)
    second = {"repeated": sensitivity, "false_alarms": 1 - specificity, "accuracy": accuracy}
    compare(answer[1], specificity, f"specificity of {name!r}", **second)
