"""What the selection explorer in the browser shows: the package's own index sets, stored for every choice it offers.

The index sets of the first k students do not depend on how many follow, and one student with phase k gets what student
k would get: so there are only four sets per named axis and strategy. A test compares them with `dm.plan`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dmws_lite.method.components import FIXED, squeeze
from dmws_lite.method.layers import STRATEGIES as LAYERS
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.selection import complementary_plans, plan

STUDENTS = 4  # at most; as many phases
STRATEGIES = ("uniform", "consecutive", "heads", "random")
# Title: teacher, student, the tensor that is shown first.
PAIRS = {
    "ViT-S → ViT-T (384 → 192 channels)": ("vit_small_patch16_224", "vit_tiny_patch16_224", "blocks.0.mlp.fc1.weight"),
    "ViT-B → ViT-T (768 → 192 channels)": ("vit_base_patch16_224", "vit_tiny_patch16_224", "blocks.0.mlp.fc1.weight"),
    "ConvNeXt-T → ConvNeXt-F": ("convnext_tiny", "convnext_femto", "stages.1.downsample.1.weight"),
    "MobileNetV1 ×1 → ×½": ("mobilenetv1_100", "mobilenetv1_050", "blocks.1.0.conv_pw.weight"),
    "embedded ViT, 96 → 48": ("embedded_vit_96", "embedded_vit_48", "blocks.0.mlp.fc1.weight"),
}


def pair_data(teacher: str, student: str, first: str) -> dict[str, Any]:
    """One pair as plain data.

    Returns first (the tensor shown first), size (elements of the teacher), layers (by strategy: blocks by stage),
    tensors (axes, shape, and the teacher's tensor by layer strategy), axes (by name and strategy: a number in masks for
    each student), masks (index sets), refused (by strategy and phase: why one student cannot have it).
    """
    by_layers = {layers: plan(teacher, student, layers=layers) for layers in LAYERS}
    masks: dict[str, int] = {}
    axes: dict[str, dict[str, list[int]]] = {}
    for strategy in STRATEGIES:
        for student_plan in complementary_plans(teacher, student, STUDENTS, strategy):
            for axis, mask in axis_masks(student_plan).items():
                numbers = axes.setdefault(axis, {}).setdefault(strategy, [])
                numbers.append(masks.setdefault(mask, len(masks)))
    tensors = []
    for assignments in zip(*(layer_plan.assignments for layer_plan in by_layers.values()), strict=True):
        first_rule, names = assignments[0], dict(zip(LAYERS, (a.teacher for a in assignments), strict=True))
        shape = squeeze(first_rule.teacher_shape, len(first_rule.axes))
        tensors.append({"axes": first_rule.axes, "shape": shape, "names": names})
    return {
        "first": first,
        "size": by_layers["first"].coverage().size,
        "layers": {layers: layer_plan.layers for layers, layer_plan in by_layers.items()},
        "tensors": tensors,
        "axes": axes,
        "masks": list(masks),
        "refused": {strategy: refused_phases(teacher, student, strategy) for strategy in STRATEGIES},
    }


def axis_masks(plan: SelectionPlan) -> dict[str, str]:
    """The index set of each named axis as a hexadecimal mask: the first index is the highest bit."""
    masks = {}
    for a in plan.assignments:
        for axis, index, size in zip(a.axes, a.indices, squeeze(a.teacher_shape, len(a.axes)), strict=True):
            if axis not in FIXED and axis not in masks:
                chosen = np.ones(size, bool) if index is None else np.isin(np.arange(size), index)
                masks[axis] = np.packbits(chosen).tobytes().hex()
    return masks


def refused_phases(teacher: str, student: str, strategy: str) -> dict[int, str]:
    """Why one student cannot have a phase, for those it cannot have."""
    refused = {}
    for phase in range(STUDENTS):
        try:
            plan(teacher, student, strategy, phase)
        except ValueError as error:
            refused[phase] = str(error)
    return refused


def write(path: Path) -> Path:
    """Write all pairs as a script, which a page opened as a file may load too (a fetch would be refused there)."""
    data = {title: pair_data(*names) for title, names in PAIRS.items()}
    text = json.dumps({"fixed": FIXED, "pairs": data}, ensure_ascii=False, separators=(",", ":"))
    path.write_text(f"const SELECTION_DATA = {text};\n", encoding="utf-8")
    return path
