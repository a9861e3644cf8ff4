"""One HTML file that classifies the image that is dropped on it: offline, and nothing leaves the machine.

The student's forward pass is a page of plain JavaScript (vit.js, convnet.js) and not onnxruntime-web, whose 11 MB of
WebAssembly would come from a server that knows who asks, or make the page twenty times as large.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.models.efficientnet import EfficientNet
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from dmws_lite.data.sets import ImageSet
from dmws_lite.runtime.files import write_atomically
from dmws_lite.training.evaluation import predict
from dmws_lite.training.export import FITS, load_student
from dmws_lite.views.style import gray_or_rgb

NAME = "page.html"
MOST_EXAMPLES = 6
LARGEST_SHOWN = 10_000_000  # bytes of a page that a notebook holds
BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
LIMITS: dict[type, float | None] = {
    nn.Identity: None,
    nn.ReLU: 0,
    nn.ReLU6: 6,
}  # of an activation, as convnet.js has it
CONVOLVED = {nn.Conv2d, Conv2dSame, nn.Linear, nn.AdaptiveAvgPool2d, nn.Flatten, *LIMITS}  # what convnet.js has


@dataclass(frozen=True)
class DropPage:
    """Where the page is; a notebook's cell that ends with it shows the page itself."""

    path: Path

    def __repr__(self) -> str:
        return f"DropPage({self.path}, {self.path.stat().st_size / 1e6:.1f} MB): open it in a browser"

    def _repr_html_(self) -> str:
        if self.path.stat().st_size > LARGEST_SHOWN:
            return f"<p>{escape(repr(self))} (too large to be shown in a notebook).</p>"
        page = escape(self.path.read_text(encoding="utf-8"))
        style = "width: 100%; height: 46rem; border: 1px solid #999"
        attributes = f'title="Classify an image" sandbox="allow-scripts" style="{style}"'  # no access to the notebook
        return f'<div><iframe {attributes} srcdoc="{page}"></iframe></div>'


def drop_page(folder: str | Path, examples: ImageSet, fit: str | None = None) -> DropPage:
    """Write `folder/page.html`, which shows what a saved student says about any image.

    folder:   that `Run.save` wrote; the student is a plain vision transformer (such as embedded_vit_48 or
              vit_tiny_patch16_224), or a MobileNet or EfficientNet-Lite without squeeze-and-excitation.
    examples: images of the student's size to try the page with, the first 6 at most. The page compares its own
              probabilities for them with torch's whenever it is opened.
    fit:      how an image becomes a square, as in `open_data`: "crop" or "letterbox"; None is as in the training, from
              the student's file.
    A PNG file's probabilities are those of `decode` and `predict` to about 1e-6 (1e-3 where Pillow 13 resizes a tall
    picture in another order than the page and older Pillows); a JPEG's may differ by more, since `decode` lets the
    decoder shrink it.
    Returns a DropPage. Raises ValueError for another kind of network, images of another size or an unknown fit, what
    `load_student` raises, and OSError when the file cannot be written.

    >>> drop_page("outputs/student", splits.test.take(np.arange(3)))  # doctest: +SKIP
    DropPage(outputs/student/page.html, 0.6 MB): open it in a browser
    """
    from jinja2 import Environment
    from markupsafe import Markup

    if fit not in (None, *FITS):
        raise ValueError(f"fit={fit!r} is unknown: pass 'crop' or 'letterbox', or None for the training's")
    model, facts = load_student(folder)
    size = facts["image_size"]
    if not len(examples) or examples.images.shape[2:] != (size, size):
        raise ValueError(f"examples are {examples.images.shape}: pass at least one image of {size} x {size} pixels")
    network, tensors = _network(model, facts["name"])
    net = network | {key: facts[key] for key in ("classes", "mean", "std")} | {"size": size}
    net |= {"fit": fit or facts["fit"], "gray": examples.images.shape[1] == 1}
    net |= {"parameters": f"{sum(weight.numel() for weight in model.parameters()):,}"}
    data = {
        "net": net,
        "tensors": [(name, tensor.numel()) for name, tensor in tensors.items()],
        "weights": _text(b"".join(tensor.detach().numpy().astype("<f4").tobytes() for tensor in tensors.values())),
        "examples": _examples(model, examples.take(np.arange(min(len(examples), MOST_EXAMPLES)))),
    }
    views = files("dmws_lite") / "views"
    names = ("drop_page.html.j2", "vit.js", "convnet.js")
    source, *scripts = ((views / name).read_text(encoding="utf-8") for name in names)
    title = f"Which of these is it: {', '.join(facts['classes'])}?"
    safe = Markup(json.dumps(data).replace("<", "\\u003c"))  # no class name ends the script
    template = Environment(autoescape=True).from_string(source)
    page = template.render(title=title, net=net, data=safe, network=Markup("\n".join(scripts)))
    return DropPage(write_atomically(Path(folder) / NAME, lambda part: part.write_text(page, encoding="utf-8")))


