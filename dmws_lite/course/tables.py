"""Exercises that are tables: formulas for the right answers and for known mistakes, with what is said to each.

    "09.4":
      given: [names of what the notebook passes on]
      let: {name: formula, of the names before it}
      answers: {name: {value: formula, relative: or absolute: tolerance, mistakes: {formula: text}}}
      right: text

A chapter's function `values_4(**given)` turns what is given into numbers. Where the answer is a function, `cases` holds
the arguments of its calls, and `calls` what a call is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dmws_lite.course.answers import Wrong, called, compare

Values = dict[str, Any]


def table_check(table: Mapping[str, Any], values_of: Callable[..., Values]) -> Callable[..., Values]:
    """A check of the answers to an exercise that is a table; values_of: what is given, as numbers by name."""

    def check(*answers: Any, **given: Any) -> Values:
        values = table_values(table, values_of(**given))
        for answer, (name, row) in zip(answers, table["answers"].items(), strict=True):
            if "cases" not in table:
                values["right"] = _compare(answer, row, values, name if len(answers) > 1 else "")
            for arguments in table.get("cases", []):
                result = called(answer, *arguments.values())
                _compare(result, row, values | arguments, table["calls"].format(**arguments))
        return values

    return check


def table_values(table: Mapping[str, Any], values: Values) -> Values:
    """The values, and those that the table defines by formulas."""
    for name, formula in table.get("let", {}).items():
        values = values | {name: evaluate(formula, values)}
    return values


def evaluate(formula: str | float, values: Values) -> float:
    """The value of a formula.

    >>> evaluate("sqrt(n) / 2", {"n": 16})
    2.0
    """
    import pandas as pd

    return float(pd.eval(str(formula), local_dict=values, engine="python"))


def _compare(answer: Any, row: Mapping[str, Any], values: Values, case: str) -> float:
    right, texts = evaluate(row["value"], values), {str(key): text for key, text in row["mistakes"].items()}
    targets: dict[str, Any] = {formula: evaluate(formula, values) for formula in texts}
    try:
        compare(answer, right, case, row.get("relative", 0.01), row.get("absolute", 0.0), **targets)
    except Wrong as error:
        raise Wrong(texts.get(error.reason, error.reason), case) from None
    return right
