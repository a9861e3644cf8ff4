# ruff: noqa: F401 - names for others
"""Explorers: controls that choose what a figure shows; the only room that imports ipywidgets (7.7 or 8)."""

from dmws_lite.views.widgets.dashboard import Dashboard as training_dashboard
from dmws_lite.views.widgets.explorers import (
    ema_explorer,
    image_inspector,
    results_explorer,
    selection_explorer,
    soft_target_explorer,
)
