import math

import numpy as np
import pandas as pd
import pytest
import torch

from dmws_lite.course.answers import (
    Open,
    Wrong,
    array,
    called,
    choice,
    close,
    kind,
    names,
    number,
    smallest,
    unanswered,
)


def broken():
    raise KeyError("no such key")


@pytest.mark.parametrize("answer", [0.5, np.float32(0.5), np.array(0.5), np.array([0.5]), torch.tensor(0.5)])
def test_numbers_of_every_kind_are_read(answer):
    assert number(answer) == 0.5
    assert number(torch.tensor([3], requires_grad=False)) == 3 and number(np.int64(3)) == 3


def test_a_number_with_a_gradient_is_read():
    assert number(torch.tensor(2.0, requires_grad=True)) == 2


@pytest.mark.parametrize("answer", [None, ...])
def test_no_answer_is_open(answer):
    for read in (number, lambda a: close(a, 1.0), lambda a: choice(a, ["x"]), called):
        with pytest.raises(Open):
            read(answer)


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        ("0.5", "the text '0.5' is no number: write it without quotation marks"),
        (True, "True is no number"),
        (math.nan, "nan"),
        (-math.inf, "a finite number is asked for"),
        (10**400, "far too large"),
        (1 + 2j, "a complex is no number"),
        ([1, 2], "a list of 2 is no number"),
        (np.array([]), "shape (0,) is no number"),
        (torch.zeros(2, 3), "a Tensor of shape (2, 3) is no number"),
        (object(), "an object is no number"),
        (broken, "call it, and give what it returns"),
    ],
)
def test_what_is_no_number_is_wrong_and_named(answer, part):
    with pytest.raises(Wrong) as caught:
        number(answer)
    assert part in str(caught.value)


def test_a_range_is_kept_with_both_ends_and_percentages_are_recognised():
    assert number(0, low=0, high=1) == 0 and number(1, low=0, high=1) == 1
    with pytest.raises(Wrong, match="25 looks like a percentage"):
        number(25, low=0, high=1)
    with pytest.raises(Wrong, match="-1 cannot be: the answer is at least 0 and at most 1"):
        number(-1, low=0, high=1)
    with pytest.raises(Wrong, match="0 cannot be: the answer is at least 1$"):
        number(0, low=1)


def test_close_takes_the_larger_of_both_tolerances():
    assert close(101, 100, relative=0.01) == 101
    assert close(0.004, 0, absolute=0.005) == 0.004
    with pytest.raises(Wrong, match="102 is too large"):
        close(102, 100, relative=0.01)
    with pytest.raises(Wrong, match="98 is too small"):
        close(98, 100, relative=0.01)


@pytest.mark.parametrize(
    ("answer", "expected", "part"), [(25, 0.25, "percentage"), (-0.25, 0.25, "sign"), (300, 0.25, "too large")]
)
def test_close_names_common_slips_and_never_the_answer(answer, expected, part):
    with pytest.raises(Wrong, match=part) as caught:
        close(answer, expected)
    assert "0.25" not in str(caught.value).replace(f"{answer:g}", "")


def test_a_function_is_called_with_its_arguments():
    assert called(lambda a, b: a - b, 3, 1) == 2
    with pytest.raises(Wrong, match="your function raised KeyError: 'no such key'"):
        called(broken)
    with pytest.raises(Wrong, match="your function raised TypeError"):
        called(lambda: 1, 2)
    with pytest.raises(Wrong, match="the number 3 is no function: give the function's name, without brackets"):
        called(3)
    for stub in (lambda: None, lambda: ...):
        with pytest.raises(Open, match="returns nothing yet"):
            called(stub)


def test_a_choice_is_found_without_regard_to_case():
    assert choice("MAIN ", ["main", "auxiliary"]) == "main"
    assert choice(np.bool_(True), [True, False]) is True
    assert choice(np.str_("main"), ["main"]) == "main"
    with pytest.raises(Wrong, match="the text 'both' is none of the options: choose from 'main', 'auxiliary'"):
        choice("both", ["main", "auxiliary"])
    with pytest.raises(Wrong, match="the number 1 is none of the options"):
        choice(1, [True, False])
    for odd in (np.array([1, 2]), torch.zeros(2), [], object()):
        with pytest.raises(Wrong, match="none of the options"):
            choice(odd, ["main", "auxiliary"])


def test_kinds_are_short_and_never_run_the_answers_own_repr():
    class Rude:
        def __repr__(self):
            raise RuntimeError

    assert kind(Rude()) == "a Rude"
    assert kind(10**400) == "the number of many digits"
    assert len(kind("x" * 1000)) < 60
    assert kind(np.float64(0.5)) == kind(torch.tensor(0.5)) == "the number 0.5"
    assert kind(None) == "nothing"


def test_dots_are_found_inside_lists_and_dicts():
    assert unanswered(...) and unanswered([1, ...]) and unanswered({"a": (1, [...])})
    assert not unanswered(np.zeros(2)) and not unanswered({"a": 1}) and not unanswered("...")


