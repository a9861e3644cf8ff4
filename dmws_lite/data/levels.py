"""What folders are: by a card, or by their names, which say at which level the splits are and at which the classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dmws_lite.data import names
from dmws_lite.data.cards import Card
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.text import examples

Folder = tuple[str, ...]  # the parts of its path


class Meaning(NamedTuple):
    """What a folder says of the files in it: their split and label, and why they are passed over, if they are.

    group: what is counted where the reason is told, such as the folder that holds predictions.
    """

    split: str = ""
    label: str = ""
    reason: str = ""  # see `folders.REASONS`
    group: str = ""


class Levels(NamedTuple):
    """Where folders tell split and label; levels are counted from 0 at the top.

    folders: those with images, but for those beside the splits.
    splits:  folders at `split_level` (-1 where there are none), and which split each is.
    roles:   folders at `label_level`, and what each is by its name: see `names.roles`.
    inner:   what is in each of these (see `_enter`); own_splits: those with splits, if there are none above, and which.
    """

    folders: set[Folder]
    splits: dict[str, str]
    split_level: int
    roles: dict[str, str]
    label_level: int
    inner: dict[str, tuple[set[Folder], int]]
    own_splits: dict[str, dict[str, str]]

    @property
    def label_folders(self) -> set[Folder]:
        return {folder[: self.label_level + 1] for folder in self.folders if len(folder) > self.label_level}

    @property
    def sets(self) -> set[Folder]:
        """Folders that hold a data set each: they have splits of their own, and are no classes of one set."""
        if self.splits:
            return {folder[: self.split_level] for folder in self.folders if self.split_level < self.label_level}
        return self.label_folders if self.own_splits and len(self.own_splits) >= len(self.roles) - 1 else set()


def read_card_folders(files: pd.DataFrame, card: Card) -> dict[str, Meaning]:
    """What each folder of `files` is by what a card names: class folders, at the top or inside those of splits."""
    tops = names.roles({folder.partition("/")[0] for folder in files["folder"]} - {""})
    splits = _only_splits(tops) if card.layout in (None, "splits") else {}
    return {folder: _card_meaning(folder, splits, card.class_folders) for folder in {*files["folder"]}}


def _card_meaning(folder: str, splits: Mapping[str, str], classes: Mapping[str, str]) -> Meaning:
    top, _, below = folder.partition("/")
    if splits and folder and top not in splits:
        return Meaning(reason="beside", group=top)
    parts = (below if splits else folder).split("/")
    while len(parts) > 1 and parts[0] not in classes and names.roles(parts[:1])[parts[0]] == "part":
        parts = parts[1:]
    rests = {"/".join(parts[:k]): parts[k:] for k in range(1, len(parts) + 1)}  # of the path, below each folder on it
    class_folder = next((start for start in rests if start in classes), "")
    split, label = splits.get(top, ""), classes.get(class_folder, "")
    if names.is_in_masks("/".join(rests.get(class_folder, parts))):
        return Meaning(split, label, "mask")
    return Meaning(split, label, "" if label else "folder", folder or "the folder itself")


def read_levels(root: Path, files: pd.DataFrame, level: int) -> tuple[dict[str, Meaning], str]:
    """What each folder of `files` is by its name and place, and why the folders cannot be read ("" where they can).

    level: of the folders that are the classes, 1 for the upper one; 0 for it to be found.
    """
    paths = {folder: tuple(filter(None, folder.split("/"))) for folder in files["folder"]}
    content = ~files["kind"].isin(("", "table")) & files["partner"].isna()
    with_images = {paths[folder] for folder in files["folder"][content]}
    holding = {folder[:k] for folder in with_images for k in range(len(folder) + 1)}  # images, or folders with images
    levels = _find_levels(with_images)
    passed: dict[Folder, tuple[str, str]] = {}  # folders that are passed over: reason and group
    if 0 <= levels.split_level < levels.label_level:
        tops = {folder[: levels.split_level + 1] for folder in holding if len(folder) > levels.split_level}
        passed = {top: ("beside", top[-1]) for top in tops if top[-1] not in levels.splits}
    if level:
        if levels.split_level == level - 1:  # what look like splits are classes, with those beside them
            levels, passed = levels._replace(folders=with_images, splits={}), {}
        levels, problem = levels._replace(label_level=level - 1, roles={}), ""
    else:
        strays = _find_strays(levels)
        passed |= {f: (strays[f[-1]], "/".join(f)) for f in levels.label_folders if f[-1] in strays}
        problem = _find_problem(root, levels, passed, holding)
    return {folder: _level_meaning(path, levels, passed, holding) for folder, path in paths.items()}, problem


def _level_meaning(
    folder: Folder, levels: Levels, passed: Mapping[Folder, tuple[str, str]], holding: set[Folder]
) -> Meaning:
    split = levels.splits.get(_part(folder, levels.split_level), "")
    name = _part(folder, levels.label_level)
    label = "" if levels.roles.get(name) == "part" else name
    for length in range(1, len(folder) + 1):
        upper = folder[:length]
        if upper in passed:
            return Meaning(split, label, *passed[upper])
        if length <= levels.label_level + 1 and upper not in holding:
            return Meaning(split, label, "empty", "/".join(upper))
    return Meaning(split, label)


def _part(folder: Folder, level: int) -> str:
    """The name of a folder's path at a level; "" where it has none."""
    return folder[level] if 0 <= level < len(folder) else ""


