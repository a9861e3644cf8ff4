"""One HTML file that classifies the image that is dropped on it: offline, and nothing leaves the machine.

The forward pass is plain JavaScript: onnxruntime-web would bring 11 MB, or a server that knows who asks.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.models.efficientnet import EfficientNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dmws_lite.data.sets import ImageSet
from dmws_lite.runtime.files import write_atomically
from dmws_lite.training.evaluation import predict
from dmws_lite.training.export import load_student
from dmws_lite.views.style import encode_image

NAME = "page.html"
MOST_EXAMPLES = 6
LARGEST_SHOWN = 10_000_000  # bytes of a page that a notebook holds
BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
LIMITS = {nn.Identity: None, nn.ReLU: 0, nn.ReLU6: 6}  # of an activation, as convnet.js has it
SUPPORTED = {nn.Conv2d, Conv2dSame, nn.Linear, nn.AdaptiveAvgPool2d, nn.Flatten, *LIMITS}  # what convnet.js has


@dataclass(frozen=True)
class DropPage:
    """Where the page is; a notebook's cell that ends with it shows the page itself."""

    path: Path

    def __repr__(self) -> str:
        return f"DropPage({self.path}, {self.path.stat().st_size / 1e6:.1f} MB): open it in a browser"

    def _repr_html_(self) -> str:
        if self.path.stat().st_size > LARGEST_SHOWN:
            return f"<p>{escape(repr(self))} (too large for a notebook).</p>"
        page = escape(self.path.read_text(encoding="utf-8"))
        style = "width: 100%; height: 46rem; border: 1px solid #999; box-sizing: border-box"
        attributes = f'title="Classify an image" sandbox="allow-scripts" style="{style}"'  # no access to the notebook
        return f'<div><iframe {attributes} srcdoc="{page}"></iframe></div>'


def drop_page(folder: str | Path, examples: ImageSet) -> DropPage:
    """Write `folder/page.html`, which shows what a saved student says about any image.

    folder:   that `Run.save` wrote; the student is a plain vision transformer (such as embedded_vit_48 or
              vit_tiny_patch16_224), or a MobileNet or EfficientNet-Lite without squeeze-and-excitation.
    examples: images of the student's size to try the page with, the first 6 at most; it checks itself with them.
    A PNG file's probabilities are those of `decode` and `predict` to about 1e-6 (1e-3 where Pillow 13 resizes a tall
    picture in another order); a JPEG's may differ by more, since `decode` lets the decoder shrink it.
    Raises ValueError for another kind of network or images of another size, what `load_student` raises, and OSError
    when the file cannot be written.

    >>> drop_page("outputs/student", splits.test.take(np.arange(3)))  # doctest: +SKIP
    DropPage(outputs/student/page.html, 0.6 MB): open it in a browser
    """
    from jinja2 import Environment
    from markupsafe import Markup

    model, facts = load_student(folder)
    size = facts["image_size"]
    if not len(examples) or examples.images.shape[2:] != (size, size):
        raise ValueError(f"examples are {examples.images.shape}: pass at least one image of {size} x {size} pixels")
    net, tensors = _describe_network(model, facts["name"])
    net |= {key: facts[key] for key in ("classes", "mean", "std", "fit")}
    net |= {"size": size, "gray": examples.images.shape[1] == 1}
    net |= {"parameters": f"{sum(weight.numel() for weight in model.parameters()):,}"}
    weights = b"".join(tensor.detach().numpy().astype("<f4").tobytes() for tensor in tensors.values())
    sizes = [(name, tensor.numel()) for name, tensor in tensors.items()]
    encoded = base64.b64encode(weights).decode()
    data = {"net": net, "tensors": sizes, "weights": encoded, "examples": _classify(model, examples)}
    names = ("drop_page.html.j2", "vit.js", "convnet.js")
    source, *scripts = (files("dmws_lite").joinpath("views", name).read_text(encoding="utf-8") for name in names)
    safe = Markup(json.dumps(data).replace("<", "\\u003c"))  # no class name ends the script
    words = {"title": f"Which of these is it: {', '.join(facts['classes'])}?", "net": net, "data": safe}
    page = Environment(autoescape=True).from_string(source).render(words, network=Markup("\n".join(scripts)))
    return DropPage(write_atomically(Path(folder) / NAME, lambda part: part.write_text(page, encoding="utf-8")))


