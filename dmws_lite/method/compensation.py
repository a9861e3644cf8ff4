"""Least-squares compensation: each layer of a student is refitted to what its teacher computes, without labels.

Selection throws away what the teacher's other channels compute. Layer by layer, in the order of the forward pass, ridge
regression from the student's own activations to the teacher's makes up for it: each layer also mends what went wrong
before it. Ancestors: He, Zhang & Sun 2017 (arXiv 1707.06168, channel pruning by reconstruction), GRAIL (arXiv
2602.23795), CORP (arXiv 2602.05243). That it follows weight selection, and aims at the stream, is our choice.

A *branch* reads the stream of activations, and adds to it (ViT, ConvNeXt) or replaces it (MobileNetV1).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from dmws_lite.method.branches import BRANCHES, Branch, Run
from dmws_lite.method.components import family_of
from dmws_lite.method.measuring import (
    BATCH,
    Measured,
    Moments,
    Spread,
    batches,
    digest,
    evaluation_mode,
    in_batches,
    recalibrate_batchnorm,
    seen,
)
from dmws_lite.method.networks import describe, name_of
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.runtime.device import few_threads

RIDGE = 1e-3  # times the mean variance of a layer's inputs
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # to choose from on held-out images
ENOUGH = 4  # places for each input: with 2.7 the error on new images was 34 times that on those that were fitted
HELD_OUT = 4  # every so many-th image is held out

Places = Mapping[str, Tensor | None]  # of each fitted layer's outputs: teacher indices (int64), a matrix, or all (None)


def places_of(plan: SelectionPlan) -> dict[str, Tensor | None]:
    """The teacher's places that each student layer's outputs stand for, from a plan."""
    weights = ((a.student.removesuffix(".weight"), a.indices[0]) for a in plan.assignments if a.axes[1:])
    return {name: None if index is None else torch.from_numpy(index) for name, index in weights}


@torch.no_grad()
def compensate(
    student: nn.Module,
    teacher: nn.Module,
    layers: Sequence[Sequence[int]],
    places: Places,
    images: Tensor,
    ridge: float | None = None,
    method: str = "selection_ls",
) -> Measured:
    """Refit the layers of a selected (or projected) student to its teacher, in place, and say what that changed.

    teacher: a network with its weights, of the student's image size; where it has BatchNorm, the statistics of both are
             measured on the images.
    layers:  the teacher block of each student block, stage by stage; places: see `places_of`.
    images:  normalised calibration images (N, 3, H, W).
    ridge:   lambda; None is 1e-3, and in networks with BatchNorm chosen for each layer on held-out images.
    W = C_ya (C_aa + lambda mean(diag C_aa) I)^-1, b = mean(y) - W mean(a), in float64, with a the student's own inputs
    of the layer and y the teacher's outputs at the kept places; a layer that is added to the stream aims at the
    teacher's stream after the branch minus the student's before it.
    Raises ValueError for a family without the method or activations that are not finite, MemoryError for too many
    images.
    """
    began = time.perf_counter()
    try:
        with evaluation_mode(student, teacher), few_threads(student, images):
            for network in (student, teacher):
                recalibrate_batchnorm(network, images.split(BATCH))
            walk = Walk(student, teacher, layers, places, images)
            before, rows = walk.errors(), []
            choose = ridge is None and has_batchnorm(student) and len(images) >= HELD_OUT
            ridges = RIDGES if choose else (RIDGE if ridge is None else ridge,)
            for branch, own, theirs in walk:
                rows += [walk.refit(branch, own, theirs, name, ridges) for name, _ in branch.layers]
            errors = pd.DataFrame({"before": before, "after": walk.errors()})
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise _too_many(images) from error
    table = pd.DataFrame(rows).merge(errors, left_on="module", right_index=True)
    _warn_of_few(table, len(images), 1 if len(ridges) > 1 else ENOUGH)
    return Measured(method, len(images), digest(images), time.perf_counter() - began, table)


@torch.no_grad()
def measure(
    student: nn.Module,
    teacher: nn.Module,
    layers: Any,
    places: Places,
    images: Tensor,
    method: str = "weight_selection",
) -> Measured:
    """The error of each layer of a student as it is, in the column "after"; arguments as in `compensate`."""
    began = time.perf_counter()
    with evaluation_mode(student, teacher):
        errors = Walk(student, teacher, layers, places, images).errors()
    table = pd.DataFrame({"module": list(errors), "before": float("nan"), "after": list(errors.values())})
    return Measured(method, len(images), digest(images), time.perf_counter() - began, table)


class Walk:
    """A student and its teacher, branch by branch, each with the streams of both before it.

    The streams go on with the weights that the student has when the next branch is asked for.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, layers: Any, places: Places, images: Tensor):
        family = family_of(describe(student).shapes, name_of(student))
        if family not in BRANCHES:
            raise ValueError(f"compensation has no rule for family {family!r}, it has for {', '.join(BRANCHES)}")
        branches_of, first = BRANCHES[family]
        self.branches = list(branches_of(student, teacher, layers))
        self.networks, self.places, self.normed = (student, teacher), places, has_batchnorm(student)
        self.channel = -1 if family == "vit" else 1  # axis of the stream
        images = images.to(next(student.parameters()).dtype)
        one = sum(seen(network, images[:1], network.get_submodule(first))[0].nbytes for network in self.networks)
        if 2 * one * len(images) > psutil.virtual_memory().available:  # before a branch and after it
            raise _too_many(images)
        self.starts = [
            torch.cat([seen(network, batch, network.get_submodule(first))[0] for batch in images.split(BATCH)])
            for network in self.networks
        ]

    def __iter__(self) -> Iterator[tuple[Branch, Tensor, Tensor]]:
        own, theirs = self.starts
        for branch in self.branches:
            for module in branch.skipped:
                _remeasure(module, theirs)
                theirs = in_batches(module, theirs)
            _remeasure(branch.student, own)
            _remeasure(branch.teacher, theirs)
            yield branch, own, theirs
            own, theirs = in_batches(branch.student, own), in_batches(branch.teacher, theirs)

    def errors(self) -> dict[str, float]:
        """Of each layer: squared distance to the teacher at the kept places, as a share of the teacher's variance.

        The last layer of a branch is measured on the stream after it.
        """
        errors = {}
        for branch, own, theirs in self:
            for name, twin in branch.layers:
                last = name == branch.layers[-1][0]
                distance, total = Spread(self.normed and not last), Spread()  # BatchNorm takes a shift away
                for a, b in batches(own, theirs):
                    output = self._stream(branch.student(a)) if last else self._of(0, branch.student, a, name)[1]
                    target = self._stream(branch.teacher(b)) if last else self._of(1, branch.teacher, b, twin)[1]
                    target = _at(target, self.places[name])
                    distance.add(output - target)
                    total.add(target)
                errors[name] = distance.value / total.value
        return errors

    def refit(self, branch: Branch, own: Tensor, theirs: Tensor, name: str, ridges: Sequence[float]) -> dict[str, Any]:
        """Refit one layer in place. Returns its row of the table, without the errors."""
        layer: Any = self.networks[0].get_submodule(name)
        free = layer.bias is not None or self.normed  # of its intercept
        held_out = torch.arange(len(own)) % HELD_OUT == HELD_OUT - 1
        parts = [~held_out, held_out] if len(ridges) > 1 else [torch.ones(len(own), dtype=torch.bool)]
        moments = [Moments(free) for _ in parts]
        for part, sums in zip(parts, moments, strict=True):
            for a, b in batches(own[part], theirs[part]):
                sums.add(self._of(0, branch.student, a, name)[0], self._target(branch, a, b, name), name)
        whole = moments[0] if len(parts) == 1 else moments[0] + moments[1]
        ridge = min(ridges, key=lambda one: moments[-1].error(*moments[0].solve(one))) if len(ridges) > 1 else ridges[0]
        weight, bias = whole.solve(ridge)
        if name == branch.layers[-1][0] and branch.scale is not None:
            scale = torch.where(branch.scale == 0, 1, branch.scale).double()
            weight, bias = weight / scale[:, None], bias / scale
        layer.weight.copy_(weight.view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.copy_(bias)
        _remeasure(branch.student, own)
        aims_at = branch.aims_at if name == branch.layers[-1][0] else "output"
        return {"module": name, "aims_at": aims_at, "inputs": weight.shape[1], "places": whole.n, "ridge": ridge}

    def _target(self, branch: Branch, own: Tensor, theirs: Tensor, name: str) -> Tensor:
        """What a layer of the student should give out, (place, channel)."""
        if name != branch.layers[-1][0] or branch.aims_at == "output":
            return _at(self._of(1, branch.teacher, theirs, dict(branch.layers)[name])[1], self.places[name])
        target = _at(self._stream(branch.teacher(theirs)), self.places[name])
        return target - self._stream(own) if branch.added else target

    def _of(self, network: int, run: Run, inputs: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """What goes into a layer and what comes out of it, (place, channel), while `run` works on `inputs`."""
        layer: Any = self.networks[network].get_submodule(name)
        given, output = seen(run, inputs, layer)
        if isinstance(layer, nn.Linear):
            return given.reshape(-1, given.shape[-1]), output.reshape(-1, output.shape[-1])
        patches = F.unfold(given, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        return patches.transpose(1, 2).flatten(0, 1), output.flatten(2).transpose(1, 2).flatten(0, 1)

    def _stream(self, stream: Tensor) -> Tensor:
        return stream.movedim(self.channel, -1).flatten(0, -2)


def _too_many(images: Tensor) -> MemoryError:
    size = " x ".join(map(str, images.shape))
    return MemoryError(f"the activations of {size} calibration images do not fit into memory: pass fewer of them")


def _at(outputs: Tensor, places: Tensor | None) -> Tensor:
    """The teacher's outputs (place, channel) in the student's coordinates."""
    if places is None:
        return outputs
    return outputs @ places.to(outputs).T if places.is_floating_point() else outputs[:, places]


def _remeasure(run: Run, stream: Tensor) -> None:
    if isinstance(run, nn.Module):
        recalibrate_batchnorm(run, stream.split(BATCH))


def has_batchnorm(network: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def _warn_of_few(table: pd.DataFrame, images: int, enough: int) -> None:
    few = table[table["places"] < enough * table["inputs"]]
    if len(few):
        row = few.iloc[(few["places"] / few["inputs"]).argmin()]
        warnings.warn(
            f"{images} calibration images give {row['places']} places (images x positions) for the {row['inputs']} "
            f"inputs of {row['module']}, fewer than {enough} for each (in {len(few)} layers): such a fit holds for "
            "these images, and may be worse than plain selection on others: pass more training images",
            stacklevel=3,
        )
