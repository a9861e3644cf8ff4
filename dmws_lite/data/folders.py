"""Folders of images, read into one table: what is an image of which class and split, and what is passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dmws_lite.data import images, manifests, names
from dmws_lite.data.archives import ARCHIVES
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.text import examples, tally

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.cards import Card

ENDINGS = (*images.SUFFIXES, *images.DICOM, *images.NIFTI)
SEVERAL = ("", ".tif", ".tiff", *images.DICOM, *images.NIFTI)  # files that can hold several images; "" is DICOM
MANIFESTS = ("metadata.csv", "metadata.parquet", "manifest.csv", "manifest.parquet")
JUNK = ("__MACOSX", "@eaDir")  # left behind by archives and file servers; hidden files are passed over too
BYPRODUCTS = {  # what lies beside images without being one
    *(".txt", ".yaml", ".yml", ".toml", ".xml", ".ods", *manifests.TABLES),
    *(".md", ".rst", ".html", ".htm", ".css", ".js", ".pdf", ".doc", ".docx", ".tex", ".bib", ".log"),
    *(".py", ".ipynb", ".sh", ".m", ".r", ".db", ".ini", ".lnk", ".url", ".md5", ".sha256"),
}
NAMED = ("dicomdir", "readme", "license", "licence", "notice")  # the same, without an ending
LOOKED_AT, ROWS = 40, 200  # tables, and rows of each, that are tried for a list of the images: our choice
REASONS = {  # for passing over files, and the way out
    "kind": ("of kinds that are not read", "Save them as PNG"),
    "archive": ("that are archives", "Unpack them, if they hold images of this set"),
    "name": ("whose names tell no label", "Their labels are not known"),
    "mask": ("that are masks or overlays", "A card can name such a folder as a class"),
    "beside": ("in folders beside train, val and test", "Move what belongs to a split into it"),
    "set": ("in folders that hold a data set of their own", "Pass such a folder itself to open it"),
    "stray": ("in folders of predictions or results", "open_data(..., label=1) takes all folders as classes"),
    "empty": ("in folders without images", "They are no classes"),
    "unlisted": ("that the table does not list", "Add them to it, or leave them out"),
    "folder": ("in folders that the card does not name", "Add those that are classes to its `classes`"),
    "label": ("with labels that the card does not name", "Add those that are classes to its `classes`"),
}
MAKE_FOLDERS = f"({', '.join(ENDINGS)}): make one folder per class."
Folder = tuple[str, ...]


class Listing(NamedTuple):
    """The images of a data set.

    table:    one row per image, in the order of split, file and frame: file (relative to root), label, split, patient
              (the last two "" where not known) and frame (a number).
    classes:  the class names, in order.
    root:     the folder that `file` is relative to.
    left_out: one row per file that is passed over: file, reason (see REASONS), group (its ending, folder or label).
    notes:    what is to be said of how it was read.
    recipe:   what a card says to read it again: layout, manifest, columns.
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
    """The images of a folder, or of a manifest.

    place:   a folder (classes, splits with classes, or images with a table that lists them), or a table: then the
             images that it lists, and no others. What a folder is, its name says (see `names`); a table that lists the
             images goes before the names of folders.
    card:    says where to look, which folders or labels are classes, their order, and how file names tell patients.
    frames:  of volumes and multi-page files, the "middle" image (the later of two) or "all"; then images of one file
             share a patient: the file, where no other is known (a DICOM file may know better: there it stays "").
    label:   the column, or the level of folders (1 is the upper one), that holds the label, where there are several.
    patient: a regular expression whose group is the patient in the files' paths.
    Raises ValueError when it cannot be a data set, or can be read in two ways; the text says why, and the way out.
    """
    alone = place.is_file()
    root = place.parent if alone else _entered(place, card)
    files = _files(root)
    masks = names.masks([*files["file"][files["kind"] == "image"]], root) if card is None and not alone else {}
    files["partner"] = files["file"].map(masks)
    folders = _folders(root, files, card, label if isinstance(label, int) else 0, alone)
    files = _placed(files, folders)
    notes: list[str] = []
    by_name = isinstance(label, str) and not alone and _label_by_name(files, label)
    if by_name:
        tables, whole, label, folders = [], False, None, folders._replace(problem="")
    elif alone:
        tables, whole = [place], False
    else:
        links = files["file"][(files["kind"] == "link") & (files["reason"] != "beside")]
        if len(links):
            text = f"{root}: {examples(links)}: links out of the folder, and links to folders, are not followed"
            raise ValueError(f"{text}. Put what they lead to in their place")
        tables = _manifests(root, folders.splits, card)
        whole = bool(tables) and not (card and card.layout == "manifest")
        if not tables and not isinstance(label, int) and (not card or card.layout == "manifest"):
            tables, notes = _listing_tables(root, files, label, folders)
    columns: dict[str, str] = {str(role): name for role, name in (card.columns or {}).items()} if card else {}
    columns |= {"label": label} if isinstance(label, str) else {}
    if tables:
        table, left_out, told = _by_manifests(root, tables, files, card, columns, whole, alone)
        notes += told
    else:
        table, left_out = _by_folders(root, files, folders, card)
    recipe = _recipe(root, tables, columns, whole)
    pattern = patient or (card.patient.pattern if card and card.patient else "")
    listing = _listing(table, left_out, root, card, frames, pattern)
    return listing._replace(notes=tuple(notes), recipe=recipe)


