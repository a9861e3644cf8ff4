"""Finding the images of a data set: class folders, split folders, manifests, or several of these together."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dmws_lite.data import decoding
from dmws_lite.data.listing import SPLIT_NAMES, joined, listed, no_labels, some

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.cards import Card

IMAGES = (*decoding.SUFFIXES, *decoding.DICOM, *decoding.NIFTI)
SEVERAL = (".tif", ".tiff", *decoding.DICOM, *decoding.NIFTI)  # files that can hold several images
MANIFESTS = ("metadata.csv", "metadata.parquet", "manifest.csv", "manifest.parquet")
MASKS = ("mask", "masks")
JUNK = ("__MACOSX", "@eaDir")  # left behind by archives and file servers; hidden files are passed over too
SPLITS = ("train", "val", "test", "")
COLUMNS = ["file", "label", "split", "patient", "frame"]


class Tree(NamedTuple):
    """Images, folders, and links that cannot be followed, as paths relative to the folder that was walked."""

    files: list[str]
    folders: list[str]
    links: list[str]


def scan(root: Path, card: Card | None = None, frames: str = "middle") -> tuple[pd.DataFrame, tuple[str, ...], Path]:
    """The images of a folder.

    root:   one folder a class; or train, test and perhaps val (in any case; also training, testing, valid, validation)
            with class folders inside; or images in any order with a manifest, see MANIFESTS and `listing.listed`. A
            manifest beside class or split folders, or in each split folder, adds to what they say. A folder that holds
            nothing but one folder with these in it is entered.
    card:   says where to look, which folders or labels are classes, their order, and how file names tell patients.
    frames: of volumes and multi-page files, the "middle" image (the later of two) or "all".
    Returns the table (file, label, split, patient, frame; by split, file and frame; split and patient are "" where not
    known), the class names, and the folder that `file` is relative to. With "all", images of one file share a patient:
    the file, where no other is known (a DICOM file may itself know better, so there it stays "").
    Raises FileNotFoundError when root is no folder, ValueError when it cannot be a data set; the text says why.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: pass the folder that holds the class folders")
    root = _entered(root, card)
    splits = _split_folders(root) if card is None or card.layout in (None, "splits") else {}
    tree = _walk(root, tuple(splits))
    if tree.links:
        raise ValueError(
            f"{root}: {some(tree.links)}: links out of the folder, and links to folders, are not followed. "
            "Put what they lead to in their place"
        )
    table = _placed(tree.files, splits, _class_folders(card))
    manifests = _manifests(root, splits, card)
    if manifests:
        expected = table["file"] if card is None else table["file"][table["label"] != ""]
        said = _said(root, manifests, tree.files, card)
        table = joined(table, said, manifests[0], () if card and card.layout == "manifest" else expected)
        if not table["label"].any():
            raise ValueError(no_labels(manifests[0]))
        return (*_finished(table, root, card, frames), root)
    if card is None:
        table = _without_masks(table)
        stray = table["file"][table["label"] == ""]
        if 0 < len(stray) < len(table):
            raise ValueError(
                f"{root}: {some(stray)} lie in no class folder: move them into one, or delete them.{_hint(root)}"
            )
    depth = 1 if splits else 0
    folders = {folder.split("/")[depth] for folder in tree.folders if folder.count("/") == depth}
    return (*_finished(table, root, card, frames, folders), root)


def scan_manifest(path: Path, card: Card | None = None, frames: str = "middle") -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The images that a manifest lists, and no others: see `scan`; files are relative to the manifest's folder.

    Raises FileNotFoundError when there is no such file, ValueError when what it lists cannot be a data set.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file: pass a manifest, .csv or .parquet")
    table = _said(path.parent, [path], _walk(path.parent).files, card)
    if not table["label"].any():
        raise ValueError(no_labels(path))
    return _finished(table, path.parent, card, frames)


