"""What the names of folders and files say: splits, parts, masks, and what may be patients."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from posixpath import basename, dirname

import numpy as np
from PIL import Image

from dmws_lite.data.images import FORMATS, suffix_of

SPLIT_NAMES = {
    **{"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "validate": "val"},
    **{"dev": "val", "test": "test", "testing": "test", "evaluation": "test"},
}
PICTURES = {"image", "img", "picture", "photo", "png", "jpg", "jpeg", "tif", "tiff"}  # words without a plural's s
FILLERS = PICTURES | {"bmp", "dicom", "dcm", "nifti", "data", "dataset", "set", "input", "file"}
PARTS = {"part", "fold", "batch", "chunk", "shard", "base", "subset", "volume", "vol"}
PART = re.compile(
    r"(part|fold|batch|chunk|shard|subset|study|series|session|visit)[ _-]*\d+$"
    r"|^\d+\.0{6}-.*\d$|^\d\d-\d\d-\d{4}-.*\d$",  # a series and a study of The Cancer Imaging Archive
    re.I,
)
STRAYS = {"pred", "predicted", "prediction", "output", "result", "unlabeled", "unlabelled"}
MASKS = {"mask", "segmentation", "annotation", "label", "groundtruth", "gt", "truth", "overlay", "contour", "heatmap"}
MASK_WORDS = (
    "masks?|seg|segmentations?|segmented|annotations?|annotated|labels?|ground[ _-]?truth|gt|overlays?|contours?|roi"
)
MASK_END = re.compile(rf"(.+?)([ _.-]*)({MASK_WORDS})[ _.-]*\d*", re.I)
MASK = re.compile(rf"({MASK_WORDS})[ _.-]*\d*", re.I)
SEGMENTATION = re.compile(r"(.+?)[ _.-]+(seg|segmentation|ground[ _-]?truth|gt)", re.I)
MASK_START = re.compile(rf"({MASK_WORDS})[ _.-]+(.+)", re.I)
NEARLY, SAMPLE = 0.97, 8  # share of a mask's pixels with its few values; files of a kind that are looked at: our choice
SUBJECT = r"(?i:(patient|person|subject|subj|sub|pat|case|participant|volunteer))[ _-]*\d+"
IDENTIFIER = r"[^\W\d_].*\d{3}|\d{5}|[0-9a-f]{16}|\d{4}-\d\d-\d\d"  # of a person, a study or a series
NUMBER = r"(?!(19|20)\d\d$)\d{3,}"  # of a person, not a year
LEAST = 4  # groups of images, or folders, from which they may be patients
MOST_CLASSES = 20  # that names of files may tell


def words(name: str) -> list[str]:
    """The words and numbers of a name, in lower case and without a plural's s: "leftMasks_2" holds left, mask and 2."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+", name)
    return [part.lower().removesuffix("s") for part in parts]


def roles(names: Iterable[str]) -> dict[str, str]:
    """What folders side by side are: "train", "val", "test", "part" (also a patient), "stray" (predictions), or ""."""
    words_of = {name: {word for word in words(name) if len(word) > 1 and not word.isdigit()} for name in names}
    if are_patients(words_of):
        return dict.fromkeys(words_of, "part")
    common = set.intersection(*words_of.values()) - PARTS - {*SPLIT_NAMES} if len(words_of) > 1 else set()
    roles = {name: "part" if PART.search(name) else "" for name in words_of}
    roles |= {name: role for name, own_words in words_of.items() if (role := _role(own_words, common))}
    tests = {name for name, role in roles.items() if role == "test"}
    evaluated = {name for name in tests if "evaluation" in words_of[name]}  # beside a test split it is val
    return roles | dict.fromkeys(evaluated if tests - evaluated else (), "val")


def are_patients(names: Collection[str]) -> bool:
    """Whether folders side by side are people, studies or series by their names."""
    rests = {re.sub(r"[0-9a-f]{16,}|[\d._-]+", "", name) for name in names}
    numbered = len(rests) == 1 and not {*words(min(rests))} & (FILLERS | PARTS)
    told = all(re.match(SUBJECT, name) or (numbered and re.search(IDENTIFIER, name)) for name in names)
    return len(names) >= LEAST and told


def _role(own_words: set[str], common: set[str]) -> str:
    """What a folder is, by the words of its name and those that it shares with all folders beside it."""
    telling = own_words - common - FILLERS - PARTS - {"and", "stage"}
    splits = {SPLIT_NAMES.get(word, "") for word in telling}
    if telling and "" not in splits and len(splits - {"val"}) <= 1:
        return max(splits, key=("val", "test", "train").index)
    special = own_words - common
    if special <= PARTS | FILLERS and (special or own_words & (PARTS | FILLERS)):
        return "part"
    return "stray" if telling and telling <= STRAYS else ""


