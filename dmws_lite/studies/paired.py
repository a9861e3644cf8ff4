"""Statistics of one array of paired differences: interval, exact p, effect size, what could have been detected."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

LEVEL, POWER = 0.05, 0.8
EXACT = 15  # pairs up to which all 2 ** pairs flips of signs are made (half a second)


def paired_statistics(gaps: np.ndarray, good: int = 1) -> dict[str, float]:
    """What the columns of `statistics.differences` say of one method.

    gaps: float (n,), differences rounded so that equal ones are equal; n may be 0.
    good: the sign that is better, 1 or -1.
    Returns difference, low, high, smallest, largest, better, equal, worse, p, effect, detectable, seeds.
    """
    found, n = interval(gaps), len(gaps)
    mean, std = found["mean"], found["std"]
    return {
        "difference": mean,
        "low": found["low"],
        "high": found["high"],
        "smallest": float(gaps.min()) if n else np.nan,
        "largest": float(gaps.max()) if n else np.nan,
        "better": int((good * gaps > 0).sum()),
        "equal": int((gaps == 0).sum()),
        "worse": int((good * gaps < 0).sum()),
        "p": p_value(gaps),
        "effect": effect(gaps, mean, std),
        "detectable": std * detectable(n) if std > 0 else np.nan,
        "seeds": n,
    }


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and 95 % t interval of values (n,): mean, std, low, high; nan for want of values."""
    from scipy.stats import t

    n, nan = len(values), float("nan")
    mean = float(values.mean()) if n else nan
    if n < 2:
        return {"mean": mean, "std": nan, "low": nan, "high": nan}
    if np.ptp(values) == 0:  # without the rounding of a sum
        return {"mean": float(values[0]), "std": 0.0, "low": float(values[0]), "high": float(values[0])}
    std = float(values.std(ddof=1))
    half = float(t.ppf(1 - LEVEL / 2, n - 1)) * std / n**0.5
    return {"mean": mean, "std": std, "low": mean - half, "high": mean + half}


def p_value(gaps: np.ndarray) -> float:
    """Two-sided p that gaps (n,) are symmetric around 0: sign flips up to EXACT pairs, above that Wilcoxon's test."""
    from scipy.stats import wilcoxon

    if not len(gaps):
        return float("nan")
    if len(gaps) == 1 or not gaps.any():
        return 1.0
    return float(sign_flip_p(gaps) if len(gaps) <= EXACT else wilcoxon(gaps).pvalue)


def sign_flip_p(gaps: np.ndarray) -> np.ndarray:
    """Exact two-sided p of the mean over the last axis of gaps (..., n), from all 2 ** n flips of signs.

    >>> float(sign_flip_p(np.array([0.1, 0.2, 0.3])))
    0.25
    """
    from scipy.stats import permutation_test

    options: dict[str, Any] = {"permutation_type": "samples", "n_resamples": np.inf, "vectorized": True, "axis": -1}
    return permutation_test((gaps,), np.mean, batch=16 if gaps.ndim > 1 else None, **options).pvalue


def effect(gaps: np.ndarray, mean: float, std: float) -> float:
    """Cohen's d_z with Hedges' correction; 0 where all gaps are 0, nan below 3 of them and where std is 0."""
    from scipy.special import gammaln

    freedom = len(gaps) - 1
    if freedom >= 0 and not gaps.any():
        return 0.0
    if freedom < 2 or std == 0:
        return float("nan")
    return float(np.exp(gammaln(freedom / 2) - gammaln((freedom - 1) / 2)) / np.sqrt(freedom / 2) * mean / std)


@cache
def detectable(pairs: int) -> float:
    """The true mean, in standard deviations of the differences, that a t test of 2 or more pairs finds with POWER."""
    from statsmodels.stats.power import TTestPower

    found = TTestPower().solve_power(nobs=pairs, alpha=LEVEL, power=POWER)
    return abs(np.asarray(found).item())  # for some pairs the solver finds the root below 0, as an array of one
