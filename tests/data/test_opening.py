"""The one door: every kind of source, on real files."""

import itertools
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmws_lite.data.opening import new_card, open_data
from dmws_lite.data.phantoms import phantoms

pytestmark = pytest.mark.filterwarnings("ignore")
SPLIT = {f"{split}/{name}": count for split, count in (("train", 6), ("val", 4), ("test", 4)) for name in "ab"}


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def folder(root, counts=SPLIT):
    """Class folders of random gray PNG files."""
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        for i in range(count):
            save(root / name / f"{i:03d}.png", rng.integers(0, 256, (40, 40), dtype=np.uint8))
    return root


def open_small(source, **options):
    return open_data(source, **({"size": 16, "progress": False} | options))


def parts(splits):
    return splits.train, splits.val, splits.test


def test_a_folder_of_classes_is_divided_and_says_that_patients_are_unknown(tmp_path):
    root = folder(tmp_path / "set", {"b": 20, "a": 40})
    with pytest.warns(UserWarning, match="patient"):
        splits = open_small(root)
    assert splits.name == "set" and splits.classes == ("a", "b")
    assert [part.counts[0] for part in parts(splits)] == [pytest.approx(40 * p, abs=2) for p in (0.7, 0.15, 0.15)]
    images = {name: (i, k) for p in parts(splits) for i, k, name in zip(p.images, p.labels, p.names, strict=True)}
    assert len(images) == len(splits) == 60
    for name, (image, label) in images.items():
        expected = np.asarray(Image.open(root / name).resize((16, 16), Image.Resampling.BICUBIC))
        assert name.split("/")[0] == "ab"[label] and (image[0] == expected).all()


@pytest.mark.filterwarnings("error")
def test_a_published_split_also_in_a_zip_is_kept_without_a_word_and_stays_memory_mapped(tmp_path):
    splits = open_small(folder(tmp_path / "set"))
    shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path, "set")
    from_zip = open_small(tmp_path / "set.zip")
    assert from_zip.name == "set" and from_zip.train.names == splits.train.names
    assert (from_zip.test.images == splits.test.images).all()
    assert [p.counts for p in parts(splits)] == [(6, 6), (4, 4), (4, 4)]
    for part, split in zip(parts(splits), ("train", "val", "test"), strict=True):
        assert all(name.startswith(split + "/") for name in part.names)
        assert isinstance(part.images, np.memmap)


