"""Every figure of the course: functions that take data and return a Picture (a matplotlib figure with alt text)."""

from dmws_lite.views.picture import HATCHES, LINES, MARKERS, PALETTE, Picture, save
from dmws_lite.views.plan_figures import axis_strips, consistency, coverage_bars, layer_map, selection, tensor_maps
from dmws_lite.views.plan_tables import axis_masks, consistency_table, coverage_table, summary, tensor_roles
from dmws_lite.views.run_figures import comparison, confusion, disagreement, half_life, history, images, similarity
from dmws_lite.views.study_figures import (
    auxiliary_over_time,
    cost_accuracy,
    factorial,
    fraction_curves,
    paired_differences,
    ranks,
    reliability,
    results,
)

__all__ = [
    "HATCHES",
    "LINES",
    "MARKERS",
    "PALETTE",
    "Picture",
    "auxiliary_over_time",
    "axis_masks",
    "axis_strips",
    "comparison",
    "confusion",
    "consistency",
    "consistency_table",
    "cost_accuracy",
    "coverage_bars",
    "coverage_table",
    "disagreement",
    "factorial",
    "fraction_curves",
    "half_life",
    "history",
    "images",
    "layer_map",
    "paired_differences",
    "ranks",
    "reliability",
    "results",
    "save",
    "selection",
    "similarity",
    "summary",
    "tensor_maps",
    "tensor_roles",
]