def _find_levels(folders: set[Folder]) -> Levels:
    """Go down to where folders may be classes: below splits, and below levels of parts, or of one folder, only."""
    splits, split_level, level = dict[str, str](), -1, 0
    while roles := names.roles(sorted({folder[level] for folder in folders if len(folder) > level})):
        if not splits and (splits := _only_splits(roles)):
            folders = {folder for folder in folders if len(folder) <= level or folder[level] in splits}
            split_level = level
        elif any(len(folder) <= level + 1 for folder in folders) or not _is_passage(roles):
            break
        level += 1
    roles = dict.fromkeys(roles, "part") if {*roles.values()} <= {"part", *SPLITS} else roles  # no class by its name
    inner = {name: _enter({f[level + 1 :] for f in folders if _part(f, level) == name}) for name in roles}
    own = {name: _only_splits(names.roles({f[0] for f in inside if f})) for name, (inside, _) in inner.items()}
    own_splits = {} if splits else {name: found for name, found in own.items() if found}
    only_splits = all(len(folder) == 1 for inside, _ in inner.values() for folder in inside)
    if own_splits and len(own_splits) == len(inner) and only_splits:  # the splits lie inside the classes
        splits = {name: role for found in own_splits.values() for name, role in found.items()}
        split_level = level + 1 + max(depth for _, depth in inner.values())
        own_splits = {}
    return Levels(folders, splits, split_level, roles, level, inner, own_splits)


def _is_passage(roles: Mapping[str, str]) -> bool:
    """Whether folders side by side cannot be classes: there is one only, or all are parts or splits by their names."""
    return len(roles) == 1 or {*roles.values()} <= {"part", *SPLITS}


def _only_splits(roles: Mapping[str, str]) -> dict[str, str]:
    return {name: role for name, role in roles.items() if role in SPLITS}


def _enter(folders: set[Folder]) -> tuple[set[Folder], int]:
    """What lies inside a folder, below levels of parts or of one folder only, and how many; folders: paths in it."""
    depth = 0
    while folders and all(folders):
        roles = names.roles({folder[0] for folder in folders})
        if _only_splits(roles) or not _is_passage(roles):
            break
        folders, depth = {folder[1:] for folder in folders}, depth + 1
    return folders, depth


def _find_strays(levels: Levels) -> dict[str, str]:
    """Folders beside classes that are none, and why: predictions, a set of its own, the whole set once more."""
    if levels.split_level > levels.label_level or (levels.sets and not levels.splits):
        return {}
    siblings = {*map(str.casefold, levels.roles)}
    strays = dict.fromkeys(levels.own_splits, "set")
    for name, role in levels.roles.items():
        inside = {folder[0].casefold() for folder in levels.inner[name][0] if folder}
        if len((inside - {name.casefold()}) & siblings) > 1:
            strays[name] = "set"
        elif role == "stray" and len(levels.roles) > 2:
            strays.setdefault(name, "stray")
    return strays


