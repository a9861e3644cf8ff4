import hashlib
import itertools
import re

import numpy as np
import pandas as pd
import pytest

from dmws_lite.data.splits import SHARES, caution, find_leaks, read_manifest, split_table, write_manifest


def make_table(labels, **columns):
    """A table with a label a row; every image is a group of its own, and nothing else is known."""
    rows = range(len(labels))
    table = pd.DataFrame({"file": [f"{i:04d}.png" for i in rows], "label": list(labels), "frame": 0, "split": ""})
    return table.assign(**{"patient": "", "error": "", "group": rows, "sha256": [f"{i:064x}" for i in rows]} | columns)


def split(table, seed=0, rule="auto"):
    return split_table(table, seed, rule)[0]


def stays_together(values, splits):
    return splits.groupby(np.asarray(values)).nunique().max() == 1


def random_table(rng):
    """Patients of some of the images, look-alikes that cross patients, slices of volumes, classes within patients."""
    count = int(rng.integers(150, 500))
    patients = rng.integers(0, count // 3, count)
    labels = rng.integers(0, 3, count // 3 + 1)[patients]
    labels = np.where(rng.random(count) < 0.1, rng.integers(0, 3, count), labels)
    known = rng.random(count) < rng.choice([0.3, 0.8, 1])
    table = make_table(np.array(["a", "b", "c"])[labels], patient=np.where(known, [f"p{p}" for p in patients], ""))
    table["group"] = np.where(rng.random(count) < 0.05, rng.integers(0, 9, count), np.arange(count) + 9)
    table["file"] = [f"volume {i // 3}.nii" if i < 60 else file for i, file in enumerate(table["file"])]
    return table.assign(frame=[i % 3 if i < 60 else 0 for i in range(count)])


@pytest.mark.parametrize("trial", range(8))
def test_no_patient_group_or_file_is_in_two_splits(trial):
    table = random_table(np.random.default_rng(trial))
    splits, known = split(table, seed=trial), table["patient"] != ""
    assert splits.index.equals(table.index) and (pd.crosstab(table["label"], splits)[[*SHARES]] > 0).all(axis=None)
    assert stays_together(table["patient"][known], splits[known])
    assert stays_together(table["group"], splits) and stays_together(table["file"], splits)


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_rows():
    sizes = np.resize([1, 2, 3, 5, 8, 13], 60)
    table = make_table(np.repeat(["a", "b"] * 30, sizes), patient=np.repeat([f"p{i}" for i in range(60)], sizes))
    first, shuffled = split(table), table.sample(frac=1, random_state=3)
    again = split(shuffled.assign(group=shuffled["group"].max() - shuffled["group"]))
    assert again.index.equals(shuffled.index) and again.sort_index().equals(first)
    others = [split(table, seed) for seed in range(1, 6)]
    assert all(not one.equals(other) for one, other in itertools.combinations([first, *others], 2))


def test_which_rule_is_used_and_what_to_be_wary_of():
    table = make_table("ab" * 20)
    mixed, known = table.assign(patient=["p"] * 4 + [""] * 36), table.assign(patient=table["file"])
    given = known.assign(split=["train", "train", "val", "val", "test", "test"] * 6 + ["train"] * 4)
    for made_up, asked, used, text in (
        (table, "auto", "near_duplicates", "patients are not known.*column 'patient'"),
        (mixed, "auto", "near_duplicates", "patients are not known"),
        (table, "random", "random", "at random, image by image.*Leave `rule` out of the card's `split`"),
        (known, "auto", "patient", "^$"),
        (known, "near_duplicates", "near_duplicates", "^$"),
        (given, "auto", "published", "^$"),
        (given, "patient", "patient", "^$"),
    ):
        splits, rule = split_table(made_up, rule=asked)
        assert rule == used and re.search(text, caution(made_up, rule))
        assert splits.equals(given["split"]) == (rule == "published")
    assert split(mixed)[:4].nunique() == 1


def test_a_seed_gives_the_split_that_it_always_gave():
    digest = hashlib.sha256()
    for trial in range(5):
        digest.update("".join(split(random_table(np.random.default_rng(trial)), seed=trial)).encode())
    assert digest.hexdigest()[:16] == "0f0544c3102ea114"


def test_a_missing_val_is_carved_out_of_train_by_what_belongs_together():
    table = make_table(np.repeat(["a", "b"], 60), split="train", patient=[f"p{i // 3}" for i in range(120)])
    table.loc[[*range(50, 60), *range(110, 120)], "split"] = "test"
    splits, train = split(table), table["split"] == "train"
    assert (splits[~train] == "test").all() and not splits.equals(split(table, seed=1))
    assert set(splits[train]) == {"train", "val"} and stays_together(table["patient"][train], splits[train])
    assert pd.crosstab(table["label"], splits)["val"].tolist() == pytest.approx([7.5, 7.5], abs=2.5)


@pytest.mark.parametrize(
    "change, rule, text",
    [
        ({"group": [0] * 10 + [*range(1, 31)]}, "auto", "class 'a' has 10 readable images in 1 indep.*delete copies"),
        ({"label": ["a"] * 2 + ["b"] * 38}, "random", "'a' has 2 readable .* need one each: add images"),
        ({"patient": ["p"] * 38 + ["", ""]}, "patient", "but 2 images have no patient: .*leave `rule`"),
        ({}, "published", "rule='published', but the splits given are.*leave `rule` out of the card's `split`"),
        ({"split": ["train", "test"] * 19 + ["", "test"]}, "auto", "the splits given are .'', 'test', 'train'."),
        ({"error": "broken"}, "auto", "none of 40 images can be read, such as 0000.png"),
    ],
)
def test_a_rule_that_does_not_fit(change, rule, text):
    with pytest.raises(ValueError, match=text):
        split_table(make_table("a" * 10 + "b" * 30, **change), rule=rule)


def test_leaks_between_splits():
    splits, patients = ["test", "train", "val", "train", "train", ""], ["p", "q", "p", "", "p", "p"]
    table = make_table("aabbab", split=splits, patient=patients, sha256=["same", "same", *"cdef"])
    rows = [(0, 1, "exact", 1.0), (1, 3, "near", 0.99), (2, 3, "similar", 0.93), (3, 5, "near", 0.99)]
    leaks = find_leaks(table, pd.DataFrame(rows, columns=["first", "second", "kind", "correlation"]))
    assert list(leaks.columns) == ["kind", "first", "second", "split_a", "split_b", "file_a", "file_b"]
    assert sorted(map(tuple, leaks.to_numpy())) == [
        ("exact", 1, 0, "train", "test", "0001.png", "0000.png"),
        ("patient", 2, 0, "val", "test", "0002.png", "0000.png"),
        ("patient", 4, 0, "train", "test", "0004.png", "0000.png"),
        ("patient", 4, 2, "train", "val", "0004.png", "0002.png"),
        ("similar", 3, 2, "train", "val", "0003.png", "0002.png"),
    ]


def manifest(tmp_path, **columns):
    table = make_table("ab" * 10, **columns)
    table = table.assign(split=split(table, rule="random"))
    return table, write_manifest(table, tmp_path / "split.csv")


def test_a_manifest_gives_everyone_the_same_split(tmp_path):
    files = [f"Köpfe, links/{i}\n.png" for i in range(20)]
    table, path = manifest(tmp_path, file=files, patient=[f"{i:03d}" for i in range(20)])
    assert path.read_text(encoding="utf-8").startswith("file,frame,label,split,group,sha256\n")
    theirs = table.sample(frac=1, random_state=0).reset_index(drop=True)
    assert read_manifest(path, theirs.assign(split="")).equals(theirs)


def test_images_that_differ_from_a_manifest_are_named_and_one_that_cannot_be_used_is_refused(tmp_path):
    table, path = manifest(tmp_path)
    ours = table.assign(file=table["file"].replace("0003.png", "new.png"))
    ours.loc[7, "sha256"] = "f" * 64
    text = r"1 have changed \(0007.png\); 1 are missing \(0003.png\); 1 are not in it \(new.png\).*new manifest"
    with pytest.raises(ValueError, match=text):
        read_manifest(path, ours)
    pd.read_csv(path, dtype=str).drop(columns="sha256").to_csv(path, index=False)
    assert read_manifest(path, table)["split"].equals(table["split"])
    for content, text in (
        ("", "cannot be used"),
        ("file,label\n0000.png,a\n", "columns 'file' and 'split' are needed"),
        ("file,split\n0000.png,dev\n", "split 'dev' is none of train, val, test"),
        ("file,split\n0000.png,train\n0000.png,test\n", "lists 0000.png twice"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=f"split.csv.*{text}"):
            read_manifest(path, table)
