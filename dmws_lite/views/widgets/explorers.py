"""The explorers; each draws through the function that makes its static twin, and shows its first state by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd

from dmws_lite.data.sets import ImageSet
from dmws_lite.method.distillation import momentum_of
from dmws_lite.method.elements import STRATEGIES as ELEMENTS
from dmws_lite.method.layers import STRATEGIES as LAYERS
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.selection import complementary_plans, plan
from dmws_lite.views.inside import saliency
from dmws_lite.views.plans import summary, tensor_maps
from dmws_lite.views.studies import labels_of, paired_differences, results
from dmws_lite.views.training import ema_memory, soft_targets
from dmws_lite.views.widgets.parts import as_html, choice, control, explorer, slider

PAIRS = {  # title: teacher, student, the tensor that is shown first
    "ViT-S → ViT-T": ("vit_small_patch16_224", "vit_tiny_patch16_224", "blocks.0.attn.qkv.weight"),
    "ConvNeXt-T → ConvNeXt-F": ("convnext_tiny", "convnext_femto", "stages.1.downsample.1.weight"),
    "MobileNetV1 ×1 → ×½": ("mobilenetv1_100", "mobilenetv1_050", "blocks.1.0.conv_pw.weight"),
    "embedded ViT, 96 → 48": ("embedded_vit_96", "embedded_vit_48", "blocks.0.attn.qkv.weight"),
}
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece", "seconds", "flops_per_step")


def selection_explorer() -> ipywidgets.VBox:
    """Choose a pair, a tensor, the elements, the layers and the students, and see what each student receives.

    Works from shapes: no weights, no download; therefore without elements="magnitude". Several students are
    complementary; the phase is that of a single one. The static twin is `figures.tensor_maps(plans, [tensor])`.
    """
    controls: dict[str, Any] = {
        "pair": choice("teacher → student", PAIRS),
        "tensor": choice("tensor", _list_tensors(next(iter(PAIRS)))),
        "elements": choice("elements", [name for name in ELEMENTS if name != "magnitude"]),
        "layers": choice("layers", LAYERS),
        "students": slider("students", 1, 3, 2),
        "phase": slider("phase", 0, 3, 0),
    }
    ipywidgets.dlink((controls["pair"], "value"), (controls["tensor"], "options"), _list_tensors)
    ipywidgets.dlink((controls["students"], "value"), (controls["phase"], "disabled"), lambda students: students > 1)

    def draw(pair: str, tensor: str, elements: str, layers: str, students: int, phase: int) -> str:
        plans = _make_plans(pair, elements, layers, students, phase if students == 1 else 0)
        return as_html(tensor_maps(plans, [tensor]), summary(plans))

    return explorer(controls, draw)


@lru_cache(maxsize=64)
def _make_plans(pair: str, elements: str, layers: str, students: int, phase: int) -> tuple[SelectionPlan, ...]:
    teacher, student, _ = PAIRS[pair]
    if students == 1:
        return (plan(teacher, student, elements, phase, layers),)
    return complementary_plans(teacher, student, students, elements, layers)


def _list_tensors(pair: str) -> list[str]:
    """The teacher tensors of one of PAIRS that its student receives, the one that is shown first at the head."""
    *_, first = PAIRS[pair]
    selected = [a.teacher for a in _make_plans(pair, ELEMENTS[0], LAYERS[0], 2, 0)[0].assignments]
    return list(dict.fromkeys([first, *selected]))


def soft_target_explorer(
    student_logits: Sequence[float] = (0.5, 1.0, -1.0),
    target_logits: Sequence[float] = (2.0, 1.5, -1.5),
    label: int = 0,
    classes: Sequence[str] | None = None,
) -> ipywidgets.VBox:
    """Move temperature, alpha and the right class; arguments as in the static twin, `figures.soft_targets`."""
    names = list(classes or (f"class {k}" for k in range(len(student_logits))))
    controls = {
        "temperature": control(ipywidgets.FloatSlider, "temperature T", min=0.5, max=10, step=0.5, value=2.0),
        "alpha": control(ipywidgets.FloatSlider, "weight α", min=0, max=1, step=0.05, value=0.5),
        "label": choice("right class", zip(names, range(len(names)), strict=True), value=label),
    }

    def draw(temperature: float, alpha: float, label: int) -> str:
        return as_html(soft_targets(student_logits, target_logits, label, temperature, alpha, names))

    return explorer(controls, draw)


def ema_explorer(steps: int = 300) -> ipywidgets.VBox:
    """Move the half-life and the number of steps, and see what the auxiliary consists of.

    steps: of the run, 1 or more, else ValueError. The static twin is `figures.ema_memory`.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1")
    controls = {
        "half_life": slider("half-life (steps)", 1, 2 * steps, max(1, steps // 20)),
        "after": slider("after step", 1, steps, steps),
    }
    return explorer(controls, lambda half_life, after: as_html(ema_memory(momentum_of(half_life), after)))


def results_explorer(table: pd.DataFrame) -> ipywidgets.VBox:
    """Choose a metric and what to compare with, and see intervals over seeds.

    table: one row per run, as `Store.table` gives it; without a run ValueError. The static twins are `figures.results`
           and `figures.paired_differences`.
    """
    if table.empty:
        raise ValueError("the table has no runs: run a study first")
    metrics = [name for name in METRICS if name in table and table[name].notna().any()]
    methods = [(label, name) for name, label in labels_of(table).items()]
    controls = {
        "metric": choice("metric", [(name.replace("_", " "), name) for name in metrics]),
        "reference": choice("difference to", [("– (results)", ""), *methods]),
    }

    def draw(metric: str, reference: str) -> str:
        return as_html(paired_differences(table, reference, metric) if reference else results(table, metric))

    return explorer(controls, draw)


def image_inspector(
    images: ImageSet,
    probabilities: Mapping[str, np.ndarray],
    maps: Mapping[str, np.ndarray],
    masks: np.ndarray | None = None,
) -> ipywidgets.VBox:
    """Step through images: what networks predict, and where they look.

    probabilities: by network, (N, classes). maps: of the same networks, (N, h, w) in [0, 1], as `figures.saliency`,
                   the static twin, draws them, with the outlines of the masks, bool (N, H, W).
    Raises ValueError for predictions and maps of other networks, or of other images.
    """
    if set(maps) != set(probabilities) or {len(images)} != {*map(len, [*maps.values(), *probabilities.values()])}:
        networks = f"probabilities of {list(probabilities)} and maps of {list(maps)}"
        raise ValueError(f"{networks}: pass both of the same networks, one row for each of the {len(images)} images")
    answers = pd.DataFrame({name: shares.argmax(1) for name, shares in probabilities.items()})
    wrong = answers.ne(images.labels, axis=0)
    subsets = {"all": np.arange(len(images))} | {f"{name} is wrong": np.flatnonzero(wrong[name]) for name in wrong}
    if {"main", "auxiliary"} <= set(answers):
        subsets["main and auxiliary disagree"] = np.flatnonzero(answers["main"] != answers["auxiliary"])
    controls = {
        "subset": choice("images", [(f"{name} ({len(indices)})", name) for name, indices in subsets.items()]),
        "number": slider("number", 0, len(images) - 1, 0),
    }

    def draw(subset: str, number: int) -> str:
        if not len(subsets[subset]):
            raise ValueError(f"there is no image where {subset}: choose others")
        index = int(subsets[subset][number])
        sentences = []
        for name, shares in probabilities.items():
            answer, verdict = images.classes[answers[name][index]], "wrong" if wrong[name][index] else "right"
            sentences.append(f"{name}: {answer} {shares[index].max():.0%}, {verdict}")
        words = f"Image {index}, {images.classes[images.labels[index]]}. {'; '.join(sentences)}."
        return as_html(saliency(images, [index], maps, masks), words)

    link = (controls["subset"], "value"), (controls["number"], "max")
    ipywidgets.dlink(*link, lambda subset: max(0, len(subsets[subset]) - 1))
    return explorer(controls, draw)
