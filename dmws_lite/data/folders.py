"""Folders of images, read into one table: what is an image of which class and split, and what is passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dmws_lite.data import images, manifests, names
from dmws_lite.data.archives import ARCHIVES
from dmws_lite.data.manifests import ENDINGS
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.text import examples, tally

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.cards import Card

SEVERAL = ("", ".tif", ".tiff", *images.DICOM, *images.NIFTI)  # files that can hold several images; "" is DICOM
MANIFESTS = ("metadata.csv", "metadata.parquet", "manifest.csv", "manifest.parquet")
JUNK = ("__MACOSX", "@eaDir")  # left behind by archives and file servers; hidden files are passed over too
BYPRODUCTS = {  # what lies beside images without being one
    *(".txt", ".yaml", ".yml", ".toml", ".xml", ".ods", ".md", ".rst", ".html", ".htm", ".css", ".js", ".pdf", ".doc"),
    *(".docx", ".tex", ".bib", ".log", ".py", ".ipynb", ".sh", ".m", ".r", ".db", ".ini", ".lnk", ".url", ".md5"),
    ".sha256",
}
NAMED = ("dicomdir", "readme", "license", "licence", "notice")  # the same, without an ending
LOOKED_AT = 40  # tables that are tried for a list of the images: our choice
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
Folder = tuple[str, ...]
Inner = tuple[int, set[Folder]]  # see `_inner`
Meaning = tuple[str, str, str, str]  # of a folder: split, label, reason to pass it over, and group
Layout = tuple[dict[str, Meaning], str]  # what each folder is, and why the folders cannot be read


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
    alone = place.is_file()
    root = place.parent if alone else _entered(place, card)
    files = _walked(root)
    if alone and "image" not in {*files["kind"]}:  # a folder of tables beside those of images
        root, files = root.parent, _walked(root.parent)
    links = files["kind"] == "link"
    if links.any() and not alone:
        text = f"{root}: {examples(files['file'][links])}: links out of the folder, and links to folders, are not"
        raise ValueError(f"{text} followed. Put what they lead to in their place")
    named = tuple(f"{folder}/" for folder in _class_folders(card) if names.is_mask_folder(folder.split("/")[-1]))
    pictures = files["file"][(files["kind"] == "image") & ~files["file"].str.startswith(named)]
    masks = {} if alone else names.masks([*pictures], root)
    files = files[~links].assign(partner=files["file"].map(masks))
    level = label if isinstance(label, int) else 0
    if alone:
        meanings, problem = {folder: ("", folder.partition("/")[0], "", "") for folder in files["folder"]}, ""
    else:
        meanings, problem = _by_card(files, card) if card else _by_levels(root, files, level)
    files = _placed(files, meanings)
    notes, recipe = list[str](), dict[str, object]()
    if isinstance(label, str) and not alone and _label_by_pattern(files, label):
        problem = ""
    else:
        tables, lists, notes = ([place], {}, []) if alone else _tables(root, files, card, label, problem)
        if tables:
            files, more, recipe = _by_tables(root, tables, files, card, label, alone)
            notes, problem = [*notes, *more], ""
        notes += _split_by_lists(files, lists)
    table, left_out, classes = _checked(files, root, card, problem)
    if pattern := patient or (card.patient.pattern if card and card.patient else ""):
        by_name = table["file"].str.extract(pattern, expand=False).fillna("")
        if not by_name.any():
            where = f"{card.path}: patient" if card and card.patient else "patient"
            raise ValueError(f"{where}: {pattern!r} is in no file name: correct the pattern")
        table = table.assign(patient=table["patient"].where(table["patient"] != "", by_name))
    table = _with_frames(table, root, frames).assign(order=lambda rows: rows["split"].map((*SPLITS, "").index))
    table = table.sort_values(["order", "file", "frame"], ignore_index=True)
    return Listing(table[["file", "label", "split", "patient", "frame"]], classes, root, left_out, tuple(notes), recipe)


def explained(left_out: pd.DataFrame) -> dict[str, str]:
    """What is passed over, in one sentence per reason."""
    texts = {}
    for reason, rows in left_out.groupby("reason"):
        what = tally(rows["group"])
        if reason == "mask":
            first = rows.sort_values("group", key=lambda group: group == "", kind="stable").iloc[0]  # one with an image
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
        inside = [path for path in root.iterdir() if _is_visible(path.name)]
        folders = [path for path in inside if path.is_dir()]
        content = any(_kind(str(path), root) in ("image", "table") for path in inside if path not in folders)
        if len(folders) != 1 or folders[0].is_symlink() or content or any((root / name).exists() for name in marks):
            return root
        is_split = {*names.roles([folders[0].name]).values()} & {*SPLITS}
        if is_split or not any(path.is_dir() or path.name in marks for path in folders[0].iterdir()):
            return root
        root = folders[0]


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in JUNK


def _class_folders(card: Card | None) -> dict[str, str]:
    """Each class folder that a card names, and its class."""
    return {label.folder: name for name, label in card.classes.items()} if card else {}


def _walked(root: Path) -> pd.DataFrame:
    """Each visible file below a folder: file, folder, and kind (see `_kind`)."""
    import pandas as pd

    def refuse(error: OSError) -> None:
        raise error

    rows = []
    for place, folders, files in os.walk(root, onerror=refuse):
        folders[:] = filter(_is_visible, folders)
        folder = "" if place == str(root) else Path(place).relative_to(root).as_posix()
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in filter(_is_visible, [*files, *links]):
            file, kind = f"{folder}/{name}".lstrip("/"), _kind(os.path.join(place, name), root)
            rows.append((file, folder, kind))
    return pd.DataFrame(rows, columns=["file", "folder", "kind"], dtype=object)


def _kind(path: str, root: Path) -> str:
    """What a file is: "image", "table", "" for by-products, "link" out of the root or to a folder, or its ending."""
    name = os.path.basename(path).lower()
    suffix = images.suffix_of(name)
    if os.path.islink(path) and not (os.path.isfile(path) and Path(path).resolve().is_relative_to(root.resolve())):
        return "link" if os.path.isdir(path) or name.endswith((*ENDINGS, *manifests.TABLES)) else ""
    if not os.path.isfile(path):
        return "no regular file"  # reading from a pipe would not end
    if suffix in manifests.TABLES or (suffix == ".txt" and manifests.lists_images(Path(path))):
        return "table"
    if name in NAMED or suffix in BYPRODUCTS:
        return ""
    if not suffix:
        return "image" if images.is_dicom(path) else "without an ending"
    return "image" if suffix in ENDINGS else suffix


def _by_card(files: pd.DataFrame, card: Card) -> Layout:
    """What folders are by what a card names."""
    named = _class_folders(card)
    tops = names.roles({folder.partition("/")[0] for folder in files["folder"]} - {""})
    splits = {name: role for name, role in tops.items() if role in SPLITS and card.layout in (None, "splits")}

    def meaning(folder: str) -> Meaning:
        top, _, below = folder.partition("/")
        split, inside = (splits[top], below) if top in splits else ("", folder)
        first, _, below = inside.partition("/")
        while below and first not in named and names.roles([first])[first] == "part":
            inside, (first, _, below) = below, below.partition("/")
        parts = inside.split("/")
        paths = ["/".join(parts[:k]) for k in range(1, len(parts) + 1)]
        found = next((path for path in paths if path in named), "")
        masks = any(map(names.is_mask_folder, inside.removeprefix(found).split("/")))
        reason = "mask" if masks else "" if found else "folder"
        if splits and folder and not split:
            return split, named.get(found, ""), "beside", top
        return split, named.get(found, ""), reason, "" if masks else folder or "the folder itself"

    return {folder: meaning(folder) for folder in {*files["folder"]}}, ""


def _by_levels(root: Path, files: pd.DataFrame, level: int) -> Layout:
    """What folders are by their names and places: which level tells the split, and which the label."""
    every = {folder: tuple(filter(None, folder.split("/"))) for folder in files["folder"]}
    rest = {every[folder] for folder in files["folder"][~files["kind"].isin(("", "table")) & files["partner"].isna()]}
    holding = {folder[:k] for folder in rest for k in range(len(folder) + 1)}  # images, or folders with images
    rest, at, above, splits = _descended(rest)
    passed = {f[: above + 1]: ("beside", f[above]) for f in holding if splits and f[above:] and f[above] not in splits}
    here = names.roles(sorted({folder[at] for folder in rest if len(folder) > at}))
    prefix = next(iter(rest), ())[:at]
    inner = {name: _inner({f[at + 1 :] for f in rest if f[at : at + 1] == (name,)}) for name in here}
    own = {name: found for name in here if not splits and (found := _only_splits({f[0] for f in inner[name][1] if f}))}
    sides, problem = {folder[:above] for folder in rest if folder and splits}, ""
    if own and len(own) == len(here) and all(len(f) == 1 for name in own for f in inner[name][1]):
        splits, above = {name: role for found in own.values() for name, role in found.items()}, at + 1
    elif own and len(here) - len(own) < 2:
        sides = {(*prefix, name) for name in here}
    else:
        passed |= {(*prefix, n): (why, "/".join((*prefix, n))) for n, why in _strays(here, inner, own).items()}
    left = [name for name in here if (*prefix, name) not in passed and here[name] != "part"]
    plain = Counter(role for name, role in splits.items() if not re.search(r"\d", name))
    if level:
        passed, at = {key: why for key, why in passed.items() if why[0] == "beside"}, level - 1
        splits = {} if above == at else splits
    elif len(sides) > 1:
        places = sorted(map("/".join, sides))
        problem = f"{root} holds {len(places)} data sets side by side ({examples(places)}): open one, "
        problem += _calls(root, places)
    elif twice := [name for name, role in splits.items() if plain[role] > 1]:
        problem = f"{root}: {' and '.join(twice)} are both the {splits[twice[0]]} split: merge them"
    elif passed and splits and (missing := {"train", "test"} - {*splits.values()}):
        problem = f"{root} has {' and '.join(sorted({*splits.values()}))} but no {min(missing)!r} split: add it, or "
        problem += "open one folder alone, "
        problem += _calls(root, sorted({"/".join(folder[: above + 1]) for folder in holding if folder[above:]}))
    elif not left and here:
        problem = f"{root}: {examples(here)} are parts of a set by their names, not classes: a table that lists the "
        problem += f"images is needed, or open_data({str(root)!r}, label={at + 1}) takes them as classes"
    elif above <= at:
        problem = _two_readings(root, {name: inner[name] for name in left}, at, [(*prefix, name) for name in here])

    def meaning(folder: Folder) -> Meaning:
        split = splits.get(folder[above], "") if 0 <= above < len(folder) else ""
        label = folder[at] if len(folder) > at and (level or here.get(folder[at]) != "part") else ""
        for length in range(1, len(folder) + 1):
            if reason := passed.get(folder[:length]):
                return split, label, *reason
            if length <= at + 1 and folder[:length] not in holding:
                return split, label, "empty", "/".join(folder[:length])
        return split, label, "", ""

    return {folder: meaning(parts) for folder, parts in every.items()}, problem


def _descended(folders: set[Folder]) -> tuple[set[Folder], int, int, dict[str, str]]:
    """Down to where folders may be classes: those that are not beside splits, this level, that of splits, and these."""
    splits, at, above = dict[str, str](), 0, -1
    while here := names.roles(sorted({folder[at] for folder in folders if len(folder) > at})):
        if not splits and (splits := _only_splits(here)):
            folders, above = {folder for folder in folders if len(folder) <= at or folder[at] in splits}, at
        elif not all(len(folder) > at + 1 for folder in folders) or (len(here) > 1 and {*here.values()} != {"part"}):
            break
        at += 1
    return folders, at, above, splits


def _only_splits(folders: Iterable[str]) -> dict[str, str]:
    """Those of folders side by side that are splits, and which ones."""
    return {name: role for name, role in names.roles(folders).items() if role in SPLITS}


def _inner(folders: set[Folder]) -> tuple[int, set[Folder]]:
    """The folders inside a folder, without levels that hold one folder, or parts, only; and how many these are."""
    depth = 0
    while folders and all(folders):
        tops = names.roles({folder[0] for folder in folders})
        if {*tops.values()} & {*SPLITS} or (len(tops) > 1 and {*tops.values()} != {"part"}):
            break
        folders, depth = {folder[1:] for folder in folders}, depth + 1
    return depth, folders


def _strays(here: Mapping[str, str], inner: Mapping[str, Inner], own: Iterable[str]) -> dict[str, str]:
    """Folders beside classes that are none: predictions, a set of its own, the whole set once more."""
    strays = [name for name, role in here.items() if role == "stray" and len(here) > 2]
    below = {name: {folder[0].casefold() for folder in inner[name][1] if folder} - {name.casefold()} for name in here}
    again = [name for name in here if len(below[name] & {*map(str.casefold, here)}) > 1]
    return {name: "stray" for name in strays} | {name: "set" for name in (*own, *again)}


def _calls(root: Path, places: Iterable[str]) -> str:
    return " or ".join(f"open_data({str(root / place)!r})" for place in [*places][:4])


def _two_readings(root: Path, inner: Mapping[str, Inner], at: int, sides: list[Folder]) -> str:
    """Why folders in folders may be classes or hold them; "" when they are named by numbers, as patients are."""
    below = {name: sorted({folder[0] for folder in folders if folder}) for name, (_, folders) in inner.items()}
    counts = Counter(name for names_inside in below.values() for name in names_inside)
    holding = [name for name in inner if len(below[name]) > 1]  # folders, not images
    if len(inner) < 2 or not holding or any(() in inner[name][1] for name in holding):
        return ""
    if max(counts.values()) == 1 and all(re.search(r"\d", name) for name in counts):
        return ""
    call, lower = f"open_data({str(root)!r}, label=", at + 2 + max(depth for depth, _ in inner.values())
    return (
        f"{root} can be read in two ways: the classes are {examples(inner)} ({call}{at + 1})), or the folders inside "
        f"them, {examples(sorted(counts))} ({call}{lower})). Or open one alone, {_calls(root, map('/'.join, sides))}"
    )


def _placed(files: pd.DataFrame, meanings: Mapping[str, Meaning]) -> pd.DataFrame:
    """Images, tables and what is passed over, with what their folders and names say: split, label, reason, group."""
    import pandas as pd

    rows = [meanings[folder] for folder in files["folder"]]
    files = files.join(pd.DataFrame(rows, files.index, ["split", "label", "reason", "group"], dtype=object))
    is_mask = files["partner"].notna()
    other = ~files["kind"].isin(("image", "table", ""))
    archive = other & files["file"].str.lower().str.endswith(ARCHIVES)
    in_masks = files["folder"].map(lambda folder: any(map(names.is_mask_folder, folder.split("/")))).astype(bool)
    unread = other & (files["label"] != "") & (files["reason"] == "") & ~in_masks
    unread |= other & ("image" not in {*files["kind"]})
    for rows, reason, group in (
        (is_mask, "mask", files["partner"]),
        (unread, "kind", files["kind"]),
        (archive, "archive", files["kind"]),
    ):
        files.loc[rows, "reason"] = reason
        files.loc[rows, "group"] = group[rows]
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
    if not {"train", "test"} <= {*files["split"][shown & (labels != "")]}:
        files["split"] = ""
    return True


def _tables(
    root: Path, files: pd.DataFrame, card: Card | None, label: str | int | None, problem: str
) -> tuple[list[Path], dict[Path, set[str]], list[str]]:
    """The tables that say what the images are, lists of names alone with these, and notes on others that list them."""
    if card and card.manifest:
        if not (root / card.manifest).is_file():
            raise ValueError(f"{card.path}: manifest: {card.manifest} is not in {root}")
        return [root / card.manifest], {}, []
    images, masks = _for_tables(files)
    usable: dict[Path, set[str]] = {}
    lists: dict[Path, set[str]] = {}
    notes: list[str] = []
    unread: list[str] = []
    by_name_only = isinstance(label, int) or (card and card.layout != "manifest")
    tables = [Path(file) for file in files["file"][files["kind"] == "table"]]
    for path in [root / file for file in sorted(tables, key=lambda file: (len(file.parts), file))][:LOOKED_AT]:
        if by_name_only and path.name not in MANIFESTS:
            continue
        try:
            raw = manifests.read_table(path)
        except ValueError as error:
            told = unread if path.suffix.lower() in (".json", ".jsonl") or not path.stat().st_size else notes
            told.append(f"{error}; whether it lists the images is not known")
            continue
        find = manifests.finder(_of_split(images, path)["file"], root, masks)
        columns = manifests.image_columns(raw, find, path.parent)
        listed = [file for value in raw[columns[0]] for file in find(value, path.parent)[:1]] if columns else []
        if raw.shape[1] == 1 and 2 * len(listed) >= len(raw):
            lists[path] = {*listed, *find(raw.columns[0], path.parent)[:1]}  # a list without a header
        if not listed or 2 * len(listed) < min(len(raw), len(images)) or raw.shape[1] < 2:
            continue
        usual = manifests.usual_columns(raw)
        known = path.name in MANIFESTS and bool(usual["split"] + usual["patient"])  # of images in class folders
        if not isinstance(label, int):
            known = known or (label in raw if label else bool(usual["label"] or manifests.findings(raw)))
        if re.search("submission|prediction", path.stem.lower()):
            notes.append(f"{path} is a table of answers by its name, not of labels: it is not used")
        elif known:
            usable[path] = {*listed}
        elif not isinstance(label, int):
            notes.append(manifests.no_labels(path, raw, root))
    several = [path for path in usable if any(usable[path] & usable[other] for other in usable if other != path)]
    if several:
        calls = " or ".join(f"open_data({str(path)!r})" for path in several)
        text = f"{root}: {examples(path.name for path in several)} list the same images: pass the one to use, {calls}"
        raise ValueError(text)
    classes = {*images["label"][images["reason"] == ""]} - {""}
    if not usable and (told := notes + unread) and (problem or len(classes) < 2):
        raise ValueError(f"{problem or f'{root} holds no two class folders'}. {'. '.join(told)}")
    return [*usable], lists, notes


def _for_tables(files: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    """The images that a table may list, and those of them that are masks."""
    images = files[(files["kind"] == "image") & (files["reason"] != "beside")]
    return images, {*images["file"][images["reason"] == "mask"]}


def _splits_named(table: Path) -> set[str]:
    return {names.SPLIT_NAMES[word] for word in names.words(table.stem) if word in names.SPLIT_NAMES}


def _split_named(table: Path) -> str:
    """The split that a table's name tells, where it tells one, as train.csv and train_val.txt do; else ""."""
    splits = _splits_named(table)
    return max(splits, key=("val", "test", "train").index) if splits and len(splits - {"val"}) <= 1 else ""