def test_images_of_few_values_that_are_named_like_others_are_masks(tmp_path):
    root = folder(tmp_path / "set", {"a": 10, "b": 10})
    disc = (((np.indices((40, 40)) - 20) ** 2).sum(0) // 90).clip(0, 3) / 3
    for path in sorted(root.rglob("*.png")):
        save(path.with_name(f"{path.stem}_lesion.png"), (disc * 255).astype(np.uint8))
        save(path.with_name(f"{path.stem}_flipped.png"), np.asarray(Image.open(path))[:, ::-1])
    with pytest.warns(UserWarning, match="left out 20 files that are masks or overlays .*_lesion.png of "):
        assert len(open_small(root)) == 40


def test_names_that_look_like_patients_are_said_and_used_on_request(tmp_path):
    root, rng = tmp_path / "chest_xray", np.random.default_rng(0)
    for split, people in {"train": range(12), "val": range(12, 16), "test": range(8, 14)}.items():
        for person, view in itertools.product(people, (0, 1)):
            for name in (f"ill/person{person}_bacteria_{view}", f"well/NORMAL2-IM-{person:04d}-{view:04d}"):
                save(root / split / f"{name}.png", rng.integers(0, 256, (20, 20), dtype=np.uint8))
    told = "names of 88 files look as if they told 32 patients.*; 12 of them have images in"
    with pytest.warns(UserWarning, match=told) as caught:
        open_small(root)
    text = next(str(warning.message) for warning in caught if "told 32" in str(warning.message))
    pattern = eval(text.split("patient=")[1].split(") uses")[0])
    assert f"`patient: {{pattern: '{pattern}'}}`" in text
    with pytest.warns(UserWarning, match="share .* pairs of images or patients"):
        splits = open_small(root, patient=pattern)
    assert {"person3", "NORMAL2-IM-0003"} <= {*splits.train.patients}
    for source in (root, new_card(root, tmp_path / "cards", patient=pattern)):
        dropped = open_small(source, leaks="drop", patient=pattern if source == root else None)
        assert not {*dropped.train.patients} & {*dropped.test.patients}


def test_a_table_beside_parts_makes_a_card_that_reads_it(tmp_path):
    root = folder(tmp_path / "set", {"part_1": 12, "part_2": 12})
    rows = [f"{part}/{i:03d},{'xy'[i % 2]},{i // 6}" for part in ("part_1", "part_2") for i in range(12)]
    (root / "truth.csv").write_text("\n".join(["name,dx,target", *rows]))
    with pytest.warns(UserWarning, match=r"the label is column 'dx'; open_data\(..., label='target'\) takes another"):
        assert open_small(root).classes == ("x", "y")
    by_target = open_small(root, label="target")
    assert by_target.classes == ("0", "1") and open_small(root, label=1).classes == ("part_1", "part_2")
    by_card = open_small(new_card(root, tmp_path / "cards", label="target"))
    assert [part.names for part in parts(by_card)] == [part.names for part in parts(by_target)]


def test_copies_stay_on_one_side(tmp_path):
    pixels = phantoms("brain_mri", train=30, val=3, test=3).train.images[:, 0]
    for number, image in enumerate(pixels):
        for copy, quality in enumerate((95, 60, 40)):
            save(tmp_path / "set" / "abc"[number % 3] / f"{number:02d}_{copy}.jpg", image, quality=quality)
    sides = [{Path(name).stem.split("_")[0] for name in part.names} for part in parts(open_small(tmp_path / "set"))]
    assert sum(map(len, sides)) == 30 and all(sides)


def test_what_a_published_split_leaks_is_said_or_an_error_or_dropped(tmp_path):
    root = folder(tmp_path / "set")
    for i in range(2):
        shutil.copy(root / f"test/a/{i:03d}.png", root / f"train/a/{i:03d}.png")
    with pytest.warns(UserWarning, match=r"share 2 pairs.*2 exact: train/a/000.png = test/a/000.png.*leaks='drop'"):
        assert open_small(root).train.counts == (6, 6)
    with pytest.raises(ValueError, match="share 2 pairs"):
        open_small(root, leaks="error")
    with pytest.warns(UserWarning, match="dropped 2 images"):
        splits = open_small(root, leaks="drop")
    assert splits.train.counts == (4, 6) and splits.test.counts == (4, 4)
    for i in range(2, 6):
        shutil.copy(root / f"test/a/{i % 4:03d}.png", root / f"train/a/{i:03d}.png")
    with pytest.raises(ValueError, match="train has no usable image of class 'a'"):
        open_small(root, leaks="drop")


def test_bad_images_and_two_labels_of_one_image_are_named_or_left_out_by_choice(tmp_path):
    root = folder(tmp_path / "set")
    path = root / "train/b/003.png"
    path.write_bytes(path.read_bytes()[:100])
    shutil.copy(root / "train/a/003.png", root / "train/b/000.png")
    with pytest.raises(ValueError, match=r"3 of 28 .*train/a/003.png \(the same bytes have .*train/b/003.png \(.+skip"):
        open_small(root)
    with pytest.warns(UserWarning, match="train/b/003.png.*left out"):
        assert open_small(root, unusable="skip").train.counts == (5, 4)
    for path in root.rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(ValueError, match="28 of 28 images cannot be used") as caught:
        open_small(root)
    assert "skip" not in str(caught.value)


def test_a_data_set_of_the_hubs_library():
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    images = [Image.fromarray(np.full((20, 20), 9 * i, np.uint8)) for i in range(18)]
    whole = datasets.Dataset.from_dict({"image": images, "label": [0, 1] * 9}, features)
    rows = {"train": range(8), "test": range(8, 14), "validation": range(14, 18)}
    splits = open_small(datasets.DatasetDict({split: whole.select(part) for split, part in rows.items()}))
    assert splits.classes == ("no", "yes") and [p.counts for p in parts(splits)] == [(4, 4), (2, 2), (3, 3)]


def test_phantoms_by_card_are_the_drawn_ones():
    splits, drawn = open_small("phantom_lung_ct", size=24, seed=2), phantoms("lung_ct", size=24, seed=2)
    assert splits.name == "phantom_lung_ct" and splits.classes == drawn.classes
    for part, expected in zip(parts(splits), parts(drawn), strict=True):
        assert (part.images == expected.images).all() and (part.labels == expected.labels).all()
        assert part.names == expected.names == part.patients


def test_a_card_tells_classes_flips_and_patients(tmp_path, card):
    root, rng = tmp_path / "images", np.random.default_rng(0)
    for i, k in itertools.product(range(6), range(2)):
        save(root / f"p{k}/s{i // 2}_p{k}_{i}.png", rng.integers(0, 256, (40, 40), dtype=np.uint8))
    told = {"patient": {"pattern": r"(s\d+_p\d)_"}, "flips": ["vertical", "horizontal"]}
    card({"second": "p1", "first": "p0"}, [{"folder": str(root)}], **told)
    splits = open_small(tmp_path / "mine.md")
    assert (splits.name, splits.classes, splits.flips) == ("mine", ("second", "first"), ("vertical", "horizontal"))
    assert not set(splits.train.patients) & set(splits.test.patients)
    train = splits.train
    assert all(name.startswith(f"p{1 - k}/") for name, k in zip(train.names, train.labels, strict=True))


def test_ids_of_files_and_of_a_manifest_are_one_person_and_no_id_of_a_file_is_kept(tmp_path, own_cache):
    pydicom = pytest.importorskip("pydicom")
    root, rng, ids = tmp_path / "set", np.random.default_rng(0), {}
    for number in range(48):  # of 12 patients, in two classes
        name = f"{'ab'[number % 2]}/{number:02d}.dcm"
        ids[name] = f"MRN{number // 4}" * (number % 4 == 0)
        scan = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm"))
        scan.PatientName, scan.PatientID = "Jane^Ada", f"SECRET{number // 4}"
        scan.PixelData = rng.integers(0, 4096, (128, 128), dtype=np.uint16).tobytes()
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        scan.save_as(root / name)
    pd.DataFrame({"file_name": list(ids), "patient": list(ids.values())}).to_csv(root / "metadata.csv", index=False)
    sides = [set(part.patients) for part in parts(open_small(root))]
    assert set.union(*sides) == {f"MRN{k}" for k in range(12)} and sum(map(len, sides)) == 12
    kept = b"".join(path.read_bytes() for path in own_cache.rglob("*") if path.is_file())
    assert b"SECRET" not in kept and b"Ada" not in kept


def test_wrong_arguments_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for error, text, arguments in (
        (FileNotFoundError, "neither a folder, a file, nor a card.*dmws data list", {"source": "nowhere"}),
        (FileNotFoundError, "hf://datasets/owner/name", {"source": "owner/name"}),
        (FileNotFoundError, "is an address: write a card", {"source": "https://example.org/a.zip"}),
        (FileNotFoundError, "did you mean .*phantom_brain_mri", {"source": "brain_mri"}),
        (ValueError, "size=0: pass the number of pixels", {"source": "phantom_lung_ct", "size": 0}),
        (ValueError, "seed=-1 must not be negative", {"source": "phantom_lung_ct", "seed": -1}),
        (ValueError, r"patient is '\(', which is no regular expression", {"source": ".", "patient": "("}),
        (ValueError, "leaks='keep' is unknown: pass one of", {"source": "phantom_lung_ct", "leaks": "keep"}),
    ):
        with pytest.raises(error, match=text):
            open_data(**arguments)


@pytest.mark.parametrize("kind", ["splits", "manifest", "patients in a manifest", "nested with masks"])
def test_a_new_card_opens_what_it_was_made_from(tmp_path, kind):
    root = tmp_path / "My set"
    if kind == "splits":
        folder(root)
    elif kind == "nested with masks":
        folder(root / "archive", {"a": 12, "b": 12, "a/masks": 12})
    else:
        files = sorted(path.relative_to(root).as_posix() for path in folder(root, {"x": 15, "y": 15}).rglob("*.png"))
        column = {"label": ["a", "b"] * 15} if kind == "manifest" else {"patient": [f"p{i // 2}" for i in range(30)]}
        pd.DataFrame({"file": files} | column).to_csv(root / "metadata.csv", index=False)
    card = new_card(root, tmp_path / "cards", seed=2)
    assert card.name == "my_set.md" and str(tmp_path) not in card.read_text()
    for mine, theirs in zip(parts(open_small(card)), parts(open_small(root, seed=2)), strict=True):
        assert (mine.names, mine.classes, mine.patients) == (theirs.names, theirs.classes, theirs.patients)
