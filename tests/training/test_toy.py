import numpy as np
import pytest
import torch

from dmws_lite.training.toy import WINDOW, moons, surface


def test_the_share_of_wrong_labels_the_seed_and_mates_of_the_same_label():
    data, again, other = moons(50, 0.3, seed=1), moons(50, 0.3, seed=1), moons(50, 0.3, seed=2)
    assert data.wrong.sum() == 15 and set(data.labels.tolist()) == {0, 1} and not moons(50, 0.0).wrong.any()
    assert torch.equal(data.x, again.x) and not torch.equal(data.x, other.x)
    assert torch.equal(data.labels[data.mates], data.labels) and not (data.mates == torch.arange(50)).any()
    with pytest.raises(ValueError, match=r"wrong=20 .* 0 <= wrong <= 1"):
        moons(50, 20)


def test_the_surface_is_the_probability_of_class_1_over_the_window():
    grid = surface(lambda x: torch.stack([torch.zeros(len(x)), x[:, 0]], 1), 21)  # logits (0, x)
    x = np.linspace(WINDOW[0], WINDOW[1], 21)
    np.testing.assert_allclose(grid, np.broadcast_to(1 / (1 + np.exp(-x)), (21, 21)), rtol=1e-5)
