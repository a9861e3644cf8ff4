from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmws_lite.data.duplicates import MOST, NEAR, SIMILAR, groups, pairs
from dmws_lite.data.phantoms import phantoms

BICUBIC = Image.Resampling.BICUBIC


def thumbnail(image):
    return np.asarray(Image.fromarray(image).resize((32, 32), BICUBIC))


def pictures(count=30, size=96, modality="chest_xray"):
    return phantoms(modality, train=count, val=3, test=3, size=size).train.images[:, 0]


def jpeg(image, quality):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(image, factor):
    side = round(len(image) * factor)
    return np.asarray(Image.fromarray(image).resize((side, side), BICUBIC))


CHANGES = {
    "jpeg": (lambda image: jpeg(image, 40), {"near"}),
    "half the size": (lambda image: resized(image, 0.5), {"near"}),
    "half as large again": (lambda image: resized(image, 1.5), {"near"}),
    "brighter": (lambda image: np.clip(image.astype(int) + 12, 0, 255).astype(np.uint8), {"similar"}),
    "more contrast": (lambda image: np.clip(1.3 * (image - 92.0) + 92, 0, 255).astype(np.uint8), {"similar"}),
    "upside down": (lambda image: image[::-1].copy(), set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_told_for_what_it_is(change):
    alter, kinds = CHANGES[change]
    originals = pictures()
    thumbnails = np.stack([thumbnail(image) for image in (*originals, *(alter(image) for image in originals))])
    found = pairs([str(i) for i in range(60)], thumbnails)
    assert set(found["kind"]) == kinds
    assert set(zip(found["first"], found["second"], strict=True)) == (
        {(i, i + 30) for i in range(30)} if kinds else set()
    )


@pytest.mark.parametrize("modality", ["chest_xray", "lung_ct", "brain_mri"])
def test_different_phantoms_are_never_alike(modality):
    thumbnails = np.stack([thumbnail(image) for image in pictures(150, 64, modality)])
    assert pairs([str(i) for i in range(150)], thumbnails).empty


def test_equal_bytes_are_exact_copies_whatever_the_picture_and_unreadable_files_are_none():
    blank = np.zeros((4, 32, 32), np.uint8)
    found = pairs(["a", "b", "a", "b"], blank)
    assert found[["first", "second", "kind"]].values.tolist() == [[0, 2, "exact"], [1, 3, "exact"]]
    assert pairs(["", "", "a", "b"], blank).empty


def test_correlation_is_that_of_local_contrast():
    rng = np.random.default_rng(0)
    base = rng.integers(60, 190, (32, 32)).astype(np.uint8)
    mixed = np.clip(base + rng.normal(0, 12, (32, 32)), 0, 255).astype(np.uint8)
    found = pairs(["a", "b"], np.stack([base, mixed]))

    def structure(image):
        image = image.astype(np.float64)
        radius = np.arange(-8, 9)
        kernel = np.exp(-(radius**2) / 8)
        kernel /= kernel.sum()

        def blur(values):
            for axis in (0, 1):
                padded = np.pad(values, [(8, 8) if a == axis else (0, 0) for a in (0, 1)], "symmetric")
                values = np.apply_along_axis(lambda line: np.convolve(line, kernel, "valid"), axis, padded)
            return values

        detail = image - blur(image)
        return (detail / (np.sqrt(blur(detail**2)) + 4)).ravel()

    expected = np.corrcoef(structure(base), structure(mixed))[0, 1]
    assert SIMILAR < expected < 1 and found["correlation"].item() == pytest.approx(expected, abs=1e-4)


def test_the_closest_come_first_and_blocks_do_not_change_what_is_found(monkeypatch):
    originals = pictures(20)
    thumbnails = np.stack([thumbnail(i) for i in (*originals, *(jpeg(i, 30) for i in originals))])
    hashes = [str(i) for i in range(39)] + ["7"]
    whole = pairs(hashes, thumbnails)
    monkeypatch.setattr("dmws_lite.data.duplicates._BLOCK", 7)
    parts = pairs(hashes, thumbnails)
    assert whole[["first", "second", "kind"]].equals(parts[["first", "second", "kind"]])
    assert whole["kind"].tolist()[0] == "exact" and (whole["correlation"][1:20].diff().dropna() <= 0).all()
    assert (whole.loc[whole["kind"] == "near", "correlation"] >= NEAR).all()


def test_groups_follow_chains():
    linked = pd.DataFrame({"first": [0, 1, 4], "second": [1, 3, 5]})
    numbers = groups(7, linked)
    assert numbers[0] == numbers[1] == numbers[3] and numbers[4] == numbers[5]
    assert len(set(numbers)) == 4
    assert len(set(groups(3, linked.iloc[:0]))) == 3


def test_of_very_many_pairs_the_closest_are_kept():
    image = pictures(3)[0]
    noise = np.random.default_rng(0).normal(0, 1, (120, 32, 32))
    scale = np.linspace(0, 3, 120)[:, None, None]
    crowd = np.clip(thumbnail(image) + scale * noise, 0, 255).astype(np.uint8)
    found = pairs([*(str(i) for i in range(119)), "0"], crowd)
    of_the_first = found[found["first"] == 0]
    assert len(of_the_first) == MOST and found["first"].value_counts().max() == MOST
    assert of_the_first["kind"].iloc[0] == "exact" and of_the_first["second"].iloc[0] == 119
    assert of_the_first["second"].iloc[1:].max() < 70
    assert len(set(groups(120, found))) == 1
