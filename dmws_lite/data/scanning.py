"""Finding the images of a data set: class folders, split folders, manifests, or several of these together."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dmws_lite.data import images
from dmws_lite.data.listing import SPLIT_NAMES, joined, listed, no_labels, some
from dmws_lite.data.placing import (
    MASKS,
    class_folders,
    masks,
    placed,
    warn_of_classes,
    warn_of_folders_beside,
    warn_of_masks,
    warn_of_others,
    warn_of_unnamed,
)
from dmws_lite.data.sets import SPLITS
from dmws_lite.data.walking import IMAGES, is_file_inside, is_image, visible, walk

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.cards import Card

SEVERAL = ("", ".tif", ".tiff", *images.DICOM, *images.NIFTI)  # files that can hold several images; "" is DICOM
MANIFESTS = ("metadata.csv", "metadata.parquet", "manifest.csv", "manifest.parquet")
COLUMNS = ["file", "label", "split", "patient", "frame"]


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
    Warns of what is left out: files of other kinds, masks, folders beside the splits, classes that the card lacks.
    Raises FileNotFoundError when root is no folder, ValueError when it cannot be a data set; the text says why.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder: pass the folder that holds the class folders")
    root = _entered(root, card)
    splits = _split_folders(root) if card is None or card.layout in (None, "splits") else {}
    tree = walk(root, tuple(splits))
    if tree.links:
        raise ValueError(
            f"{root}: {some(tree.links)}: links out of the folder, and links to folders, are not followed. "
            "Put what they lead to in their place"
        )
    warn_of_others(tree, splits, card)
    warn_of_folders_beside(root, splits)
    table = placed(_utf_8(root, tree.files), splits, class_folders(card))
    is_mask = masks(table, card)
    manifests = _manifests(root, splits, card)
    if manifests:
        expected = table["file"] if card is None else table["file"][table["label"] != ""]
        said = _said(root, manifests, tree.files, card)
        if card and card.layout == "manifest":
            expected = expected[:0]
        elif card:
            told = said["file"][said["label"] != ""]
            warn_of_unnamed(table[~is_mask & (table["label"] == "") & ~table["file"].isin(told)], card)
        table = joined(table, said, manifests[0], expected)
        if not table["label"].any():
            raise ValueError(no_labels(manifests[0]))
        return (*_finished(table, root, card, frames), root)
    warn_of_masks(table["file"][is_mask & (table["label"] != "")])
    table = table[~is_mask]
    if card:
        warn_of_unnamed(table[table["label"] == ""], card)
    else:
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
    table = _said(path.parent, [path], _utf_8(path.parent, walk(path.parent).files), card)
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
    here = [*class_folders(card), *([card.manifest] if card and card.manifest else MANIFESTS)]
    while True:
        folders, files = visible(root)
        only = root / folders[0] if len(folders) == 1 and folders[0].lower() not in SPLIT_NAMES else None
        if only is None or only.is_symlink() or any(is_image(str(root / file)) for file in files):
            return root
        if any((root / name).exists() for name in here):
            return root
        if not visible(only)[0] and not any((only / name).exists() for name in here):
            return root
        root = only


def _split_folders(root: Path) -> dict[str, str]:
    """Each split folder's name, and the split that it holds."""
    found = {name: SPLIT_NAMES[name.lower()] for name in visible(root)[0] if name.lower() in SPLIT_NAMES}
    for split in set(found.values()):
        names = [name for name in found if found[name] == split]
        if len(names) > 1:
            raise ValueError(f"{root}: {' and '.join(names)} are both the {split} split: merge them")
    return found


def _utf_8(root: Path, files: list[str]) -> list[str]:
    """The files, refused when one has a name that cannot be written down."""
    for file in files:
        if not file.isascii() and any(0xD800 <= ord(letter) < 0xE000 for letter in file):
            raise ValueError(f"{root}: the name of {file.encode(errors='replace').decode()} is not UTF-8: rename it")
    return files


def _manifests(root: Path, splits: Mapping[str, str], card: Card | None) -> list[Path]:
    """The manifest of the folder, or of each split folder."""
    if card and (card.manifest or card.layout == "manifest"):
        path = root / (card.manifest or MANIFESTS[0])
        if not path.is_file():
            raise ValueError(f"{card.path}: manifest: {path.name} is not in {root}")
        return _inside(root, [path])
    for folders in ([root], [root / name for name in splits]):
        found = [folder / name for folder in folders for name in MANIFESTS if (folder / name).is_file()]
        if len({path.parent for path in found}) < len(found):
            raise ValueError(f"{root} holds {some(path.name for path in found)}: keep one, or pass one as the source")
        if found:
            return _inside(root, found)
    return []


def _inside(root: Path, manifests: list[Path]) -> list[Path]:
    for path in manifests:
        if not is_file_inside(path, os.path.realpath(root)):
            raise ValueError(f"{path} is a link out of the folder, which is not followed: put the file in its place")
    return manifests


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
    return table.assign(label=table["label"].replace(class_folders(card)))


def _finished(
    table: pd.DataFrame, root: Path, card: Card | None, frames: str, folders: Iterable[str] = ()
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The table with patients and frames, in order, and the class names."""
    names = {*table["label"], *(folder for folder in folders if folder.lower() not in MASKS)} - {""}
    classes = tuple(card.classes) if card else _in_order(names, root)
    unnamed = table["label"][~table["label"].isin((*classes, ""))]
    if card and len(unnamed):
        warn_of_classes(unnamed, card, "labels")
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
    order = table["split"].map((*SPLITS, "").index).rename("order")
    table = table.assign(order=order).sort_values(["order", "file", "frame"], ignore_index=True)
    return table[COLUMNS], classes


def _in_order(names: set[str], root: Path) -> tuple[str, ...]:
    """Class names in order of the alphabet, or of the numbers that they are."""
    folded = [name.casefold() for name in names]
    alike = sorted(
        (name for name in names if folded.count(name.casefold()) > 1), key=lambda name: (name.casefold(), name)
    )
    if alike:
        raise ValueError(
            f"{root}: classes {alike[0]!r} and {alike[1]!r} differ in case only: write them the same everywhere"
        )
    if all(name.isascii() and name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


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
    files = visible(root)[1]
    tables = [name for name in files if name.lower().endswith((".csv", ".parquet")) and name not in MANIFESTS]
    return f" If {some(tables)} lists the images, pass it as the source" if tables else ""


def _with_frames(table: pd.DataFrame, root: Path, which: str) -> pd.DataFrame:
    """The table with the number of a frame in each row: a row a file, or a row a frame."""
    wanted = [_wanted(root, file, told, which) for file, told in zip(table["file"], table["frame"], strict=True)]
    table = table.assign(frame=wanted).explode("frame", ignore_index=True).astype({"frame": int})
    alone = ~table.duplicated("file", keep=False) | table["file"].map(images.suffix_of).isin(("", *images.DICOM))
    return table.assign(patient=table["patient"].where(alone | (table["patient"] != ""), table["file"]))


def _wanted(root: Path, file: str, told: str, which: str) -> list[int]:
    if images.suffix_of(file) not in SEVERAL:
        return [0]
    if told.isdecimal():
        return [int(told)]
    count = images.frames(root / file)
    return [*range(count)] if which == "all" else [count // 2]
