"""The explorer of weight selection."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import ipywidgets

from dmws_lite.method.elements import STRATEGIES as ELEMENTS
from dmws_lite.method.layers import STRATEGIES as LAYERS
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.selection import complementary_plans, plan
from dmws_lite.views.plan_figures import selection
from dmws_lite.views.plan_tables import summary
from dmws_lite.views.widgets.parts import as_html, choice, explorer, whole_number

# Title: teacher, student, the tensor that is shown first.
PAIRS = {
    "ViT-S → ViT-T": ("vit_small_patch16_224", "vit_tiny_patch16_224", "blocks.0.attn.qkv.weight"),
    "ConvNeXt-T → ConvNeXt-F": ("convnext_tiny", "convnext_femto", "stages.1.downsample.1.weight"),
    "MobileNetV1 ×1 → ×½": ("mobilenetv1_100", "mobilenetv1_050", "blocks.1.0.conv_pw.weight"),
    "embedded ViT, 96 → 48": ("embedded_vit_96", "embedded_vit_48", "blocks.0.attn.qkv.weight"),
}


def selection_explorer() -> ipywidgets.VBox:
    """Choose a pair, a tensor, the elements, the layers and the students, and see what each student receives.

    Works from shapes: no weights, no download; therefore without elements="magnitude". Several students are
    complementary; the phase is that of a single one. The static twin is `figures.selection(plans, tensor)`.
    """
    first = next(iter(PAIRS))
    controls: dict[str, Any] = {
        "pair": choice("teacher → student", PAIRS),
        "tensor": choice("tensor", _tensors(first)),
        "elements": choice("elements", [name for name in ELEMENTS if name != "magnitude"]),
        "layers": choice("layers", LAYERS),
        "students": whole_number("students", 1, 3, 2),
        "phase": whole_number("phase", 0, 3, 0),
    }
    pair, tensor, phase = controls["pair"], controls["tensor"], controls["phase"]
    phase.disabled = True

    def offer_tensors(_: Any) -> None:
        tensor.options = _tensors(pair.value)

    def allow_phase(_: Any) -> None:
        phase.disabled = controls["students"].value > 1

    pair.observe(offer_tensors, "value")
    controls["students"].observe(allow_phase, "value")
    return explorer(controls, _page)


@lru_cache(maxsize=64)
def _plans(pair: str, elements: str, layers: str, students: int, phase: int) -> tuple[SelectionPlan, ...]:
    teacher, student, _ = PAIRS[pair]
    if students == 1:
        return (plan(teacher, student, elements, phase, layers),)
    return complementary_plans(teacher, student, students, elements, layers)


def _tensors(pair: str) -> list[str]:
    """The teacher tensors of a pair that its student receives, that of PAIRS first."""
    names = [a.teacher for a in _plans(pair, ELEMENTS[0], LAYERS[0], 2, 0)[0].assignments]
    return list(dict.fromkeys([PAIRS[pair][2], *names]))


@lru_cache(maxsize=64)
def _page(pair: str, tensor: str, elements: str, layers: str, students: int, phase: int) -> str:
    plans = _plans(pair, elements, layers, students, phase if students == 1 else 0)
    return as_html(selection(plans, tensor), summary(plans))
