"""Checks of chapter 10, your own data."""

from dmws_lite.course.answers import MOST, call_function, choice, number, reject, smallest
from dmws_lite.studies.statistics import LEVEL, smallest_p

CASES = (
    (("P1", "P2", "P2"), ("P3", "P4"), "yes", "nobody in both"),
    (("P1", "P2"), ("P2", "P3"), "no", "P2 in both"),
    (("P1", "", ""), ("", "P4"), "unknown", "images without an id on both sides"),
    (("P1", ""), ("P3", "P4"), "unknown", "an image without an id in train"),
    (("P1", "P2"), ("P3", ""), "unknown", "an image without an id in test"),
)


def exercise_1(apart):
    """Whether no patient is in train and in test: "yes", "no", or "unknown" where ids are missing."""
    for train, test, right, case in CASES:
        answer = choice(call_function(apart, list(train), list(test)), ["yes", "no", "unknown"], case)
        reject(right == "unknown" and answer != right, "guess", case)
        reject(answer == "unknown" and answer != right, "known", case)
        reject(answer != right, f"not_{answer}", case)


def exercise_3(seeds, *, comparisons):
    """The fewest seeds with which a difference could be shown at 0.05, after Holm's correction."""
    enough_for_one = smallest_p(int(number(seeds, 1, MOST))) <= LEVEL
    smallest(seeds, smallest_p, LEVEL / comparisons, too_few="for_one" if enough_for_one else "too_few")


def exercise_4(sentence):
    """Which sentence three seeds allow that all favour one method."""
    letter = choice(sentence, ["A", "B", "C"])
    reject(letter != "B", letter)
