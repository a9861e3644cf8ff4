import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from dmws_lite.data.folders import explain_left_out, read_folder
from dmws_lite.data.names import patient_pattern

REAL = Path(__file__).parents[2].parent / "shared" / "data"
AB = {"a": 3, "b": 3}


def make_folder(root, content):
    """A folder: name to a number of image files in it (empty ones: reading folders opens none), or to a file's text."""
    for name, what in content.items():
        texts = {f"{name}/{i:03d}.png": "" for i in range(what)} if isinstance(what, int) else {name: what}
        for file, text in texts.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text, encoding="utf-8")
    return root


def format_table(columns, rows):
    """The text of a table of six images, or of the rows that are given."""
    return "\n".join([columns, *([rows(i) for i in range(6)] if callable(rows) else rows)]) + "\n"


def nest_folders(tops, below="ab", count=2):
    return {f"{top}/{name}": count for top in tops for name in below}


def numbered(text):
    return text.replace("a/", "0 a/").replace("b/", "1 b/")


def count_images(table):
    keys = table["split"] + "/" + table["label"]
    return {key.removeprefix("/"): count for key, count in keys.value_counts().items()}


HEAP = {f"images/{i}.png": "" for i in range(6)}
TWO, SPLITS = nest_folders(["train", "test"]), nest_folders(["train", "val", "test"])
FILES = [f"{k}/00{i}.png" for k in "ab" for i in range(3)]
LISTED = format_table("file,label", [f"{file},{file[0]}" for file in FILES])
BY_LABEL = format_table("file,label", lambda i: f"images/{i}.png,{'ab'[i % 2]}")
OTHER_ENDINGS = BY_LABEL.replace(".png", ".jpg").replace("images/", r"C:\me\images" + "\\")
ZERO_ONE = {"0": 3, "1": 3}
FACES = [f"{name}/{name}_{i}.jpg" for name in ("with_mask", "without_mask") for i in range(3)]
EIGHT = {f"images/{split}{i}.png": "" for split in ("train", "test") for i in range(4)}
FIRST = "a/000.png\na/001.png\nb/000.png\nb/001.png\n"
LATER = FIRST.replace("0.png", "2.png").replace("1.png", "3.png")
SAME = "file,label\n000,a\n001,a\n002,b\n003,b\n"
TABLES = {f"{s}.csv": SAME.replace("00", s).replace("file,label", "id,diagnosis") for s in ("train", "test")}
TEXTS = {f"{s}_9A.txt": SAME[11:].replace("00", s).replace(",", ".png ") for s in ("train", "test")}
READ = {  # content, images of each split and class, number of files left out for each reason; or content, all of it AB
    "folders below a class folder": ({"a/p1": 2, "a/p2/left": 2, "b": 3}, {"a": 4, "b": 3}, {}),
    "numbers in their order": ({"10": 3, "9": 3, "0": 3}, {"10": 3, "9": 3, "0": 3}, {}),
    "a wrapper is entered": {"archive/Data Set/a": 3, "archive/Data Set/b": 3, "README.txt": ""},
    "split folders by other names": (nest_folders(["Training", "VALID", "Evaluation"]), SPLITS, {}),
    "splits by longer names": (nest_folders(["a. Training Set", "dev", "stage_2_test_images"]), SPLITS, {}),
    "an evaluation set beside a test set": (nest_folders(["Training_Set", "Evaluation_Set", "Test_Set"]), SPLITS, {}),
    "a name said twice": ({f"{s}_set/{s} images/{k}": 2 for s in ("train", "test") for k in "ab"}, TWO, {}),
    "classes that could be all of it": (nest_folders(["fold1", "fold2"], ["all", "hem"]), {"all": 4, "hem": 4}, {}),
    "splits inside the classes": (nest_folders("ab", ["train", "test"]), TWO, {}),
    "splits deeper inside the classes": (nest_folders("ab", ["scans/train", "scans/test"]), TWO, {}),
    "predictions in each split": (nest_folders(["train", "test"], ["a", "b", "pred"]), TWO, {"stray": 4}),
    "no labels": (nest_folders(["fold1", "fold2"], ["a", "b", "unlabeled"]), {"a": 4, "b": 4}, {"stray": 4}),
    "a copy of the set beside its splits": (SPLITS | {"chest_xray/train/a": 4, "holdout": 3}, SPLITS, {"beside": 7}),
    "masks": (
        {"a/images": 3, "a/masks": 4, "b/images": 3, "b/Masks": 1, "masks": 2, "b/images/mask.png": ""}
        | {"a/images/000_mask.png": "", "a/images/001 Mask_1.png": "", "b/images/000_segmentation.tif": ""},
        AB,
        {"mask": 11},
    ),
    "folders of masks": (nest_folders("ab", ["images", "lung masks", "ManualMask/leftMask"], 3), AB, {"mask": 12}),
    "a segmentation beside images of several kinds": (
        {f"{k}/{k}{i}_{kind}.png": "" for k in "ab" for i in range(2) for kind in ("t1", "flair", "seg")},
        {"a": 4, "b": 4},
        {"mask": 4},
    ),
    "tables of splits that share names": (
        dict.fromkeys(("images/Training Set", "images/Testing Set"), 4)
        | dict.fromkeys(("truth/Training Labels.csv", "truth/Testing Labels.csv"), SAME),
        TWO,
        {},
    ),
    "faces with and without masks": (dict.fromkeys(FACES, ""), {"with_mask": 3, "without_mask": 3}, {}),
    "parts with classes": (nest_folders(["fold1", "batch_2", "images_001"]), {"a": 6, "b": 6}, {}),
    "patients inside the classes": ({f"{k}/{k}{i}": 2 for k in "ab" for i in range(3)}, {"a": 6, "b": 6}, {}),
    "classes inside patients": ({f"Patient_{i}/{'ab'[i % 2]}": 2 for i in range(6)}, {"a": 6, "b": 6}, {}),
    "what is no class": (
        AB | {"pred": 2, "rcnn/TRAIN": 2, "rcnn/TEST": 1, "whole/a": 3, "whole/b": 3, "split/list.txt": ""},
        AB,
        {"stray": 2, "set": 9, "empty": 1},
    ),
    "tables of another kind": AB | {"boxes.csv": "id,x\n1,2\n", "a.json": "{}"},
    "a JSON list": HEAP | {"x.json": json.dumps([{"image": f"{i}", "dx": "ab"[i % 2]} for i in range(6)])},
    "a list without a header": HEAP | {"x.csv": BY_LABEL.partition("\n")[2]},
    "names of numbers beside a list": HEAP | {"x.csv": BY_LABEL, "names.json": json.dumps({"0": "one", "1": "two"})},
    "a list of a few images beside classes": AB | {"x.csv": "file,label\na/000.png,x\nb/000.png,y\n"},
    "JSON splits": ({"a": 4, "b": 4, "x.json": json.dumps({"train": FIRST.split(), "test": LATER.split()})}, TWO, {}),
    "a JSON object": HEAP | {"x.json": json.dumps({f"{i}.png": "ab"[i % 2] for i in range(6)})},
    "a table beside class folders": (
        {f"{k}/{i}.png": "" for i, k in enumerate("xyxyxy")}
        | {"truth.tsv": format_table("name\tlabel", lambda i: f"{i}.png\t{'ab'[i // 3]}"), "x/more.png": ""},
        AB,
        {"unlisted": 1},
    ),
    "a column per class": HEAP | {"x/x.csv": format_table("image,a,b,age", lambda i: f"{i},{1 - i % 2}.0,{i % 2},{i}")},
    "a table for each split": ({f"{f[7:-5]}_images/{f[7:]}": "" for f in EIGHT} | TABLES, TWO, {}),
    "tables of splits of one heap": (EIGHT | TABLES, TWO, {}),
    "text files of names and labels": (EIGHT | TEXTS, TWO, {}),
    "lists of names alone": ({"a": 4, "b": 4, "train_val.txt": FIRST, "test.csv": LATER}, TWO, {}),
    "without endings": ({"a": 4, "b": 4, "train.txt": FIRST, "x/test.txt": LATER.replace(".png", "")}, TWO, {}),
    "numbers for folders": ({"a": 4, "b": 4, "train.txt": numbered(FIRST), "test.txt": numbered(LATER)}, TWO, {}),
    "lists of some images": AB | {"train.txt": FIRST, "test.txt": "a/002.png\n"},
    "tables in split folders": ({"train": 4, "test": 4, "train/x.csv": SAME, "test/x.csv": SAME}, TWO, {}),
    "boxes": (
        HEAP | {"x.csv": format_table("patientId,x,Target", lambda i: f"{i},9,{i % 2}\n{i},8,{i % 2}")},
        ZERO_ONE,
        {},
    ),
    "files saved with another ending": HEAP | {"x.csv": OTHER_ENDINGS},
    "a manifest of some images": (AB | {"b/003.png": "", "metadata.csv": LISTED}, AB, {"unlisted": 1}),
    "an archive beside the classes": (AB | {"a.zip": ""}, AB, {"archive": 1}),
    "what systems and people leave behind": AB
    | {"a/._0.png": "", "a/@eaDir": 1, "a/.hidden": 1, "__MACOSX/a": 1, ".cache": 1, "b/LICENSE": "", "x.h5": ""}
    | {f"a/1.{kind}": "" for kind in ("csv", "json", "pdf", "html")},
    "other kinds": (AB | {"a/1.HEIC": "", "b/c/2.svg": "", "b/IM1": "", "a/masks/1.svg": ""}, AB, {"kind": 3}),
}


