"""The inspector of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np

from dmws_lite.data.sets import ImageSet
from dmws_lite.views.explorer_figures import inspected
from dmws_lite.views.widgets.parts import as_html, choice, explorer, whole_number


def image_inspector(
    images: ImageSet,
    probabilities: Mapping[str, np.ndarray],
    maps: Mapping[str, np.ndarray],
    masks: np.ndarray | None = None,
) -> ipywidgets.VBox:
    """Step through images: what teacher, main and auxiliary predict, and where they look.

    Arguments as in the static twin, `figures.inspected(images, index, probabilities, maps, masks)`.
    """
    shown = {"all": np.arange(len(images))}
    answers = {name: found.argmax(1) for name, found in probabilities.items()}
    shown |= {f"{name} is wrong": np.flatnonzero(found != images.labels) for name, found in answers.items()}
    if {"main", "auxiliary"} <= set(answers):
        shown["main and auxiliary disagree"] = np.flatnonzero(answers["main"] != answers["auxiliary"])
    controls = {
        "which": choice("images", [(f"{name} ({len(found)})", name) for name, found in shown.items()]),
        "number": whole_number("number", 0, len(images) - 1, 0),
    }

    def fit_slider(_: Any) -> None:
        controls["number"].max = max(0, len(shown[controls["which"].value]) - 1)

    def draw(which: str, number: int) -> str:
        if not len(shown[which]):
            raise ValueError(f"there is no image where {which}: choose others")
        return as_html(inspected(images, int(shown[which][number]), probabilities, maps, masks))

    controls["which"].observe(fit_slider, "value")
    return explorer(controls, draw)
