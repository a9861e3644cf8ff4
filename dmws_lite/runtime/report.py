"""What this machine offers: versions, host, device, precision, free memory, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from typing import Any

FASTER = ". Faster: a machine with a GPU, or the chapter's Colab badge"
HOSTS = {  # its name, and what to do there about a missing GPU
    "colab": ("Colab", ". Choose one in the menu Runtime > Change runtime type > GPU"),
    "kaggle": ("Kaggle", ". Choose one in the menu Settings > Accelerator > GPU"),
    "vscode": ("VS Code", FASTER),
    "jupyter": ("Jupyter", FASTER),
    "shell": ("a shell", ""),
}


def host() -> str:
    """Where this Python runs: "colab", "kaggle", "vscode", "jupyter" or "shell"."""
    if "COLAB_RELEASE_TAG" in os.environ or "google.colab" in sys.modules:
        return "colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    ipython = sys.modules.get("IPython")
    if type(ipython.get_ipython() if ipython else None).__name__ != "ZMQInteractiveShell":
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
    versions, missing = requirements()
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
        "memory_gb": psutil.virtual_memory().available / 1e9,
        "gpu_memory_gb": torch.cuda.mem_get_info(device)[0] / 1e9 if cuda else None,
        "disk_gb": shutil.disk_usage(".").free / 1e9,
        "missing": missing,
    }


def announce() -> None:
    """Print the environment in three lines, and a warning with the way to a GPU when there is none."""
    print("\n".join(sentences(environment())))


def sentences(here: dict[str, Any]) -> list[str]:
    """An environment in three sentences, and a fourth where there is no GPU."""
    name, advice = HOSTS[here["host"]]
    versions = ", ".join(f"{package} {here['versions'].get(package)}" for package in ("torch", "torchvision", "timm"))
    gpu = "" if here["gpu_memory_gb"] is None else f"{here['gpu_memory_gb']:.1f} GB of GPU memory, "
    free = f"{gpu}{here['memory_gb']:.1f} GB of memory, {here['disk_gb']:.0f} GB of disk"
    return [
        f"dmws-lite {here['dmws_lite']} in {name}: Python {here['python']}, {versions}",
        f"{here['gpu'] or here['device']}, {here['precision']} ({here['reason']}); free: {free}",
        f"missing: {'; '.join(here['missing']) or 'nothing'}",
        *([f"Warning: no GPU: everything runs, but slowly{advice}"] if here["device"] == "cpu" else []),
    ]


def requirements() -> tuple[dict[str, str | None], list[str]]:
    """Version of each package that dmws-lite[notebooks] needs, and a sentence for each that is missing or too old."""
    from packaging.requirements import Requirement

    installed = {package.name.lower().replace("_", "-"): package.version for package in metadata.distributions()}
    needs = [Requirement(line) for line in metadata.requires("dmws-lite") or []]
    needs = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": "notebooks"})]
    missing = []
    for need in needs:
        version = installed.get(need.name)
        if version is None or not need.specifier.contains(version, prereleases=True):
            target = "dmws-lite[notebooks]" if need.marker else "dmws-lite"
            missing.append(f"{need.name}{need.specifier} (found {version or 'none'}): pip install '{target}'")
    return {need.name: installed.get(need.name) for need in needs}, missing
