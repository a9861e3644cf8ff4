"""What a table of runs shows, and what so few seeds cannot show: intervals, paired differences, effects, ranks.

Every table has a row a run: method, label, seed, the metrics and, where there are several, the columns of GROUP and
those of SAME. Methods are compared within a group, their runs paired by seed. A run whose metric is nan is left out.
Intervals are 95 % t intervals over seeds unless said otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dmws_lite.studies.paired import LEVEL, interval, paired_statistics, sign_flip_p

if TYPE_CHECKING:
    import pandas as pd

GROUP = ("data", "pair", "fraction")
SAME = {  # columns that must hold one value: what differs otherwise, and how methods are compared
    "data_id": ("images under one name", "on the same images"),
    "budget": ("budgets", "at one budget"),
    "settings": ("training settings", "with the same settings"),
    "weights": ("weights", "from the same weights"),
}
SMALLER_IS_BETTER = {
    "ece", "seconds", "flops_per_step", "step_memory_mb", "parameters", "latency_ms", "peak_memory_mb"
}  # fmt: skip
FACTORIAL = {  # a row an initialisation, a column an auxiliary: none, from the same weights, from other weights
    "random": ("default", "default_skd_same", "default_skd_other"),
    "selected": ("weight_selection", "single_skd", "dual_skd"),
}
CONTRASTS = {  # weights of the cells of FACTORIAL
    "weight selection": ((-1 / 3, -1 / 3, -1 / 3), (1 / 3, 1 / 3, 1 / 3)),
    "SKD from the same start": ((-1 / 2, 1 / 2, 0), (-1 / 2, 1 / 2, 0)),
    "complementary instead of same": ((0, -1 / 2, 1 / 2), (0, -1 / 2, 1 / 2)),
    "SKD x selection": ((1, -1, 0), (-1, 1, 0)),
    "second subset x selection": ((0, 1, -1), (0, -1, 1)),
}


def check_comparable(table: pd.DataFrame) -> None:
    """Refuse a table whose rows may not be compared.

    Raises ValueError when the runs of one group differ in a column of SAME that the table has, and when a method has a
    seed twice in a group. The images (`data_id`) must be the same in all groups of a data set. The weights of the
    method "native" are its own, and those that are nan are not looked at.
    """
    keys = _keys(table)
    for column, (what, how) in SAME.items():
        if column not in table:
            continue
        runs = table[table["method"].ne("native") & table["weights"].notna()] if column == "weights" else table
        by = [key for key in keys if key == "data"] if column == "data_id" else keys
        for group, part in _groups(runs, by):
            if part[column].nunique(dropna=False) > 1:
                methods = part.groupby(column, sort=False, dropna=False)["method"].unique()
                found = "; ".join(f"{value} ({', '.join(names)})" for value, names in methods.items())
                raise ValueError(
                    f"different {what}{_on(group, by)}: {found}. Methods are compared {how} only: pass the runs of one "
                    "study (--study), or run the others again"
                )
    twice = table[table.duplicated([*keys, "method", "seed"])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"method {row['method']!r} has seed {row['seed']} more than once{_on(row, keys)}: keep one of the runs, "
            "pass those of one study (--study), or give those of different settings a method name of their own"
        )


def summary(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Mean of a metric over seeds, a row a method in each group.

    Returns the columns of GROUP that the table has, method, label, mean, std (over n - 1), low, high, seeds. With one
    seed std, low and high are nan.
    Raises ValueError for a metric that the table lacks, and for rows that cannot be compared (see `check_comparable`).

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": "a", "label": "A", "seed": [0, 1], "accuracy": [0.5, 0.7]})
    >>> summary(runs).round(2).to_dict("records")
    [{'method': 'a', 'label': 'A', 'mean': 0.6, 'std': 0.14, 'low': -0.67, 'high': 1.87, 'seeds': 2}]
    """
    import pandas as pd

    runs, keys = _ordered(table, metric), [*_keys(table), "method", "label"]
    parts = [(group, part[metric].dropna().to_numpy(float)) for group, part in _groups(runs, keys)]
    rows = [group | interval(values) | {"seeds": len(values)} for group, values in parts]
    return pd.DataFrame(rows, columns=[*keys, "mean", "std", "low", "high", "seeds"])


