"""What an initialisation puts into a network before any training: its weights, its signals, where its attention looks.

Every table has a row a method and place, with the columns method and label. Blocks are counted from 1 in the order of
the forward pass; block 0 is what enters the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dmws_lite.method.components import family_of
from dmws_lite.method.initializers import recalibrate_batchnorm
from dmws_lite.method.networks import Teacher, describe
from dmws_lite.studies.methods import METHODS, find_method, start

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.studies.compare import Comparison

STARTS = (
    "default", "truncated_normal", "xavier", "kaiming", "mimetic", "selection_random_inconsistent", "weight_selection"
)  # fmt: skip
TEACHER = "full_teacher"  # the trained teacher itself, with an untrained classifier
BLOCK = re.compile(r"(?:stages\.\d+\.)?blocks\.\d+(?:\.\d+)?")

Networks = Mapping[str, nn.Module]


def fitting(student: str) -> tuple[str, ...]:
    """The STARTS that a student's architecture allows: "mimetic" needs attention.

    >>> "mimetic" in fitting("embedded_vit_48"), "mimetic" in fitting("mobilenetv1_050")
    (True, False)
    """
    attentive = family_of(describe(student).shapes, student) == "vit"
    return tuple(name for name in STARTS if name != "mimetic" or attentive)


def untrained(
    teacher: Teacher, student: str, classes: int, inputs: Tensor, methods: Sequence[str] = STARTS, seed: int = 0
) -> dict[str, nn.Module]:
    """The main student of each method as training would begin with it, by the method's name.

    inputs:  normalised images (image, 3, height, width), on which BatchNorm's statistics are measured, as `fit` does.
    methods: names in METHODS; TEACHER is the teacher itself.
    Raises ValueError for an unknown method and all that the initialisers refuse.
    """
    chosen = {name: find_method(name) for name in methods}
    made = {name: start(how, teacher, student, classes, inputs.shape[-1], seed).main for name, how in chosen.items()}
    return {name: recalibrate_batchnorm(model, [inputs]).eval() for name, model in made.items()}


@torch.no_grad()
def matrices(networks: Networks) -> pd.DataFrame:
    """Size and shape of every weight matrix in the blocks, depthwise convolutions left out.

    networks: by method, as `untrained` gives them.
    Returns method, label, block, kind (the layer's name in its block), tensor and
      gain:        Frobenius norm / sqrt(rows): by how much the layer multiplies the size of an input whose elements
                   are independent, so that networks of different widths compare;
      stable_rank: (Frobenius norm / largest singular value)^2, between 1 and the smaller side;
      rank_share:  stable_rank / the smaller side, above 0 up to 1;
      singular:    all singular values, the largest first.
    """
    import pandas as pd

    rows = []
    for method, network in networks.items():
        for block, place, tensor, weight in _weights(network):
            singular = torch.linalg.svdvals(weight.flatten(1).double()).numpy()
            energy = float((singular**2).sum())
            stable = energy / float(singular[0]) ** 2
            rows.append(
                {**_named(method), "block": block, "kind": place.split(".")[-1], "tensor": tensor}
                | {"gain": (energy / len(weight)) ** 0.5, "stable_rank": stable}
                | {"rank_share": stable / len(singular), "singular": singular}
            )
    return pd.DataFrame(rows)


@torch.inference_mode()
def signals(networks: Networks, inputs: Tensor) -> pd.DataFrame:
    """What the images have become before the first block and after each.

    inputs: normalised images (image, 3, height, width), at least two.
    Returns method, label, block and
      spread:     standard deviation over all values of all images;
      similarity: mean cosine between what two different images have become, where an image is summed up as the
                  classifier would: by its class token if the network reads it, else by the mean over all places.
                  1: the images cannot be told apart.
    """
    import pandas as pd

    rows = []
    for method, network in networks.items():
        for block, found in enumerate(_stream(network, inputs)):
            values = {"spread": float(found.std()), "similarity": _similarity(summed_up(found, network))}
            rows.append({**_named(method), "block": block, **values})
    return pd.DataFrame(rows)


@torch.inference_mode()
def attention(networks: Networks, inputs: Tensor) -> pd.DataFrame:
    """Where each attention block looks, means over heads, tokens and images; no rows for networks without attention.

    inputs: normalised images (image, 3, height, width).
    Returns method, label, block and, each divided by what attention to all tokens alike would have,
      entropy:  of the attention of a token: 1 is everywhere alike, 0 a single token;
      distance: between a patch and the patches it attends to: below 1 looks near.
    Source: entropy and distance as in studies of trained transformers; dividing them is our choice.
    """
    import pandas as pd

    rows = []
    for method, network in networks.items():
        for block, weights in enumerate(attention_weights(network, inputs), start=1):
            values = {"entropy": _entropy(weights), "distance": _distance(weights, network)}
            rows.append({**_named(method), "block": block, **values})
    return pd.DataFrame(rows, columns=["method", "label", "block", "entropy", "distance"])


def first_steps(found: Comparison, until: int = 100) -> pd.DataFrame:
    """Validation loss at each evaluation up to step `until`, a row each: method, label, seed, step, val_loss."""
    import pandas as pd

    rows = [
        {**_named(method), "seed": seed, "step": row["step"], "val_loss": row["val_loss"]}
        for (method, seed), run in found.runs.items()
        for row in run.history
        if row["step"] <= until
    ]
    return pd.DataFrame(rows)


def _named(method: str) -> dict[str, str]:
    return {"method": method, "label": METHODS[method].label}


def blocks_of(network: nn.Module) -> dict[str, nn.Module]:
    """The blocks of a ViT, ConvNeXt or MobileNet by their names, in the order of the forward pass."""
    modules = network.named_modules()
    return {name: m for name, m in modules if BLOCK.fullmatch(name) and not isinstance(m, nn.Sequential)}


def _weights(network: nn.Module) -> Iterator[tuple[int, str, str, Tensor]]:
    """Block, name in the block, full name and weight of every dense layer in the blocks."""
    for block, (name, module) in enumerate(blocks_of(network).items(), start=1):
        for place, layer in module.named_modules():
            if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1):
                yield block, place, f"{name}.{place}.weight", layer.weight


def _stream(network: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The input of the first block and the output of each."""
    found: list[Tensor] = []
    blocks = list(blocks_of(network).values())
    hooks = [blocks[0].register_forward_pre_hook(lambda _, arguments: found.append(arguments[0]))]
    hooks += [block.register_forward_hook(lambda *call: found.append(call[-1])) for block in blocks]
    _run(network, inputs, hooks)
    return found


def attention_weights(network: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The attention of each block, (image, head, token, token), rows sum to 1; empty for networks without attention.

    It is computed from queries and keys: timm's fused attention does not give it away.
    """
    found: list[Tensor] = []

    def record(layer: Any, arguments: tuple[Tensor, ...], _: Tensor) -> None:
        tokens = arguments[0]
        fused = layer.qkv(tokens).unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys = layer.q_norm(fused[0]), layer.k_norm(fused[1])
        found.append((queries @ keys.transpose(-2, -1) * layer.scale).softmax(-1))

    layers = [layer for layer in network.modules() if hasattr(layer, "qkv") and hasattr(layer, "num_heads")]
    _run(network, inputs, [layer.register_forward_hook(record) for layer in layers])
    return found


def _run(network: nn.Module, inputs: Tensor, hooks: Sequence[Any]) -> None:
    try:
        network(inputs)
    finally:
        for hook in hooks:
            hook.remove()


def summed_up(found: Tensor, network: Any) -> Tensor:
    """One vector an image (image, channel), from a map (image, channel, y, x) or tokens (image, token, channel)."""
    if found.ndim == 4:
        return found.mean((2, 3))
    return found[:, 0] if network.global_pool == "token" else found.mean(1)


def _similarity(vectors: Tensor) -> float:
    units = nn.functional.normalize(vectors.double(), dim=1)
    n = len(units)
    return float((units.sum(0).square().sum() - n) / (n * n - n))


def _entropy(weights: Tensor) -> float:
    tokens = weights.shape[-1]
    return float(torch.special.entr(weights).sum(-1).mean()) / float(np.log(tokens))


def _distance(weights: Tensor, network: Any) -> float:
    rows, columns = network.patch_embed.grid_size
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(weights)
    apart = torch.cdist(places, places)
    first = network.num_prefix_tokens  # class and register tokens have no place
    among = weights[..., first:, first:]
    seen = (among * apart).sum(-1) / among.sum(-1)
    return float(seen.mean() / apart.mean())
