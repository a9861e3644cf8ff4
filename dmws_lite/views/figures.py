# ruff: noqa: F401 - names for others
"""Every figure of the course and of reports: functions that take data and return a Picture, with alt text.

For figures of one's own: `picture` makes an empty one, PALETTE and the like keep its colours and marks those of the
others, and `save` writes it.
"""

from dmws_lite.views.architecture import (
    mapped_blocks,
    mapped_tensors,
    place_of,
    ratios,
    shares_by_kind,
    shares_by_stage,
    silhouettes,
)
from dmws_lite.views.images import at_full_size, class_balance, data_page, images, intensities
from dmws_lite.views.inside import (
    answer,
    calibration,
    cka_estimators,
    cka_over_training,
    cka_tables,
    corruptions,
    deployed,
    inspected,
    localisation,
    robustness,
    saliency,
)
from dmws_lite.views.plans import axis_masks, axis_strips, consistency, coverage_bars, layer_map, selection, tensor_maps
from dmws_lite.views.starts import attention, first_steps, gains, layer_errors, spectra, through_depth
from dmws_lite.views.studies import (
    auxiliary_over_time,
    comparison,
    cost_accuracy,
    factorial,
    fraction_curves,
    paired_differences,
    results,
)
from dmws_lite.views.style import FURTHER, HATCHES, LINES, MARKERS, PALETTE, Picture, picture, save
from dmws_lite.views.training import (
    confusion,
    disagreement,
    ema_memory,
    half_life,
    history,
    similarity,
    soft_targets,
    surfaces,
    toy_course,
)
