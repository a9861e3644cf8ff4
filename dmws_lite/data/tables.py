"""What tables and lists in a folder say of its images, laid over what the folders say."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dmws_lite.data import manifests, names
from dmws_lite.data.manifests import MANIFESTS
from dmws_lite.runtime.text import examples

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.cards import Card

LOOKED_AT = 40  # tables that are tried for a list of the images: our choice


class Tables(NamedTuple):
    """Tables of a folder that list its images.

    labels: those that say what the images are.
    lists:  those of names alone, and the files that each names.
    notes:  on others, which list the images but are not used.
    """

    labels: list[Path]
    lists: Mapping[Path, set[str]] = {}
    notes: tuple[str, ...] = ()


def find_tables(root: Path, files: pd.DataFrame, card: Card | None, label: str | int | None, problem: str) -> Tables:
    """The tables among `files` that list the images.

    problem: why the folders alone say nothing ("" where they do): then a table that cannot be used is an error.
    """
    if card and card.manifest:
        if not (root / card.manifest).is_file():
            raise ValueError(f"{card.path}: manifest: {card.manifest} is not in {root}")
        return Tables([root / card.manifest])
    images, masks = _listable_images(files)
    labels: dict[Path, set[str]] = {}
    lists: dict[Path, set[str]] = {}
    notes: list[str] = []
    unread: list[str] = []
    by_name_only = isinstance(label, int) or (card and card.layout != "manifest")
    paths = [Path(file) for file in files["file"][files["kind"] == "table"]]
    for path in [root / file for file in sorted(paths, key=lambda file: (len(file.parts), file))][:LOOKED_AT]:
        if by_name_only and path.name not in MANIFESTS:
            continue
        try:
            raw = manifests.read_table(path)
        except ValueError as error:
            may_be_other = path.suffix.lower() in (".json", ".jsonl") or not path.stat().st_size
            (unread if may_be_other else notes).append(f"{error}; whether it lists the images is not known")
            continue
        find = manifests.make_finder(_select_split(images, path)["file"], root, masks)
        columns = manifests.image_columns(raw, find, path.parent)
        listed = [file for value in raw[columns[0]] for file in find(value, path.parent)[:1]] if columns else []
        if raw.shape[1] == 1:
            if 2 * len(listed) >= len(raw):
                lists[path] = {*listed, *find(raw.columns[0], path.parent)[:1]}  # a list without a header
            continue
        if not listed or 2 * len(listed) < min(len(raw), len(images)):
            continue
        if re.search("submission|prediction", path.stem.lower()):
            notes.append(f"{path} is a table of answers by its name, not of labels: it is not used")
        elif _is_of_use(raw, path, label):
            labels[path] = {*listed}
        elif not isinstance(label, int):
            notes.append(manifests.explain_no_labels(path, raw, root))
    several = [path for path in labels if any(labels[path] & labels[other] for other in labels if other != path)]
    if several:
        calls = " or ".join(f"open_data({str(path)!r})" for path in several)
        text = f"{root}: {examples(path.name for path in several)} list the same images: pass the one to use, {calls}"
        raise ValueError(text)
    unused = notes + unread
    if not labels and unused and (problem or len(_classes(images)) < 2):
        raise ValueError(f"{problem or f'{root} holds no two class folders'}. {'. '.join(unused)}")
    return Tables([*labels], lists, tuple(notes))


def _is_of_use(raw: pd.DataFrame, path: Path, label: str | int | None) -> bool:
    """Whether a table says the label of images or, where folders are the classes, their split or patient."""
    usual = manifests.usual_columns(raw)
    if path.name in MANIFESTS and (usual["split"] or usual["patient"]):
        return True
    if isinstance(label, int):
        return False
    return label in raw if label else bool(usual["label"] or manifests.finding_columns(raw))


def _classes(images: pd.DataFrame) -> set[str]:
    return {*images["label"][images["reason"] == ""]} - {""}


def _listable_images(files: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    """The images that a table may list, and those of them that are masks."""
    images = files[(files["kind"] == "image") & (files["reason"] != "beside")]
    return images, {*images["file"][images["reason"] == "mask"]}


def _splits_named(table: Path) -> set[str]:
    return {names.SPLIT_NAMES[word] for word in names.words(table.stem) if word in names.SPLIT_NAMES}


def _split_named(table: Path) -> str:
    """The split that a table's name tells, where it tells one, as train.csv and train_val.txt do; else ""."""
    splits = _splits_named(table)
    return max(splits, key=("val", "test", "train").index) if splits and len(splits - {"val"}) <= 1 else ""


def _select_split(images: pd.DataFrame, table: Path) -> pd.DataFrame:
    """The images of the split that a table's name tells, where it tells one; else all."""
    splits = _splits_named(table)
    of_split = images[images["split"].isin(splits)]
    return of_split if len(splits) == 1 and len(of_split) else images


