"""Dividing images into train, val and test so that nothing leaks, and what leaks where they were divided before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd

from dmws_lite.data.duplicates import group_pairs
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.files import write_atomically

Array = np.ndarray
SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}
RULES = ("auto", "published", "patient", "near_duplicates", "random")
MANIFEST = ["file", "frame", "label", "split", "group", "sha256"]  # no ids of people
NO_RULE = "leave `rule` out of the card's `split`"
WAY_OUT = "add images of other patients, delete copies and ids of no person, or write `split: {rule: random}` in a card"


def split_table(
    table: pd.DataFrame, seed: int = 0, rule: str = "auto", shares: Mapping[str, float] = SHARES
) -> tuple[pd.Series, str]:
    """A split for each image, stratified by class.

    table: one row per image, with file, frame, label, split, patient, group, error (see `Gathered`); patient and split
           are "" where not known.
    seed:  of what is left to chance. The order of the rows plays no part.
    rule:  "published": what `split` says is kept; without val, val's share of train and val is carved out of train.
           "patient": every image needs one. "near_duplicates": for when patients are not all known. "random": image by
           image, which may leak. "auto": the first of "published", "patient" and "near_duplicates" that fits.
           With all but "random", no patient (where known), group or file is on two sides of a split that is made here.
    Returns the splits ("" for images with an error), with the table's index, and the rule that was used.
    Raises ValueError when the rule does not fit, or a class has too few independent parts to be in every split.
    Source: our choice. Units that belong together, the large ones first, go where their classes lack most in proportion
    to the share (for single images: the method of Webster), and where a class would else be missing.
    """
    if rule not in RULES:
        raise ValueError(f"rule={rule!r} is unknown: pass one of {', '.join(RULES)}")
    usable, with_patient = (table["error"] == "").to_numpy(), (table["patient"] != "").to_numpy()
    if rule == "auto" and (table["split"] != "").any():
        rule = "published"
    elif rule == "auto":
        rule = "patient" if with_patient[usable].all() else "near_duplicates"
    if rule == "patient" and (count := (usable & ~with_patient).sum()):
        raise ValueError(f"rule='patient', but {count} images have no patient: list them in a manifest, or {NO_RULE}")
    if rule != "published":
        if not usable.any():
            first = table["file"].iloc[0]
            raise ValueError(f"none of {len(table)} images can be read, such as {first}: pass other files")
        splits = np.full(len(table), "", object)
        splits[usable] = _divide(table[usable], seed, shares, keep_units=rule != "random")
        return pd.Series(splits, table.index, name="split"), rule

    splits = table["split"].to_numpy(object, copy=True)
    published = {*splits}
    if "" in published or not {"train", "test"} <= published:
        text = f"rule='published', but the splits given are {sorted(published)}: give each image train, val or test"
        raise ValueError(f"{text}, or {NO_RULE}")
    if "val" not in published:
        rows = usable & (splits == "train")
        splits[rows] = _divide(table[rows], seed, {"train": 1 - shares["val"], "val": shares["val"]}, keep_units=True)
    return pd.Series(splits, table.index, name="split"), rule


def caution(table: pd.DataFrame, rule: str) -> str:
    """What to be wary of in a split of a table by a rule; "" when there is nothing."""
    too_good = "may be on two sides, and results look too good."
    if rule == "random":
        return f"split at random, image by image: copies and patients {too_good} {NO_RULE.capitalize()}"
    if rule == "near_duplicates" and ((table["error"] == "") & (table["patient"] == "")).any():
        text = f"patients are not known, so the split is by groups of copies and look-alikes: a patient {too_good}"
        return f"{text} Name patients in a manifest's column 'patient'"
    return ""


def find_conflicts(table: pd.DataFrame, column: str) -> Array:
    """Readable images whose very bytes occur again with another value (not "") in a column, bool (N,)."""
    rows = table[(table["error"] == "") & (table[column] != "")]
    values = rows.groupby(["sha256", "frame"])[column].transform("nunique")
    return (values.reindex(table.index, fill_value=1) > 1).to_numpy()


def find_leaks(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """What two splits share: kind ("exact", "near", "similar", "patient"), first and second (rows; the first is in the
    earlier split), split_a, split_b, file_a, file_b.

    One row per pair of look-alikes (`pairs` has the closest ones only). For patients, and for exact copies (of the same
    hash), one row for each image and each later split that has the same one, with its first image there.
    """
    rank = table["split"].map({split: k for k, split in enumerate(SPLITS)}).fillna(-1).to_numpy(int)
    alike = pairs[pairs["kind"] != "exact"]
    ends = alike[["first", "second"]].to_numpy(np.int64)
    ends = np.take_along_axis(ends, np.argsort(rank[ends], axis=1, kind="stable"), axis=1)
    alike = alike[["kind"]].assign(first=ends[:, 0], second=ends[:, 1])
    alike = alike[(rank[ends[:, 0]] >= 0) & (rank[ends[:, 0]] < rank[ends[:, 1]])]
    copies = (table["sha256"] + "#" + table["frame"].astype(str)).where(table["error"] == "", "")
    copies = copies.where(table["sha256"] != "", "")
    same = {}
    for kind, values in (("exact", copies), ("patient", table["patient"])):
        rows = pd.DataFrame({"row": np.arange(len(values)), "rank": rank, "value": values.to_numpy()})
        rows = rows[(rows["value"] != "") & (rows["rank"] >= 0)]
        both = rows.merge(rows.drop_duplicates(["value", "rank"]), on="value")  # with the first row of each split
        both = both[both["rank_x"] < both["rank_y"]]
        same[kind] = pd.DataFrame({"kind": kind, "first": both["row_x"], "second": both["row_y"]})
    shared = pd.concat([same["exact"], alike, same["patient"]], ignore_index=True)
    rows_of = {"a": table.iloc[shared["first"]], "b": table.iloc[shared["second"]]}
    columns = {f"{column}_{side}": rows_of[side][column].to_numpy() for column in ("split", "file") for side in rows_of}
    return shared.assign(**columns)


def write_manifest(table: pd.DataFrame, path: str | Path) -> Path:
    return write_atomically(path, lambda part: table[MANIFEST].to_csv(part, index=False, lineterminator="\n"))


def read_manifest(path: str | Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with the splits that a manifest from `write_manifest` gives; ValueError names files that differ."""
    try:
        manifest = pd.read_csv(path, dtype=str, keep_default_na=False)
        if unknown := {*manifest["split"]} - {*SPLITS, ""}:
            raise ValueError(f"split {unknown.pop()!r} is none of {', '.join(SPLITS)}")
        if len(twice := manifest[manifest.assign(key=_name_images(manifest)).duplicated("key")]):
            raise ValueError(f"it lists {twice['file'].iloc[0]} twice")
    except (ValueError, OSError, KeyError) as error:
        text = f"split manifest {path} cannot be used ({error}): columns 'file' and 'split' are needed, a row per image"
        raise ValueError(text) from error
    manifest, ours = (rows.assign(key=_name_images(rows)).set_index("key") for rows in (manifest, table))
    both = manifest.index.intersection(ours.index)
    listed, hashes = manifest.reindex(columns=["sha256"], fill_value="")["sha256"][both], ours["sha256"][both]
    faults = {
        "have changed": both[(listed != "") & (listed != hashes)],
        "are missing": manifest.index.difference(ours.index),
        "are not in it": ours.index.difference(manifest.index),
    }
    if texts := [f"{len(keys)} {what} ({', '.join(keys[:3])})" for what, keys in faults.items() if len(keys)]:
        text = f"images differ from those that split manifest {path} is for: {'; '.join(texts)}"
        raise ValueError(f"{text}. Get that version of them, or make a new manifest")
    return table.assign(split=manifest["split"][ours.index].to_numpy())


