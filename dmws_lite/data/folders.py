"""Folders of images, read into one table: what is an image of which class and split, and what is passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from posixpath import basename, dirname
from typing import NamedTuple
from unicodedata import normalize

import pandas as pd

from dmws_lite.data import images, names
from dmws_lite.data.archives import ARCHIVES
from dmws_lite.data.cards import Card
from dmws_lite.data.file_table import enter_single_folders, list_files
from dmws_lite.data.levels import Meaning, read_card_folders, read_levels, suggest_calls
from dmws_lite.data.manifests import ENDINGS
from dmws_lite.data.sets import SPLITS
from dmws_lite.data.tables import add_facts, apply_tables, find_tables
from dmws_lite.runtime.text import examples, tally

SEVERAL = ("", ".tif", ".tiff", *images.DICOM, *images.NIFTI)  # files that can hold several images; "" is DICOM
SAVED = "dataset_dict.json"  # in a folder of a DatasetDict; that of a Dataset holds state.json and .arrow files
REASONS = {  # for passing over files, and the way out
    "kind": ("of kinds that are not read", "Save them as PNG"),
    "archive": ("that are archives", "Unpack them, if they hold images of this set"),
    "name": ("whose names tell no label", "Their labels are not known"),
    "mask": ("that are masks or overlays", "A card can name such a folder as a class"),
    "beside": ("in folders beside train, val and test", "Move what belongs to a split into it"),
    "set": ("in folders that hold a data set of their own", "Pass such a folder itself to open it"),
    "stray": ("in folders of predictions, or without labels", "open_data(..., label=1) takes them as classes, too"),
    "empty": ("in folders without images", "They are no classes"),
    "unlisted": ("that the table does not list", "Add them to it, or leave them out"),
    "folder": ("in folders that the card does not name", "Add those that are classes to its `classes`"),
    "label": ("with labels that the card does not name", "Add those that are classes to its `classes`"),
}


class Listing(NamedTuple):
    """The images of a data set, one row each in the order of split, file (relative to root) and frame.

    left_out: one row per file that is passed over: file, reason (see REASONS), group (its ending, folder or label).
    notes:    what is to be said of how it was read; recipe: what a card says to read it again.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    root: Path
    left_out: pd.DataFrame
    notes: tuple[str, ...] = ()
    recipe: Mapping[str, object] = {}


def read_folder(
    place: Path, card: Card | None = None, frames: str = "middle", label: str | int | None = None, patient: str = ""
) -> Listing:
    """The images of a folder, or those that a table lists: see `open_data` for frames, label and patient.

    Without a card a table that lists the images goes before the names of folders, which say what folders are (`names`).
    Raises ValueError when it cannot be a data set, or can be read in two ways; the text says why, and the way out.
    """
    is_table, problem = place.is_file(), ""
    root, files = _list_table_files(place) if is_table else _list_folder_files(place, card)
    if is_table:
        meanings = {folder: Meaning(label=folder.partition("/")[0]) for folder in files["folder"]}
    elif card:
        meanings = read_card_folders(files, card)
    else:
        meanings, problem = read_levels(root, files, label if isinstance(label, int) else 0)
    files = _add_meanings(files, meanings)
    tables, recipe = [place] if is_table else [], dict[str, object]()
    facts, notes = dict[Path, pd.DataFrame](), list[str]()
    if isinstance(label, str) and not is_table and _label_by_pattern(files, label):
        problem = ""
    elif not is_table:
        tables, facts, notes = find_tables(root, files, card, label, problem)
        if isinstance(label, str) and not tables:
            if card:
                raise ValueError(
                    f"label={label!r}: {card.path} says where the label is: leave label out, or mend the card"
                )
            text = f"label={label!r} is no column of a table that lists images of {root}, and no pattern with one group"
            text += " that fits a file"
            raise ValueError(". ".join((text, *notes)))
    if tables:
        told, more, recipe = apply_tables(root, tables, files, card, label, opened=is_table)
        facts, notes, problem = told | facts, notes + more, ""
    files.loc[files["file"].isin([os.path.relpath(path, root) for path in facts]), "reason"] = ""
    notes += add_facts(files, facts)
    table, left_out, classes = _check_images(files, root, card, problem, notes)
    notes += _note_depths(table["file"])
    table = _add_frames(_add_patients(table, card, patient), root, frames)
    table = table.assign(order=table["split"].map((*SPLITS, "").index))
    table = table.sort_values(["order", "file", "frame"], ignore_index=True)
    return Listing(table[["file", "label", "split", "patient", "frame"]], classes, root, left_out, tuple(notes), recipe)