def differences(table: pd.DataFrame, reference: str = "default", metric: str = "accuracy") -> pd.DataFrame:
    """Paired differences of every method to a reference, seed by seed, a row a method in each group.

    reference: a name in the column method.
    Returns the columns of GROUP that the table has, method, label and
      difference, low, high: mean over the seeds that both have, and its interval;
      smallest, largest:     of the seeds' differences;
      better, equal, worse:  numbers of seeds; a smaller value is the better one for the metrics SMALLER_IS_BETTER;
      p:          two-sided exact sign-flip permutation test of the mean; Wilcoxon's test above 15 pairs;
      p_holm:     Holm's correction over all rows of this table;
      effect:     Cohen's d_z (mean over standard deviation of the differences) with Hedges' correction; 0 where all
                  differences are 0, else nan below 3 seeds and where all differences are the same;
      detectable: the true difference that a t test at 0.05 finds with power 0.8, if the differences vary as these do;
                  nan where they do not vary. The permutation test cannot find any with fewer than 6 seeds;
      seeds:      how many both have.
    Raises ValueError for a reference or metric that the table lacks, and as `check_comparable` does.
    Source: scipy (t, permutation and Wilcoxon's test), statsmodels (power); Holm 1979; Hedges 1981 for the correction.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": list("aabb"), "label": list("AABB"), "seed": [0, 1, 0, 1]})
    >>> found = differences(runs.assign(accuracy=[0.5, 0.6, 0.7, 0.6]), "a")
    >>> found[["label", "difference", "better", "equal", "p", "seeds"]].round(3).to_dict("records")
    [{'label': 'B', 'difference': 0.1, 'better': 1, 'equal': 1, 'p': 1.0, 'seeds': 2}]
    """
    columns = ["difference", "low", "high", "smallest", "largest", "better", "equal", "worse", "p", "p_holm", "effect"]
    keys = _keys(table)
    return _compared(table, reference, metric, keys, keys, [*columns, "detectable", "seeds"])


def pooled(table: pd.DataFrame, reference: str = "default", metric: str = "accuracy") -> pd.DataFrame:
    """Paired differences to a reference over all groups together, a row a method.

    The units are a data set and seed: differences are first averaged over the fractions and network pairs of each,
    since the fractions of one seed are nested and share their classifier and test images, and so are no independent
    trials. Returns method, label, difference, low, high, better, equal, worse, p, p_holm, as in `differences` but of
    these units, and pairs: their number.
    It shows whether a method differs from the reference on these data sets, on average over these network pairs and
    fractions, with other seeds. It does not show what happens on another data set: seeds of one data set share its test
    images, so the units say nothing of how data sets vary. A data set with more seeds weighs more, and one mean hides
    data sets or fractions that disagree.
    Raises ValueError as `differences` does. Source: our choice.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": list("aabb"), "label": list("AABB"), "fraction": [0.1, 1, 0.1, 1], "seed": 0})
    >>> pooled(runs.assign(accuracy=[0.5, 0.6, 0.5, 0.8]), "a")[["difference", "pairs"]].round(3).to_dict("records")
    [{'difference': 0.1, 'pairs': 1}]
    """
    columns = ["difference", "low", "high", "better", "equal", "worse", "p", "p_holm"]
    units = [key for key in _keys(table) if key == "data"]
    return _compared(table, reference, metric, [], units, [*columns, "seeds"]).rename(columns={"seeds": "pairs"})