def _label_by_name(files: pd.DataFrame, pattern: str) -> bool:
    """Take the label from the files' names, if this is a regular expression that some of them match."""
    try:
        match = [re.search(pattern, file) if re.compile(pattern).groups == 1 else None for file in files["file"]]
    except re.error:
        return False
    if not any(match):
        return False
    shown = (files["kind"] == "image") & files["reason"].isin(("", "stray", "set"))
    files["label"] = [found[1] or "" if found else "" for found in match]
    files.loc[shown, "reason"] = files["label"][shown].map(lambda label: "" if label else "name")
    files.loc[shown, "group"] = files["folder"][shown]
    if not {"train", "test"} <= {*files["split"][shown & (files["label"] != "")]}:
        files["split"] = ""
    return True


def explained(left_out: pd.DataFrame) -> dict[str, str]:
    """What is passed over, in one sentence per reason."""
    texts = {}
    for reason, rows in left_out.groupby("reason"):
        what = tally(rows["group"])
        if reason == "mask":
            pairs = rows[rows["group"] != ""]
            first = (pairs if len(pairs) else rows).iloc[0]
            what = f"such as {first['file']}" + f" of {first['group']}" * bool(first["group"])
        texts[str(reason)] = f"left out {len(rows)} files {REASONS[str(reason)][0]} ({what}). {REASONS[str(reason)][1]}"
    return texts


def _entered(root: Path, card: Card | None) -> Path:
    """The folder that holds the layout: the card's root, and folders that hold nothing but one folder are entered."""
    if card and card.root != ".":
        inner = root / card.root
        if not inner.is_dir() or not inner.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{card.path}: root: {card.root} is no folder inside {root}: pass the one that holds it")
        root = inner
    marks = {*_class_folders(card), *([card.manifest] if card and card.manifest else MANIFESTS)}
    while True:
        inside = [path for path in sorted(root.iterdir()) if _is_visible(path.name)]
        folders = [path for path in inside if path.is_dir()]
        kinds = {_kind(str(path), root) for path in inside if path not in folders}
        if len(folders) != 1 or folders[0].is_symlink() or kinds & {"image", "table"}:
            return root
        below = [path.name for path in folders[0].iterdir() if path.is_dir() or path.name in marks]
        if any((root / name).exists() for name in marks) or not below or _roles([folders[0].name])[0] in SPLITS:
            return root
        root = folders[0]


