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
from contextlib import ExitStack
from functools import partial
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
    given_to,
    in_batches,
    recalibrate_batchnorm,
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
            choose = ridge is None and has_batchnorm(student) and len(images) >= HELD_OUT
            ridges = RIDGES if choose else (RIDGE if ridge is None else ridge,)
            table = Walk(student, teacher, layers, places, images).fit(ridges)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise _too_many(images) from error
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
        table = Walk(student, teacher, layers, places, images).fit(())
    return Measured(method, len(images), digest(images), time.perf_counter() - began, table)


class Walk:
    """A student and its teacher, branch by branch, each with its own stream: the teacher is gone through once."""

    def __init__(self, student: nn.Module, teacher: nn.Module, layers: Any, places: Places, images: Tensor):
        family = family_of(describe(student).shapes, name_of(student))
        if family not in BRANCHES:
            raise ValueError(f"compensation has no rule for family {family!r}, it has for {', '.join(BRANCHES)}")
        branches_of, first = BRANCHES[family]
        self.branches = list(branches_of(student, teacher, layers))
        self.networks, self.places, self.normed = (student, teacher), places, has_batchnorm(student)
        self.channel = -1 if family == "vit" else 1  # axis of the stream
        images = images.to(next(student.parameters()).dtype)
        one = sum(given_to(network.get_submodule(first), network, images[:1]).nbytes for network in self.networks)
        if 3 * one * len(images) > psutil.virtual_memory().available:  # before a branch, after it, and its targets
            raise _too_many(images)
        self.starts = [
            in_batches(partial(given_to, network.get_submodule(first), network), images) for network in self.networks
        ]

    def __iter__(self) -> Iterator[tuple[Branch, dict[str, Tensor], dict[str, Tensor]]]:
        """Each branch, with what its layers give out in the teacher, and what the student is measured against.

        Both are (image, position, channel) at the kept places. They differ in the last layer, where the student is
        measured against the teacher's stream after the branch.
        """
        stream = self.starts[1]
        for branch in self.branches:
            for module in branch.skipped:
                _remeasure(module, stream)
                stream = in_batches(module, stream)
            _remeasure(branch.teacher, stream)
            outputs, stream = self.outputs(1, branch.teacher, stream, dict(branch.layers))
            last = branch.layers[-1][0]
            yield branch, outputs, outputs | {last: _at(self.by_place(stream), self.places[last])}

    def fit(self, ridges: Sequence[float]) -> pd.DataFrame:
        """Refit all layers in place; with no ridge to choose from, the student stays as it is.

        Returns one row per layer, as `Measured.table` says.
        """
        rows = []
        untouched = own = self.starts[0]
        for branch, outputs, wanted in self:
            before, untouched = self.errors(branch, untouched, wanted)
            if not ridges:
                rows += [{"module": name, "before": float("nan"), "after": error} for name, error in before.items()]
                continue
            _remeasure(branch.student, own)
            targets = dict(outputs)
            if branch.aims_at == "stream":
                last = branch.layers[-1][0]
                targets[last] = wanted[last] - self.by_place(own) if branch.added else wanted[last]
            fits = [self.refit(branch, own, targets[name], name, ridges) for name, _ in branch.layers]
            after, own = self.errors(branch, own, wanted)
            rows += [fit | {"before": before[fit["module"]], "after": after[fit["module"]]} for fit in fits]
        return pd.DataFrame(rows)

    def errors(self, branch: Branch, own: Tensor, wanted: Mapping[str, Tensor]) -> tuple[dict[str, float], Tensor]:
        """Of each layer: squared distance to the teacher, as a share of the teacher's variance; the stream after."""
        _remeasure(branch.student, own)
        outputs, stream = self.outputs(0, branch.student, own, {name: name for name, _ in branch.layers})
        last, errors = branch.layers[-1][0], {}
        for name, target in wanted.items():
            output = self.by_place(stream) if name == last else outputs[name]
            distance, total = Spread(self.normed and name != last), Spread()  # BatchNorm takes a shift away
            for values, aims in batches(output, target):
                distance.add((values - aims).flatten(0, 1))
                total.add(aims.flatten(0, 1))
            errors[name] = distance.value / total.value
        return errors, stream

    def refit(self, branch: Branch, own: Tensor, targets: Tensor, name: str, ridges: Sequence[float]) -> dict[str, Any]:
        """Refit one layer in place. Returns its row of the table, without the errors."""
        layer: Any = self.networks[0].get_submodule(name)
        free = layer.bias is not None or self.normed  # of its intercept
        held_out = torch.arange(len(own)) % HELD_OUT == HELD_OUT - 1
        parts = [~held_out, held_out] if len(ridges) > 1 else [torch.ones(len(own), dtype=torch.bool)]
        moments = [Moments(free) for _ in parts]
        for part, sums in zip(parts, moments, strict=True):
            for batch, aims in batches(own[part], targets[part]):
                sums.add(_inputs(layer, given_to(layer, branch.student, batch)), aims.flatten(0, 1), name)
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

    def outputs(
        self, network: int, run: Run, stream: Tensor, twins: Mapping[str, str]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What layers of a network give out, by the student's name of each, at the kept places; the stream after."""
        layers = {name: self.networks[network].get_submodule(twin) for name, twin in twins.items()}
        parts: dict[str, list[Tensor]] = {name: [] for name in layers}

        def note(name: str, layer: nn.Module, output: Tensor) -> None:
            output = output.flatten(1, -2) if isinstance(layer, nn.Linear) else output.flatten(2).mT
            parts[name].append(_at(output, self.places[name]) if network else output)

        with ExitStack() as hooks:
            for name, layer in layers.items():
                handle = layer.register_forward_hook(lambda layer, _, output, name=name: note(name, layer, output))
                hooks.callback(handle.remove)
            after = in_batches(run, stream)
        return {name: torch.cat(part) for name, part in parts.items()}, after

    def by_place(self, stream: Tensor) -> Tensor:
        """A stream as (image, position, channel)."""
        return stream.movedim(self.channel, -1).flatten(1, -2)


def _inputs(layer: Any, given: Tensor) -> Tensor:
    """What goes into a layer, (place, input)."""
    if isinstance(layer, nn.Linear):
        return given.flatten(0, -2)
    return F.unfold(given, layer.kernel_size, layer.dilation, layer.padding, layer.stride).mT.flatten(0, 1)


def _too_many(images: Tensor) -> MemoryError:
    size = " x ".join(map(str, images.shape))
    return MemoryError(f"the activations of {size} calibration images do not fit into memory: pass fewer of them")


def _at(outputs: Tensor, places: Tensor | None) -> Tensor:
    """The teacher's outputs (image, position, channel) in the student's coordinates."""
    if places is None:
        return outputs
    return outputs @ places.to(outputs).T if places.is_floating_point() else outputs[..., places]


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
