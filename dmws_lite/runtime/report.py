"""What this machine offers: versions, host, device, precision, free memory, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from importlib.resources import files
from typing import Any

HOSTS = {"colab": "Colab", "kaggle": "Kaggle", "vscode": "VS Code", "jupyter": "Jupyter", "shell": "a shell"}
ELSEWHERE = "Faster: a machine with a GPU, or the chapter's Colab badge"
GPU_ADVICE = {
    "colab": "Choose one in the menu Runtime > Change runtime type > GPU",
    "kaggle": "Choose one in the menu Settings > Accelerator > GPU",
    "vscode": ELSEWHERE,
    "jupyter": ELSEWHERE,
}
GB = 1e9


def host() -> str:
    """Where this Python runs: "colab", "kaggle", "vscode", "jupyter" or "shell"."""
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return "colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if type(shell).__name__ != "ZMQInteractiveShell":
        return "shell"
    return "vscode" if "VSCODE_PID" in os.environ or "VSCODE_CWD" in os.environ else "jupyter"


def environment() -> dict[str, Any]:
    """The environment as plain data, ready for JSON.

    Keys: dmws_lite, python, platform, host, versions (of every requirement; None where it is not installed), device,
    precision and why ("reason"), gpu (its name, or None), memory_gb, gpu_memory_gb and disk_gb (free, in 10^9 bytes;
    gpu_memory_gb is None without CUDA), missing (one sentence each, with the way out).
    """
    import psutil
    import torch

    from dmws_lite import __version__
    from dmws_lite.runtime.device import pick_device, pick_precision

    device = pick_device()
    precision, reason = pick_precision(device)
    cuda = device.type == "cuda"
    versions, missing = _requirements()
    return {
        "dmws_lite": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": host(),
        "versions": versions,
        "device": device.type,
        "precision": "fp32" if precision == "no" else precision,
        "reason": reason,
        "gpu": torch.cuda.get_device_name(device) if cuda else None,
        "memory_gb": psutil.virtual_memory().available / GB,
        "gpu_memory_gb": torch.cuda.mem_get_info(device)[0] / GB if cuda else None,
        "disk_gb": shutil.disk_usage(".").free / GB,
        "missing": missing + _missing_teacher(),
    }


def announce() -> None:
    """Print the environment in three lines, and a warning with the way to a GPU when there is none."""
    found = environment()
    versions = ", ".join(f"{name} {found['versions'].get(name)}" for name in ("torch", "torchvision", "timm"))
    print(f"dmws-lite {found['dmws_lite']} in {HOSTS[found['host']]}: Python {found['python']}, {versions}")
    print(f"{found['gpu'] or found['device']}, {found['precision']} ({found['reason']}); {free_space(found)}")
    print("missing: " + ("; ".join(found["missing"]) or "nothing"))
    if advice := gpu_advice(found):
        print(advice)


def free_space(found: dict[str, Any]) -> str:
    """The free memory and disk of an environment, in words."""
    gpu = "" if found["gpu_memory_gb"] is None else f"{found['gpu_memory_gb']:.1f} GB of GPU memory, "
    return f"free: {gpu}{found['memory_gb']:.1f} GB of memory, {found['disk_gb']:.0f} GB of disk"


def gpu_advice(found: dict[str, Any]) -> str:
    """What to do about a missing GPU; an empty string when there is one."""
    if found["device"] != "cpu":
        return ""
    advice = GPU_ADVICE.get(found["host"])
    return "Warning: no GPU: everything runs, but slowly" + (f". {advice}" if advice else "")


def _requirements() -> tuple[dict[str, str | None], list[str]]:
    """The version of every requirement of the package, and a sentence for each that is absent or too old."""
    from packaging.requirements import Requirement

    versions: dict[str, str | None] = {}
    missing = []
    try:
        requirements = [Requirement(line) for line in metadata.requires("dmws-lite") or []]
    except metadata.PackageNotFoundError:
        return versions, ["dmws-lite itself is not installed: pip install ."]
    for need in requirements:
        extra = next((name for name in ("notebooks", "") if _wanted(need, name)), None)
        if extra is None:
            continue
        versions[need.name] = version = _version(need.name)
        if version is None or not need.specifier.contains(version, prereleases=True):
            target = f"dmws-lite[{extra}]" if extra else "dmws-lite"
            missing.append(f"{need.name}{need.specifier} (found {version or 'none'}): pip install '{target}'")
    return versions, missing


def _wanted(need: Any, extra: str) -> bool:
    return need.marker is None if not extra else bool(need.marker and need.marker.evaluate({"extra": extra}))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _missing_teacher() -> list[str]:
    weights = files("dmws_lite") / "assets" / "embedded_vit_96.safetensors"
    return [] if weights.is_file() else ["the embedded teacher's weights: make teacher, or install the package again"]
