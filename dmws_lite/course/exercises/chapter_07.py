"""Checks of chapter 07, a study."""

from functools import cache

import numpy as np

from dmws_lite.course.answers import called, compare, reject, smallest
from dmws_lite.studies.statistics import FACTORIAL, LEVEL, detectable, factorial, smallest_p

GAP = 0.01


def exercise_1(for_point, for_holm, *, spread, comparisons):
    """Seeds that find a difference of one point, and seeds with which Holm's correction lets any p be small enough."""
    smallest(for_holm, smallest_p, LEVEL / comparisons, 2, "for_holm", "few_for_holm")
    seeds = smallest(for_point, lambda n: spread * detectable(n), GAP, 2, "for_point", "few_for_point")
    return {"half": 4 * seeds}


def exercise_2(holm):
    """Holm's correction of p values, as a function of a list of them."""
    for given in ([0.02, 0.04, 0.01], [0.02, 0.04, 0.01, 0.2], [0.03, 0.011, 0.02, 0.5, 0.012], [0.6, 0.7]):
        p, n, order = np.array(given), len(given), np.argsort(given)
        place = np.argsort(order)
        falling = (n - place) * p
        right = np.clip(np.maximum.accumulate(falling[order])[place], 0, 1)
        mistakes = {
            "bonferroni": np.clip(n * p, 0, 1),
            "not_rising": np.clip(falling, 0, 1),
            "factors": np.clip((place + 1) * p, 0, 1),
            "order": np.sort(right),
            "by_place": np.clip(np.arange(n, 0, -1) * p, 0, 1),
        }
        compare(called(holm, list(given)), right, f"of {given}", 0, 1e-9, **mistakes)


@cache
def values_3():
    """How often one of six methods, all as good as the reference, beats it with each of three seeds: a simulation."""
    runs = np.random.default_rng(0).normal(size=(200_000, 3, 7))
    better = np.all(runs[..., :6] > runs[..., 6:], axis=1)
    return {"lucky": float(np.any(better, axis=1).mean())}


def values_4(*, table):
    """What SKD from the same start adds to random and to selected weights; more in the factorial's interaction."""
    lacking = {name for row in FACTORIAL.values() for name in row} - set(table["method"])
    reject(lacking, "incomplete", methods=", ".join(sorted(lacking)))
    means = table.groupby("method")["accuracy"].mean()
    random, selected = (means[row[1]] - means[row[0]] for row in FACTORIAL.values())
    interaction = factorial(table).set_index("contrast").loc["SKD x selection", ["difference", "low", "high"]]
    other = means["dual_skd"] - means["weight_selection"] - random
    return {"random": random, "selected": selected, "other": other, **interaction}
