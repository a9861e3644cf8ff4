"""What the names of folders and files say: splits, parts, masks, and what may be patients."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from posixpath import basename, dirname

import numpy as np
from PIL import Image

from dmws_lite.data.images import FORMATS, suffix_of

SPLIT_NAMES = {
    **{"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"},
    **{"test": "test", "testing": "test", "evaluation": "test"},
}
PICTURES = {"image", "img", "picture", "photo", "png", "jpg", "jpeg", "tif", "tiff"}  # words without a plural's s
FILLERS = PICTURES | {"bmp", "dicom", "dcm", "nifti", "data", "dataset", "set", "input", "file"}
PARTS = {"part", "fold", "batch", "chunk", "shard", "all", "base", "subset", "volume", "vol"}
STRAYS = {"pred", "predicted", "prediction", "output", "result"}
MASKS = {"mask", "segmentation", "annotation", "label", "groundtruth", "gt", "truth", "overlay", "contour", "heatmap"}
MASK_WORDS = (
    "masks?|seg|segmentations?|segmented|annotations?|annotated|labels?|ground[ _-]?truth|gt|overlays?|contours?|roi"
)
MASK_END = re.compile(rf"(.+?)([ _.-]*)({MASK_WORDS})[ _.-]*\d*", re.I)
SEGMENTATION = re.compile(r"(.+?)[ _.-]+(seg|segmentation|ground[ _-]?truth|gt)", re.I)
MASK_START = re.compile(rf"({MASK_WORDS})[ _.-]+(.+)", re.I)
NEARLY, SAMPLE = 0.97, 8  # share of a mask's pixels near its two values; files of a kind that are looked at: our choice
SUBJECT = r"(?i:(patient|person|subject|subj|sub|pat|case|participant|volunteer))[ _-]*\d+"
LEAST = 4  # groups of images, or folders, from which they may be patients
MOST_CLASSES = 20  # that names of files may tell


def words(name: str) -> list[str]:
    """The words and numbers of a name, in lower case and without a plural's s: "leftMasks_2" holds left, mask and 2."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+", name)
    return [part.lower().removesuffix("s") for part in parts]


def roles(names: Iterable[str]) -> dict[str, str]:
    """What folders side by side are: "train", "val", "test", "part" (also a patient), "stray" (predictions), or ""."""
    said = {name: [word for word in words(name) if len(word) > 1 and not word.isdigit()] for name in names}
    alike = {re.sub(r"\d{3,}", "000", name) for name in said}  # but for a long number, as in LIDC-IDRI-0001
    numbered = len(alike) == 1 and re.search(r"[^\W\d_].*000", min(alike))
    if len(said) >= LEAST and (numbered or all(re.fullmatch(SUBJECT, name) for name in said)):
        return dict.fromkeys(said, "part")
    common = set.intersection(*map(set, said.values())) - PARTS - {*SPLIT_NAMES} if len(said) > 1 else set()

    def role(name: str) -> str:
        own = {*said[name]} - common - FILLERS - {"and", "stage"}
        splits = {SPLIT_NAMES.get(word, "") for word in own}
        if own and "" not in splits and len(splits - {"val"}) <= 1:
            return max(splits, key=("val", "test", "train").index)
        plain = {*said[name]} - common
        if said[name] and plain <= PARTS | FILLERS and (plain or {*said[name]} & (PARTS | FILLERS)):
            return "part"
        return "stray" if own and own <= STRAYS else ""

    return {name: role(name) for name in said}


def is_mask_folder(name: str) -> bool:
    """Whether a folder's name says that it holds masks or overlays."""
    said = words(name)
    while said and said[-1] in PICTURES:
        said.pop()
    return bool(said) and said[-1] in MASKS and not {"with", "without", "no"} & {*said}


def is_in_masks(folder: str) -> bool:
    """Whether a folder, or one above it on its path, holds masks or overlays by its name."""
    return any(map(is_mask_folder, folder.split("/")))


