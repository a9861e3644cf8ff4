"""The one door to images: from a card, a folder, an archive, a manifest or a data set to splits that do not leak."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from dmws_lite.data import archives, cache, cards, duplicates, fetch, folders, splits
from dmws_lite.data.cards import Card
from dmws_lite.data.images import THUMBNAIL
from dmws_lite.data.manifests import TABLES
from dmws_lite.data.names import patient_pattern
from dmws_lite.data.phantoms import phantoms
from dmws_lite.data.sets import SPLITS, ImageSet, Splits
from dmws_lite.runtime.files import cache_folder, writable_folder, write_atomically
from dmws_lite.runtime.text import require_seed, tally

Array = np.ndarray
HUB = "hf://datasets/"


@dataclass(frozen=True)
class Gathered:
    """Everything known of a data set before anything is left out.

    table:  one row per image, with its file, label, split, patient, frame and group, and `cache.FACTS`.
    images: uint8 (N, C, size, size), zeros where error is not ""; thumbnails: uint8 (N, 32, 32).
    pairs:  copies and look-alikes by row, see `find_pairs`; rule: how the split came about, see `split_table`.
    left_out, notes, recipe: see `folders.Listing`; root: the folder that the files are in, None for phantoms.
    """

    name: str
    table: pd.DataFrame
    images: Array
    thumbnails: Array
    pairs: pd.DataFrame
    classes: tuple[str, ...]
    rule: str
    left_out: pd.DataFrame
    card: Card | None = None
    root: Path | None = None
    fit: str = "crop"
    notes: tuple[str, ...] = ()
    recipe: Mapping[str, object] = field(default_factory=dict)

    @property
    def flips(self) -> tuple[str, ...]:
        return tuple(self.card.flips) if self.card else ("horizontal",)

    @property
    def stand_in(self) -> str | None:
        """What the ids of patients really are, where the card says that they are none."""
        return self.card.patient.stands_for if self.card and self.card.patient else None

    @property
    def serious(self) -> tuple[str, ...]:
        """The kinds of leaks that make results invalid: shared patients only where their ids are real."""
        return ("exact", "near") if self.stand_in else ("exact", "near", "patient")


def open_data(
    source: Any,
    size: int = 64,
    seed: int | None = None,
    fit: str | None = None,
    leaks: str = "warn",
    unusable: str = "error",
    frames: str = "middle",
    progress: bool = True,
    label: str | int | None = None,
    patient: str | None = None,
) -> Splits:
    """Open a data set: decoded once, split so that nothing leaks, ready to train on.

    source:   a card's name ("phantom_brain_mri"; `dmws data list` shows them) or file, a folder (one subfolder per
              class, or train, val and test with those inside, or with a table that lists the images), such a table
              (.csv, .tsv, .parquet, .xlsx, .json, .txt), a .zip or .tar of these, "hf://datasets/OWNER/NAME@REVISION",
              or a `datasets` Dataset or DatasetDict.
    size:     pixels per side.
    seed:     of the split, where none is published, and of phantoms; None is the card's, or 0.
    fit:      "crop" (the short side fills the square, the middle is kept), "letterbox" (the long side does, the rest is
              black), None for the card's choice or "crop". Nothing is squashed.
    leaks:    when a published split has a copy, or a patient, on two sides: "warn", "error", or "drop" what the earlier
              split shares with a later one (train before val before test; look-alikes too).
    unusable: "error", or "skip" files that cannot be read or that have two labels, with a warning.
    frames:   of volumes (their axial slices) and multi-frame files: the "middle" one, or "all".
    label:    the table's column, or the level of folders (1 is the upper one), with the label, where several could be;
              or a regular expression with one group, which is the label in the files' paths.
    patient:  a regular expression with one group, which is the patient in the files' paths.
    Returns Splits. A published split is kept; without val, 15 % of train are held out. Without a published split:
    70 / 15 / 15 % by patient where patients are known, else by groups of copies and look-alikes, stratified.
    Decoded images are kept in the cache ($DMWS_CACHE, or ~/.cache/dmws-lite); a split is kept by `new_card`.
    Raises FileNotFoundError, ValueError or OSError with what is wrong, where, and the way out.

    >>> open_data("phantom_lung_ct", size=16, progress=False).test
    ImageSet(300 images, 1 x 16 x 16: 100 normal, 100 ground_glass, 100 honeycombing)
    """
    _check_option("leaks", leaks, ("warn", "drop", "error"))
    _check_option("unusable", unusable, ("error", "skip"))
    gathered = gather(source, size, seed, fit, frames, progress, label, patient)
    _warn(gathered)
    rows = _find_usable(gathered, unusable == "skip") & _keep_apart(gathered, leaks)
    return _make_splits(gathered, rows)


def new_card(
    folder: str | Path, out: str | Path = ".", seed: int = 0, label: str | int | None = None, patient: str | None = None
) -> Path:
    """Write a data card for a folder of images, from what is seen in it, and its split for everyone to have the same.

    folder: of images, see `open_data`. The card names it relative to itself.
    out:    the folder for NAME.md and NAME.csv, where NAME is made from the folder's.
    seed:   of the split, where none is published. label, patient: see `open_data`.
    Returns the card's path. Its prose is to be filled in; NAME.csv holds file names, labels and hashes, no patients.
    Raises NotADirectoryError for what is no folder, FileExistsError instead of overwriting anything.
    """
    if not Path(folder).is_dir():
        raise NotADirectoryError(f"folder={str(folder)!r} is no folder: pass one; archives are to be unpacked first")
    if isinstance(label, int) or "(" in (label or ""):
        raise ValueError(f"label={label!r}: a card names the folder of each class, or a table: see its template")
    gathered = gather(Path(folder), seed=seed, label=label, patient=patient)
    _warn(gathered)
    name = re.sub(r"[^a-z0-9]+", "_", gathered.name.lower()).strip("_")[:60] or "my_images"
    card, manifest = (writable_folder(out) / f"{name}{suffix}" for suffix in (".md", ".csv"))
    for path in (card, manifest):
        if path.exists():
            raise FileExistsError(f"{path} exists already: move it, or pass another folder for the card")
    place = os.path.relpath(gathered.root or folder, Path(out).resolve())
    table, parts = gathered.table, gathered.table["file"].str.split("/")
    layouts = {"classes": parts.str[0], "splits": parts.str[1]}  # where in the files' paths the label is
    layout = next((layout for layout, part in layouts.items() if (part == table["label"]).all()), None)
    recipe = dict(gathered.recipe) or {"layout": layout}
    recipe |= {"patient": {"pattern": patient}} if patient else {}
    text = cards.card_text(gathered.name, table, gathered.classes, recipe, place, gathered.rule, manifest.name)
    splits.write_manifest(table, manifest)
    return write_atomically(card, lambda part: part.write_text(text, encoding="utf-8"))


def gather(
    source: Any,
    size: int = 64,
    seed: int | None = None,
    fit: str | None = None,
    frames: str = "middle",
    progress: bool = True,
    label: str | int | None = None,
    patient: str | None = None,
) -> Gathered:
    """Everything known of a data set, with nothing left out: see `open_data` for the arguments."""
    _check_option("frames", frames, ("middle", "all"))
    _check_option("fit", fit, (None, "crop", "letterbox"))
    if size < 1:
        raise ValueError(f"size={size}: pass the number of pixels per side, such as 64")
    is_card = isinstance(source, str | Path) and (str(source) in cards.cards() or Path(source).suffix == ".md")
    card = cards.read_card(source) if is_card else None
    seed = require_seed(seed if seed is not None else card.split.seed if card else 0)
    if card and card.sources[0].phantom:
        if label is not None or patient:
            raise ValueError(f"label and patient are for files: {card.name} is drawn, and has its own")
        return _gather_phantoms(card, size, seed)
    place, name = _locate(source, card, size, progress)
    if patient:
        try:
            cards.check_pattern(patient)
        except ValueError as error:
            raise ValueError(f"patient {error}") from error
    table, classes, root, left_out, notes, recipe = folders.read_folder(place, card, frames, label, patient or "")
    fit = fit or (card.fit if card else "crop")
    window = (card.window[0], card.window[1]) if card and card.window else None
    files, numbers = list(table["file"]), list(table["frame"])
    facts, images, thumbnails, pairs = cache.decode_files(root, files, numbers, size, fit, window, progress)
    patients, groups = _merge_patients(table["patient"], facts["patient"]), duplicates.group_pairs(len(table), pairs)
    table = table.assign(**facts.drop(columns="patient"), patient=patients, group=groups)
    rule: str = (card.split.rule if card else None) or ("published" if card and card.split.manifest else "auto")
    if card and card.split.manifest:
        table = splits.read_manifest(card.path.parent / card.split.manifest, table)
    else:
        split, rule = splits.split_table(table, seed, rule)
        table = table.assign(split=split)
    notes = (*notes, *_note_patients(table))
    order = np.argsort(table["split"].map((*SPLITS, "").index).to_numpy(), kind="stable")
    if (order != np.arange(len(order))).any():  # else the images stay memory-mapped
        rank = np.argsort(order)
        table, images, thumbnails = table.iloc[order].reset_index(drop=True), images[order], thumbnails[order]
        pairs = pairs.assign(first=rank[pairs["first"]], second=rank[pairs["second"]])
    return Gathered(name, table, images, thumbnails, pairs, classes, rule, left_out, card, root, fit, notes, recipe)


def _merge_patients(listed: pd.Series, in_files: pd.Series) -> pd.Series:
    """The patients that a table lists, else those in the files: who is listed for one file is the same in others."""
    both = (listed != "") & (in_files != "")
    names = dict(zip(in_files[both], listed[both], strict=True))
    return listed.where(listed != "", in_files.map(lambda pseudonym: names.get(pseudonym, pseudonym)))


def unknown_source(path: Path) -> str:
    """Why a path is nothing that `open_data` can open, and what may have been meant."""
    source = f"source={str(path)!r}"
    if path.is_file():
        return f"{source} is a file of another kind: pass a folder, a card (.md), a table such as .csv, .zip or .tar"
    if ":/" in str(path):
        return f"{source} is an address: write a card with it as `url` (see the template), or download it"
    hub = f"; for a data set on the hub write {HUB}{path}" if len(path.parts) == 2 else ""
    close = difflib.get_close_matches(str(path), cards.cards())
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    return f"{source} is neither a folder, a file, nor a card{hint}: `dmws data list` shows the cards{hub}"


def _check_option(name: str, value: object, options: tuple[object, ...]) -> None:
    if value not in options:
        raise ValueError(f"{name}={value!r} is unknown: pass one of {', '.join(map(repr, options))}")


def _warn(gathered: Gathered) -> None:
    risk = splits.caution(gathered.table, gathered.rule)
    for text in filter(None, [*folders.explain_left_out(gathered.left_out).values(), *gathered.notes, risk]):
        warnings.warn(text, stacklevel=3)


def _note_patients(table: pd.DataFrame) -> Iterator[str]:
    """A note where patients are not known and names look as if they told them."""
    unknown = table[table["patient"] == ""]
    if not (pattern := patient_pattern([*unknown["file"]], [*unknown["label"]])):
        return
    patients = unknown["file"].str.extract(pattern)[0]
    first, count = patients.first_valid_index(), patients.notna().sum()
    counts = unknown.assign(patient=patients)[unknown["split"] != ""].groupby("patient")["split"].nunique()
    yield (
        f"the names of {count} files look as if they told {patients.nunique()} patients, such as {patients[first]} in "
        f"{unknown['file'][first]}; {(counts > 1).sum()} of them have images in two splits or more. If they are "
        f"patients, open_data(..., patient={pattern!r}) uses them, or in a card `patient: {{pattern: '{pattern}'}}`"
    )


def _locate(source: Any, card: Card | None, size: int, progress: bool) -> tuple[Path, str]:
    """The local folder or manifest of a source, and the data set's name."""
    if card:
        return fetch.fetch(card, progress, size), card.name
    if not isinstance(source, str | Path):
        return fetch.fetch_datasets(source, progress), "dataset"
    if str(source).startswith(HUB):
        repository, _, revision = str(source).removeprefix(HUB).partition("@")
        return fetch.fetch_hub(repository, revision or None, progress), repository.split("/")[-1]
    if not str(source):
        raise ValueError("source='' is empty: pass a folder, a card or an archive")
    path = Path(source).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix.lower() in (*TABLES, ".txt")):
        return path.resolve(), path.resolve().stem if path.is_file() else path.resolve().name
    if path.is_file() and path.name.lower().endswith(archives.ARCHIVES):
        stat = path.stat()
        key = hashlib.sha256(f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:24]
        return archives.unpack(path.resolve(), cache_folder("archives") / key), path.name.split(".")[0]
    raise FileNotFoundError(unknown_source(path))


