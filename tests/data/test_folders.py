"""Folders as people have them, on disk."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmws_lite.data.cards import read_card
from dmws_lite.data.folders import explained, read_folder

REAL = Path(__file__).parents[2].parent / "shared" / "data"


def touch(root, *files):
    """Files that bear the names of images: scanning does not open those."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def folder(root, counts):
    return touch(root, *(f"{name}/{i:03d}.png" for name, count in counts.items() for i in range(count)))


def split_folder(root, train="train", val="val", test="test", classes=("a", "b")):
    return folder(root, {f"{split}/{name}": 2 for split in (train, val, test) if split for name in classes})


def manifest(root, rows, name="metadata.csv", columns="file_name,label"):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return root


def card(tmp_path, text):
    (tmp_path / "mine.md").write_text(
        f"---\npretty_name: Mine\nlicense: unknown\ntask_categories: [image-classification]\ntags: [medical]\n"
        f"size_categories: ['n<1K']\nlanguage: [en]\ndmws:\n  sources: [{{folder: somewhere}}]\n{text}---\n# Mine\n",
        encoding="utf-8",
    )
    return read_card(tmp_path / "mine.md")


def counted(table):
    return table.groupby(["split", "label"]).size().to_dict()


def test_class_folders(tmp_path):
    table, classes, root, _ = read_folder(folder(tmp_path, {"b": 3, "a": 4}))
    assert classes == ("a", "b") and root == tmp_path
    assert list(table.columns) == ["file", "label", "split", "patient", "frame"]
    assert list(table["file"]) == [*(f"a/{i:03d}.png" for i in range(4)), *(f"b/{i:03d}.png" for i in range(3))]
    assert set(table["split"]) == set(table["patient"]) == {""} and set(table["frame"]) == {0}
    assert table["label"].tolist() == ["a"] * 4 + ["b"] * 3 and table.index.equals(pd.RangeIndex(7))


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "VALID", "Testing"), ("TRAIN", None, "test")])
def test_split_folders_by_any_name(tmp_path, names):
    table, classes, *_ = read_folder(split_folder(tmp_path, *names))
    wanted = [split for split, name in zip(("train", "val", "test"), names, strict=True) if name]
    assert counted(table) == {(split, name): 2 for split in wanted for name in "ab"}
    assert list(dict.fromkeys(table["split"])) == wanted and classes == ("a", "b")


def test_folders_below_a_class_folder_belong_to_it(tmp_path):
    folder(tmp_path, {"a/p1": 2, "a/p2/left": 2, "b": 3})
    table, classes, *_ = read_folder(tmp_path)
    assert classes == ("a", "b") and counted(table) == {("", "a"): 4, ("", "b"): 3}


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    folder(tmp_path, {"a": 3, "b": 3})
    touch(tmp_path, "README.txt", ".DS_Store", "a/Thumbs.db", "a/._000.png", "a/@eaDir/000.png", "a/.hidden/1.png")
    touch(tmp_path, "__MACOSX/a/._000.png", "__MACOSX/c/1.png", ".cache/1.png", "b/notes.txt", "b/.1.png", "b/LICENSE")
    touch(
        tmp_path,
        "model.h5",
        "DICOMDIR",
        "cover.webp",
        "a/.1.webp",
        *(f"a/1.{k}" for k in ("csv", "json", "pdf", "html")),
    )
    table, classes, *_ = read_folder(tmp_path)
    assert classes == ("a", "b") and len(table) == 6


def test_a_folder_that_only_wraps_the_data_is_entered(tmp_path):
    split_folder(tmp_path / "archive" / "Data Set")
    touch(tmp_path, "README.txt", "__MACOSX/archive/x.png", "archive/license.pdf")
    table, _, root, _ = read_folder(tmp_path)
    assert root == tmp_path / "archive" / "Data Set" and table["file"][0] == "train/a/000.png"


def test_a_copy_of_the_set_beside_its_split_folders_is_not_read(tmp_path):
    split_folder(split_folder(tmp_path) / "chest_xray")
    folder(tmp_path, {"holdout": 3, "notes": 0})
    touch(tmp_path, "notes/read.me")
    table, *_, left_out = read_folder(tmp_path)
    assert len(table) == 12 and left_out["group"].value_counts().to_dict() == {"chest_xray": 12, "holdout": 3}
    text = "left out 15 files in folders beside train, val and test (12 chest_xray, 3 holdout). Move what belongs"
    assert explained(left_out)["beside"].startswith(text)


