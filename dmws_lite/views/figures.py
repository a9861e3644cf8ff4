"""Every figure of the course: functions that take data and return a Picture (a matplotlib figure with alt text)."""

from dmws_lite.views.architecture_figures import ratios, shares_by_kind, shares_by_stage, silhouettes
from dmws_lite.views.deploy_figures import answer, at_full_size, deployed
from dmws_lite.views.explorer_figures import ema_memory, inspected, soft_targets
from dmws_lite.views.inside_figures import (
    calibration,
    cka_estimators,
    cka_over_training,
    cka_tables,
    corruptions,
    localisation,
    robustness,
    saliency,
)
from dmws_lite.views.mapping_figures import mapped_blocks, mapped_tensors, place_of
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
    reliability,
    results,
)
from dmws_lite.views.toy_figures import surfaces, toy_course, toy_seeds

__all__ = [
    "HATCHES",
    "LINES",
    "MARKERS",
    "PALETTE",
    "Picture",
    "answer",
    "at_full_size",
    "auxiliary_over_time",
    "axis_masks",
    "axis_strips",
    "calibration",
    "cka_estimators",
    "cka_over_training",
    "cka_tables",
    "comparison",
    "confusion",
    "consistency",
    "consistency_table",
    "corruptions",
    "cost_accuracy",
    "coverage_bars",
    "coverage_table",
    "deployed",
    "disagreement",
    "ema_memory",
    "factorial",
    "fraction_curves",
    "half_life",
    "history",
    "images",
    "inspected",
    "layer_map",
    "localisation",
    "mapped_blocks",
    "mapped_tensors",
    "paired_differences",
    "place_of",
    "ratios",
    "reliability",
    "results",
    "robustness",
    "saliency",
    "save",
    "selection",
    "shares_by_kind",
    "shares_by_stage",
    "silhouettes",
    "similarity",
    "soft_targets",
    "summary",
    "surfaces",
    "tensor_maps",
    "tensor_roles",
    "toy_course",
    "toy_seeds",
]
