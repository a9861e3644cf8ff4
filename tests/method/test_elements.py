import numpy as np
import pytest

from dmws_lite.method.elements import axis_seed, phased, subsets


@pytest.mark.parametrize("strategy", ["uniform", "consecutive", "random", "magnitude"])
@pytest.mark.parametrize(
    ("size", "pick", "n"), [(8, 4, 2), (9, 3, 3), (10, 4, 2), (10, 7, 2), (6, 6, 2), (7, 5, 4), (12, 1, 5)]
)
def test_subsets_share_as_few_indices_as_arithmetic_allows(strategy, size, pick, n):
    sets = subsets(size, pick, n, strategy, seed=3, scores=np.random.default_rng(0).random(size))
    assert len(sets) == n
    for chosen in sets:
        assert len(chosen) == pick and (np.diff(chosen) > 0).all() and chosen.min() >= 0 and chosen.max() < size
    assert len(np.intersect1d(sets[0], sets[min(1, n - 1)])) == (max(0, 2 * pick - size) if n > 1 else pick)
    used = np.bincount(np.concatenate(sets), minlength=size)
    assert used.max() - used.min() <= 1


def test_phases_are_the_strided_subsets_and_disjoint_at_other_ratios():
    for phase in range(4):
        assert np.array_equal(phased(12, 3, phase), np.arange(3) * 4 + phase)
    assert len(np.intersect1d(phased(1024, 384, 0), phased(1024, 384, 1))) == 0


def test_consecutive_takes_blocks_and_magnitude_the_largest():
    assert [s.tolist() for s in subsets(6, 2, 3, "consecutive")] == [[0, 1], [2, 3], [4, 5]]
    scores = np.array([0.1, 5, 3, 4, 0.2, 1])
    assert [s.tolist() for s in subsets(6, 2, 2, "magnitude", scores=scores)] == [[1, 3], [2, 5]]


def test_random_depends_on_its_seed_alone():
    a, b, c = (subsets(100, 50, 1, "random", seed=s)[0] for s in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert axis_seed(0, "mlp/1") != axis_seed(0, "mlp/2")


def test_impossible_picks_unknown_strategies_and_missing_scores_are_refused():
    for pick in (8, 0):
        with pytest.raises(ValueError, match=f"cannot pick {pick} of 4"):
            subsets(4, pick)
    with pytest.raises(ValueError, match=r"unknown elements='best': choose one of uniform"):
        subsets(4, 2, strategy="best")
    with pytest.raises(ValueError, match="magnitude.*needs one score for each of the 4"):
        subsets(4, 2, strategy="magnitude", scores=np.ones(3))
