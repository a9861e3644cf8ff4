import math

import numpy as np
import pandas as pd
import pytest
import torch

from dmws_lite.course.answers import Open, Wrong, array, called, choice, compare, kind, names, number, smallest

SIX = [0, 2, 3, 5, 6, 8]


def broken():
    raise KeyError("no such key")


def quarter(answer):
    return compare(answer, 0.25, "share", half=0.125, twice=0.5)


def ones(answer):
    return compare(answer, np.ones(2), otherwise="other", zeros=np.zeros(2))


def side(answer):
    return smallest(answer, lambda n: 10 / n**2, 1, case="side")


def pick(answer):
    return choice(answer, ["main", "auxiliary"])


def strategies(answer):
    return names(answer, ["ema", "kd", "dlb"])


def integers(answer):
    return array(answer, of=int)


def pair(answer):
    return array(answer, (2,))


@pytest.mark.parametrize("answer", [0.5, np.float32(0.5), np.array(0.5), torch.tensor([0.5], requires_grad=True)])
def test_numbers_of_every_kind_are_read(answer):
    assert number(answer) == number(answer, 0, 0.5) == number(answer, 0.5, 1) == 0.5


def test_no_answer_is_open():
    for read in (number, quarter, pick, called, array, strategies, side):
        for answer in (None, ...):
            with pytest.raises(Open):
                read(answer)
    with pytest.raises(Open):
        array([1, ...])


def test_close_answers_are_right():
    assert compare(101, 100) == 101 and compare(0.004, 0, absolute=0.005) == 0.004
    assert compare([1, 2], np.array([1, 2.001])).tolist() == [1, 2]


WRONG = [
    (number, "0.5", "the text '0.5' is no number: write it without quotation marks"),
    *[(number, odd, "is no number") for odd in (-math.inf, True, math.nan, [1, 2], torch.zeros(2, 3), broken)],
    (lambda a: number(a, 0, 1), -1, "-1 cannot be: the answer is from 0 to 1"),
    (quarter, 0.26, "share: 0.26 is too large"),
    (quarter, 0.24, "share: 0.24 is too small"),
    (quarter, 25, "25 looks like a percentage: give the share itself"),
    (quarter, -0.25, "-0.25 has the wrong sign"),
    (quarter, 0.5, "share: twice"),
    (lambda a: compare(a, np.array([1, 2, 3])), [1, 2, 4], "1 of 3 are wrong"),
    (ones, [1, 0], "other"),
    (ones, [0, 0], "zeros"),
    (side, 3, "side: too_few"),
    (side, 5, "side: 5 are enough, but fewer would do"),
    (side, 4.5, "side: 4.5 cannot be: a whole number"),
    (called, broken, "your function raised KeyError: 'no such key'"),
    (called, 3, "the number 3 is no function: give the function's name, without brackets"),
    (pick, "both", "the text 'both' is none of the options: choose from 'main', 'auxiliary'"),
    *[(pick, odd, "none of the options") for odd in (np.array([1, 2]), [], object())],
    *[(strategies, odd, "no list of names") for odd in ("ema", [], 3)],
    (array, "text", "your answer: the text 'text', where a list or an array of numbers is asked for"),
    *[(array, odd, "where") for odd in (["1", "2"], [[1]], [1, None], [1j], [])],
    (integers, [True, False], "where a list or an array of whole numbers is asked for"),
    (integers, [0.5, 1], "other values than whole numbers"),
    (lambda a: array(a, of=bool), [0, 2], "other values than truth values"),
    (pair, np.zeros((2, 3)), "an ndarray of shape (2, 3), where numbers of shape (2,)"),
    (pair, np.array([1, math.nan]), "no finite numbers"),
    (pair, iter(int, 1), "where numbers of shape (2,)"),  # without an end
]


@pytest.mark.parametrize(("read", "answer", "part"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named_and_the_answer_is_not(read, answer, part):
    with pytest.raises(Wrong) as error:
        read(answer)
    assert part in str(error.value)


@pytest.mark.parametrize(
    "answer",
    [
        *(tuple(SIX), set(SIX), dict.fromkeys(SIX).keys(), (n for n in SIX), pd.Series(SIX), np.array(SIX, object)),
        *(np.linspace(0, 8, 6).round(), [torch.tensor(float(n), requires_grad=True) for n in SIX]),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_whole_numbers_of_every_collection_are_read(answer):
    values = integers(answer)
    assert values.dtype == np.int64 and values.tolist() == SIX


def test_arrays_of_numbers_and_of_truth_values():
    assert array(pd.DataFrame([[1, 2], [3, 4]]), (None, 2)).shape == (2, 2)
    for answer in ([1, 0], np.array([1.0, 0.0]), pd.Series([True, False], dtype=object)):
        assert array(answer, (2,), of=bool).tolist() == [True, False]


def test_choices_and_names_are_read_without_regard_to_case():
    assert pick("MAIN ") == pick(np.str_("main")) == "main"
    for answer in (["EMA ", "kd"], {"ema", "kd"}, np.array(["ema", "kd"])):
        assert strategies(answer) == {"ema", "kd"}


def test_kinds_are_short_and_never_run_the_answers_own_repr():
    assert kind(object()) == "an object" and len(kind(10**400)) < 60 and len(kind("x" * 1000)) < 60
    assert kind(torch.tensor(0.5)) == "the number 0.5" and kind([]) == "a list of 0"
