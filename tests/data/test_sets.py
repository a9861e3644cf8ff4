from itertools import pairwise

import numpy as np
import pytest

from dmws_lite.data.sets import ImageSet, Splits, fraction


def toy(counts=(40, 60), classes=("a", "b")):
    labels = np.repeat(np.arange(len(counts)), counts)
    return ImageSet(np.zeros((len(labels), 1, 8, 8), np.uint8), labels, classes, tuple(map(str, range(len(labels)))))


def test_fractions_are_nested_stratified_and_seeded():
    whole = toy((40, 60))
    parts = [fraction(whole, share) for share in (0.01, 0.05, 0.1, 0.5, 1.0)]
    assert [p.counts for p in parts] == [(1, 1), (2, 3), (4, 6), (20, 30), (40, 60)]
    for small, large in pairwise(parts):
        assert set(small.names) <= set(large.names)
    assert parts[-1].names == whole.names
    assert fraction(whole, 0.1).names == parts[2].names != fraction(whole, 0.1, seed=1).names


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_shares_outside_0_to_1(share):
    with pytest.raises(ValueError, match="share="):
        fraction(toy(), share)


def test_image_sets_check_themselves():
    images, two = np.zeros((2, 1, 8, 8), np.uint8), ("x", "y")
    assert repr(ImageSet(images, np.array([0, 1]), ("a", "b"), two)) == "ImageSet(2 images, 1 x 8 x 8: 1 a, 1 b)"
    with pytest.raises(ValueError, match=r"labels \[2\] are outside 0 to 1"):
        ImageSet(images, np.array([0, 2]), ("a", "b"), two)
    with pytest.raises(ValueError, match=r"labels \[-1\]"):
        ImageSet(images, np.array([0, -1]), ("a", "b"), two)
    with pytest.raises(ValueError, match="float32"):
        ImageSet(images.astype(np.float32), np.array([0, 1]), ("a", "b"), two)
    with pytest.raises(ValueError, match="labels are float64"):
        ImageSet(images, np.array([0.0, 1.0]), ("a", "b"), two)
    with pytest.raises(ValueError, match="2 images, 3 labels"):
        ImageSet(images, np.array([0, 1, 1]), ("a", "b"), two)


def test_patients_follow_their_images():
    whole = ImageSet(
        np.zeros((3, 1, 8, 8), np.uint8), np.array([0, 1, 0]), ("a", "b"), ("x", "y", "z"), ("p", "q", "p")
    )
    assert whole.take(np.array([2, 1])).patients == ("p", "q")
    assert fraction(whole, 1.0).patients == ("p", "q", "p")
    with pytest.raises(ValueError, match="3 images, 3 labels, 3 names"):
        ImageSet(whole.images, whole.labels, whole.classes, whole.names, ("p", "q"))


def test_neighbours_are_taken_without_a_copy_and_others_with_one():
    images = np.arange(4 * 64, dtype=np.uint8).reshape(4, 1, 8, 8)
    whole = ImageSet(images, np.array([0, 1, 0, 1]), ("a", "b"), tuple("wxyz"))
    for indices in ([1, 2], [0, 1, 2, 3], [2, 1], [0, 2], [3], []):
        part = whole.take(np.array(indices, int))
        assert (part.images == images[indices]).all() and part.names == tuple("wxyz"[i] for i in indices)
        assert np.shares_memory(part.images, images) == (indices in ([1, 2], [0, 1, 2, 3], [3]))


def test_a_part_never_touches_val_and_test_and_keeps_the_flips():
    splits = Splits("s", toy(), toy((4, 4)), toy((6, 6)), flips=())
    part = splits.part(0.1, seed=3)
    assert part.val is splits.val and part.test is splits.test and part.flips == ()
    assert part.train.names == fraction(splits.train, 0.1, 3).names and part.train.counts == (4, 6)