def is_mask_folder(name: str) -> bool:
    """Whether a folder's name says that it holds masks or overlays."""
    parts = words(name)
    while parts and parts[-1] in PICTURES:
        parts.pop()
    return bool(parts) and parts[-1] in MASKS and not {"with", "without", "no"} & {*parts}


def is_in_masks(folder: str) -> bool:
    """Whether a folder, or one above it on its path, holds masks or overlays by its name."""
    return any(map(is_mask_folder, folder.split("/")))


def find_masks(files: Sequence[str], root: Path) -> dict[str, str]:
    """The files that are masks or overlays, and the image that each belongs to ("" if none is seen).

    By the names of folders and files first; then files named like another image, with a suffix or in another folder,
    are looked at: as masks count those of a suffix (a folder) that have few values, while the others have many.
    """
    stems: dict[str, list[str]] = defaultdict(list)
    kinds: dict[str, list[str]] = defaultdict(list)  # files that differ in the last word: `case7_t1`, `case7_seg`
    for file in files:
        kinds[dirname(file)].append(file)  # in a folder of their own: `image`, `mask`
        stems[_stem(file)].append(file)
        kinds[f"{dirname(file)}/{re.sub(r'[ _.-]+[^ _.-]+$', '', _stem(file))}"].append(file)
    masks = _masks_by_name(files, stems, kinds)
    masks |= _masks_by_look([file for file in files if file not in masks], stems, {*masks}, root)
    return {file: "" if image in masks else image for file, image in masks.items()}


def _masks_by_name(
    files: Sequence[str], stems: Mapping[str, list[str]], kinds: Mapping[str, list[str]]
) -> dict[str, str]:
    in_masks = {folder: is_in_masks(folder) for folder in {*map(dirname, files)}}
    masks: dict[str, str] = {}
    for file in files:
        certain, bases = _parse_mask_name(_stem(file), in_masks[dirname(file)])
        images = next((stems[base] for base in bases if base in stems), [])
        end = SEGMENTATION.fullmatch(_stem(file))
        if end and not images:
            same_case = kinds[f"{dirname(file)}/{end[1]}"]
            images = [other for other in same_case if not SEGMENTATION.fullmatch(_stem(other))]
        if not images and MASK.fullmatch(_stem(file)):
            images = [other for other in kinds[dirname(file)] if not MASK.fullmatch(_stem(other))]
        images = [other for other in images if other != file and not in_masks[dirname(other)]]
        if certain or images:
            masks[file] = _nearest(file, images)
    return masks


