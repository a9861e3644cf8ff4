"""Checks of chapter 04, initialisations."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import nn

from dmws_lite.analysis import starts
from dmws_lite.course.answers import Wrong, called, choice, compared

STD = 0.02
MEASURES = {"gain": "gain", "rank_share": "rank share", "entropy": "entropy"}
CHANGES = ("rises", "falls", "stays")


def exercise_1(xavier: Any, kaiming: Any) -> str:
    """The numbers of inputs at which weights of standard deviation 0.02 have a gain of 1 and of the root of 2."""
    for answer, gain, name in ((xavier, 1.0, "xavier"), (kaiming, 2**0.5, "kaiming")):
        mistakes = {
            gain / STD: "the gain does not grow with the inputs themselves: solve its formula for them",
            (gain * STD) ** 2: "this is less than one input: does the gain rise or fall with the inputs?",
            gain / STD**2 if gain != 1 else 0.0: "do gain and standard deviation enter with the same power?",
        }
        compared(answer, (gain / STD) ** 2, mistakes, name)
    return "Far wider than any student of this course: the rule of 0.02 came with wide networks."


def exercise_2(stable_rank: Any) -> str:
    """The stable rank of a matrix, as a function of the matrix."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(12, 5))
    for name, matrix in (
        ("a drawn matrix, 12 by 5", drawn),
        ("the same, times 10", 10 * drawn),
        ("an outer product", np.outer(rng.normal(size=6), rng.normal(size=4))),
        ("a unit matrix, 7 by 7", np.eye(7)),
    ):
        singular = np.linalg.svd(matrix, compute_uv=False)
        energy = float((singular**2).sum())
        right = energy / singular[0] ** 2
        mistakes = {
            right / len(singular): "this is the share of the full rank already",
            float(np.linalg.matrix_rank(matrix)): "this is the rank, which counts a tiny singular value as a large one",
            energy**0.5 / singular[0]: "a square is missing",
            energy / singular[0]: "the largest singular value is squared, too, or scale would matter",
            float(singular.sum() / singular[0]): "this sums the singular values, not their squares",
            energy / singular[-1] ** 2: "this divides by the smallest singular value",
        }
        compared(called(stable_rank, matrix.copy()), right, mistakes, name, relative=1e-4)
    return (
        "Between 1 (an outer product, one direction) and the full rank (a unit matrix, all alike); scale plays no part."
    )


def exercise_3(gain: Any, rank_share: Any, entropy: Any, *, network: nn.Module, inputs: torch.Tensor) -> str:
    """What becomes of three measurements when the elements of every selected matrix are shuffled."""
    answers = {
        name: choice(answer, CHANGES) for name, answer in zip(MEASURES, (gain, rank_share, entropy), strict=True)
    }
    before, after = _measured(network, inputs), _measured(shuffled(network), inputs)
    for name, answer in answers.items():
        if name in before and answer != _change(before[name], after[name]):
            raise Wrong(f"{MEASURES[name]}: it does something else. {HINTS[name]}")
    numbers = ", ".join(f"{MEASURES[name]} {before[name]:.3f} → {after[name]:.3f}" for name in before)
    return f"{numbers}. So the steep spectrum and the attention are structure, not the distribution of the values."


HINTS = {
    "gain": "What does the Frobenius norm know of an element's place?",
    "rank_share": "After shuffling, what tells the matrix from one of independent entries?",
    "entropy": "Queries meet keys only if both look along the same directions.",
}


def exercise_4(factor: Any, left: Any, *, ratio: float) -> str:
    """The factor that undoes the loss of gain in one layer, and what is left of a product of queries and keys."""
    mistakes = {
        ratio: "this is the loss itself: what undoes it?",
        1 / ratio**2: "this would undo it in a product of two layers; one matrix is asked for",
        ratio**2: "this is the loss twice over",
    }
    compared(factor, 1 / ratio, mistakes, "factor", relative=0.03)
    mistakes = {
        ratio: "this is what is left of the queries alone",
        1 / ratio**2: "this is how much was lost",
        1 - ratio**2: "this is how much was lost",
        2 * ratio: "two factors do not add up",
        1.0: "both sides have become smaller",
    }
    compared(left, ratio**2, mistakes, "left", relative=0.03)
    return "Products of two selected layers lose twice: a reason why so little of the teacher's attention is left."


def shuffled(network: nn.Module) -> nn.Module:
    """A copy of the network with the elements of each matrix in its blocks in another order."""
    copy, generator = deepcopy(network), torch.Generator().manual_seed(0)
    matrices = set(starts.matrices({"weight_selection": network})["tensor"])
    with torch.no_grad():
        for name, weight in copy.named_parameters():
            if name in matrices:
                order = torch.randperm(weight.numel(), generator=generator)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return copy


def _measured(network: nn.Module, inputs: torch.Tensor) -> dict[str, float]:
    """The means of MEASURES over the blocks; without entropy for a network without attention."""
    weights = starts.matrices({"weight_selection": network})
    looks = starts.attention({"weight_selection": network}, inputs)
    found = {"gain": float(weights["gain"].mean()), "rank_share": float(weights["rank_share"].mean())}
    return found | ({"entropy": float(looks["entropy"].mean())} if len(looks) else {})


def _change(before: float, after: float) -> str:
    if abs(after - before) <= 1e-3 * abs(before):
        return "stays"
    return "rises" if after > before else "falls"
