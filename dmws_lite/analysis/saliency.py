"""Where a network looks: Grad-CAM and attention rollout, and how much of a map lies on the lesion.

A map is float (image, y, x) of the images' size, at least 0, its largest value 1 (or all 0: it says nothing). Phantoms
come with lesion masks, so maps can be scored; a good score on phantoms says nothing about patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from dmws_lite.analysis.blocks import attention_weights, blocks_of
from dmws_lite.data.phantoms import phantom
from dmws_lite.data.sets import ImageSet
from dmws_lite.runtime.text import require
from dmws_lite.studies.statistics import interval
from dmws_lite.training.evaluation import normalised_batches

Array = np.ndarray


def grad_cam(model: nn.Module, images: ImageSet, targets: Array, batch_size: int = 100) -> Array:
    """Which places speak for a class: channels of the `last_layer`, weighted by the class's gradient (Grad-CAM).

    targets: int (N,), the class each map is about.
    Returns float32 (N, H, W), enlarged from the layer's grid. The model is left in evaluation mode.
    Raises ValueError where there is not one target for each image.
    Source: Selvaraju et al. 2017 (arXiv 1610.02391); tokens are put back into their grid, and a class token left out.
    """
    if len(targets) != len(images):
        raise ValueError(f"{len(targets)} targets for {len(images)} images: pass a class for each")
    outputs, maps = [], []
    with last_layer(model).register_forward_hook(lambda *call: outputs.append(call[-1])):
        for i, inputs in enumerate(normalised_batches(model.eval(), images.images, batch_size)):
            logits = model(inputs.requires_grad_())
            classes = torch.as_tensor(targets[i * batch_size :][: len(inputs)]).to(logits.device)
            score = logits.gather(1, classes[:, None]).sum()
            channels = outputs.pop()
            gradients = _to_grid(torch.autograd.grad(score, channels)[0], model)  # (image, channel, row, column)
            weights = gradients.mean((2, 3), keepdim=True)
            maps.append((weights * _to_grid(channels.detach(), model)).sum(1).relu())
    return _enlarge(torch.cat(maps), images.images.shape)


@torch.inference_mode()
def attention_rollout(model: nn.Module, images: ImageSet, batch_size: int = 100) -> Array:
    """Which patches the output is mixed from: the blocks' attention, averaged over heads and multiplied up (rollout).

    Each block is taken as half attention, half residual; what the classifier reads (class token or mean) is followed.
    Returns float32 (N, H, W), the same for all classes. Source: Abnar & Zuidema 2020 (arXiv 2005.00928).
    """
    maps = []
    for inputs in normalised_batches(model.eval(), images.images, batch_size):
        rollout: Any = None
        for weights in attention_weights(model, inputs):
            block = weights.mean(1) / 2 + torch.eye(weights.shape[-1], device=weights.device) / 2
            rollout = block if rollout is None else block @ rollout
        if rollout is None:
            raise ValueError(f"{type(model).__name__} has no attention to roll out: use grad_cam")
        output = rollout[:, :1] if model.global_pool == "token" else rollout.mean(1, keepdim=True)
        maps.append(_to_grid(output.transpose(1, 2), model)[:, 0])
    return _enlarge(torch.cat(maps), images.images.shape)


def last_layer(model: nn.Module) -> nn.Module:
    """The layer that `grad_cam` looks at: the last block, of a ViT its first norm (what follows mixes no patches)."""
    *_, block = blocks_of(model).values()
    return getattr(block, "norm1", block)


def _to_grid(output: Tensor, model: Any) -> Tensor:
    """(image, channel, row, column), from a map of that shape or from tokens (image, token, channel)."""
    if output.ndim == 4:
        return output
    return output[:, model.num_prefix_tokens :].transpose(1, 2).unflatten(2, model.patch_embed.grid_size)


def _enlarge(maps: Tensor, shape: Sequence[int]) -> Array:
    """Maps of an image's size, each with a largest value of 1."""
    large = F.interpolate(maps.float().cpu()[:, None], shape[-2:], mode="bilinear", align_corners=False)[:, 0].numpy()
    largest = large.max((1, 2), keepdims=True)
    return np.divide(large, largest, out=np.zeros_like(large), where=largest > 0)


def lesions(modality: str, split: str, count: int, size: int = 64, seed: int = 0) -> Array:
    """The lesion masks of the first images of a split of `phantoms` (or of its card), bool (count, size, size)."""
    modality = modality.removeprefix("phantom_")
    return np.stack([phantom(modality, split, i, size, seed)[1] for i in range(count)])


