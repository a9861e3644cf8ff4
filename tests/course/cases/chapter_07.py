from functools import cache

import numpy as np
import pandas as pd
import torch
from scipy.stats import nct
from scipy.stats import t as student
from statsmodels.stats.multitest import multipletests

CELLS = {  # accuracy of two seeds
    "default": (0.40, 0.50),
    "default_skd_same": (0.41, 0.53),
    "default_skd_other": (0.42, 0.50),
    "weight_selection": (0.50, 0.60),
    "single_skd": (0.56, 0.66),
    "dual_skd": (0.58, 0.67),
}
TABLE = pd.DataFrame(
    [(method, method, seed, value) for method, values in CELLS.items() for seed, value in enumerate(values)],
    columns=["method", "label", "seed", "accuracy"],
)
OTHER = TABLE.assign(accuracy=TABLE["accuracy"].where(TABLE["method"] != "single_skd", 0.9))
GIVEN = {
    "07.1": {"spread": 0.022, "comparisons": 6},
    "07.1 one comparison": {"spread": 0.01, "comparisons": 1},
    "07.4": {"table": TABLE},
    "07.4 another study": {"table": OTHER},
    "07.4 without a cell": {"table": TABLE[TABLE["method"] != "single_skd"]},
}


def seeds_needed(gap, spread):
    """For a power of 80 % of a two-sided paired t test at 0.05, from the noncentral t distribution."""

    def power(pairs):
        limit, shift = student.ppf(0.975, pairs - 1), gap / spread * pairs**0.5
        return nct.sf(limit, pairs - 1, shift) + nct.cdf(-limit, pairs - 1, shift)

    return next(n for n in range(2, 1000) if power(n) >= 0.8)


@cache
def corrected(method, *p):
    return multipletests(p, method=method)[1]


def holm(p):
    return corrected("holm", *p)


def stepped(p, monotone=True, back=True, factors=None):
    """Holm's correction step by step, some of which can be left out."""
    p = np.array(p)
    order = p.argsort()
    corrected = p[order] * (np.arange(len(p), 0, -1) if factors is None else factors(len(p)))
    corrected = np.maximum.accumulate(corrected) if monotone else corrected
    corrected = corrected.clip(max=1)
    return corrected[order.argsort()] if back else corrected


def simulated_wins():
    reference = np.random.default_rng(1).normal(size=(50_000, 3, 1))
    return (np.random.default_rng(2).normal(size=(50_000, 3, 6)) > reference).all(1).any(1).mean()


RIGHT = {
    "07.1": [(seeds_needed(0.01, 0.022), 8)],
    "07.1 one comparison": [(seeds_needed(0.01, 0.01), 6)],
    "07.2": [holm, stepped, lambda p: torch.tensor(holm(p))],
    "07.3": [simulated_wins()],
    "07.4": [np.mean([(0.56 - 0.50) - (0.41 - 0.40), (0.66 - 0.60) - (0.53 - 0.50)]), 0.0404],
    "07.4 another study": [0.35 - 0.02],
}
MESSAGE = {"07.4": "+0.040, in an interval"}
WRONG = {
    "07.1": [
        (41, 6, "for_holm: with 6 seeds the smallest p after correction is still too large"),
        (5, 8, "for_point: with 5 seeds the difference that could be detected is still too large"),
    ],
    "07.2": [
        (lambda p: [min(1, len(p) * value) for value in p], "Bonferroni's correction"),
        (lambda p: stepped(p, monotone=False), "never below the one before it"),
        (lambda p: stepped(p, back=False), "in the order in which they came"),
        (lambda p: stepped(p, monotone=False, factors=lambda n: np.arange(1, n + 1)), "gets the largest factor"),
        (lambda p: np.array(p) * np.arange(len(p), 0, -1), "not by its place in the list"),
        (lambda p: corrected("fdr_bh", *p), "are wrong"),
    ],
    "07.4": [(-0.04, "wrong sign")],
    "07.4 without a cell": [(0.1, "this study lacks single_skd")],
}
SECRETS = {"07.1": ("8 seeds", "41 seeds"), "07.2": ("0.055", "maximum"), "07.3": ("0.41", "41 %", "41%")}
SECRETS |= {"07.4": ("0.040",)}
