"""What a method costs on this machine: arithmetic of a training step, size, latency, and a GPU's peak memory."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import STRATEGIES, Distillation
from dmws_lite.method.students import Students
from dmws_lite.runtime.device import pick_device
from dmws_lite.training.deployed import latency
from dmws_lite.training.fit import Trainer
from dmws_lite.training.settings import Training

_known_flops: dict[str, int] = {}  # by networks, shapes and settings: runs of a study differ in seeds and starts


def measure(
    students: Students, splits: Splits, training: Training, distillation: Distillation, device: str | None = None
) -> dict[str, Any]:
    """flops_per_step (see `step_flops`), parameters of the main student, latency_ms: the median for one image."""
    main, size = deepcopy(students.main).eval().to(pick_device(device)), splits.train.images.shape[-1]
    image = torch.zeros(1, 3, size, size, device=pick_device(device))
    with torch.inference_mode():
        milliseconds = latency(lambda: main(image), seconds=0.1)
    return {
        "flops_per_step": step_flops(students, splits, training, distillation, device),
        "parameters": sum(weight.numel() for weight in main.parameters()),
        "latency_ms": float(np.median(milliseconds)),
    }


def step_flops(
    students: Students, splits: Splits, training: Training, distillation: Distillation, device: str | None = None
) -> int:
    """Arithmetic of one step: two for each multiplication and addition of matrix products, convolutions and attention.

    Normalisation, activations, augmentation, EMA and optimiser are not counted: linear in values or weights.
    """
    images = splits.train.take(np.arange(min(2 * training.batch_size, len(splits.train))))
    networks = filter(None, (students.main, students.auxiliary))
    shapes = [(network, [weight.shape for weight in network.parameters()]) for network in networks]
    settings = replace(training, seed=0), distillation, STRATEGIES[distillation.strategy], device
    key = repr((shapes, images.images.shape, settings))
    if key in _known_flops:
        return _known_flops[key]
    with torch.random.fork_rng([torch.cuda.current_device()] if pick_device(device).type == "cuda" else []):
        trainer = Trainer(deepcopy(students), replace(splits, train=images), training, distillation, device)
        trainer.step = training.steps // 2  # where the soft targets have a weight
        trainer.second_core = None  # the counter sees this thread only
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:  # it misses fused attention
            trainer.train_step()
        trainer.close()
    return _known_flops.setdefault(key, counter.get_total_flops())