@pytest.mark.parametrize("name", READ)
def test_layouts_that_are_read(tmp_path, name):
    content, counts, left_out = READ[name] if isinstance(READ[name], tuple) else (READ[name], AB, {})
    listing = read_folder(make_folder(tmp_path, content))
    assert count_images(listing.table) == counts and listing.left_out["reason"].value_counts().to_dict() == left_out
    assert list(listing.table) == ["file", "label", "split", "patient", "frame"]
    assert all((listing.root / file).is_file() for file in listing.table["file"])
    order = listing.table["split"].map(["", "train", "val", "test"].index)
    classes = sorted({*listing.table["label"]}, key=lambda name: (name.zfill(2), name))
    assert order.is_monotonic_increasing and [*listing.classes] == classes


REFUSED = {  # what the error says, content
    r"no class folder with .* Left out 6 files of kinds that are not read \(6 .heic\)": {
        f"{k}/{i}.heic": "" for k in "ab" for i in range(3)
    },
    "holds one class, 'a': a classifier needs at least 2": {"a": 4},
    r"holds 1 images of class 'b', at least 3 are needed \(.png": {"a": 4, "b": 1},
    "test holds 0 images of class 'd', at least 1.*if 'c' there is the same class": SPLITS
    | {"test/c": 1, "train/d": 1},
    "overview.png lie in no class folder: move them into one, or delete": AB | {"overview.png": ""},
    "'Well' and 'well' differ in case, spaces .* write them the": {"Well": 3, "well": 3},
    "'.xf6' and 'o.u0308' differ in .* form of letters": {"part1/o\u0308": 3, "part2/\xf6": 3},
    "AMD 1, .* as patients of AMD, NORMAL are: open_data": {
        f"{k} {i}": 2 for k in ("AMD", "NORMAL") for i in range(1, 5)
    },
    "has train and val but no 'test' split": nest_folders(["train", "val"]),
    "train and training are both the train split: merge them": SPLITS | {"training/a": 2},
    r"two ways: the classes are colon, lung \(open_data\('.*', label=1\)\), or the folders inside them, "
    r"colon_aca, colon_n, lung_aca, lung_n \(open_data\('.*', label=2\)": {
        f"{organ}/{organ}_{kind}": 3 for organ in ("colon", "lung") for kind in ("aca", "n")
    },
    r"classes are a, b \(open_data\('.*', label=1\)\), or .* a_one, a_two, b_one, b_two .*, label=3\)": {
        f"{k}/SOB/{k}_{kind}": 3 for k in "ab" for kind in ("one", "two")
    },
    r"two ways: the classes are Test cases, The set .*label=1.* a, b .*label=2.*open_data\('.*The set'\)": (
        nest_folders(["The set"]) | {"Test cases": 4}
    ),
    r"val/images/000.png.* lie in no class folder: .* open_data\('.*/train'\) opens the others alone": (
        nest_folders(["train"]) | {"val/images": 2}
    ),
    "FLAIR, T1 are there for the same patient": {
        f"{i:05d}/{kind}": 2 for i in range(4) for kind in ("T1", "FLAIR")[i > 2 :]
    },
    "p10, p11 are parts of a set": {f"p1{i}/p1{i}{k}/s{k}": 1 for i in (0, 1) for k in (20000, 30000)},
    "3.000000-CT-301, .* are parts": {
        f"D-A000{i}/04-05-2007-NA-3/{s}.000000-CT-{s}0{i}": 3 for i in range(1, 5) for s in (3, 4)
    },
    "was written by save_to_disk: pass datasets.load_from_disk": {"state.json": "{}", "data.arrow": ""},
    "name a split and a class at once": dict.fromkeys(["test_ill", "test_sane", "train_ill", "train_sane"], 3),
    "ChinaSet, MontgomerySet are data sets by their names: open one": {"ChinaSet": 3, "MontgomerySet": 3},
    "2004-04-01_9.* are parts of a set": {f"20{i:02d}-04-01_9": 3 for i in range(4, 8)},
    "patient0.* are parts of a set by their names.*label=1": {f"patient{i}": 3 for i in range(5)},
    "LIDC-IDRI-0001.* are parts of a set by their names": {f"LIDC-IDRI-000{i}": 3 for i in range(1, 6)},
    r"has test but no 'train' split: .* open_data\('.*/BACH'\) or open_data\('.*/BACH_TestDataset'\)": {
        f"{name}/{key}": 3 for name, keys in {"BACH": "ab", "BACH_TestDataset": "ab"}.items() for key in keys
    },
    r"holds one class, 'CXR_png'.* names tell the classes \(0, 1\), open_data\('.*', label='": {
        f"CXR_png/MCUCXR_{i:04d}_{i % 2}.png": "" for i in range(8)
    },
    r"2 data sets side by side \(Infection Data, Lung Data\): open one, open_data\('.*/Infection Data'\) or": {
        f"{name}/{key}": 2 for name in ("Lung Data", "Infection Data") for key in TWO
    },
    "gives 1 of 6 images no label: b/002.png": AB | {"metadata.csv": LISTED[:-2] + "\n"},
    "disagree on the label of 1 images: a/000.png": AB | {"metadata.csv": LISTED.replace("0.png,a", "0.png,b")},
    "disagree on the split of 4 images: val/a/000.png.*goes by the table alone": SPLITS
    | {"metadata.csv": format_table("file,split", [f"val/{key}/00{i}.png,train" for key in "ab" for i in (0, 1)])},
    "parts of a set.*boxes.json cannot be read": HEAP
    | {"x.tsv": "\0", "boxes.json": '{"images": [1], "boxes": [1, 2]}'},
    "2 of 6 images have several labels, joined by ' ': 'scab rot'": HEAP
    | {"x.csv": format_table("file,label", lambda i: f"{i}.png,{('scab', 'rot', 'scab rot')[i % 3]}")},
    r"3 of 6 images have several labels, joined by '\|': 'a\|b'.*label=NAME": HEAP
    | {"x.csv": BY_LABEL.replace(",a", ",a|b")},
    r"list.csv lists these images, but none of its columns .*\(image, age\): open_data\('.*', label=NAME\)": HEAP
    | {"list.csv": format_table("image,age", lambda i: f"{i},{i}")},
    r"one.csv, two.csv list the same images: pass the one to use, open_data\('": HEAP
    | {"one.csv": BY_LABEL, "two.csv": BY_LABEL},
    r"beside 0 and 1 its labels hold other values \(2 -1, 2 0, 2 1\), which often mean uncertain": HEAP
    | {"x.csv": format_table("file,label", lambda i: f"images/{i}.png,{(-1, 0, 1)[i % 3]}")},
    r"a column of 0 and 1 for each finding \(Edema, Fracture\), of which several.*label='Edema'\)": HEAP
    | {"x.csv": format_table("file,Edema,Fracture", lambda i: f"images/{i}.png,{i % 2},{i % 3 == 1:d}")},
    r"only the 2 test images have labels, in Test.csv; no table has .* the other 4: .* open_data\('.*Test.csv'\)": HEAP
    | {"Test.csv": "file,label\n0,a\n1,b"},
    "names images in two columns, 'left' and 'right', so that a row": HEAP
    | {"x.csv": format_table("left,right,label", [f"{i},{i + 3},{'ab'[i % 2]}" for i in range(3)])},
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_a_data_set_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=text):
        read_folder(make_folder(tmp_path, REFUSED[text]))