SIX = [0, 2, 3, 5, 6, 8]


@pytest.mark.parametrize(
    "answer",
    [
        SIX,
        tuple(SIX),
        set(SIX),
        np.array(SIX, np.uint8),
        np.array(SIX, dtype=object),
        np.linspace(0, 8, 6).round(),
        torch.tensor(SIX),
        torch.tensor(SIX, dtype=torch.float32, requires_grad=True),
        [torch.tensor(float(n), requires_grad=True) for n in SIX],
        pd.Series(SIX),
        dict.fromkeys(SIX).keys(),
        (n for n in SIX),
    ],
    ids=lambda answer: type(answer).__name__,
)
def test_whole_numbers_of_every_collection_are_read(answer):
    found = array(answer, of=int)
    assert found.dtype == np.int64 and found.tolist() == SIX


def test_arrays_of_numbers_and_of_truth_values():
    assert array([[1, 2], [3, 4]], (2, 2)).dtype == np.float64
    assert array(pd.DataFrame([[1, 2], [3, 4]]), (None, 2)).shape == (2, 2)
    for answer in ([True, False], [1, 0], np.array([1.0, 0.0]), pd.Series([True, False], dtype=object)):
        assert array(answer, (2,), of=bool).tolist() == [True, False]


@pytest.mark.parametrize("answer", [None, ..., [1, ...], (..., ...)])
def test_an_array_without_an_answer_is_open(answer):
    with pytest.raises(Open):
        array(answer)


@pytest.mark.parametrize(
    ("answer", "shape", "of", "part"),
    [
        (3, (None,), int, "your answer: the number 3, where a list or an array of whole numbers is asked for"),
        ("text", (None,), float, "the text 'text', where a list or an array of numbers is asked for"),
        (["1", "2"], (None,), float, "a list of 2, where"),
        ([True, False], (None,), int, "a list of 2, where"),
        ([[1], [2, 3]], (None,), float, "a list of 2, where"),
        ([1, None], (None,), float, "a list of 2, where"),
        ([1j], (None,), float, "a list of 1, where"),
        ([10**400], (None,), float, "a list of 1, where"),
        ({1, "a"}, (None,), int, "a set of 2, where"),
        ({0: 1}, (None,), int, "a dict of 1, where"),
        ([], (None,), float, "a list of 0, where"),
        (np.zeros((2, 3)), (2,), float, "an ndarray of shape (2, 3), where a list or an array of 2 numbers"),
        (np.zeros(3), (2, None), float, "where an array of numbers of shape (2, None)"),
        (torch.eye(2).to_sparse(), (2, 2), float, "a Tensor of shape (2, 2), where"),
        (np.array([1, math.nan]), (2,), float, "your answer holds values that are no finite numbers"),
        ([0.5, 1], (None,), int, "a list of 2 with other values than whole numbers"),
        ([1e300], (None,), int, "a list of 1 with other values than whole numbers"),
        ([0, 2], (None,), bool, "a list of 2 with other values than truth values"),
        (iter(int, 1), (2,), float, "where a list or an array of 2 numbers"),
    ],
)
def test_what_is_no_such_array_is_wrong_and_named(answer, shape, of, part):
    with pytest.raises(Wrong) as caught:
        array(answer, shape, of)
    assert part in str(caught.value)


def test_the_smallest_that_is_enough():
    def read(answer, low=1):
        return smallest(answer, lambda n: n * n > 10, lambda n: f"{n}² is {n * n}", low, "side")

    assert read(4) == read(4.0) == read(torch.tensor(4)) == 4 and read(5, low=5) == 5
    for answer, part in (
        (3, "side: 3² is 9"),
        (5, "side: 5 are enough, but fewer would do"),
        (4.5, "side: 4.5 cannot be: a whole number"),
        (0, "at least 1"),
        (1e9, "at most 100000"),
    ):
        with pytest.raises(Wrong) as caught:
            read(answer)
        assert part in str(caught.value)


def test_names_out_of_options():
    for answer in (["EMA ", "kd"], {"ema", "kd"}, ("kd", "ema", "kd"), np.array(["ema", "kd"])):
        assert names(answer, ["ema", "kd", "dlb"]) == {"ema", "kd"}
    for answer, part in (
        ("ema", "no list of names"),
        ([], "names nothing"),
        ([3], "the number 3 is none of the options"),
        ({"ema": 1}, "a dict of 1 is no list"),
        (2, "no list of names"),
    ):
        with pytest.raises(Wrong) as caught:
            names(answer, ["ema", "kd", "dlb"])
        assert part in str(caught.value)


def test_a_percentage_is_recognised_within_the_answers_own_tolerance():
    with pytest.raises(Wrong, match=r"99\.2 looks like a percentage"):
        close(99.2, 0.9921875, relative=0, absolute=0.003)


def test_articles():
    assert (
        kind(np.zeros(2)) == "an ndarray of shape (2,)" and kind([]) == "a list of 0" and kind(object()) == "an object"
    )
