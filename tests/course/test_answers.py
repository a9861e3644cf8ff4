"""Readers of answers, in what the exercises of test_exercises.py do not give them."""

import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from dmws_lite.course.answers import Wrong, array, call_function, choice, compare, describe, names, number, smallest


def broken():
    raise KeyError("no such key")


quarter = partial(compare, right=0.25, case="share", half=0.125, twice=0.5)
strategies = partial(names, options=["ema", "kd", "dlb"])
integers, pair = partial(array, of=int), partial(array, shape=(2,))
WRONG = [
    (number, "0.5", "the text '0.5' is no number: write it without quotation marks"),
    *[(number, odd, "is no number") for odd in (-math.inf, True, math.nan, [1, 2], torch.zeros(2, 3), 1j, broken)],
    (lambda a: number(a, 0, 1), -1, "-1 cannot be: the answer is from 0 to 1"),
    (quarter, 0.24, "share: 0.24 is too small"),
    (quarter, 0.5, "share: twice"),
    (lambda a: smallest(a, lambda n: 10 / n**2, 1), 5, "5 are enough, but fewer would do"),
    (call_function, broken, "your function raised KeyError: 'no such key'"),
    (call_function, 3, "the number 3 is no function: give the function's name, without brackets"),
    *[(lambda a: choice(a, ["main"]), odd, "none of the options") for odd in (np.array([1, 2]), [], object())],
    *[(strategies, odd, "no list of names") for odd in ("ema", [], 3)],
    (array, "text", "your answer: the text 'text', where a list or an array of numbers is asked for"),
    *[(array, odd, "where") for odd in (["1", "2"], [[1]], [1, None], [1j], [])],
    (integers, [True, False], "where a list or an array of whole numbers is asked for"),
    (integers, [0.5, 1], "other values than whole numbers"),
    (lambda a: array(a, of=bool), [0, 2], "other values than truth values"),
    (pair, np.array([1, math.nan]), "no finite numbers"),
    (pair, {1, 2}, "your answer: a set of 2 has no order: give a list or an array"),
    (pair, iter(int, 1), "an array of numbers of shape (2,) is asked for"),  # without an end
]


@pytest.mark.parametrize(("read", "answer", "part"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named_and_the_answer_is_not(read, answer, part):
    with pytest.raises(Wrong) as error:
        read(answer)
    assert part in str(error.value)


def test_odd_collections_are_read_and_kinds_are_short_and_never_run_the_answers_own_repr():
    for collect in (lambda n: dict.fromkeys(n).keys(), iter, pd.Series, lambda n: np.array(n, object)):
        assert integers(collect([0, 2, 3])).tolist() == [0, 2, 3]
    assert describe(object()) == "an object" and len(describe(10**400)) < 60 and len(describe("x" * 1000)) < 60
    assert describe(torch.tensor(0.5)) == "the number 0.5" and describe([]) == "a list of 0"
