"""Parameters of a notebook: unknown and mistyped ones are refused before anything runs."""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from dmws_lite.runtime.validation import parse_yaml

WORDS = {bool: "truth value (True or False)", int: "whole number", float: "number", str: "text"}


def typed(values: Mapping[str, Any], defaults: Mapping[str, str], notebook: str) -> dict[str, Any]:
    """Values as the types of a notebook's defaults (given as source text), so that they can be written into it.

    Texts, as a command line or a CSV file gives them, are read as the default's type; arrays and numpy's numbers become
    Python's, paths and dates text. A whole number is taken for a float; where the default is None, any type is.

    >>> typed({"smoke": "true", "lr": "1"}, {"smoke": "False", "lr": "0.1"}, "00.ipynb")
    {'smoke': True, 'lr': 1.0}
    """
    unknown = ", ".join(repr(str(name)) for name in values if name not in defaults)
    if unknown:
        valid = ", ".join(f"{name} = {default}" for name, default in defaults.items()) or "none"
        raise ValueError(f"{notebook} has no parameter {unknown}: its parameters are {valid}")
    return {name: _convert(name, value, defaults[name]) for name, value in values.items()}


def read_batch(path: Path) -> list[dict[str, Any]]:
    """Sets of parameters: the rows of a .csv or .tsv file, where an empty cell leaves the default, or a YAML list."""
    if not path.is_file():
        raise FileNotFoundError(f"batch file {path} is not there, or is a folder: pass a .csv or .yaml file")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() in (".csv", ".tsv"):
            separator = max(",;\t", key=text.partition("\n")[0].count)
            table = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restkey="(cell without a name)")
            refuse_twice(table.fieldnames or [])
            filled = ({name: value for name, value in row.items() if value and any(value)} for row in table)
            rows = list(filter(None, filled))
        else:
            rows = [dict(row) for row in parse_yaml(text, path)]
    except UnicodeDecodeError as error:
        raise ValueError(f"batch file {path} is not UTF-8 ({error}): save it as UTF-8 (CSV UTF-8 in Excel)") from error
    except (ValueError, TypeError, csv.Error, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"batch file {path} cannot be read as CSV, or as a YAML list of mappings: {reason}") from error
    if not rows:
        raise ValueError(f"batch file {path} lists no runs: add a row of parameters for each")
    return rows


def refuse_twice(names: Sequence[str]) -> None:
    """Raise ValueError for a parameter that is there more than once."""
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"parameter {', '.join(sorted(twice))} is given more than once: give each one value")


def _convert(name: str, value: Any, source: str) -> Any:
    """A value as the type of its parameter's default, whose source text is given."""
    default = _parse_literal(source)
    kind = list if isinstance(default, tuple) else type(default)
    any_type = default is None or default == source  # None, or no literal: nothing is known of its type
    converted = value
    if isinstance(value, str) and (any_type or kind is not str):
        converted = _parse_literal(value)
    try:
        converted = json.loads(json.dumps(converted, default=_to_json, allow_nan=False))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        kinds = "a text, number, truth value, list, mapping, path, date or None"
        raise ValueError(f"parameter {name} = {value!r} cannot be written into a notebook: pass {kinds}") from error
    if kind is float and type(converted) is int:
        converted = float(converted)
    if not any_type and type(converted) is not kind:
        word = WORDS.get(kind, f"{type(default).__name__}, such as {source}")
        raise ValueError(f"parameter {name} = {value!r} is no {word}: its default is {source}")
    return converted


def _to_json(value: Any) -> Any:
    """What JSON has no type for, as one that it has: numbers and arrays of numpy, pandas and torch; paths and dates."""
    if isinstance(value, PurePath):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value.isoformat()


def _parse_literal(text: str) -> Any:
    """The value of a Python literal, or the text itself when it is none; also of true and false, as for papermill."""
    word = text.strip()
    try:
        return ast.literal_eval(word.title() if word.lower() in ("true", "false") else word)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
