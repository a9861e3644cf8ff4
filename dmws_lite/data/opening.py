"""The one door to images: from a card, a folder, an archive, a manifest or a data set to splits that do not leak."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmws_lite.data.gathering import Gathered, gather
from dmws_lite.data.sets import SPLITS, ImageSet, Splits
from dmws_lite.data.splits import caution
from dmws_lite.runtime.files import writable_folder, write_atomically

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray


def open_data(
    source: Any,
    size: int = 64,
    seed: int | None = None,
    fit: str | None = None,
    leaks: str = "warn",
    unusable: str = "error",
    frames: str = "middle",
    progress: bool = True,
) -> Splits:
    """Open a data set: decoded once, split so that nothing leaks, ready to train on.

    source:   a card's name ("phantom_brain_mri"; `dmws data list` shows them) or file, a folder (one subfolder a class,
              or train, val and test with those inside, or with a manifest), a manifest (.csv, .parquet), a .zip or .tar
              of these, "hf://datasets/OWNER/NAME@REVISION", or a `datasets` Dataset or DatasetDict.
    size:     pixels per side.
    seed:     of the split, where none is published, and of phantoms; None is the card's, or 0.
    fit:      "crop" (the short side fills the square, the middle is kept), "letterbox" (the long side does, the rest is
              black), None for the card's choice or "crop". Nothing is squashed.
    leaks:    what to do when a published split has a copy, or a patient, on two sides: "warn", "error", or "drop" what
              the earlier split shares with a later one (train before val before test; look-alikes too).
    unusable: "error", or "skip" files that cannot be read or that have two labels, with a warning.
    frames:   of volumes and multi-frame files: the "middle" one, or "all".
    Returns Splits. A published split is kept; without val, 15 % of train are held out. Without a published split:
    70 / 15 / 15 % by patient where patients are known, else by groups of copies and look-alikes, stratified.
    Decoded images are kept in the cache ($DMWS_CACHE, or ~/.cache/dmws-lite); a split is kept by `new_card`.
    Raises FileNotFoundError, ValueError or OSError with what is wrong, where, and the way out.

    >>> open_data("phantom_lung_ct", size=16, progress=False).test
    ImageSet(300 images, 1 x 16 x 16: 100 normal, 100 ground_glass, 100 honeycombing)
    """
    for name, value, known in (
        ("leaks", leaks, ("warn", "drop", "error")),
        ("unusable", unusable, ("error", "skip")),
    ):
        if value not in known:
            raise ValueError(f"{name}={value!r} is unknown: pass one of {', '.join(map(repr, known))}")
    found = gather(source, size, seed, fit, frames, progress)
    if text := caution(found.table, found.rule):
        warnings.warn(text, stacklevel=2)
    keep = _usable(found, unusable == "skip") & _apart(found, leaks)
    return _splits(found, keep)


def new_card(folder: str | Path, out: str | Path = ".", seed: int = 0) -> Path:
    """Write a data card for a folder of images, from what is seen in it, and its split for everyone to have the same.

    folder: of images, see `open_data`. The card names it relative to itself.
    out:    the folder for NAME.md and NAME.csv, where NAME is made from the folder's.
    seed:   of the split, where none is published.
    Returns the card's path. Its prose is to be filled in; NAME.csv holds file names, labels and hashes, no patients.
    Raises NotADirectoryError for what is no folder, FileExistsError instead of overwriting anything, ValueError when
    the folder cannot be told by a card.
    """
    from dmws_lite.data.cards import card_text
    from dmws_lite.data.splits import write_manifest

    if not Path(folder).is_dir():
        raise NotADirectoryError(f"folder={str(folder)!r} is no folder: pass one; archives are to be unpacked first")
    found = gather(Path(folder), seed=seed)
    if text := caution(found.table, found.rule):
        warnings.warn(text, stacklevel=2)
    name = re.sub(r"[^a-z0-9]+", "_", found.name.lower()).strip("_")[:60] or "my_images"
    card, manifest = (writable_folder(out) / f"{name}{suffix}" for suffix in (".md", ".csv"))
    for path in (card, manifest):
        if path.exists():
            raise FileExistsError(f"{path} exists already: move it, or pass another folder for the card")
    place = os.path.relpath(found.root or folder, Path(out).resolve())
    text = card_text(found.name, found.table, found.classes, _layout(found.table), place, found.rule, manifest.name)
    try:
        write_manifest(found.table, manifest)
        write_atomically(card, lambda part: part.write_text(text, encoding="utf-8"))
        gather(card)
    except (ValueError, OSError) as error:
        for path in (card, manifest):
            path.unlink(missing_ok=True)
        raise ValueError(f"{folder} cannot be opened by a card of its own ({error}): write one by hand") from error
    return card


def _layout(table: pd.DataFrame) -> str | None:
    """Where in the files' paths the label is; None where a manifest tells it."""
    parts = table["file"].str.split("/")
    named = {"classes": parts.str[0], "splits": parts.str[1]}
    return next((layout for layout, part in named.items() if (part == table["label"]).all()), None)


