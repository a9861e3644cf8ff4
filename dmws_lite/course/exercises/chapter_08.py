"""Checks of chapter 08, looking inside trained students."""

import numpy as np
from scipy.stats import binom

from dmws_lite.analysis.representations import cka
from dmws_lite.course.answers import array, call_function, compare, reject
from dmws_lite.studies.statistics import LEVEL


def exercise_1(own):
    """Biased linear CKA of two arrays (image, feature), as a function."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 5)) + 3
    y = np.concatenate([x[:, :2] + rng.standard_normal((12, 2)), rng.standard_normal((12, 2)) - 2], axis=1)
    copies = x.copy(), y.copy()
    answer, right = call_function(own, *copies), cka(x, y, debiased=False)
    reject(not (np.array_equal(copies[0], x) and np.array_equal(copies[1], y)), "in_place")
    rows = _uncentred_cka(x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True))
    mistakes = {"uncentred": _uncentred_cka(x, y), "root": right**0.5, "debiased": cka(x, y), "rows": rows}
    compare(answer, right, "CKA", 1e-4, **mistakes)
    compare(call_function(own, 2 * x, y), right, "CKA of twice the first array", 1e-4)


def exercise_2(cam):
    """Grad-CAM of one image from channels and slopes, both (channel, row, column); the scale does not matter."""
    rng = np.random.default_rng(0)
    channels, slopes = rng.standard_normal((2, 6, 4, 5))
    weights = slopes.mean((1, 2), keepdims=True)
    heatmap = array(call_function(cam, channels.copy(), slopes.copy()), (4, 5), case="your map")
    reject((heatmap < 0).any(), "negative")
    mistakes = {"weight_each_place": _normalise(channels * slopes), "unweighted": _normalise(channels)}
    compare(_normalise(heatmap[None]), _normalise(channels * weights), "", 1e-5, 1e-5, otherwise="other", **mistakes)


def values_3(*, images, chance):
    """The smallest number of hits that a map without a preference reaches with a probability below 5 %, and 2.5 %."""
    probabilities = binom.sf(np.arange(-1, images + 1), images, chance)  # of at least 0, 1, ... hits
    one_side, two_sides = (int(np.argmax(probabilities < level)) for level in (LEVEL, LEVEL / 2))
    return {"hits": one_side, "two_sides": two_sides, "mean": images * chance, "images": images}


def values_5(*, table, model):
    """Intervals without 0: of a network's difference, of all networks', of its accuracy; and numbers of rows."""
    rows = table[(table["model"] == model) & (table["severity"] > 0)]
    reject(rows.empty, "no_rows")

    def count_without_zero(intervals, prefix=""):
        return int(((intervals[f"{prefix}low"] > 0) | (intervals[f"{prefix}high"] < 0)).sum())

    own, every = (count_without_zero(intervals, "difference_") for intervals in (rows, table))
    counts = {"own": own, "every": every, "accuracy": count_without_zero(rows)}
    return counts | {"rows": len(rows), "all_rows": len(table)}


def _uncentred_cka(x, y):
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / norms)


def _normalise(terms):
    """The positive part of the terms' sum, of length 1."""
    positive = terms.sum(0).clip(0)
    return positive / (np.linalg.norm(positive) or 1)
