"""The rules along one axis and through depth, without any network."""

import numpy as np
import pytest

from dmws_lite.method.elements import phase_subset, subsets
from dmws_lite.method.layers import select_layers


@pytest.mark.parametrize("strategy", ["uniform", "consecutive", "random", "magnitude"])
@pytest.mark.parametrize(
    ("size", "pick", "n"), [(8, 4, 2), (9, 3, 3), (10, 4, 2), (10, 7, 2), (6, 6, 2), (7, 5, 4), (12, 1, 5)]
)
def test_subsets_share_as_few_indices_as_arithmetic_allows(strategy, size, pick, n):
    sets = subsets(size, pick, n, strategy, seed=3, scores=np.random.default_rng(0).random(size))
    for chosen in sets:
        assert len(chosen) == pick and (np.diff(chosen) > 0).all() and chosen.min() >= 0 and chosen.max() < size
    assert len(np.intersect1d(*sets[:2])) == max(0, 2 * pick - size)
    used = np.bincount(np.concatenate(sets), minlength=size)
    assert used.max() - used.min() <= 1 and used.sum() == n * pick


def test_each_strategy_takes_what_it_says():
    assert all(np.array_equal(phase_subset(12, 3, phase), np.arange(3) * 4 + phase) for phase in range(4))
    assert [s.tolist() for s in subsets(6, 2, 3, "consecutive")] == [[0, 1], [2, 3], [4, 5]]
    scores = np.array([0.1, 5, 3, 4, 0.2, 1])
    assert [s.tolist() for s in subsets(6, 2, 2, "magnitude", scores=scores)] == [[1, 3], [2, 5]]
    a, b, c = (subsets(100, 50, 1, "random", seed=s)[0] for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize(
    ("teacher", "student", "layers", "message"),
    [
        *(([12], [3], numbers, "layers=") for numbers in ([0, 1], [2, 1, 0], [0, 1, 12], [[0, 1, 2], [0]], [0, 0, 1])),
        ([3, 3], [2, 4], "first", r"deeper than its teacher.* \(\[2, 4\] blocks .* \[3, 3\]\)"),
        ([6], [2, 2], "first", r"of another family \(\[2, 2\] blocks in its stages, its teacher \[6\]\)"),
        ([6], [2], "middle", "unknown layers='middle': choose one of first, last, uniform"),
    ],
)
def test_impossible_blocks_are_refused(teacher, student, layers, message):
    with pytest.raises(ValueError, match=message):
        select_layers(teacher, student, layers)
