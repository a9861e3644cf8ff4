"""Which device and precision to compute with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

SMALL = 1e10  # weights times pixels of an image: 0.5e9 in the embedded student, 277e9 in a ViT-T at 224 pixels


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`, or the best there is: CUDA, then Apple's MPS, then the CPU."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    available = [device for device, is_present in present.items() if is_present]
    if name is not None and name not in available:
        raise ValueError(f"device={name!r} is not available: this machine has {', '.join(available)}")
    return torch.device(name or available[0])


def pick_precision(device: torch.device) -> tuple[str, str]:
    """Accelerate's mixed precision for a device ("bf16", "fp16" or "no"), and the reason.

    Cards older than compute capability 8 (a T4) claim to have bf16, and emulate it slowly.
    """
    if device.type != "cuda":
        return "no", f"float32 on {device.type}"
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return "bf16", f"compute capability {major}.{minor} has bfloat16"
    return "fp16", f"compute capability {major}.{minor} has no bfloat16: float16 with a gradient scaler"


def layout_for(network: nn.Module, device: torch.device) -> torch.memory_format:
    """Of images and weights, the faster: on a CPU, BatchNorm gains by channels_last, ConvNeXt and ViT do not."""
    channels_last = device.type == "cuda" or any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    return torch.channels_last if channels_last else torch.contiguous_format


@contextmanager
def few_threads(network: nn.Module, images: Any) -> Iterator[None]:
    """One CPU thread while a small network works on these images (N, C, H, W): see benchmarks/busy.md."""
    threads, weights = torch.get_num_threads(), sum(weight.numel() for weight in network.parameters())
    if weights * math.prod(images.shape[2:]) < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