def test_a_level_of_folders_or_a_pattern_of_names_is_the_label(tmp_path):
    kinds = {f"{organ}/{organ}_{kind}": 3 for organ in ("colon", "lung") for kind in ("aca", "n")}
    make_folder(tmp_path / "organs", kinds)
    upper, lower = (read_folder(tmp_path / "organs", label=level).classes for level in (1, 2))
    assert upper == ("colon", "lung") and lower == ("colon_aca", "colon_n", "lung_aca", "lung_n")
    with pytest.raises(ValueError, match="label='grade' is no column of a table that lists images of .*organs, and no"):
        read_folder(tmp_path / "organs", label="grade")
    files = {f"train/{name}.{i}.jpg": "" for name in ("cat", "dog") for i in range(3)}
    root = make_folder(tmp_path / "flat", files | {f"test1/{i}.jpg": "" for i in range(2)})
    kept = make_folder(
        tmp_path / "kept", {f"{s}/{k}.{i}.jpg": "" for s in ("train", "val") for k in "ab" for i in (1, 2)}
    )
    with pytest.raises(ValueError, match="has train and val but no 'test' split"):
        read_folder(kept, label=r"([ab])\.\d")
    tests = make_folder(tmp_path / "cases", {"ill cases": 3, "well cases": 3, "test cases": 3})
    assert read_folder(tests, label=1).classes == ("ill cases", "test cases", "well cases")
    listing = read_folder(root, label=r"([a-z]+)\.\d")
    assert count_images(listing.table) == {"cat": 3, "dog": 3} and [*listing.left_out["reason"]] == ["name", "name"]


