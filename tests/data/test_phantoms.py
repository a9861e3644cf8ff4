import time

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dmws_lite.data.phantoms import CLASSES, MODALITIES, draw, phantom, phantoms

CASES = [(modality, label) for modality in MODALITIES for label in range(len(CLASSES[modality]))]


@pytest.fixture(scope="module", params=MODALITIES)
def small(request):
    return phantoms(request.param, train=90, val=6, test=90, size=32)


@pytest.mark.parametrize("modality, label", CASES)
def test_one_phantom(modality, label):
    image, mask = draw(modality, label, np.random.default_rng(0))
    assert image.shape == mask.shape == (64, 64)
    assert image.dtype == np.uint8 and mask.dtype == bool
    assert image.std() > 30 and (image == 255).mean() < 0.1
    assert np.array_equal(image, draw(modality, label, np.random.default_rng(0))[0])
    assert not np.array_equal(image, draw(modality, label, np.random.default_rng(1))[0])


@pytest.mark.parametrize("modality, label", CASES)
def test_lesions_are_where_the_class_says(modality, label):
    areas = np.array([draw(modality, label, np.random.default_rng(i))[1].mean() for i in range(40)])
    assert (areas == 0).all() if label == 0 else (areas > 0).all() and areas.max() < 0.4


@pytest.mark.parametrize("modality, label", [case for case in CASES if case[1]])
def test_the_mask_marks_what_the_lesion_changed(modality, label):
    """Brain and lungs alike: grey values inside the mask differ from the mean picture of the normal class."""
    normal = np.mean([draw(modality, 0, np.random.default_rng(i))[0] for i in range(40)], axis=0)
    inside, outside = [], []
    for i in range(20):
        image, mask = draw(modality, label, np.random.default_rng(100 + i))
        change = np.abs(image - normal)
        inside.append(change[mask].mean())
        outside.append(change[~mask].mean())
    assert np.mean(inside) > 1.1 * np.mean(outside)


def test_splits_are_balanced_and_disjoint(small):
    parts = (small.train, small.val, small.test)
    assert [p.counts for p in parts] == [(30,) * 3, (2,) * 3, (30,) * 3]
    assert small.train.images.shape == (90, 1, 32, 32) and small.train.labels.dtype == np.int64
    assert len({image.tobytes() for p in parts for image in p.images}) == len(small) == 186
    assert small.classes == CLASSES[small.name]


def test_mean_and_contrast_do_not_tell_the_class(small):
    images, labels = small.train.images, small.train.labels
    for statistic in (images.mean((1, 2, 3)), images.std((1, 2, 3))):
        by_class = np.array([statistic[labels == k].mean() for k in range(3)])
        assert np.ptp(by_class) < statistic.std()


def test_a_linear_model_on_pixels_is_far_from_solving_it(small):
    train, test = (s.images.reshape(len(s), -1) / 255 for s in (small.train, small.test))
    model = LogisticRegression(C=1e-2, max_iter=200).fit(train, small.train.labels)
    assert model.score(test, small.test.labels) < 0.75


def test_a_smaller_set_is_the_beginning_of_a_larger_one():
    few, many = (phantoms("brain_mri", train=n, val=3, test=3, size=32) for n in (6, 12))
    assert np.array_equal(few.train.images, many.train.images[:6]) and few.train.names == many.train.names[:6]
    assert np.array_equal(few.test.images[2, 0], phantom("brain_mri", "test", 2, size=32)[0])
    assert not np.array_equal(few.train.images, phantoms("brain_mri", 6, 3, 3, size=32, seed=1).train.images)


@pytest.mark.parametrize("modality, label", CASES)
def test_another_size_shows_the_same_image(modality, label):
    for seed in range(5):
        small, mask = draw(modality, label, np.random.default_rng(seed), 48)
        large, wide = (
            a.reshape(48, 2, 48, 2).mean((1, 3)) for a in draw(modality, label, np.random.default_rng(seed), 96)
        )
        assert np.corrcoef(small.ravel(), large.ravel())[0, 1] > 0.94
        assert (mask != (wide > 0.5)).mean() < 0.02


@pytest.mark.parametrize("modality", MODALITIES)
def test_drawing_is_fast(modality):
    rng = np.random.default_rng(0)
    draw(modality, 1, rng)
    start = time.process_time()
    for i in range(30):
        draw(modality, i % 3, rng)
    assert (time.process_time() - start) / 30 < 0.03  # 1 to 3 ms on a quiet machine


def test_wrong_arguments_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="modality='ultrasound'.*chest_xray"):
        phantoms("ultrasound")
    with pytest.raises(ValueError, match="val=2 is smaller than the number of classes"):
        phantoms("lung_ct", train=3, val=2, test=3)
    with pytest.raises(ValueError, match="label=3 is not a class of lung_ct"):
        draw("lung_ct", 3, rng)
    with pytest.raises(ValueError, match="size=8"):
        draw("lung_ct", 1, rng, 8)
    with pytest.raises(ValueError, match="split='dev'"):
        phantom("lung_ct", "dev", 0)
