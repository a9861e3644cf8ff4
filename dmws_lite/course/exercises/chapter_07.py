"""Checks of chapter 07, a study."""

from functools import cache

import numpy as np

from dmws_lite.course.answers import call_function, compare, reject, smallest
from dmws_lite.studies.statistics import FACTORIAL, LEVEL, detectable, factorial, smallest_p

GAP = 0.01


def exercise_1(for_point, for_holm, *, spread, comparisons):
    """Seeds that find a difference of one point, and seeds with which Holm's correction lets any p be small enough."""
    smallest(for_holm, smallest_p, LEVEL / comparisons, 2, "for_holm", "few_for_holm")
    seeds = smallest(for_point, lambda n: spread * detectable(n), GAP, 2, "for_point", "few_for_point")
    return {"half": 4 * seeds}


def exercise_2(holm):
    """Holm's correction of p values, as a function of a list of them."""
    for values in ([0.02, 0.04, 0.01], [0.02, 0.04, 0.01, 0.2], [0.03, 0.011, 0.02, 0.5, 0.012], [0.6, 0.7]):
        p, n, order = np.array(values), len(values), np.argsort(values)
        rank = np.argsort(order)
        multiplied = (n - rank) * p
        right = np.clip(np.maximum.accumulate(multiplied[order])[rank], 0, 1)
        mistakes = {
            "bonferroni": np.clip(n * p, 0, 1),
            "not_rising": np.clip(multiplied, 0, 1),
            "factors": np.clip((rank + 1) * p, 0, 1),
            "order": np.sort(right),
            "by_place": np.clip(np.arange(n, 0, -1) * p, 0, 1),
        }
        compare(call_function(holm, list(values)), right, f"of {values}", 0, 1e-6, **mistakes)


@cache
def values_3():
    """How often one of six methods, all as good as the reference, beats it with each of three seeds: a simulation."""
    runs = np.random.default_rng(0).normal(size=(200_000, 3, 7))
    better = np.all(runs[..., :6] > runs[..., 6:], axis=1)
    return {"lucky": float(np.any(better, axis=1).mean())}


def values_4(*, table):
    """What SKD from the same start adds to random and to selected weights; more in the factorial's interaction."""
    missing = {name for row in FACTORIAL.values() for name in row} - set(table["method"])
    reject(missing, "incomplete", methods=", ".join(sorted(missing)))
    means = table.groupby("method")["accuracy"].mean()
    random, selected = (means[row[1]] - means[row[0]] for row in FACTORIAL.values())
    interaction = factorial(table).set_index("contrast").loc["SKD x selection", ["difference", "low", "high"]]
    other = means["dual_skd"] - means["weight_selection"] - random
    return {"random": random, "selected": selected, "other": other, **interaction}