def _masks_by_look(files: Sequence[str], stems: Mapping[str, list[str]], masks: set[str], root: Path) -> dict[str, str]:
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)  # of a suffix, or folder: files, each with an image
    for file in files:
        stem = _stem(file)
        cuts = [cut.start() for cut in re.finditer(r"[ _.-]+(?=\D)", stem)]
        bases = [(re.sub(r"\d+", "0", stem[cut:]), stem[:cut]) for cut in cuts] + [(f"{dirname(file)}/", stem)]
        for group, base in bases:
            if images := [other for other in stems.get(base, []) if other != file and other not in masks]:
                groups[group].append((file, _nearest(file, images)))
    sizes = Counter(map(dirname, files))
    by_look: dict[str, str] = {}
    for group, pairs in groups.items():
        sample = pairs[:: max(1, len(pairs) // SAMPLE)]
        whole = not group.endswith("/") or len(pairs) > 0.9 * sizes[group[:-1]]
        if whole and all(_has_few_values(root / file) and not _has_few_values(root / image) for file, image in sample):
            by_look |= dict(pairs)
    return by_look


def _nearest(file: str, others: Iterable[str]) -> str:
    """Of other files the one that has most folders in common with this; "" where there are none."""
    folders = {*enumerate(dirname(file).split("/"))}
    return min(others, key=lambda other: (len(folders ^ {*enumerate(dirname(other).split("/"))}), other), default="")


def _stem(file: str) -> str:
    name = basename(file).lower()
    return name[: len(name) - len(suffix_of(name))]


def _parse_mask_name(stem: str, in_masks: bool) -> tuple[bool, list[str]]:
    """Whether a file is a mask for certain, and the stems that the image which it may belong to can have."""
    end, start = MASK_END.fullmatch(stem), MASK_START.fullmatch(stem)
    end = None if end and end[1].endswith(("with", "without")) else end  # pictures of faces
    certain = in_masks or bool(end and end[3].startswith("mask"))
    bases = [end[1]] if end and (end[2] or end[3].startswith("mask")) else []
    bases += [form.format(start[2]) for form in ("{}", "image_{}", "img_{}")] if start else []
    return certain, [*bases, *([stem] if certain else [])]


def _has_few_values(path: Path) -> bool:
    """Whether nearly all pixels of an image have one of two values, or exactly one of six."""
    try:
        with Image.open(path, formats=(*FORMATS, "TIFF")) as opened:
            opened.draft("L", (128, 128))
            values = np.asarray(opened.convert("L").resize((128, 128), Image.Resampling.NEAREST), int)
    except Exception:  # decoding says what is wrong with it
        return False
    low, high = values.min(), values.max()
    near = (values - low <= (high - low) / 10) | (high - values <= (high - low) / 10)
    most = np.sort(np.bincount(values.ravel()))[-6:].sum()
    return bool(near.mean() >= NEARLY or most >= NEARLY * values.size)


def patient_pattern(files: Sequence[str], labels: Sequence[str]) -> str:
    """A regular expression whose group may be the patient in the files' paths; "" when names do not look like it."""
    folders = {*zip(map(dirname, files), labels, strict=True)}
    classes = len({folder if basename(folder) == label else label for folder, label in folders})  # of each split
    uppers = {basename(dirname(folder)) for folder, label in folders if basename(folder) == label}
    above = len(uppers) >= LEAST and (are_patients(uppers) or all(re.fullmatch(NUMBER, name) for name in uppers))
    if above:  # the classes of each patient
        classes = len({*labels})
    subjects = {match[1].lower() for match in (re.search(SUBJECT, file) for file in files) if match}
    patterns = [rf"(?i:{'|'.join(sorted(subjects))})[ _-]*\d+"] if subjects else []
    patterns += [r"[^/]+(?=/[^/]+/[^/]*$)"] * above + _below_labels(files, labels)
    patterns += _last_words(files)  # such as two eyes of a person, or a flipped copy
    numbers = [rf"[^/]*\d(?=(?:[^/\d]+\d+){{{k}}}[^/\d]*$)" for k in (1, 2, 3, 4)]  # before the last numbers
    patterns += [
        *filter(partial(_keeps_to_labels, files, labels), reversed(numbers)),
        *numbers,
    ]  # several scans of a person
    unexplained, chosen = [*files], []
    for pattern in patterns:
        patients = [match[0] for match in (re.search(pattern, file) for file in unexplained) if match]
        counts = Counter(patients)
        shared = sum(count for count in counts.values() if count > 1)  # files of patients with several
        if len(counts) >= max(LEAST, classes + 1) and 2 * shared >= len(patients) >= len(files) / 5:
            chosen.append(pattern)
            unexplained = [file for file in unexplained if not re.search(pattern, file)]
    return f"({'|'.join(chosen)})" if chosen else ""


def _below_labels(files: Sequence[str], labels: Sequence[str]) -> list[str]:
    """A pattern for the folders right below those of the labels, where they are numbered and each is of one label."""
    depths, pairs = set[int](), set[tuple[str, str]]()
    for file, label in zip(files, labels, strict=True):
        parts = dirname(file).split("/")[::-1]
        depths.add(depth := parts.index(label) if label in parts else 0)
        pairs.add((label, parts[depth - 1]))
    folders = {folder for _, folder in pairs}
    numbered = all(re.search(r"\d", name) and not PART.search(name) for name in folders)
    depth, several = max(depths, default=0), len(depths) > 1 or len(pairs) > len(folders)
    return [rf"[^/]+(?=(?:/[^/]+){{{depth}}}$)"] if depth and numbered and not several else []


def _keeps_to_labels(files: Sequence[str], labels: Sequence[str], pattern: str) -> bool:
    """Whether a pattern finds five groups or more per label, of several labels, each group of one label: our choice."""
    found = {
        (match[0], label) for file, label in zip(files, labels, strict=True) if (match := re.search(pattern, file))
    }
    several = len({label for _, label in found})
    return several > 1 and len({group for group, _ in found}) == len(found) >= 5 * several


def _last_words(files: Sequence[str]) -> list[str]:
    """A pattern for what is before the last word of the files' names, where few words end the same name."""
    stems = [f"{dirname(file)}/{_stem(file)}" for file in files]
    counts = Counter(word for stem in stems for word in re.findall(r"[ _.-]([^\W\d_]+|t[12][a-z]*)$", stem))
    words = sorted((word for word, count in counts.items() if count >= LEAST), key=len, reverse=True)
    end = rf"[ _.-]+(?i:{'|'.join(map(re.escape, words))})"
    several = len({re.sub(f"{end}$", "", stem) for stem in stems}) < len(stems)
    return [rf"[^/]+?(?=(?:{end})?\.[^/]*$)"] if several and 0 < len(words) <= MOST_CLASSES else []


def label_pattern(files: Sequence[str]) -> str:
    """A regular expression whose group may be the label in the files' names; "" when names do not look like it."""
    for pattern in (r"[_-](\d|[A-Za-z]+)\.\w+$", r"(?:^|/)([A-Za-z]+)[^/A-Za-z][^/]*$"):
        labels = [match[1] for match in (re.search(pattern, file) for file in files) if match]
        counts = Counter(label for label in labels if label.lower() not in SPLIT_NAMES)
        if 2 <= len(counts) <= MOST_CLASSES and min(counts.values()) >= 3 and 2 * counts.total() >= len(files):
            return pattern
    return ""