def _of_split(images: pd.DataFrame, table: Path) -> pd.DataFrame:
    """The images of the split that a table's name tells, where it tells one; else all."""
    splits = _splits_named(table)
    own = images[images["split"].isin(splits)]
    return own if len(splits) == 1 and len(own) else images


def _split_by_lists(files: pd.DataFrame, lists: Mapping[Path, set[str]]) -> list[str]:
    """Take the splits from lists of names such as train.txt and test.txt, if these have all images; else a note."""
    images = (files["kind"] == "image") & (files["reason"] == "")
    splits: dict[str, str] = {}
    for path in sorted(filter(_split_named, lists), key=lambda path: -len(_splits_named(path))):  # train_val, then val
        splits |= dict.fromkeys(lists[path], _split_named(path))
    if files["split"][images].any() or not {"train", "test"} <= {*splits.values()}:
        return []
    listed = files["file"][images].isin(splits)
    if not listed.all():
        told = examples(path.name for path in lists)
        return [f"{told} list {listed.sum()} of {len(listed)} images: they are not used, and the split is made here"]
    files.loc[images, "split"] = files["file"][images].map(splits)
    return []


def _by_tables(
    root: Path, tables: list[Path], files: pd.DataFrame, card: Card | None, label: str | int | None, alone: bool
) -> tuple[pd.DataFrame, list[str], dict[str, object]]:
    """The files with what tables say of them, notes, and what a card says to read them again."""
    import pandas as pd

    images, masks = _for_tables(files)
    columns: dict[str, str] = {str(role): name for role, name in (card.columns or {}).items()} if card else {}
    columns |= {"label": label} if isinstance(label, str) else {}
    listed = [(path, _of_split(images, path)["file"]) for path in tables]
    parts = [manifests.read_entries(path, own, columns, root, masks) for path, own in listed]
    if all(map(_split_named, tables)):
        for path, (part, _) in zip(tables, parts, strict=True):
            part["split"] = part["split"].where(part["split"] != "", _split_named(path))
    entries, notes = pd.concat([part for part, _ in parts], ignore_index=True), [note for _, m in parts for note in m]
    recipe: dict[str, object] = {}
    if not isinstance(label, int) and entries["label"].any() and len(tables) == 1:
        recipe = {"layout": "manifest", "manifest": os.path.relpath(tables[0], root)}
        recipe |= {"columns": columns} if columns else {}
    if card:
        entries["label"] = entries["label"].replace(_class_folders(card))
    elif entries["label"].any():
        manifests.check_labels(entries, tables[0])
    folders = images.drop(columns="patient")
    table = entries.merge(folders, on="file", suffixes=("", "_folder")).assign(reason="")
    by_folder = table["label_folder"]
    for_folders = card or alone or tables[0].name in MANIFESTS
    if isinstance(label, int) or (for_folders and not table["label"].any() and by_folder.nunique() > 1):
        table["label"] = by_folder
    if not table["label"].any():
        raise ValueError(manifests.no_labels(tables[0], manifests.read_table(tables[0]), tables[0]))
    if _number_the_folders(table["label"], by_folder):
        table["label"] = by_folder
    differ = table["file"][table["label"].str.lower() != by_folder.str.lower()]
    classes = {*images["label"][images["reason"] == ""]} - {""}
    if for_folders and not alone:
        own, folder = table["split"], table["split_folder"]
        _require_agreement(tables[0], "split", table["file"][(own != folder) & (own != "") & (folder != "")])
    if not (card or alone) and len(differ) and len(classes) > 1:
        if {*table["label"].str.lower()} == {*map(str.lower, classes)}:
            _require_agreement(tables[0], "label", differ)
        text = f"{tables[0]} lists these images: the labels are its own, not the folders"
        notes.append(f"{text} {examples(sorted(classes))}")
    given = table["split"].where(table["split"] != "", table["split_folder"])
    published = [splits for splits in (given, table["split_folder"]) if {"train", "test"} <= {*splits}]
    if not published and given.any():
        notes.append(f"{tables[0]}: only {' and '.join(sorted({*given} - {''}))} has labels, so the split is made here")
    table["split"] = published[0] if published else ""
    table = table[table["label"] != ""]
    used = files["file"].isin(table["file"]) | files["file"].isin(os.path.relpath(path, root) for path in tables)
    rest = files[~used]
    more = (rest["kind"] == "image") & rest["reason"].isin(("", *(["folder"] if recipe else [])))
    rest = rest.assign(reason=rest["reason"].mask(more, "unlisted"), group=rest["group"].mask(more, rest["folder"]))
    return pd.concat([table[[*files]], rest], ignore_index=True), notes, recipe


