"""One HTML file that classifies the image that is dropped on it: offline, and nothing leaves the machine.

The student's forward pass is a page of plain JavaScript (vit.js) and not onnxruntime-web, whose 11 MB of
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
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from dmws_lite.data.sets import ImageSet
from dmws_lite.runtime.files import write_atomically
from dmws_lite.training.evaluation import predict
from dmws_lite.training.export import FITS, load_student
from dmws_lite.views.style import gray_or_rgb

NAME = "page.html"
MOST_EXAMPLES = 6
BLOCK = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")


@dataclass(frozen=True)
class DropPage:
    """Where the page is; a notebook's cell that ends with it shows the page itself."""

    path: Path

    def __repr__(self) -> str:
        return f"DropPage({self.path}, {self.path.stat().st_size / 1e6:.1f} MB): open it in a browser"

    def _repr_html_(self) -> str:
        page = escape(self.path.read_text(encoding="utf-8"))
        style = "width: 100%; height: 46rem; border: 1px solid #999"
        attributes = f'title="Classify an image" sandbox="allow-scripts" style="{style}"'  # no access to the notebook
        return f'<div><iframe {attributes} srcdoc="{page}"></iframe></div>'


def drop_page(folder: str | Path, examples: ImageSet, fit: str | None = None) -> DropPage:
    """Write `folder/page.html`, which shows what a saved student says about any image.

    folder:   that `Run.save` wrote; the student is a plain vision transformer (such as embedded_vit_48).
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
    state = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    net = _settings(model, facts) | {"fit": fit or facts["fit"], "gray": examples.images.shape[1] == 1}
    data = {
        "net": net,
        "tensors": [(name, tensor.size) for name, tensor in state.items()],
        "weights": _text(b"".join(tensor.astype("<f4").tobytes() for tensor in state.values())),
        "examples": _examples(model, examples.take(np.arange(min(len(examples), MOST_EXAMPLES)))),
    }
    views = files("dmws_lite") / "views"
    source, network = ((views / name).read_text(encoding="utf-8") for name in ("drop_page.html.j2", "vit.js"))
    title = f"Which of these is it: {', '.join(facts['classes'])}?"
    safe = Markup(json.dumps(data).replace("<", "\\u003c"))  # no class name ends the script
    template = Environment(autoescape=True).from_string(source)
    page = template.render(title=title, net=net, data=safe, network=Markup(network))
    return DropPage(write_atomically(Path(folder) / NAME, lambda part: part.write_text(page, encoding="utf-8")))


def _settings(model: Any, facts: dict[str, Any]) -> dict[str, Any]:
    """What vit.js needs to know about the network. Raises ValueError when it is none that vit.js computes."""
    if not _is_plain(model):
        raise ValueError(
            f"the page computes plain vision transformers with a class token, and {facts['name']} is none: to_onnx "
            "writes a file that runs everywhere else"
        )
    return {
        "classes": facts["classes"],
        "mean": facts["mean"],
        "std": facts["std"],
        "size": facts["image_size"],
        "patch": model.patch_embed.patch_size[0],
        "width": model.embed_dim,
        "depth": len(model.blocks),
        "heads": model.blocks[0].attn.num_heads,
        "epsilon": model.norm.eps,
        "parameters": f"{sum(weight.numel() for weight in model.parameters()):,}",
    }


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
