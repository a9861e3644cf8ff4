"""Folders of images, read into one table: what is an image of which class and split, and what is passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise, product
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
    Raises FileNotFoundError when nothing is there, ValueError when it cannot be a data set; the text says why.
    """
    place = Path(place)
    if not place.exists():
        raise FileNotFoundError(f"{place} is not there: pass a folder that holds class folders, or a manifest")
    if place.is_file():
        table, _ = _by_manifests(place.parent, [place], _placed(place.parent, {}, None), card, whole=False)
        return _listing(table, _table([]), place.parent, card, frames)
    root = _entered(place, card)
    splits = _split_folders(root) if card is None or card.layout in (None, "splits") else {}
    files = _placed(root, splits, card)
    _check_links(root, files)
    if manifests := _manifests(root, splits, card):
        whole = not (card and card.layout == "manifest")
        table, left_out = _by_manifests(root, manifests, files, card, whole)
        return _listing(table, left_out, root, card, frames)
    table = files[files["reason"] == ""]
    stray = table["file"][table["label"] == ""]
    if 0 < len(stray) < len(table):
        raise ValueError(
            f"{root}: {examples(stray)} lie in no class folder: move them into one, or delete them.{_hint(root)}"
        )
    table = table[table["label"] != ""].assign(patient="", frame="")
    homes = [root / name for name in splits] or [root]
    folders = {name for home in homes for name in _visible(home)[0] if name.lower() not in MASKS}
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
    _, folders, files = next(os.walk(folder, onerror=_refuse))
    return sorted(filter(_is_visible, folders)), sorted(filter(_is_visible, files))


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
    """Every image, and every file that is passed over, with what its folders say: see `_table`.

    Here, and nowhere else, is decided what a folder is.
    """
    named, rows = _class_folders(card), []
    for file, kind in _walk(root):
        parts = file.split("/")
        split = splits.get(parts[0], "")
        folders = parts[1:-1] if split else parts[:-1]
        depth = next((k for k in range(1, len(folders) + 1) if not named or "/".join(folders[:k]) in named), 0)
        label = "/".join(folders[:depth])
        reason, group = "", ""
        if splits and not split and (folders or kind == "link"):
            reason, group = "beside", parts[0]
        elif any(name.lower() in MASKS for name in folders[depth if named else 0 :]):
            reason, group = "mask", "/".join(parts[:-1])
        elif named and not label:
            reason, group = "folder", "/".join(parts[:-1]) or "the folder itself"
        if kind in ("image", "link"):
            rows.append((file, kind, split, named.get(label, label), reason, group))
        elif kind and label and not reason:
            rows.append((file, kind, split, named.get(label, label), "kind", kind))
    return _table(rows)


def _table(rows: Sequence[tuple[str, ...]]) -> pd.DataFrame:
    """Files with their kind, the split and label that their folders give ("" for none), and why they are passed over.

    reason: one of REASONS, "" for an image that can be used. group: what such files have in common.
    """
    import pandas as pd

    return pd.DataFrame(rows, columns=["file", "kind", "split", "label", "reason", "group"], dtype=object)


def _check_links(root: Path, files: pd.DataFrame) -> None:
    links = files["file"][(files["kind"] == "link") & (files["reason"] != "beside")]
    if len(links):
        raise ValueError(
            f"{root}: {examples(links)}: links out of the folder, and links to folders, are not followed. "
            "Put what they lead to in their place"
        )


def _by_manifests(
    root: Path, manifests: list[Path], files: pd.DataFrame, card: Card | None, whole: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The images that manifests list, with what their folders say of them, and the files that are passed over.

    whole: all images must be listed (with a card, those in folders that it names), and folders must agree with the
           manifest where both say; folders that bear no class's name say nothing of labels.
    """
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
    classes = {*table["label"].str.lower()} & {*table["label_folder"].str.lower()} - {""}
    for column in () if not whole else ("split", "label") if classes else ("split",):
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
    skipped = files["reason"].isin(
        ("kind", "beside") if card and card.layout == "manifest" else ("kind", "beside", "folder")
    )
    return table, files[skipped & ~labelled]


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
    """The table in order, with classes, patients and frames; refused when it cannot be a data set.

    folders: the names of the class folders, also of empty ones.
    """
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
    ordered = sorted(names, key=lambda name: (name.casefold(), name))
    for name, after in pairwise(ordered):
        if name.casefold() == after.casefold():
            raise ValueError(
                f"{root}: classes {name!r} and {after!r} differ in case only: write them the same everywhere"
            )
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
    if "" not in given and not {"train", "test"} <= given:
        missing = min({"train", "test"} - given)
        raise ValueError(
            f"{root} has {' and '.join(sorted(given))} but no {missing!r} split: add it, or undo the split"
        )
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
    tables = [name for name in _visible(root)[1] if name.lower().endswith((".csv", ".parquet"))]
    others = [name for name in tables if name not in MANIFESTS]
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
