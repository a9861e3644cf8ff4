"""The explorer of soft targets."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets

from dmws_lite.views.explorer_figures import soft_targets
from dmws_lite.views.widgets.parts import as_html, choice, explorer, number


def soft_target_explorer(
    student_logits: Sequence[float] = (0.5, 1.0, -1.0),
    target_logits: Sequence[float] = (2.0, 1.5, -1.5),
    label: int = 0,
    classes: Sequence[str] | None = None,
) -> ipywidgets.VBox:
    """Move temperature, alpha and the right class, and see the soft targets, the parts of the loss and their gradients.

    Arguments as in the static twin, `figures.soft_targets`.
    """
    names = [f"class {k}" for k in range(len(student_logits))] if classes is None else list(classes)
    controls = {
        "temperature": number("temperature T", 0.5, 10, 0.5, 2.0),
        "alpha": number("weight α", 0, 1, 0.05, 0.5),
        "label": choice("right class", [(name, k) for k, name in enumerate(names)], value=label),
    }

    def draw(temperature: float, alpha: float, label: int) -> str:
        return as_html(soft_targets(student_logits, target_logits, label, temperature, alpha, names))

    return explorer(controls, draw)
