"""The one door: every kind of source, on real files."""

import json
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmws_lite.data.opening import new_card, open_data
from dmws_lite.data.phantoms import phantoms

REAL = Path(__file__).parents[2].parent / "shared" / "data"
FRONT = """---
pretty_name: A set
license: unknown
task_categories: [image-classification]
tags: [medical]
size_categories: [n<1K]
language: [en]
"""
COUNTS = {"brain_mri": (1800, 300, 1172), "chest_xray": (2100, 300, 701), "lung_ct": (1722, 280, 474)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def folder(root, counts, start=0):
    """Class folders of random gray PNG files; `start` seeds their pixels."""
    rng = np.random.default_rng(start)
    for name, count in counts.items():
        for i in range(count):
            save(root / name / f"{i:03d}.png", rng.integers(0, 256, (40, 40), dtype=np.uint8))
    return root


def split_folder(root, train=6, val=4, test=4):
    for start, (split, count) in enumerate({"train": train, "val": val, "test": test}.items()):
        folder(root / split, {"a": count, "b": count}, start)
    return root


def opened(source, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_data(source, **({"size": 16, "progress": False} | options))


def parts(splits):
    return splits.train, splits.val, splits.test


def test_a_folder_of_classes_is_divided_and_says_that_patients_are_unknown(tmp_path):
    root = folder(tmp_path / "set", {"b": 20, "a": 40})
    with pytest.warns(UserWarning, match="patient"):
        splits = open_data(root, size=16, progress=False)
    assert splits.name == "set" and splits.classes == ("a", "b") and len(splits) == 60
    counts = [part.counts[0] for part in parts(splits)]
    assert counts == [pytest.approx(40 * share, abs=2) for share in (0.7, 0.15, 0.15)]
    names = [name for part in parts(splits) for name in part.names]
    assert len(set(names)) == 60
    for part in parts(splits):
        for image, label, name in zip(part.images, part.labels, part.names, strict=True):
            assert name.split("/")[0] == "ab"[label]
            with Image.open(root / name) as file:
                expected = file.resize((16, 16), Image.Resampling.BICUBIC)
            assert (image[0] == np.asarray(expected)).all()


def test_a_published_split_is_kept_without_a_word_and_stays_memory_mapped(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = open_data(split_folder(tmp_path / "set"), size=16, progress=False)
    assert [p.counts for p in parts(splits)] == [(6, 6), (4, 4), (4, 4)]
    for part, split in zip(parts(splits), ("train", "val", "test"), strict=True):
        assert all(name.startswith(split + "/") for name in part.names)
        assert isinstance(part.images, np.memmap)


def test_what_is_passed_over_is_said(tmp_path):
    root = split_folder(tmp_path / "set")
    save(root / "train/a/masks/1.png", np.zeros((9, 9), np.uint8))
    with pytest.warns(UserWarning, match=r"left out 1 files in folders called mask or masks \(1 train/a/masks\)"):
        assert len(open_data(root, size=16, progress=False)) == 28


def test_the_split_depends_on_the_content_and_the_seed_alone(tmp_path):
    root = folder(tmp_path / "one", {"a": 20, "b": 20})
    other = Path(shutil.copytree(root, tmp_path / "two"))
    first = opened(root)
    assert opened(other).test.names == first.test.names == opened(root, size=24).test.names
    assert opened(root, seed=1).test.names != first.test.names


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "Testing")])
def test_a_published_split_without_val_gets_one_from_train(tmp_path, names):
    for start, (name, count) in enumerate(zip(names, (20, 6), strict=True)):
        folder(tmp_path / "set" / name, {"a": count, "b": count}, start)
    splits = opened(tmp_path / "set")
    assert [p.counts for p in parts(splits)] == [(17, 17), (3, 3), (6, 6)]
    assert all(name.startswith(names[0] + "/") for name in splits.train.names + splits.val.names)
    assert not set(splits.train.names) & set(splits.val.names)
    card = new_card(tmp_path / "set", tmp_path / "cards")
    assert [part.names for part in parts(opened(card))] == [part.names for part in parts(splits)]


def with_patients(root, ids):
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    pd.DataFrame({"file_name": files, "patient": ids}).to_csv(root / "metadata.csv", index=False)


