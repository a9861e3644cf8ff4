"""Checks of chapter 09, take it away."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmws_lite.course.answers import Wrong, array, called, compared, kind, number

WEIGHTS = np.array([[0.317, -1.27, 0.02], [0.9, 0.448, -0.6]])
PROBABILITIES = (
    np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6]]),
    np.array([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]),
)


def exercise_1(kilobytes: Any, *, weights: int) -> str:
    """The size that the student's weights would have with 8 bits each, in kB."""
    mistakes = {
        4.0 * weights / 1000: "this is the size with 32 bits each",
        2.0 * weights / 1000: "this is the size with 16 bits each",
        8.0 * weights / 1000: "this counts bits: a byte has eight of them",
        weights / 1024: "a kB has a thousand bytes here, not 1024",
        float(weights): "these are bytes: a kB has a thousand",
    }
    compared(kilobytes, weights / 1000, mistakes, relative=0.005)
    return (
        "The real file is larger: norms, biases and the position embedding stay in 32 bits, each channel has a scale, "
        "and the graph itself takes its share of so small a file."
    )


def exercise_2(quantise: Any) -> str:
    """Symmetric 8-bit quantisation of an array: whole numbers from -127 to 127, and one scale."""
    for weights, case in ((WEIGHTS, "a matrix"), (-3 * WEIGHTS[0], "a vector")):
        integers, scale = _pair(called(quantise, weights.copy()), weights.shape, case)
        step = float(np.abs(weights).max() / 127)
        if not np.array_equal(integers, np.round(integers)):
            raise Wrong(f"{case}: your integers are not whole: round them")
        if np.abs(integers).max() > 127:
            raise Wrong(f"{case}: {np.abs(integers).max():g} does not fit between -127 and 127")
        if np.isclose(scale, 1 / step):
            raise Wrong(f"{case}: the scale is upside down: integers times scale should give the weights back")
        if scale <= 0 or not np.isclose(scale, step, rtol=0.02):
            raise Wrong(f"{case}: the largest weight should become 127 or -127; with your scale it does not")
        worst = np.abs(integers * scale - weights).max()
        if worst > 0.501 * scale:
            raise Wrong(f"{case}: an error of {worst / scale:.2g} scales: round to the nearest whole number")
    return "One outlier sets the scale for its whole array: that is why each output channel gets a scale of its own."


def exercise_3(changed: Any) -> str:
    """The share of images that get another class from the second network."""
    before, after = PROBABILITIES
    other = before.argmax(1) != after.argmax(1)
    mistakes = {
        float(other.sum()): "this is a number of images; a share is asked for",
        1 - other.mean(): "this is the share that stays the same",
        float((before != after).any(1).mean()): "this counts images whose class stays, too",
    }
    compared(called(changed, before.copy(), after.copy()), other.mean(), mistakes, "five images", relative=1e-6)
    same = called(changed, before.copy(), before.copy())
    compared(same, 0.0, {1.0: "equal answers are no change"}, "the same twice", relative=1e-6)
    return (
        "Accuracy can stay the same while images change sides both ways: for a device that is updated, this share says "
        "more than the accuracy."
    )


def exercise_4(speed_up: Any) -> str:
    """How much faster the whole gets when 60 % of the time becomes three times as fast."""
    right = 1 / (0.4 + 0.6 / 3)
    mistakes = {
        3.0: "only a part of the work becomes three times as fast",
        0.6 * 3: "this multiplies shares of time with speeds; add up the times that remain",
        0.6 * 3 + 0.4: "this averages speeds; average times instead",
        1 / right: "this is the time that remains; how many times faster is that?",
    }
    compared(speed_up, right, mistakes, relative=0.02)
    return "Amdahl's law. Quantising and restoring numbers takes time, too, which in a small network can eat the rest."


def _pair(answer: Any, shape: tuple[int, ...], case: str) -> tuple[np.ndarray, float]:
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Wrong(f"your function returns {kind(answer)}: return two things, the integers and the scale")
    return array(answer[0], shape, name=f"{case}: your integers"), number(answer[1])