def factorial(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """What the parts of the method add, from the six cells initialisation x auxiliary (see FACTORIAL).

    Returns the columns of GROUP that the table has, contrast, difference, low, high, p, p_holm (over all rows), seeds
    (those that all six methods have). The contrasts:
      weight selection:              selected minus random, mean over the three auxiliaries;
      SKD from the same start:       an auxiliary from the same weights minus none, mean over the initialisations;
      complementary instead of same: an auxiliary from other weights minus from the same, mean over the initialisations;
      SKD x selection:               how much more (or less) SKD from the same start adds when weights are selected;
      second subset x selection:     how much more the other weights add when they are a second subset, not random ones.
    Raises ValueError naming the methods that a group lacks, and as `check_comparable` does.
    Source: contrasts of a 2 x 3 factorial design within seeds; which ones is our choice.
    """
    import pandas as pd

    runs, keys, cells = _ordered(table, metric), _keys(table), [name for row in FACTORIAL.values() for name in row]
    rows = []
    for group, part in _groups(runs, keys):
        if missing := [name for name in cells if name not in set(part["method"])]:
            raise ValueError(
                f"the factorial needs {', '.join(cells)}; missing{_on(group, keys)}: {', '.join(missing)}. Run them too"
            )
        values = part.pivot(index="seed", columns="method", values=metric)[cells].dropna().to_numpy(float)
        for contrast, weights in CONTRASTS.items():
            rows.append(group | {"contrast": contrast} | paired_statistics((values @ np.ravel(weights)).round(12)))
    columns = [*keys, "contrast", "difference", "low", "high", "p", "p_holm", "seeds"]
    return _with_holm(pd.DataFrame(rows, columns=columns))


def ranks(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Ranks of the methods in each group by their mean over seeds (1 is best, ties share), a row a method, best first.

    Returns method, label, mean_rank and a column a group, named as by `titles`. Its attrs:
      groups:     their number;
      friedman_p: of Friedman's test that all methods rank alike; nan below 3 methods or 2 groups;
      critical_difference: of Nemenyi's test at 0.05, by which two mean ranks must differ;
      left_out:   methods that some group lacks; they are not ranked, since ranks among different rivals do not compare.
    Both tests take groups as independent, which fractions of one data set are not, and are rough below 5 groups or so.
    Raises ValueError when fewer than 2 methods are in all groups, and as `check_comparable` does.
    Source: Demsar 2006.
    """
    import pandas as pd
    from scipy.stats import friedmanchisquare, studentized_range

    means = summary(table, metric).assign(group=lambda found: [title or "rank" for title in titles(found)])
    wide = means.pivot(index=["method", "label"], columns="group", values="mean")
    order = pd.MultiIndex.from_frame(means[["method", "label"]].drop_duplicates())
    wide = wide.loc[order, means["group"].unique()]
    left_out = [method for method, _ in wide.index[wide.isna().any(axis=1)]]
    placed = wide.dropna().round(12).rank(ascending=metric in SMALLER_IS_BETTER)
    methods, groups = placed.shape
    if methods < 2:
        raise ValueError(f"ranks need 2 methods or more that all groups have: {', '.join(left_out)} miss some group")
    friedman = float("nan")
    if methods > 2 and groups > 1:
        tied = (placed.nunique() == 1).all()
        friedman = 1.0 if tied else float(friedmanchisquare(*placed.to_numpy()).pvalue)
    critical = studentized_range.ppf(1 - LEVEL, methods, np.inf) * np.sqrt(methods * (methods + 1) / 12 / groups)
    placed.insert(0, "mean_rank", placed.mean(axis=1))
    found = placed.rename_axis(columns=None).reset_index().sort_values("mean_rank", kind="stable", ignore_index=True)
    found.attrs = {"friedman_p": friedman, "critical_difference": float(critical), "groups": groups}
    found.attrs["left_out"] = left_out
    return found


def titles(table: pd.DataFrame) -> list[str]:
    """A short name of each row's group, such as "brain_mri, 10 %": with the pair where the table has several.

    >>> import pandas as pd
    >>> titles(pd.DataFrame({"data": ["ct", "mri"], "pair": "vit", "fraction": [0.1, 0.025]}))
    ['ct, 10 %', 'mri, 2.5 %']
    """
    keys = [key for key in _keys(table) if key != "pair" or table["pair"].nunique() > 1 or "data" not in table]
    return [_title(row, keys) for row in table.to_dict("records")]


def image_interval(
    probabilities_a: np.ndarray, probabilities_b: np.ndarray, labels: np.ndarray, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Accuracy of a minus that of b on the same test images: difference, low, high (95 %).

    probabilities_a, _b: (N, classes), or (seeds, N, classes): then accuracies are means over the seeds.
    labels:    int (N,).
    resamples: bootstrap resamples of the images, paired: the interval holds for these trained networks and other images
               of this kind, while the intervals over seeds hold for these images and other networks.
    Raises ValueError for shapes that disagree. Source: scipy.stats.bootstrap, percentiles.
    """
    from scipy.stats import bootstrap

    a, b, labels = np.asarray(probabilities_a), np.asarray(probabilities_b), np.asarray(labels)
    if a.shape != b.shape or a.ndim not in (2, 3) or labels.shape != a.shape[-2:-1] or len(labels) < 2:
        raise ValueError(
            f"shapes {a.shape}, {b.shape} and labels {labels.shape}: pass (N, classes) or (seeds, N, classes) for the "
            "same images twice, and a label for each of at least 2 images"
        )
    right_a, right_b = ((found.argmax(-1) == labels).reshape(-1, len(labels)).mean(0) for found in (a, b))
    gaps = right_a - right_b  # (N,)
    options: dict[str, Any] = {"n_resamples": resamples, "batch": 100, "method": "percentile", "random_state": seed}
    low, high = bootstrap((gaps,), np.mean, **options).confidence_interval
    return float(gaps.mean()), float(low), float(high)


def smallest_p(seeds: int) -> float:
    """The smallest p that a two-sided sign-flip test of this many pairs can give: 2 ** (1 - seeds).

    >>> [smallest_p(seeds) for seeds in (3, 5, 6)]
    [0.25, 0.0625, 0.03125]
    """
    if seeds < 1:
        raise ValueError(f"seeds={seeds}: pass 1 or more")
    return 2.0 ** (1 - seeds)


def fooled(
    seeds: int, spread: float, true_difference: float = 0.0, repeats: int = 10_000, seed: int = 0
) -> dict[str, float]:
    """How often a comparison of two methods on a few seeds looks clear, simulated.

    seeds:           pairs of runs in each comparison, 2 to 10.
    spread:          standard deviation of the paired differences from seed to seed, above 0; they are drawn normal.
    true_difference: between the methods; 0: there is none, and whoever sees one is fooled.
    repeats:         simulated comparisons.
    Returns frequencies: "all_agree" (every seed prefers the same method), "wrong_sign" (the mean prefers the worse
    method; nan for true_difference=0), "permutation_p" and "t_test_p" (p below 0.05).
    Raises ValueError for seeds and spread out of range. Source: our choice.

    >>> fooled(3, spread=0.02)["permutation_p"]
    0.0
    """
    from scipy.stats import ttest_1samp

    if not 2 <= seeds <= 10:
        raise ValueError(f"seeds={seeds}: pass 2 to 10 (more take long to simulate)")
    if not 0 < spread < np.inf:
        raise ValueError(f"spread={spread}: pass the standard deviation of the differences, above 0")
    gaps = np.random.default_rng(seed).normal(true_difference, spread, (repeats, seeds))
    found = {
        "all_agree": np.abs(np.sign(gaps).sum(1)) == seeds,
        "wrong_sign": gaps.mean(1) * true_difference < 0 if true_difference else np.nan,
        "permutation_p": sign_flip_p(gaps) < LEVEL,
        "t_test_p": ttest_1samp(gaps, 0, axis=1).pvalue < LEVEL,
    }
    return {name: float(np.mean(value)) for name, value in found.items()}


def _keys(table: pd.DataFrame) -> list[str]:
    return [key for key in GROUP if key in table]


def _groups(table: pd.DataFrame, keys: list[str]) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of each combination of keys, with it; without keys all rows."""
    if not keys:
        return [({}, table)]
    return [(dict(zip(keys, name, strict=True)), part) for name, part in table.groupby(keys, sort=False, dropna=False)]


def _title(group: Any, keys: list[str]) -> str:
    return ", ".join(f"{100 * group[key]:g} %" if key == "fraction" else str(group[key]) for key in keys)


def _on(group: Any, keys: list[str]) -> str:
    return f" on {_title(group, keys)}" if keys else ""


def _ordered(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The checked table with groups, and in them methods, each in order of their first row."""
    import pandas as pd

    if metric not in table:
        raise ValueError(f"metric={metric!r} is not in the table: choose one of {', '.join(table)}")
    check_comparable(table)
    keys = _keys(table)
    group = table.groupby(keys, sort=False, dropna=False).ngroup() if keys else np.zeros(len(table))
    return table.iloc[np.lexsort((pd.factorize(table["method"])[0], group))]


def _compared(
    table: pd.DataFrame, reference: str, metric: str, keys: list[str], units: list[str], columns: list[str]
) -> pd.DataFrame:
    """A row for each method but the reference and each combination of keys, with these of the `paired_statistics`.

    units: what, with the seed, makes a difference one of its own; over the rest of GROUP differences are averaged.
    """
    import pandas as pd

    runs, pair = _ordered(table, metric), [*_keys(table), "seed"]
    if reference not in set(runs["method"]):
        raise ValueError(
            f"reference={reference!r} is not in the table: choose one of {', '.join(runs['method'].unique())}"
        )
    base = runs.loc[runs["method"] == reference, [*pair, metric]]
    others = runs[runs["method"] != reference].merge(base, how="left", on=pair, suffixes=("", "_of_reference"))
    others["gap"] = (others[metric] - others[f"{metric}_of_reference"]).astype(float)
    each = others.groupby([*units, "seed", "method", "label"], sort=False, dropna=False)["gap"].mean().round(12)
    keys = [*keys, "method", "label"]
    rows = [
        group | paired_statistics(part["gap"].dropna().to_numpy(), -1 if metric in SMALLER_IS_BETTER else 1)
        for group, part in (_groups(each.reset_index(), keys) if len(others) else [])
    ]
    return _with_holm(pd.DataFrame(rows, columns=[*keys, *columns]))


def _with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """The table with p_holm filled in: Holm's correction over its rows that have a p (Holm 1979).

    Ours, because multipletests of statsmodels calls gc.collect() each time: beside torch it takes 0.2 seconds
    and more, and the results explorer corrects anew at each click. A test states that both agree.
    """
    known = table["p"].notna()
    p = table.loc[known, "p"].to_numpy(float)
    order = np.argsort(p, kind="stable")
    raised = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    table.loc[known, "p_holm"] = np.minimum(raised, 1)[np.argsort(order, kind="stable")]
    return table