def _name_images(table: pd.DataFrame) -> list[str]:
    """The name of each image: its file, and its frame but for the first."""
    frames = table["frame"].astype(str) if "frame" in table else ["0"] * len(table)
    names = (
        file if frame in ("0", "") else f"{file}#{frame}" for file, frame in zip(table["file"], frames, strict=True)
    )
    return [normalize("NFC", name) for name in names]


def _divide(table: pd.DataFrame, seed: int, shares: Mapping[str, float], keep_units: bool) -> Array:
    """A split's name for each row (N,)."""
    unit = _number_units(table) if keep_units else np.argsort(np.argsort(_name_images(table)))
    classes = sorted(set(table["label"]))
    label = table["label"].map(classes.index).to_numpy()
    counts = np.zeros((unit.max() + 1, len(classes)), int)
    np.add.at(counts, (unit, label), 1)
    names = sorted(shares, key=SPLITS.index, reverse=True)  # of two that lack as much, test comes first
    split_of = _assign(counts, np.array([shares[split] for split in names]), seed)
    for number in range(len(names)):
        missing = np.flatnonzero(~counts[split_of == number].any(axis=0))
        if len(missing):
            images = counts[:, missing[0]]
            text = (
                f"class {classes[missing[0]]!r} has {images.sum()} readable images in {(images > 0).sum()} independent"
            )
            raise ValueError(f"{text} parts, but {', '.join(shares)} need one each: {WAY_OUT}")
    return np.array(names)[split_of][unit]


def _number_units(table: pd.DataFrame) -> Array:
    """Which rows must stay together, numbered by their first file: the same patient, group or file, also by a chain."""
    rows, links = pd.Series(range(len(table))), []
    for column in ("patient", "group", "file"):
        values = table[column].to_numpy(object)
        first = rows.groupby(values).transform("first")
        links.append(pd.DataFrame({"first": first, "second": rows})[values != ""])
    unit = group_pairs(len(table), pd.concat(links))
    return np.argsort(pd.unique(unit[np.argsort(_name_images(table))]))[unit]


def _assign(counts: Array, shares: Array, seed: int) -> Array:
    """A split for each unit, int (U,), given its number of images of each class (U, K) and the splits' shares (S,)."""
    rng = np.random.default_rng(seed)
    target = shares[:, None] * counts.sum(axis=0)
    placed = np.zeros_like(target)
    units_left = (counts > 0).sum(axis=0)  # that hold images of each class
    split_of = np.zeros(len(counts), int)
    for unit in np.argsort(-counts.sum(axis=1) * rng.uniform(0.5, 1, len(counts))):
        row, present = counts[unit], counts[unit] > 0
        cost = (row * (2 * placed + row) / target).sum(axis=1)
        lacking = (placed == 0) & present
        last_chance = lacking & (lacking.sum(axis=0) >= units_left)
        cost -= 1e9 * last_chance.sum(axis=1)
        split_of[unit] = np.argmin(cost)
        placed[split_of[unit]] += row
        units_left -= present
    return split_of
