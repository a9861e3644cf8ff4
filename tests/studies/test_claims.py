import math
import re

import numpy as np
import pandas as pd

from dmws_lite.studies.claims import claims

LABELS = {"weight_selection": "single selection", "dual_skd": "dual + SKD"}
BASE, UP = np.full(8, 0.5), 0.01 * np.arange(1, 9)


def runs(values, **group):
    rows = [
        group | {"method": method, "label": LABELS.get(method, method), "seed": seed, "accuracy": value}
        for method, accuracies in values.items()
        for seed, value in enumerate(accuracies)
    ]
    return pd.DataFrame(rows)


def test_three_seeds_that_agree_show_nothing():
    values = {"weight_selection": [0.6, 0.6, 0.6], "dual_skd": [0.61, 0.62, 0.63], "default": [0.4, 0.41, 0.45]}
    table = runs(values, data="brain_mri", pair="vit", fraction=0.1)
    limit = "with 3 seeds no p is below 0.5 after Holm's correction over 2 comparisons, so nothing could be shown."
    assert claims(table, "weight_selection") == [
        "dual + SKD is above single selection on brain_mri, 10 %: accuracy +0.020 [-0.005, +0.045], better "
        "with 3 of 3 seeds, p = 0.25 (Holm 0.5): not shown, and could be anything from -0.005 to +0.045; " + limit,
        "default is below single selection on brain_mri, 10 %: accuracy -0.180 [-0.246, -0.114], better "
        "with 0 of 3 seeds, p = 0.25 (Holm 0.5): not shown, and could be anything from -0.246 to -0.114; " + limit,
    ]


def test_a_difference_is_shown_only_after_holms_correction():
    (sentence,) = claims(runs({"default": BASE, "a": BASE + UP}))
    assert sentence.endswith("better with 8 of 8 seeds, p = 0.00781 (Holm 0.00781): shown.")
    for text in claims(runs({"default": BASE, **{f"m{i}": BASE + UP for i in range(7)}})):
        assert "Holm 0.0547): not shown, and could be anything from +0.025 to" in text
        assert text.endswith("below 0.0547 after Holm's correction over 7 comparisons, so nothing could be shown.")
    (mixed,) = claims(runs({"default": BASE, "a": BASE + UP * [1, 1, -1, 1, 1, -1, 1, -1]}))
    assert re.search(r"not shown, and could be anything from -0\.\d+ to \+0\.\d+\.$", mixed)


def test_equivalent_is_an_interval_within_one_point():
    gaps = np.array([4, -4, 3, -3, 2, -2, 1, 0])
    (small,), (wide,) = (claims(runs({"default": BASE, "a": BASE + step * gaps})) for step in (0.002, 0.006))
    assert small.endswith(": equivalent, as the interval lies within ±0.01.") and "not shown" in wide
    (few,) = claims(runs({"default": BASE[:5], "a": (BASE + 0.0001 * gaps)[:5]}))
    assert "not shown" in few and "equivalent" not in few


def test_one_seed_and_none_in_common():
    table = runs({"default": [0.5, math.nan], "a": [0.6, 0.7], "b": [math.nan, 0.7]})
    assert claims(table) == [
        "a is above default: accuracy +0.100 with 1 seed: not shown; 1 seed gives no interval and no p below 1.",
        "b cannot be compared with default: they have no seed in common.",
    ]


def test_one_sentence_a_method_on_what_is_pooled():
    def table(data, **rises):
        return runs({name: 0.5 + rise * np.arange(1, 5) for name, rise in rises.items()}, data=data, fraction=0.1)

    sentences = claims(pd.concat([table("mri", default=0, a=0.01), table("ct", default=0, a=0.02, native=0.1)]))
    assert len(sentences) == 4 and sum("native" in text for text in sentences) == 1
    assert sentences[-1].startswith("a is above default over 2 data sets together: accuracy +0.038 [")
    assert sentences[-1].endswith("better with 8 of 8 pairs, p = 0.00781 (Holm 0.0156): shown.")
    large = pd.concat([table(f"set {i}", default=0, a=0.01 * (-1) ** i) for i in range(4)])
    assert re.search(r"with 8 of 16 pairs, .*: not shown, and could be anything from -0\.\d+ to", claims(large)[-1])