def test_corrected_patients_are_obeyed_at_once(tmp_path):
    root = folder(tmp_path / "set", {"a": 30, "b": 30})
    with_patients(root, [f"p{i}" for i in range(60)])
    opened(root)
    with_patients(root, [f"p{i // 4}" for i in range(60)])
    sides = [set(part.patients) for part in parts(opened(root))]
    assert sum(map(len, sides)) == 15
    assert [set(part.patients) for part in parts(opened(root, size=24))] == sides


def test_copies_stay_on_one_side(tmp_path):
    pixels = phantoms("brain_mri", train=30, val=3, test=3).train.images[:, 0]
    for number, image in enumerate(pixels):
        for copy, quality in enumerate((95, 60, 40)):
            save(tmp_path / "set" / "abc"[number % 3] / f"{number:02d}_{copy}.jpg", image, quality=quality)
    sides = [{Path(name).stem.split("_")[0] for name in part.names} for part in parts(opened(tmp_path / "set"))]
    assert sum(map(len, sides)) == 30 and all(sides)


@pytest.fixture
def leaking(tmp_path):
    """A published split whose train holds two bytes-equal copies of test images."""
    root = split_folder(tmp_path / "set")
    for i in range(2):
        shutil.copy(root / f"test/a/{i:03d}.png", root / f"train/a/{i:03d}.png")
    return root


def test_what_a_published_split_leaks_is_said_by_default(leaking):
    with pytest.warns(UserWarning, match=r"share 2 pairs.*2 exact: train/a/000.png = test/a/000.png.*leaks='drop'"):
        splits = open_data(leaking, size=16, progress=False)
    assert splits.train.counts == (6, 6)


def test_what_a_published_split_leaks_is_an_error_or_dropped_by_choice(leaking):
    with pytest.raises(ValueError, match="share 2 pairs"):
        opened(leaking, leaks="error")
    with pytest.warns(UserWarning, match="dropped 2 images"):
        splits = open_data(leaking, size=16, progress=False, leaks="drop")
    assert splits.train.counts == (4, 6) and splits.test.counts == (4, 4)
    assert not {"train/a/000.png", "train/a/001.png"} & set(splits.train.names)


def test_a_class_that_is_all_copies_cannot_be_dropped(leaking):
    for i in range(2, 6):
        shutil.copy(leaking / f"test/a/{i % 4:03d}.png", leaking / f"train/a/{i:03d}.png")
    with pytest.raises(ValueError, match="train has no usable image of class 'a'"):
        opened(leaking, leaks="drop")


def test_one_bad_image_is_named_or_left_out_by_choice(tmp_path):
    root = split_folder(tmp_path / "set")
    path = root / "train/b/003.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"1 of 28 images cannot be used: train/b/003.png \(.+\).*unusable='skip'"):
        opened(root)
    with pytest.warns(UserWarning, match="train/b/003.png.*left out"):
        splits = open_data(root, size=16, progress=False, unusable="skip")
    assert splits.train.counts == (6, 5) and "train/b/003.png" not in splits.train.names


def test_one_image_with_two_labels_is_refused_or_left_out(tmp_path):
    root = split_folder(tmp_path / "set")
    shutil.copy(root / "train/a/003.png", root / "train/b/000.png")
    with pytest.raises(ValueError, match=r"2 of 28 images.*train/a/003.png \(the same bytes have another label"):
        opened(root)
    assert opened(root, unusable="skip").train.counts == (5, 5)


def test_a_zip_of_a_folder(tmp_path):
    root = split_folder(tmp_path / "set")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in root.rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    found, expected = opened(tmp_path / "set.zip"), opened(root)
    assert found.name == "set" and found.train.names == expected.train.names
    assert all((a.images == b.images).all() for a, b in zip(parts(found), parts(expected), strict=True))


