import math
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dmws_lite.studies.claims import claims
from dmws_lite.studies.statistics import (
    EXACT,
    FACTORIAL,
    check_comparable,
    detectable,
    differences,
    factorial,
    image_interval,
    paired_statistics,
    pooled,
    summary,
)

CELLS = [method for row in FACTORIAL.values() for method in row]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings(action="error"):
        yield


def runs(values, metric="accuracy", **group):
    """A table from {method: a value a seed}; None leaves the run out."""
    rows = [
        group | {"method": method, "label": method.upper(), "seed": seed, metric: value}
        for method, accuracies in values.items()
        for seed, value in enumerate(accuracies)
        if value is not None
    ]
    return pd.DataFrame(rows)


def drawn(methods, groups, seeds):
    """Accuracies that are counts of 200 test images, so that ties come up."""
    rng = np.random.default_rng(0)
    tables = [
        runs({method: rng.integers(100, 120, seeds) / 200 for method in methods}, data=data, pair="vit", fraction=0.1)
        for data in groups
    ]
    return pd.concat(tables, ignore_index=True)


def only(table):
    (row,) = table.to_dict("records")
    return row


def interval_by_hand(values):
    mean, half = np.mean(values), stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return mean, np.std(values, ddof=1), mean - half, mean + half


def p_by_enumeration(counts):
    """Of integers, so that sums that are equal are equal: how many flips give a sum as far from 0."""
    sums = [abs(int(np.dot(flip, counts))) for flip in product((1, -1), repeat=len(counts))]
    return sum(flipped >= abs(sum(counts)) for flipped in sums) / len(sums)


def holm(p):
    return pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_summary_holds_t_intervals_in_the_tables_order():
    values = {"b": [0.5, 0.7, 0.65], "a": [0.9, 0.8]}
    table = runs(values, data="mri", pair="vit", fraction=0.1)
    rows = summary(table.sample(frac=1, random_state=0).sort_values("method", ascending=False))
    assert rows["method"].tolist() == ["b", "a"] and rows["seeds"].tolist() == [3, 2]
    for row in rows.to_dict("records"):
        by_hand = interval_by_hand(values[row["method"]])
        assert [row[name] for name in ("mean", "std", "low", "high")] == pytest.approx(by_hand)


@pytest.mark.parametrize("seeds", [2, 6])
def test_differences_agree_with_arithmetic_by_hand(seeds):
    table = drawn(["default", "a", "b"], ["mri", "ct"], seeds)
    rows = differences(table)
    assert rows[["data", "method"]].apply(tuple, axis=1).tolist() == list(product(["mri", "ct"], ["a", "b"]))
    for row in rows.to_dict("records"):
        of = table[table["data"] == row["data"]].set_index(["method", "seed"])["accuracy"]
        counts = [round(200 * of[row["method"], s]) - round(200 * of["default", s]) for s in range(seeds)]
        mean, std, low, high = interval_by_hand([count / 200 for count in counts])
        assert [row[name] for name in ("difference", "low", "high")] == pytest.approx([mean, low, high])
        assert (row["smallest"], row["largest"]) == pytest.approx((min(counts) / 200, max(counts) / 200))
        assert row["better"] == sum(count > 0 for count in counts) and row["equal"] == counts.count(0)
        assert row["better"] + row["equal"] + row["worse"] == row["seeds"] == seeds
        assert row["p"] == pytest.approx(p_by_enumeration(counts))
        assert row["detectable"] == pytest.approx(std * detectable(seeds) if std else math.nan, nan_ok=True)
    assert rows["p_holm"].tolist() == holm(rows["p"])


@pytest.mark.parametrize(
    ("gaps", "methods", "verdict"),
    [
        (0.01 * np.arange(1, 9), 1, "shown"),
        (0.01 * np.arange(1, 9), 7, "not shown"),  # by Holm
        (np.array([0.001] * 5 + [0.2]), 1, "not shown"),  # p is below 0.05, and the interval holds 0
        (0.002 * np.array([2, -2, 1, -1] * 2), 1, "equivalent"),  # an interval within one point
        (0.002 * np.array([2, -2, 1, -1, 2]), 1, "not shown"),  # of too few seeds
    ],
)
def test_the_verdict_follows_from_holms_p_the_interval_and_the_seeds(gaps, methods, verdict):
    base = np.full(len(gaps), 0.5)
    for function in (differences, pooled):
        table = function(runs({"default": base, **{f"m{i}": base + gaps for i in range(methods)}}))
        assert (table["verdict"] == verdict).all() and (table["shown"] == (verdict == "shown")).all()


