"""Widgets that choose what a figure shows; the only module that imports ipywidgets (7.7 or 8)."""

from __future__ import annotations

import base64
from functools import lru_cache
from html import escape
from typing import Any

import ipywidgets

from dmws_lite.method.elements import STRATEGIES as ELEMENTS
from dmws_lite.method.layers import STRATEGIES as LAYERS
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.selection import complementary_plans, plan
from dmws_lite.views.plan_figures import selection
from dmws_lite.views.plan_tables import summary

# Title: teacher, student, the tensor that is shown first.
PAIRS = {
    "ViT-S → ViT-T": ("vit_small_patch16_224", "vit_tiny_patch16_224", "blocks.0.attn.qkv.weight"),
    "ConvNeXt-T → ConvNeXt-F": ("convnext_tiny", "convnext_femto", "stages.1.downsample.1.weight"),
    "MobileNetV1 ×1 → ×½": ("mobilenetv1_100", "mobilenetv1_050", "blocks.1.0.conv_pw.weight"),
    "embedded ViT, 96 → 48": ("embedded_vit_96", "embedded_vit_48", "blocks.0.attn.qkv.weight"),
}
STUDENTS = {"main and auxiliary (complementary)": None, "one, phase 0": 0, "one, phase 1": 1, "one, phase 2": 2}


def selection_explorer() -> ipywidgets.VBox:
    """Choose a pair, a tensor, the elements, the students and the layers, and see what each student receives.

    Works from shapes: no weights, no download; therefore without elements="magnitude". A choice that the method refuses
    shows the reason as text; any other error is raised. The static twin is `figures.selection(plans, tensor)`.
    """
    choices = {
        "pair": _choice("teacher → student", PAIRS),
        "elements": _choice("elements", [name for name in ELEMENTS if name != "magnitude"]),
        "students": _choice("students", STUDENTS),
        "layers": _choice("layers", LAYERS),
    }
    first = next(iter(PAIRS))
    tensor = _choice("tensor", _tensors(first), value=PAIRS[first][2])
    view = ipywidgets.HTML()

    def draw(_: Any = None) -> None:
        view.value = _page(*(choice.value for choice in choices.values()), tensor.value)

    def change_pair(_: Any) -> None:
        pair = choices["pair"].value
        tensor.unobserve(draw, "value")
        tensor.options = _tensors(pair)
        tensor.value = PAIRS[pair][2]
        tensor.observe(draw, "value")
        draw()

    choices["pair"].observe(change_pair, "value")
    for choice in (choices["elements"], choices["students"], choices["layers"], tensor):
        choice.observe(draw, "value")
    draw()
    controls = ipywidgets.HBox([*choices.values(), tensor], layout=ipywidgets.Layout(flex_flow="row wrap"))
    return ipywidgets.VBox([controls, view])


def _choice(description: str, options: Any, **value: Any) -> ipywidgets.Dropdown:
    style, layout = {"description_width": "9em"}, ipywidgets.Layout(width="28em")
    return ipywidgets.Dropdown(description=description, options=list(options), style=style, layout=layout, **value)


@lru_cache(maxsize=64)
def _plans(pair: str, elements: str, students: str, layers: str) -> tuple[SelectionPlan, ...]:
    teacher, student, _ = PAIRS[pair]
    phase = STUDENTS[students]
    if phase is None:
        return complementary_plans(teacher, student, elements=elements, layers=layers)
    return (plan(teacher, student, elements, phase, layers),)


def _tensors(pair: str) -> list[str]:
    """The teacher tensors of a pair that its student receives."""
    return [a.teacher for a in _plans(pair, ELEMENTS[0], next(iter(STUDENTS)), LAYERS[0])[0].assignments]


@lru_cache(maxsize=64)
def _page(pair: str, elements: str, students: str, layers: str, tensor: str) -> str:
    """The explorer's picture and line as HTML, or the reason why the method refuses these choices."""
    try:
        plans = _plans(pair, elements, students, layers)
    except ValueError as error:
        return f'<p role="alert"><b>not possible:</b> {escape(str(error))}</p>'
    figure = selection(plans, tensor)
    image = base64.b64encode(figure.png(dpi=90)).decode()
    return f'<p>{summary(plans)}</p><img alt="{escape(figure.alt_text)}" src="data:image/png;base64,{image}">'