def explain_left_out(left_out: pd.DataFrame) -> dict[str, str]:
    """What is passed over, in one sentence per reason."""
    texts = {}
    for reason, rows in left_out.groupby("reason"):
        shown = tally(rows["group"])
        if reason == "mask":
            mask = rows.iloc[(rows["group"] == "").argmin()]  # with an image, if one has
            shown = f"such as {mask['file']} of {mask['group']}" if mask["group"] else f"such as {mask['file']}"
        what, way_out = REASONS[str(reason)]
        texts[str(reason)] = f"left out {len(rows)} files {what} ({shown}). {way_out}"
    return texts


def _list_table_files(table: Path) -> tuple[Path, pd.DataFrame]:
    """The folder whose images a table lists, its own or the one above, and the files in it; links are passed over."""
    root, files = table.parent, list_files(table.parent)
    if "image" not in {*files["kind"]}:  # a folder of tables beside those of images
        root, files = root.parent, list_files(root.parent)
    return root, files[files["kind"] != "link"].assign(partner=None)


def _list_folder_files(folder: Path, card: Card | None) -> tuple[Path, pd.DataFrame]:
    """The folder that holds the layout, and its files; partner: the image that a mask belongs to, None for the rest."""
    root = enter_single_folders(folder, card)
    if (root / SAVED).is_file() or ((root / "state.json").is_file() and any(root.glob("*.arrow"))):
        raise ValueError(f"{root} was written by save_to_disk: pass datasets.load_from_disk({str(root)!r})")
    files = list_files(root)
    links = files["file"][files["kind"] == "link"]
    if len(links):
        text = f"{root}: {examples(links)}: links out of the folder, and links to folders, are not followed"
        raise ValueError(f"{text}. Put what they lead to in their place")
    is_picture = files["kind"] == "image"
    for class_folder in card.class_folders if card else ():
        if names.is_mask_folder(class_folder.split("/")[-1]):  # a card may name masks as a class
            is_picture &= ~files["file"].str.startswith(f"{class_folder}/")
    return root, files.assign(partner=files["file"].map(names.find_masks([*files["file"][is_picture]], root)))


def _add_meanings(files: pd.DataFrame, meanings: Mapping[str, Meaning]) -> pd.DataFrame:
    """Images, tables and what is passed over, with what their folders and names say: split, label, reason, group."""
    columns = pd.DataFrame([meanings[folder] for folder in files["folder"]], files.index, Meaning._fields, dtype=object)
    files = files.join(columns)
    is_mask = files["partner"].notna()
    other = ~files["kind"].isin(("image", "table", ""))
    archive = other & files["file"].str.lower().str.endswith(ARCHIVES)
    in_masks = files["folder"].map(names.is_in_masks).astype(bool)
    unread = other & (files["label"] != "") & (files["reason"] == "") & ~in_masks
    if "image" not in {*files["kind"]}:
        unread = other
    for rows, reason, groups in (
        (is_mask, "mask", files["partner"]),
        (unread, "kind", files["kind"]),
        (archive, "archive", files["kind"]),
    ):
        files.loc[rows, "reason"] = reason
        files.loc[rows, "group"] = groups[rows]
    empty = (files["kind"] == "") & (files["reason"] == "empty")
    files = files[files["kind"].isin(("image", "table")) | unread | archive | empty]
    return files.assign(patient="").reset_index(drop=True)