def _entered(root: Path, card: Card | None) -> Path:
    """The folder that holds the layout."""
    if card and card.root != ".":
        inner = root / card.root
        if not inner.is_dir() or not inner.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{card.path}: root: {card.root} is no folder inside {root}: pass the one that holds it")
        root = inner
    here = [*_class_folders(card), *([card.manifest] if card and card.manifest else MANIFESTS)]
    while True:
        folders, files = _visible(root)
        only = root / folders[0] if len(folders) == 1 and folders[0].lower() not in SPLIT_NAMES else None
        if only is None or only.is_symlink() or any(file.lower().endswith(IMAGES) for file in files):
            return root
        if any((root / name).exists() for name in here):
            return root
        if not _visible(only)[0] and not any((only / name).exists() for name in here):
            return root
        root = only


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders, and of the files, in a folder."""
    with os.scandir(folder) as entries:
        found = [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".") and e.name not in JUNK]
    return sorted(name for name, is_folder in found if is_folder), sorted(name for name, folder in found if not folder)


def _split_folders(root: Path) -> dict[str, str]:
    """Each split folder's name, and the split that it holds."""
    found = {name: SPLIT_NAMES[name.lower()] for name in _visible(root)[0] if name.lower() in SPLIT_NAMES}
    for split in set(found.values()):
        names = [name for name in found if found[name] == split]
        if len(names) > 1:
            raise ValueError(f"{root}: {' and '.join(names)} are both the {split} split: merge them")
    return found


def _class_folders(card: Card | None) -> dict[str, str]:
    """Each class folder that a card names, and its class."""
    return {told.folder: name for name, told in card.classes.items()} if card else {}


def _walk(root: Path, tops: tuple[str, ...] = ()) -> Tree:
    """All images below a folder, hidden ones and JUNK aside; of its own subfolders only `tops` when any are given."""
    tree, pending, home = Tree([], [], []), [""], os.path.realpath(root)
    while pending:
        folder = pending.pop()
        with os.scandir(root / folder) as entries:
            for entry in entries:
                is_folder, is_image = entry.is_dir(), entry.name.lower().endswith(IMAGES)
                if entry.name.startswith(".") or entry.name in JUNK or not (is_folder or is_image):
                    continue
                if is_folder and tops and not folder and entry.name not in tops:
                    continue
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_symlink() and not _is_file_inside(entry.path, home):
                    tree.links.append(path)
                elif is_folder:
                    tree.folders.append(path)
                    pending.append(path)
                else:
                    tree.files.append(path)
    for file in tree.files:
        if not file.isascii() and any(0xD800 <= ord(letter) < 0xE000 for letter in file):
            raise ValueError(f"{root}: the name of {file.encode(errors='replace').decode()} is not UTF-8: rename it")
    return tree


def _is_file_inside(path: str, home: str) -> bool:
    return os.path.realpath(path).startswith(home + os.sep) and os.path.isfile(path)


def _placed(files: list[str], splits: Mapping[str, str], folders: Mapping[str, str]) -> pd.DataFrame:
    """What the folders say: file, split and label, the last two "" where they do not."""
    import pandas as pd

    rows = []
    for file in files:
        split = splits.get(file.partition("/")[0], "")
        inner = file.partition("/")[2] if split else file
        if folders:
            label = next((name for folder, name in folders.items() if inner.startswith(folder + "/")), "")
        else:
            label = inner.rpartition("/")[0].partition("/")[0]
        rows.append((file, split, label))
    return pd.DataFrame(rows, columns=["file", "split", "label"], dtype=object)


def _without_masks(table: pd.DataFrame) -> pd.DataFrame:
    masks = table["file"].map(lambda file: any(part.lower() in MASKS for part in file.split("/")[:-1])).astype(bool)
    if masks.any():
        text = f"left out {masks.sum()} images in folders called mask or masks: {some(table['file'][masks])}"
        warnings.warn(f"{text}. A card can name such a folder as a class", stacklevel=3)
    return table[~masks]


def _manifests(root: Path, splits: Mapping[str, str], card: Card | None) -> list[Path]:
    """The manifest of the folder, or of each split folder."""
    if card and (card.manifest or card.layout == "manifest"):
        path = root / (card.manifest or MANIFESTS[0])
        if not path.is_file():
            raise ValueError(f"{card.path}: manifest: {path.name} is not in {root}")
        return [path]
    for folders in ([root], [root / name for name in splits]):
        found = [folder / name for folder in folders for name in MANIFESTS if (folder / name).is_file()]
        if len({path.parent for path in found}) < len(found):
            raise ValueError(f"{root} holds {some(path.name for path in found)}: keep one, or pass one as the source")
        if found:
            return found
    return []