def _usable(found: Gathered, skip: bool) -> Array:
    """Which rows can be used, bool (N,): readable, and with one label."""
    table = found.table
    broken = (table["error"] != "").to_numpy()
    labels = (
        table[~broken].groupby(["sha256", "frame"])["label"].transform("nunique").reindex(table.index, fill_value=1)
    )
    torn = (labels > 1).to_numpy()
    faults = [f"{row.file} ({row.error})" for row in table[broken].itertuples()]
    faults += [
        f"{row.file} (the same bytes have another label elsewhere: {row.label})" for row in table[torn].itertuples()
    ]
    if faults:
        text = f"{found.name}: {len(faults)} of {len(table)} images cannot be used: {'; '.join(faults[:5])}"
        if not skip:
            raise ValueError(f"{text}. Mend or delete them, or open_data(..., unusable='skip') leaves them out")
        warnings.warn(f"{text}; they are left out", stacklevel=3)
    return ~(broken | torn)


def _apart(found: Gathered, leaks: str) -> Array:
    """Which rows to keep, bool (N,), so that splits share nothing (with "drop"); else warns or raises."""
    from dmws_lite.data.splits import leaks as find

    shared = find(found.table, found.pairs)
    serious = shared[shared["kind"].isin(found.serious)]
    keep = np.ones(len(found.table), bool)
    if leaks == "drop" and len(shared):
        keep[shared["first"]] = False
        warnings.warn(
            f"{found.name}: dropped {(~keep).sum()} images that a later split shares{_examples(shared)}", stacklevel=3
        )
    elif len(serious):
        text = f"{found.name}: its splits share {len(serious)} pairs of images or patients{_examples(serious)}. "
        text += "Results on them look too good: open_data(..., leaks='drop') leaves out the earlier one of each"
        if leaks == "error":
            raise ValueError(text)
        warnings.warn(text, stacklevel=3)
    return keep


def _examples(shared: pd.DataFrame) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in shared["kind"].value_counts().items())
    rows = "; ".join(f"{row.file_a} = {row.file_b}" for row in shared.head(3).itertuples())
    return f" ({kinds}: {rows})"


def _splits(found: Gathered, keep: Array) -> Splits:
    labels = found.table["label"].map({name: k for k, name in enumerate(found.classes)}).to_numpy(np.int64)
    table = found.table
    names = tuple(f"{row.file}#{row.frame}" if row.frame else row.file for row in table.itertuples())
    patients = tuple(table["patient"]) if (table["patient"] != "").any() else None
    everything = ImageSet(found.images, labels, found.classes, names, patients)

    def subset(split: str) -> ImageSet:
        part = everything.take(np.flatnonzero((table["split"] == split).to_numpy() & keep))
        if 0 in part.counts:
            gone = found.classes[part.counts.index(0)]
            raise ValueError(
                f"{found.name}: {split} has no usable image of class {gone!r}: add some, or remove the class"
            )
        return part

    return Splits(found.name, *(subset(split) for split in SPLITS), flips=found.flips, fit=found.fit)
