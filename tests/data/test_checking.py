from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dmws_lite.data.checking import check, inspect
from dmws_lite.data.duplicates import find_pairs, group_pairs
from dmws_lite.data.opening import Gathered

REAL = Path(__file__).parents[2].parent / "shared" / "data"
SPLIT = np.array(["train", "train", "train", "val", "test", "test"])
N = 240


def clean_set():
    """A data set in which nothing is wrong: noise, two even classes, one image per patient."""
    rows, classes = np.arange(N), ("a", "b")
    thumbnails = np.random.default_rng(0).integers(0, 256, (N, 32, 32), dtype=np.uint8)
    table = pd.DataFrame({"label": np.array(classes)[rows // 6 % 2], "split": np.resize(SPLIT, N)})
    table["file"] = table["split"] + "/" + table["label"] + "/" + table.index.astype(str).str.zfill(3) + ".png"
    table["patient"], table["sha256"] = [f"SECRET-{k}" for k in rows], [f"{k:064x}" for k in rows]
    table = table.assign(frame=0, width=224, height=200, mode="gray", depth=8, blank=False, error="", group=rows)
    pairs, left_out = pd.DataFrame(), pd.DataFrame(columns=["file", "reason", "group"])
    return link_copies(Gathered("noise", table, thumbnails[:, None], thumbnails, pairs, classes, "published", left_out))


def link_copies(gathered):
    """Pairs and groups as `gather` finds them, after files were changed by hand."""
    table = gathered.table
    hashes = [f"{sha}#{frame}" if not error else "" for sha, frame, error in table[["sha256", "frame", "error"]].values]
    linked = find_pairs(hashes, gathered.thumbnails)
    table["group"] = group_pairs(len(table), linked)
    return replace(gathered, pairs=linked)


def copy(gathered, source, target, near=False):
    gathered.thumbnails[target] = gathered.thumbnails[source]
    if near:
        gathered.thumbnails[target, ::7] ^= 1
    else:
        gathered.table.loc[target, "sha256"] = gathered.table["sha256"][source]
    gathered.images[target] = gathered.thumbnails[target]
    return gathered


def set_values(gathered, column, values):
    gathered.table.loc[[*values], column] = [*values.values()]
    return gathered


def same_patient(gathered):
    return set_values(gathered, "patient", {3: "SECRET-0", 4: "SECRET-0", 10: "SECRET-6", 18: "SECRET-19"})


def keep(gathered, rows):
    table = gathered.table.iloc[rows].reset_index(drop=True)
    return replace(gathered, table=table, images=gathered.images[rows], thumbnails=gathered.thumbnails[rows])


def smaller_class(gathered, share):
    """Train images of class b thinned out to one in `share`."""
    b = np.flatnonzero(gathered.table["file"].str.startswith("train/b"))
    return keep(gathered, np.setdiff1d(np.arange(N), np.setdiff1d(b, b[::share])))


def look_alikes(gathered):
    for row in range(0, 36, 6):
        gathered.thumbnails[row + 4] = (gathered.thumbnails[row] * 0.6 + 20).astype(np.uint8)
    return gathered


def draw_frames(gathered):
    gathered.thumbnails[gathered.table["label"] == "b", 0] = 255
    return gathered


def card(**parts):
    return SimpleNamespace(**({"counts": None, "image": None, "patient": None} | parts))


def colour(count):
    return lambda gathered: set_values(gathered, "mode", dict.fromkeys(range(1, count + 1), "colour"))


STAND_IN = card(patient=SimpleNamespace(stands_for="100 neighbouring file numbers"))
GRAY = card(image=SimpleNamespace(mode="gray"))
COUNTS = card(counts={"train": {"a": 60, "b": 61}, "val": {"a": 20, "b": 20}, "test": {"a": 4}})
NOT_READ = pd.DataFrame({"file": ["a.gif", "b.gif"], "reason": "kind", "group": ".gif"})
ALIKE = {"train/a/000.png = test/a/004.png"}
TORN, REPEATED = {"train/a/000.png = train/b/006.png"}, {"train/a/000.png = train/a/001.png"}
TWICE = {"train/a/000.png = val/a/003.png", "train/b/006.png = test/b/010.png"}
BROKEN = {"test/a/005.png (OSError: image file is truncated)"}
FAULTS = [  # what is reported, on how many, some files that are named, and what is done to a clean set
    ("invalid", "copies across splits", 4, TWICE, lambda f: copy(copy(f, 0, 3), 6, 10)),
    ("invalid", "near copies across splits", 2, ALIKE, lambda f: copy(f, 0, 4, near=True)),
    ("invalid", "patients across splits", 2, set(), same_patient),
    ("invalid", "unreadable", 1, BROKEN, lambda f: set_values(f, "error", {5: "OSError: image file is truncated"})),
    ("invalid", "empty class in a split", 1, set(), lambda f: keep(f, ~f.table["file"].str.startswith("val/b"))),
    ("invalid", "two labels", 2, TORN, lambda f: copy(f, 0, 6)),
    ("warning", "two labels", 2, TORN, lambda f: copy(f, 0, 6, near=True)),
    ("note", "copies within a split", 2, REPEATED, lambda f: copy(f, 0, 1)),
    ("warning", "tiny", 2, {"train/b/007.png", "train/b/008.png"}, lambda f: set_values(f, "height", {7: 31, 8: 1})),
    ("warning", "blank", 1, {"train/b/007.png"}, lambda f: set_values(f, "blank", {7: True})),
    ("warning", "colour", 7, {"train/a/001.png", "train/a/002.png", "val/a/003.png"}, colour(7)),
    ("warning", "colour", 200, {"train/a/001.png"}, lambda f: replace(colour(200)(f), card=GRAY)),
    ("warning", "class imbalance", 2, set(), lambda f: smaller_class(f, 12)),
    ("note", "class imbalance", 2, set(), lambda f: smaller_class(f, 4)),
    ("note", "few test images", 2, set(), lambda f: keep(f, range(120))),
    ("warning", "split", N, set(), lambda f: replace(f, rule="random")),
    ("note", "patients unknown", 2, set(), lambda f: set_values(f, "patient", {3: "", 4: ""})),
    ("note", "patients unknown", N, set(), lambda f: replace(f, rule="patient", card=STAND_IN)),
    ("warning", "patients across splits", 2, set(), lambda f: replace(same_patient(f), card=STAND_IN)),
    ("note", "look-alikes across splits", 12, set(), look_alikes),
    ("warning", "look-alikes across splits", 12, ALIKE, lambda f: replace(look_alikes(f), card=STAND_IN)),
    ("warning", "counts differ from the card", 2, set(), lambda f: replace(f, card=COUNTS)),
    ("warning", "left out", 2, {"a.gif", "b.gif"}, lambda f: replace(f, left_out=NOT_READ)),
    ("warning", "how it was read", 1, set(), lambda f: replace(f, notes=("labels are from the column dx",))),
    ("warning", "source shortcut", N, set(), draw_frames),
]


def test_nothing_is_wrong_with_a_clean_set_or_one_in_colour_or_with_the_cards_counts():
    gathered = clean_set()
    report = inspect(gathered)
    assert report.valid and report.verdict == "usable, no warning" and set(report.flags) == {""}
    assert report.findings[["severity", "kind"]].values.tolist() == [["note", "source shortcut"], ["note", "split"]]
    assert repr(report) == "Report(noise: 240 images, usable, no warning)"
    gathered.table["mode"] = "colour"
    for rule, counts in (
        ("published", {"train": {"a": 80, "b": 80}, "test": {"a": 40, "b": 40}}),  # val is carved out of train
        ("patient", {"train": {"a": 60, "b": 60}, "test": {"a": 60, "b": 60}}),  # only totals are compared
        ("published", {"all": {"a": 120, "b": 120}}),
    ):
        assert inspect(replace(gathered, rule=rule, card=card(counts=counts))).verdict == "usable, no warning"


@pytest.mark.parametrize(("severity", "kind", "count", "files", "plant"), FAULTS)
def test_every_planted_fault_is_found_and_named(severity, kind, count, files, plant):
    report = inspect(link_copies(plant(clean_set())))
    table = report.findings
    rows = table[(table["kind"] == kind) & (table["severity"] == severity)]
    assert len(rows) == 1 and rows["count"].item() == count
    assert files <= {*rows["files"].item()} and len(rows["files"].item()) <= 5
    assert report.valid == (severity != "invalid")
    assert table[(table["severity"] != "note") & (table["kind"] != kind)].empty
    assert table["severity"].map(["invalid", "warning", "note"].index).is_monotonic_increasing


def test_flags_name_the_worst_fault_of_each_image():
    gathered = set_values(copy(copy(clean_set(), 0, 3), 1, 6), "height", {0: 10, 9: 10})
    flags = inspect(link_copies(set_values(gathered, "error", {20: "OSError"}))).flags
    faults = {0: "in two splits", 1: "two labels", 3: "in two splits", 6: "two labels", 9: "tiny", 20: "unreadable"}
    assert {k: flag for k, flag in enumerate(flags) if flag} == faults


def test_no_patient_id_is_ever_shown():
    report = inspect(same_patient(clean_set()))
    assert "SECRET" not in report.findings.to_csv() + report.probes.to_csv() + repr(report) + "".join(report.flags)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real images beside the checkout")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["chest_xray", "lung_ct", "brain_mri"])
def test_real_sets_show_what_is_known_of_them_and_nothing_else(name):
    report = check(REAL / name, size=32, progress=False)
    known = {"chest_xray": ["source shortcut"], "brain_mri": ["look-alikes across splits"]}  # sources, no patients
    assert report.valid and [*report.findings.query("severity == 'warning'")["kind"]] == known.get(name, [])
