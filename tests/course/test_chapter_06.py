"""Chapter 06: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from dmws_lite.course import check

HISTORY = [
    {"val_accuracy": 0.3, "auxiliary_accuracy": 0.3, "both_right": 0.3},
    {"val_accuracy": 0.60, "auxiliary_accuracy": 0.58, "both_right": 0.55},
]


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


def gradient(hard=lambda a, t: 1 - a, soft=lambda a, t: a * t, sharp=False, mean=True):
    def by_hand(z, target, labels, alpha, temperature):
        t = 1 if sharp else temperature
        first = softmax(z, axis=1) - np.eye(z.shape[1])[labels]
        second = softmax(z / t, axis=1) - softmax(target / t, axis=1)
        whole = hard(alpha, temperature) * first + soft(alpha, temperature) * second
        return whole / len(z) if mean else whole

    return by_hand


def test_the_gradient_by_hand():
    assert check("06.3", gradient()).state == "right"
    assert check("06.3", lambda *arguments: torch.from_numpy(gradient()(*arguments))).state == "right"
    assert check("06.3", lambda *arguments: None).state == "open"


@pytest.mark.parametrize(
    ("mistaken", "part"),
    [
        (gradient(mean=False), "mean over the batch"),
        (lambda *arguments: -gradient()(*arguments), "sign is reversed"),
        (gradient(soft=lambda a, t: a), "at alpha=0.3, T=2: a factor T is missing"),
        (gradient(soft=lambda a, t: a * t**2), "one factor T too many"),
        (gradient(soft=lambda a, t: a / t), "so that it keeps its size"),
        (gradient(sharp=True), "belongs into both softmaxes"),
        (gradient(hard=lambda a, t: a, soft=lambda a, t: (1 - a) * t), "alpha weighs the soft part"),
        (gradient(hard=lambda a, t: 1), "the hard part is weighed"),
        (gradient(soft=lambda a, t: 0), "differs from torch's gradient"),
        (lambda z, *_: z.sum(), "shape of the logits, (6, 3)"),
    ],
)
def test_gradients_that_are_wrong(refused, mistaken, part):
    refused("06.3", mistaken, part=part)


def test_what_the_auxiliary_could_add():
    verdict = check("06.4", 0.63, history=HISTORY)
    assert verdict.state == "right"
    assert (
        "63.0%" in verdict.message and "alone has 60.0%" in verdict.message and "3.0% of the images" in verdict.message
    )
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
