import math

import numpy as np
import pytest
import torch

from dmws_lite.course.answers import Open, Wrong, called, choice, close, kind, number, unanswered


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
