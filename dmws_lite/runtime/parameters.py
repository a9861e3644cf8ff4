"""Parameters of a notebook: unknown and mistyped ones are refused before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

TRUTH = {"true": True, "false": False}
WORDS = {
    bool: "truth value (True or False)",
    int: "whole number",
    float: "number",
    str: "text",
    list: "list, such as [1, 2]",
    tuple: "tuple, such as (1, 2)",
}


def typed(values: Mapping[str, Any], known: Mapping[str, str], notebook: str) -> dict[str, Any]:
    """Values of the types that a notebook's defaults have.

    values: by name; texts, as a command line or a CSV file gives them, are read as the default's type.
    known:  the notebook's parameters and their defaults, as source text.
    A whole number is taken for a float, a list for a tuple; where the default is None, anything is.
    Raises ValueError for an unknown name, with the known ones, and for a value of another type.

    >>> typed({"smoke": "true", "lr": "1"}, {"smoke": "False", "lr": "0.1"}, "00.ipynb")
    {'smoke': True, 'lr': 1.0}
    """
    unknown = sorted(map(str, values.keys() - known.keys()))
    if unknown:
        valid = ", ".join(f"{name} = {value}" for name, value in known.items()) or "none"
        raise ValueError(f"{notebook} has no parameter {', '.join(map(repr, unknown))}: its parameters are {valid}")
    return {name: _value(name, value, known[name]) for name, value in values.items()}


def _value(name: str, value: Any, source: str) -> Any:
    default = _literal(source)
    wanted = type(default)
    if default is None or (wanted is str and default == source):  # no literal: nothing is known of its type
        return _literal(value) if isinstance(value, str) else value
    found = _literal(value) if isinstance(value, str) and wanted is not str else value
    if wanted is float and type(found) is int:
        found = float(found)
    if wanted in (list, tuple) and isinstance(found, list | tuple):
        found = wanted(found)
    if type(found) is not wanted:
        word = WORDS.get(wanted, wanted.__name__)
        raise ValueError(f"parameter {name} = {value!r} is no {word}: its default is {source}")
    return found


def _literal(text: str) -> Any:
    """The Python literal that a text is; the text itself when it is none. true and false count, as for papermill."""
    if text.strip().lower() in TRUTH:
        return TRUTH[text.strip().lower()]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
