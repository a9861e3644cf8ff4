"""What a table of runs shows, and what so few seeds cannot show: intervals, paired differences, effects.

Every table has one row per run: method, label, seed, the metrics and, where there are several, the columns of GROUP and
those of SAME. Methods are compared within a group, their runs paired by seed. A run whose metric is nan is left out.
Intervals are 95 % t intervals over seeds unless said otherwise.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, permutation_test, t

from dmws_lite.runtime.text import require

LEVEL, POWER = 0.05, 0.8
EXACT = 15  # pairs up to which all 2 ** pairs flips of signs are made (half a second), above it as many random ones
SMALLEST = 0.01  # the smallest difference of interest, one point: an interval within it says "equivalent"
GROUP = ("data", "pair", "fraction")
SAME = {  # columns that must hold one value: what differs otherwise, and how methods are compared
    "data_id": ("images under one name", "on the same images"),
    "budget": ("budgets", "at one budget"),
    "settings": ("training settings", "with the same settings"),
    "weights": ("weights", "from the same weights"),
}
COSTS = ("seconds", "flops_per_step", "parameters", "latency_ms", "peak_memory_mb")
SMALLER_IS_BETTER = ("ece", "ece_scaled", "nll", "nll_scaled", *COSTS)
FACTORIAL = {  # one row per initialisation, one column per auxiliary: none, from the same weights, from other weights
    "random": ("default", "default_skd_same", "default_skd_other"),
    "selected": ("weight_selection", "single_skd", "dual_skd"),
}
CONTRASTS = {  # weights of the cells of FACTORIAL
    "weight selection": ((-1 / 3, -1 / 3, -1 / 3), (1 / 3, 1 / 3, 1 / 3)),
    "SKD from the same start": ((-1 / 2, 1 / 2, 0), (-1 / 2, 1 / 2, 0)),
    "complementary instead of same": ((0, -1 / 2, 1 / 2), (0, -1 / 2, 1 / 2)),
    "SKD x selection": ((1, -1, 0), (-1, 1, 0)),  # how much more SKD from the same start adds to selected weights
    "second subset x selection": ((0, 1, -1), (0, -1, 1)),  # more that a second subset adds than other random weights
}


def check_comparable(table: pd.DataFrame) -> None:
    """Raise ValueError when runs of one group differ in a column of SAME, or when a method has a seed twice in it.

    The images (`data_id`) must be the same in all groups of a data set. The weights of the method "native" are its own.
    """
    keys = _group_columns(table)
    for column in [column for column in SAME if column in table]:
        runs = table[table["method"].ne("native") & table["weights"].notna()] if column == "weights" else table
        columns = [key for key in keys if key == "data"] if column == "data_id" else keys
        for group, rows in _split_groups(runs, columns):
            methods = rows.groupby(column, sort=False, dropna=False)["method"].unique()
            if len(methods) > 1:
                values = "; ".join(f"{value} ({', '.join(names)})" for value, names in methods.items())
                difference, rule = SAME[column]
                text = f"different {difference}{_on_group(group, columns)}: {values}. Methods are compared {rule} only"
                raise ValueError(f"{text}: pass the runs of one study (--study), or run the others again")
    duplicates = table[table.duplicated([*keys, "method", "seed"])].to_dict("records")
    if duplicates:
        row = duplicates[0]
        raise ValueError(
            f"method {row['method']!r} has seed {row['seed']} more than once{_on_group(row, keys)}: keep one of the "
            "runs, pass those of one study (--study), or give those of different settings a method name of their own"
        )


def summary(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Mean of a metric over seeds, one row per method in each group.

    Returns the columns of GROUP that the table has, method, label, mean, std (over n - 1), low, high, seeds; with one
    seed std, low and high are nan. Raises ValueError for a metric that the table lacks, and as `check_comparable` does.
    """
    keys, means = [*_group_columns(table), "method", "label"], []
    for group, rows in _split_groups(_sort_runs(table, metric), keys):
        values = rows[metric].dropna().to_numpy(float)
        means.append(group | interval(values) | {"seeds": len(values)})
    return pd.DataFrame(means, columns=[*keys, "mean", "std", "low", "high", "seeds"])


def differences(table: pd.DataFrame, reference: str = "default", metric: str = "accuracy") -> pd.DataFrame:
    """Paired differences of every method to a reference, seed by seed, one row per method in each group.

    reference: a name in the column method.
    Returns the columns of GROUP that the table has, method, label and
      difference, low, high, smallest, largest: mean over the seeds that both have, its interval, and the ends;
      better, equal, worse:  numbers of seeds; smaller is better for the metrics SMALLER_IS_BETTER;
      p, p_holm:  two-sided sign-flip permutation test of the mean, exact up to 15 pairs, and with Holm's correction
                  over all rows of this table;
      verdict:    "shown" (p_holm below 0.05 and an interval without 0), else "equivalent" (from 6 seeds on: the
                  interval lies within ± one point), else "not shown"; `shown` is whether it is the first;
      detectable: the true difference that a t test at 0.05 finds with power 0.8, if the differences vary as these do;
                  the permutation test cannot find any with fewer than 6 seeds;
      seeds:      how many both have.
    Raises ValueError for a reference or metric that the table lacks, and as `check_comparable` does.
    Source: scipy (t and permutation test), statsmodels (power); one point is our choice.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": list("aabb"), "label": list("AABB"), "seed": [0, 1, 0, 1]})
    >>> gaps = differences(runs.assign(accuracy=[0.5, 0.6, 0.7, 0.6]), "a")
    >>> gaps[["label", "difference", "better", "equal", "p", "seeds"]].round(3).to_dict("records")
    [{'label': 'B', 'difference': 0.1, 'better': 1, 'equal': 1, 'p': 1.0, 'seeds': 2}]
    """
    keys = _group_columns(table)
    return _compare(table, reference, metric, keys, keys)


