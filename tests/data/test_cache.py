import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmws_lite.data import cache
from dmws_lite.data.cache import decoded, file_hashes


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
    import hashlib

    assert found.facts["sha256"][3] == hashlib.sha256((root / "03.png").read_bytes()).hexdigest()


def test_nothing_is_decoded_twice(folder, monkeypatch):
    root, _ = folder
    first = opened(root)
    calls = count_decoding(monkeypatch)
    again = opened(root)
    assert not calls and isinstance(again.images, np.memmap)
    assert (again.images == first.images).all() and again.facts.equals(first.facts) and again.pairs.equals(first.pairs)


def test_a_moved_or_touched_folder_is_not_decoded_again(folder, monkeypatch):
    root, _ = folder
    opened(root)
    calls = count_decoding(monkeypatch)
    os.utime(root / "00.png")
    opened(root)
    opened(root.rename(root.with_name("elsewhere")))
    assert not calls


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


def test_what_cannot_be_read_is_kept_with_its_reason(folder):
    root, pixels = folder
    (root / "04.png").write_bytes((root / "04.png").read_bytes()[:60])
    (root / "07.png").write_bytes(b"")
    found = opened(root)
    assert [i for i, error in enumerate(found.facts["error"]) if error] == [4, 7]
    assert not found.images[[4, 7]].any() and (found.images[5, 0] == pixels[5]).all()


BUILD = """
import sys
from pathlib import Path
from dmws_lite.data import cache
root = Path(sys.argv[1])
files = sorted(path.name for path in root.iterdir())
original = cache.decode
def slow(*arguments):
    import time
    time.sleep(float(sys.argv[2]))
    sys.stdout.write("decoded\n"); sys.stdout.flush()
    return original(*arguments)
cache.decode = slow
found = cache.decoded(root, files, [0] * len(files), 16, progress=False)
print(int(found.images.sum()), flush=True)
"""


def build(root, pause):
    command = [sys.executable, "-c", BUILD, str(root), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_build_is_not_used_and_leaves_nothing_behind(folder, own_cache, monkeypatch):
    root, pixels = folder
    process = build(root, 0.5)
    assert "decoded" in process.stdout.readline()
    process.kill()
    process.wait()
    assert list((own_cache / "arrays").glob("*.part"))
    assert (opened(root).images[:, 0] == pixels).all()
    assert not list((own_cache / "arrays").glob("*.part"))


def test_two_processes_build_one_cache(folder):
    root, pixels = folder
    outputs = [process.communicate()[0].split() for process in [build(root, 0.02) for _ in range(2)]]
    assert [output[-1] for output in outputs] == [str(int(pixels.sum()))] * 2
    assert sorted(output.count("decoded") for output in outputs) == [0, 12]


@pytest.mark.parametrize("name", ["images.raw", "thumbnails.raw", "facts.csv", "done.json"])
def test_a_damaged_cache_is_made_again(folder, name):
    root, pixels = folder
    path = opened(root).folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert (opened(root).images[:, 0] == pixels).all()


LIMITED = """
import resource, sys
from pathlib import Path
from dmws_lite.data.cache import decoded, file_hashes
root = Path(sys.argv[1])
files = sorted(path.name for path in root.iterdir())
file_hashes(root, files, False)
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


def test_a_missing_package_stops_the_work_and_is_not_remembered(folder, monkeypatch):
    def missing(*arguments):
        raise ImportError("DICOM needs pydicom: pip install ...")

    monkeypatch.setattr(cache, "decode", missing)
    with pytest.raises(ImportError, match="pydicom"):
        opened(folder[0])
    monkeypatch.undo()
    assert set(opened(folder[0]).facts["error"]) == {""}


def test_raw_patient_ids_become_pseudonyms_and_are_kept_nowhere(folder, own_cache, monkeypatch):
    from dataclasses import replace

    original = cache.decode

    def with_ids(data, *rest):
        decoded = original(data, *rest)
        return replace(decoded, patient=["SMITH^JOHN", "", "DOE^JANE"][int(decoded.image.sum()) % 3])

    monkeypatch.setattr(cache, "decode", with_ids)
    found = opened(folder[0])
    sums = np.asarray(found.images).reshape(12, -1).sum(1) % 3
    assert [patient == "" for patient in found.facts["patient"]] == [s == 1 for s in sums]
    assert set(found.facts["patient"]) == {"", "patient 1", "patient 2"}
    assert found.facts["patient"].groupby(sums).nunique().max() == 1
    texts = [path.read_bytes() for path in own_cache.rglob("*") if path.is_file()]
    assert not any(b"SMITH" in text or b"DOE" in text for text in texts)


def test_hashes_are_read_from_the_files_once(folder, monkeypatch):
    root, _ = folder
    files = sorted(path.name for path in root.iterdir())
    calls, original = [], cache._sha256
    monkeypatch.setattr(cache, "_sha256", lambda path: calls.append(path) or original(path))
    first = file_hashes(root, files, False)
    assert len(calls) == 12 and file_hashes(root, files, False) == first and len(calls) == 12
    (root / "03.png").write_bytes(b"other")
    assert file_hashes(root, files, False)["03.png"] != first["03.png"] and len(calls) == 13


def test_three_thousand_images_open_again_in_under_a_second(tmp_path):
    root = tmp_path / "many"
    root.mkdir()
    data = [f"{number}".encode() for number in range(3000)]
    for number, text in enumerate(data):
        (root / f"{number:04d}.png").write_bytes(text)
    opened(root, size=224)
    start = time.perf_counter()
    again = opened(root, size=224)
    seconds = time.perf_counter() - start
    assert len(again.images) == 3000 and seconds < 1


def test_parallel_threads_share_one_cache(folder):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: opened(folder[0]), range(4)))
    assert len({str(one.folder) for one in found}) == 1 and Path(found[0].folder).is_dir()
