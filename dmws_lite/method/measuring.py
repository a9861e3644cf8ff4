"""Calibration images, and what is measured on them: activations, their moments, and BatchNorm's statistics.

Calibration images are training images of the run, without their labels; never validation or test images.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dmws_lite.method.networks import input_statistics

CALIBRATION = 128  # images, by default
BATCH = 32  # images that pass a network at once


@dataclass(frozen=True, eq=False)
class Measured:
    """The record of a start beyond selection: the images it measured on, and each layer's error before and after.

    table: one row per fitted layer, in the order of the forward pass: module, aims_at ("output", or "stream" after the
           branch that it ends), inputs, places (images x positions), ridge, and the error before and after: squared
           distance to the teacher at the kept places, as a share of the teacher's variance.
    """

    method: str
    images: int
    seconds: float
    table: pd.DataFrame

    def __repr__(self) -> str:
        before, after = self.table[["before", "after"]].iloc[-1] if len(self.table) else (float("nan"),) * 2
        text = f"error at the end {before:.3f} before, {after:.3f} after, {self.seconds:.1f} s"
        return f"Measured({self.method} on {self.images} images: {text})"


def calibration_images(images: Any, network: Any, limit: int | None = None) -> Tensor:
    """Calibration images as a network takes them, float (N, 3, H, W).

    images:  uint8 (N, 1 or 3, H, W), an array, a tensor or an ImageSet; or a float tensor (N, 3, H, W) that is
             normalised already. Warns of floats from 0 to 1, which look as if they were not.
    network: a name, Teacher or module, whose input statistics uint8 images are normalised with.
    limit:   at most so many are taken, evenly spread over all of them.
    Raises TypeError or ValueError for anything else, values that are not finite, or far too large.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"calibration={limit}: measure on at least one image (the default is {CALIBRATION})")
    images = getattr(images, "images", images)
    if not isinstance(images, np.ndarray | Tensor):
        raise TypeError(f"images={type(images).__name__}: they are measured on: pass images=splits.train, or an array")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise ValueError(f"calibration images have shape {tuple(images.shape)}: pass (N, 1 or 3, H, W), at least one")
    positions = np.linspace(0, len(images) - 1, min(limit or len(images), len(images))).round().astype(int)
    batch = torch.as_tensor(images[positions]).cpu()
    if batch.dtype == torch.uint8:
        shift, scale = (torch.tensor(values).float().view(1, 3, 1, 1) for values in input_statistics(network))
        return (batch.float() / 255 - shift) / scale
    shown = f"calibration images are {batch.dtype} {tuple(batch.shape)}, values {batch.min():g} to {batch.max():g}"
    way_out = "pass uint8, or finite floats (N, 3, H, W), normalised with the teacher's mean and standard deviation"
    if not batch.is_floating_point() or batch.shape[1] != 3 or not batch.isfinite().all() or batch.abs().max() > 50:
        raise ValueError(f"{shown}: {way_out}")
    if batch.min() >= 0 and 0.5 < batch.max() <= 1:
        warnings.warn(f"{shown}, as if nobody had normalised them: {way_out}", stacklevel=3)
    return batch


class _LayerReached(Exception):
    """Ends a forward pass where no more of it is needed."""


