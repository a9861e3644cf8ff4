"""Chapter 02: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import numpy as np
import pytest
import torch

import dmws_lite as dm
from dmws_lite.course import check
from dmws_lite.method.components import FIXED

PLAN = dm.plan("vit_small_patch16_224", "vit_tiny_patch16_224")
CANDIDATES = ["vit_tiny_patch16_224", "deit_tiny_patch16_224", "vit_base_patch16_224", "mobilenetv1_050"]
GIVEN = {
    "02.1": {"plan": PLAN},
    "02.2": {},
    "02.3": {},
    "02.4": {"teacher": "vit_small_patch16_224", "candidates": CANDIDATES},
    "02.5": {},
}
ODD = ["a text", [], [1.5, 2], float("nan"), {"a": 1}, np.zeros((2, 2)), object()]


def fitting(answer):
    return check("02.4", answer, teacher="vit_small_patch16_224", candidates=CANDIDATES)


def test_right_answers():
    right = [
        check("02.1", lambda axes: 0.5 ** sum(axis not in FIXED for axis in axes), plan=PLAN),
        check("02.2", 4 * 197**2 * 192),
        check("02.2", 29.8e6),
        check("02.3", [0, 2, 3, 5, 6, 8]),
        check("02.3", np.linspace(0, 8, 6).round()),
        check("02.3", torch.linspace(0, 8, 6).round()),
        check("02.3", (0.0, 2.0, 3.0, 5.0, 6.0, 8.0)),
        check("02.3", {0, 2, 3, 5, 6, 8}),
        fitting(tuple(CANDIDATES[:2])),
        fitting(np.array(CANDIDATES[:2])),
        fitting(CANDIDATES[:2]),
        fitting(set(CANDIDATES[:2])),
        check("02.5", 12 * 12 * 96**2),
        check("02.5", 1.33e6),
    ]
    assert [verdict.state for verdict in right] == ["right"] * len(right)


def test_the_right_answer_follows_the_plan():
    """ConvNeXt's names of axes are others; the same function is right."""
    plan = dm.plan("convnext_tiny", "convnext_femto")
    assert check("02.1", lambda axes: 0.5 ** sum(axis not in FIXED for axis in axes), plan=plan).state == "right"


def test_stubs_are_open():
    def stub(axes):
        return ...

    assert check("02.1", stub, plan=PLAN).state == "open"
    assert [check(f"02.{i}", ...).state for i in (2, 3, 5)] == ["open"] * 3
    assert fitting(...).state == fitting(None).state == "open"


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("answer", ODD, ids=lambda answer: type(answer).__name__)
def test_odd_answers_are_wrong_and_no_error(number, answer):
    given = {1: {"plan": PLAN}, 4: {"teacher": "vit_small_patch16_224", "candidates": CANDIDATES}}.get(number, {})
    assert check(f"02.{number}", answer, **given).state == "wrong"


@pytest.mark.parametrize(
    ("share", "part"),
    [
        (lambda axes: 0.5 ** len(axes), "not every axis is halved"),
        (lambda axes: 0.5, "how many of these axes are halved?"),
        (lambda axes: 1, "at least one axis is halved"),
        (lambda axes: 50, "percentage"),
        (lambda axes: 0.3, "too"),
        (lambda axes: axes[9], "IndexError"),
    ],
)
def test_mistakes_about_shares(refused, share, part):
    refused("02.1", share, part=part, plan=PLAN)


@pytest.mark.parametrize(
    ("flops", "part"),
    [
        (2 * 197**2 * 192, "or one of the products"),
        (197**2 * 192, "what else is counted"),
        (4 * 196**2 * 192, "one more token"),
        (12 * 4 * 197**2 * 192, "one is asked for"),
        (3 * 4 * 197**2 * 192, "heads share"),
        (4 * 197 * 192**2, "quadratic in the tokens"),
        (29.8, "millions"),
        (1000, "too small"),
        ("29805312", "no number"),
    ],
)
def test_mistakes_about_flops(refused, flops, part):
    refused(
        "02.2",
        flops,
        part=part,
        secrets=[] if isinstance(flops, str) else ["29805312", "2.98053e+07", "half", "quarter"],
    )


@pytest.mark.parametrize(
    ("blocks", "part"),
    [
        ([0, 2, 4, 6, 8], "5 block(s)"),
        ([1, 2, 4, 6, 7, 9], "from 0 to 8"),
        ([0, 2, 3, 5, 8, 6], "must rise"),
        ([0, 1, 2, 3, 4, 5], "that is 'first'"),
        ([3, 4, 5, 6, 7, 8], "or 'last'"),
        ([1, 2, 3, 5, 6, 8], "keeps the first and the last"),
        ([0, 1, 3, 5, 6, 8], "but 1 of the others"),
        ([0, 1.6, 3.2, 4.8, 6.4, 8], "with other values than whole numbers"),
        (6, "the number 6, where a list"),
    ],
)
def test_mistakes_about_layers(refused, blocks, part):
    refused("02.3", blocks, part=part, secrets=["0, 2, 3, 5, 6, 8", "8/5", "8 / 5", "1.6"])


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (CANDIDATES[:1], "1 more would"),
        (CANDIDATES[:3], "wider than its teacher"),
        (["mobilenetv1_050"], "is a vit"),
        ("vit_tiny_patch16_224", "no list of names"),
    ],
)
def test_mistakes_about_pairs(refused, names, part):
    given = {"teacher": "vit_small_patch16_224", "candidates": CANDIDATES}
    refused("02.4", names, part=part, secrets=["deit_tiny_patch16_224"], **given)


def test_a_name_that_is_no_candidate_hears_all_that_are(refused):
    refused("02.4", ["resnet18"], part="'resnet18' is none of the options: choose from 'vit_tiny", **GIVEN["02.4"])


@pytest.mark.parametrize(
    ("weights", "part"),
    [
        (12 * 96**2, "there are twelve"),
        (12 * 12 * 192**2, "halve it first"),
        (12 * 8 * 96**2, "attention has matrices"),
        (12 * 4 * 96**2, "MLPs have matrices"),
        (12 * 10 * 96**2, "three matrices in one"),
        (2 * 12 * 12 * 96**2, "both sides of a matrix shrink"),
        (12 * (12 * 96**2 + 9 * 96), "vectors are counted"),
        (12 * (12 * 96**2 + 13 * 96), "vectors are counted"),
        (1, "too small"),
    ],
)
def test_mistakes_about_weights(refused, weights, part):
    refused("02.5", weights, part=part, secrets=["1327104", "1.3271e+06"])
