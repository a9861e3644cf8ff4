"""The budget and the optimiser of a run."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Any


@dataclass(frozen=True)
class Training:
    """Budget and optimiser: AdamW, cosine schedule with warm-up, label smoothing, gradient clipping.

    steps, batch_size: optimiser steps, and images per step (over all processes).
    lr, weight_decay:  peak learning rate; decay of matrices (never of biases and norms).
    warmup:            share of the steps over which the learning rate rises.
    label_smoothing:   of the cross-entropy with the labels, 0 <= label_smoothing < 1.
    clip:              largest norm of the gradient.
    evaluations:       how often validation is measured (and a checkpoint written) in a run.
    seed:              of data order and augmentation.
    Raises ValueError for a value outside its range. Source: our choice.
    """

    steps: int = 300
    batch_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.1
    clip: float = 1.0
    evaluations: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            whole = name in ("steps", "batch_size", "evaluations", "seed")
            kind: Any = Integral if whole else Real
            if not isinstance(value, kind) or not (isfinite(value) or name == "clip"):  # inf cuts nothing
                raise ValueError(f"{name}={value!r} must be a {'whole' if whole else 'finite'} number")
            if name in ("steps", "batch_size", "evaluations", "lr", "clip") and not value > 0:
                raise ValueError(f"{name}={value} must be above 0")
            if name in ("warmup", "label_smoothing") and not 0 <= value < 1:
                raise ValueError(f"{name}={value} is out of range: 0 <= {name} < 1")
            if name in ("weight_decay", "seed") and value < 0:
                raise ValueError(f"{name}={value} must not be negative")
