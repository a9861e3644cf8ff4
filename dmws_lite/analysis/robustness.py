"""Robustness: what noise, blur and loss of contrast do to networks, all on the same corrupted images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import nn
from torchvision.transforms.v2 import functional

from dmws_lite.data.sets import ImageSet
from dmws_lite.runtime.text import require
from dmws_lite.studies.statistics import interval
from dmws_lite.training.evaluation import predict

# By severity 1 to 5, from just visible to hard for people, too. Our choice, after the design of Hendrycks & Dietterich
# 2019 (arXiv 1903.12261), whose values are for other images.
CORRUPTIONS: dict[str, tuple[float, ...]] = {
    "noise": (0.03, 0.06, 0.1, 0.15, 0.22),  # standard deviation of white noise, as a share of the range
    "blur": (0.01, 0.015, 0.02, 0.03, 0.045),  # standard deviation of a Gaussian, as a share of the side
    "contrast": (0.7, 0.5, 0.35, 0.25, 0.15),  # what is left of the contrast
}
SEVERITIES = (1, 2, 3, 4, 5)


def corrupt(images: ImageSet, kind: str, severity: int, seed: int = 0) -> ImageSet:
    """The same images, corrupted by "noise", "blur" or "contrast", severity 1 to 5; 0 gives them as they are.

    seed: of the noise, whose draw is the same at every severity, only louder.
    """
    if kind not in CORRUPTIONS or severity not in (0, *SEVERITIES):
        raise ValueError(f"kind={kind!r}, severity={severity}: pass one of {', '.join(CORRUPTIONS)}, and 0 to 5")
    if severity == 0:
        return images
    amount, pixels = CORRUPTIONS[kind][severity - 1], torch.from_numpy(np.array(images.images))
    if kind == "noise":
        draw = np.random.default_rng(seed).standard_normal(pixels.shape, dtype=np.float32)
        pixels = (pixels + 255 * amount * torch.from_numpy(draw)).round().clamp(0, 255).to(torch.uint8)
    elif kind == "blur":
        sigma = amount * pixels.shape[-1]
        pixels = functional.gaussian_blur(pixels, [2 * round(4 * sigma) + 1] * 2, [sigma] * 2)
    else:
        pixels = functional.adjust_contrast(pixels, amount)
    return replace(images, images=pixels.numpy())


def robustness(
    models: Mapping[str, nn.Module],
    images: ImageSet,
    severities: Sequence[int] = SEVERITIES,
    reference: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracy of several networks by kind and severity of corruption, all on the same corrupted images.

    severities: besides 0, which is always there.
    reference:  the network that the others are compared with, image by image; None is the first.
    Returns model, corruption, severity, accuracy, low, high (95 % over images, for these networks), confidence (mean of
    the largest probability), difference, difference_low, difference_high (to the reference, paired by image).
    """
    reference = reference or next(iter(models))
    require("reference", reference, models)
    rows, clean = [], {name: predict(model, images) for name, model in models.items()}
    for kind in CORRUPTIONS:
        for severity in (0, *severities):
            corrupted = corrupt(images, kind, severity, seed)
            answers = {name: predict(model, corrupted) for name, model in models.items()} if severity else clean
            correct = {name: (p.argmax(1) == images.labels).astype(float) for name, p in answers.items()}
            for name, probabilities in answers.items():
                accuracy, gap = interval(correct[name]), interval(correct[name] - correct[reference])
                rows.append(
                    {"model": name, "corruption": kind, "severity": severity, "accuracy": accuracy["mean"]}
                    | {"low": accuracy["low"], "high": accuracy["high"]}
                    | {"confidence": float(probabilities.max(1).mean())}
                    | {"difference": gap["mean"], "difference_low": gap["low"], "difference_high": gap["high"]}
                )
    return pd.DataFrame(rows)