def test_what_is_passed_over_is_counted_in_a_sentence_per_reason(tmp_path):
    make_folder(tmp_path, AB | {f"a/{i}.heic": "" for i in range(30)} | {"b/1.svg": "", "b/IM1": "", "b/masks": 2})
    os.mkfifo(tmp_path / "a" / "pipe.png")
    assert explain_left_out(read_folder(tmp_path).left_out) == {
        "kind": "left out 33 files of kinds that are not read (30 .heic, 1 .svg, 1 no regular file, "
        "1 without an ending). Save them as PNG",
        "mask": "left out 2 files that are masks or overlays (such as b/masks/000.png of b/000.png). "
        "A card can name such a folder as a class",
    }


def test_dicom_files_without_an_ending_are_images(tmp_path):
    for name in ("a/IM1", "a/1.2.840.113619", "a/IM3.dcm", "b/IM1", "b/inner/IM2", "b/IM3", "a/README", "DICOMDIR"):
        make_folder(tmp_path, {name: ""}).joinpath(name).write_bytes(bytes(128) + b"DICM" + bytes(20))
    files = read_folder(tmp_path).table["file"].tolist()
    assert files == ["a/1.2.840.113619", "a/IM1", "a/IM3.dcm", "b/IM1", "b/IM3", "b/inner/IM2"]


