"""Alignment: permute one network's channels so that they correspond to another's, without changing what it computes.

Two networks of one architecture can compute the same and still have channels in another order; the average of their
weights is then worse than either. Weight matching orders the second one's channels like the first one's.
Source: Ainsworth et al. 2023, Git Re-Basin (arXiv 2209.04836). Which tensors share an axis is read from the named axes
of dmws_lite.method.components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dmws_lite.method.components import FIXED, components, family_of, squeezed
from dmws_lite.method.networks import describe
from dmws_lite.method.plan import SelectionPlan

Axes = Mapping[str, tuple[str, ...]]
Permutations = dict[str, np.ndarray]


def axes_of(network: Any, classifier: bool = True) -> dict[str, tuple[str, ...]]:
    """The named axes of every tensor of a network (a timm name, a module or a state dict), with or without classifier.

    >>> axes_of("embedded_vit_48")["blocks.0.mlp.fc2.weight"]
    ('embed', 'mlp/0')
    """
    found = describe(network)
    parts = components(found.shapes, family_of(found.shapes, found.name), found.name)
    return {c.name: c.axes for c in parts if classifier or "classes" not in c.axes}


def align(
    main: Mapping[str, Tensor],
    auxiliary: Mapping[str, Tensor],
    axes: Axes,
    heads: int | None = None,
    sweeps: int = 20,
) -> tuple[dict[str, Tensor], Permutations]:
    """The auxiliary's tensors with its channels in the order that brings them nearest to the main's, and that order.

    main, auxiliary: state dicts of one architecture.
    axes:   the named axes of the tensors that are matched and permuted (see axes_of); others are returned as they are.
    heads:  attention heads; whole heads change places, and a head's channels stay together. None where there are none.
    sweeps: at most this many rounds over all axes; it ends earlier when a round changes nothing.
    Returns a new state dict, and for each axis int64 (size,): the auxiliary's channel that now stands at each place.
    An axis in turn gets the permutation with the largest inner product of main and auxiliary, the other axes held (a
    linear assignment); so the distance of the two never grows. As in the "magnitude" selection, tensors with at least
    two axes count, and biases, norms and statistics follow: our choice. Axes are taken in the network's order: ours.
    Raises ValueError for attention without `heads`.
    Source: Ainsworth et al. 2023 (arXiv 2209.04836), algorithm 1; heads: our choice.

    >>> state, order = align(main.state_dict(), auxiliary.state_dict(), axes_of(main), heads=3)  # doctest: +SKIP
    """
    if heads is None and any(name.startswith("attn/") for used in axes.values() for name in map(_free, used)):
        raise ValueError("attention is permuted by whole heads: pass heads=, the network's number of them")
    uses = _uses(main, axes)
    order = {axis: np.arange(size) for axis, (size, _) in uses.items()}
    for _ in range(sweeps):
        before = order.copy()
        for axis, (size, names) in uses.items():
            others = {name: index for name, index in order.items() if name != axis}
            similarity = torch.zeros(size, size, dtype=torch.float64)
            for name in names:
                theirs = _permuted(auxiliary[name], axes[name], others)
                similarity += _rows(main[name], axes[name], axis) @ _rows(theirs, axes[name], axis).T
            order[axis] = _best(similarity.numpy(), heads if axis.startswith("attn/") else None)
        if all(np.array_equal(order[axis], before[axis]) for axis in order):
            break
    return {name: _permuted(tensor, axes.get(name, ()), order) for name, tensor in auxiliary.items()}, order


def permuted_plan(plan: SelectionPlan, order: Permutations) -> SelectionPlan:
    """The plan whose student is that of `plan` with its channels in the order that `align` found.

    It takes the same teacher elements: coverage and overlap are those of `plan`.
    """
    moved = []
    for a in plan.assignments:
        indices = list(a.indices)
        for position, axis in enumerate(a.axes):
            if (wanted := _index(axis, order)) is not None:
                old = indices[position]
                indices[position] = wanted if old is None else old[wanted]
        moved.append(replace(a, indices=tuple(indices)))
    return replace(plan, assignments=tuple(moved))


def _free(axis: str) -> str:
    """`attn/3` of `qkv*attn/3`: the axis that is permuted."""
    return axis.split("*")[-1]


def _index(axis: str, order: Permutations) -> np.ndarray | None:
    index = order.get(_free(axis))
    if index is None or "*" not in axis:
        return index
    return np.concatenate([index + part * len(index) for part in range(3)])


def _uses(state: Mapping[str, Tensor], axes: Axes) -> dict[str, tuple[int, list[str]]]:
    """For each axis that is free to permute, in the network's order: its size, and the tensors it is matched by."""
    uses: dict[str, tuple[int, list[str]]] = {}
    for name in filter(axes.__contains__, state):
        for axis, size in zip(axes[name], squeezed(state[name].shape, len(axes[name])), strict=True):
            if axis not in FIXED:
                _, names = uses.setdefault(_free(axis), (size // 3 if "*" in axis else size, []))
                if len(axes[name]) > 1:
                    names.append(name)
    return uses


def _rows(tensor: Tensor, axes: tuple[str, ...], axis: str) -> Tensor:
    """float64 (size of the axis, everything else): one row a channel."""
    position = [_free(a) for a in axes].index(axis)
    rows = tensor.detach().cpu().double().movedim(position, 0).flatten(1)
    return torch.cat(rows.chunk(3), dim=1) if "*" in axes[position] else rows


def _permuted(tensor: Tensor, axes: tuple[str, ...], order: Permutations) -> Tensor:
    tensor = tensor.detach().clone()
    for position, axis in enumerate(axes):
        if (index := _index(axis, order)) is not None:
            tensor = tensor.index_select(position, torch.from_numpy(index).to(tensor.device))
    return tensor


def _best(similarity: np.ndarray, heads: int | None) -> np.ndarray:
    """The permutation with the largest sum of similarities; within and between blocks where there are heads."""
    from scipy.optimize import linear_sum_assignment

    if not heads:
        return linear_sum_assignment(similarity, maximize=True)[1]
    width = len(similarity) // heads
    blocks = similarity.reshape(heads, width, heads, width).swapaxes(1, 2)  # (main's head, auxiliary's head, ., .)
    inside = [[_best(block, None) for block in row] for row in blocks]
    gains = [
        [b[np.arange(width), i].sum() for b, i in zip(*pair, strict=True)] for pair in zip(blocks, inside, strict=True)
    ]
    return np.concatenate([inside[i][j] + j * width for i, j in enumerate(_best(np.array(gains), None))])