def _roles(folders: Iterable[str]) -> list[str]:
    return [*names.roles(folders).values()]


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in JUNK


def _refuse(error: OSError) -> None:
    raise error


def _class_folders(card: Card | None) -> dict[str, str]:
    """Each class folder that a card names, and its class."""
    return {label.folder: name for name, label in card.classes.items()} if card else {}


def _files(root: Path) -> pd.DataFrame:
    """Each visible file below a folder that is not wholly a by-product: file, kind (see `_kind`) and folder."""
    import pandas as pd

    rows = [(file, kind, file if kind == "link" else file.rpartition("/")[0]) for file, kind in _walk(root)]
    return pd.DataFrame(rows, columns=["file", "kind", "folder"], dtype=object)


def _walk(root: Path) -> Iterator[tuple[str, str]]:
    """Each visible file below a folder, and its kind: see `_kind`."""
    for place, folders, files in os.walk(root, onerror=_refuse):
        folders[:] = filter(_is_visible, folders)
        inside = "" if place == str(root) else f"{Path(place).relative_to(root).as_posix()}/"
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in filter(_is_visible, [*files, *links]):
            file, kind = inside + name, _kind(os.path.join(place, name), root)
            if kind == "image" and re.search("[\ud800-\udfff]", file):
                readable = file.encode(errors="replace").decode()
                raise ValueError(f"{root}: the name of {readable} is not UTF-8: rename it")
            yield file, kind


def _kind(path: str, root: Path) -> str:
    """What a file is: "image", "table", "" for by-products, "link" out of the root or to a folder, or its ending."""
    name = os.path.basename(path).lower()
    suffix = images.suffix_of(name)
    if os.path.islink(path) and not (os.path.isfile(path) and Path(path).resolve().is_relative_to(root.resolve())):
        return "link" if os.path.isdir(path) or name.endswith(ENDINGS) else ""
    if not os.path.isfile(path):
        return "no regular file"  # reading from a pipe would not end
    if name in NAMED or suffix in BYPRODUCTS:
        return "table" if suffix in manifests.TABLES else ""
    if not suffix:
        return "image" if images.is_dicom(path) else "without an ending"
    return "image" if suffix in ENDINGS else suffix


class _Folders(NamedTuple):
    """What each folder is (split, label, reason to pass it over, group), or why they cannot be read."""

    meanings: dict[str, tuple[str, str, str, str]]
    splits: tuple[str, ...] = ()
    problem: str = ""


def _folders(root: Path, files: pd.DataFrame, card: Card | None, level: int, alone: bool) -> _Folders:
    """Here, and nowhere else, is decided what a folder is: by what a card names, else by names and places."""
    shown = files[~files["kind"].isin(("", "table")) & files["partner"].isna()]
    every = {folder: tuple(filter(None, folder.split("/"))) for folder in files["folder"]}
    holders = {every[folder] for folder in shown["folder"]}
    if alone:
        return _Folders({folder: ("", parts[0] if parts else "", "", "") for folder, parts in every.items()})
    if card is None:
        return _by_levels(root, every, holders, level)
    tops = names.roles({folder[0] for folder in holders if folder})
    splits = {name: role for name, role in tops.items() if role in SPLITS and card.layout in (None, "splits")}
    named = _class_folders(card)
    return _Folders({folder: _on_card(parts, splits, named) for folder, parts in every.items()}, (*splits,))


def _on_card(parts: Folder, splits: Mapping[str, str], named: Mapping[str, str]) -> tuple[str, str, str, str]:
    split = splits.get(parts[0], "") if parts else ""
    inside = parts[1:] if split else parts
    while inside and inside[0] not in named and names.roles(inside[:1])[inside[0]] == "part" and len(inside) > 1:
        inside = inside[1:]
    label = next(("/".join(inside[:k]) for k in range(1, len(inside) + 1) if "/".join(inside[:k]) in named), "")
    if splits and parts and not split:
        return split, label, "beside", parts[0]
    if label and any(map(names.is_mask_folder, inside[label.count("/") + 1 :])):
        return split, named[label], "mask", ""
    masks = not label and any(map(names.is_mask_folder, inside))
    reason = "" if label else "mask" if masks else "folder"
    return split, named.get(label, ""), reason, "" if masks else "/".join(parts) or "the folder itself"


