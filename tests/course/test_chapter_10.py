"""The exercises of chapter 10: right answers pass, wrong ones hear what is wrong."""

from pathlib import Path

import nbformat
import numpy as np
import pytest

from dmws_lite.course import check
from dmws_lite.data.messy import messy_folder
from dmws_lite.data.opening import new_card


def apart(train, test):
    if "" in train or "" in test:
        return "unknown"
    return "no" if set(train) & set(test) else "yes"


GIVEN = {"10.1": {}, "10.2": {}, "10.3": {"comparisons": 2}, "10.4": {}}


def shared(train, test):
    return "no" if set(train) & set(test) else "yes"


RIGHT = {"10.1": [apart], "10.2": [246, 246.0, np.int64(246)], "10.3": [7], "10.4": ["B", " b "]}
WRONG = [
    ("10.1", lambda a, b: "no" if set(a) & set(b) else "yes", "no id"),
    ("10.1", lambda a, b: "no" if a == b else "yes", "share a patient"),
    ("10.1", lambda a, b: "yes" if set(a) & set(b) else "no", "share none"),
    ("10.1", lambda a, b: "unknown" if "" in a else shared(a, b), "without an id in test"),
    ("10.1", lambda a, b: "unknown" if "" in b else shared(a, b), "without an id in train"),
    (
        "10.1",
        lambda a, b: "unknown" if "" in set(a) & set(b) else shared(a, b),
        "both yes and no are guesses",
    ),
    ("10.1", lambda a, b: "unknown", "all ids are known"),
    ("10.1", lambda a, b: True, "none of the options"),
    ("10.1", lambda a: "yes", "TypeError"),
    ("10.2", 64, "one standard error"),
    ("10.2", 61.5, "not the whole width"),
    ("10.2", 984, "do not halve"),
    ("10.2", 385, "accuracy of 0.5"),
    ("10.2", 100, "the interval reaches 0.0784 far"),
    ("10.2", 244, "reaches 0.0502 far"),
    ("10.2", 245, "reaches 0.0501 far"),
    ("10.2", 245.86, "a whole number is asked for"),
    ("10.2", 256, "two standard errors"),
    ("10.2", 2000, "fewer would do"),
    ("10.2", 250, "fewer would do"),
    ("10.2", 15.7, "solve for the number"),
    ("10.2", "many", "no number"),
    ("10.3", 6, "right for one comparison"),
    ("10.3", 3, "smallest p of 3 seeds is 0.25"),
    ("10.3", 8, "fewer would do"),
    ("10.3", 6.5, "whole number"),
    ("10.4", "A", "one throw of four"),
    ("10.4", "c", "not the same"),
    ("10.4", 2, "none of the options"),
]


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answers_and_the_stub(exercise):
    for answer in RIGHT[exercise]:
        verdict = check(exercise, answer, **GIVEN[exercise])
        assert verdict.state == "right", verdict
    for open_answer in (..., None, *((lambda *_: None,) if exercise == "10.1" else ())):
        assert check(exercise, open_answer, **GIVEN[exercise]).state == "open"


@pytest.mark.parametrize(("exercise", "answer", "said"), WRONG)
def test_wrong_answers(exercise, answer, said):
    verdict = check(exercise, answer, **GIVEN[exercise])
    assert verdict.state == "wrong" and said in verdict.message, verdict
    solution = {"10.2": "246", "10.3": " 7"}.get(exercise)
    assert solution is None or solution not in verdict.message


@pytest.mark.parametrize(("comparisons", "seeds"), [(1, 6), (2, 7), (3, 7), (6, 8)])
def test_the_number_of_seeds_follows_the_rule(comparisons, seeds):
    assert comparisons * 2.0 ** (1 - seeds) < 0.05 <= comparisons * 2.0 ** (2 - seeds)  # the rule itself, by hand
    assert check("10.3", seeds, comparisons=comparisons).state == "right"
    assert check("10.3", seeds - 1, comparisons=comparisons).state == "wrong"


def test_a_second_run_leaves_a_completed_card_alone(tmp_path, capsys):
    chapter = Path(__file__).parents[2] / "notebooks" / "instructor" / "10_your_own_data.ipynb"
    cell = next(c.source for c in nbformat.read(chapter, as_version=4).cells if "new_card(data" in c.source)
    data = messy_folder(tmp_path / "mine", patients=36)
    known = {"data": data, "output": tmp_path / "out", "seed": 0, "Path": Path, "new_card": new_card}
    for words in ("was written", "was there already"):
        exec(cell.split("splits =")[0], known)
        assert words in capsys.readouterr().out
        known["source"].write_text(known["source"].read_text() + "My own words.", encoding="utf-8")
    assert known["source"].read_text().endswith("My own words.My own words.")
