"""Checking an answer to an exercise: the verdict says what is wrong with it, and does not give away what is right.

Exercise "03.2" is the entry "03.2" of exercises/chapter_03.yaml: a table (see `tables`), or the texts for the function
`exercise_2` of exercises/chapter_03.py: `right`, and one by each name with which the function raises Wrong.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from dmws_lite.course import exercises
from dmws_lite.course.answers import Open, Wrong, describe, unanswered
from dmws_lite.course.tables import check_table
from dmws_lite.runtime.text import require

MIME = "application/vnd.dmws-lite.verdict+json"  # a verdict's fields in a saved notebook
MARKS = {"right": "✓", "wrong": "✗", "open": "○"}
WORDS = {"right": "right", "wrong": "not yet", "open": "not answered yet"}
BORDERS = {"right": "solid #0072B2", "wrong": "double #D55E00", "open": "dotted #767676"}


@dataclass(frozen=True)
class Verdict:
    """The result of checking an answer; a notebook's cell that ends with it shows it, to screen readers too."""

    exercise: str
    state: str
    message: str

    def __repr__(self) -> str:
        return f"Exercise {self.exercise}: {MARKS[self.state]} {WORDS[self.state]}. {self.message}"

    def _repr_html_(self) -> str:
        mark = f'<span aria-hidden="true">{MARKS[self.state]}</span>'
        words = f"<b>Exercise {self.exercise}: {mark} {WORDS[self.state]}.</b> {escape(self.message)}"
        return f'<p role="status" style="border-left: 4px {BORDERS[self.state]}; padding-left: 0.6em">{words}</p>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {MIME: {"exercise": self.exercise, "state": self.state}}


def check(exercise: str, *answers: Any, **given: Any) -> Verdict:
    """Check the answers to an exercise, such as "03.2".

    answers: what the exercise asks for, in its order; `...` stands for "not answered yet".
    given:   what the check needs to know of the notebook (its plans, its table).
    Returns a Verdict: "right", "wrong" with what is wrong, or "open". An answer of an odd type is wrong, not an error.
    Raises ValueError for an exercise that does not exist, with those that do, and for too many or too few answers.
    """
    require("exercise", exercise, texts())
    function, messages = exercise_function(exercise), texts()[exercise]
    try:
        inspect.signature(function).bind(*answers, **given)
    except TypeError as error:
        raise ValueError(f"exercise {exercise} asks for {inspect.signature(function)}: {error}") from error
    if any(map(unanswered, answers)):
        return Verdict(exercise, "open", "Replace the three dots with your answer and run the cell again.")
    try:
        fields = function(*answers, **given) or {}
        return Verdict(exercise, "right", messages["right"].format(**given | fields))
    except Open as error:
        return Verdict(exercise, "open", str(error) or "Write your answer and run the cell again.")
    except Wrong as error:
        reason = error.reason
        if reason in messages:
            reason = messages[reason].format(**given | error.fields)
        return Verdict(exercise, "wrong", _capitalise(f"{error.case}: {reason}" if error.case else reason))
    except Exception as error:
        message = _capitalise(f"{', '.join(map(describe, answers))}: such an answer cannot be checked")
        return Verdict(exercise, "wrong", f"{message} ({type(error).__name__}: {str(error)[:200]})")


def exercise_function(name: str) -> Callable[..., dict[str, Any] | None]:
    """The function that checks an exercise; it returns the fields of the text for a right answer."""
    chapter, number = name.split(".")
    module, table = import_module(f"{exercises.__name__}.chapter_{chapter}"), texts()[name]

    def function(*answers: Any, **given: Any) -> dict[str, Any]:
        return check_table(table, getattr(module, f"values_{number}", dict)(**given), answers)

    if "answers" not in table:
        return getattr(module, f"exercise_{number}")
    parameters = [inspect.Parameter(answer, inspect.Parameter.POSITIONAL_OR_KEYWORD) for answer in table["answers"]]
    parameters += [inspect.Parameter(given, inspect.Parameter.KEYWORD_ONLY) for given in table.get("given", [])]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return function


@cache
def texts() -> dict[str, dict[str, Any]]:
    """The tables and texts, by exercise ("03.2") in the course's order."""
    files = sorted(Path(path) for folder in exercises.__path__ for path in Path(folder).glob("chapter_*.yaml"))
    return {name: entry for path in files for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def _capitalise(text: str) -> str:
    """The text with a capital at its start, unless it starts with a name from the code ("half_life: ...")."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+(?![\w.:(=])", text) else text
