from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmws_lite.data.duplicates import find_pairs, group_pairs
from dmws_lite.data.phantoms import phantoms

PICTURES = phantoms("chest_xray", train=30, val=3, test=3, size=96).train.images[:, 0]


def resize(image, side=32):
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def jpeg(image, quality):
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


CHANGES = {
    "jpeg": (lambda image: jpeg(image, 40), {"near"}),
    "half the size": (lambda image: resize(image, 48), {"near"}),
    "half as large again": (lambda image: resize(image, 144), {"near"}),
    "more contrast": (lambda image: np.clip(1.3 * (image - 92.0) + 92, 0, 255).astype(np.uint8), {"similar"}),
    "upside down": (lambda image: image[::-1].copy(), set()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_told_for_what_it_is(change):
    alter, kinds = CHANGES[change]
    thumbnails = np.stack([resize(image) for image in (*PICTURES, *map(alter, PICTURES))])
    pairs = find_pairs([str(i) for i in range(60)], thumbnails)
    expected = {(i, i + 30) for i in range(30)} if kinds else set()
    assert set(pairs["kind"]) == kinds and {*zip(pairs["first"], pairs["second"], strict=True)} == expected


def test_equal_bytes_are_exact_copies_whatever_the_picture_and_unreadable_files_are_none():
    blank = np.zeros((4, 32, 32), np.uint8)
    pairs = find_pairs(["a", "b", "a", "b"], blank)
    assert pairs[["first", "second", "kind"]].values.tolist() == [[0, 2, "exact"], [1, 3, "exact"]]
    assert find_pairs(["", "", "a", "b"], blank).empty


def test_the_closest_come_first_and_blocks_do_not_change_what_is_found(monkeypatch):
    thumbnails = np.stack([resize(i) for i in (*PICTURES[:20], *(jpeg(i, 30) for i in PICTURES[:20]))])
    hashes = [str(i) for i in range(39)] + ["7"]
    whole = find_pairs(hashes, thumbnails)
    assert whole["kind"].tolist()[0] == "exact" and (whole["correlation"][1:20].diff().dropna() <= 0).all()
    monkeypatch.setattr("dmws_lite.data.duplicates._BLOCK", 7)
    parts = find_pairs(hashes, thumbnails)
    assert {*map(tuple, whole[["first", "second", "kind"]].values)} == {*map(tuple, parts.iloc[:, :3].values)}


def test_groups_follow_chains():
    numbers = group_pairs(7, pd.DataFrame({"first": [0, 1, 4], "second": [1, 3, 5]}))
    assert numbers[0] == numbers[1] == numbers[3] and numbers[4] == numbers[5]
    assert len(set(numbers)) == 4
