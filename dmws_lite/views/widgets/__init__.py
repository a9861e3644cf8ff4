"""Explorers: controls that choose what a figure shows; the only room that imports ipywidgets (7.7 or 8).

Each draws through the function that makes its static twin, and shows its first state when nobody is there to move it.
"""

from dmws_lite.views.widgets.dashboard import Dashboard, training_dashboard
from dmws_lite.views.widgets.ema import ema_explorer
from dmws_lite.views.widgets.inspector import image_inspector
from dmws_lite.views.widgets.results import results_explorer
from dmws_lite.views.widgets.selection import selection_explorer
from dmws_lite.views.widgets.soft_target import soft_target_explorer

__all__ = [
    "Dashboard",
    "ema_explorer",
    "image_inspector",
    "results_explorer",
    "selection_explorer",
    "soft_target_explorer",
    "training_dashboard",
]