def capture(function: Callable[[Tensor], Any], inputs: Tensor, layer: nn.Module) -> tuple[Tensor, Tensor]:
    """The input and the output of `layer` while `function` works on `inputs`; the forward pass ends there."""
    calls: list[tuple[Tensor, Tensor]] = []

    def stop(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        calls.append((arguments[0], output))
        raise _LayerReached

    with layer.register_forward_hook(stop), suppress(_LayerReached):
        function(inputs)
    return calls[0]


def sum_of_squares(values: Iterable[Tensor], centred: bool = True) -> float:
    """The sum of squares of values (place, channel) that come batch by batch; about their mean where `centred`."""
    n, total, squares = 0, torch.zeros(()), 0.0
    for batch in values:
        batch = batch.double()
        n, total = n + len(batch), total + batch.sum(0)
        squares += float(batch.square().sum())
    return squares - float(total.square().sum()) / n if centred else squares


class Moments:
    """Moments of inputs a and targets y, summed batch by batch in float64; intercept: the fit has one."""

    def __init__(self, intercept: bool = True):
        self.intercept, self.n = intercept, 0
        self.sums: list[Any] = [0.0] * 4

    def add(self, a: Tensor, y: Tensor, layer: str) -> None:
        """Add inputs (place, input) and targets (place, output) of a layer."""
        a, y = a.double(), y.double()
        if not (a.isfinite().all() and y.isfinite().all()):
            raise ValueError(f"activations at {layer} are not finite: check the teacher's weights and the images")
        new_sums = a.sum(0), y.sum(0), a.T @ a, y.T @ a
        self.sums, self.n = [old + new for old, new in zip(self.sums, new_sums, strict=True)], self.n + len(a)

    def __add__(self, other: Moments) -> Moments:
        total = Moments(self.intercept)
        total.sums, total.n = [a + b for a, b in zip(self.sums, other.sums, strict=True)], self.n + other.n
        return total

    def centred(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Means of a and y (0 where the fit has no intercept), C_aa (input, input) and C_ya (output, input)."""
        a, y, c_aa, c_ya = (total / self.n for total in self.sums)
        if not self.intercept:
            a, y = a * 0, y * 0
        return a, y, c_aa - a[:, None] * a, c_ya - y[:, None] * a

    def solve(self, ridge: float) -> tuple[Tensor, Tensor]:
        """Weight (output, input) and bias (output,) of the ridge regression; directions without variance get 0."""
        a, y, c_aa, c_ya = self.centred()
        values, vectors = torch.linalg.eigh(c_aa)
        floor = values[-1] * len(values) * torch.finfo(torch.float64).eps
        inverse = torch.where(values > floor, 1 / (values + ridge * c_aa.diag().mean()), 0)
        weight = (c_ya @ vectors * inverse) @ vectors.T
        return weight, y - weight @ a

    def error(self, weight: Tensor, bias: Tensor) -> float:
        """Mean squared distance of weight a + bias from the targets, less the targets' own variance."""
        a, y, c_aa, c_ya = self.centred()
        explained = 2 * (weight * c_ya).sum() - (weight @ c_aa * weight).sum()
        return float(-explained + (y - weight @ a - bias).square().sum())


@contextmanager
def evaluation_mode(*networks: nn.Module) -> Iterator[None]:
    """Put networks into evaluation mode; afterwards each of their modules has its mode of before."""
    modes = {module: module.training for network in networks for module in network.modules()}
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@torch.no_grad()
def recalibrate_batchnorm(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Measure the running statistics of every BatchNorm anew, in place; a model without BatchNorm stays as it is.

    A selected channel sees other inputs than it saw in the teacher, so the teacher's statistics are wrong for it.
    batches: normalised float (batch, 3, height, width), at least one; the statistics are their plain average. Dropout
             stays off, and modes and momenta are as before afterwards (torch's own update_bn keeps neither).
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    try:
        with evaluation_mode(model):
            for norm in norms:
                norm.train()
                norm.momentum = None  # a plain average
                norm.reset_running_stats()
            for batch in batches if norms else ():
                model(batch.to(next(model.parameters()).device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return model


def remeasure(part: Any, stream: Tensor) -> None:
    """Measure BatchNorm's statistics within a part of a network anew, on what comes into it."""
    if not isinstance(part, nn.Module):
        return
    inputs = stream.split(BATCH)
    if len(inputs) > 1 and len(inputs[-1]) == 1:  # an image by itself has no variance where a map is 1 x 1
        inputs = (*inputs[:-2], torch.cat(inputs[-2:]))
    recalibrate_batchnorm(part, inputs)
