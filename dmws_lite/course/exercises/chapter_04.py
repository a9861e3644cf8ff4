"""Checks of chapter 04, initialisations."""

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from dmws_lite.analysis import starts
from dmws_lite.course.answers import call_function, choice, compare, reject

MEASURES = {"gain": "gain", "rank_share": "rank share", "entropy": "entropy"}


def exercise_2(stable_rank):
    """The stable rank of a matrix, as a function of the matrix."""
    rng = np.random.default_rng(0)
    drawn = rng.normal(size=(12, 5))
    for case, matrix in (
        ("a drawn matrix, 12 by 5", drawn),
        ("the same, times 10", 10 * drawn),
        ("an outer product", np.outer(rng.normal(size=6), rng.normal(size=4))),
        ("a unit matrix, 7 by 7", np.eye(7)),
    ):
        singular = np.linalg.svd(matrix, compute_uv=False)
        energy = float((singular**2).sum())
        right = energy / singular[0] ** 2
        mistakes = {
            "share": right / len(singular),
            "rank": np.linalg.matrix_rank(matrix),
            "root": right**0.5,
            "unsquared": singular.sum() / singular[0],
        }
        compare(call_function(stable_rank, matrix.copy()), right, case, relative=1e-4, **mistakes)


def exercise_3(gain, rank_share, entropy, *, network, inputs):
    """What becomes of three measurements when the elements of every selected matrix are shuffled."""
    changes = [choice(answer, ("rises", "falls", "stays")) for answer in (gain, rank_share, entropy)]
    before, after = _measure(network, inputs), _measure(shuffle_matrices(network), inputs)
    for (name, old), change in zip(before.items(), changes, strict=False):
        right = "rises" if after[name] > old else "falls"
        reject(change != ("stays" if np.isclose(after[name], old, rtol=1e-3, atol=0) else right), name)
    return {"numbers": ", ".join(f"{MEASURES[name]} {before[name]:.3f} → {after[name]:.3f}" for name in before)}


def shuffle_matrices(network: nn.Module) -> nn.Module:
    """A copy of the network with the elements of each matrix in its blocks in another order."""
    copy, generator = deepcopy(network), torch.Generator().manual_seed(0)
    matrices = set(starts.matrices({"weight_selection": network})["tensor"])
    with torch.no_grad():
        for name, weight in copy.named_parameters():
            if name in matrices:
                order = torch.randperm(weight.numel(), generator=generator)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return copy


def _measure(network, inputs):
    """The means of MEASURES over the blocks; without entropy for a network without attention."""
    weights = starts.matrices({"weight_selection": network})
    attention = starts.attention({"weight_selection": network}, inputs)
    means = {"gain": float(weights["gain"].mean()), "rank_share": float(weights["rank_share"].mean())}
    return means | ({"entropy": float(attention["entropy"].mean())} if len(attention) else {})
