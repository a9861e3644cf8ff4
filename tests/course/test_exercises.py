"""Every exercise: right answers pass, stubs are open, each mistake is named without the answer."""

import importlib
import inspect
import math
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from dmws_lite.course import check
from dmws_lite.course.checks import exercise_function, texts
from dmws_lite.course.tables import evaluate, table_values

SOURCES = sorted((Path(__file__).parents[2] / "notebooks" / "instructor").glob("[0-9]*.ipynb"))
sys.path.append(str(Path(__file__).parent))
CHAPTERS = {path.stem[:2]: importlib.import_module(f"cases.chapter_{path.stem[:2]}") for path in SOURCES}


def table(name):
    """A table of all chapters, by exercise."""
    return {key: entry for chapter in CHAPTERS.values() for key, entry in getattr(chapter, name, {}).items()}


GIVEN, RIGHT, WRONG, SECRETS, MESSAGE, OPEN = map(table, ("GIVEN", "RIGHT", "WRONG", "SECRETS", "MESSAGE", "OPEN"))


def verdict_of(name, *answers):
    return check(name.split()[0], *answers, **GIVEN.get(name, {}))


def count(name):
    """How many answers an exercise asks for."""
    parameters = inspect.signature(exercise_function(name.split()[0])).parameters.values()
    return sum(p.kind is not p.KEYWORD_ONLY for p in parameters)


def known_mistakes(name):
    """Of an exercise that is a table: the answers that its known mistakes give, under these conditions."""
    exercise, given = name.split()[0], GIVEN.get(name, {})
    entry, module = texts()[exercise], importlib.import_module(f"dmws_lite.course.exercises.chapter_{exercise[:2]}")
    values = table_values(entry, getattr(module, f"values_{exercise[3:]}", dict)(**given))

    def answer(formula):
        if "cases" not in entry:
            return evaluate(formula, values)
        return lambda *arguments: evaluate(formula, values | dict(zip(entry["cases"][0], arguments, strict=True)))

    right = {asked: answer(row["value"]) for asked, row in entry["answers"].items()}
    formulas = [(asked, formula) for asked, row in entry["answers"].items() for formula in row["mistakes"]]
    return [list((right | {asked: answer(formula)}).values()) for asked, formula in formulas]


def rows(table):
    return [(name, row) for name, rows in table.items() for row in rows]


def test_every_exercise_has_right_answers():
    assert list(texts()) == [name for name in RIGHT if " " not in name]


@pytest.mark.parametrize(("name", "answers"), rows(RIGHT))
def test_right_answers(name, answers):
    verdict = verdict_of(name, *(answers if count(name) > 1 else [answers]))
    assert verdict.state == "right", verdict
    if answers is RIGHT[name][0]:
        assert MESSAGE.get(name, "") in verdict.message


@pytest.mark.parametrize("name", RIGHT)
def test_stubs_are_open(name):
    right = RIGHT[name][0] if count(name) > 1 else (RIGHT[name][0],)
    assert verdict_of(name, ..., *right[1:]).state == verdict_of(name, *right[:-1], ...).state == "open"
    if callable(right[0]):
        for stub in (lambda *_: None, lambda *_: ..., *OPEN.get(name, [])):
            assert verdict_of(name, stub).state == "open"


@pytest.mark.parametrize(("name", "row"), rows(WRONG))
def test_wrong_answers(name, row):
    *answers, part = row
    verdict = verdict_of(name, *answers)
    assert verdict.state == "wrong" and part.lower() in verdict.message.lower(), verdict
    given_away = [secret for secret in SECRETS.get(name, ()) if secret in verdict.message]
    assert all(secret in map(str, answers) for secret in given_away)


@pytest.mark.parametrize("exercise", texts())
def test_every_text_is_said_to_a_wrong_answer_and_gives_nothing_away(exercise):
    entry, messages = texts()[exercise], ""
    for name in [name for name in {**RIGHT, **WRONG} if name.split()[0] == exercise]:
        for *answers, _ in WRONG.get(name, []):
            messages += verdict_of(name, *answers).message.lower()
        for answers in known_mistakes(name) if "answers" in entry and name in RIGHT else []:
            verdict = verdict_of(name, *answers)
            messages += verdict.message.lower()
            given_away = [secret for secret in SECRETS.get(name, ()) if secret in verdict.message]
            assert verdict.state == "right" or not given_away, verdict
    reasons = [text for row in entry.get("answers", {}).values() for text in row["mistakes"].values()]
    reasons += [text for name, text in entry.items() if isinstance(text, str) and name not in ("right", "calls")]
    longest = [max(re.split(r"\{.*?\}", text), key=len).strip().lower() for text in reasons]
    assert [part for part in longest if part not in messages] == []


def raises(*_, **__):
    raise ZeroDivisionError("an answer's own mistake")


ODD = [None, "text", math.nan, True, [], [[1], [2, 3]], {"a": 1}, {1, "a"}, object(), int, 10**400, 1j]
ODD += [raises, lambda: 1, lambda *_, **__: "text", (i for i in range(3)), pd.DataFrame({"a": [1, 2]})]
ODD += [np.array(["a", "b"]), np.array([None, {}], dtype=object)]
ODD += [torch.zeros(2, 3, requires_grad=True), torch.eye(2).to_sparse()]


@pytest.mark.parametrize("name", texts())
def test_odd_answers_are_wrong_or_open_and_no_error(name):
    """Given, or returned by a function."""
    for answer in ODD:
        for case in (answer, lambda *_, answer=answer, **__: answer):
            verdict = verdict_of(name, *[case] * count(name))
            assert verdict.state in ("wrong", "open") and verdict.message, f"{type(answer)}: {verdict!r}"


@pytest.mark.parametrize("notebook", SOURCES, ids=lambda path: path.stem)
def test_every_chapter_checks_its_exercises_in_order_each_in_stub_and_solution(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    expected = [name for name in texts() if name.startswith(notebook.stem[:2])]
    assert re.findall(r"""\bcheck\(\s*["']([\w.]+)["']""", source) == [name for name in expected for _ in range(2)]
