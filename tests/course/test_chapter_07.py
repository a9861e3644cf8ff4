"""Chapter 07: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import nct
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

from dmws_lite.course import check

CELLS = {  # accuracy of two seeds
    "default": (0.40, 0.50),
    "default_skd_same": (0.41, 0.53),
    "default_skd_other": (0.42, 0.50),
    "weight_selection": (0.50, 0.60),
    "single_skd": (0.56, 0.66),
    "dual_skd": (0.58, 0.67),
}
TABLE = pd.DataFrame(
    [
        {"method": method, "label": method, "seed": seed, "accuracy": value}
        for method, values in CELLS.items()
        for seed, value in enumerate(values)
    ]
)


GIVEN = {"07.1": {"spread": 0.022, "comparisons": 6}, "07.2": {}, "07.3": {}, "07.4": {"table": TABLE}}


def power(pairs, gap, spread):
    """Of a two-sided paired t test at 0.05, from the noncentral t distribution."""
    limit, shift = student.ppf(0.975, pairs - 1), gap / spread * pairs**0.5
    return nct.sf(limit, pairs - 1, shift) + nct.cdf(-limit, pairs - 1, shift)


def test_numbers_of_seeds():
    needed = next(n for n in range(2, 1000) if power(n, 0.01, 0.022) >= 0.8)
    assert check("07.1", needed, 8, spread=0.022, comparisons=6).state == "right"
    assert check("07.1", next(n for n in range(2, 99) if power(n, 0.01, 0.01) >= 0.8), 6, spread=0.01, comparisons=1)
    assert check("07.1", needed, ..., spread=0.022, comparisons=6).state == "open"


@pytest.mark.parametrize(
    ("for_point", "for_holm", "part"),
    [
        (41, 6, "for_holm: with 6 seeds the smallest p after correction is still too large"),
        (41, 9, "for_holm: 9 are enough, but fewer would do"),
        (5, 8, "for_point: with 5 seeds the difference that could be detected is still too large"),
        (400, 8, "for_point: 400 are enough"),
        (40.5, 8, "for_point: 40.5 cannot be: a whole number"),
        (1, 8, "at least 2"),
    ],
)
def test_numbers_of_seeds_that_are_wrong(refused, for_point, for_holm, part):
    refused("07.1", for_point, for_holm, spread=0.022, comparisons=6, part=part, secrets=("8 seeds", "41 seeds"))


def test_holms_correction():
    assert check("07.2", lambda p: multipletests(p, method="holm")[1]).state == "right"
    assert check("07.2", lambda p: list(multipletests(p, method="holm")[1])).state == "right"
    assert check("07.2", lambda p: torch.tensor(multipletests(p, method="holm")[1])).state == "right"
    assert check("07.2", lambda p: None).state == "open"


def stepped(p, monotone=True, capped=True, back=True, factors=None):
    p = np.array(p)
    order = p.argsort()
    found = p[order] * (np.arange(len(p), 0, -1) if factors is None else factors(len(p)))
    found = np.maximum.accumulate(found) if monotone else found
    found = found.clip(max=1) if capped else found
    return found[order.argsort()] if back else found


def test_the_steps_above_are_holms():
    assert check("07.2", stepped).state == "right"


@pytest.mark.parametrize(
    ("holm", "part"),
    [
        (lambda p: [min(1, len(p) * value) for value in p], "Bonferroni's correction"),
        (lambda p: stepped(p, monotone=False), "never below the one before it"),
        (lambda p: stepped(p, capped=False), "of [0.6, 0.7]: a p is never above 1"),
        (lambda p: stepped(p, back=False), "in the order in which they came"),
        (
            lambda p: stepped(p, monotone=False, factors=lambda n: np.arange(1, n + 1)),
            "the smallest p gets the largest factor",
        ),
        (lambda p: p, "as they were"),
        (lambda p: np.array(p) * np.arange(len(p), 0, -1), "not by its place in the list"),
        (lambda p: multipletests(p, method="fdr_bh")[1], "are wrong"),
        (lambda p: max(p), "where a list or an array of 3 numbers"),
        (lambda p: ["small"] * len(p), "array of 3 numbers"),
    ],
)
def test_corrections_that_are_wrong(refused, holm, part):
    refused("07.2", holm, part=part, secrets=("0.055", "maximum"))


def test_the_best_of_six():
    reference = np.random.default_rng(1).normal(size=(50_000, 3, 1))
    rivals = np.random.default_rng(2).normal(size=(50_000, 3, 6))
    assert check("07.3", (rivals > reference).all(1).any(1).mean()).state == "right"
    assert check("07.3", ...).state == "open"


@pytest.mark.parametrize(
    ("share", "part"),
    [
        (1 / 8, "one certain method"),
        (0.55, "six independent comparisons"),
        (0.75, "come true together"),
        (0.736, "worse with all seeds"),
        (0.25, "better or worse"),
        (41, "percentage"),
        (0.05, "too small"),
    ],
)
def test_shares_that_are_wrong(refused, share, part):
    refused("07.3", share, part=part, secrets=("0.41", "41 %", "41%"))


def test_the_interaction():
    by_hand = np.mean([(0.56 - 0.50) - (0.41 - 0.40), (0.66 - 0.60) - (0.53 - 0.50)])
    verdict = check("07.4", by_hand, table=TABLE)
    assert verdict.state == "right" and verdict.message.startswith("+0.040, in an interval")
    assert check("07.4", 0.0404, table=TABLE).state == "right"
    assert check("07.4", ..., table=TABLE).state == "open"


@pytest.mark.parametrize(
    ("interaction", "part"),
    [
        (0.06, "where weights are selected; what does it add"),
        (0.02, "where weights are random; what does it add"),
        (-0.04, "wrong sign"),
        (0.055, "the same weights"),
        (4.0, "percentage"),
        (0.1, "too large"),
    ],
)
def test_interactions_that_are_wrong(refused, interaction, part):
    refused("07.4", interaction, table=TABLE, part=part, secrets=("0.040",))


def test_the_main_effect_is_not_the_interaction(refused):
    table = TABLE.assign(accuracy=TABLE["accuracy"].where(TABLE["method"] != "single_skd", 0.9))
    refused("07.4", (0.35 + 0.02) / 2, table=table, part="the main effect")


def test_a_study_without_the_cells_says_so(refused):
    refused("07.4", 0.1, table=TABLE[TABLE["method"] != "single_skd"], part="this study lacks single_skd")