def test_many_pairs_are_tested_by_random_flips():
    rng = np.random.default_rng(1)
    few, many = (rng.normal(0.3, 1, n).round(12) for n in (EXACT, EXACT + 1))
    for gaps, unit, eps in ((few, 1e-12, 1e-12), (rng.integers(-3, 9, 9) / 300, 1 / 300, 1e-12), (many, 1e-12, 0.01)):
        expected = p_by_enumeration((gaps / unit).round().astype(int).tolist())
        assert paired_statistics(gaps)["p"] == pytest.approx(expected, abs=eps)
    assert paired_statistics(many) == paired_statistics(many)


@pytest.mark.parametrize("seeds", [1, 20])
def test_equal_runs_one_seed_and_metrics_of_which_less_is_better(seeds):
    values = np.random.default_rng(0).random(seeds)
    row = only(differences(runs({"single": values, "dual": values}), "single"))
    assert row["difference"] == row["smallest"] == row["largest"] == 0 and row["equal"] == seeds
    assert row["p"] == row["p_holm"] == 1 and math.isnan(row["detectable"])
    assert math.isnan(row["low"]) if seeds == 1 else row["low"] == row["high"] == 0
    row = only(differences(runs({"default": values, "a": values - 0.1}, "ece"), metric="ece"))
    assert (row["better"], row["worse"]) == (seeds, 0) and row["difference"] == pytest.approx(-0.1)


def test_only_seeds_that_both_have_are_paired():
    table = runs({"default": [0.5, None, 0.5, math.nan], "a": [0.6, 0.9, 0.5, 0.9], "b": [None, 0.9]})
    a, b = differences(table).to_dict("records")
    assert a["seeds"] == 2 and a["difference"] == pytest.approx(0.05) and a["p_holm"] == a["p"] == 1
    assert b["seeds"] == 0 and math.isnan(b["difference"]) and math.isnan(b["p"]) and math.isnan(b["p_holm"])
    assert differences(table[table["method"] == "default"]).empty


def test_pooled_units_are_pairs_of_one_group_and_seed():
    table = drawn(["default", "a"], ["mri", "ct"], 5)
    table = table[~((table["data"] == "ct") & (table["method"] == "a") & (table["seed"] == 4))]
    row = only(pooled(table))
    wide = (200 * table.pivot(index=["data", "seed"], columns="method", values="accuracy").dropna()).round().astype(int)
    counts = wide["a"] - wide["default"]
    assert row["pairs"] == 9 and row["p"] == row["p_holm"] == pytest.approx(p_by_enumeration(counts.tolist()))
    assert row["difference"] == pytest.approx(counts.mean() / 200)


def test_factorial_contrasts_by_hand():
    table = drawn(CELLS, ["mri", "ct"], 4)
    rows = factorial(table)
    assert rows["p_holm"].tolist() == holm(rows["p"])
    contrasts = rows[rows["data"] == "ct"].set_index("contrast")
    r, rs, ro, s, ss, so = (
        table[(table["data"] == "ct") & (table["method"] == cell)]["accuracy"].to_numpy() for cell in CELLS
    )
    expected = {
        "weight selection": (s + ss + so) / 3 - (r + rs + ro) / 3,
        "SKD from the same start": ((rs - r) + (ss - s)) / 2,
        "complementary instead of same": ((ro - rs) + (so - ss)) / 2,
        "SKD x selection": (ss - s) - (rs - r),
        "second subset x selection": (so - ss) - (ro - rs),
    }
    assert list(contrasts.index) == list(expected)
    for name, gaps in expected.items():
        mean, _, low, high = interval_by_hand(gaps.tolist())
        assert contrasts.loc[name, ["difference", "low", "high"]].tolist() == pytest.approx([mean, low, high])
        counts = (gaps * 1200).round().astype(int).tolist()
        assert contrasts.loc[name, "p"] == pytest.approx(p_by_enumeration(counts)) and contrasts.loc[name, "seeds"] == 4
    with pytest.raises(ValueError, match="missing on mri, vit, 10 %: default_skd_other, single_skd. Run them too"):
        factorial(table[~table["method"].isin(["single_skd", "default_skd_other"])])
    assert (factorial(table[~((table["method"] == "default") & (table["seed"] == 0))])["seeds"] == 3).all()


