"""Least-squares compensation: each layer of a student is refitted to what its teacher computes, without labels.

Selection throws away what the teacher's other channels compute. Layer by layer, in the order of the forward pass, ridge
regression from the student's own activations to the teacher's makes up for it: each layer also corrects the errors
before it. Ancestors: He, Zhang & Sun 2017 (arXiv 1707.06168, channel pruning by reconstruction), GRAIL (arXiv
2602.23795), CORP (arXiv 2602.05243). That it follows weight selection, and aims at the stream, is our choice.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import pandas as pd
import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from dmws_lite.method.branches import BRANCHES, Branch, StreamFunction
from dmws_lite.method.components import family_of
from dmws_lite.method.measuring import BATCH, Measured, Moments, capture, evaluation_mode, remeasure, sum_of_squares
from dmws_lite.method.networks import describe, name_of
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.runtime.device import few_threads

RIDGE = 1e-3  # times the mean variance of a layer's inputs
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # to choose from on held-out images
ENOUGH = 4  # places for each input: with 2.7 the error on new images was 34 times that on those that were fitted
HELD_OUT = 4  # every so many-th image is held out

Outputs = dict[str, Tensor]  # of layers, by the student's names, each (image, position, channel)
Places = Mapping[str, Tensor | None]  # of each fitted layer's outputs: teacher indices (int64), a matrix, or all (None)


def places_of(plan: SelectionPlan) -> dict[str, Tensor | None]:
    """The teacher's places that each student layer's outputs stand for, from a plan."""
    places = {a.student.removesuffix(".weight"): a.indices[0] for a in plan.assignments if len(a.axes) > 1}
    return {name: None if index is None else torch.from_numpy(index) for name, index in places.items()}


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
    """Refit the layers of a selected (or projected) student to its teacher, in place. Returns what that changed.

    teacher: a network with its weights, of the student's image size; BatchNorm of both is measured on the images.
    layers:  the teacher block of each student block, stage by stage; places: see `places_of`.
    images:  normalised calibration images (N, 3, H, W).
    ridge:   lambda; None is 1e-3, and in networks with BatchNorm chosen for each layer on held-out images.
    W = C_ya (C_aa + lambda mean(diag C_aa) I)^-1, b = mean(y) - W mean(a), in float64, with a the student's own inputs
    of the layer and y the teacher's outputs at the kept places; a layer that is added to the stream aims at the
    teacher's stream after the branch minus the student's before it.
    Raises ValueError for ViTs with other blocks or tokens and for activations that are not finite, MemoryError for too
    many images.
    """
    if ridge is not None and not 0 <= ridge < float("inf"):
        raise ValueError(f"ridge={ridge} must be 0 or more, and finite")
    began = time.perf_counter()
    with evaluation_mode(student, teacher), few_threads(student, images):
        for network in (student, teacher):
            remeasure(network, images)
        fitter = LayerFitter(student, teacher, layers, places, images)
        ridges: tuple[float, ...] = (RIDGE if ridge is None else ridge,)
        if ridge is None and fitter.has_batchnorm and len(images) >= HELD_OUT:
            ridges = RIDGES
        table = fitter.fit(ridges)
    enough = 1 if ridges is RIDGES else ENOUGH
    few = table[table["places"] < enough * table["inputs"]]
    if len(few):
        row = few.iloc[(few["places"] / few["inputs"]).argmin()]
        warnings.warn(
            f"{len(images)} calibration images give {row['places']} places (images x positions) for the "
            f"{row['inputs']} inputs of {row['module']}, fewer than {enough} for each (in {len(few)} layers): such a "
            "fit holds for these images, and may be worse than plain selection on others: pass more training images",
            stacklevel=3,  # 2 is torch.no_grad
        )
    return Measured(method, len(images), time.perf_counter() - began, table)


@torch.no_grad()
def measure(
    student: nn.Module,
    teacher: nn.Module,
    layers: Sequence[Sequence[int]],
    places: Places,
    images: Tensor,
    method: str = "weight_selection",
) -> Measured:
    """The error of each layer of a student as it is, in the column "after"; arguments as in `compensate`."""
    began = time.perf_counter()
    with evaluation_mode(student, teacher):
        table = LayerFitter(student, teacher, layers, places, images).fit(())
    return Measured(method, len(images), time.perf_counter() - began, table)


class LayerFitter:
    """Fits a student's layers branch by branch, with the streams of activations of both networks on the same images."""

    def __init__(self, student: nn.Module, teacher: nn.Module, layers: Any, places: Places, images: Tensor):
        family = family_of(describe(student).shapes, name_of(student))
        branches_of, first = BRANCHES[family]
        self.branches = list(branches_of(student, teacher, layers))
        self.student, self.teacher, self.places = student, teacher, places
        self.has_batchnorm = any(isinstance(module, _BatchNorm) for module in student.modules())
        self.channel_axis = -1 if family == "vit" else 1  # of the stream

        def streams(batch: Tensor) -> list[Tensor]:
            return [capture(network, batch, network.get_submodule(first))[0] for network in (student, teacher)]

        images = images.to(next(student.parameters()).dtype)
        image_bytes = sum(stream.nbytes for stream in streams(images[:1]))
        if 3 * image_bytes * len(images) > psutil.virtual_memory().available:  # before and after a branch, and targets
            size = " x ".join(map(str, images.shape))
            raise MemoryError(f"the activations of {size} calibration images do not fit into memory: pass fewer")
        by_batch = [streams(batch) for batch in images.split(BATCH)]
        self.first_streams = [torch.cat(parts) for parts in zip(*by_batch, strict=True)]

    def fit(self, ridges: Sequence[float]) -> pd.DataFrame:
        """Refit all layers in place; without ridges, only measure them. Returns `Measured.table`."""
        rows: list[dict[str, Any]] = []
        stream, teacher_stream = self.first_streams
        unfitted_stream = stream  # the student's as it is without the fits
        for branch in self.branches:
            for module in branch.skipped:
                remeasure(module, teacher_stream)
                teacher_stream = torch.cat([module(batch) for batch in teacher_stream.split(BATCH)])
            remeasure(branch.teacher, teacher_stream)
            targets, teacher_stream = self.record_outputs(
                self.teacher, branch.teacher, teacher_stream, dict(branch.layers), self.places
            )
            after_branch = _select_places(self.flatten_places(teacher_stream), self.places[branch.last])
            references = targets | {branch.last: after_branch}  # what errors are measured against
            before, unfitted_stream = self.measure_errors(branch, unfitted_stream, references)
            if not ridges:
                rows += [{"module": name, "before": float("nan"), "after": error} for name, error in before.items()]
                continue
            remeasure(branch.student, stream)
            if branch.added:
                targets[branch.last] = after_branch - self.flatten_places(stream)
            fits = [self.refit(branch, stream, target, name, ridges) for name, target in targets.items()]
            after, stream = self.measure_errors(branch, stream, references)
            rows += [row | {"before": before[row["module"]], "after": after[row["module"]]} for row in fits]
        return pd.DataFrame(rows)

    def measure_errors(self, branch: Branch, stream: Tensor, references: Outputs) -> tuple[dict[str, float], Tensor]:
        """The error of each layer (see `Measured`), of the last on the student's stream after it; and that stream."""
        remeasure(branch.student, stream)
        names = {name: name for name, _ in branch.layers}
        outputs, stream = self.record_outputs(self.student, branch.student, stream, names, {})
        outputs[branch.last], errors = self.flatten_places(stream), {}
        for name, reference in references.items():
            batches = zip(outputs[name].split(BATCH), reference.split(BATCH), strict=True)
            centred = self.has_batchnorm and name != branch.last  # BatchNorm takes a shift away
            distance = sum_of_squares(((output - aim).flatten(0, 1) for output, aim in batches), centred)
            variance = sum_of_squares(aim.flatten(0, 1) for aim in reference.split(BATCH))
            errors[name] = distance / (variance or 1.0)  # 0 where the output is the same for all of these images
        return errors, stream

    def refit(
        self, branch: Branch, stream: Tensor, target: Tensor, name: str, ridges: Sequence[float]
    ) -> dict[str, Any]:
        """Refit one layer in place. Returns its row of the table, without the errors.

        stream: the student's before the branch.   target: (image, position, output), what the layer should give out.
        ridges: to choose from on held-out images, where there are several.
        """
        layer: Any = self.student.get_submodule(name)
        if len(ridges) > 1:
            held_out = torch.arange(len(stream)) % HELD_OUT == HELD_OUT - 1
            fitted, others = (self.sum_moments(branch, stream[m], target[m], name) for m in (~held_out, held_out))
            ridge = min(ridges, key=lambda candidate: others.error(*fitted.solve(candidate)))
            moments = fitted + others
        else:
            ridge = ridges[0]
            moments = self.sum_moments(branch, stream, target, name)
        weight, bias = moments.solve(ridge)
        if name == branch.last and branch.scale is not None:
            scale = torch.where(branch.scale == 0, 1, branch.scale).double()
            weight, bias = weight / scale[:, None], bias / scale
        layer.weight.copy_(weight.view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.copy_(bias)
        remeasure(branch.student, stream)
        aims_at = "stream" if branch.added and name == branch.last else "output"
        return {"module": name, "aims_at": aims_at, "inputs": weight.shape[1], "places": moments.n, "ridge": ridge}

    def sum_moments(self, branch: Branch, stream: Tensor, target: Tensor, name: str) -> Moments:
        """Moments of a layer's inputs and targets over all images."""
        layer: Any = self.student.get_submodule(name)
        moments = Moments(intercept=layer.bias is not None or self.has_batchnorm)
        for batch, aims in zip(stream.split(BATCH), target.split(BATCH), strict=True):
            inputs = capture(branch.student, batch, layer)[0]
            if not isinstance(layer, nn.Linear):  # a convolution of patches that do not overlap
                inputs = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride).mT
            moments.add(inputs.flatten(0, -2), aims.flatten(0, 1), name)
        return moments

    def record_outputs(
        self, network: nn.Module, function: StreamFunction, stream: Tensor, names: Mapping[str, str], places: Places
    ) -> tuple[Outputs, Tensor]:
        """What layers of a network give out while `function` works on a stream, and the stream after.

        names: the layer's name in the network, by its name in the student.   places: of each layer's outputs to keep.
        """
        outputs: dict[str, list[Tensor]] = {name: [] for name in names}

        def record(name: str, layer: nn.Module, _: Any, output: Tensor) -> None:
            output = output.flatten(1, -2) if isinstance(layer, nn.Linear) else output.flatten(2).mT
            outputs[name].append(_select_places(output, places.get(name)))

        with ExitStack() as hooks:
            for name, module in names.items():
                hooks.callback(network.get_submodule(module).register_forward_hook(partial(record, name)).remove)
            after = torch.cat([function(batch) for batch in stream.split(BATCH)])
        return {name: torch.cat(parts) for name, parts in outputs.items()}, after

    def flatten_places(self, stream: Tensor) -> Tensor:
        """A stream as (image, position, channel)."""
        return stream.movedim(self.channel_axis, -1).flatten(1, -2)


def _select_places(outputs: Tensor, places: Tensor | None) -> Tensor:
    """The teacher's outputs (image, position, channel) in the student's coordinates."""
    if places is None:
        return outputs
    return outputs @ places.to(outputs).T if places.is_floating_point() else outputs[..., places]
