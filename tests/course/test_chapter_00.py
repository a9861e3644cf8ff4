"""Chapter 00: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import precision_score, recall_score

from dmws_lite.course import check
from dmws_lite.method.selection import complementary_plans

PLANS = complementary_plans("embedded_vit_96", "embedded_vit_48")
SHARE = PLANS[0].coverage().total
COUNTS = pd.DataFrame([[5, 5], [1, 9]], ["healthy", "ill"], ["healthy", "ill"])
GIVEN = {"00.1": {"plans": PLANS}, "00.2": {"counts": COUNTS}, "00.3": {}}
TRUTH, PREDICTED = ["healthy"] * 10 + ["ill"] * 10, ["healthy"] * 5 + ["ill"] * 5 + ["healthy"] + ["ill"] * 9


def test_what_both_students_hold():
    verdict = check("00.1", 2 * SHARE, plans=PLANS)
    assert verdict.state == "right" and "36.1%, and 63.9%" in verdict.message
    assert check("00.1", ..., plans=PLANS).state == "open"


def test_what_overlapping_students_hold():
    plans = (PLANS[0], PLANS[0])
    assert check("00.1", SHARE, plans=plans).state == "right"


@pytest.mark.parametrize(
    ("together", "part"),
    [
        (SHARE, "what one student holds"),
        (1, "needs both of its indices"),
        (SHARE**2, "are added"),
        (200 * SHARE, "looks like a percentage"),
        (0.5, "too large"),
        (0.2, "too small"),
    ],
)
def test_shares_that_are_wrong(refused, together, part):
    refused("00.1", together, plans=PLANS, part=part, secrets=(f"{2 * SHARE:.3f}", f"{200 * SHARE:.1f}%"))


def test_an_overlap_is_counted_once(refused):
    refused("00.1", 2 * SHARE, plans=(PLANS[0], PLANS[0]), part="counted twice")


def measures(counts, name):
    table = counts.to_numpy()
    k = list(counts.index).index(name)
    others = table.sum() - table[k].sum()
    return table[k, k] / table[k].sum(), (others - table[:, k].sum() + table[k, k]) / others


def test_the_measures_are_those_of_sklearn():
    for name, other in (("healthy", "ill"), ("ill", "healthy")):
        expected = [recall_score(TRUTH, PREDICTED, pos_label=label) for label in (name, other)]
        assert measures(COUNTS, name) == pytest.approx(expected)
    verdict = check("00.2", measures, counts=COUNTS)
    assert verdict.state == "right" and "'healthy'" in verdict.message
    assert check("00.2", lambda counts, name: None, counts=COUNTS).state == "open"
    assert check("00.2", lambda counts, name: (..., ...), counts=COUNTS).state == "open"


@pytest.mark.parametrize("collection", [list, np.array, pd.Series, torch.tensor])
def test_two_numbers_in_any_collection(collection):
    assert check("00.2", lambda counts, name: collection(measures(counts, name)), counts=COUNTS).state == "right"


def test_a_class_without_images_is_passed_over():
    empty = pd.DataFrame([[5, 5, 0], [1, 9, 0], [0, 0, 0]], ["a", "b", "none"], ["a", "b", "none"])
    assert check("00.2", measures, counts=empty).state == "right"


@pytest.mark.parametrize(
    ("mistaken", "part"),
    [
        (lambda counts, name: measures(counts, name)[::-1], "exchanged"),
        (lambda counts, name: (counts.loc[name, name] / counts[name].sum(), measures(counts, name)[1]), "called so"),
        (lambda counts, name: [measures(counts, name)[0]] * 2, "specificity of 'a': this is the sensitivity once more"),
        (lambda counts, name: (measures(counts, name)[0], 1 - measures(counts, name)[1]), "rate of false alarms"),
        (lambda counts, name: [0.57 / 0.7] * 2, "accuracy over all classes"),
        (lambda counts, name: measures(counts, name)[0], "sensitivity and specificity: the number"),
        (lambda counts, name: [100 * value for value in measures(counts, name)], "percentage"),
        (lambda counts, name: measures(counts.T, name), "sensitivity of 'a'"),
    ],
)
def test_measures_that_are_wrong(refused, mistaken, part):
    refused("00.2", mistaken, counts=COUNTS, part=part)


def test_the_called_share_is_the_precision():
    assert COUNTS.loc["ill", "ill"] / COUNTS["ill"].sum() == precision_score(TRUTH, PREDICTED, pos_label="ill")


def test_how_many_seeds():
    assert check("00.3", 6).state == check("00.3", 6.0).state == "right"
    assert check("00.3", ...).state == "open"


@pytest.mark.parametrize(
    ("seeds", "part"),
    [
        (5, "with 5 seeds all agree in 0.0625"),
        (3, "with 3 seeds all agree in 0.25"),
        (7, "fewer would do"),
        (20, "fewer would do"),
        (5.3, "5.3 cannot be: a whole number"),
        (0, "at least 1"),
        ("six", "no number"),
    ],
)
def test_numbers_of_seeds_that_are_wrong(refused, seeds, part):
    refused("00.3", seeds, part=part, secrets=(" 6 ", "six seeds", "0.0312"))