def _by_levels(root: Path, every: Mapping[str, Folder], holders: set[Folder], level: int) -> _Folders:
    """What folders are by their names and places: which level tells the split, and which the label."""
    rest, problem, above, at = set(holders), "", -1, 0
    splits: dict[str, str] = {}
    passed: dict[Folder, tuple[str, str]] = {}
    while True:
        here = names.roles(sorted({folder[at] for folder in rest if len(folder) > at}))
        if not splits and {*here.values()} & {*SPLITS}:
            splits = {name: role for name, role in here.items() if role in SPLITS}
            _check_splits(root, splits)
            passed = {
                folder[: at + 1]: ("beside", folder[at]) for folder in rest if folder[at:] and folder[at] not in splits
            }
            rest = {folder for folder in rest if folder[: at + 1] not in passed}
            if len(sides := {folder[:at] for folder in rest if folder}) > 1:
                problem = _side_by_side(root, sides)
            above, at = at, at + 1
        elif rest and all(len(folder) > at + 1 for folder in rest) and (len(here) == 1 or {*here.values()} == {"part"}):
            at += 1
        else:
            break
    below = {name: {f[at + 1 :] for f in rest if f[at:] and f[at] == name} for name in here}
    inner = {name: _inner(folders) for name, folders in below.items()}
    deeper = max((len(max(below[n], key=len)) - len(max(inner[n], key=len)) for n in here if inner[n]), default=0)
    prefix = next(iter(rest), ())[:at]
    own = [name for name, folders in inner.items() if not splits and _splits_in(folders)]
    if own and len(own) == len(here) and all(len(folder) == 1 for name in own for folder in inner[name]):
        splits, above = {name: role for folders in inner.values() for name, role in _splits_in(folders).items()}, at + 1
    elif own and len(here) - len(own) < 2:
        problem = problem or _side_by_side(root, {(*prefix, name) for name in here})
    else:
        passed |= _strays(here, inner, prefix, own)
    left = [name for name in here if (*prefix, name) not in passed and here[name] != "part"]
    if level:
        passed, problem, at = {key: why for key, why in passed.items() if why[0] == "beside"}, "", level - 1
        splits, above = ({}, -1) if above == at else (splits, above)
    elif not left and here:
        text = f"{root}: {examples(here)} are parts of a set by their names, not classes: a table that lists the images"
        problem = problem or f"{text} is needed, or open_data({str(root)!r}, label={at + 1}) takes them as classes"
    elif not problem and above <= at:
        beside = [(*prefix, name) for name in here]
        problem = _two_readings(root, {name: inner[name] for name in left}, at, at + 2 + deeper, beside)

    def meaning(folder: Folder) -> tuple[str, str, str, str]:
        split = splits.get(folder[above], "") if 0 <= above < len(folder) else ""
        label = folder[at] if len(folder) > at and (level or here.get(folder[at]) != "part") else ""
        for length in range(1, len(folder) + 1):
            if reason := passed.get(folder[:length]):
                return split, label, *reason
            if length <= at + 1 and not any(other[:length] == folder[:length] for other in holders):
                return split, label, "empty", "/".join(folder[:length])
        return split, label, "", ""

    tops = tuple(splits) if above == 0 else ()
    return _Folders({key: meaning(folder) for key, folder in every.items()}, tops, problem)


