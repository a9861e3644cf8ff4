import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dmws_lite.data import cache
from dmws_lite.data.cache import decoded


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """A folder of gray PNG files and their pixels."""
    root, rng = tmp_path / "images", np.random.default_rng(0)
    root.mkdir()
    pixels = rng.integers(0, 256, (12, 16, 16), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(root / f"{number:02d}.png")
    return root, pixels


def opened(root, **options):
    files = sorted(path.name for path in root.iterdir())
    return decoded(root, files, [0] * len(files), **({"size": 16, "progress": False} | options))


def decode_with_patients(monkeypatch, ids):
    """Lets the files 00.png, 01.png and so on be those of these patients."""
    original = cache.decode
    order = iter(ids)
    monkeypatch.setattr(cache, "WORKERS", 1)
    monkeypatch.setattr(cache, "decode", lambda *arguments: replace(original(*arguments), patient=next(order)))


def count_decoding(monkeypatch):
    """A list that grows by one with each image that is decoded."""
    calls, original = [], cache.decode

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(cache, "decode", counted)
    return calls


def test_pixels_facts_and_hashes_are_those_of_the_files(folder):
    root, pixels = folder
    found = opened(root)
    assert (np.asarray(found.images)[:, 0] == pixels).all() and found.thumbnails.shape == (12, 32, 32)
    assert set(found.facts["width"]) == {16} and set(found.facts["error"]) == {""}
    assert found.facts["sha256"][3] == hashlib.sha256((root / "03.png").read_bytes()).hexdigest()


def test_nothing_is_decoded_twice(folder, monkeypatch):
    root, _ = folder
    first = opened(root)
    calls = count_decoding(monkeypatch)
    again = opened(root)
    assert not calls and isinstance(again.images, np.memmap)
    assert (again.images == first.images).all() and again.facts.equals(first.facts) and again.pairs.equals(first.pairs)


@pytest.mark.parametrize("options", [{"size": 8}, {"fit": "letterbox"}, {"window": (0, 100)}])
def test_other_settings_are_decoded_apart(folder, monkeypatch, options):
    root, _ = folder
    opened(root)
    calls = count_decoding(monkeypatch)
    opened(root, **options)
    assert len(calls) == 12


def test_an_edited_image_is_noticed_even_with_its_old_size_and_time(folder):
    root, pixels = folder
    opened(root)
    path = root / "05.png"
    before = path.stat()
    Image.fromarray(255 - pixels[5]).save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (opened(root).images[5, 0] == 255 - pixels[5]).all()


def test_one_colour_image_gives_all_three_channels(folder):
    root, pixels = folder
    colours = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(colours).save(root / "06.png")
    images = opened(root).images
    assert images.shape == (12, 3, 16, 16) and (images[6] == colours.transpose(2, 0, 1)).all()
    assert all((images[[0, 11], channel] == pixels[[0, 11]]).all() for channel in range(3))


def test_what_cannot_be_read_is_kept_with_its_reason_and_read_again_when_it_is_there(folder):
    root, pixels = folder
    (root / "04.png").write_bytes((root / "04.png").read_bytes()[:60])
    (root / "07.png").unlink()
    files = [f"{number:02d}.png" for number in range(12)]
    found = decoded(root, files, [0] * 12, 16, progress=False)
    assert [i for i, error in enumerate(found.facts["error"]) if error] == [4, 7]
    assert "No such file" in found.facts["error"][7] and found.facts["sha256"][7] == ""
    assert not found.images[[4, 7]].any() and (found.images[5, 0] == pixels[5]).all()
    Image.fromarray(pixels[7]).save(root / "07.png")
    assert (decoded(root, files, [0] * 12, 16, progress=False).images[7, 0] == pixels[7]).all()


def test_patients_are_pseudonyms_and_ids_that_name_nobody_are_not_known(folder, own_cache, monkeypatch):
    ids = ["", "Anonymous", " ANON ", "unknown", "None", "0", "0000", "SMITH", "00A7", "10", "SMITH", ""]
    decode_with_patients(monkeypatch, ids)
    found = opened(folder[0])
    assert found.facts["patient"].tolist() == [*[""] * 7, "patient 1", "patient 2", "patient 3", "patient 1", ""]
    assert not found.one_patient
    assert not any(b"SMITH" in path.read_bytes() for path in own_cache.rglob("*") if path.is_file())


@pytest.mark.parametrize("ids", [["X"] * 12, [""] * 12])
def test_one_id_in_all_files_is_not_known_and_is_told_each_time(folder, monkeypatch, ids):
    decode_with_patients(monkeypatch, ids)
    for _ in range(2):
        found = opened(folder[0])
        assert set(found.facts["patient"]) == {""} and found.one_patient == (ids[0] == "X")


@pytest.mark.parametrize("name", ["images.raw", "thumbnails.npy", "facts.csv"])
def test_a_damaged_cache_is_made_again(folder, own_cache, name):
    root, pixels = folder
    opened(root)
    path = next((own_cache / "arrays").glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert (opened(root).images[:, 0] == pixels).all()


LIMITED = """
import resource, sys
from pathlib import Path
from dmws_lite.data.cache import decoded
root = Path(sys.argv[1])
files = sorted(path.name for path in root.iterdir())
resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
try:
    decoded(root, files, [0] * len(files), 64, progress=False)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are set through a Unix call")
def test_a_full_disk_is_named_and_leaves_nothing_behind(folder, own_cache):
    output = subprocess.check_output([sys.executable, "-c", LIMITED, str(folder[0])], text=True)
    assert str(own_cache / "arrays") in output and "free some space, or set DMWS_CACHE" in output
    assert [path.suffix for path in (own_cache / "arrays").iterdir()] == [".lock"]


def test_what_decoders_warn_of_carries_the_files_name_each_time_it_is_opened(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    for number in range(3):
        Image.fromarray(np.full((9, 9), 50 * number, np.uint8)).save(root / f"{number}.png", "GIF" if number else "PNG")
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"GIF files named .png are read.* \(2 files, such as 1.png\)"):
            opened(root)
