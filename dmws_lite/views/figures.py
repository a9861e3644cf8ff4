# ruff: noqa: F401, I001 - names for others
"""Every figure of the course and of reports: functions that take data and return a Picture, with alt text.

For figures of one's own: `curves` draws a table, `sheet` images, `picture` makes an empty one, PALETTE and the like
keep its colours and marks those of the others, `save` writes it, and `styled` shows a table.
"""

from dmws_lite.views.architecture import mapped_blocks, place_of, shares_by_kind
from dmws_lite.views.images import at_full_size, data_page, images
from dmws_lite.views.inside import calibration, cka_tables, corruptions, deployed, localisation, robustness, saliency
from dmws_lite.views.plans import axis_masks, axis_strips, consistency, coverage_bars, tensor_maps
from dmws_lite.views.studies import comparison, factorial, fraction_curves, method_looks, paired_differences, results
from dmws_lite.views.style import FURTHER, HATCHES, LINES, MARKERS, PALETTE
from dmws_lite.views.style import Picture, curves, picture, save, sheet, styled
from dmws_lite.views.training import confusion, ema_memory, history, layer_errors, soft_targets, surfaces
