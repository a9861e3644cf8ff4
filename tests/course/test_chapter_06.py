"""Chapter 06: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import math

import numpy as np
import pytest
import torch

from dmws_lite.course import check

HISTORY = [
    {"val_accuracy": 0.3, "auxiliary_accuracy": 0.3, "both_right": 0.3},
    {"val_accuracy": 0.60, "auxiliary_accuracy": 0.58, "both_right": 0.55},
    {"val_accuracy": 0.9, "auxiliary_accuracy": 0.9, "both_right": 0.9},
]


GIVEN = {"06.1": {}, "06.2": {}, "06.3": {}, "06.4": {"history": HISTORY}, "06.5": {}}


def averaged(main_share):
    """An average that gives the main student this weight, as a function of the momentum; integers are copied."""

    def followed(auxiliary, main, momentum):
        share = main_share(momentum)
        mixed = {name: (1 - share) * auxiliary[name] + share * main[name] for name in main}
        return {name: mixed[name] if main[name].is_floating_point() else main[name].clone() for name in main}

    return followed


def test_a_step_of_the_moving_average():
    assert check("06.1", averaged(lambda m: 1 - m)).state == "right"
    assert check("06.1", lambda auxiliary, main, momentum: None).state == "open"


def in_place(auxiliary, main, momentum):
    for name, old in auxiliary.items():
        old.copy_(momentum * old + (1 - momentum) * main[name])
    return auxiliary


def without_buffers(auxiliary, main, momentum):
    return {name: momentum * auxiliary[name] + (1 - momentum) * main[name] for name in ("0.weight", "0.bias")}


@pytest.mark.parametrize(
    ("followed", "part"),
    [
        (averaged(lambda m: m), "the two weights are exchanged"),
        (averaged(lambda m: 1), "a copy has no memory"),
        (averaged(lambda m: 0), "as it was before the step"),
        (averaged(lambda m: 0.5), "not the mean with the weights m and 1 - m"),
        (lambda a, b, m: {n: m * a[n] + (1 - m) * b[n] for n in a}, "num_batches_tracked counts batches"),
        (lambda a, b, m: {n: m * a[n] + b[n] for n in a}, "must add up to 1"),
        (without_buffers, "is missing: the auxiliary needs every tensor, buffers included"),
        (in_place, "the auxiliary student that was passed in has changed"),
        (lambda a, b, m: list(a.values()), "a list of 7 is no state"),
        (lambda a, b, m: dict.fromkeys(a, 0.0), "is no tensor of shape"),
    ],
)
def test_averages_that_are_wrong(refused, followed, part):
    refused("06.1", followed, part=part, secrets=("0.9 *", "momentum *"))


def test_a_momentum_and_a_half_life():
    lives = math.log2(100)
    for steps in (50 * 18, 50 * 1200 / 64, 50 * 19):  # the last batch dropped, in part, or kept
        assert check("06.2", 0.5 ** (lives / (0.1 * steps)), 0.1 / lives).state == "right"
    assert check("06.2", 0.952, ...).state == "open"


@pytest.mark.parametrize(
    ("momentum", "half_life", "part"),
    [
        (0.952, 0.1, "half_life: with this, half of the start is left"),
        (0.952, 14.1, "half_life: this is in steps"),
        (0.952, 1.5, "half_life: 1.5 looks like a percentage"),
        (0.952, 0.1505, "half_life: with this, the start is forgotten at the end"),
        (0.952, 0.05, "half_life: 0.05 is too large"),
        (0.9926, 0.01505, "momentum: with this, half of the start is left"),
        (0.9951, 0.01505, "momentum: with this, the start is forgotten at the end"),
        (0.9, 0.01505, "momentum: 0.9 is too small"),
    ],
)
def test_momenta_and_half_lives_that_are_wrong(refused, momentum, half_life, part):
    refused("06.2", momentum, half_life, part=part, secrets=("0.952", "0.015"))


def weights(m):
    """Of past main students in the average, the newest first."""
    return (1 - m) * m ** np.arange(5000)


def test_as_many_values_as_a_moving_average_is_worth():
    noise = np.random.default_rng(0).normal(size=(2000, 200))
    assert (noise @ weights(0.9)[:200]).var() == pytest.approx(1 / 19, rel=0.1)  # as a plain mean of 19 values
    assert check("06.3", lambda m: (1 + m) / (1 - m)).state == "right"
    assert check("06.3", lambda m: 1 / (weights(m) ** 2).sum()).state == "right"
    assert check("06.3", lambda m: torch.tensor(1 / (weights(m) ** 2).sum())).state == "right"
    assert check("06.3", lambda m: None).state == "open"


@pytest.mark.parametrize(
    ("averaged", "part"),
    [
        (lambda m: (weights(m) ** 2).sum(), "at m = 0.9: less than one value"),
        (lambda m: ((1 + m) / (1 - m)) ** 0.5, "falls with the root"),
        (lambda m: 1 / (1 - m), "noisier than that"),
        (lambda m: m / (1 - m), "mean age"),
        (lambda m: math.log(2) / -math.log(m), "the half-life"),
        (lambda m: weights(m).sum(), "takes their squares"),
        (lambda m: 19, "at m = 0.99: 19 is too small"),
        (lambda m: weights(m), "no number"),
    ],
)
def test_worths_that_are_wrong(refused, averaged, part):
    refused("06.3", averaged, part=part, secrets=("1 + m", "squares of the weights is"))


def test_what_the_auxiliary_could_add():
    verdict = check("06.4", 0.63, history=HISTORY)
    assert verdict.state == "right"
    assert (
        "63.0%" in verdict.message
        and "alone has 60.0%" in verdict.message
        and "3.0% of the images are all" in verdict.message
    )
    assert check("06.4", 0.6301, history=HISTORY).state == "right"  # read off a table of percentages
    assert check("06.4", np.float64(0.63), history=HISTORY).state == "right"
    assert check("06.4", ..., history=HISTORY).state == "open"


@pytest.mark.parametrize(
    ("best", "part"),
    [
        (1.18, "counts the images that both get right twice"),
        (0.55, "both get right"),
        (0.59, "mean of the two"),
        (0.60, "the better student"),
        (0.08, "exactly one of them"),
        (63, "percentage"),
        (0.7, "too large"),
    ],
)
def test_oracles_that_are_wrong(refused, best, part):
    refused("06.4", best, history=HISTORY, part=part, secrets=("0.63", "63.0"))


def test_the_comparison_that_isolates_the_second_subset():
    assert check("06.5", "single_skd", "dual_skd").state == check("06.5", "dual_skd", "single_skd").state == "right"
    assert check("06.5", "dual_skd", ...).state == "open"


@pytest.mark.parametrize(
    ("one", "other", "part"),
    [
        ("weight_selection", "dual_skd", "'weight_selection' has no auxiliary at all"),
        ("weight_selection", "dual", "never listens"),
        ("random_skd", "dual_skd", "what selected weights are worth"),
        ("dual_swapped", "dual_skd", "in other roles"),
        ("dual_frozen", "dual_skd", "more changes"),
        ("weight_selection", "single_skd", "neither of these has a second subset"),
        ("dual_skd", "dual_skd", "one method twice"),
        ("second subset", "dual_skd", "none of the options"),
        (1, 2, "none of the options"),
    ],
)
def test_comparisons_that_answer_another_question(refused, one, other, part):
    refused("06.5", one, other, part=part, secrets=("'single_skd' and", "single_skd against"))
