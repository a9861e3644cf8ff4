"""Checks of chapter 10, your own data."""

from __future__ import annotations

from typing import Any

from dmws_lite.course.answers import Wrong, called, choice, number, smallest
from dmws_lite.studies.statistics import smallest_p

LEVEL = 0.05
CASES = (
    (("P1", "P2", "P2"), ("P3", "P4"), "yes", "nobody in both"),
    (("P1", "P2"), ("P2", "P3"), "no", "P2 in both"),
    (("P1", "", ""), ("", "P4"), "unknown", "images without an id on both sides"),
    (("P1", ""), ("P3", "P4"), "unknown", "an image without an id in train"),
    (("P1", "P2"), ("P3", ""), "unknown", "an image without an id in test"),
)


def exercise_1(apart: Any) -> str:
    """Whether no patient is in train and in test: "yes", "no", or "unknown" where ids are missing."""
    for train, test, right, case in CASES:
        found = _verdict(called(apart, train, test), case)
        if found != right and right == "unknown":
            raise Wrong(f"{case}: an empty text is no id, and both yes and no are guesses")
        if found != right and found == "unknown":
            raise Wrong(f"{case}: all ids are known, so one can tell")
        if found != right:
            text = "they share a patient" if found == "yes" else "they share none, and no id is missing"
            raise Wrong(f"{case}: your function says {found!r}, but {text}")
    return "Where ids are missing, look-alikes are all that a program can search for, and some escape it (chapter 01)."


def exercise_2(images: Any) -> str:
    """The test images that make the 95 % interval of an accuracy of 0.8 no wider than 0.05 to either side."""
    value = number(images, low=1)
    mistakes = {
        0.8 * 0.2 / 0.05**2: "this is one standard error; a 95 % interval reaches 1.96 of them to either side",
        1.96**2 * 0.8 * 0.2 / 0.1**2: "0.05 is the distance to one side, not the whole width",
        1.96**2 * 0.8 * 0.2 / 0.025**2: "0.05 is the distance to one side: do not halve it",
        1.96**2 * 0.5 * 0.5 / 0.05**2: "this is for an accuracy of 0.5, where the interval is widest",
        1.96 * (0.8 * 0.2) ** 0.5 / 0.05: "the error falls with the root of the number of images: solve for the number",
        2**2 * 0.8 * 0.2 / 0.05**2: "this is two standard errors; a 95 % interval reaches 1.96 of them to either side",
    }
    for wrong, text in mistakes.items():
        if abs(value - wrong) <= 1 + 0.005 * wrong:
            raise Wrong(text)
    smallest(images, lambda n: _reach(n) <= 0.05, lambda n: f"with {n} images the interval reaches {_reach(n):.3g} far")
    return "And that is for independent images: several of one patient count for less."


def exercise_3(seeds: Any, *, comparisons: int) -> str:
    """The fewest seeds with which a difference could be shown at 0.05, after Holm's correction."""

    def too_few(n: int) -> str:
        alone = f": right for one comparison, but there are {comparisons} here" if smallest_p(n) < LEVEL else ""
        return f"the smallest p of {n} seeds is {smallest_p(n):.3g}{alone}"

    smallest(seeds, lambda n: comparisons * smallest_p(n) < LEVEL, too_few)
    return "Then all seeds must agree. To find a difference with some seeds against it takes more."


def exercise_4(sentence: Any) -> str:
    """Which sentence three seeds allow that all favour one method."""
    said = choice(sentence, ["A", "B", "C"])
    if said == "A":
        raise Wrong("three coins fall alike in one throw of four: how small can p get with three seeds?")
    if said == "C":
        raise Wrong("not being able to show a difference is not the same as showing that there is none")
    return "It says what was seen, with its number of seeds, and does not sell it as more."


def _reach(images: int) -> float:
    """How far the 95 % interval of an accuracy of 0.8 reaches to one side."""
    return 1.96 * (0.8 * 0.2 / images) ** 0.5


def _verdict(answer: Any, case: str) -> str:
    try:
        return choice(answer, ["yes", "no", "unknown"])
    except Wrong as error:
        raise Wrong(f"{case}: {error}") from None