def reference_maps(masks: Array, seen: Array, seed: int = 0) -> dict[str, Array]:
    """Maps that know nothing of the image, to compare others with.

    masks, seen: bool (N, H, W), of the images that are scored (for number and size only) and of training images.
    Returns, each (N, H, W): "random" (noise on an 8 x 8 grid, enlarged), "centre" (a Gaussian whose standard deviation
    is a fifth of the side) and "usual place" (the mean of `seen`). Our choice.
    """
    n, height, width = masks.shape
    noise = torch.from_numpy(np.random.default_rng(seed).random((n, 8, 8), dtype=np.float32))
    y, x = np.mgrid[:height, :width]
    distance = ((y + 0.5) / height - 0.5) ** 2 + ((x + 0.5) / width - 0.5) ** 2
    maps = {"random": _enlarge(noise, masks.shape)}
    for name, fixed in (("centre", np.exp(-distance / (2 * 0.2**2))), ("usual place", seen.mean(0))):
        maps[name] = np.broadcast_to((fixed / fixed.max()).astype(np.float32), masks.shape)
    return maps


def scores(maps: Array, masks: Array) -> pd.DataFrame:
    """How much of each map (N, H, W) lies on the lesion in bool masks (N, H, W); images without one are left out.

    Returns one row per image with a lesion: image (its number) and
      area: the lesion's share of the pixels, which is what a map without a preference would score in the other two;
      mass: the share of the map's sum that lies in the lesion (Wang et al. 2020, arXiv 1910.01279);
      hit:  1 where the map's largest value lies in the lesion, else 0 (the share of several largest values): the
            pointing game of Zhang et al. 2018 (arXiv 1608.00507), without their tolerance.
    """
    maps, masks = np.asarray(maps, np.float64), np.asarray(masks, bool)
    with_lesion = np.flatnonzero(masks.any((1, 2)))
    n = len(with_lesion)
    if maps.shape != masks.shape or not n:
        raise ValueError(f"maps {maps.shape}, masks {masks.shape}, {n} lesions: pass (N, H, W) of each and lesions")
    flat, lesion = maps[with_lesion].reshape(n, -1), masks[with_lesion].reshape(n, -1)
    flat = np.where(flat.any(1, keepdims=True), flat, 1.0)
    peaks = flat == flat.max(1, keepdims=True)
    mass, hit = (flat * lesion).sum(1) / flat.sum(1), (peaks & lesion).sum(1) / peaks.sum(1)
    return pd.DataFrame({"image": with_lesion, "area": lesion.mean(1), "mass": mass, "hit": hit})


def localisation(maps: Mapping[str, Array], masks: Array, reference: str = "random") -> pd.DataFrame:
    """Mean scores of several kinds of maps on the same images, and their differences to a reference, image by image.

    Returns one row per kind of map and score: map, score ("mass" or "hit"), value, low, high, difference,
    difference_low, difference_high, images. Intervals are 95 % t intervals over images, for these networks.
    Raises ValueError for an unknown reference, and as `scores` does.
    """
    require("reference", reference, maps)
    tables, rows = {name: scores(arrays, masks) for name, arrays in maps.items()}, []
    for name, table in tables.items():
        for score in ("mass", "hit"):
            values = table[score].to_numpy()
            value, gap = interval(values), interval(values - tables[reference][score].to_numpy())
            rows.append(
                {"map": name, "score": score, "value": value["mean"], "low": value["low"], "high": value["high"]}
                | {"difference": gap["mean"], "difference_low": gap["low"], "difference_high": gap["high"]}
                | {"images": len(values)}
            )
    table = pd.DataFrame(rows)
    table.attrs["chance"] = float(tables[reference]["area"].mean())
    return table


def sanity(maps: Array, unlearnt: Sequence[Array], masks: Array) -> dict[str, float]:
    """A network's hit rate beside those of networks with random weights, and how alike their maps are.

    Returns hit, unlearnt_mean and unlearnt_best (their mean and largest hit rate), correlation (Spearman's, of the two
    maps of each image, its mean: 1 for the same order of places).
    Source: the model randomisation test of Adebayo et al. 2018 (arXiv 1810.03292); scoring it is our choice.
    """
    hit, *hits = (float(scores(network_maps, masks)["hit"].mean()) for network_maps in (maps, *unlearnt))
    ranks = [rankdata(network_maps.reshape(len(network_maps), -1), axis=1) for network_maps in (maps, *unlearnt)]
    a, *others = (rank - rank.mean(1, keepdims=True) for rank in ranks)
    with np.errstate(invalid="ignore"):  # a map that says nothing has no order
        correlations = [(a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)) for b in others]
    correlation = float(np.nanmean(correlations))
    return {"hit": hit, "unlearnt_mean": float(np.mean(hits)), "unlearnt_best": max(hits), "correlation": correlation}
