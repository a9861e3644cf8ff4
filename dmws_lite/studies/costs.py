"""What a method costs on this machine: arithmetic of a training step, size, latency, and a GPU's peak memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.students import Students
from dmws_lite.runtime.device import pick_device
from dmws_lite.training.fit import Trainer
from dmws_lite.training.settings import Training


def measure(
    students: Students, splits: Splits, training: Training, distillation: Distillation, device: str | None = None
) -> dict[str, Any]:
    """What training these students so will cost, from copies of them and a few of the images.

    Returns flops_per_step (see `step_flops`), parameters (of the main student), latency_ms.
    """
    return {
        "flops_per_step": step_flops(students, splits, training, distillation, device),
        "parameters": sum(weight.numel() for weight in students.main.parameters()),
        "latency_ms": latency(students.main, splits.train.images.shape[-1], device),
    }


def step_flops(
    students: Students, splits: Splits, training: Training, distillation: Distillation, device: str | None = None
) -> int:
    """Arithmetic of one step: two for each multiplication and addition of matrix products, convolutions and attention.

    Forward and backward of all networks in the step are counted, the auxiliary's and the teacher's forwards among them.
    Normalisation, activations, augmentation, EMA and optimiser are not: they are linear in the number of values or
    weights, and small beside it.
    """
    few = splits.train.take(np.arange(min(2 * training.batch_size, len(splits.train))))
    devices = [torch.cuda.current_device()] if pick_device(device).type == "cuda" else []
    with torch.random.fork_rng(devices):
        trainer = Trainer(deepcopy(students), replace(splits, train=few), training, distillation, device)
        trainer.step = training.steps // 2  # where the soft targets have a weight
        networks = trainer.main, trainer.auxiliary, trainer.teacher
        with plain_attention(*networks), FlopCounterMode(display=False) as counter:
            trainer.train_step()
        trainer.close()
    return counter.get_total_flops()


def latency(model: nn.Module, image_size: int, device: str | None = None) -> float:
    """Milliseconds of one image's forward in evaluation mode: the median over 0.1 seconds, after warm-up.

    image_size: pixels per side; the image is float32 (1, 3, image_size, image_size).
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of a GPU that is not there
    from torch.utils.benchmark import Timer

    model = deepcopy(model).eval().to(pick_device(device))
    image = torch.zeros(1, 3, image_size, image_size, device=next(model.parameters()).device)
    with torch.inference_mode():
        timer = Timer("model(image)", globals={"model": model, "image": image}, num_threads=torch.get_num_threads())
        return timer.blocked_autorange(min_run_time=0.1).median * 1000


@contextmanager
def plain_attention(*models: nn.Module | None) -> Iterator[None]:
    """timm's attention as matrix products: FlopCounterMode counts nothing, or more, of the CPU's fused kernel."""
    modules = [module for model in models if model is not None for module in model.modules()]
    fused = [module for module in modules if getattr(module, "fused_attn", False)]
    for module in fused:
        module.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in fused:
            module.fused_attn = True  # type: ignore[assignment]
