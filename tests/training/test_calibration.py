import numpy as np
import pytest
import torch
from scipy.special import softmax

from dmws_lite.training.calibration import at, error_by_chance, fit_temperature
from dmws_lite.training.evaluation import calibration_error


def drawn(temperature, n=20000, classes=3, seed=0):
    """Labels drawn from softmax(logits), and the probabilities of a network that says softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, classes))
    labels = (rng.random((n, 1)) > softmax(logits, axis=1).cumsum(1)[:, :-1]).sum(1)
    return torch.from_numpy(logits / temperature).float().softmax(1).numpy(), labels  # in float32, as `predict`


@pytest.mark.parametrize("temperature", [1 / 15, 0.1, 0.4, 1.0, 2.5])
def test_the_temperature_that_spoilt_the_probabilities_is_found(temperature):
    said, labels = drawn(temperature)
    assert fit_temperature(said, labels) == pytest.approx(1 / temperature, rel=0.03)
    assert calibration_error(at(said, 1 / temperature), labels) < 0.015


def test_at_divides_the_logits_and_keeps_the_answers():
    logits = np.random.default_rng(0).standard_normal((30, 4))
    said = softmax(logits, axis=1)
    assert at(said, 3.0) == pytest.approx(softmax(logits / 3, axis=1)) and at(said, 1.0) == pytest.approx(said)
    assert (at(said, 0.1).argmax(1) == said.argmax(1)).all() and np.isfinite(at(np.array([[1.0, 0.0]]), 2.0)).all()
    with pytest.raises(ValueError, match="temperature=0 must be above 0"):
        at(said, 0)


def test_chance_shrinks_with_images_and_covers_a_calibrated_network():
    said, labels = drawn(1.0, n=300)
    few, many = error_by_chance(said[:75], 200), error_by_chance(said, 200)
    assert few.mean() > 1.5 * many.mean() > 0
    errors = [calibration_error(*drawn(1.0, n=300, seed=seed)) for seed in range(1, 41)]
    assert np.mean(np.array(errors) < np.quantile(many, 0.95)) > 0.8
    assert np.mean(errors) == pytest.approx(many.mean(), rel=0.15)
    assert calibration_error(drawn(0.3, n=300)[0], labels) > many.max()


def test_a_temperature_at_the_end_of_the_range_is_said():
    with pytest.warns(UserWarning, match="is at an end of"):
        assert fit_temperature(np.array([[0.7, 0.3], [0.2, 0.8]]), np.array([0, 1])) < 0.06
