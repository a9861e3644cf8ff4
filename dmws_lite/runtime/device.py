"""Which device and precision to compute with."""

from __future__ import annotations

import torch


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`, or the best there is: CUDA, then Apple's MPS, then the CPU.

    Raises ValueError for a device that is unknown or not available here.
    """
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    available = [device for device, there in here.items() if there]
    if name is not None and name not in available:
        raise ValueError(f"device={name!r} is not available: this machine has {', '.join(available)}")
    return torch.device(name or available[0])


def pick_precision(device: torch.device) -> tuple[str, str]:
    """Accelerate's mixed precision for a device ("bf16", "fp16" or "no"), and the reason.

    bf16 only from compute capability 8 on: older cards (a T4) claim it and emulate it slowly.
    """
    if device.type != "cuda":
        return "no", f"float32 on {device.type}"
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return "bf16", f"compute capability {major}.{minor} has bfloat16"
    return "fp16", f"compute capability {major}.{minor} has no bfloat16: float16 with a gradient scaler"
