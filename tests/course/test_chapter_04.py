"""Chapter 04: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import numpy as np
import pytest
import torch

from dmws_lite.analysis import starts
from dmws_lite.course import check
from dmws_lite.course.exercises.chapter_04 import shuffled
from dmws_lite.method.networks import build, load_teacher

GIVEN = {"04.1": {}, "04.2": {}, "04.4": {"ratio": 0.707}}


@pytest.fixture(scope="module")
def selected():
    """The student with single selection, and two images."""
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    networks = starts.untrained(load_teacher(), "embedded_vit_48", 3, images, ["weight_selection"])
    return {"network": networks["weight_selection"], "inputs": images}


def test_widths_at_which_002_is_loud_enough():
    assert check("04.1", 2500, 5000).state == check("04.1", 2500.0, np.float64(5000.0000001)).state == "right"
    assert check("04.1", 2500, ...).state == "open"


@pytest.mark.parametrize(
    ("xavier", "kaiming", "part"),
    [
        (50, 5000, "xavier: the gain does not grow with the inputs themselves"),
        (0.0004, 5000, "xavier: this is less than one input"),
        (2500, 2**0.5 / 0.02, "kaiming: the gain does not grow with the inputs themselves"),
        (2500, 2**0.5 / 0.02**2, "kaiming: do gain and standard deviation enter"),
        (2500, 0.0008, "kaiming: this is less than one input"),
        (768, 5000, "xavier: 768 is too small"),
        (2500, 10_000, "kaiming: 10000 is too large"),
    ],
)
def test_widths_that_are_wrong(refused, xavier, kaiming, part):
    refused("04.1", xavier, kaiming, part=part, secrets=("2500", "5000"))


def ranked(rule):
    return lambda matrix: rule(np.linalg.svd(matrix, compute_uv=False))


def test_the_stable_rank():
    assert check("04.2", lambda matrix: np.linalg.norm(matrix) ** 2 / np.linalg.norm(matrix, 2) ** 2).state == "right"
    assert check("04.2", lambda matrix: None).state == "open"


@pytest.mark.parametrize(
    ("rule", "part"),
    [
        (ranked(lambda s: (s**2).sum() / s[0] ** 2 / len(s)), "share of the full rank"),
        (np.linalg.matrix_rank, "counts a tiny singular value"),
        (ranked(lambda s: (s**2).sum() ** 0.5 / s[0]), "a square is missing"),
        (ranked(lambda s: (s**2).sum() / s[0]), "scale would matter"),
        (ranked(lambda s: s.sum() / s[0]), "not their squares"),
        (ranked(lambda s: (s**2).sum() / s[-1] ** 2), "divides by the smallest"),
        (np.linalg.norm, "a drawn matrix"),
        (ranked(lambda s: s**2), "no number"),
    ],
)
def test_stable_ranks_that_are_wrong(refused, rule, part):
    refused("04.2", rule, part=part)


def test_shuffling_keeps_the_values_and_moves_them(selected):
    before, after = selected["network"].state_dict(), shuffled(selected["network"]).state_dict()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed and all(name.startswith("blocks") and before[name].ndim == 2 for name in changed)
    assert all(torch.equal(before[name].flatten().sort()[0], after[name].flatten().sort()[0]) for name in changed)


def test_what_shuffling_changes(selected):
    verdict = check("04.3", "stays", "rises", " Rises", **selected)
    assert verdict.state == "right" and "rank share 0.169 → 0.3" in verdict.message
    assert check("04.3", "stays", "rises", ..., **selected).state == "open"


@pytest.mark.parametrize(
    ("answers", "part"),
    [
        (("falls", "rises", "rises"), "Frobenius norm"),
        (("stays", "falls", "rises"), "independent entries"),
        (("stays", "stays", "rises"), "rank share: it does something else"),
        (("stays", "rises", "stays"), "Queries meet keys"),
        (("stays", "rises", "grows"), "none of the options"),
    ],
)
def test_predictions_that_are_wrong(refused, selected, answers, part):
    refused("04.3", *answers, part=part, **selected)


def test_a_network_without_attention_has_two_measurements():
    given = {"network": build("mobilenetv1_050", 3).eval(), "inputs": torch.zeros(1, 3, 32, 32)}
    verdict = check("04.3", "stays", "stays", "stays", **given)
    assert "entropy" not in verdict.message


def test_what_undoes_the_loss_of_gain():
    assert check("04.4", 2**0.5, 0.5, ratio=0.707).state == "right"
    assert check("04.4", 1 / 0.6, 0.36, ratio=0.6).state == "right"
    assert check("04.4", ..., 0.5, ratio=0.707).state == "open"


@pytest.mark.parametrize(
    ("factor", "left", "part"),
    [
        (0.707, 0.5, "factor: this is the loss itself"),
        (2, 0.5, "factor: this would undo it in a product"),
        (1.414, 0.707, "left: this is what is left of the queries alone"),
        (1.414, 2, "left: this is how much was lost"),
        (1.414, 1.414, "left: two factors do not add up"),
        (1.414, 1, "left: both sides"),
        (1.414, 50, "percentage"),
        (1.414, 0.1, "left: 0.1 is too small"),
    ],
)
def test_losses_that_are_wrong(refused, factor, left, part):
    refused("04.4", factor, left, ratio=0.707, part=part, secrets=("1.41", "0.5 "))
