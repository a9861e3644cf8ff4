import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dmws_lite.data.loading import ImageSet, Splits, decode, fraction, open_folder

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array, mode).save(path, **options)


def folder(root, counts, side=12, start=0):
    """Class folders of random gray PNG files; `start` seeds their pixels."""
    rng = np.random.default_rng(start)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            save(root / name / f"{i:03d}.png", rng.integers(0, 256, (side, side), dtype=np.uint8))
    return root


def opened(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return open_folder(path, progress=False, **({"size": 8} | options))


def toy(counts=(40, 60), classes=("a", "b")):
    labels = np.repeat(np.arange(len(counts)), counts)
    return ImageSet(np.zeros((len(labels), 1, 8, 8), np.uint8), labels, classes, tuple(map(str, range(len(labels)))))


def test_class_folders_are_split_70_15_15_in_each_class(tmp_path):
    splits = opened(folder(tmp_path, {"b": 20, "a": 40}))
    assert splits.classes == ("a", "b")
    assert [s.counts for s in (splits.train, splits.val, splits.test)] == [(28, 14), (6, 3), (6, 3)]
    names = splits.train.names + splits.val.names + splits.test.names
    assert len(set(names)) == 60 == len(splits)
    assert all(name.split("/")[0] == "ab"[k] for name, k in zip(splits.test.names, splits.test.labels, strict=True))
    assert repr(splits).startswith(f"Splits({tmp_path.name}: 42 / 9 / 9 train / val / test images, 1 x 8 x 8")


def test_images_stay_with_their_names_and_labels(tmp_path):
    for k, name in enumerate(("dark", "light")):
        for i in range(10):
            save(tmp_path / name / f"{i}.png", np.full((8, 8), 100 * k + i, np.uint8))
    for part in (lambda s: (s.train, s.val, s.test))(opened(tmp_path)):
        for image, label, name in zip(part.images, part.labels, part.names, strict=True):
            assert (image == 100 * label + int(Path(name).stem)).all()


def test_the_split_depends_on_the_seed_alone(tmp_path):
    folder(tmp_path, {"a": 20, "b": 20})
    assert opened(tmp_path).test.names == opened(tmp_path).test.names
    assert opened(tmp_path).test.names != opened(tmp_path, seed=1).test.names


def test_a_random_split_warns_about_patients(tmp_path):
    with pytest.warns(UserWarning, match="not by patient"):
        open_folder(folder(tmp_path, {"a": 3, "b": 3}), size=8, progress=False)


@pytest.mark.parametrize("count", range(3, 12))
def test_small_classes_are_in_every_split(tmp_path, count):
    splits = opened(folder(tmp_path, {"a": count, "b": 30}))
    assert min(s.counts[0] for s in (splits.train, splits.val, splits.test)) >= 1


def test_identical_files_stay_on_one_side_of_a_random_split(tmp_path):
    for i in range(12):
        for copy in range(3):
            save(tmp_path / "ab"[i % 2] / f"{i}_{copy}.png", np.full((8, 8), i, np.uint8))
    splits = opened(tmp_path)
    sides = [{Path(n).stem.split("_")[0] for n in s.names} for s in (splits.train, splits.val, splits.test)]
    assert sum(map(len, sides)) == 12 and all(sides)


def test_given_splits_are_kept(tmp_path):
    for start, split in enumerate(("train", "val", "test")):
        folder(tmp_path / split, {"a": 2 + start, "b": 3}, start=start)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = open_folder(tmp_path, size=8, progress=False)
    assert [s.counts for s in (splits.train, splits.val, splits.test)] == [(2, 3), (3, 3), (4, 3)]
    assert all(n.startswith("val/") for n in splits.val.names)


def test_a_missing_val_is_carved_from_train(tmp_path):
    folder(tmp_path / "Training", {"a": 20, "b": 40})
    folder(tmp_path / "testing", {"a": 5, "b": 5}, start=1)
    splits = opened(tmp_path)
    assert [s.counts for s in (splits.train, splits.val, splits.test)] == [(17, 34), (3, 6), (5, 5)]


@pytest.mark.parametrize("carved", [False, True])
def test_copies_across_splits(tmp_path, carved):
    folder(tmp_path / "train", {"a": 6, "b": 6})
    folder(tmp_path / "test", {"a": 4, "b": 4}, start=1)
    if not carved:
        folder(tmp_path / "val", {"a": 2, "b": 2}, start=2)
    for i in range(2):
        (tmp_path / f"train/a/{i:03d}.png").write_bytes((tmp_path / f"test/a/{i:03d}.png").read_bytes())
    with pytest.raises(
        ValueError, match=r"2 files are byte-identical.*train/a/000.png = test/a/000.png.*duplicates='drop'"
    ):
        opened(tmp_path)
    with pytest.warns(UserWarning, match="dropped 2 images"):
        splits = open_folder(tmp_path, size=8, duplicates="drop", progress=False)
    names = splits.train.names + splits.val.names
    assert not {"train/a/000.png", "train/a/001.png"} & set(names)
    assert splits.test.counts == (4, 4) and len(names) == (10 if carved else 14)


def test_a_class_that_is_all_copies_cannot_be_dropped(tmp_path):
    folder(tmp_path / "train", {"a": 2, "b": 2})
    folder(tmp_path / "val", {"a": 2, "b": 2}, start=1)
    folder(tmp_path / "test", {"a": 2, "b": 2}, start=2)
    for i in range(2):
        (tmp_path / f"train/b/{i:03d}.png").write_bytes((tmp_path / f"test/b/{i:03d}.png").read_bytes())
    with pytest.raises(ValueError, match="train has no image of class 'b'"):
        opened(tmp_path, duplicates="drop")


def test_the_same_file_in_two_classes_is_refused(tmp_path):
    folder(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "b/000.png").write_bytes((tmp_path / "a/003.png").read_bytes())
    with pytest.raises(ValueError, match="1 files are byte-identical to one of another class: a/003.png = b/000.png"):
        opened(tmp_path)


def test_the_short_side_is_resized_and_the_middle_cut_out(tmp_path):
    wide = np.zeros((40, 120), np.uint8)
    wide[:, 36:84] = 200
    save(tmp_path / "wide.png", wide)
    assert (decode((tmp_path / "wide.png").read_bytes(), 20) == 200).all()


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((128, 128), np.uint8)
    stripes[:, ::2] = 200
    save(tmp_path / "stripes.png", stripes)
    assert np.abs(decode((tmp_path / "stripes.png").read_bytes(), 16)[0, 2:-2, 2:-2].astype(int) - 100).max() <= 2


def as_file(tmp_path, array, suffix=".png", mode=None, **options):
    save(tmp_path / f"image{suffix}", array, mode, **options)
    return decode((tmp_path / f"image{suffix}").read_bytes(), 8)


def test_gray_and_colour_files(tmp_path):
    gray = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    equal = np.repeat(gray[..., None], 3, axis=2)
    assert np.array_equal(as_file(tmp_path, gray), gray[None])
    assert np.array_equal(as_file(tmp_path, equal), gray[None])
    colour = equal.copy()
    colour[..., 1] = 7
    assert np.array_equal(as_file(tmp_path, colour), colour.transpose(2, 0, 1))
    assert np.array_equal(as_file(tmp_path, colour, ".bmp"), colour.transpose(2, 0, 1))
    assert as_file(tmp_path, gray, ".jpg", quality=95).shape == (1, 8, 8)


def test_palette_alpha_and_one_bit_files(tmp_path):
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[:4, :, 0], colour[4:, :, 2] = 250, 90
    Image.fromarray(colour).quantize(4).save(tmp_path / "palette.png")
    palette = decode((tmp_path / "palette.png").read_bytes(), 8)
    assert palette.shape[0] == 3 and np.abs(palette.astype(int) - colour.transpose(2, 0, 1)).max() < 8
    alpha = np.full((8, 8, 4), 200, np.uint8)
    alpha[..., 3] = 255
    alpha[:2, :, 3] = 0
    clear = as_file(tmp_path, alpha)
    assert (clear[0, :2] == 0).all() and (clear[0, 2:] == 200).all()
    assert set(np.unique(as_file(tmp_path, np.eye(8, dtype=bool)))) == {0, 255}


@pytest.mark.parametrize(
    "suffix, dtype", [(".png", np.uint16), (".tif", np.uint16), (".tif", np.int32), (".tif", np.float32)]
)
def test_deep_files_are_scaled_from_their_own_range(tmp_path, suffix, dtype):
    deep = (np.arange(64).reshape(8, 8) * 50 + 1000).astype(dtype)
    expected = np.rint((deep - 1000.0) / 3150 * 255)
    assert np.abs(as_file(tmp_path, deep, suffix)[0] - expected).max() <= 1
    assert (as_file(tmp_path, np.full((8, 8), 9, dtype), suffix) == 0).all()


def test_orientation_tags_are_honoured(tmp_path):
    upper = np.zeros((16, 16), np.uint8)
    upper[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = as_file(tmp_path, upper, ".jpg", exif=exif)
    assert turned[0, :3].max() < 20 and turned[0, 5:].min() > 235


def test_one_colour_image_makes_the_set_rgb(tmp_path):
    folder(tmp_path, {"a": 5, "b": 5})
    assert opened(tmp_path).train.images.shape[1:] == (1, 8, 8)
    save(tmp_path / "a" / "colour.png", np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8))
    assert opened(tmp_path).train.images.shape[1:] == (3, 8, 8)


def test_missing_or_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        opened(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no class folder"):
        opened(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match="no class folder"):
        opened(tmp_path)
    with pytest.raises(ValueError, match="one class, 'a'"):
        opened(folder(tmp_path, {"a": 4}))
    with pytest.raises(ValueError, match="no 'test' folder"):
        opened(folder(tmp_path / "half" / "train", {"a": 4, "b": 4}).parent)


def test_a_class_with_too_few_images(tmp_path):
    with pytest.raises(ValueError, match="/b holds 1 images.*at least 3"):
        opened(folder(tmp_path, {"a": 4, "b": 1}))


def test_a_class_of_copies_cannot_be_split(tmp_path):
    folder(tmp_path, {"a": 6, "b": 6})
    for i in range(1, 6):
        (tmp_path / f"b/{i:03d}.png").write_bytes((tmp_path / "b/000.png").read_bytes())
    with pytest.raises(ValueError, match="class 'b' holds 1 different images"):
        opened(tmp_path)


def test_class_folders_must_agree(tmp_path):
    folder(tmp_path / "train", {"a": 4, "b": 4})
    folder(tmp_path / "test", {"a": 4, "bb": 4}, start=1)
    with pytest.raises(ValueError, match=r"\['b', 'bb'\]"):
        opened(tmp_path)


def test_unreadable_files_are_listed(tmp_path):
    folder(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a" / "empty.png").touch()
    (tmp_path / "b" / "text.jpg").write_text("not an image")
    (tmp_path / "b" / "cut.png").write_bytes((tmp_path / "b/000.png").read_bytes()[:60])
    with pytest.raises(ValueError, match="3 files cannot be read.*empty.png.*cut.png.*text.jpg") as caught:
        opened(tmp_path)
    assert "re-export" in str(caught.value)


@pytest.mark.parametrize("options, text", [({"size": 0}, "size=0"), ({"duplicates": "keep"}, "duplicates='keep'")])
def test_wrong_options(tmp_path, options, text):
    with pytest.raises(ValueError, match=text):
        opened(folder(tmp_path, {"a": 4, "b": 4}), **options)


def test_fractions_are_nested_stratified_and_seeded():
    whole = toy((40, 60))
    parts = [fraction(whole, share) for share in (0.01, 0.05, 0.1, 0.5, 1.0)]
    assert [p.counts for p in parts] == [(1, 1), (2, 3), (4, 6), (20, 30), (40, 60)]
    for small, large in pairwise(parts):
        assert set(small.names) <= set(large.names)
    assert parts[-1].names == whole.names
    assert fraction(whole, 0.1).names == parts[2].names != fraction(whole, 0.1, seed=1).names


@pytest.mark.parametrize("share", [0, -0.1, 1.5, float("nan")])
def test_shares_outside_0_to_1(share):
    with pytest.raises(ValueError, match="share="):
        fraction(toy(), share)


def test_a_fraction_needs_every_class():
    with pytest.raises(ValueError, match="class 'c' has no image"):
        fraction(toy((4, 4), ("a", "b", "c")), 0.5)


def test_image_sets_check_themselves():
    images, two = np.zeros((2, 1, 8, 8), np.uint8), ("x", "y")
    assert repr(ImageSet(images, np.array([0, 1]), ("a", "b"), two)) == "ImageSet(2 images, 1 x 8 x 8: 1 a, 1 b)"
    with pytest.raises(ValueError, match=r"labels \[2\] are outside 0 to 1"):
        ImageSet(images, np.array([0, 2]), ("a", "b"), two)
    with pytest.raises(ValueError, match=r"labels \[-1\]"):
        ImageSet(images, np.array([0, -1]), ("a", "b"), two)
    with pytest.raises(ValueError, match="float32"):
        ImageSet(images.astype(np.float32), np.array([0, 1]), ("a", "b"), two)
    with pytest.raises(ValueError, match="labels are float64"):
        ImageSet(images, np.array([0.0, 1.0]), ("a", "b"), two)
    with pytest.raises(ValueError, match="2 images, 3 labels"):
        ImageSet(images, np.array([0, 1, 1]), ("a", "b"), two)


@pytest.mark.parametrize("name", ["brain_mri", "chest_xray", "lung_ct"])
def test_real_sets(name):
    if not (REAL / name).is_dir():
        pytest.skip("the shared medical image sets are not here")
    splits = opened(REAL / name, size=32, duplicates="drop")
    assert isinstance(splits, Splits) and splits.name == name
    on_disk = [sum(1 for _ in (REAL / name / s).rglob("*.jpg")) for s in ("train", "val", "test")]
    read = [len(splits.train), len(splits.val), len(splits.test)]
    assert read[2] == on_disk[2] and read[0] <= on_disk[0] and read[1] <= on_disk[1]
    assert splits.train.images.shape[1:] == (1, 32, 32) and splits.train.images.std() > 20
