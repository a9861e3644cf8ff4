"""Folders of images, read into one table: what is an image of which class and split, and what is passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dmws_lite.data import images
from dmws_lite.data.manifests import SPLIT_NAMES, no_labels, read_entries
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.text import examples, tally

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.cards import Card

ENDINGS = (*images.SUFFIXES, *images.DICOM, *images.NIFTI)
SEVERAL = ("", ".tif", ".tiff", *images.DICOM, *images.NIFTI)  # files that can hold several images; "" is DICOM
MANIFESTS = ("metadata.csv", "metadata.parquet", "manifest.csv", "manifest.parquet")
MASKS = ("mask", "masks")
JUNK = ("__MACOSX", "@eaDir")  # left behind by archives and file servers; hidden files are passed over too
BYPRODUCTS = {  # what lies beside images without being one
    *(".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".toml", ".xml", ".parquet", ".xls", ".xlsx", ".ods"),
    *(".md", ".rst", ".html", ".htm", ".css", ".js", ".pdf", ".doc", ".docx", ".tex", ".bib", ".log"),
    *(".py", ".ipynb", ".sh", ".m", ".r", ".db", ".ini", ".lnk", ".url", ".md5", ".sha256"),
}
NAMED = ("dicomdir", "readme", "license", "licence", "notice")  # the same, without an ending
REASONS = {  # for passing over files, and the way out
    "kind": ("of kinds that are not read", "Save them as PNG"),
    "mask": ("in folders called mask or masks", "A card can name such a folder as a class"),
    "beside": ("in folders beside train, val and test", "Move what belongs to a split into it"),
    "folder": ("in folders that the card does not name", "Add those that are classes to its `classes`"),
    "label": ("with labels that the card does not name", "Add those that are classes to its `classes`"),
}


class Listing(NamedTuple):
    """The images of a data set.

    table:    one row per image, in the order of split, file and frame: file (relative to root), label, split, patient
              (the last two "" where not known) and frame (a number).
    classes:  the class names, in order.
    root:     the folder that `file` is relative to.
    left_out: one row per file that is passed over: file, reason (see REASONS), group (its ending, folder or label).
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    root: Path
    left_out: pd.DataFrame


def read_folder(place: Path, card: Card | None = None, frames: str = "middle") -> Listing:
    """The images of a folder, or of a manifest.

    place:  a folder: one folder per class; or train, test and perhaps val (in any case; also training, testing, valid,
            validation) with class folders inside; or images in any order with a manifest, see MANIFESTS. A manifest
            beside class or split folders, or in each split folder, adds to what they say. A folder that holds nothing
            but one folder with these in it is entered.
            Or a manifest (see `manifests.read_entries`): the images that it lists, and no others.
    card:   says where to look, which folders or labels are classes, their order, and how file names tell patients.
    frames: of volumes and multi-page files, the "middle" image (the later of two) or "all"; then images of one file
            share a patient: the file, where no other is known (a DICOM file may know better: there it stays "").
    Raises ValueError when it cannot be a data set; the text says why.
    """
    if place.is_file():
        files = _placed(place.parent, {}, None)
        table, left_out = _by_manifests(place.parent, [place], files, card, whole=False)
        return _listing(table, left_out.iloc[:0], place.parent, card, frames)
    root = _entered(place, card)
    splits = _split_folders(root) if card is None or card.layout in (None, "splits") else {}
    files = _placed(root, splits, card)
    if len(links := files["file"][(files["kind"] == "link") & (files["reason"] != "beside")]):
        text = f"{root}: {examples(links)}: links out of the folder, and links to folders, are not followed"
        raise ValueError(f"{text}. Put what they lead to in their place")
    if manifests := _manifests(root, splits, card):
        whole = not (card and card.layout == "manifest")
        table, left_out = _by_manifests(root, manifests, files, card, whole)
        return _listing(table, left_out, root, card, frames)
    table = files[files["reason"] == ""]
    stray = table["file"][table["label"] == ""]
    if 0 < len(stray) < len(table):
        text = f"{root}: {examples(stray)} lie in no class folder: move them into one, or delete them"
        raise ValueError(f"{text}.{_hint(root)}")
    table = table[table["label"] != ""].assign(patient="", frame="")
    homes = [f"{name}/" for name in splits] or [""]
    meanings = [_meaning(home + name, splits, {}) for home in homes for name in _visible(root / home)[0]]
    folders = {label for _, label, reason, _ in meanings if not reason}
    return _listing(table, files[files["reason"] != ""], root, card, frames, folders)