def _gather_phantoms(card: Card, size: int, seed: int) -> Gathered:
    """Phantoms as if they were files: each is a patient of its own, and the split is a published one."""
    sets = phantoms(card.sources[0].phantom or "", size=size, seed=seed, cached=True)
    parts = [getattr(sets, split) for split in SPLITS]
    images = np.concatenate([part.images for part in parts])
    small = [np.asarray(Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL))) for image in images[:, 0]]
    names = [name for part in parts for name in part.names]
    columns = {
        "file": names,
        "label": [sets.classes[k] for part in parts for k in part.labels],
        "split": np.repeat(SPLITS, [len(part) for part in parts]),
        "patient": names,
        "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
    }
    facts = {"frame": 0, "width": size, "height": size, "mode": "gray", "depth": 8, "blank": False, "error": ""}
    table = pd.DataFrame(columns).assign(**facts, group=range(len(names)))
    pairs = pd.DataFrame(columns=["first", "second", "kind", "correlation"])
    left_out = pd.DataFrame(columns=["file", "reason", "group"])
    return Gathered(card.name, table, images, np.stack(small), pairs, sets.classes, "published", left_out, card)


def _find_usable(gathered: Gathered, skip: bool) -> Array:
    """Which rows can be used, bool (N,): readable, and with one label."""
    table = gathered.table
    unreadable = table["error"] != ""
    unusable = unreadable | splits.find_conflicts(table, "label")
    reasons = table["error"].where(unreadable, "the same bytes have another label elsewhere: " + table["label"])
    faults = (table["file"] + " (" + reasons + ")")[unusable]
    if len(faults):
        text = f"{gathered.name}: {len(faults)} of {len(table)} images cannot be used: {'; '.join(faults[:5])}"
        if not skip:
            in_split = table["split"] != ""  # where the split is ours, what cannot be read is in none
            used, needed = (table[rows].groupby(["split", "label"]).ngroups for rows in (~unusable, in_split))
            hint = ", or open_data(..., unusable='skip') leaves them out" if used == needed else ""
            raise ValueError(f"{text}. Mend or delete them{hint}")
        warnings.warn(f"{text}; they are left out", stacklevel=3)
    return ~unusable.to_numpy()


