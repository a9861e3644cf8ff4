"""Checking an answer to an exercise: what is wrong with it is said, what is right is not given away."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from importlib import import_module
from typing import Any

from dmws_lite.course import exercises
from dmws_lite.course.answers import Open, Wrong, kind, unanswered

MARKS = {"right": "✓", "wrong": "✗", "open": "○"}
WORDS = {"right": "right", "wrong": "not yet", "open": "not answered yet"}
BORDERS = {"right": "solid #0072B2", "wrong": "double #D55E00", "open": "dotted #767676"}


@dataclass(frozen=True)
class Verdict:
    """What came of checking an answer; a notebook's cell that ends with it shows it, and says it to a screen reader."""

    exercise: str
    state: str
    message: str

    def __repr__(self) -> str:
        return f"Exercise {self.exercise}: {MARKS[self.state]} {WORDS[self.state]}. {self.message}"

    def _repr_html_(self) -> str:
        mark = f'<span aria-hidden="true">{MARKS[self.state]}</span>'
        words = f"<b>Exercise {self.exercise}: {mark} {WORDS[self.state]}.</b> {escape(self.message)}"
        return f'<p role="status" style="border-left: 4px {BORDERS[self.state]}; padding-left: 0.6em">{words}</p>'


def check(exercise: str, *answers: Any, **given: Any) -> Verdict:
    """Check the answers to an exercise.

    exercise: chapter and number, such as "03.2".
    answers:  what the exercise asks for, in its order; `...` stands for "not answered yet".
    given:    what the check needs to know of the notebook (its plans, its table).
    Returns a Verdict: "right", "wrong" with what is wrong, or "open". An answer of an odd type is wrong, not an error.
    Raises ValueError for an exercise that does not exist, with those that do, and for too many or too few answers.
    """
    function = _exercise(exercise)
    try:
        inspect.signature(function).bind(*answers, **given)
    except TypeError as error:
        raise ValueError(f"exercise {exercise} asks for {inspect.signature(function)}: {error}") from error
    if any(map(unanswered, answers)):
        return Verdict(exercise, "open", "Replace the three dots with your answer and run the cell again.")
    try:
        return Verdict(exercise, "right", function(*answers, **given))
    except Open as error:
        return Verdict(exercise, "open", str(error) or "Write your answer and run the cell again.")
    except Wrong as error:
        return Verdict(exercise, "wrong", _sentence(str(error)))
    except Exception as error:
        came = _sentence(f"{', '.join(map(kind, answers))}: such an answer cannot be checked")
        return Verdict(exercise, "wrong", f"{came} ({type(error).__name__} while checking)")


def all_exercises() -> dict[str, Callable[..., str]]:
    """The check of every exercise, by its name ("03.2"), in the course's order."""
    return {name: function for chapter in _chapters() for name, function in _of_chapter(chapter).items()}


def _chapters() -> list[str]:
    names = (module.name for module in pkgutil.iter_modules(exercises.__path__))
    return sorted(name.removeprefix("chapter_") for name in names if name.startswith("chapter_"))


def _of_chapter(chapter: str) -> dict[str, Callable[..., str]]:
    module = import_module(f"{exercises.__name__}.chapter_{chapter}")
    numbers = sorted(int(n) for n in re.findall(r"\bexercise_(\d+)\b", " ".join(vars(module))))
    return {f"{chapter}.{n}": getattr(module, f"exercise_{n}") for n in numbers}


def _exercise(name: str) -> Callable[..., str]:
    chapter = str(name).partition(".")[0]
    known = _of_chapter(chapter) if chapter in _chapters() else {}
    if name not in known:
        raise ValueError(f"unknown exercise {name!r}: there are {', '.join(all_exercises()) or 'none'}")
    return known[name]


def _sentence(text: str) -> str:
    """With a capital at its start, unless a name from the code stands there ("half_life: ...", "blocks.0 is ...")."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z]+(?![\w.:(=])", text) else text
