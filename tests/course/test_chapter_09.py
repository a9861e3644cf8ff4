"""The exercises of chapter 09: right answers pass, wrong ones hear what is wrong."""

import numpy as np
import pytest
import torch

from dmws_lite.course import check

KB = 125_763 / 1000
GIVEN = {"09.1": {"weights": 125_763}, "09.2": {}, "09.3": {}, "09.4": {}}


def quantise(array):
    scale = np.abs(array).max() / 127
    return np.round(array / scale), scale


def changed(before, after):
    return (before.argmax(1) != after.argmax(1)).mean()


def by_torch(array):
    integers, scale = quantise(array)
    return torch.tensor(integers, requires_grad=True), torch.tensor(scale)


def stub(*_):
    return None


RIGHT = {
    "09.1": [(KB,), (126,), (np.float32(KB),)],
    "09.2": [(quantise,), (lambda w: (quantise(w)[0].astype(np.int8), float(quantise(w)[1])),), (by_torch,)],
    "09.3": [(changed,), (lambda p, q: sum(a.argmax() != b.argmax() for a, b in zip(p, q, strict=True)) / len(p),)],
    "09.4": [(1 / 0.6,), (1.67,)],
}
WRONG = [
    ("09.1", 4 * KB, "32 bits"),
    ("09.1", 8 * KB, "counts bits"),
    ("09.1", 125_763, "these are bytes"),
    ("09.1", 125_763 / 1024, "not 1024"),
    ("09.1", 50, "too small"),
    ("09.1", "126", "no number"),
    ("09.2", lambda w: w, "return two things"),
    ("09.2", lambda w: (w / (abs(w).max() / 127), abs(w).max() / 127), "not whole"),
    ("09.2", lambda w: (np.round(w / abs(w).max() * 127), 127 / abs(w).max()), "upside down"),
    ("09.2", lambda w: (np.round(w / abs(w).max() * 64), abs(w).max() / 64), "should become 127"),
    ("09.2", lambda w: (np.trunc(w / abs(w).max() * 127), abs(w).max() / 127), "round to the nearest"),
    ("09.2", lambda w: (np.round(w.ravel() / abs(w).max() * 128), abs(w).max() / 128), "shape"),
    ("09.2", lambda w: ("a", 1), "your integers: the text 'a'"),
    ("09.2", lambda w: ((w / quantise(w)[1]).astype(int), quantise(w)[1]), "round to the nearest"),
    ("09.2", lambda w: 1 / 0, "zerodivisionerror"),
    ("09.3", lambda p, q: (p.argmax(1) != q.argmax(1)).sum(), "a share is asked for"),
    ("09.3", lambda p, q: (p.argmax(1) == q.argmax(1)).mean(), "stays the same"),
    ("09.3", lambda p, q: (p != q).any(1).mean(), "class stays"),
    ("09.3", lambda p, q: 0.4, "the same twice"),
    ("09.4", 3, "only a part"),
    ("09.4", 1.8, "add up the times"),
    ("09.4", 2.2, "average times"),
    ("09.4", 0.6, "how many times faster"),
]


@pytest.mark.parametrize("exercise", RIGHT)
def test_right_answers_and_the_stub(exercise):
    for answers in RIGHT[exercise]:
        verdict = check(exercise, *answers, **GIVEN[exercise])
        assert verdict.state == "right", verdict
    for open_answer in (..., None, *((stub,) if exercise in ("09.2", "09.3") else ())):
        assert check(exercise, open_answer, **GIVEN[exercise]).state == "open"


@pytest.mark.parametrize(("exercise", "answer", "said"), WRONG)
def test_wrong_answers(exercise, answer, said):
    verdict = check(exercise, answer, **GIVEN[exercise])
    assert verdict.state == "wrong" and said in verdict.message.lower(), verdict
    solution = {"09.1": "125.8", "09.3": "0.4", "09.4": "1.67"}.get(exercise)
    assert solution is None or solution not in verdict.message.replace("0.4 ", "", 1)