def test_a_manifest_that_is_passed_says_which_images_there_are(tmp_path):
    make_folder(tmp_path, HEAP | {"images/6.png": ""} | {"train/c": 2, "list.csv": BY_LABEL})
    make_folder(tmp_path, {"tables/list.csv": BY_LABEL}).joinpath("images/link.png").symlink_to(__file__)
    for name in ("list.csv", "tables/list.csv"):
        assert count_images(read_folder(tmp_path / name).table) == AB
    (tmp_path / "list.csv").write_text(BY_LABEL + "images/link.png,a\n")
    with pytest.raises(ValueError, match="not in its folder: images/link.png.*links are not followed"):
        read_folder(tmp_path / "list.csv")


def test_links_are_followed_within_the_folder_and_refused_where_they_lead_out(tmp_path):
    root = make_folder(tmp_path / "set", AB)
    (root / "a/link.png").symlink_to(root / "a/000.png")
    (root / "notes").symlink_to(tmp_path / "nowhere")
    (tmp_path / "elsewhere").symlink_to(root)
    assert len(read_folder(tmp_path / "elsewhere").table) == 7
    make_folder(tmp_path, {"secret/1.png": ""})
    for link, target in {"a/l.png": "secret/1.png", "c": "secret", "a/again": "set", "x.csv": "secret/1.png"}.items():
        (root / link).symlink_to(tmp_path / target)
        with pytest.raises(ValueError, match=f"set: {link}: links out of the folder"):
            read_folder(root)
        (root / link).unlink()


