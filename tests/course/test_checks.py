"""What `check` makes of a verdict, on a made-up exercise."""

import re

import pytest
from IPython.core.formatters import DisplayFormatter

from dmws_lite.course import Open, Wrong, check, checks


def exercise(answer, limit=2):
    """An even number."""
    if answer is None:
        raise Open
    if answer % limit:
        raise Wrong("odd", "half_life" if answer > 100 else "", rest=answer % limit)
    return {"half": answer // 2}


@pytest.fixture(autouse=True)
def made_up(monkeypatch):
    texts = {"98.1": {"right": "Even, since {half} < 3 & so on.", "odd": "there is a rest of {rest}"}}
    monkeypatch.setattr(checks, "texts", lambda: texts)
    monkeypatch.setattr(checks, "exercise_function", lambda name: exercise)


def test_the_three_verdicts():
    assert repr(check("98.1", 4)) == "Exercise 98.1: ✓ right. Even, since 2 < 3 & so on."
    assert repr(check("98.1", 3)) == "Exercise 98.1: ✗ not yet. There is a rest of 1"
    assert check("98.1", 103).message == "half_life: there is a rest of 1"
    assert check("98.1", ...).state == check("98.1", None).state == check("98.1", [...]).state == "open"
    verdict = check("98.1", "four")
    assert verdict.state == "wrong" and "The text 'four': such an answer cannot be checked (Type" in verdict.message


def test_a_verdict_is_told_in_words_to_screen_readers_and_in_fields_to_programs():
    shown = [DisplayFormatter().format(check("98.1", answer))[0] for answer in (4, 3, ...)]
    pages = [bundle["text/html"] for bundle in shown]
    assert all(page.startswith('<p role="status"') for page in pages) and "2 &lt; 3 &amp; so" in pages[0]
    assert all(f" {word}." in page for page, word in zip(pages, checks.WORDS.values(), strict=True))
    assert len({re.search(r"4px (\w+)", page)[1] for page in pages}) == 3  # told apart without colour
    assert shown[1][checks.MIME] == {"exercise": "98.1", "state": "wrong"}


def test_what_no_exercise_asks_for_is_refused():
    for name in ("98.2", "exercise", "../98.1", 98.1, None):
        with pytest.raises(ValueError, match="unknown exercise .*: choose from 98.1"):
            check(name, 1)
    assert check("98.1", 9, limit=3).state == "right"
    for answers, given in (([], {}), ([1], {"limits": 3})):
        with pytest.raises(ValueError, match=re.escape("exercise 98.1 asks for (answer, limit=2)")):
            check("98.1", *answers, **given)
