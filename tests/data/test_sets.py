from itertools import pairwise

import numpy as np
import pytest

from dmws_lite.data.sets import ImageSet, Splits, fraction

TWO = np.zeros((2, 1, 8, 8), np.uint8)


def toy(counts=(40, 60)):
    labels = np.repeat([0, 1], counts)
    return ImageSet(np.zeros((len(labels), 1, 8, 8), np.uint8), labels, ("a", "b"), (*map(str, range(len(labels))),))


def test_fractions_are_nested_stratified_and_seeded():
    whole = toy()
    parts = [fraction(whole, share) for share in (0.01, 0.05, 0.1, 0.5, 1.0)]
    assert [p.counts for p in parts] == [(1, 1), (2, 3), (4, 6), (20, 30), (40, 60)]
    assert all(set(small.names) <= set(large.names) for small, large in pairwise(parts))
    assert parts[-1].names == whole.names
    assert fraction(whole, 0.1).names == parts[2].names != fraction(whole, 0.1, seed=1).names
    for share in (0, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="share="):
            fraction(whole, share)


def test_image_sets_check_themselves():
    for images, labels, patients, text in (
        (TWO, [0, 2], None, r"labels \[2\] are outside 0 to 1"),
        (TWO, [0, -1], None, r"labels \[-1\]"),
        (TWO.astype(np.float32), [0, 1], None, "float32"),
        (TWO, [0.0, 1.0], None, "labels are float64"),
        (TWO, [0, 1, 1], None, "2 images, 3 labels"),
        (TWO, [0, 1], ("p",), "2 images, 2 labels, 2 names: pass .* a patient"),
    ):
        with pytest.raises(ValueError, match=text):
            ImageSet(images, np.array(labels), ("a", "b"), ("x", "y"), patients)


def test_what_is_taken_has_its_patients_and_neighbours_are_not_copied():
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8)
    whole = ImageSet(images, np.array([0, 1, 0, 1]), ("a", "b"), tuple("wxyz"), tuple("pqqr"))
    assert repr(whole) == "ImageSet(4 images, 1 x 8 x 8: 2 a, 2 b)"
    for indices in ([1, 2], [0, 1, 2, 3], [2, 1], [0, 2], [3], []):
        part = whole.take(np.array(indices, int))
        assert part.names == tuple("wxyz"[i] for i in indices) and part.patients == tuple("pqqr"[i] for i in indices)
        assert (part.images == images[indices]).all()
        assert np.shares_memory(part.images, images) == (indices in ([1, 2], [0, 1, 2, 3], [3]))


def test_a_part_never_touches_val_and_test_and_keeps_the_flips():
    splits = Splits("s", toy(), toy((4, 4)), toy((6, 6)), flips=())
    part = splits.part(0.1, seed=3)
    assert part.val is splits.val and part.test is splits.test and part.flips == ()
    assert part.train.names == fraction(splits.train, 0.1, 3).names and part.train.counts == (4, 6)