def test_frames_of_files_with_several_images(tmp_path):
    make_folder(tmp_path, AB | {"b/broken.tif": "no image"})
    pages = [Image.new("L", (8, 8), page) for page in range(5)]
    pages[0].save(tmp_path / "a/stack.tif", save_all=True, append_images=pages[1:])
    middle, every = (read_folder(tmp_path, frames=which).table for which in ("middle", "all"))
    assert middle["frame"].where(middle["file"] == "a/stack.tif", 7).tolist() == [7, 7, 7, 2, 7, 7, 7, 7]
    assert set(middle["patient"]) == {""} and len(every) == 12
    stack = every[every["file"] == "a/stack.tif"]
    assert stack["frame"].tolist() == [0, 1, 2, 3, 4] and set(stack["patient"]) == {"a/stack.tif"}


def test_a_card_tells_folders_classes_and_patients(tmp_path, card):
    folders = {"COVID/images": 4, "COVID/masks": 4, "Normal/images": 3, "Opacity/images": 3}
    make_folder(tmp_path / "set", {f"Database/{name}": count for name, count in folders.items()})
    classes, patient = {"normal": "Normal/images", "covid": "COVID/images"}, {"pattern": "([A-Z]+)/images/00[12]"}
    listing = read_folder(tmp_path / "set", card(classes, root="Database", layout="classes", patient=patient))
    assert listing.root == tmp_path / "set" / "Database" and listing.classes == ("normal", "covid")
    assert count_images(listing.table) == {"covid": 4, "normal": 3}
    assert listing.table["patient"].tolist() == ["", "COVID", "COVID", "", "", "", ""]
    assert "folders that the card does not name (3 Opacity/images). Add" in explain_left_out(listing.left_out)["folder"]
    assert (listing.left_out["reason"] == "mask").sum() == 4


@pytest.mark.parametrize("whole", [False, True])
def test_a_card_names_a_manifest_its_columns_and_its_labels(tmp_path, card, whole):
    rows = "".join(f"{i},{i % 3},{i // 2}\n" for i in range(9))
    content = {f"img/{i}.png": "" for i in range(10)} | {"truth.csv": "key,code,who\n" + rows}
    root = make_folder(tmp_path / "set", content)
    table = {"manifest": "truth.csv", "columns": {"file": "key", "label": "code", "patient": "who"}}
    told = card({"malignant": "1", "benign": "0"}, layout="manifest", **table)
    listing = read_folder(root if whole else root / "truth.csv", told)
    assert listing.classes == ("malignant", "benign") and count_images(listing.table) == {"malignant": 3, "benign": 3}
    assert listing.table.set_index("file")["label"]["img/4.png"] == "malignant"
    text = explain_left_out(listing.left_out)["label"]
    assert "left out 3 files with labels that the card does not name (3 2)" in text