def _said(root: Path, manifests: list[Path], files: list[str], card: Card | None) -> pd.DataFrame:
    """What manifests say of the files; with a card, in its words for the classes."""
    import pandas as pd

    columns = {str(role): name for role, name in (card.columns or {}).items()} if card else {}
    parts = []
    for path in manifests:
        folder = "" if path.parent == root else path.parent.name + "/"
        inner = [file.removeprefix(folder) for file in files if file.startswith(folder)]
        part = listed(path, inner, columns)
        blank = part["label"] == ""
        if blank.any() and not blank.all():
            raise ValueError(
                f"{path} gives {blank.sum()} of {len(part)} images no label: {some(part['file'][blank])}. "
                "Fill them in, or take them off the list"
            )
        parts.append(part.assign(file=folder + part["file"]))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(label=table["label"].replace(_class_folders(card)))


def _finished(
    table: pd.DataFrame, root: Path, card: Card | None, frames: str, folders: Iterable[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with patients and frames, in order, and the class names."""
    names = {*table["label"], *(folder for folder in folders if folder.lower() not in MASKS)} - {""}
    classes = tuple(card.classes) if card else tuple(sorted(names, key=int if all(map(_is_number, names)) else None))
    table = table[table["label"].isin(classes)]
    _check(table, classes, root)
    if "patient" not in table:
        table = table.assign(patient="", frame="")
    if card and card.patient:
        found = [re.search(card.patient.pattern, file) for file in table["file"]]
        if not any(found):
            raise ValueError(f"{card.path}: patient: {card.patient.pattern!r} is in no file name: correct the pattern")
        by_name = [match[1] or "" if match else "" for match in found]
        table = table.assign(patient=table["patient"].where(table["patient"] != "", by_name))
    table = _with_frames(table, root, frames)
    order = table["split"].map(SPLITS.index).rename("order")
    table = table.assign(order=order).sort_values(["order", "file", "frame"], ignore_index=True)
    return table[COLUMNS], classes


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _check(table: pd.DataFrame, classes: tuple[str, ...], root: Path) -> None:
    """Refuse what cannot be a data set."""
    if table.empty:
        kinds = ", ".join(IMAGES)
        raise ValueError(f"{root} holds no class folder with images ({kinds}): make one folder a class.{_hint(root)}")
    if len(classes) < 2:
        raise ValueError(f"{root} holds one class, {classes[0]!r}: a classifier needs at least 2.{_hint(root)}")
    given = set(table["split"])
    if "" in given and len(given) > 1:
        unknown = table["file"][table["split"] == ""]
        raise ValueError(f"{root}: {len(unknown)} images have no split, others do: {some(unknown)}. Give each one")
    if "" not in given and not {"train", "test"} <= given:
        missing = min({"train", "test"} - given)
        raise ValueError(
            f"{root} has {' and '.join(sorted(given))} but no {missing!r} split: add it, or undo the split"
        )
    least = {"": 3, "train": 1 if "val" in given else 2, "val": 1, "test": 1}
    counts = table.groupby(["split", "label"]).size()
    for split in sorted(given):
        for name in classes:
            if (count := counts.get((split, name), 0)) < least[split]:
                raise ValueError(
                    f"{root}: {split or root.name} holds {count} images of class {name!r}, at least {least[split]} are "
                    f"needed ({', '.join(IMAGES)}): add some, or remove the class everywhere"
                )


def _hint(root: Path) -> str:
    """What to try when a folder holds a table that is no manifest by its name."""
    files = _visible(root)[1]
    tables = [name for name in files if name.lower().endswith((".csv", ".parquet")) and name not in MANIFESTS]
    return f" If {some(tables)} lists the images, pass it as the source" if tables else ""


def _with_frames(table: pd.DataFrame, root: Path, which: str) -> pd.DataFrame:
    """The table with the number of a frame in each row: a row a file, or a row a frame."""
    wanted = [_wanted(root, file, told, which) for file, told in zip(table["file"], table["frame"], strict=True)]
    table = table.assign(frame=wanted).explode("frame", ignore_index=True).astype({"frame": int})
    alone = ~table.duplicated("file", keep=False) | table["file"].str.lower().str.endswith(decoding.DICOM)
    return table.assign(patient=table["patient"].where(alone | (table["patient"] != ""), table["file"]))


def _wanted(root: Path, file: str, told: str, which: str) -> list[int]:
    if not file.lower().endswith(SEVERAL):
        return [0]
    if told.isdecimal():
        return [int(told)]
    count = decoding.frames(root / file)
    return [*range(count)] if which == "all" else [count // 2]
