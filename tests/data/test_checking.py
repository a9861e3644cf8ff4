import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from dmws_lite.data.checking import check, inspect
from dmws_lite.data.duplicates import groups, pairs
from dmws_lite.data.opening import Gathered

REAL = Path(__file__).parents[2].parent / "shared" / "data"
SPLIT = np.array(["train", "train", "train", "val", "test", "test"])
N = 240


def clean(count=N, classes=("a", "b")):
    """A data set in which nothing is wrong: noise, two even classes, one image a patient."""
    thumbnails = np.random.default_rng(0).integers(0, 256, (count, 32, 32), dtype=np.uint8)
    rows = np.arange(count)
    table = pd.DataFrame(
        {"label": np.array(classes)[rows // len(SPLIT) % len(classes)], "split": np.resize(SPLIT, count)}
    )
    table["file"] = [
        f"{split}/{label}/{k:03d}.png" for split, label, k in zip(table["split"], table["label"], rows, strict=True)
    ]
    table["patient"] = [f"SECRET-{k}" for k in rows]
    table["sha256"] = [f"{k:064x}" for k in rows]
    table = table.assign(frame=0, width=224, height=200, mode="gray", depth=8, blank=False, error="", group=rows)
    pairs, left_out = pd.DataFrame(), pd.DataFrame(columns=["file", "reason", "group"])
    return finished(Gathered("noise", table, thumbnails[:, None], thumbnails, pairs, classes, "published", left_out))


def finished(found):
    """Pairs and groups as `gather` finds them, after files were changed by hand."""
    table = found.table
    hashes = [f"{sha}#{frame}" if not error else "" for sha, frame, error in table[["sha256", "frame", "error"]].values]
    linked = pairs(hashes, found.thumbnails)
    table["group"] = groups(len(table), linked)
    return replace(found, pairs=linked)


def copy(found, source, target, near=False):
    """Make `target` a copy of the image `source`, byte by byte or nearly."""
    found.thumbnails[target] = found.thumbnails[source]
    if near:
        found.thumbnails[target, ::7] ^= 1
    else:
        found.table.loc[target, "sha256"] = found.table["sha256"][source]
    found.images[target] = found.thumbnails[target]
    return found


def put(found, column, values):
    for row, value in values.items():
        found.table.loc[row, column] = value
    return found


def same_patient(found):
    return put(found, "patient", {3: "SECRET-0", 4: "SECRET-0", 10: "SECRET-6", 18: "SECRET-19"})


def keep(found, rows):
    rows = np.asarray(rows)
    table = found.table.iloc[rows].reset_index(drop=True)
    return replace(found, table=table, images=found.images[rows], thumbnails=found.thumbnails[rows])


def smaller_class(found, share):
    """Train images of class b thinned out to one in `share`."""
    b = np.flatnonzero((found.table["label"] == "b") & (found.table["split"] == "train"))
    return keep(found, np.setdiff1d(np.arange(N), np.setdiff1d(b, b[::share])))


def look_alikes(found, count=6):
    """Other contrast: test images that look like training images, but are not the same picture saved again."""
    for row in range(0, 6 * count, 6):
        found.thumbnails[row + 4] = (found.thumbnails[row] * 0.6 + 20).astype(np.uint8)
    return found


def card(**parts):
    return SimpleNamespace(**({"counts": None, "image": None, "patient": None} | parts))


STAND_IN = card(patient=SimpleNamespace(stands_for="100 neighbouring file numbers"))


FAULTS = {
    "exact copies in two splits": (
        lambda f: copy(copy(f, 0, 3), 6, 10),
        ("invalid", "copies across splits", 4, ("train/a/000.png = val/a/003.png", "train/b/006.png = test/b/010.png")),
    ),
    "near copies in two splits": (
        lambda f: copy(f, 0, 4, near=True),
        ("invalid", "near copies across splits", 2, ("train/a/000.png = test/a/004.png",)),
    ),
    "patients in two splits": (same_patient, ("invalid", "patients across splits", 2, ())),
    "unreadable": (
        lambda f: put(f, "error", {5: "OSError: image file is truncated"}),
        ("invalid", "unreadable", 1, ("test/a/005.png (OSError: image file is truncated)",)),
    ),
    "a class that cannot be read in one split": (
        lambda f: put(
            f, "split", {k: "train" for k in range(N) if f.table.loc[k, ["split", "label"]].tolist() == ["val", "b"]}
        ),
        ("invalid", "empty class in a split", 1, ()),
    ),
    "one image with two labels": (
        lambda f: copy(f, 0, 6),
        ("invalid", "two labels", 2, ("train/a/000.png = train/b/006.png",)),
    ),
    "nearly one image with two labels": (
        lambda f: copy(f, 0, 6, near=True),
        ("warning", "two labels", 2, ("train/a/000.png = train/b/006.png",)),
    ),
    "copies in one split": (
        lambda f: copy(f, 0, 1),
        ("note", "copies within a split", 2, ("train/a/000.png = train/a/001.png",)),
    ),
    "near copies in one split": (
        lambda f: copy(f, 0, 1, near=True),
        ("note", "near copies within a split", 2, ("train/a/000.png = train/a/001.png",)),
    ),
    "tiny": (lambda f: put(f, "height", {7: 31, 8: 1}), ("warning", "tiny", 2, ("train/b/007.png", "train/b/008.png"))),
    "blank": (lambda f: put(f, "blank", {7: True}), ("warning", "blank", 1, ("train/b/007.png",))),
    "a few in colour": (
        lambda f: put(f, "mode", {k: "colour" for k in range(1, 8)}),
        ("warning", "colour", 7, ("train/a/001.png", "train/a/002.png", "val/a/003.png")),
    ),
    "colour, and a card that says gray": (
        lambda f: replace(
            put(f, "mode", {k: "colour" for k in range(200)}), card=card(image=SimpleNamespace(mode="gray"))
        ),
        ("warning", "colour", 200, ("train/a/000.png",)),
    ),
    "very uneven classes": (lambda f: smaller_class(f, 12), ("warning", "class imbalance", 2, ())),
    "uneven classes": (lambda f: smaller_class(f, 4), ("note", "class imbalance", 2, ())),
    "few test images": (lambda f: keep(f, range(120)), ("note", "few test images", 2, ())),
    "a random split": (lambda f: replace(f, rule="random"), ("warning", "split", N, ())),
    "unknown patients": (lambda f: put(f, "patient", {3: "", 4: ""}), ("note", "patients unknown", 2, ())),
    "look-alikes of unknown patients": (
        lambda f: put(look_alikes(f), "patient", {k: "" for k in range(N)}),
        ("warning", "look-alikes across splits", 12, ("train/a/000.png = test/a/004.png",)),
    ),
    "look-alikes of what stands in for patients": (
        lambda f: replace(look_alikes(f), card=STAND_IN),
        ("warning", "look-alikes across splits", 12, ("train/a/000.png = test/a/004.png",)),
    ),
    "what stands in for patients in two splits": (
        lambda f: replace(same_patient(f), card=STAND_IN),
        ("warning", "patients across splits", 2, ()),
    ),
    "ids that only stand in for patients": (
        lambda f: replace(f, rule="patient", card=STAND_IN),
        ("note", "patients unknown", N, ()),
    ),
    "look-alikes of known patients": (look_alikes, ("note", "look-alikes across splits", 12, ())),
    "other counts than the card's": (
        lambda f: replace(
            f, card=card(counts={"train": {"a": 60, "b": 61}, "val": {"a": 20, "b": 20}, "test": {"a": 4}})
        ),
        ("warning", "counts differ from the card", 2, ()),
    ),
    "files that are not read": (
        lambda f: replace(f, left_out=pd.DataFrame({"file": ["a.gif", "b.gif"], "reason": "kind", "group": ".gif"})),
        ("warning", "left out", 2, ("a.gif", "b.gif")),
    ),
    "what is to be said of how it was read": (
        lambda f: replace(f, notes=("labels are from the column dx",)),
        ("warning", "how it was read", 1, ()),
    ),
    "a mark of the source": (
        lambda f: f.thumbnails.__setitem__((f.table["label"] == "b", 0), 255) or f,
        ("warning", "source shortcut", N, ()),
    ),
}


def test_nothing_is_wrong_with_a_clean_set():
    report = inspect(clean())
    assert report.valid and report.verdict == "usable, no warning" and set(report.flags) == {""}
    assert report.findings[["severity", "kind"]].values.tolist() == [["note", "source shortcut"], ["note", "split"]]
    assert repr(report) == "Report(noise: 240 images, usable, no warning)"


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_found_and_named(fault):
    plant, (severity, kind, count, files) = FAULTS[fault]
    report = inspect(finished(plant(clean())))
    found = report.findings[(report.findings["kind"] == kind) & (report.findings["severity"] == severity)]
    assert len(found) == 1 and found["count"].item() == count
    assert set(files) <= set(found["files"].item()) and len(found["files"].item()) <= 5
    assert report.valid == (severity != "invalid")
    others = report.findings[(report.findings["severity"] != "note") & (report.findings["kind"] != kind)]
    assert others.empty
    assert list(report.findings["severity"]) == sorted(
        report.findings["severity"], key=["invalid", "warning", "note"].index
    )


def test_flags_name_the_worst_fault_of_each_image():
    found = put(copy(copy(clean(), 0, 3), 1, 6), "height", {0: 10, 9: 10})
    flags = inspect(finished(put(found, "error", {20: "OSError"}))).flags
    assert [flags[k] for k in (0, 1, 3, 6, 9, 20, 30)] == [
        "in two splits",
        "two labels",
        "in two splits",
        "two labels",
        "tiny",
        "unreadable",
        "",
    ]


def test_no_patient_id_is_ever_shown():
    report = inspect(finished(same_patient(clean())))
    assert "SECRET" not in report.findings.to_csv() + report.probes.to_csv() + repr(report) + "".join(report.flags)


def test_a_set_in_colour_and_equal_counts_are_no_warning():
    found = clean()
    found.table["mode"] = "colour"
    counts = {"train": {"a": 80, "b": 80}, "test": {"a": 40, "b": 40}}  # val is carved out of the published train
    assert inspect(replace(found, card=card(counts=counts))).verdict == "usable, no warning"
    counts = {"train": {"a": 60, "b": 60}, "test": {"a": 60, "b": 60}}  # the split is ours: only totals are compared
    assert inspect(replace(found, rule="patient", card=card(counts=counts))).verdict == "usable, no warning"
    assert inspect(replace(found, card=card(counts={"all": {"a": 120, "b": 120}}))).verdict == "usable, no warning"


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real images beside the checkout")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("chest_xray", {"source shortcut"}),  # its classes come from different hospitals
        ("lung_ct", set()),
        ("brain_mri", {"look-alikes across splits"}),  # its patients are unknown
    ],
)
def test_real_sets_show_what_is_known_of_them_and_nothing_else(name, expected, tmp_path, monkeypatch):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = check(REAL / name, size=32, progress=False)
    assert report.valid
    assert set(report.findings.loc[report.findings["severity"] == "warning", "kind"]) == expected
