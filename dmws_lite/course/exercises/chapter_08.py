"""Checks of chapter 08, looking inside trained students."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import logit
from scipy.stats import binom

from dmws_lite.analysis.representations import cka
from dmws_lite.course.answers import array, called, compare, reject

SURE, MEANT = 0.9, 0.75  # of exercise 4: what a network with two classes says, and what it should say
LEVEL = 0.05


def exercise_1(own: Any) -> None:
    """Biased linear CKA of two arrays (image, feature), as a function."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 5)) + 3
    y = np.concatenate([x[:, :2] + rng.standard_normal((12, 2)), rng.standard_normal((12, 2)) - 2], axis=1)
    given = x.copy(), y.copy()
    answer, right = called(own, *given), cka(x, y, debiased=False)
    reject(not (np.array_equal(given[0], x) and np.array_equal(given[1], y)), "in_place")
    rows = _uncentred(x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True))
    mistakes = {"uncentred": _uncentred(x, y), "root": right**0.5, "debiased": cka(x, y), "rows": rows}
    compare(answer, right, "CKA", 1e-6, **mistakes)
    compare(called(own, 2 * x, y), right, "CKA of twice the first array", 1e-6)


def exercise_2(cam: Any) -> None:
    """Grad-CAM of one image from channels and slopes, both (channel, row, column); the scale does not matter."""
    rng = np.random.default_rng(0)
    channels, slopes = rng.standard_normal((2, 6, 4, 5))
    weights = slopes.mean((1, 2), keepdims=True)
    heatmap = array(called(cam, channels.copy(), slopes.copy()), (4, 5), case="your map")
    reject((heatmap < 0).any(), "negative")
    terms = {
        "weight_each_place": channels * slopes,
        "unweighted": channels,
        "slopes": slopes,
        "unsigned": channels * np.abs(weights),
    }
    mistakes = {name: _unit(term) for name, term in terms.items()}
    compare(
        _unit(heatmap[None]), _unit(channels * weights), relative=1e-5, absolute=1e-5, otherwise="other", **mistakes
    )


def exercise_3(hits: Any, *, images: int, chance: float) -> dict[str, Any]:
    """The smallest number of hits that a map without a preference reaches with a probability below 5 %."""
    probabilities = binom.sf(np.arange(-1, images + 1), images, chance)  # of at least 0, 1, ... hits
    right, mean = int(np.argmax(probabilities < LEVEL)), images * chance
    mistakes = {
        "too_often": right - 1,
        "share": right / images,
        "rounded_mean": round(mean),
        "mean": mean,
        "two_sides": int(np.argmax(probabilities < LEVEL / 2)),
    }
    compare(hits, right, "hits", 0, **mistakes)
    return {"mean": mean, "images": images}


def exercise_4(temperature: Any) -> None:
    """The temperature that turns 0.9 for one of two classes into 0.75."""
    right = logit(SURE) / logit(MEANT)
    mistakes = {"inverse": 1 / right, "probabilities": SURE / MEANT, "logarithms": np.log(SURE) / np.log(MEANT)}
    compare(temperature, right, "temperature", **mistakes)


def exercise_5(found: Any, expected: Any, *, table: pd.DataFrame, model: str) -> dict[str, Any]:
    """How many intervals of a network's paired difference leave out 0, and how many would if nothing differed."""
    rows = table[(table["model"] == model) & (table["severity"] > 0)]
    reject(rows.empty, "no_rows", model=model)
    right, all_networks = _without_zero(rows, "difference_"), _without_zero(table, "difference_")
    mistakes = {"all_networks": all_networks, "accuracy": _without_zero(rows, ""), "with_zero": len(rows) - right}
    compare(found, right, "found", 0, **mistakes)
    by_chance = LEVEL * len(rows)
    compare(expected, by_chance, "expected", 0.005, share=LEVEL, all_rows=LEVEL * len(table))
    return {"found": right, "rows": len(rows), "by_chance": by_chance}


def _uncentred(x: np.ndarray, y: np.ndarray) -> float:
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / norms)


def _unit(terms: np.ndarray) -> np.ndarray:
    """The positive part of the terms' sum, of length 1."""
    positive = terms.sum(0).clip(0)
    return positive / (np.linalg.norm(positive) or 1)


def _without_zero(table: pd.DataFrame, prefix: str) -> int:
    return int(((table[f"{prefix}low"] > 0) | (table[f"{prefix}high"] < 0)).sum())