def _label_by_pattern(files: pd.DataFrame, pattern: str) -> bool:
    """Take the label from the files' names, if this is a regular expression that some of them match."""
    try:
        if re.compile(pattern).groups != 1:
            return False
    except re.error:
        return False
    labels = files["file"].str.extract(pattern, expand=False).fillna("")
    if not labels.any():
        return False
    files["label"] = labels
    shown = (files["kind"] == "image") & files["reason"].isin(("", "stray", "set"))
    files.loc[shown, "reason"] = labels[shown].map(lambda label: "" if label else "name")
    files.loc[shown, "group"] = files["folder"][shown]
    if len({*files["split"][shown & (labels != "")]}) == 1:
        files["split"] = ""
    return True


def _check_images(
    files: pd.DataFrame, root: Path, card: Card | None, problem: str, notes: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """The images with their labels, the files that are left out, and the classes; refused if it is no data set."""
    is_image = (files["kind"] == "image") & (files["reason"] == "")
    if card:
        other = is_image & ~files["label"].isin(card.classes)
        reason, group = files["reason"].mask(other, "label"), files["group"].mask(other, files["label"])
        files, is_image = files.assign(reason=reason, group=group), is_image & ~other
    table = files[is_image]
    left_out = files[(files["reason"] != "") & ((files["kind"] != "table") | (files["reason"] == "empty"))]
    hint = _hint(root, files, table)
    hint += "".join(f" {text[0].upper()}{text[1:]}." for text in (*explain_left_out(left_out).values(), *notes))
    if problem:
        raise ValueError(f"{problem}.{hint}")
    _check_labels(table, root, hint)
    classes = tuple(card.classes) if card else _order_classes({*table["label"]}, root)
    if len(classes) < 2:
        raise ValueError(f"{root} holds one class, {classes[0]!r}: a classifier needs at least 2.{hint}")
    _check_splits(table, classes, root, hint)
    return table, left_out[["file", "reason", "group"]].reset_index(drop=True), classes


def _note_depths(files: pd.Series) -> Iterator[str]:
    """A note where several folders hold images and a folder of the same name, of cut-outs or thumbnails perhaps."""
    folders = {*map(dirname, files)}
    inner = Counter(basename(folder) for folder in folders if folder and dirname(folder) in folders)
    if several := [name for name, count in inner.items() if count > 1]:
        text = f"images in {examples(several)} lie below others of their class, and all are used. If they are copies or"
        yield f"{text} cut-outs of these, take one kind by label=, a pattern for paths"


def _check_labels(table: pd.DataFrame, root: Path, hint: str) -> None:
    unlabelled = table["file"][table["label"] == ""]
    if len(unlabelled) == len(table):
        kinds = ", ".join(ENDINGS)
        raise ValueError(f"{root} holds no class folder with images ({kinds}): make one folder per class.{hint}")
    if len(unlabelled):
        text = f"{root}: {examples(unlabelled)} lie in no class folder: move them into one, or delete them"
        tops = {*table["file"][table["label"] != ""].str.partition("/")[0]}
        if len(tops) == 1 and not tops & {*unlabelled.str.partition("/")[0]}:
            text += f". Or open_data({str(root / min(tops))!r}) opens the others alone"
        raise ValueError(f"{text}.{hint}")


def _check_splits(table: pd.DataFrame, classes: tuple[str, ...], root: Path, hint: str) -> None:
    splits = {*table["split"]}
    if "" in splits and len(splits) > 1:
        unknown = table["file"][table["split"] == ""]
        raise ValueError(f"{root}: {len(unknown)} images have no split, others do: {examples(unknown)}. Give each one")
    missing = {"train", "test"} - splits
    if "" not in splits and missing:
        text = f"{root} has {' and '.join(sorted(splits))} but no {min(missing)!r} split: add it, or "
        tops = sorted({file.partition("/")[0] for file in table["file"]})
        raise ValueError(text + (f"open one alone, {suggest_calls(root, tops)}" if tops[1:] else "undo the split"))
    least = {"": 3, "train": 1 if "val" in splits else 2, "val": 1, "test": 1}
    counts = Counter(zip(table["split"], table["label"], strict=True))
    for split, name in product(sorted(splits), classes):
        if counts[split, name] < least[split]:
            text = f"{root}: {split or root.name} holds {counts[split, name]} images of class {name!r}, at least "
            text += f"{least[split]} are needed ({', '.join(ENDINGS)}): add some, or remove the class everywhere"
            own = [other for other in classes if counts[split, other] and not all(counts[s, other] for s in splits)]
            if own and not counts[split, name]:
                text += f". Or, if {own[0]!r} there is the same class, give it one name, or pass label=, a pattern for"
                text += " paths with one group"
            raise ValueError(f"{text}.{hint}")


def _order_classes(labels: set[str], root: Path) -> tuple[str, ...]:
    """Class names in order of the alphabet, or of the numbers that they are."""
    plain = {name: normalize("NFC", name).casefold().strip() for name in labels}
    counts = Counter(plain.values())
    if alike := sorted(ascii(name) for name in labels if counts[plain[name]] > 1):
        text = f"{root}: classes {' and '.join(alike)} differ in case, spaces around them or the form of letters only"
        raise ValueError(f"{text}: write them the same everywhere")
    numbers = all(name.isascii() and name.isdecimal() for name in labels)
    return tuple(sorted(labels, key=lambda name: (int(name) if numbers else 0, name)))


def _hint(root: Path, files: pd.DataFrame, table: pd.DataFrame) -> str:
    """What to try when names of files seem to tell classes, or a table is no list of the images by its names."""
    paths = [*table["file"]] if table["label"].nunique() < 2 else []
    if pattern := names.label_pattern(paths):
        values = examples(sorted({match[1] for path in paths if (match := re.search(pattern, path))}))
        return f" If their names tell the classes ({values}), open_data({str(root)!r}, label={pattern!r}) takes them."
    tables = files["file"][files["kind"] == "table"]
    return f" If {examples(tables)} lists the images, pass it as the source." if len(tables) else ""


def _add_patients(table: pd.DataFrame, card: Card | None, pattern: str) -> pd.DataFrame:
    """The table with the patients that a pattern, or the card's, sees in the files' paths, where none are known."""
    where = "patient"
    if card and card.patient:
        where, pattern = f"{card.path}: patient", pattern or card.patient.pattern
    if not pattern:
        return table
    by_name = table["file"].str.extract(pattern, expand=False).fillna("")
    if not by_name.any():
        raise ValueError(f"{where}: {pattern!r} is in no file name: correct the pattern")
    return table.assign(patient=table["patient"].where(table["patient"] != "", by_name))


def _add_frames(table: pd.DataFrame, root: Path, which: str) -> pd.DataFrame:
    """The table with the number of a frame in each row: one row per file, or one per frame."""

    def frame_numbers(file: str) -> list[int]:
        count = images.frames(root / file) if images.suffix_of(file) in SEVERAL else 1
        return [*range(count)] if which == "all" else [count // 2]

    table = table.assign(frame=table["file"].map(frame_numbers))
    table = table.explode("frame", ignore_index=True).astype({"frame": int})
    is_dicom = table["file"].map(images.suffix_of).isin(("", *images.DICOM))  # which may tell its patient
    of_one_file = table.duplicated("file", keep=False) & ~is_dicom & (table["patient"] == "")
    return table.assign(patient=table["patient"].mask(of_one_file, table["file"]))