@pytest.mark.parametrize(
    ("column", "what"),
    [("data_id", "images"), ("budget", "budgets"), ("settings", "training settings"), ("weights", "weights")],
)
def test_other_images_budgets_settings_and_weights_in_one_group_are_refused(column, what):
    table = runs({"default": [0.5, 0.6], "a": [0.6, 0.7]}, data="imgs", fraction=0.1).assign(**{column: "one"})
    table.loc[table["seed"] == 1, column] = "two"
    message = rf"different {what}.* on imgs.*: one \(default, a\); two \(default, a\)\. .* only: pass .*\(--study\)"
    for function in (summary, differences, pooled):
        with pytest.raises(ValueError, match=message):
            function(table)
    check_comparable(table.assign(data=table["data"] + table[column]))


def test_only_native_may_have_other_weights_and_one_data_set_has_the_same_images_at_all_fractions():
    table = runs({"default": [0.5], "native": [0.6]}, data="imgs", fraction=0.1).assign(weights=["one", "two"])
    check_comparable(table)
    with pytest.raises(ValueError, match="different weights on imgs, 10 %"):
        check_comparable(table.assign(method=["default", "mine"]))
    with pytest.raises(ValueError, match="different images under one name on imgs: "):
        check_comparable(pd.concat([table.assign(data_id="x"), table.assign(data_id="y", fraction=1.0)]))


def test_a_seed_twice_a_reference_and_a_metric_that_are_not_there_are_refused():
    table = drawn(["default", "a"], ["mri"], 2)
    with pytest.raises(ValueError, match="method 'a' has seed 1 more than once on mri, vit, 10 %: keep one"):
        check_comparable(pd.concat([table, table.tail(1)]))
    with pytest.raises(ValueError, match="unknown reference 'b': choose from default, a"):
        differences(table, "b")
    with pytest.raises(ValueError, match="unknown metric 'f1': choose from data, .*accuracy"):
        summary(table, "f1")


def test_the_image_interval_is_that_of_resampled_images():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    a, b = (rng.random((2, 300, 3)) + skill * np.eye(3)[labels] for skill in (0.5, 0.2))
    right = [(answers.argmax(-1) == labels).mean(0) for answers in (a, b)]
    difference, low, high = image_interval(a, b, labels)
    assert difference == pytest.approx(right[0].mean() - right[1].mean())
    expected = np.percentile((right[0] - right[1])[rng.integers(0, 300, (4000, 300))].mean(1), [2.5, 97.5])
    assert (low, high) == pytest.approx(tuple(expected), abs=0.01)
    assert image_interval(a, b, labels) == (difference, low, high) and image_interval(a[0], a[0], labels) == (0, 0, 0)


def test_sentences_say_what_is_shown_and_what_so_few_seeds_cannot_show():
    values = {"weight_selection": [0.6, 0.6, 0.6], "dual_skd": [0.61, 0.62, 0.63]}
    (sentence,) = claims(runs(values, data="brain_mri", pair="vit", fraction=0.1), "weight_selection")
    assert sentence.startswith("DUAL_SKD is above WEIGHT_SELECTION on brain_mri, 10 %: accuracy +0.020 [-0.005, +0.")
    assert sentence.endswith("with 3 seeds no p is below 0.25, so nothing could be shown.")
    base, up, gaps = np.full(8, 0.5), 0.01 * np.arange(1, 9), np.array([4, -4, 3, -3, 2, -2, 1, 0])
    for change, ending in (
        (up, "better with 8 of 8 seeds, p = 0.00781 (Holm 0.00781): shown."),
        (0.002 * gaps, ": equivalent, as the interval lies within ±0.01."),
    ):
        (sentence,) = claims(runs({"default": base, "a": base + change}))
        assert sentence.endswith(ending)
    for text in claims(runs({"default": base, **{f"m{i}": base + up for i in range(7)}})):
        assert text.endswith("below 0.0547 after Holm's correction over 7 comparisons, so nothing could be shown.")
    one, none = claims(runs({"default": [0.5, math.nan], "a": [0.6, 0.7], "b": [math.nan, 0.7]}))
    assert "with 1 seed: not shown" in one and none.endswith("they have no seed in common.")


def test_one_sentence_a_method_on_what_is_pooled():
    def table(data, **rises):
        return runs({name: 0.5 + rise * np.arange(1, 5) for name, rise in rises.items()}, data=data, fraction=0.1)

    sentences = claims(pd.concat([table("mri", default=0, a=0.01), table("ct", default=0, a=0.02, native=0.1)]))
    assert len(sentences) == 4 and sum("NATIVE" in text for text in sentences) == 1
    assert sentences[-1].startswith("A is above DEFAULT over 2 data sets together: accuracy +0.038 [")
    assert sentences[-1].endswith("better with 8 of 8 pairs, p = 0.00781 (Holm 0.0156): shown.")
