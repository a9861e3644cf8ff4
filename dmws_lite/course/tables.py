"""Exercises that are tables: formulas for the right answers and for known mistakes, with the text for each.

    "09.4":
      given: [names of what the notebook passes on]
      let: {name: formula, of the names before it}
      answers: {name: {value: formula, relative: or absolute: tolerance, mistakes: {formula: text}}}
      right: text

A chapter's function `values_4(**given)` turns what is given into numbers. Where the answer is a function, `cases` holds
the arguments of its calls, and `calls` what a call is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dmws_lite.course.answers import Wrong, call_function, compare

Values = dict[str, Any]


def check_table(table: Mapping[str, Any], values: Values, answers: Sequence[Any]) -> Values:
    """Check the answers to an exercise; `values` is what is given, as numbers by name. Returns all values, by name."""
    values = table_values(table, values)
    for answer, (name, row) in zip(answers, table["answers"].items(), strict=True):
        if "cases" not in table:
            values["right"] = _compare_answer(answer, row, values, name if len(answers) > 1 else "")
        for arguments in table.get("cases", []):
            result = call_function(answer, *arguments.values())
            _compare_answer(result, row, values | arguments, table["calls"].format(**arguments))
    return values


def table_values(table: Mapping[str, Any], values: Values) -> Values:
    """The values, and those that the table defines by formulas."""
    values = dict(values)
    for name, formula in table.get("let", {}).items():
        values[name] = evaluate(formula, values)
    return values


def evaluate(formula: str | float, values: Values) -> float:
    """The value of a formula.

    >>> evaluate("sqrt(n) / 2", {"n": 16})
    2.0
    """
    import pandas as pd

    return float(pd.eval(str(formula), local_dict=values, engine="python"))


def _compare_answer(answer: Any, row: Mapping[str, Any], values: Values, case: str) -> float:
    right, texts = evaluate(row["value"], values), {str(key): text for key, text in row["mistakes"].items()}
    targets: dict[str, Any] = {formula: evaluate(formula, values) for formula in texts}
    try:
        compare(answer, right, case, row.get("relative", 0.01), row.get("absolute", 0.0), **targets)
    except Wrong as error:
        raise Wrong(texts.get(error.reason, error.reason), case) from None
    return right