def explained(left_out: pd.DataFrame) -> dict[str, str]:
    """What is passed over, in one sentence per reason."""
    return {
        reason: f"left out {len(rows)} files {REASONS[reason][0]} ({tally(rows['group'])}). {REASONS[reason][1]}"
        for reason, rows in left_out.groupby("reason")
    }


def _entered(root: Path, card: Card | None) -> Path:
    """The folder that holds the layout: the card's root, and folders that hold nothing but one folder are entered."""
    if card and card.root != ".":
        inner = root / card.root
        if not inner.is_dir() or not inner.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{card.path}: root: {card.root} is no folder inside {root}: pass the one that holds it")
        root = inner
    marks = [*_class_folders(card), *([card.manifest] if card and card.manifest else MANIFESTS)]

    def holds_layout(folder: Path) -> bool:
        return any((folder / name).exists() for name in marks)

    while True:
        folders, files = _visible(root)
        if len(folders) != 1 or folders[0].lower() in SPLIT_NAMES or holds_layout(root):
            return root
        inner = root / folders[0]
        if inner.is_symlink() or any(_kind(str(root / name), root) == "image" for name in files):
            return root
        if not (_visible(inner)[0] or holds_layout(inner)):
            return root
        root = inner


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """The names of the folders, and of the files, in a folder."""
    paths = [path for path in sorted(folder.iterdir()) if _is_visible(path.name)]
    return [path.name for path in paths if path.is_dir()], [path.name for path in paths if not path.is_dir()]


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in JUNK


def _refuse(error: OSError) -> None:
    raise error


def _class_folders(card: Card | None) -> dict[str, str]:
    """Each class folder that a card names, and its class."""
    return {label.folder: name for name, label in card.classes.items()} if card else {}


def _split_folders(root: Path) -> dict[str, str]:
    """Each split folder's name, and the split that it holds."""
    splits = {name: SPLIT_NAMES[name.lower()] for name in _visible(root)[0] if name.lower() in SPLIT_NAMES}
    for split in set(splits.values()):
        names = [name for name in splits if splits[name] == split]
        if len(names) > 1:
            raise ValueError(f"{root}: {' and '.join(names)} are both the {split} split: merge them")
    return splits


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """Each visible file below a folder, and its kind: see `_kind`."""
    for place, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = filter(_is_visible, folders)
        inside = "" if place == str(root) else f"{Path(place).relative_to(root).as_posix()}/"
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in filter(_is_visible, [*names, *links]):
            file, kind = inside + name, _kind(os.path.join(place, name), root)
            if kind == "image" and re.search("[\ud800-\udfff]", file):
                readable = file.encode(errors="replace").decode()
                raise ValueError(f"{root}: the name of {readable} is not UTF-8: rename it")
            yield file, kind


def _kind(path: str, root: Path) -> str:
    """What a file is: "image", "" for by-products, "link" out of the root or to a folder, or what is not read."""
    name = os.path.basename(path).lower()
    suffix = images.suffix_of(name)
    if os.path.islink(path) and not (os.path.isfile(path) and Path(path).resolve().is_relative_to(root.resolve())):
        return "link" if os.path.isdir(path) or name.endswith(ENDINGS) else ""
    if not os.path.isfile(path):
        return "no regular file"  # reading from a pipe would not end
    if name in NAMED or suffix in BYPRODUCTS:
        return ""
    if not suffix:
        return "image" if images.is_dicom(path) else "without an ending"
    return "image" if suffix in ENDINGS else suffix


def _placed(root: Path, splits: Mapping[str, str], card: Card | None) -> pd.DataFrame:
    """Every image, and every file that is passed over: file, kind, and what its folder says (see `_meaning`)."""
    import pandas as pd

    named, rows = _class_folders(card), []
    for file, kind in _walk(root):
        folder = file if kind == "link" else file.rpartition("/")[0]
        split, label, reason, group = _meaning(folder, splits, named)
        if kind in ("image", "link"):
            rows.append((file, kind, split, label, reason, group))
        elif kind and label and not reason:
            rows.append((file, kind, split, label, "kind", kind))
    return pd.DataFrame(rows, columns=["file", "kind", "split", "label", "reason", "group"], dtype=object)


