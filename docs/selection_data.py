"""What the selection explorer in the browser needs to know: shapes and named axes of the pairs, and random index sets.

The rules themselves are in selection_explorer/rules.js; only what numpy's generator draws is made here.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dmws_lite.method.components import FIXED, squeezed
from dmws_lite.method.elements import axis_seed, subsets
from dmws_lite.method.layers import STRATEGIES as LAYERS
from dmws_lite.method.networks import describe
from dmws_lite.method.plan import Assignment
from dmws_lite.method.selection import plan

STUDENTS = 4  # at most
SEED = 0  # of the random strategy
# Title: teacher, student, the tensor that is shown first.
PAIRS = {
    "ViT-S → ViT-T (384 → 192 channels)": ("vit_small_patch16_224", "vit_tiny_patch16_224", "blocks.0.mlp.fc1.weight"),
    "ViT-B → ViT-T (768 → 192 channels)": ("vit_base_patch16_224", "vit_tiny_patch16_224", "blocks.0.mlp.fc1.weight"),
    "ConvNeXt-T → ConvNeXt-F": ("convnext_tiny", "convnext_femto", "stages.1.downsample.1.weight"),
    "MobileNetV1 ×1 → ×½": ("mobilenetv1_100", "mobilenetv1_050", "blocks.1.0.conv_pw.weight"),
    "embedded ViT, 96 → 48": ("embedded_vit_96", "embedded_vit_48", "blocks.0.mlp.fc1.weight"),
}


def pair_data(teacher: str, student: str, tensor: str) -> dict[str, Any]:
    """One pair as plain data: sizes of the axes, the student's tensors, and the teacher tensor of each by layers."""
    plans = {layers: plan(teacher, student, layers=layers) for layers in LAYERS}
    first = plans["first"]
    return {
        "teacher": teacher,
        "student": student,
        "first": tensor,
        "heads": [describe(teacher).heads, describe(student).heads],
        "layers": {name: made.layers for name, made in plans.items()},
        "teacherShapes": first.teacher_shapes,
        "axes": {
            name: {"size": size, "pick": pick, "random": _random(name, size, pick)}
            for name, (size, pick) in axis_sizes(first.assignments).items()
        },
        "assignments": [
            {"student": a.student, "axes": a.axes, "shape": a.student_shape, "teacher": names}
            for a, names in zip(first.assignments, _teachers(plans.values()), strict=True)
        ],
    }


def axis_sizes(assignments: Iterable[Assignment]) -> dict[str, tuple[int, int]]:
    """(teacher size, student size) of each named axis along which elements are selected."""
    sizes: dict[str, tuple[int, int]] = {}
    for a in assignments:
        shapes = (squeezed(shape, len(a.axes)) for shape in (a.teacher_shape, a.student_shape))
        for axis, t, s in zip(a.axes, *shapes, strict=True):
            if axis not in FIXED:
                parts = 3 if "*" in axis else 1
                sizes[axis.split("*")[-1]] = (t // parts, s // parts)
    return sizes


def write(path: Path) -> Path:
    """Write all pairs as a script, which a page opened as a file may load too (a fetch would be refused there)."""
    data = {title: pair_data(*names) for title, names in PAIRS.items()}
    text = json.dumps({"fixed": FIXED, "pairs": data}, ensure_ascii=False, separators=(",", ":"))
    path.write_text(f"const SELECTION_DATA = {text};\n", encoding="utf-8")
    return path


def _teachers(plans: Iterable) -> list[list[str]]:
    """For each student tensor, its teacher tensor by each layer strategy (in the order of LAYERS)."""
    return [[a.teacher for a in same] for same in zip(*(made.assignments for made in plans), strict=True)]


def _random(axis: str, size: int, pick: int) -> list[str]:
    """The random index sets of the first students, as hexadecimal masks: the first index is the highest bit."""
    sets = subsets(size, pick, STUDENTS, "random", seed=axis_seed(SEED, axis))
    return [np.packbits(np.isin(np.arange(size), chosen)).tobytes().hex() for chosen in sets]