PATIENTS = LISTED.replace("label", "patient")
CARDS = {  # content, the card's classes, images of each class, left out
    "the card's order": (SPLITS | {"train/c": 3}, ("b", "a"), SPLITS, {"folder": 3}),
    "masks beside images": (AB | {"a/000_mask.png": ""}, ("a", "b"), AB, {"mask": 1}),
    "masks as a class": ({"a/left/Masks": 2, "a": 3, "masks": 3}, {"a": "a", "b": "masks"}, AB, {"mask": 2}),
    "beside a manifest": (AB | {"c": 2, "metadata.csv": PATIENTS + "c/000.png,c\n"}, ("a", "b"), AB, {"folder": 2}),
}


@pytest.mark.parametrize("name", CARDS)
def test_folders_that_a_card_does_or_does_not_name(tmp_path, card, name):
    content, classes, counts, left_out = CARDS[name]
    listing = read_folder(make_folder(tmp_path / "set", content), card(classes))
    assert count_images(listing.table) == counts and listing.classes == tuple(classes)
    assert listing.left_out["reason"].value_counts().to_dict() == left_out


def test_a_card_that_does_not_fit_is_named(tmp_path, card):
    root = make_folder(tmp_path / "set", AB)
    for told, error in (
        ({"root": "gone"}, "root: gone is no folder inside"),
        ({"layout": "manifest", "manifest": "gone.csv"}, "manifest: gone.csv is not in"),
        ({"patient": {"pattern": "patient(\\d+)"}}, "patient: .* is in no file name: correct the pattern"),
    ):
        with pytest.raises(ValueError, match=f"mine.md: {error}"):
            read_folder(root, card(**told))


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared folder of real images is not here")
@pytest.mark.parametrize("name", ["brain_mri", "chest_xray", "lung_ct"])
def test_real_sets(name):
    expected = pd.read_csv(REAL / name / "metadata.csv", keep_default_na=False).sort_values("file_name")
    listing = read_folder(REAL / name)
    assert listing.classes == tuple(sorted(expected["label"].unique())) and listing.left_out.empty and not listing.notes
    images = listing.table.sort_values("file").rename(columns={"file": "file_name"})
    assert images.iloc[:, :4].values.tolist() == expected[["file_name", "label", "split", "patient"]].values.tolist()
    assert read_folder(REAL / name / "metadata.csv").table.equals(listing.table)


@pytest.mark.parametrize("ends", [("_OD", "_OS"), ("_t1", "_t1ce", "_mr"), ("", "_flipped", "-dark"), ("_1-9", "_2-9")])
def test_names_that_differ_at_their_end_are_of_one_person(ends):
    files = [f"{'ab'[person % 2]}/{person}{end}.jpeg" for person in range(10) for end in ends]
    assert {re.search(patient_pattern(files, [f[0] for f in files]), f)[1] for f in files} == {*"0123456789"}


def test_patients_may_have_a_folder_for_each_class():
    files = [f"88{i}/{k}/88{i}_idx5_x{x}_class{k}.png" for i in range(6) for k in (0, 1) for x in (101, 151)]
    pattern = patient_pattern(files, [file.split("/")[1] for file in files])
    assert [re.search(pattern, file)[1] for file in files] == [file[:3] for file in files]


def test_patients_may_have_a_folder_in_their_class():
    files = [
        f"{s}/{k}/{k}{i}/slices/{x}.png"
        for s in ("train", "test")
        for k in ("mel", "nev")
        for i in range(6)
        for x in (1, 2)
    ]
    pattern = patient_pattern(files, [file.split("/")[1] for file in files])
    assert [re.search(pattern, file)[1] for file in files] == [file.split("/")[2] for file in files]


def test_names_that_repeat_their_folder_tell_no_patients():
    files = [f"{s}/{k}_mild/{s}_{k}_mild_{n}.png" for s in ("Training", "Testing") for k in range(4) for n in range(5)]
    assert not patient_pattern(files, [file.split("/")[1] for file in files]) and not patient_pattern([], [])