def masks(files: Sequence[str], root: Path) -> dict[str, str]:
    """The files that are masks or overlays, and the image that each belongs to ("" if none is seen).

    By the names of folders and files first; then files named like another image, with a suffix or in another folder,
    are looked at: as masks count those of a suffix (a folder) that are nearly two-valued, while the others are not.
    """
    stems: dict[str, list[str]] = defaultdict(list)
    for file in files:
        stems[_stem(file)].append(file)
    in_masks = {folder: is_in_masks(folder) for folder in {*map(dirname, files)}}
    kinds: dict[str, list[str]] = defaultdict(list)  # files that differ in the last word: `case7_t1`, `case7_seg`
    for file in files:
        kinds[f"{dirname(file)}/{re.sub(r'[ _.-]+[^ _.-]+$', '', _stem(file))}"].append(file)
    hits: dict[str, str] = {}
    for file in files:
        certain, bases = _mask_of(_stem(file), in_masks[dirname(file)])
        others = next((stems[base] for base in bases if base in stems), [])
        if not others and (end := SEGMENTATION.fullmatch(_stem(file))):
            others = [other for other in kinds[f"{dirname(file)}/{end[1]}"] if not SEGMENTATION.fullmatch(_stem(other))]
        others = [other for other in others if other != file and not in_masks[dirname(other)]]
        if certain or others:
            hits[file] = _nearest(file, others)
    images = [file for file in files if file not in hits]
    alike: dict[str, list[tuple[str, str]]] = defaultdict(list)  # for each suffix, or folder: files, each with an image
    for file in images:
        stem = _stem(file)
        cuts = [cut.start() for cut in re.finditer(r"[ _.-]+(?=\D)", stem)]
        groups = [(re.sub(r"\d+", "0", stem[cut:]), stem[:cut]) for cut in cuts] + [(f"{dirname(file)}/", stem)]
        for group, base in groups:
            if others := [other for other in stems.get(base, []) if other != file and other not in hits]:
                alike[group].append((file, _nearest(file, others)))
    sizes = Counter(map(dirname, images))
    for group, pairs in alike.items():
        sample = pairs[:: max(1, len(pairs) // SAMPLE)]
        whole = not group.endswith("/") or len(pairs) > 0.9 * sizes[group[:-1]]
        if whole and all(_two_valued(root / file) and not _two_valued(root / other) for file, other in sample):
            hits |= dict(pairs)
    return {file: "" if other in hits else other for file, other in hits.items()}


def _nearest(file: str, others: Iterable[str]) -> str:
    """Of other files the one that has most folders in common with this; "" where there are none."""
    folders = {*enumerate(dirname(file).split("/"))}
    return min(others, key=lambda other: (len(folders ^ {*enumerate(dirname(other).split("/"))}), other), default="")


def _stem(file: str) -> str:
    name = basename(file).lower()
    return name[: len(name) - len(suffix_of(name))]


def _mask_of(stem: str, in_masks: bool) -> tuple[bool, list[str]]:
    """Whether a file is a mask for certain, and the stems that the image which it may belong to can have."""
    end, start = MASK_END.fullmatch(stem), MASK_START.fullmatch(stem)
    end = None if end and end[1].endswith(("with", "without")) else end  # pictures of faces
    certain = in_masks or bool(end and end[3].startswith("mask"))
    bases = [end[1]] if end and (end[2] or end[3].startswith("mask")) else []
    bases += [form.format(start[2]) for form in ("{}", "image_{}", "img_{}")] if start else []
    return certain, [*bases, *([stem] if certain else [])]


def _two_valued(path: Path) -> bool:
    """Whether nearly all pixels of an image have one of two values."""
    try:
        with Image.open(path, formats=(*FORMATS, "TIFF")) as opened:
            opened.draft("L", (128, 128))
            values = np.asarray(opened.convert("L").resize((128, 128), Image.Resampling.NEAREST), int)
    except Exception:  # decoding says what is wrong with it
        return False
    low, high = values.min(), values.max()
    near = (values - low <= (high - low) / 10) | (high - values <= (high - low) / 10)
    return bool(near.mean() >= NEARLY)


def patient_pattern(files: Sequence[str], classes: int) -> str:
    """A regular expression whose group may be the patient in the files' paths; "" when names do not look like it."""
    subjects = {match[1].lower() for match in (re.search(SUBJECT, file) for file in files) if match}
    patterns = [rf"(?i:{'|'.join(sorted(subjects))})[ _-]*\d+"] if subjects else []
    patterns += [r"[^/]*\d(?=[ _-]+(?i:left|right|od|os|l|r)(?![A-Za-z]))"]  # two eyes of a person
    patterns += [rf"[^/]*\d(?=(?:[^/\d]+\d+){{{k}}}[^/\d]*$)" for k in (1, 2, 3, 4)]  # before the last numbers
    rest, chosen = [*files], []
    for pattern in patterns:
        keys = [match[0] for match in (re.search(pattern, file) for file in rest) if match]
        counts = Counter(keys)
        shared = sum(count for count in counts.values() if count > 1)
        if len(counts) >= max(LEAST, classes + 1) and 2 * shared >= len(keys) >= len(files) / 5:
            chosen.append(pattern)
            rest = [file for file in rest if not re.search(pattern, file)]
    return f"({'|'.join(chosen)})" if chosen else ""


def label_pattern(files: Sequence[str]) -> str:
    """A regular expression whose group may be the label in the files' names; "" when names do not look like it."""
    for pattern in (r"[_-](\d|[A-Za-z]+)\.\w+$", r"(?:^|/)([A-Za-z]+)[^/A-Za-z][^/]*$"):
        found = [match[1] if match else "" for match in (re.search(pattern, file) for file in files)]
        counts = Counter(value for value in found if value and value.lower() not in SPLIT_NAMES)
        if 2 <= len(counts) <= MOST_CLASSES and min(counts.values()) >= 3 and 2 * counts.total() >= len(files):
            return pattern
    return ""
