"""Checks of chapter 08, looking inside trained students."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dmws_lite.analysis.representations import cka
from dmws_lite.course.answers import Wrong, array, called, compared

SURE, MEANT = 0.9, 0.75  # of exercise 4: what a network with two classes says, and what it should say
LEVEL = 0.05


def exercise_1(own: Any) -> str:
    """Biased linear CKA of two arrays (image, feature), as a function."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 5)) + 3
    y = np.concatenate([x[:, :2] + rng.standard_normal((12, 2)), rng.standard_normal((12, 2)) - 2], axis=1)
    given = x.copy(), y.copy()
    found = called(own, *given)
    if not (np.array_equal(given[0], x) and np.array_equal(given[1], y)):
        raise Wrong("your function changes the arrays that are passed in: centre copies of them")
    expected = cka(x, y, debiased=False)
    mistakes = {
        _plain(x, y): "the columns are not centred: subtract from each feature its mean over the images",
        expected**0.5: "this is the square root: the norms of CKA are squared",
        cka(x, y): "this is the debiased estimate: write the plain one",
        _centred_rows(x, y): "the mean is taken over the features of an image: take it over the images",
    }
    compared(found, expected, mistakes, "CKA", relative=1e-6)
    again = called(own, 2 * x, y)
    compared(again, expected, {}, "CKA of twice the first array", relative=1e-6)
    return (
        "Equal to the package. It never asks which channel is which: turn the channels of one network about, or double "
        "them, and nothing changes."
    )


def exercise_2(cam: Any) -> str:
    """Grad-CAM of one image from channels and slopes, both (channel, row, column); the scale does not matter."""
    rng = np.random.default_rng(0)
    channels, slopes = rng.standard_normal((2, 6, 4, 5))
    found = array(called(cam, channels.copy(), slopes.copy()), (4, 5), name="your map")
    weighted = np.einsum("c,cyx->yx", slopes.mean((1, 2)), channels)
    if _alike(found, weighted) or (found < 0).any():
        raise Wrong("your map goes below 0: places that speak against the class are left out of Grad-CAM")
    wrong = {
        "each place has a weight of its own: Grad-CAM gives a channel one weight for all places": channels * slopes,
        "the channels are not weighted by their slopes": channels,
        "the slopes alone do not say where a channel is active": slopes,
        "the weights are made without sign: a channel may speak against the class": channels
        * np.abs(slopes.mean((1, 2)))[:, None, None],
    }
    if not _alike(found, weighted.clip(0)):
        reasons = (reason for reason, parts in wrong.items() if _alike(found, parts.sum(0).clip(0)))
        raise Wrong(
            next(
                reasons,
                "this is another map: from what does each channel get its weight, and what happens to their sum?",
            )
        )
    return (
        "That is all of it. One weight a channel: what remains of the image's geometry is the channels' grid, which is "
        "why such a map is never finer than the grid."
    )


def exercise_3(hits: Any, *, images: int, chance: float) -> str:
    """The smallest number of hits that a map without a preference reaches with a probability below 5 %."""
    from scipy.stats import binom

    likely = binom.sf(np.arange(-1, images + 1), images, chance)  # of at least 0, 1, ... hits
    expected = int(np.flatnonzero(likely < LEVEL)[0])
    mistakes = {
        expected - 1: "so many are still reached too often: compute the probability of *at least* so many",
        expected / images: "this is a share: give the number of images",
        round(images * chance): "this is what chance gives on average",
        images * chance: "this is what chance gives on average",
        int(np.flatnonzero(likely < LEVEL / 2)[0]): "this is for 2.5 %: one side is asked for, at 5 %",
    }
    compared(hits, expected, mistakes, "hits", relative=0)
    return (
        f"Chance alone gives {images * chance:.1f} hits of {images} on average. Beating it is not yet a merit: a map "
        "that always shows the usual place of lesions may beat it, too."
    )


def exercise_4(temperature: Any) -> str:
    """The temperature that turns 0.9 for one of two classes into 0.75."""
    expected = _logit(SURE) / _logit(MEANT)
    mistakes = {
        1 / expected: "this would make the network surer: logits are divided by the temperature",
        SURE / MEANT: "probabilities are not divided by the temperature: logits are",
        np.log(SURE) / np.log(MEANT): "after the division the two probabilities must sum to 1 again",
    }
    compared(temperature, expected, mistakes, "temperature", relative=0.01)
    return (
        "The odds 9 : 1 become 3 : 1, their square root. Temperature takes powers of odds; no answer changes its class."
    )


def exercise_5(found: Any, expected: Any, *, table: pd.DataFrame, model: str) -> str:
    """How many intervals of a network's paired difference leave out 0, and how many would if nothing differed."""
    rows = table[(table["model"] == model) & (table["severity"] > 0)]
    if rows.empty:
        raise Wrong(f"the table has no corrupted images of {model!r}: run the cells above again")
    out = (rows["difference_low"] > 0) | (rows["difference_high"] < 0)
    everyone = (table["difference_low"] > 0) | (table["difference_high"] < 0)
    apart = (rows["low"] > 0) | (rows["high"] < 0)
    mistakes: dict[float, str] = {
        int(everyone.sum()): "this counts all networks",
        int(apart.sum()): "these are the intervals of the accuracy: take those of the difference",
        int((~out).sum()): "this counts the intervals that contain 0",
    }
    compared(found, int(out.sum()), mistakes, "found", relative=0)
    wanted = LEVEL * len(rows)
    by_chance = {
        LEVEL: "this is the share; a number of intervals is asked for",
        LEVEL * len(table): "this is for all rows",
    }
    compared(expected, wanted, by_chance, "expected", relative=0.005)
    return (
        f"{int(out.sum())} of {len(rows)}, where {wanted:g} would be expected if nothing differed. The same images "
        "stand behind all of them, so they are not independent; and another seed of training may turn the sign."
    )


def _plain(x: np.ndarray, y: np.ndarray) -> float:
    norms = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / norms)


def _centred_rows(x: np.ndarray, y: np.ndarray) -> float:
    return _plain(x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True))


def _alike(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal but for a positive factor."""
    size = float(np.linalg.norm(found) * np.linalg.norm(expected))
    return size > 0 and float((found * expected).sum()) > (1 - 1e-9) * size


def _logit(p: float) -> float:
    return float(np.log(p / (1 - p)))
