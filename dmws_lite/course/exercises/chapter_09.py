"""Checks of chapter 09, take it away."""

import numpy as np

from dmws_lite.course.answers import array, call_function, compare, describe, number, reject

WEIGHTS = np.array([[0.317, -1.27, 0.02], [0.9, 0.448, -0.6]])
BEFORE = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.8, 0.1], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6]])
AFTER = np.array([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3], [0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.1, 0.6, 0.3]])


def exercise_2(quantise):
    """Symmetric 8-bit quantisation of an array: whole numbers from -127 to 127, and one scale."""
    for weights, case in ((WEIGHTS, "a matrix"), (-3 * WEIGHTS[0], "a vector")):
        answer = call_function(quantise, weights.copy())
        reject(not isinstance(answer, tuple | list) or len(answer) != 2, "no_pair", kind=describe(answer))
        integers, scale = array(answer[0], weights.shape, case=f"{case}: your integers"), number(answer[1])
        step, largest = np.abs(weights).max() / 127, np.abs(integers).max()
        reject(not np.array_equal(integers, np.round(integers)), "not_whole", case)
        reject(largest > 127, "range", case, largest=largest)
        reject(np.isclose(scale, 1 / step), "upside_down", case)
        reject(scale <= 0 or not np.isclose(scale, step, rtol=0.02), "scale", case)
        error = np.abs(integers * scale - weights).max() / scale
        reject(error > 0.501, "rounding", case, error=error)


def exercise_3(changed):
    """The share of images that get another class from the second network."""
    other = BEFORE.argmax(1) != AFTER.argmax(1)
    probabilities = (BEFORE != AFTER).any(1).mean()
    mistakes = {"number": other.sum(), "unchanged": 1 - other.mean(), "probabilities": probabilities}
    compare(call_function(changed, BEFORE.copy(), AFTER.copy()), other.mean(), "five images", 1e-6, **mistakes)
    compare(call_function(changed, BEFORE.copy(), BEFORE.copy()), 0.0, "the same twice", 1e-6, equal=1.0)