def _number_the_folders(labels: pd.Series, folders: pd.Series) -> bool:
    """Whether labels are numbers, one for each of several folders, whose names say more."""
    both = len({*zip(labels, folders, strict=True)})
    return labels.str.isdecimal().all() and folders.ne("").all() and both == labels.nunique() == folders.nunique() > 1


def _require_agreement(path: Path, what: str, differ: pd.Series) -> None:
    if len(differ):
        raise ValueError(
            f"{path} and the folders disagree on the {what} of {len(differ)} images: {examples(differ)}. Move the "
            f"files or correct the table; or open_data({str(path)!r}) goes by the table alone"
        )


def _checked(
    files: pd.DataFrame, root: Path, card: Card | None, problem: str
) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """The images with their labels, the files that are left out, and the classes; refused if it is no data set."""
    is_image = (files["kind"] == "image") & (files["reason"] == "")
    if card and (other := is_image & ~files["label"].isin(card.classes)).any():
        files = files.assign(
            reason=files["reason"].mask(other, "label"), group=files["group"].mask(other, files["label"])
        )
        is_image &= ~other
    table = files[is_image]
    left_out = files[(files["reason"] != "") & ((files["kind"] != "table") | (files["reason"] == "empty"))]
    hint = _hint(root, files, table)
    hint += "".join(f" {text[0].upper()}{text[1:]}." for text in explained(left_out).values())
    if problem:
        raise ValueError(f"{problem}.{hint}")
    bare = table["file"][table["label"] == ""]
    if len(bare) == len(table):
        kinds = ", ".join(ENDINGS)
        raise ValueError(f"{root} holds no class folder with images ({kinds}): make one folder per class.{hint}")
    if len(bare):
        text = f"{root}: {examples(bare)} lie in no class folder: move them into one, or delete them"
        tops = {*table["file"][table["label"] != ""].str.partition("/")[0]}
        if len(tops) == 1 and not tops & {*bare.str.partition("/")[0]}:
            text += f". Or open_data({str(root / min(tops))!r}) opens the others alone"
        raise ValueError(f"{text}.{hint}")
    classes = tuple(card.classes) if card else _in_order({*table["label"]}, root)
    if len(classes) < 2:
        raise ValueError(f"{root} holds one class, {classes[0]!r}: a classifier needs at least 2.{hint}")
    given = {*table["split"]}
    if "" in given and len(given) > 1:
        unknown = table["file"][table["split"] == ""]
        raise ValueError(f"{root}: {len(unknown)} images have no split, others do: {examples(unknown)}. Give each one")
    if "" not in given and (missing := {"train", "test"} - given):
        has = " and ".join(sorted(given))
        places = sorted({file.partition("/")[0] for file in table["file"]})
        alone = f", or open one folder alone, {_calls(root, places)}" if len(places) > 1 else ", or undo the split"
        raise ValueError(f"{root} has {has} but no {min(missing)!r} split: add it{alone}")
    least = {"": 3, "train": 1 if "val" in given else 2, "val": 1, "test": 1}
    counts = Counter(zip(table["split"], table["label"], strict=True))
    for split, name in product(sorted(given), classes):
        if counts[split, name] < least[split]:
            raise ValueError(
                f"{root}: {split or root.name} holds {counts[split, name]} images of class {name!r}, at least "
                f"{least[split]} are needed ({', '.join(ENDINGS)}): add some, or remove the class everywhere.{hint}"
            )
    return table, left_out[["file", "reason", "group"]].reset_index(drop=True), classes


def _in_order(labels: set[str], root: Path) -> tuple[str, ...]:
    """Class names in order of the alphabet, or of the numbers that they are."""
    counts = Counter(map(str.casefold, labels))
    if alike := sorted(repr(name) for name in labels if counts[name.casefold()] > 1):
        raise ValueError(f"{root}: classes {' and '.join(alike)} differ in case only: write them the same everywhere")
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


def _with_frames(table: pd.DataFrame, root: Path, which: str) -> pd.DataFrame:
    """The table with the number of a frame in each row: one row per file, or one per frame."""

    def numbers(file: str) -> list[int]:
        count = images.frames(root / file) if images.suffix_of(file) in SEVERAL else 1
        return [*range(count)] if which == "all" else [count // 2]

    table = table.assign(frame=table["file"].map(numbers))
    table = table.explode("frame", ignore_index=True).astype({"frame": int})
    alone = ~table.duplicated("file", keep=False) | table["file"].map(images.suffix_of).isin(("", *images.DICOM))
    return table.assign(patient=table["patient"].where(alone | (table["patient"] != ""), table["file"]))
