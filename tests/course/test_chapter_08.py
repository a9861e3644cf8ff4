"""Chapter 08: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from dmws_lite.course import check

ODD = ("text", [1, 2], {"a": 1}, float("nan"), np.ones((2, 2)), lambda: 1 / 0)


def cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def cam(channels, slopes):
    return np.maximum(0, (slopes.mean((1, 2))[:, None, None] * channels).sum(0))


def stub(x, y):
    return None


def in_place(x, y):
    x -= x.mean(0)
    y -= y.mean(0)
    return cka(x, y)


def spoilt():
    """Two of four intervals of "b" leave out 0."""
    gaps = [(0.1, 0.3), (-0.3, -0.1), (-0.1, 0.2), (-0.2, 0.0)]
    rows = [("b", severity, low, high) for severity, (low, high) in enumerate(gaps, start=1)]
    rows += [("b", 0, 0.1, 0.2), ("a", 1, 0.0, 0.0), ("c", 1, 0.2, 0.4), ("c", 2, 0.2, 0.4)]
    table = pd.DataFrame(rows, columns=["model", "severity", "difference_low", "difference_high"])
    return table.assign(low=0.6, high=0.8)


GIVEN = {
    "08.1": {},
    "08.2": {},
    "08.3": {"images": 200, "chance": 0.055},
    "08.4": {},
    "08.5": {"table": spoilt(), "model": "b"},
}


def test_own_cka():
    assert check("08.1", cka).state == "right"
    assert check("08.1", lambda x, y: torch.tensor(cka(x, y))).state == "right"
    assert check("08.1", stub).state == check("08.1", ...).state == "open"


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (lambda x, y: cka(x, y) ** 0.5, "this is the square root"),
        (
            lambda x, y: np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)),
            "the columns are not centred",
        ),
        (lambda x, y: cka(x.T, y.T) if x.shape == y.shape else x @ y, "raised ValueError"),
        (in_place, "your function changes the arrays"),
        (lambda x, y: np.linalg.norm((y - y.mean(0)).T @ (x - x.mean(0))) ** 2, "too large"),
        (lambda x, y: cka(x, y) + (x.std() > 1.5), "cka of twice the first array"),
        (lambda x, y: "1", "no number"),
        (lambda x: x, "raised TypeError"),
    ],
)
def test_another_cka(refused, function, part):
    refused("08.1", function, part=part)


def test_own_grad_cam():
    assert check("08.2", cam).state == "right"
    assert check("08.2", lambda a, s: 7 * cam(a, s)).state == "right"
    assert check("08.2", lambda a, s: torch.tensor(cam(a, s), requires_grad=True)).state == "right"
    assert check("08.2", lambda a, s: cam(a, s).tolist()).state == "right"
    assert check("08.2", stub).state == check("08.2", ...).state == "open"


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (lambda a, s: (s.mean((1, 2))[:, None, None] * a).sum(0), "goes below 0"),
        (lambda a, s: (a * s).sum(0).clip(0), "one weight for all places"),
        (lambda a, s: a.sum(0).clip(0), "not weighted"),
        (lambda a, s: s.sum(0).clip(0), "the slopes alone"),
        (lambda a, s: (np.abs(s.mean((1, 2)))[:, None, None] * a).sum(0).clip(0), "without sign"),
        (lambda a, s: cam(a, s) ** 2, "another map"),
        (lambda a, s: np.zeros((4, 5)), "another map"),
        (lambda a, s: a * s, "shape (6, 4, 5), where an array of numbers of shape (4, 5)"),
        (lambda a, s: cam(a, s) * np.nan, "no finite numbers"),
        (lambda a, s: "map", "your map: the text 'map'"),
        (lambda a, s: a @ s, "raised ValueError"),
    ],
)
def test_another_map(refused, function, part):
    refused("08.2", function, part=part, secrets=("cut at 0", "average the slopes"))


@pytest.mark.parametrize(("images", "chance"), [(200, 0.055), (60, 0.1)])
def test_hits_that_chance_hardly_reaches(refused, images, chance):
    given = {"images": images, "chance": chance}
    needed = next(k for k in range(images) if binom.sf(k - 1, images, chance) < 0.05)
    assert check("08.3", needed, **given).state == "right"
    assert check("08.3", ..., **given).state == "open"
    for answer, part in (
        (needed - 1, "at least* so many"),
        (needed / images, "this is a share"),
        (round(images * chance), "on average"),
        (next(k for k in range(images) if binom.sf(k - 1, images, chance) < 0.025), "2.5 %"),
        (3 * images, "too large"),
        (2, "too small"),
    ):
        refused("08.3", answer, part=part, secrets=(f" {needed} ", f" {needed}."), **given)


def test_a_temperature_for_odds(refused):
    assert check("08.4", 2).state == check("08.4", np.float64(2.0)).state == "right"
    assert check("08.4", ...).state == "open"
    for answer, part in (
        (0.5, "surer"),
        (1.2, "probabilities are not divided"),
        (0.366, "sum to 1 again"),
        (3, "too large"),
        (1, "too small"),
    ):
        refused("08.4", answer, part=part, secrets=("is 2", "2.0"))


def test_counting_intervals(refused):
    given = {"table": spoilt(), "model": "b"}
    assert check("08.5", 2, 0.2, **given).state == "right"
    assert check("08.5", 2.0, 0.2004, **given).state == "right"
    assert check("08.5", ..., 0.2, **given).state == check("08.5", 2, ..., **given).state == "open"
    for left_out, expected, part in (
        (5, 0.2, "found: this counts all networks"),
        (0, 0.2, "found: 0 is too small"),
        (2, 0.05, "expected: this is the share"),
        (2, 0.4, "expected: this is for all rows"),
        (2, 1, "expected: 1 is too large"),
    ):
        refused("08.5", left_out, expected, part=part, **given)
    refused("08.5", 2, 0.2, part="no corrupted images of 'z'", table=spoilt(), model="z")


@pytest.mark.parametrize("answer", ODD)
def test_odd_answers_are_wrong_and_no_error(answer):
    given = {"table": spoilt(), "model": "b"}
    for exercise in ("08.1", "08.2", "08.4"):
        assert check(exercise, answer).state == "wrong"
    assert check("08.3", answer, images=200, chance=0.055).state == "wrong"
    assert check("08.5", answer, answer, **given).state == "wrong"