def split_by_lists(files: pd.DataFrame, lists: Mapping[Path, set[str]]) -> tuple[str, ...]:
    """Take the splits from lists of names such as train.txt and test.txt, if these have all images; else a note."""
    images = (files["kind"] == "image") & (files["reason"] == "")
    splits: dict[str, str] = {}
    for path in sorted(filter(_split_named, lists), key=lambda path: -len(_splits_named(path))):  # train_val, then val
        splits |= dict.fromkeys(lists[path], _split_named(path))
    if files["split"][images].any() or not {"train", "test"} <= {*splits.values()}:
        return ()
    listed = files["file"][images].isin(splits)
    if not listed.all():
        used = examples(path.name for path in lists)
        return (f"{used} list {listed.sum()} of {len(listed)} images: they are not used, and the split is made here",)
    files.loc[images, "split"] = files["file"][images].map(splits)
    return ()


def apply_tables(
    root: Path, tables: list[Path], files: pd.DataFrame, card: Card | None, label: str | int | None, opened: bool
) -> tuple[pd.DataFrame, tuple[str, ...], dict[str, object]]:
    """The files with what tables say of them, notes, and what a card says to read them again.

    opened: whether the table itself is the source, so that it alone says which images there are.
    """
    import pandas as pd

    images, masks = _listable_images(files)
    columns: dict[str, str] = {str(role): name for role, name in (card.columns or {}).items()} if card else {}
    columns |= {"label": label} if isinstance(label, str) else {}
    entries, notes = _read_entries(root, tables, images, masks, columns)
    recipe: dict[str, object] = {}
    if not isinstance(label, int) and entries["label"].any() and len(tables) == 1:
        recipe = {"layout": "manifest", "manifest": os.path.relpath(tables[0], root)}
        recipe |= {"columns": columns} if columns else {}
    if card:
        entries["label"] = entries["label"].replace(card.class_folders)
    elif entries["label"].any():
        manifests.check_labels(entries, tables[0])
    table = entries.merge(images.drop(columns="patient"), on="file", suffixes=("", "_folder")).assign(reason="")
    with_folders = bool(card or opened or tables[0].name in MANIFESTS)  # the table tells what folders do not
    table["label"] = _choose_labels(table, tables[0], label, with_folders)
    if with_folders and not opened:
        both = (table["split"] != "") & (table["split_folder"] != "")
        _require_agreement(tables[0], "split", table["file"][both & (table["split"] != table["split_folder"])])
    if not card and not opened:
        notes += _compare_labels(tables[0], table, _classes(images))
    splits = table["split"].where(table["split"] != "", table["split_folder"])
    published = [column for column in (splits, table["split_folder"]) if {"train", "test"} <= {*column}]
    if not published and splits.any():
        notes.append(
            f"{tables[0]}: only {' and '.join(sorted({*splits} - {''}))} has labels, so the split is made here"
        )
    table["split"] = published[0] if published else ""
    table = table[table["label"] != ""]
    used = {*table["file"], *(os.path.relpath(path, root) for path in tables)}
    rest = files[~files["file"].isin(used)]
    unlisted = (rest["kind"] == "image") & rest["reason"].isin(["", "folder"] if recipe else [""])
    reason, group = rest["reason"].mask(unlisted, "unlisted"), rest["group"].mask(unlisted, rest["folder"])
    return (
        pd.concat([table[[*files]], rest.assign(reason=reason, group=group)], ignore_index=True),
        tuple(notes),
        recipe,
    )


def _read_entries(
    root: Path, tables: list[Path], images: pd.DataFrame, masks: set[str], columns: Mapping[str, str]
) -> tuple[pd.DataFrame, list[str]]:
    """The rows of all tables, each with the split that its table's name tells where all names do; and notes."""
    import pandas as pd

    parts, notes = [], []
    for path in tables:
        entries, more = manifests.read_entries(path, _select_split(images, path)["file"], columns, root, masks)
        if all(map(_split_named, tables)):
            entries["split"] = entries["split"].where(entries["split"] != "", _split_named(path))
        parts.append(entries)
        notes += more
    return pd.concat(parts, ignore_index=True), notes


def _choose_labels(table: pd.DataFrame, path: Path, label: str | int | None, with_folders: bool) -> pd.Series:
    """The labels of a table or, where it has none or only numbers for the folders' names, those of the folders."""
    labels, by_folder = table["label"], table["label_folder"]
    if isinstance(label, int) or (with_folders and not labels.any() and by_folder.nunique() > 1):
        labels = by_folder
    if not labels.any():
        raise ValueError(manifests.explain_no_labels(path, manifests.read_table(path), path))
    pairs = len({*zip(labels, by_folder, strict=True)})
    one_to_one = pairs == labels.nunique() == by_folder.nunique() > 1
    return by_folder if one_to_one and labels.str.isdecimal().all() and by_folder.ne("").all() else labels


def _compare_labels(path: Path, table: pd.DataFrame, classes: set[str]) -> list[str]:
    """A note where a table's labels are not the folders' names; refused where they are, but of other images."""
    labels = table["label"].str.lower()
    differ = table["file"][labels != table["label_folder"].str.lower()]
    if not len(differ) or len(classes) < 2:
        return []
    if {*labels} == {*map(str.lower, classes)}:
        _require_agreement(path, "label", differ)
    return [f"{path} lists these images: the labels are its own, not the folders {examples(sorted(classes))}"]


def _require_agreement(path: Path, what: str, differ: pd.Series) -> None:
    if len(differ):
        raise ValueError(
            f"{path} and the folders disagree on the {what} of {len(differ)} images: {examples(differ)}. Move the "
            f"files or correct the table; or open_data({str(path)!r}) goes by the table alone"
        )