def _keep_apart(gathered: Gathered, leaks: str) -> Array:
    """Which rows to keep, bool (N,), so that splits share nothing (with "drop"); else warns or raises."""
    shared = splits.find_leaks(gathered.table, gathered.pairs)
    kept = np.ones(len(gathered.table), bool)
    if leaks != "drop":
        shared = shared[shared["kind"].isin(gathered.serious)]
    if shared.empty:
        return kept
    pairs = "; ".join(f"{row.file_a} = {row.file_b}" for row in shared.head(3).itertuples())
    examples = f"({tally(shared['kind'])}: {pairs})"
    if leaks == "drop":
        kept[shared["first"]] = False
        text = f"{gathered.name}: dropped {(~kept).sum()} images that a later split shares {examples}"
    else:
        text = f"{gathered.name}: its splits share {len(shared)} pairs of images or patients {examples}. "
        text += "Results on them look too good: open_data(..., leaks='drop') leaves out the earlier one of each"
    if leaks == "error":
        raise ValueError(text)
    warnings.warn(text, stacklevel=3)
    return kept


def _make_splits(gathered: Gathered, usable: Array) -> Splits:
    table, classes = gathered.table, gathered.classes
    labels = table["label"].map(classes.index).to_numpy(np.int64)
    names = tuple(f"{row.file}#{row.frame}" if row.frame else row.file for row in table.itertuples())
    patients = tuple(table["patient"]) if (table["patient"] != "").any() else None
    everything = ImageSet(gathered.images, labels, classes, names, patients)
    parts = []
    for split in SPLITS:
        part = everything.take(np.flatnonzero((table["split"] == split).to_numpy() & usable))
        if 0 in part.counts:
            empty = classes[part.counts.index(0)]
            raise ValueError(f"{gathered.name}: {split} has no usable image of class {empty!r}: add some, or remove it")
        parts.append(part)
    return Splits(gathered.name, *parts, flips=gathered.flips, fit=gathered.fit)
