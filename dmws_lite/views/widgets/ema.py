"""The explorer of the auxiliary's exponential moving average (EMA)."""

from __future__ import annotations

import ipywidgets

from dmws_lite.method.distillation import momentum_of
from dmws_lite.views.explorer_figures import ema_memory
from dmws_lite.views.widgets.parts import as_html, explorer, whole_number


def ema_explorer(steps: int = 300) -> ipywidgets.VBox:
    """Move the half-life and the number of steps, and see what the auxiliary consists of.

    steps: of the run, 2 or more; the half-life starts at its 20th part and goes up to twice its length.
    The static twin is `figures.ema_memory(momentum_of(half_life), steps)`.
    Raises ValueError for fewer steps.
    """
    if steps < 2:
        raise ValueError(f"steps={steps} must be at least 2")
    controls = {
        "half_life": whole_number("half-life (steps)", 1, 2 * steps, max(1, steps // 20)),
        "after": whole_number("after step", 1, steps, steps),
    }

    def draw(half_life: int, after: int) -> str:
        return as_html(ema_memory(momentum_of(half_life), after))

    return explorer(controls, draw)