def _find_problem(root: Path, levels: Levels, passed: Iterable[Folder], holding: set[Folder]) -> str:
    """Why folders cannot be read as they lie, and the way out; "" where they can."""
    if len(levels.sets) > 1:
        places = sorted(map("/".join, levels.sets))
        text = f"{root} holds {len(places)} data sets side by side ({examples(places)}): open one"
        return f"{text}, {suggest_calls(root, places)}"
    splits, level = levels.splits, levels.label_level
    unnumbered = Counter(role for name, role in splits.items() if not re.search(r"\d", name))
    twice = [name for name, role in splits.items() if unnumbered[role] > 1]
    if twice:
        return f"{root}: {' and '.join(twice)} are both the {splits[twice[0]]} split: merge them"
    missing = {"train", "test"} - {*splits.values()}
    if passed and splits and missing:
        tops = {folder[: levels.split_level + 1] for folder in holding if len(folder) > levels.split_level}
        text = f"{root} has {' and '.join(sorted({*splits.values()}))} but no {min(missing)!r} split: add it, or open "
        text += f"one folder alone, {suggest_calls(root, sorted(map('/'.join, tops)))}"
        return f"{text}, or open_data({str(root)!r}, label={levels.split_level + 1}) takes them as classes"
    strays = {folder[level] for folder in passed if len(folder) == level + 1}
    classes = [name for name, role in levels.roles.items() if role != "part" and name not in strays]
    as_classes = f", or open_data({str(root)!r}, label={level + 1}) takes them as classes" * (len(levels.roles) > 1)
    words = {name: {*names.words(name)} for name in classes}
    rests = {frozenset(own - {*names.SPLIT_NAMES}) for own in words.values() if own & {*names.SPLIT_NAMES}}
    inside = Counter(folder[:-1] for folder in levels.label_folders)
    if levels.roles and (not classes or _are_shards(levels, classes)):
        what = "are parts of a set by their names, not classes: a table that lists the images is needed"
    elif splits and levels.split_level > level:
        return ""
    elif text := _describe_readings(root, levels, classes):
        return text
    elif names.are_patients({upper[-1] for upper in inside if upper}) and max(inside.values()) > 1:
        what = "are there for the same patient, so they may be kinds of images: a table of classes is needed"
    elif text := _describe_numbered(root, classes):
        return f"{text}{as_classes}"
    elif 0 < len(rests) < len(classes) == sum(bool(own & {*names.SPLIT_NAMES}) for own in words.values()):
        what = "name a split and a class at once: make folders train and test with the classes inside"
    elif len(classes) > 1 and all(own & {"set", "dataset"} for own in words.values()):
        places = ["/".join(folder) for folder in sorted(levels.label_folders) if folder[-1] in classes]
        what = f"are data sets by their names: open one, {suggest_calls(root, places)}"
    else:
        return ""
    return f"{root}: {examples(classes or levels.roles)} {what}{as_classes}"


def _describe_numbered(root: Path, classes: Collection[str]) -> str:
    """Why folders may be patients of several classes: AMD1, AMD2, ..., NORMAL1, ...; "" where they are not so named."""
    kinds = Counter(re.sub(r"[ _-]*\(?\d+\)?$", "", name) for name in classes)
    if len(kinds) < 2 or min(kinds.values()) < names.LEAST or "" in kinds:
        return ""
    pattern = rf"(?:^|/)({'|'.join(map(re.escape, sorted(kinds)))})[ _-]*\(?\d+\)?/"
    text = f"{root}: {examples(classes)} are numbered, as patients of {examples(sorted(kinds))} are:"
    return f"{text} open_data({str(root)!r}, label={pattern!r}) takes these as classes"


def _are_shards(levels: Levels, classes: Collection[str]) -> bool:
    """Whether folders are numbers that begin the numbers of those inside them, as p10 does p10000032."""
    level = levels.label_level
    pairs = [(name, _part(folder, level + 1)) for folder in levels.folders if (name := _part(folder, level)) in classes]
    return all(re.search(r"\d", name) and re.fullmatch(rf"{re.escape(name)}\d{{4,}}", inner) for name, inner in pairs)


def _describe_readings(root: Path, levels: Levels, classes: list[str]) -> str:
    """Why folders in folders may be classes or hold them; "" when they are named by numbers, as patients are."""
    inner, level = {name: levels.inner[name] for name in classes}, levels.label_level
    below = {name: {folder[0] for folder in inside if folder} for name, (inside, _) in inner.items()}
    counts = Counter(name for inside in below.values() for name in inside)
    several = [name for name in classes if len(below[name]) > 1]
    if len(classes) < 2 or not several or any(() in inner[name][0] for name in several):
        return ""
    if max(counts.values()) == 1 and all(re.search(r"\d", name) for name in counts):
        return ""
    one_each = {folder[-1]: folder for folder in sorted(levels.label_folders, reverse=True)}  # of several splits
    paths, call = [folder for folder in levels.folders if _part(folder, level) in classes], f"open_data({str(root)!r}, "
    lower = level + 1 + max(depth for _, depth in inner.values())
    kinds = {k: sorted({folder[k] for folder in paths if len(folder) > k}) for k in range(lower, max(map(len, paths)))}
    readings = [
        f"{examples(found)} ({call}label={k + 1}))"
        for k, found in kinds.items()
        if (k == lower and found) or (found[1:] and not all(re.search(r"\d", name) for name in found))
    ]
    if not readings:
        return ""
    return (
        f"{root} can be read in two ways: the classes are {examples(classes)} ({call}label={level + 1})), or the "
        f"folders inside them, {' or '.join(readings)}. Or open one alone, "
        f"{suggest_calls(root, ('/'.join(one_each[name]) for name in several))}"
    )


def suggest_calls(root: Path, places: Iterable[str]) -> str:
    return " or ".join(f"open_data({str(root / place)!r})" for place in [*places][:4])