def _inner(folders: set[Folder]) -> set[Folder]:
    """The folders inside a folder, without levels that hold one folder, or parts, only."""
    while folders and all(folders):
        tops = names.roles({folder[0] for folder in folders})
        if {*tops.values()} & {*SPLITS} or (len(tops) > 1 and {*tops.values()} != {"part"}):
            break
        folders = {folder[1:] for folder in folders}
    return folders


def _splits_in(folders: set[Folder]) -> dict[str, str]:
    tops = names.roles({folder[0] for folder in folders if folder})
    return {name: role for name, role in tops.items() if role in SPLITS}


def _strays(
    here: Mapping[str, str], inner: Mapping[str, set[Folder]], prefix: Folder, own: list[str]
) -> dict[Folder, tuple[str, str]]:
    """Folders beside classes that are none: a set of its own, the whole set once more, predictions."""
    below = {name: {folder[0].casefold() for folder in inner[name] if folder} for name in here}
    siblings = {name.casefold() for name in here}
    again = [name for name in here if len(below[name] & siblings - {name.casefold()}) > 1]
    strays = [name for name, role in here.items() if role == "stray" and len(here) > 2]
    why = {name: "stray" for name in strays} | {name: "set" for name in (*own, *again)}
    return {(*prefix, name): (reason, "/".join((*prefix, name))) for name, reason in why.items()}


def _check_splits(root: Path, splits: Mapping[str, str]) -> None:
    for split in {*splits.values()}:
        alike = [name for name, role in splits.items() if role == split and not any(map(str.isdigit, name))]
        if len(alike) > 1:
            raise ValueError(f"{root}: {' and '.join(alike)} are both the {split} split: merge them")


def _side_by_side(root: Path, folders: set[Folder]) -> str:
    places = sorted("/".join(folder) for folder in folders)
    calls = " or ".join(f"open_data({str(root / place)!r})" for place in places[:4])
    return f"{root} holds {len(places)} data sets side by side ({examples(places)}): open one, {calls}"


def _two_readings(root: Path, inner: Mapping[str, set[Folder]], at: int, lower: int, sides: list[Folder]) -> str:
    """Why folders in folders may be classes or hold them; "" when they are named by numbers, as patients are."""
    below = {name: sorted({folder[0] for folder in folders if folder}) for name, folders in inner.items()}
    counts = Counter(name for names_inside in below.values() for name in names_inside)
    holding = [name for name in inner if len(below[name]) > 1]  # folders, not images
    if len(inner) < 2 or not holding or any(() in inner[name] for name in holding):
        return ""
    if max(counts.values()) == 1 and all(re.search(r"\d", name) for name in counts):
        return ""
    call = f"open_data({str(root)!r}, label="
    alone = " or ".join(f"open_data({str(root.joinpath(*side))!r})" for side in sides[:4])
    return (
        f"{root} can be read in two ways: the classes are {examples(inner)} ({call}{at + 1})), or the folders inside "
        f"them, {examples(sorted(counts))} ({call}{lower})). Or open one alone, {alone}"
    )


def _placed(files: pd.DataFrame, folders: _Folders) -> pd.DataFrame:
    """Every image, and every file that is passed over: file, kind, folder, split, label, reason and group."""
    for place, column in enumerate(("split", "label", "reason", "group")):
        files[column] = [folders.meanings[folder][place] for folder in files["folder"]]
    is_mask = files["partner"].notna()
    files.loc[is_mask, "reason"] = "mask"
    files.loc[is_mask, "group"] = files["partner"][is_mask]
    other = ~files["kind"].isin(("image", "link", "table", ""))
    in_masks = files["folder"].map(lambda folder: any(map(names.is_mask_folder, folder.split("/"))))
    archive = other & files["file"].str.lower().str.endswith(ARCHIVES)
    unread = archive | (other & (files["label"] != "") & (files["reason"] == "") & ~in_masks.astype(bool))
    files.loc[unread, "group"] = files["kind"][unread]
    files.loc[unread, "reason"] = archive[unread].map({True: "archive", False: "kind"})
    empty = files["kind"].isin(("table", "")) & (files["reason"] == "empty")
    return files[files["kind"].isin(("image", "link", "table")) | unread | empty].reset_index(drop=True)