def _meaning(folder: str, splits: Mapping[str, str], named: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Here, and nowhere else, is decided what a folder is.

    splits: the split folders. named: the class folders that a card names.
    Returns the split and the label of the images in it ("" where it tells none), one of REASONS to pass them over, or
    "", and what those that are passed over have in common.
    """
    names = [name for name in folder.split("/") if name]
    split = splits.get(names[0], "") if names else ""
    inside = names[1:] if split else names
    depth = next((k for k in range(1, len(inside) + 1) if not named or "/".join(inside[:k]) in named), 0)
    label = "/".join(inside[:depth])
    if splits and names and not split:
        reason, group = "beside", names[0]
    elif any(name.lower() in MASKS for name in inside[depth if named else 0 :]):
        reason, group = "mask", folder
    elif named and not label:
        reason, group = "folder", folder or "the folder itself"
    else:
        reason, group = "", ""
    return split, named.get(label, label), reason, group


def _by_manifests(
    root: Path, manifests: list[Path], files: pd.DataFrame, card: Card | None, whole: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The images that manifests list (`whole`: all, in folders that agree), and the files that are passed over."""
    present = files[(files["kind"] == "image") & (files["reason"] != "beside")]
    entries = _entries(root, manifests, present["file"], card)
    expected = present["file"][present["label"] != ""] if card else present["file"]
    unlisted = expected[~expected.isin(entries["file"])]
    if whole and len(unlisted):
        raise ValueError(
            f"{manifests[0]} does not list {len(unlisted)} of {len(expected)} images: {examples(unlisted)}. "
            "Add or delete them, or pass the manifest itself as the source to use only what it lists"
        )
    table = entries.merge(present[["file", "split", "label"]], on="file", suffixes=("", "_folder"))
    classes = {*table["label"].str.lower()} & {*table["label_folder"].str.lower()} - {""}  # folders named by class
    compared = ["split", "label"] if classes else ["split"]
    for column in compared if whole else []:
        value, folder = table[column], table[f"{column}_folder"]
        differ = table["file"][(value.str.lower() != folder.str.lower()) & (value != "") & (folder != "")]
        if len(differ):
            raise ValueError(
                f"{manifests[0]} and the folders disagree on the {column} of {len(differ)} images: {examples(differ)}. "
                "Move the files, or correct the manifest"
            )
    table["split"] = table["split"].where(table["split"] != "", table["split_folder"])
    if not table["label"].any():
        table["label"] = table["label_folder"]
    if not table["label"].any():
        raise ValueError(no_labels(manifests[0]))
    labelled = files["file"].isin(entries["file"][entries["label"] != ""])
    by_folder = () if card and card.layout == "manifest" else ("folder",)
    return table, files[files["reason"].isin(("kind", "beside", *by_folder)) & ~labelled]


def _manifests(root: Path, splits: Mapping[str, str], card: Card | None) -> list[Path]:
    """The manifest of the folder, or of each split folder."""
    paths = [folder / name for folder in (root, *(root / split for split in splits)) for name in MANIFESTS]
    if card and (card.manifest or card.layout == "manifest"):
        paths = [root / (card.manifest or MANIFESTS[0])]
        if not paths[0].is_file():
            raise ValueError(f"{card.path}: manifest: {paths[0].name} is not in {root}")
    paths = [path for path in paths if path.is_file()]
    paths = [path for path in paths if path.parent == root] or paths
    if len({path.parent for path in paths}) < len(paths):
        raise ValueError(f"{root} holds {examples(path.name for path in paths)}: keep one, or pass one as the source")
    for path in paths:
        if not path.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{path} is a link out of the folder, which is not followed: put the file in its place")
    return paths


def _entries(root: Path, manifests: list[Path], files: Iterable[str], card: Card | None) -> pd.DataFrame:
    """What manifests say of the files, in a card's words for the classes: see `manifests.read_entries`."""
    import pandas as pd

    columns = {str(role): name for role, name in (card.columns or {}).items()} if card else {}
    parts = []
    for path in manifests:
        folder = "" if path.parent == root else f"{path.parent.name}/"
        part = read_entries(path, [file.removeprefix(folder) for file in files if file.startswith(folder)], columns)
        parts.append(part.assign(file=folder + part["file"]))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(label=table["label"].replace(_class_folders(card)))


def _listing(
    table: pd.DataFrame,
    left_out: pd.DataFrame,
    root: Path,
    card: Card | None,
    frames: str,
    folders: Iterable[str] = (),
) -> Listing:
    """The table in order, with patients and frames; refused if no data set. folders: class folders, also empty ones."""
    import pandas as pd

    classes = tuple(card.classes) if card else _in_order({*table["label"], *folders} - {""}, root)
    unnamed = table[~table["label"].isin((*classes, ""))]
    left_out = pd.concat([left_out, unnamed.assign(reason="label", group=unnamed["label"])], ignore_index=True)
    table = table[table["label"].isin(classes)]
    _check(table, classes, root, left_out)
    if card and card.patient:
        matches = [re.search(card.patient.pattern, file) for file in table["file"]]
        if not any(matches):
            raise ValueError(f"{card.path}: patient: {card.patient.pattern!r} is in no file name: correct the pattern")
        by_name = [match[1] or "" if match else "" for match in matches]
        table = table.assign(patient=table["patient"].where(table["patient"] != "", by_name))
    table = _with_frames(table, root, frames)
    table = table.assign(order=table["split"].map((*SPLITS, "").index))
    table = table.sort_values(["order", "file", "frame"], ignore_index=True)
    columns = ["file", "label", "split", "patient", "frame"]
    return Listing(table[columns], classes, root, left_out[["file", "reason", "group"]])


def _in_order(names: set[str], root: Path) -> tuple[str, ...]:
    """Class names in order of the alphabet, or of the numbers that they are."""
    counts = Counter(name.casefold() for name in names)
    if alike := sorted(repr(name) for name in names if counts[name.casefold()] > 1):
        raise ValueError(f"{root}: classes {' and '.join(alike)} differ in case only: write them the same everywhere")
    if all(name.isascii() and name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _check(table: pd.DataFrame, classes: tuple[str, ...], root: Path, left_out: pd.DataFrame) -> None:
    """Refuse what cannot be a data set."""
    kinds, given = ", ".join(ENDINGS), {*table["split"]}
    hint = _hint(root) + "".join(f" {text[0].upper()}{text[1:]}" for text in explained(left_out).values())
    if table.empty:
        raise ValueError(f"{root} holds no class folder with images ({kinds}): make one folder per class.{hint}")
    if len(classes) < 2:
        raise ValueError(f"{root} holds one class, {classes[0]!r}: a classifier needs at least 2.{hint}")
    if "" in given and len(given) > 1:
        unknown = table["file"][table["split"] == ""]
        raise ValueError(f"{root}: {len(unknown)} images have no split, others do: {examples(unknown)}. Give each one")
    if "" not in given and (missing := {"train", "test"} - given):
        has = " and ".join(sorted(given))
        raise ValueError(f"{root} has {has} but no {min(missing)!r} split: add it, or undo the split")
    least = {"": 3, "train": 1 if "val" in given else 2, "val": 1, "test": 1}
    counts = Counter(zip(table["split"], table["label"], strict=True))
    for split, name in product(sorted(given), classes):
        if counts[split, name] < least[split]:
            raise ValueError(
                f"{root}: {split or root.name} holds {counts[split, name]} images of class {name!r}, at least "
                f"{least[split]} are needed ({kinds}): add some, or remove the class everywhere.{hint}"
            )


def _hint(root: Path) -> str:
    """What to try when a folder holds a table that is no manifest by its name."""
    names = [name for name in _visible(root)[1] if name not in MANIFESTS]
    others = [name for name in names if name.lower().endswith((".csv", ".parquet"))]
    return f" If {examples(others)} lists the images, pass it as the source." if others else ""


def _with_frames(table: pd.DataFrame, root: Path, which: str) -> pd.DataFrame:
    """The table with the number of a frame in each row: one row per file, or one per frame."""

    def numbers(file: str, frame: str) -> list[int]:
        if images.suffix_of(file) not in SEVERAL:
            return [0]
        if frame.isdecimal():  # a manifest says it
            return [int(frame)]
        count = images.frames(root / file)
        return [*range(count)] if which == "all" else [count // 2]

    table = table.assign(frame=[*map(numbers, table["file"], table["frame"])])
    table = table.explode("frame", ignore_index=True).astype({"frame": int})
    alone = ~table.duplicated("file", keep=False) | table["file"].map(images.suffix_of).isin(("", *images.DICOM))
    return table.assign(patient=table["patient"].where(alone | (table["patient"] != ""), table["file"]))