def test_a_manifest_of_files(tmp_path):
    root = folder(tmp_path / "set", {"x": 12})
    table = pd.DataFrame(
        {
            "file": [f"x/{i:03d}.png" for i in range(12)],
            "label": ["sick", "well"] * 6,
            "split": ["train"] * 6 + ["val"] * 2 + ["test"] * 4,
            "patient": [f"p{i // 2}" for i in range(12)],
        }
    )
    table.to_csv(root / "list.csv", index=False)
    splits = opened(root / "list.csv")
    assert splits.classes == ("sick", "well") and [len(part) for part in parts(splits)] == [6, 2, 4]
    assert splits.test.patients == ("p4", "p4", "p5", "p5")


def test_a_data_set_of_the_hubs_library(tmp_path):
    datasets = pytest.importorskip("datasets")
    rng = np.random.default_rng(0)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})

    def part(count):
        images = [Image.fromarray(rng.integers(0, 256, (20, 20), dtype=np.uint8)) for _ in range(count)]
        return datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in range(count)]}, features)

    whole = datasets.DatasetDict(train=part(8), test=part(6), validation=part(4))
    splits = opened(whole)
    assert splits.classes == ("no", "yes") and [p.counts for p in parts(splits)] == [(4, 4), (2, 2), (3, 3)]


def test_phantoms_by_card_are_the_drawn_ones():
    splits, drawn = opened("phantom_lung_ct", size=24, seed=2), phantoms("lung_ct", size=24, seed=2)
    assert splits.name == "phantom_lung_ct" and splits.classes == drawn.classes
    for part, expected in zip(parts(splits), parts(drawn), strict=True):
        assert (part.images == expected.images).all() and (part.labels == expected.labels).all()
        assert part.names == expected.names == part.patients


@pytest.mark.parametrize("flips", [[], ["horizontal"], ["vertical", "horizontal"]])
def test_a_card_tells_classes_flips_and_patients(tmp_path, flips):
    folder(tmp_path / "images", {"p0": 6, "p1": 6})
    for path in sorted((tmp_path / "images").rglob("*.png")):
        path.rename(path.with_name(f"s{int(path.stem) // 2}_{path.parent.name}_{path.name}"))
    (tmp_path / "mine.md").write_text(
        f"""{FRONT}dmws:
  sources:
    - folder: {tmp_path / "images"}
  layout: classes
  classes:
    second: {{folder: p1, meaning: what is in p1}}
    first: {{folder: p0, meaning: what is in p0}}
  patient: {{pattern: '(s\\d+_p\\d)_'}}
  flips: {json.dumps(flips)}
---
# Mine
"""
    )
    splits = opened(tmp_path / "mine.md")
    assert splits.name == "mine" and splits.classes == ("second", "first") and splits.flips == tuple(flips)
    assert not set(splits.train.patients) & set(splits.test.patients)
    assert {name.split("/")[0] for name, k in zip(splits.train.names, splits.train.labels, strict=True) if k == 0} == {
        "p1"
    }


