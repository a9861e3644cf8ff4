import json
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


def test_files_that_cannot_be_opened_are_kept_with_their_reason(folder):
    root, pixels = folder
    (root / "12.png").mkdir()
    files = [*sorted(path.name for path in root.iterdir()), "gone.png"]
    for _ in range(2):
        found = decoded(root, files, [0] * 14, 16, progress=False)
        assert found.facts["error"][:12].eq("").all() and found.facts["sha256"][12:].eq("").all()
        assert found.facts["error"].str.contains("it cannot be read .*(?:directory|denied)").tolist()[12:] == [True] * 2
        assert "No such file" in found.facts["error"][13] and (found.images[:12, 0] == pixels).all()
    Image.fromarray(pixels[0]).save(root / "gone.png")
    assert decoded(root, files, [0] * 14, 16, progress=False).facts["error"][13] == ""


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_changes_after_hashing_is_an_error_and_is_read_again_next_time(folder, monkeypatch, gone):
    root, pixels = folder
    original, path = cache.file_hashes, root / "03.png"
    kept = path.read_bytes()

    def then_changed(*arguments):
        hashes = original(*arguments)
        path.unlink() if gone else Image.fromarray(255 - pixels[3]).save(path)
        return hashes

    with monkeypatch.context() as patch:
        patch.setattr(cache, "file_hashes", then_changed)
        found = opened(root)
    assert found.facts["error"][3].endswith(": open it again") and not found.images[3].any()
    assert found.facts["error"].ne("").sum() == 1
    path.write_bytes(kept)
    again = opened(root)
    assert again.folder == found.folder and again.facts["error"][3] == "" and (again.images[3, 0] == pixels[3]).all()


@pytest.mark.parametrize("text", ["[1, 2]", "7", '{"00.png": 1, "01.png": [1, 2, 3], "02.png": {}}', "", "{"])
def test_a_damaged_list_of_hashes_is_made_again(folder, own_cache, text):
    root, _ = folder
    files = sorted(path.name for path in root.iterdir())
    expected = file_hashes(root, files, False)
    index = next((own_cache / "hashes").iterdir())
    index.write_text(text)
    assert file_hashes(root, files, False) == expected and list(json.loads(index.read_text())) == files


def dicom(path, patient, pixels=None):
    """A DICOM file with a patient's id, written by pydicom."""
    pydicom = pytest.importorskip("pydicom")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8) if pixels is None else pixels
    file = pydicom.Dataset()
    file.SOPClassUID, file.SOPInstanceUID, file.PatientID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4", patient
    (file.Rows, file.Columns), file.SamplesPerPixel, file.PhotometricInterpretation = (
        pixels.shape[-2:],
        1,
        "MONOCHROME2",
    )
    file.NumberOfFrames = len(pixels) if pixels.ndim == 3 else 1
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    file.PixelData = pixels.tobytes()
    file["PixelData"].VR = "OB"
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    pydicom.dcmwrite(path, file, enforce_file_format=True)


def test_dicom_files_need_no_ending(tmp_path):
    for name, patient in (("IM0001", "A7"), ("1.2.840.99", "B8")):
        dicom(tmp_path / name, patient)
    found = decoded(tmp_path, ["IM0001", "1.2.840.99"], [0, 0], 16, progress=False)
    assert found.facts["error"].tolist() == ["", ""] and found.images.any()
    assert found.facts["patient"].tolist() == ["patient 1", "patient 2"]


def patients(root, ids, **options):
    root.mkdir()
    for number, patient in enumerate(ids):
        dicom(root / f"{number:02}.dcm", patient)
    return opened(root, **options).facts["patient"].tolist()


def test_ids_that_name_nobody_are_not_known(tmp_path):
    ids = ["", "Anonymous", " ANON ", "unknown", "None", "0", "0000", "A7", "00A7", "10", "A7"]
    expected = [*[""] * 7, "patient 1", "patient 2", "patient 3", "patient 1"]
    assert patients(tmp_path / "set", ids) == expected


def test_one_id_in_all_files_is_not_known_and_is_told_each_time_without_naming_it(tmp_path):
    for call in (lambda: patients(tmp_path / "set", ["SECRET"] * 3), lambda: opened(tmp_path / "set").facts["patient"]):
        with pytest.warns(UserWarning, match="all 3 files have one DICOM patient id.*unknown") as caught:
            assert set(call()) == {""}
        assert len(caught) == 1 and "SECRET" not in str(caught[0].message)
    assert patients(tmp_path / "two", ["SECRET"] * 2 + [""]) == ["patient 1", "patient 1", ""]
    assert patients(tmp_path / "one", ["SECRET"]) == ["patient 1"]


@pytest.mark.filterwarnings("ignore:all 2 files")
def test_frames_of_one_file_stay_together_when_their_patient_is_not_known(tmp_path):
    stack = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    dicom(tmp_path / "a.dcm", "ANON", stack)
    dicom(tmp_path / "b.dcm", "ANON", stack)
    for name in "ab":
        dicom(tmp_path / f"{name}2.dcm", "SAME", stack)
    for names in (("a.dcm", "b.dcm"), ("a2.dcm", "b2.dcm")):
        found = decoded(tmp_path, np.repeat(names, 3).tolist(), [0, 1, 2] * 2, 16, progress=False)
        assert found.facts["patient"].tolist() == np.repeat(names, 3).tolist()


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
    sys.stdout.write("decoded\\n"); sys.stdout.flush()
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
