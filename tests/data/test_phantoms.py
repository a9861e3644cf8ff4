import hashlib
import itertools

import numpy as np
import pytest

from dmws_lite.data import phantoms as module
from dmws_lite.data.phantoms import CLASSES, MODALITIES, phantom, phantoms

PINNED = ("17aebbb93375d3e9", "dbe7c710dae6807e", "fda549addb084586")


@pytest.mark.parametrize("modality, pinned", [*zip(MODALITIES, PINNED, strict=True)])
def test_a_seed_draws_the_phantoms_that_it_always_drew(modality, pinned):
    digest = hashlib.sha256()
    for split, index, (size, seed) in itertools.product(("train", "test"), range(12), ((16, 0), (64, 0), (96, 3))):
        image, mask = phantom(modality, split, index, size, seed)
        assert image.shape == mask.shape == (size, size) and image.dtype == np.uint8 and mask.dtype == bool
        digest.update(image.tobytes() + mask.tobytes())
    assert digest.hexdigest()[:16] == pinned


def test_cached_phantoms_are_the_drawn_ones_drawn_once(tmp_path, monkeypatch):
    options = {"modality": "lung_ct", "train": 6, "val": 3, "test": 3, "size": 16, "seed": 4}
    expected, first = phantoms(**options).test.images, phantoms(**options, cached=True).test.images
    with monkeypatch.context() as patch:
        patch.delattr(module, "phantom")
        again = phantoms(**options, cached=True).test.images
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "file"))
    for images in (first, again, phantoms(**options, cached=True).test.images):
        assert np.array_equal(images, expected)


@pytest.mark.parametrize("modality", MODALITIES)
def test_splits_are_balanced_and_disjoint_and_brightness_does_not_tell_the_class(modality):
    small = phantoms(modality, train=90, val=6, test=90, size=32)
    parts = (small.train, small.val, small.test)
    assert [p.counts for p in parts] == [(30,) * 3, (2,) * 3, (30,) * 3]
    assert small.train.images.shape == (90, 1, 32, 32) and small.train.labels.dtype == np.int64
    assert len({image.tobytes() for p in parts for image in p.images}) == len(small) == 186
    assert small.classes == CLASSES[small.name]
    for statistic in (small.train.images.mean((1, 2, 3)), small.train.images.std((1, 2, 3))):
        assert np.ptp(np.array([statistic[small.train.labels == k].mean() for k in range(3)])) < statistic.std()


def test_wrong_arguments_are_named():
    for text, arguments in (
        ("modality='ultrasound'.*chest_xray", {"modality": "ultrasound"}),
        ("val=2 is smaller than the number of classes", {"modality": "lung_ct", "train": 3, "val": 2}),
        *((f"{name}={value}", {"modality": "lung_ct", name: value}) for name, value in (("size", 8), ("seed", -1))),
    ):
        with pytest.raises(ValueError, match=text):
            phantoms(**arguments)
