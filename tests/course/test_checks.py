"""What `check` makes of answers, and every exercise of the course against odd ones."""

import inspect
import math
import re
import runpy
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from dmws_lite.course import Open, Wrong, check, checks

ROOT = Path(__file__).parents[2]
EXERCISES = checks.all_exercises()


def exercise(answer, limit=2):
    """A made-up exercise: an even number."""
    if answer is None:
        raise Open
    if answer % limit:
        raise Wrong("odd")
    return "Even, since 2 · 1 < 3 & so on."


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    known = checks._of_chapter
    monkeypatch.setattr(checks, "_chapters", lambda: ["98", *EXERCISES_CHAPTERS])
    monkeypatch.setattr(checks, "_of_chapter", lambda name: {"98.1": exercise} if name == "98" else known(name))


EXERCISES_CHAPTERS = sorted({name.partition(".")[0] for name in EXERCISES})


def test_the_three_verdicts():
    assert repr(check("98.1", 4)) == "Exercise 98.1: ✓ right. Even, since 2 · 1 < 3 & so on."
    assert repr(check("98.1", 3)) == "Exercise 98.1: ✗ not yet. Odd"
    assert check("98.1", ...).state == check("98.1", None).state == check("98.1", [...]).state == "open"
    assert "not answered yet. Replace the three dots" in repr(check("98.1", ...))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a list is no number", "A list is no number"),
        ("too small", "Too small"),
        ("half_life: too small", "half_life: too small"),
        ("dlb: look at it", "dlb: look at it"),
        ("blocks.0.mlp.fc1.weight is as it was", "blocks.0.mlp.fc1.weight is as it was"),
        ("subset(8, 4, 1) gives 3 indices", "subset(8, 4, 1) gives 3 indices"),
        ("α still rises", "α still rises"),
    ],
)
def test_a_message_begins_with_a_capital_but_names_stay_as_they_are(said, shown):
    assert checks._sentence(said) == shown


def test_what_the_notebook_gives_is_passed_on():
    assert check("98.1", 9, limit=3).state == "right"


def test_an_error_within_a_check_is_a_wrong_answer_of_a_named_type():
    verdict = check("98.1", "four")
    assert verdict.state == "wrong"
    assert verdict.message == "The text 'four': such an answer cannot be checked (TypeError while checking)"
    assert check("98.1", Rude()).message.startswith("A Rude: such an answer")


def test_a_verdict_is_told_in_words_to_screen_readers_and_its_message_is_escaped():
    page = {state: check("98.1", answer)._repr_html_() for state, answer in (("right", 4), ("wrong", 3), ("open", ...))}
    assert all(html.startswith('<p role="status"') for html in page.values())
    assert " right." in page["right"] and " not yet." in page["wrong"] and " not answered yet." in page["open"]
    assert "2 · 1 &lt; 3 &amp; so" in page["right"]
    styles = {re.search(r"4px (\w+)", html)[1] for html in page.values()}
    assert len(styles) == 3  # told apart without colour


@pytest.mark.parametrize("name", ["98.2", "97.1", "exercise", "", "98", "98.1.1", "../98.1", 98.1, None])
def test_an_unknown_exercise_is_refused_with_those_that_exist(name):
    with pytest.raises(ValueError, match="unknown exercise .*: there are .*98.1"):
        check(name, 1)


def test_answers_that_do_not_fit_the_exercise_are_refused():
    with pytest.raises(ValueError, match=re.escape("exercise 98.1 asks for (answer, limit=2)")):
        check("98.1")
    with pytest.raises(ValueError, match="unexpected keyword argument 'limits'"):
        check("98.1", 1, limits=3)


# --- every exercise of the course ------------------------------------------------------------------------------------


class Rude:
    """An object with which nothing works."""

    def fail(self, *_):
        raise RuntimeError

    __repr__ = __eq__ = __len__ = __iter__ = __float__ = __getitem__ = __bool__ = __call__ = __getattr__ = fail
    __hash__ = object.__hash__


