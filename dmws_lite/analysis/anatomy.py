"""Where a network's weights and its arithmetic sit, by kind of layer and by stage: from shapes, without weights."""

from __future__ import annotations

import re

import pandas as pd
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dmws_lite.method.components import components, family_of
from dmws_lite.method.networks import build, describe

# The first pattern that matches a module's name decides; what none matches are normalisations, tokens and scales.
KINDS = {
    "classifier": r"^(head|head\.fc|classifier)$",
    "patches, stem, downsampling": r"patch_embed|stem|downsample\.1",
    "attention matrices": r"attn\.(qkv|proj)",
    "attention products": r"attn$",
    "depthwise convolutions": r"conv_dw$",
    "MLPs, pointwise convolutions": r"mlp\.fc|conv_pwl?$|conv_head$",
    "norms, tokens, scales": r"",
}
STAGE = re.compile(r"(?:stages|blocks)\.(\d+)(?=\.(?:blocks\.|downsample\.)?\d)")


def anatomy(name: str, num_classes: int = 1000) -> pd.DataFrame:
    """Weights and arithmetic of a network's modules, for one image at the network's own size.

    Nothing is downloaded and no weight is made (torch's meta device).
    Returns one row per module: module, stage ("stem", "stage 0", ..., "head"), kind (one of KINDS), parameters (without
    those of modules inside it), flops (as `costs.step_flops` counts them).
    Raises ValueError where a module that computes is of none of these kinds.

    >>> table = anatomy("vit_tiny_patch16_224")
    >>> int(table["parameters"].sum()), int(table["flops"].sum())
    (5717416, 2507366400)
    """
    with torch.device("meta"):
        model = build(name, num_classes).eval()
        image = torch.zeros(1, *model.pretrained_cfg["input_size"])  # type: ignore[index]
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(image)
    counts = {path: sum(operations.values()) for path, operations in counter.get_flop_counts().items()}
    rows = []
    for name, module in model.named_modules():
        path = ".".join(filter(None, (type(model).__name__, name)))
        flops = counts.get(path, 0) - sum(counts.get(f"{path}.{child}", 0) for child, _ in module.named_children())
        parameters = sum(weight.numel() for weight in module.parameters(recurse=False))
        if parameters or flops > 0:
            kind = next(kind for kind, pattern in KINDS.items() if re.search(pattern, name))
            if flops > 0 and not KINDS[kind]:
                raise ValueError(f"no pattern of analysis.anatomy.KINDS matches {name!r}, which computes: add one")
            rows.append((name or "tokens", _stage_of(name), kind, parameters, flops))
    return pd.DataFrame(rows, columns=["module", "stage", "kind", "parameters", "flops"])


def block_widths(name: str) -> list[list[int]]:
    """Channels that each block of a network hands on, stage by stage.

    >>> block_widths("convnext_femto")
    [[48, 48], [96, 96], [192, 192, 192, 192, 192, 192], [384, 384]]
    """
    shapes = describe(name).shapes
    widths: dict[int, dict[int, int]] = {}
    for tensor in components(shapes, family_of(shapes, name), name):
        if tensor.block is not None and re.search(r"(mlp\.fc2|conv_pwl?)\.weight$", tensor.name):
            widths.setdefault(tensor.stage, {})[tensor.block] = tensor.shape[0]
    return [list(stage.values()) for stage in widths.values()]


def _stage_of(module: str) -> str:
    if module.startswith(("stages.", "blocks.")):
        match = STAGE.match(module)
        return f"stage {match[1] if match else 0}"
    return "head" if re.match(r"(head|conv_head|bn2|classifier|norm|fc_norm)", module) else "stem"
