"""Parameters of a notebook: unknown and mistyped ones are refused before anything runs."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

TRUTH = {"true": True, "false": False}
WORDS = {bool: "truth value (True or False)", int: "whole number", float: "number", str: "text"}


def typed(values: Mapping[str, Any], defaults: Mapping[str, str], notebook: str) -> dict[str, Any]:
    """Values of the types that a notebook's defaults have.

    values:   by name; texts, as a command line or a CSV file gives them, are read as the default's type.
    defaults: of the notebook's parameters, as source text.
    A whole number is taken for a float, a list for a tuple; where the default is None, anything is.
    Raises ValueError for an unknown name, with the notebook's own, and for a value of another type.

    >>> typed({"smoke": "true", "lr": "1"}, {"smoke": "False", "lr": "0.1"}, "00.ipynb")
    {'smoke': True, 'lr': 1.0}
    """
    unknown = ", ".join(repr(str(name)) for name in values if name not in defaults)
    if unknown:
        valid = ", ".join(f"{name} = {default}" for name, default in defaults.items()) or "none"
        raise ValueError(f"{notebook} has no parameter {unknown}: its parameters are {valid}")
    return {name: _typed(name, value, defaults[name]) for name, value in values.items()}


def _typed(name: str, value: Any, source: str) -> Any:
    default = _literal(source)
    kind = type(default)
    free = default is None or default == source  # None, or no literal: nothing is known of its type
    read = _literal(value) if isinstance(value, str) and (free or kind is not str) else value
    if free:
        return read
    if (kind is float and type(read) is int) or (kind in (list, tuple) and isinstance(read, list | tuple)):
        read = kind(read)
    if type(read) is not kind:
        word = WORDS.get(kind, f"{kind.__name__}, such as {source}")
        raise ValueError(f"parameter {name} = {value!r} is no {word}: its default is {source}")
    return read


def _literal(text: str) -> Any:
    """The Python literal that a text is; the text itself when it is none. true and false count, as for papermill."""
    if text.strip().lower() in TRUTH:
        return TRUTH[text.strip().lower()]
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