def pooled(table: pd.DataFrame, reference: str = "default", metric: str = "accuracy") -> pd.DataFrame:
    """Paired differences to a reference over all groups together, one row per method.

    The units are a data set and seed: differences are first averaged over the fractions and network pairs of each,
    which share classifier and test images. Returns the columns of `differences` without those of GROUP, and pairs, the
    number of units, for seeds.
    """
    units = [key for key in _group_columns(table) if key == "data"]
    return _compare(table, reference, metric, [], units).drop(columns="detectable").rename(columns={"seeds": "pairs"})


def factorial(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """What the parts of the method add, from the six cells initialisation x auxiliary (see FACTORIAL).

    Returns the columns of GROUP that the table has, contrast (see CONTRASTS), and the columns of `differences` after
    label; seeds are those that all six methods have.
    Raises ValueError naming the methods that a group lacks, and as `check_comparable` does.
    """
    keys, cells, contrasts = _group_columns(table), [name for row in FACTORIAL.values() for name in row], []
    for group, rows in _split_groups(_sort_runs(table, metric), keys):
        missing = [name for name in cells if name not in set(rows["method"])]
        if missing:
            text = f"the factorial needs {', '.join(cells)}; missing{_on_group(group, keys)}: {', '.join(missing)}"
            raise ValueError(f"{text}. Run them too")
        values = rows.pivot(index="seed", columns="method", values=metric)[cells].dropna().to_numpy(float)
        for contrast, weights in CONTRASTS.items():
            gaps = (values @ np.ravel(weights)).round(12)
            contrasts.append(group | {"contrast": contrast} | paired_statistics(gaps))
    return corrected(contrasts, [*keys, "contrast"])


def paired_statistics(gaps: np.ndarray, good: int = 1) -> dict[str, Any]:
    """The columns of `differences` for one method, but for p_holm, shown and verdict; good: the sign that is better."""
    n, mean = len(gaps), interval(gaps)
    p = float("nan") if n == 0 else 1.0
    if n > 1 and gaps.any():
        p = float(sign_flip_p(gaps))
    return {
        "difference": mean["mean"],
        "low": mean["low"],
        "high": mean["high"],
        "smallest": float(gaps.min()) if n else np.nan,
        "largest": float(gaps.max()) if n else np.nan,
        "better": int((good * gaps > 0).sum()),
        "equal": int((gaps == 0).sum()),
        "worse": int((good * gaps < 0).sum()),
        "p": p,
        "detectable": mean["std"] * detectable(n) if mean["std"] > 0 else np.nan,
        "seeds": n,
    }


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean, standard deviation and 95 % t interval of values (n,): mean, std, low, high; nan where too few."""
    n, mean, std = len(values), float("nan"), float("nan")
    equal = n > 0 and np.ptp(values) == 0  # then mean and std are without rounding
    if n > 0:
        mean = float(values[0] if equal else values.mean())
    if n > 1:
        std = 0.0 if equal else float(values.std(ddof=1))
    half_width = float(t.ppf(1 - LEVEL / 2, max(n - 1, 1))) * std / max(n, 1) ** 0.5
    return {"mean": mean, "std": std, "low": mean - half_width, "high": mean + half_width}


def sign_flip_p(gaps: np.ndarray) -> np.ndarray:
    """Two-sided p of the mean over the last axis of gaps (..., n) by flips of signs: exact up to EXACT of them.

    Flips whose means are equal but for rounding count as equal: differences of accuracies are of few values.

    >>> float(sign_flip_p(np.array([0.1, 0.2, 0.3])))
    0.25
    """
    options: dict[str, Any] = {"permutation_type": "samples", "n_resamples": 2**EXACT, "vectorized": True, "axis": -1}
    options |= {"batch": 16 if gaps.ndim > 1 else None, "random_state": 0}
    scale = np.abs(gaps).max(-1, keepdims=True)
    return permutation_test((gaps / np.where(scale > 0, scale, 1),), _rounded_mean, **options).pvalue


def _rounded_mean(values: np.ndarray, axis: int) -> np.ndarray:
    return values.mean(axis).round(10)


def smallest_p(seeds: int) -> float:
    """The smallest p that a two-sided sign-flip test of this many pairs can give: 2 ** (1 - seeds)."""
    return 2.0 ** (1 - seeds)


@cache
def detectable(pairs: int) -> float:
    """The true mean, in standard deviations of the differences, that a t test of 2 or more pairs finds with POWER."""
    from statsmodels.stats.power import TTestPower

    root = TTestPower().solve_power(nobs=pairs, alpha=LEVEL, power=POWER)
    return abs(np.asarray(root).item())  # for some pairs the solver finds the root below 0, as an array of one


def image_interval(
    probabilities_a: np.ndarray, probabilities_b: np.ndarray, labels: np.ndarray, resamples: int = 2000
) -> tuple[float, float, float]:
    """Accuracy of a minus that of b on the same test images: difference, low, high (95 %; nan for one image).

    probabilities_a, _b: (N, classes), or (seeds, N, classes): then accuracies are means over the seeds. labels: (N,).
    The interval is a paired bootstrap over images: it holds for these trained networks and other images of this kind,
    while the intervals over seeds hold for these images and other networks.
    """
    a, b, labels = np.asarray(probabilities_a), np.asarray(probabilities_b), np.asarray(labels)
    accuracy_a, accuracy_b = ((p.argmax(-1) == labels).reshape(-1, len(labels)).mean(0) for p in (a, b))
    gaps = accuracy_a - accuracy_b  # of each image, (N,)
    options: dict[str, Any] = {"n_resamples": resamples, "batch": 100, "method": "percentile", "random_state": 0}
    low, high = bootstrap((gaps,), np.mean, **options).confidence_interval if len(gaps) > 1 else (np.nan, np.nan)
    return float(gaps.mean()), float(low), float(high)


def titles(table: pd.DataFrame) -> list[str]:
    """A short name of each row's group, such as "brain_mri, 10 %": with the pair where the table has several."""
    keys = _group_columns(table)
    if "data" in keys and "pair" in keys and table["pair"].nunique() <= 1:
        keys.remove("pair")
    return [_title(row, keys) for row in table.to_dict("records")]


def corrected(rows: list[dict[str, Any]], keys: list[str]) -> pd.DataFrame:
    """Rows of keys and `paired_statistics` as a table with p_holm (over all rows), shown and verdict.

    Holm's correction is ours: statsmodels' collects garbage each time.
    """
    table = pd.DataFrame(rows, columns=[*keys, *paired_statistics(np.empty(0))])
    p = table["p"].dropna().sort_values(kind="stable")
    holm = (p * np.arange(len(p), 0, -1)).cummax().clip(upper=1).reindex(table.index)
    shown = (holm < LEVEL) & ((table["low"] > 0) | (table["high"] < 0))
    small = (table["low"] > -SMALLEST) & (table["high"] < SMALLEST)
    enough_seeds = table["seeds"].map(smallest_p) < LEVEL
    verdict = np.select([shown, small & enough_seeds], ["shown", "equivalent"], "not shown")
    for name, values in (("verdict", verdict), ("shown", shown), ("p_holm", holm)):
        table.insert(table.columns.get_loc("p") + 1, name, values)
    return table


def _compare(table: pd.DataFrame, reference: str, metric: str, keys: list[str], units: list[str]) -> pd.DataFrame:
    """One row for each method but the reference and combination of keys; differences are means over a unit and seed."""
    runs, pairing = _sort_runs(table, metric), [*_group_columns(table), "seed"]
    methods = runs["method"].unique()
    require("reference", reference, methods)
    base = runs.loc[runs["method"] == reference, [*pairing, metric]]
    others = runs[runs["method"] != reference].merge(base, how="left", on=pairing, suffixes=("", "_of_reference"))
    others["gap"] = (others[metric] - others[f"{metric}_of_reference"]).astype(float)
    gaps = others.groupby([*units, "seed", "method", "label"], sort=False, dropna=False)["gap"].mean().round(12)
    keys, good = [*keys, "method", "label"], -1 if metric in SMALLER_IS_BETTER else 1
    groups = _split_groups(gaps.reset_index(), keys) if len(others) else []
    return corrected([group | paired_statistics(rows["gap"].dropna().to_numpy(), good) for group, rows in groups], keys)


def _sort_runs(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The checked table with groups, and in them methods, each in order of their first row."""
    require("metric", metric, table)
    check_comparable(table)
    keys = _group_columns(table)
    group = table.groupby(keys, sort=False, dropna=False).ngroup() if keys else np.zeros(len(table))
    return table.iloc[np.lexsort((pd.factorize(table["method"])[0], group))]


def _group_columns(table: pd.DataFrame) -> list[str]:
    return [key for key in GROUP if key in table]


def _split_groups(table: pd.DataFrame, keys: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Each combination of keys, with its rows; without keys all rows."""
    if not keys:
        return [({}, table)]
    groups = table.groupby(keys, sort=False, dropna=False)
    return [(dict(zip(keys, values, strict=True)), rows) for values, rows in groups]


def _title(group: Any, keys: list[str]) -> str:
    return ", ".join(f"{100 * group[key]:g} %" if key == "fraction" else str(group[key]) for key in keys)


def _on_group(group: Any, keys: list[str]) -> str:
    return f" on {_title(group, keys)}" if keys else ""