def write_dicom(root, count=24):
    """Files of patients with four images each, in two classes."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset

    rng = np.random.default_rng(0)
    for number in range(count):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
        meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        path = root / "ab"[number % 2] / f"{number:02d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        data.PatientName, data.PatientID = "Grünwald^Ada", f"SECRET{number // 4}"
        data.Rows = data.Columns = 20
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PixelData = rng.integers(0, 4096, (20, 20), dtype=np.uint16).tobytes()
        data.save_as(path, enforce_file_format=True)


def test_ids_of_files_and_of_a_manifest_are_one_person(tmp_path):
    write_dicom(tmp_path / "set", 48)
    files = [f"{'ab'[number % 2]}/{number:02d}.dcm" for number in range(48)]
    ids = [f"MRN{number // 4}" if number % 4 == 0 else "" for number in range(48)]
    pd.DataFrame({"file_name": files, "patient": ids}).to_csv(tmp_path / "set" / "metadata.csv", index=False)
    sides = [set(part.patients) for part in parts(opened(tmp_path / "set"))]
    assert set.union(*sides) == {f"MRN{k}" for k in range(12)} and sum(map(len, sides)) == 12


def test_dicom_patients_are_pseudonyms_that_group_and_never_the_id(tmp_path, own_cache):
    write_dicom(tmp_path / "set")
    splits = opened(tmp_path / "set")
    sides = [set(part.patients) for part in parts(splits)]
    assert set.union(*sides) == {f"patient {i}" for i in range(1, 7)} and sum(map(len, sides)) == 6
    kept = b"".join(path.read_bytes() for path in own_cache.rglob("*") if path.is_file())
    assert b"SECRET" not in kept and b"Ada" not in kept


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        (("nowhere",), FileNotFoundError, "neither a folder, a file, nor a card.*dmws data list"),
        (("owner/name",), FileNotFoundError, "hf://datasets/owner/name"),
        (("https://example.org/a.zip",), FileNotFoundError, "is an address: write a card"),
        (("",), ValueError, "source='' is empty"),
        (("brain_mri",), FileNotFoundError, "did you mean .*phantom_brain_mri"),
        (("phantom_lung_ct", 0), ValueError, "size=0: pass the number of pixels"),
        (("phantom_lung_ct", 16, 0, "squash"), ValueError, "fit='squash' is unknown: pass one of"),
        (("phantom_lung_ct", 16, 0, None, "keep"), ValueError, "leaks='keep' is unknown: pass one of"),
        (("phantom_lung_ct", 16, 0, None, "warn", "keep"), ValueError, "unusable='keep' is unknown"),
        (("phantom_lung_ct", 16, 0, None, "warn", "skip", "first"), ValueError, "frames='first' is unknown"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        open_data(*arguments)


@pytest.mark.parametrize("kind", ["classes", "splits", "manifest", "split manifests", "nested", "masks"])
def test_a_new_card_opens_what_it_was_made_from(tmp_path, kind):
    root = tmp_path / "My set"
    if kind == "splits":
        split_folder(root)
    elif kind == "manifest":
        folder(root, {"all": 30})
        table = pd.DataFrame({"file": [f"all/{i:03d}.png" for i in range(30)], "label": ["a", "b"] * 15})
        table.to_csv(root / "metadata.csv", index=False)
    elif kind == "split manifests":
        for start, split in enumerate(("train", "test")):
            folder(root, {split: 12}, start)
            table = pd.DataFrame({"file_name": [f"{i:03d}.png" for i in range(12)], "label": ["a", "b"] * 6})
            table.to_csv(root / split / "metadata.csv", index=False)
    else:
        inner = root / "archive" if kind == "nested" else root
        folder(inner, {"a": 12, "b": 12})
        if kind == "masks":
            folder(inner, {"a/masks": 12, "b/masks": 12}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        card = new_card(root, tmp_path / "cards", seed=2)
    by_card, by_folder = opened(card), opened(root, seed=2)
    assert card.name == "my_set.md" and str(tmp_path) not in card.read_text()
    assert [part.names for part in parts(by_card)] == [part.names for part in parts(by_folder)]


@pytest.mark.parametrize("source", ["phantom_lung_ct", "set.zip", "nowhere"])
def test_a_new_card_is_for_folders_only(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("set.zip", "w") as archive:
        archive.writestr("a/x.png", b"")
    with pytest.raises(NotADirectoryError, match="is no folder: pass one; archives are to be unpacked first"):
        new_card(source, "cards")
    assert not Path("cards").exists()


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared folder of real images is not here")
@pytest.mark.parametrize("name", COUNTS)
def test_real_sets_open_by_folder_and_by_card(name, tmp_path):
    classes = sorted(path.name for path in (REAL / name / "train").iterdir())
    listed = "\n".join(f"    {c}: {{meaning: images of {c}}}" for c in classes)
    (tmp_path / f"{name}.md").write_text(
        f"{FRONT}dmws:\n  sources:\n    - folder: {REAL / name}\n  layout: splits\n"
        f"  classes:\n{listed}\n  flips: []\n---\n# A real set\n"
    )
    by_folder, by_card = opened(REAL / name, size=32), opened(tmp_path / f"{name}.md", size=32)
    assert tuple(map(len, parts(by_folder))) == COUNTS[name] and by_folder.classes == tuple(classes)
    assert by_card.flips == () and by_folder.train.images.shape[1:] == (1, 32, 32)
    for a, b in zip(parts(by_folder), parts(by_card), strict=True):
        assert a.names == b.names and (a.images == b.images).all() and a.patients == b.patients
    assert (by_folder.train.patients is not None) == (name == "lung_ct")