def _by_folders(
    root: Path, files: pd.DataFrame, folders: _Folders, card: Card | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The images by the names of their folders, and the files that are passed over."""
    if folders.problem:
        shown = files[(files["kind"] == "image") & (files["reason"] == "")]
        raise ValueError(folders.problem + _hint(root, shown["file"] if shown["label"].nunique() < 2 else ()))
    files = files[(files["kind"] != "table") | (files["reason"] == "empty")]
    table = files[files["reason"] == ""]
    stray = table["file"][(table["label"] == "") & (table["kind"] == "image")]
    if len(stray) == len(table) > 0:
        told = "".join(f" {text[0].upper()}{text[1:]}." for text in explained(files[files["reason"] != ""]).values())
        raise ValueError(f"{root} holds no class folder with images {MAKE_FOLDERS}{_hint(root, stray)}{told}")
    if len(stray):
        text = f"{root}: {examples(stray)} lie in no class folder: move them into one, or delete them"
        tops = {*table["file"][table["label"] != ""].str.partition("/")[0]}
        if len(tops) == 1 and not tops & {*stray.str.partition("/")[0]}:
            text += f". Or open_data({str(root / min(tops))!r}) opens the others alone"
        raise ValueError(f"{text}.{_hint(root)}")
    table = table[(table["label"] != "") & (table["kind"] == "image")].assign(patient="", frame="")
    return table, files[files["reason"] != ""]


def _manifests(root: Path, splits: Iterable[str], card: Card | None) -> list[Path]:
    """The manifest of the folder, or of each split folder, by its name."""
    paths = [folder / name for folder in (root, *(root / split for split in splits)) for name in MANIFESTS]
    if card and card.manifest:
        paths = [root / card.manifest]
        if not paths[0].is_file():
            raise ValueError(f"{card.path}: manifest: {card.manifest} is not in {root}")
    paths = [path for path in paths if path.is_file()]
    paths = [path for path in paths if path.parent == root] or paths
    if len({path.parent for path in paths}) < len(paths):
        raise ValueError(f"{root} holds {examples(path.name for path in paths)}: keep one, or pass one as the source")
    for path in paths:
        if not path.resolve().is_relative_to(root.resolve()):
            raise ValueError(f"{path} is a link out of the folder, which is not followed: put the file in its place")
    return paths


def _listing_tables(
    root: Path, files: pd.DataFrame, label: str | int | None, folders: _Folders
) -> tuple[list[Path], list[str]]:
    """The tables, whatever their names, that list the images and label them, and notes on those that do not."""
    tables = [root / file for file in sorted(files["file"][files["kind"] == "table"], key=lambda f: (f.count("/"), f))]
    every = {*files["file"][files["kind"] == "image"]}
    labelled: dict[Path, set[str]] = {}
    notes: list[str] = []
    unread: list[str] = []
    for path in tables[:LOOKED_AT]:
        try:
            raw = manifests.read_table(path, ROWS)
            entries = manifests.listed(raw, every)
        except ValueError as error:
            told = unread if path.suffix.lower() in (".json", ".jsonl") or not path.stat().st_size else notes
            told.append(f"{error}; whether it lists the images is not known")
            continue
        if 2 * len(entries) < len(raw) or not len(raw) or raw.shape[1] < 2:  # other tables, and lists of names alone
            continue
        if re.search("submission|prediction", path.stem.lower()):
            notes.append(f"{path} is a table of answers by its name, not of labels: it is not used")
            continue
        has_label = label in raw if label else "label" in manifests.column_roles(raw, every) or manifests.findings(raw)
        if has_label:
            labelled[path] = {*manifests.listed(manifests.read_table(path), every)}
        else:
            call = f"open_data({str(path)!r}, label=NAME)"
            text = f"{path} lists these images, but none of its columns is the label by its name"
            notes.append(f"{text} ({', '.join(map(str, raw))}): {call} takes one")
    several = [path for path in labelled if any(labelled[path] & labelled[o] for o in labelled if o != path)]
    if several:
        calls = " or ".join(f"open_data({str(path)!r})" for path in several)
        raise ValueError(
            f"{root}: {examples(p.name for p in several)} list the same images: pass the one to use, {calls}"
        )
    names_of = {*files["label"][(files["kind"] == "image") & (files["reason"] == "")]} - {""}
    if not labelled and (told := notes + unread) and (folders.problem or len(names_of) < 2):
        raise ValueError(f"{folders.problem or f'{root} holds no two class folders'}. {'. '.join(told)}")
    return [*labelled], notes


def _by_manifests(
    root: Path,
    tables: list[Path],
    files: pd.DataFrame,
    card: Card | None,
    columns: dict[str, str],
    whole: bool,
    alone: bool,
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The images that tables list (`whole`: all, in folders that agree), the files that are passed over, and notes."""
    import pandas as pd

    present = files[(files["kind"] == "image") & (files["reason"] != "beside")]
    parts, notes = [], []
    for path in tables:
        folder = "" if path.parent == root or not whole else f"{path.parent.name}/"
        inside = [file.removeprefix(folder) for file in present["file"] if file.startswith(folder)]
        part, told = manifests.read_entries(path, inside, columns, path.parent if folder else root)
        parts.append(part.assign(file=folder + part["file"]))
        notes += told
    entries = pd.concat(parts, ignore_index=True)
    if card:
        entries["label"] = entries["label"].replace(_class_folders(card))
    elif entries["label"].any():
        manifests.check_labels(entries, tables[0])
    expected = present[(present["label"] != "") if card else (present["reason"] != "mask")]
    unlisted = expected[~expected["file"].isin(entries["file"])]
    if whole and len(unlisted):
        raise ValueError(
            f"{tables[0]} does not list {len(unlisted)} of {len(expected)} images: {examples(unlisted['file'])}. "
            "Add or delete them, or pass the manifest itself as the source to use only what it lists"
        )
    table = entries.merge(present[["file", "split", "label"]], on="file", suffixes=("", "_folder"))
    classes = {*table["label"].str.lower()} & {*table["label_folder"].str.lower()} - {""}  # folders named by class
    for column in (["split", "label"] if classes else ["split"]) if whole else []:
        value, folder = table[column], table[f"{column}_folder"]
        differ = table["file"][(value.str.lower() != folder.str.lower()) & (value != "") & (folder != "")]
        if len(differ):
            raise ValueError(
                f"{tables[0]} and the folders disagree on the {column} of {len(differ)} images: {examples(differ)}. "
                "Move the files, or correct the manifest"
            )
    table["split"] = table["split"].where(table["split"] != "", table["split_folder"])
    if not whole and not {"train", "test"} <= {*table["split"]}:
        if given := {*table["split"]} - {""}:
            notes.append(f"{tables[0]}: only {' and '.join(sorted(given))} has labels, so the split is made here")
        table["split"] = ""
    if not table["label"].any() and (whole or alone or card):
        table["label"] = table["label_folder"]
    if not table["label"].any():
        raise ValueError(manifests.no_labels(tables[0]))
    if not whole and not card and not alone:
        folders = {*present["label"][present["reason"] == ""]} - {""}
        if len(folders) > 1 and (table["label"].str.lower() != table["label_folder"].str.lower()).any():
            notes.append(
                f"{tables[0]} lists these images: the labels are its own, not the folders {examples(sorted(folders))}"
            )
    labelled = files["file"].isin(entries["file"][entries["label"] != ""])
    by_folder = () if card and card.layout == "manifest" else ("folder",)
    left_out = files[files["reason"].isin(("kind", "beside", "empty", "mask", *by_folder)) & ~labelled]
    left_out = left_out[~left_out["file"].isin(os.path.relpath(path, root) for path in tables)]
    unlisted = unlisted[~unlisted["file"].isin(left_out["file"])]
    more = unlisted.assign(reason="unlisted", group=unlisted["folder"]) if not whole and not card else unlisted[:0]
    return table, pd.concat([left_out, more], ignore_index=True), notes


def _recipe(root: Path, tables: list[Path], columns: Mapping[str, str], whole: bool) -> dict[str, object]:
    """What a card says of the layout, so that it is read the same way again."""
    if len(tables) == 1 and not whole:
        place = {"layout": "manifest", "manifest": os.path.relpath(tables[0], root)}
        return place | ({"columns": dict(columns)} if columns else {})
    return {}


def _listing(
    table: pd.DataFrame, left_out: pd.DataFrame, root: Path, card: Card | None, frames: str, pattern: str
) -> Listing:
    """The table in order, with patients and frames; refused if it is no data set."""
    import pandas as pd

    classes = tuple(card.classes) if card else _in_order({*table["label"]} - {""}, root)
    unnamed = table[~table["label"].isin((*classes, ""))]
    left_out = pd.concat([left_out, unnamed.assign(reason="label", group=unnamed["label"])], ignore_index=True)
    table = table[table["label"].isin(classes)]
    _check(table, classes, root, left_out)
    if pattern:
        matches = [re.search(pattern, file) for file in table["file"]]
        where = f"{card.path}: patient" if card and card.patient else "patient"
        if not any(matches):
            raise ValueError(f"{where}: {pattern!r} is in no file name: correct the pattern")
        by_name = [match[1] or "" if match else "" for match in matches]
        table = table.assign(patient=table["patient"].where(table["patient"] != "", by_name))
    table = _with_frames(table, root, frames)
    table = table.assign(order=table["split"].map((*SPLITS, "").index))
    table = table.sort_values(["order", "file", "frame"], ignore_index=True)
    columns = ["file", "label", "split", "patient", "frame"]
    return Listing(table[columns], classes, root, left_out[["file", "reason", "group"]])


def _in_order(labels: set[str], root: Path) -> tuple[str, ...]:
    """Class names in order of the alphabet, or of the numbers that they are."""
    counts = Counter(name.casefold() for name in labels)
    if alike := sorted(repr(name) for name in labels if counts[name.casefold()] > 1):
        raise ValueError(f"{root}: classes {' and '.join(alike)} differ in case only: write them the same everywhere")
    if all(name.isascii() and name.isdecimal() for name in labels):
        return tuple(sorted(labels, key=lambda name: (int(name), name)))
    return tuple(sorted(labels))


def _check(table: pd.DataFrame, classes: tuple[str, ...], root: Path, left_out: pd.DataFrame) -> None:
    """Refuse what cannot be a data set."""
    kinds, given = ", ".join(ENDINGS), {*table["split"]}
    hint = _hint(root, table["file"] if table["label"].nunique() < 2 else ()) + "".join(
        f" {text[0].upper()}{text[1:]}." for text in explained(left_out).values()
    )
    if table.empty:
        raise ValueError(f"{root} holds no class folder with images {MAKE_FOLDERS}{hint}")
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


def _hint(root: Path, files: Iterable[str] = ()) -> str:
    """What to try when a folder holds a table that is no manifest by its name, or names that seem to tell classes."""
    if pattern := names.label_pattern([*files]):
        values = examples(sorted({match[1] for file in files if (match := re.search(pattern, file))}))
        return f" If their names tell the classes ({values}), open_data({str(root)!r}, label={pattern!r}) takes them."
    inside = [path.name for path in sorted(root.iterdir()) if _is_visible(path.name) and path.name not in MANIFESTS]
    others = [name for name in inside if name.lower().endswith(manifests.TABLES)]
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
