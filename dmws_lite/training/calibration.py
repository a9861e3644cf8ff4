"""Calibration: one temperature that makes a network's confidence fit its accuracy, and what chance alone leaves."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from dmws_lite.training.evaluation import calibration_error, check_predictions

SMALLEST = float(np.finfo(np.float32).smallest_subnormal)  # 1.4e-45: below it a probability of `predict` is 0
RANGE = (0.05, 20.0)  # of temperatures


def fit_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature in RANGE that makes the labels most likely: above 1 where the network was too sure.

    probabilities: float (N, classes), of *validation* images; labels: int (N,).
    Warns when it is at an end of RANGE, and thus may lie beyond. Raises ValueError as `evaluate` does.
    Source: Guo et al. 2017 (arXiv 1706.04599).

    >>> sure, hit = np.array([[0.99, 0.01]] * 10), np.array([0] * 7 + [1] * 3)
    >>> at(sure, fit_temperature(sure, hit))[0].round(2)
    array([0.7, 0.3])
    """
    probabilities, labels = check_predictions(probabilities, labels)

    def loss(log_temperature: float) -> float:
        likelihood = at(probabilities, np.exp(log_temperature))[np.arange(len(labels)), labels]
        return -float(np.log(likelihood.clip(SMALLEST)).mean())

    temperature = float(np.exp(minimize_scalar(loss, bounds=np.log(RANGE), method="bounded").x))
    if not 1.01 * RANGE[0] < temperature < RANGE[1] / 1.01:
        text = f"temperature {temperature:.3g} is at an end of {RANGE}: all answers right or wrong, or few images?"
        warnings.warn(text, stacklevel=2)
    return temperature


def at(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The probabilities that softmax(logits / temperature) would give, float64 (N, classes); temperature > 0."""
    if not temperature > 0:
        raise ValueError(f"temperature={temperature} must be above 0: 1 leaves the probabilities as they are")
    return softmax(np.log(np.asarray(probabilities, np.float64).clip(SMALLEST)) / temperature, axis=1)


def error_by_chance(probabilities: np.ndarray, draws: int = 1000, seed: int = 0) -> np.ndarray:
    """The calibration error (ece) that a perfectly calibrated network would show on so few images, float (draws,).

    Labels are drawn from the probabilities themselves (consistency resampling, Bröcker & Smith 2007).
    """
    rng, probabilities = np.random.default_rng(seed), np.asarray(probabilities, np.float64)
    edges = (probabilities / probabilities.sum(1, keepdims=True)).cumsum(1)
    label_draws = (rng.random((draws, len(probabilities), 1)) > edges[None, :, :-1]).sum(2)
    return np.array([calibration_error(probabilities, labels) for labels in label_draws])