def test_files_of_kinds_that_are_not_read_are_counted(tmp_path):
    folder(tmp_path, {"a": 3, "b": 3})
    touch(tmp_path, *(f"a/{i}.WEBP" for i in range(30)), *(f"b/inner/{i}.gif" for i in range(5)), "b/old.jfif", "b/IM1")
    touch(tmp_path, "a/masks/1.webp", "a/masks/1.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    os.mkfifo(tmp_path / "b" / "pipe")
    told = card(tmp_path, "  classes:\n    a: {meaning: x}\n    b: {meaning: y}\n")
    for listing in (read_folder(tmp_path), read_folder(tmp_path, told)):
        assert len(listing.table) == 6 and set(explained(listing.left_out)) == {"kind", "mask"}
        assert explained(listing.left_out)["kind"] == (
            "left out 39 files of kinds that are not read (30 .webp, 5 .gif, 2 no regular file, 1 .jfif, "
            "1 without an ending). Save them as PNG"
        )


def test_a_folder_of_a_kind_that_is_not_read_says_so_before_it_is_refused(tmp_path):
    touch(tmp_path, *(f"{k}/{i}.webp" for k in "ab" for i in range(3)))
    with pytest.raises(ValueError, match=r"no class folder with images.* Left out 6 files of kinds .* \(6 .webp\)"):
        read_folder(tmp_path)


def test_dicom_files_without_an_ending_are_images(tmp_path):
    touch(tmp_path, "DICOMDIR")
    for name in ("a/IM1", "a/1.2.840.113619", "a/IM3.dcm", "b/IM1", "b/inner/IM2", "b/IM3", "a/README", "DICOMDIR"):
        touch(tmp_path, name).joinpath(name).write_bytes(bytes(128) + b"DICM" + bytes(20))
    table, classes, root, _ = read_folder(tmp_path)
    assert root == tmp_path and classes == ("a", "b") and set(table["frame"]) == {0}
    assert table["file"].tolist() == ["a/1.2.840.113619", "a/IM1", "a/IM3.dcm", "b/IM1", "b/IM3", "b/inner/IM2"]
    manifest(tmp_path, [f"{file},{file[0]}" for file in table["file"]])
    assert read_folder(tmp_path)[0].to_dict() == table.to_dict()


def test_names_with_spaces_accents_and_great_length(tmp_path):
    names = {"Lungenentzündung (viral)": 3, "健康": 3, "a b": 3}
    folder(tmp_path, names)
    touch(tmp_path, "a b/" + "x" * 251 + ".png", "健康/" + "肺" * 80 + ".PNG")
    table, classes, *_ = read_folder(tmp_path)
    assert set(classes) == set(names) and len(table) == 11
    assert all((tmp_path / file).is_file() for file in table["file"])


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    folder(tmp_path, {"a": 3, "b": 3})
    try:
        with open(os.fsencode(tmp_path) + b"/a/\xff.png", "wb"):
            pass
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    with pytest.raises(ValueError, match=r"the name of a/\?.png is not UTF-8: rename it"):
        read_folder(tmp_path)


def test_classes_that_are_numbers_are_in_their_order(tmp_path):
    assert read_folder(folder(tmp_path, {"10": 3, "9": 3, "0": 3}))[1] == ("0", "9", "10")


def test_classes_that_differ_in_case_only_are_refused(tmp_path):
    split_folder(tmp_path, classes=("Normal", "sick"))
    (tmp_path / "test/Normal").rename(tmp_path / "test/normal")
    with pytest.raises(ValueError, match="classes 'Normal' and 'normal' differ in case only: write them the same"):
        read_folder(tmp_path)


def test_masks_beside_images_are_left_out_with_a_warning(tmp_path):
    folder(tmp_path, {"a/images": 3, "a/masks": 3, "b/images": 3, "b/Masks": 3})
    table, classes, _, left_out = read_folder(tmp_path)
    assert "left out 6 files in folders called mask or masks (3 a/masks, 3 b/Masks)" in explained(left_out)["mask"]
    assert classes == ("a", "b") and not table["file"].str.lower().str.contains("masks").any() and len(table) == 6


def test_a_manifest_beside_a_heap_of_images(tmp_path):
    touch(tmp_path, *(f"images/{i}.png" for i in range(6)))
    manifest(tmp_path, [f"{i},{'well' if i % 2 else 'ill'},p{i // 2}" for i in range(6)], columns="image,label,patient")
    table, classes, *_ = read_folder(tmp_path)
    assert classes == ("ill", "well") and table["patient"].tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert table["file"].tolist() == [f"images/{i}.png" for i in range(6)]


def test_a_manifest_adds_to_the_folders(tmp_path):
    split_folder(tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    manifest(tmp_path, [f"{file},p{i}" for i, file in enumerate(files)], columns="file,patient")
    table, classes, *_ = read_folder(tmp_path)
    assert classes == ("a", "b") and counted(table) == {(s, k): 2 for s in ("train", "val", "test") for k in "ab"}
    assert dict(zip(table["file"], table["patient"], strict=True)) == {file: f"p{i}" for i, file in enumerate(files)}


def test_a_manifest_in_each_split_folder(tmp_path):
    for split in ("train", "validation", "test"):
        touch(tmp_path / split, "1.png", "2.png", "3.png", "4.png")
        manifest(tmp_path / split, ["1.png,x", "2.png,y", "3.png,y", "4.png,x"])
    table, classes, *_ = read_folder(tmp_path)
    assert classes == ("x", "y") and counted(table) == {(s, k): 2 for s in ("train", "val", "test") for k in "xy"}
    assert table["file"][0] == "train/1.png"


@pytest.mark.parametrize("column, row", [("label", "train/a/000.png,b,train"), ("split", "train/a/000.png,a,test")])
def test_a_manifest_that_contradicts_the_folders_is_refused(tmp_path, column, row):
    split_folder(tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    rows = [f"{file},{file.split('/')[1]},{file.split('/')[0]}" for file in files if file != "train/a/000.png"]
    manifest(tmp_path, [*rows, row], columns="file,label,split")
    with pytest.raises(ValueError, match=f"disagree on the {column} of 1 images: train/a/000.png"):
        read_folder(tmp_path)


def test_images_that_a_manifest_does_not_list(tmp_path):
    touch(tmp_path, *(f"images/{i}.png" for i in range(8)))
    manifest(tmp_path, [f"images/{i}.png,{i % 2}" for i in range(6)])
    with pytest.raises(ValueError, match=r"does not list 2 of 8 images: images/6.png, images/7.png.*pass the manifest"):
        read_folder(tmp_path)
    table, classes, *_ = read_folder(tmp_path / "metadata.csv")
    assert len(table) == 6 and classes == ("0", "1")


def test_images_without_labels(tmp_path):
    touch(folder(tmp_path, {"a": 3, "b": 3}), "overview.png")
    with pytest.raises(ValueError, match="overview.png lie in no class folder: move them into one, or delete them"):
        read_folder(tmp_path)
    (tmp_path / "overview.png").unlink()
    manifest(tmp_path, [f"{k}/{i:03d}.png,{k if i else ''}" for k in "ab" for i in range(3)])
    with pytest.raises(ValueError, match="gives 2 of 6 images no label: a/000.png, b/000.png. Fill them in"):
        read_folder(tmp_path)


def test_a_column_a_class_is_refused(tmp_path):
    touch(tmp_path, *(f"{i}.png" for i in range(6)))
    rows = [f"{i},{i % 2:.1f},{1 - i % 2:.1f},{i}" for i in range(6)]
    manifest(tmp_path, rows, "truth.csv", "image,MEL,NV,age")
    with pytest.raises(ValueError, match=r"a column of 0 and 1 for each class \(MEL, NV\): add one column 'label'"):
        read_folder(tmp_path / "truth.csv")
    manifest(tmp_path, [f"{i},{i}" for i in range(6)], "truth.csv", "image,age")
    with pytest.raises(ValueError, match="no column with labels: its columns are image, age"):
        read_folder(tmp_path / "truth.csv")


def test_a_table_with_another_name_is_pointed_out(tmp_path):
    touch(tmp_path, *(f"images/{i}.png" for i in range(6)))
    manifest(tmp_path, [f"{i},{i % 2}" for i in range(6)], "labels.csv")
    with pytest.raises(ValueError, match="one class, 'images'.*If labels.csv lists the images, pass it as the source"):
        read_folder(tmp_path)
    assert len(read_folder(tmp_path / "labels.csv")[0]) == 6


def test_two_manifests_are_one_too_many(tmp_path):
    manifest(manifest(folder(tmp_path, {"a": 3, "b": 3}), []), [], "manifest.csv")
    with pytest.raises(ValueError, match="metadata.csv, manifest.csv: keep one"):
        read_folder(tmp_path)


def test_what_cannot_be_a_data_set(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not there"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no class folder"):
        read_folder(tmp_path)
    touch(tmp_path, "x.png")
    with pytest.raises(ValueError, match="no class folder"):
        read_folder(tmp_path)
    (tmp_path / "x.png").unlink()
    with pytest.raises(ValueError, match="one class, 'a'"):
        read_folder(folder(tmp_path, {"a": 4}))
    with pytest.raises(ValueError, match=r"holds 1 images of class 'b', at least 3 are needed \(.png"):
        read_folder(folder(tmp_path, {"b": 1}))


def test_an_empty_class_folder_is_refused(tmp_path):
    folder(tmp_path, {"a": 3, "b": 3})
    touch(tmp_path, "c/notes.txt")
    with pytest.raises(ValueError, match="holds 0 images of class 'c'"):
        read_folder(tmp_path)
    split_folder(tmp_path / "splits")
    (tmp_path / "splits/test/b").rename(tmp_path / "splits/test/bb")
    with pytest.raises(ValueError, match="splits: test holds 0 images of class 'b', at least 1"):
        read_folder(tmp_path / "splits")


@pytest.mark.parametrize(
    "names, text",
    [
        (("train", "val", None), "has train and val but no 'test' split"),
        (("train", None, None), "has train but no 'test' split"),
        (("train", "training", "test"), "train and training are both the train split: merge them"),
        ((None, "val", "test"), "has test and val but no 'train' split"),
    ],
)
def test_a_split_needs_train_and_test(tmp_path, names, text):
    with pytest.raises(ValueError, match=text):
        read_folder(split_folder(tmp_path, *names))


def test_some_images_without_a_split(tmp_path):
    folder(tmp_path, {"a": 4, "b": 4})
    splits = ["train", "train", "test", ""]
    manifest(tmp_path, [f"{k}/{i:03d}.png,{k},{splits[i]}" for k in "ab" for i in range(4)], columns="file,label,split")
    with pytest.raises(ValueError, match="2 images have no split, others do: a/003.png, b/003.png"):
        read_folder(tmp_path)


@pytest.mark.parametrize("kind", ["file", "folder", "loop", "split", "broken"])
def test_links_that_lead_out_are_refused(tmp_path, kind):
    root = split_folder(tmp_path / "set")
    touch(tmp_path, "secret/1.png")
    link, target = {
        "file": ("train/a/link.png", tmp_path / "secret/1.png"),
        "folder": ("train/c", tmp_path / "secret"),
        "loop": ("train/a/again", root),
        "split": ("valid", tmp_path / "secret"),
        "broken": ("train/a/link.png", root / "gone.png"),
    }[kind]
    if kind == "split":
        for path in sorted((root / "val").rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (root / "val").rmdir()
    (root / link).symlink_to(target)
    with pytest.raises(ValueError, match=f"set: {link}: links out of the folder"):
        read_folder(root)


def test_links_to_files_of_the_folder_and_to_the_folder_itself_work(tmp_path):
    root = folder(tmp_path / "set", {"a": 3, "b": 3})
    (root / "a/link.png").symlink_to(root / "a/000.png")
    (root / "notes").symlink_to(tmp_path / "nowhere")
    (tmp_path / "elsewhere").symlink_to(root)
    assert len(read_folder(tmp_path / "elsewhere")[0]) == 7


def test_a_manifest_does_not_follow_links_out(tmp_path):
    root = folder(tmp_path / "set", {"a": 3, "b": 3})
    touch(tmp_path, "secret/1.png")
    (root / "a/link.png").symlink_to(tmp_path / "secret/1.png")
    manifest(root, [f"{k}/{i:03d}.png,{k}" for k in "ab" for i in range(3)], "list.csv")
    assert len(read_folder(root / "list.csv")[0]) == 6
    manifest(root, [*(f"{k}/{i:03d}.png,{k}" for k in "ab" for i in range(3)), "a/link.png,a"], "list.csv")
    with pytest.raises(ValueError, match="not in its folder: a/link.png.*links are not followed"):
        read_folder(root / "list.csv")


@pytest.mark.parametrize("by_card", [False, True])
def test_a_manifest_that_is_a_link_out_of_the_folder_is_refused(tmp_path, by_card):
    root = folder(tmp_path / "set", {"a": 3, "b": 3})
    secret = manifest(tmp_path, [f"{k}/{i:03d}.png,{k}" for k in "ab" for i in range(3)], "secret.csv") / "secret.csv"
    (root / "metadata.csv").symlink_to(secret)
    classes = "  classes:\n    a: {meaning: x}\n    b: {meaning: y}\n  manifest: metadata.csv\n"
    told = card(tmp_path, classes) if by_card else None
    with pytest.raises(
        ValueError, match="metadata.csv is a link out of the folder, which is not followed: put the file"
    ):
        read_folder(root, told)
    secret.rename(root / "list.csv")
    (root / "metadata.csv").unlink()
    (root / "metadata.csv").symlink_to("list.csv")
    assert len(read_folder(root, told)[0]) == 6


def tiff(path, pages):
    images = [Image.fromarray(np.full((8, 8), page, np.uint8)) for page in range(pages)]
    images[0].save(path, save_all=True, append_images=images[1:])


def test_frames_of_files_with_several_images(tmp_path):
    folder(tmp_path, {"a": 3, "b": 3})
    tiff(tmp_path / "a/stack.tif", 5)
    tiff(tmp_path / "b/single.tiff", 1)
    (tmp_path / "b/broken.tif").write_bytes(b"no image")
    middle = read_folder(tmp_path)[0].set_index("file")
    assert middle["frame"].to_dict() == {file: 2 if file == "a/stack.tif" else 0 for file in middle.index}
    assert len(middle) == 9 and set(middle["patient"]) == {""}
    every = read_folder(tmp_path, frames="all")[0]
    assert every[every["file"] == "a/stack.tif"]["frame"].tolist() == [0, 1, 2, 3, 4] and len(every) == 13
    assert set(every["patient"][every["file"] == "a/stack.tif"]) == {"a/stack.tif"}
    assert set(every["patient"][every["file"] != "a/stack.tif"]) == {""}


def test_a_manifest_may_name_frames(tmp_path):
    folder(tmp_path, {"a": 2, "b": 2})
    tiff(tmp_path / "a/stack.tif", 5)
    rows = ["a/stack.tif,a,1,p", "a/stack.tif,a,3,p", *(f"{k}/00{i}.png,{k},9," for k in "ab" for i in range(2))]
    manifest(tmp_path, [*rows, "b/stack.tif,b,,q"], columns="file,label,frame,patient")
    tiff(tmp_path / "b/stack.tif", 4)
    table = read_folder(tmp_path)[0]
    found = list(zip(table["file"], table["frame"], table["patient"], strict=True))
    assert found[2:4] == [("a/stack.tif", 1, "p"), ("a/stack.tif", 3, "p")] and found[-1] == ("b/stack.tif", 2, "q")
    assert {frame for file, frame, _ in found if file.endswith("png")} == {0}


def test_a_card_tells_folders_classes_and_patients(tmp_path):
    root = tmp_path / "set"
    folder(root / "Database", {"COVID/images": 4, "COVID/masks": 4, "Normal/images": 3, "Opacity/images": 3})
    told = card(
        tmp_path,
        """  root: Database
  layout: classes
  classes:
    normal: {folder: Normal/images, meaning: nothing seen}
    covid: {folder: COVID/images, meaning: a positive test}
  patient: {pattern: '([A-Z]+)/images/00[12]'}
""",
    )
    table, classes, found, left_out = read_folder(root, told)
    assert "folders that the card does not name (3 Opacity/images). Add" in explained(left_out)["folder"]
    assert left_out["file"][left_out["reason"] == "mask"].tolist() == [f"COVID/masks/{i:03d}.png" for i in range(4)]
    assert found == root / "Database" and classes == ("normal", "covid")
    assert counted(table) == {("", "covid"): 4, ("", "normal"): 3}
    assert [p for p, label in zip(table["patient"], table["label"], strict=True) if label == "covid"] == [
        *("", "COVID", "COVID", "")
    ]


def test_a_card_without_a_layout_looks_at_the_folder(tmp_path):
    told = card(tmp_path, "  classes:\n    b: {meaning: x}\n    a: {meaning: y}\n")
    table, classes, _, left_out = read_folder(split_folder(tmp_path / "set", classes=("a", "b", "c")), told)
    assert left_out["reason"].tolist() == ["folder"] * 6
    assert classes == ("b", "a") and set(table["split"]) == {"train", "val", "test"} and len(table) == 12


def test_a_card_names_a_manifest_its_columns_and_its_labels(tmp_path):
    root = touch(tmp_path / "set", *(f"img/{i}.png" for i in range(9)), "img/extra.png")
    manifest(root, [f"{i},{i % 3},{i // 2}" for i in range(9)], "truth.csv", "key,code,who")
    told = card(
        tmp_path,
        """  layout: manifest
  manifest: truth.csv
  columns: {file: key, label: code, patient: who}
  classes:
    malignant: {folder: '1', meaning: m}
    benign: {folder: '0', meaning: b}
""",
    )
    table, classes, _, left_out = read_folder(root, told)
    assert classes == ("malignant", "benign") and len(table) == 6
    assert "left out 3 files with labels that the card does not name (3 2)" in explained(left_out)["label"]
    assert dict(zip(table["file"], table["label"], strict=True))["img/4.png"] == "malignant"
    assert read_folder(root / "truth.csv", told)[0].equals(table)


def test_masks_below_a_folder_that_a_card_names(tmp_path):
    root = folder(tmp_path / "set", {"a/left/Masks": 2, "a": 3, "masks": 4})
    told = card(tmp_path, "  classes:\n    a: {meaning: x}\n    m: {folder: masks, meaning: y}\n")
    table, *_, left_out = read_folder(root, told)
    assert counted(table) == {("", "a"): 3, ("", "m"): 4} and left_out["group"].tolist() == ["a/left/Masks"] * 2


def test_folders_that_a_card_does_not_name_beside_a_manifest(tmp_path):
    root = folder(tmp_path / "set", {"a": 3, "b": 3, "c": 2, "d": 1})
    manifest(root, [f"{k}/{i:03d}.png,p{i}" for k in "abc" for i in range(2 + (k != "c"))], columns="file,patient")
    told = card(tmp_path, "  classes:\n    a: {meaning: x}\n    b: {meaning: y}\n")
    table, *_, left_out = read_folder(root, told)
    assert counted(table) == {("", "a"): 3, ("", "b"): 3} and sorted(left_out["group"]) == ["c", "c", "d"]


@pytest.mark.parametrize(
    "text, error",
    [
        ("  root: gone\n", "root: gone is no folder inside"),
        ("  layout: manifest\n  manifest: gone.csv\n", "manifest: gone.csv is not in"),
        ("  patient: {pattern: 'patient(\\d+)'}\n", r"patient: .* is in no file name: correct the pattern"),
    ],
)
def test_a_card_that_does_not_fit_is_named(tmp_path, text, error):
    told = card(tmp_path, f"  classes:\n    a: {{meaning: x}}\n    b: {{meaning: y}}\n{text}")
    with pytest.raises(ValueError, match=f"mine.md: {error}"):
        read_folder(folder(tmp_path / "set", {"a": 3, "b": 3}), told)


def test_a_patient_in_a_manifest_goes_before_the_pattern(tmp_path):
    root = folder(tmp_path / "set", {"a": 3, "b": 3})
    manifest(
        root, [f"{k}/{i:03d}.png,{'known' if i == 1 else ''}" for k in "ab" for i in range(3)], columns="file,patient"
    )
    told = card(tmp_path, "  classes:\n    a: {meaning: x}\n    b: {meaning: y}\n  patient: {pattern: '(\\d+).png'}\n")
    assert read_folder(root, told)[0]["patient"].tolist() == ["000", "known", "002"] * 2


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared folder of real images is not here")
@pytest.mark.parametrize("name", ["brain_mri", "chest_xray", "lung_ct"])
def test_real_sets(name):
    expected = pd.read_csv(REAL / name / "metadata.csv", keep_default_na=False).sort_values("file_name")
    table, classes, root, _ = read_folder(REAL / name)
    assert root == REAL / name and classes == tuple(sorted(expected["label"].unique()))
    found = table.sort_values("file")
    assert found["file"].tolist() == expected["file_name"].tolist()
    for column in ("label", "split", "patient"):
        assert found[column].tolist() == expected[column].tolist()
    assert list(dict.fromkeys(table["split"])) == ["train", "val", "test"]
    assert read_folder(REAL / name / "metadata.csv")[0].equals(table)
