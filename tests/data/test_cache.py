import hashlib
import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dmws_lite.data import cache
from dmws_lite.data.cache import decode_files

FILES = [f"{number:02d}.png" for number in range(12)]
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 16), dtype=np.uint8)


@pytest.fixture
def root(tmp_path):
    """A folder of gray PNG files."""
    (tmp_path / "images").mkdir()
    for name, image in zip(FILES, PIXELS, strict=True):
        Image.fromarray(image).save(tmp_path / "images" / name)
    return tmp_path / "images"


def decode_root(root, **options):
    return decode_files(root, FILES, [0] * 12, **({"size": 16, "progress": False} | options))


@pytest.fixture
def calls(monkeypatch):
    """Grows by one with each image that is decoded; `calls.ids` are the patients of the next images."""
    calls, original = SimpleNamespace(count=0, ids=[]), cache.decode

    def count_call(*arguments):
        calls.count += 1
        return replace(original(*arguments), patient=calls.ids.pop(0) if calls.ids else "")

    monkeypatch.setattr(cache, "WORKERS", 1)
    monkeypatch.setattr(cache, "decode", count_call)
    return calls


def test_pixels_facts_and_hashes_are_those_of_the_files_decoded_once(root, calls):
    first = decode_root(root)
    assert (first.images[:, 0] == PIXELS).all() and first.thumbnails.shape == (12, 32, 32)
    assert set(first.facts["width"]) == {16} and set(first.facts["error"]) == {""}
    assert first.facts["sha256"][3] == hashlib.sha256((root / "03.png").read_bytes()).hexdigest()
    again = decode_root(root)
    assert calls.count == 12 and isinstance(again.images, np.memmap)
    assert (again.images == first.images).all() and again.facts.equals(first.facts) and again.pairs.equals(first.pairs)
    for number, options in enumerate([{"size": 8}, {"fit": "letterbox"}, {"window": (0, 100)}], 2):
        decode_root(root, **options)
        assert calls.count == 12 * number


def test_an_edited_image_is_noticed_even_with_its_old_size_and_time(root):
    before, _ = (root / "05.png").stat(), decode_root(root)
    Image.fromarray(255 - PIXELS[5]).save(root / "05.png")
    os.utime(root / "05.png", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (decode_root(root).images[5, 0] == 255 - PIXELS[5]).all()


def test_one_colour_image_gives_all_three_channels(root):
    colours = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(colours).save(root / "06.png")
    images = decode_root(root).images
    assert images.shape == (12, 3, 16, 16) and (images[6] == colours.transpose(2, 0, 1)).all()
    assert (np.delete(images, 6, 0) == np.delete(PIXELS, 6, 0)[:, None]).all()


def test_what_cannot_be_read_is_kept_with_its_reason_and_read_again_when_it_is_there(root):
    (root / "04.png").write_bytes((root / "04.png").read_bytes()[:60])
    (root / "07.png").unlink()
    decoding = decode_root(root)
    assert [i for i, error in enumerate(decoding.facts["error"]) if error] == [4, 7]
    assert "No such file" in decoding.facts["error"][7] and decoding.facts["sha256"][7] == ""
    assert not decoding.images[[4, 7]].any() and (decoding.images[5, 0] == PIXELS[5]).all()
    Image.fromarray(PIXELS[7]).save(root / "07.png")
    assert (decode_root(root).images[7, 0] == PIXELS[7]).all()


@pytest.mark.parametrize("alone", [False, True])
def test_patients_are_pseudonyms_and_ids_that_name_nobody_are_not_known(root, own_cache, calls, alone):
    calls.ids = ["", "Anonymous", " ANON ", "unknown", "None", "0", "0000", "SMITH", "00A7", "10", "SMITH", ""]
    expected = [*[""] * 7, "patient 1", "patient 2", "patient 3", "patient 1", ""]
    if alone:  # one id in all files, as anonymised exports have it, tells nobody apart
        calls.ids, expected = ["SMITH"] * 12, [""] * 12
    assert decode_root(root).facts["patient"].tolist() == expected == decode_root(root).facts["patient"].tolist()
    assert not any(b"SMITH" in path.read_bytes() for path in own_cache.rglob("*") if path.is_file())


def test_a_damaged_cache_is_made_again(root, own_cache):
    for name in ("images.raw", "thumbnails.npy", "facts.csv"):
        for damage in (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), os.unlink):
            decode_root(root)
            damage(next(own_cache.glob(f"arrays/*/{name}")))
            assert (decode_root(root).images[:, 0] == PIXELS).all()


def test_a_full_disk_is_named_and_leaves_nothing_behind(root, own_cache):
    import resource  # Unix has it: the system itself refuses files longer than the limit

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        with pytest.raises(OSError, match="arrays could not .*free some space, or set DMWS_CACHE"):
            decode_root(root, size=64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.suffix for path in own_cache.glob("arrays/*")] == [".lock"]


def test_what_decoders_warn_of_carries_the_files_name_each_time_it_is_opened(root):
    for name in FILES[1:3]:
        Image.open(root / name).save(root / name, "GIF")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"GIF files named .png are read.* \(2 files, such as 01.png\)"):
            decode_root(root)