def raises(*_, **__):
    raise ZeroDivisionError("an answer's own mistake")


ODD = {
    "None": None,
    "dots": ...,
    "text": "text",
    "empty text": "",
    "nan": math.nan,
    "infinity": math.inf,
    "truth value": True,
    "empty list": [],
    "nested list": [[1], [2, 3]],
    "dict": {"a": 1},
    "set": {1, 2},
    "object": object(),
    "type": int,
    "function that raises": raises,
    "stub": lambda *_, **__: None,
    "function of nothing": lambda: 1,
    "function that returns text": lambda *_, **__: "text",
    "huge": 10**400,
    "complex": 1j,
    "bytes": b"0.5",
    "empty array": np.array([]),
    "array of texts": np.array(["a", "b"]),
    "array of objects": np.array([None, {}], dtype=object),
    "array of nan": np.full((2, 3), np.nan),
    "tensor": torch.zeros(2, 3, requires_grad=True),
    "tensor without elements": torch.zeros(0),
    "table": pd.DataFrame({"a": [1, 2]}),
    "generator": (i for i in range(3)),
    "a number with a gradient in a list": [torch.tensor(7.7, requires_grad=True)] * 2,
    "sparse tensor": torch.eye(2).to_sparse(),
    "table of texts": pd.DataFrame({"a": ["1", None]}),
    "set of both": {1, "a"},
    "rude": Rude(),
}


def given_of(name: str) -> dict:
    """What the notebook gives to an exercise, from the tests of its chapter."""
    return runpy.run_path(str(Path(__file__).with_name(f"test_chapter_{name[:2]}.py")))["GIVEN"][name]


def asked_of(name: str) -> int:
    """How many answers an exercise asks for."""
    parameters = inspect.signature(EXERCISES[name]).parameters.values()
    return sum(p.kind is not p.KEYWORD_ONLY for p in parameters)


@pytest.mark.parametrize("name", [name for name in EXERCISES if name != "04.3"])  # its networks take time
def test_with_what_the_notebook_gives_odd_answers_are_understood_as_such(name):
    """Unlike below, no answer may end in an error that `check` has to catch, be it given or returned by a function."""
    given, count = given_of(name), asked_of(name)
    for odd, answer in ODD.items():
        if odd == "rude":
            continue
        for case in (answer, lambda *_, answer=answer, **__: answer):
            verdict = check(name, *[case] * count, **given)
            assert verdict.state in ("wrong", "open"), f"{odd}: {verdict!r}"
            assert "while checking" not in verdict.message, f"{odd}: {verdict!r}"


@pytest.mark.parametrize("name", EXERCISES)
def test_no_odd_answer_ends_in_an_error(name):
    parameters = inspect.signature(EXERCISES[name]).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind is not p.KEYWORD_ONLY]
    given = {p.name: None for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY}
    if any(p.kind is p.VAR_POSITIONAL for p in needed):
        needed = needed[:1]
    for odd, answer in ODD.items():
        verdict = check(name, *[answer] * len(needed), **given)
        assert verdict.state in ("wrong", "open"), f"{odd}: {verdict!r}"
        assert verdict.message and verdict._repr_html_(), odd


def called_in(notebook: Path) -> list[str]:
    cells = nbformat.read(notebook, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    return re.findall(r"""\bcheck\(\s*["']([\w.]+)["']""", source)


@pytest.mark.parametrize(
    "notebook", sorted((ROOT / "notebooks" / "instructor").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_every_chapter_checks_its_exercises_in_order_each_in_stub_and_solution(notebook):
    chapter = notebook.stem[:2]
    expected = [name for name in EXERCISES if name.startswith(f"{chapter}.")]
    assert called_in(notebook) == [name for name in expected for _ in range(2)]


def test_every_exercise_has_its_chapter():
    chapters = {path.stem[:2] for path in (ROOT / "notebooks" / "instructor").glob("*.ipynb")}
    assert {name[:2] for name in EXERCISES} <= chapters