def _classify(model: Any, examples: ImageSet) -> list[dict[str, Any]]:
    """The first examples as PNG files, with their label and the model's probabilities."""
    first = examples.take(np.arange(min(len(examples), MOST_EXAMPLES)))
    answers = []
    for image, label, probabilities in zip(first.images, first.labels, predict(model, first), strict=True):
        answer = {"png": encode_image(image), "label": first.classes[label]}
        answers.append(answer | {"probabilities": probabilities.astype(float).tolist()})
    return answers


def _describe_network(model: Any, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the page's script needs to know about a network, and its tensors. Raises ValueError for other networks."""
    if isinstance(model, VisionTransformer) and _is_plain(model):
        blocks: Any = model.blocks
        depth = len(blocks)
        facts = {"kind": f"{depth} blocks of a vision transformer", "depth": depth, "width": model.embed_dim}
        facts |= {"patch": model.patch_embed.patch_size[0], "heads": blocks[0].attn.num_heads}
        return facts | {"epsilon": model.norm.eps}, model.state_dict()
    leaves = {type(module) for module in model.modules() if not list(module.children())}
    if isinstance(model, EfficientNet) and leaves <= SUPPORTED:
        layers, tensors = _fold_convolutions(model)
        if len(layers) == sum(isinstance(module, nn.Conv2d) for module in model.modules()):  # none is elsewhere
            tensors |= {f"classifier.{key}": tensor for key, tensor in model.classifier.state_dict().items()}
            return {"kind": f"{len(layers)} convolutions", "layers": layers}, tensors
    raise ValueError(
        "the page computes plain vision transformers with a class token, MobileNets and EfficientNet-Lites, and "
        f"{name} is none: to_onnx writes a file that runs everywhere else"
    )


def _fold_convolutions(model: Any) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The convolutions in the order of the forward pass, and their tensors, with the BatchNorm after each folded in."""
    blocks = [block for stage in model.blocks for block in stage]
    layers: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for block in (nn.Sequential(model.conv_stem, model.bn1), *blocks, nn.Sequential(model.conv_head, model.bn2)):
        modules: list[Any] = [child for child in block.children() if isinstance(child, nn.Conv2d | BatchNormAct2d)]
        for number, (convolution, norm) in enumerate(zip(modules[::2], modules[1::2], strict=False)):
            folded = fuse_conv_bn_eval(convolution, norm)
            tensors |= {f"{len(layers)}.weight": folded.weight, f"{len(layers)}.bias": folded.bias}
            layer = {"channels": convolution.in_channels, "kernel": convolution.kernel_size[0]}
            layer |= {"stride": convolution.stride[0], "pad": convolution.padding[0], "groups": convolution.groups}
            layer |= {"same": isinstance(convolution, Conv2dSame), "largest": LIMITS[type(norm.act)]}
            skip = bool(getattr(block, "has_skip", False)) and 2 * number + 2 == len(modules)
            layers.append(layer | {"first": number == 0, "skip": skip})
    return layers, tensors


def _is_plain(model: Any) -> bool:
    """Whether a network is as vit.js has it: these tensors and no others, exact GELU, square patches, a class token."""
    acts = [block.mlp.act for block in model.blocks]
    modules = ["patch_embed.proj", "norm", "head", *(f"blocks.{k}.{name}" for k in range(len(acts)) for name in BLOCK)]
    tensors = {"cls_token", "pos_embed"} | {f"{name}.{kind}" for name in modules for kind in ("weight", "bias")}
    return (
        (model.global_pool, model.num_prefix_tokens) == ("token", 1)
        and all(isinstance(act, nn.GELU) and act.approximate == "none" for act in acts)
        and set(model.state_dict()) == tensors
        and model.pos_embed.shape[1] == model.patch_embed.num_patches + 1
        and len(set(model.patch_embed.patch_size)) == 1
    )