def _network(model: Any, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the page's script needs to know about a network, and its tensors. Raises ValueError for other networks."""
    if _is_plain(model):
        depth = len(model.blocks)
        facts = {"kind": f"{depth} blocks of a vision transformer", "depth": depth, "width": model.embed_dim}
        facts |= {"patch": model.patch_embed.patch_size[0], "heads": model.blocks[0].attn.num_heads}
        return facts | {"epsilon": model.norm.eps}, model.state_dict()
    if _is_convolved(model):
        layers, tensors = _convolutions(model)
        tensors |= {f"classifier.{key}": tensor for key, tensor in model.classifier.state_dict().items()}
        return {"kind": f"{len(layers)} convolutions", "layers": layers}, tensors
    raise ValueError(
        "the page computes plain vision transformers with a class token, MobileNets and EfficientNet-Lites, and "
        f"{name} is none: to_onnx writes a file that runs everywhere else"
    )


def _convolutions(model: Any) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The convolutions in the order of the forward pass, and their tensors, with the BatchNorm after each folded in."""
    blocks = [block for stage in model.blocks for block in stage]
    layers: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for block in (nn.Sequential(model.conv_stem, model.bn1), *blocks, nn.Sequential(model.conv_head, model.bn2)):
        parts: list[Any] = [part for part in block.children() if isinstance(part, nn.Conv2d | BatchNormAct2d)]
        for place, (convolution, norm) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
            factor = norm.weight / (norm.running_var + norm.eps).sqrt()
            tensors[f"{len(layers)}.weight"] = convolution.weight * factor.view(-1, 1, 1, 1)
            tensors[f"{len(layers)}.bias"] = norm.bias - norm.running_mean * factor
            layers.append(
                {
                    "channels": convolution.in_channels,
                    "kernel": convolution.kernel_size[0],
                    "stride": convolution.stride[0],
                    "same": isinstance(convolution, Conv2dSame),
                    "pad": convolution.padding[0],
                    "groups": convolution.groups,
                    "largest": LIMITS[type(norm.act)],
                    "first": place == 0,
                    "skip": bool(getattr(block, "has_skip", False)) and 2 * place + 2 == len(parts),
                }
            )
    return layers, tensors


def _is_convolved(model: Any) -> bool:
    """Whether a network is as convnet.js has it: blocks of convolutions and BatchNorms, a mean, a linear classifier."""
    if not isinstance(model, EfficientNet) or {type(m) for m in model.modules() if not list(m.children())} - CONVOLVED:
        return False
    network: Any = model
    blocks = [network, *(block for stage in network.blocks for block in stage)]
    direct = sum(isinstance(part, nn.Conv2d) for block in blocks for part in block.children())
    return direct == sum(isinstance(module, nn.Conv2d) for module in model.modules())


def _is_plain(model: Any) -> bool:
    """Whether a network is as vit.js has it: these tensors and no others, exact GELU, square patches, a class token."""
    if not isinstance(model, VisionTransformer) or model.global_pool != "token" or model.num_prefix_tokens != 1:
        return False
    network: Any = model
    acts = [block.mlp.act for block in network.blocks]
    modules = ["patch_embed.proj", "norm", "head", *(f"blocks.{k}.{part}" for k in range(len(acts)) for part in BLOCK)]
    tensors = {"cls_token", "pos_embed"} | {f"{name}.{kind}" for name in modules for kind in ("weight", "bias")}
    gelu = all(isinstance(act, nn.GELU) and act.approximate == "none" for act in acts)
    whole = set(model.state_dict()) == tensors and network.pos_embed.shape[1] == network.patch_embed.num_patches + 1
    return gelu and whole and len(set(model.patch_embed.patch_size)) == 1


def _examples(model: nn.Module, images: ImageSet) -> list[dict[str, Any]]:
    examples = []
    for image, label, shares in zip(images.images, images.labels, predict(model, images), strict=True):
        buffer = BytesIO()
        Image.fromarray(np.ascontiguousarray(gray_or_rgb(image))).save(buffer, "PNG")
        example = {"png": _text(buffer.getvalue()), "label": images.classes[label]}
        examples.append(example | {"probabilities": shares.astype(float).tolist()})
    return examples


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
