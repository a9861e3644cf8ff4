"""What an initialisation puts into a network before any training: its weights, its signals, where its attention looks.

Every table has one row per method and place, with the columns method and label. Blocks are counted from 1 in the order
of the forward pass; block 0 is what enters the first one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dmws_lite.analysis.blocks import attention_weights, block_outputs, blocks_of, pool_output
from dmws_lite.method.components import family_of
from dmws_lite.method.measuring import recalibrate_batchnorm
from dmws_lite.method.networks import Teacher, describe
from dmws_lite.studies.methods import METHODS, find_method, start

STARTS = (
    "default", "truncated_normal", "xavier", "kaiming", "mimetic", "selection_random_inconsistent", "weight_selection"
)  # fmt: skip
TEACHER = "full_teacher"  # the trained teacher itself, with an untrained classifier

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
    """The main student of each method in METHODS as training would begin with it, by the method's name.

    inputs: normalised images (image, 3, height, width), on which BatchNorm's statistics are measured, as `fit` does.
    """
    networks = {}
    for name in methods:
        students = start(find_method(name), teacher, student, classes, inputs.shape[-1], seed, images=inputs)
        networks[name] = recalibrate_batchnorm(students.main, [inputs]).eval()
    return networks


@torch.no_grad()
def matrices(networks: Networks) -> pd.DataFrame:
    """Size and shape of every weight matrix in the blocks, depthwise convolutions left out.

    Returns method, label, block, kind (the layer's name in its block), tensor and
      gain:        Frobenius norm / sqrt(rows), by which the layer multiplies the size of independent inputs;
      stable_rank: (Frobenius norm / largest singular value)^2; rank_share: the same / the smaller side;
      singular:    all singular values, the largest first.
    """
    rows = []
    for method, network in networks.items():
        for block, (name, module) in enumerate(blocks_of(network).items(), start=1):
            for path, layer in module.named_modules():
                if not (isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)):
                    continue
                singular = torch.linalg.svdvals(layer.weight.flatten(1).double()).numpy()
                energy = float((singular**2).sum())
                stable_rank = energy / float(singular[0]) ** 2
                rows.append(
                    {**_name_row(method, block), "kind": path.split(".")[-1], "tensor": f"{name}.{path}.weight"}
                    | {"gain": (energy / len(layer.weight)) ** 0.5, "stable_rank": stable_rank}
                    | {"rank_share": stable_rank / len(singular), "singular": singular}
                )
    return pd.DataFrame(rows)


def spectra(weights: pd.DataFrame) -> pd.DataFrame:
    """Singular values of `matrices` divided by the largest, at the same places of all matrices: method, label, kind,
    place (0: the largest, 1: the smallest), share."""
    places = np.linspace(0, 1, 61)
    shares = [np.interp(places, np.linspace(0, 1, len(values)), values / values[0]) for values in weights["singular"]]
    table = weights[["method", "label", "kind"]].assign(place=[places] * len(weights), share=shares)
    return table.explode(["place", "share"], ignore_index=True).astype({"place": float, "share": float})


@torch.inference_mode()
def signals(networks: Networks, inputs: Tensor) -> pd.DataFrame:
    """What normalised images, at least two, have become before the first block and after each.

    Returns method, label, block, spread (standard deviation of all values) and similarity (mean cosine between two
    different images, one vector each as for the classifier: at 1 they cannot be told apart).
    """
    rows = []
    for method, network in networks.items():
        for block, output in enumerate(block_outputs(network, inputs).values()):
            units = nn.functional.normalize(pool_output(output, network).double(), dim=1)
            n = len(units)
            similarity = float((units.sum(0).square().sum() - n) / (n * n - n))
            rows.append({**_name_row(method, block), "spread": float(output.std()), "similarity": similarity})
    return pd.DataFrame(rows)


@torch.inference_mode()
def attention(networks: Networks, inputs: Tensor) -> pd.DataFrame:
    """Where each attention block looks, means over heads, tokens and images; no rows for networks without attention.

    Returns method, label, block and, each divided by what attention to all tokens alike would have, entropy (of the
    attention of a token: 0 is a single token) and distance (from a patch to those it attends to: below 1 looks near).
    """
    rows = []
    for method, network in networks.items():
        for block, weights in enumerate(attention_weights(network, inputs), start=1):
            entropy = float(torch.special.entr(weights).sum(-1).mean()) / float(np.log(weights.shape[-1]))
            distance = _measure_distance(weights, network)
            rows.append({**_name_row(method, block), "entropy": entropy, "distance": distance})
    return pd.DataFrame(rows, columns=["method", "label", "block", "entropy", "distance"])


def _measure_distance(weights: Tensor, network: nn.Module) -> float:
    rows, columns = network.patch_embed.grid_size  # type: ignore[misc,union-attr]
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).to(weights)
    distances = torch.cdist(places, places)
    first = network.num_prefix_tokens  # class and register tokens have no place
    patches = weights[..., first:, first:]
    return float(((patches * distances).sum(-1) / patches.sum(-1)).mean() / distances.mean())


def _name_row(method: str, block: int) -> dict[str, str | int]:
    return {"method": method, "label": METHODS[method].label, "block": block}
