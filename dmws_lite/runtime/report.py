"""What this machine offers: versions, host, device, precision, free memory, and what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import import_module, metadata
from typing import Any

HOSTS = {  # the host's name, and how to get a GPU there
    "colab": ("Colab", ". Choose one in the menu Runtime > Change runtime type > GPU"),
    "kaggle": ("Kaggle", ". Choose one in the menu Settings > Accelerator > GPU"),
    "jupyter": ("Jupyter", ". Faster: a machine with a GPU, or the chapter's Colab badge"),
    "shell": ("a shell", ""),
}


def host() -> str:
    """Where this Python runs: "colab", "kaggle", "jupyter" (also in VS Code) or "shell"."""
    if "COLAB_RELEASE_TAG" in os.environ:
        return "colab"
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        return "kaggle"
    return "jupyter" if "ipykernel" in sys.modules else "shell"


def load_extra(package: str, extra: str, need: str = "") -> Any:
    """Import a package that comes with an extra. Raises ImportError saying what needs it, and how to get it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f'{package} is not installed{need}: pip install "dmws-lite[{extra}]"') from error


def environment() -> dict[str, Any]:
    """The environment as plain data, ready for JSON; *_gb: free, in 10^9 bytes."""
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
        "gpu_gb": torch.cuda.mem_get_info(device)[0] / 1e9 if cuda else None,
        "disk_gb": shutil.disk_usage(".").free / 1e9,
        "missing": missing,
    }


def announce() -> None:
    """Print the environment in three lines, and without a GPU a warning that says how to get one."""
    print("\n".join(sentences(environment())))


def sentences(facts: dict[str, Any]) -> list[str]:
    """An environment in three sentences, and a fourth where there is no GPU."""
    versions = ", ".join(f"{package} {facts['versions'].get(package)}" for package in ("torch", "torchvision", "timm"))
    sizes = {kind: facts[f"{kind}_gb"] for kind in ("memory", "disk", "gpu")}
    free = ", ".join(f"{size:.1f} GB of {kind}" for kind, size in sizes.items() if size)
    host_name, advice = HOSTS[facts["host"]]
    lines = [
        f"dmws-lite {facts['dmws_lite']} in {host_name}: Python {facts['python']}, {versions}",
        f"{facts['gpu'] or facts['device']}, {facts['precision']} ({facts['reason']}); free: {free}",
        f"missing: {'; '.join(facts['missing']) or 'nothing'}",
    ]
    if facts["device"] == "cpu":
        lines.append(f"Warning: no GPU: everything runs, but slowly{advice}")
    return lines


def requirements() -> tuple[dict[str, str | None], list[str]]:
    """Version of each package that dmws-lite[notebooks] needs, and a sentence for each that is missing or too old."""
    from packaging.requirements import Requirement

    installed = {package.name.lower().replace("_", "-"): package.version for package in metadata.distributions()}
    versions, missing = {}, []
    for need in map(Requirement, metadata.requires("dmws-lite") or []):
        if need.marker is None or need.marker.evaluate({"extra": "notebooks"}):
            version = versions[need.name] = installed.get(need.name)
            if version is None or not need.specifier.contains(version, prereleases=True):
                target = "dmws-lite[notebooks]" if need.marker else "dmws-lite"
                missing.append(f"{need.name}{need.specifier} (found {version or 'none'}): pip install '{target}'")
    return versions, missing
