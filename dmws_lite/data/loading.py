"""Image sets in memory, and folders of images read into them."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

Array = np.ndarray
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FOLDERS = {"train": "train", "training": "train", "val": "val", "validation": "val", "test": "test", "testing": "test"}
SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}


@dataclass(frozen=True, repr=False, eq=False)
class ImageSet:
    """Labelled images of one size, in memory.

    images:  uint8 (N, C, H, W), C = 1 (gray) or 3 (RGB).
    labels:  int64 (N,), indices into `classes`.
    classes: one name a class.
    names:   one name an image, such as its file's path in the folder.
    Raises ValueError when these do not fit together.

    >>> ImageSet(np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 1]), ("a", "b"), ("x", "y"))
    ImageSet(2 images, 1 x 8 x 8: 1 a, 1 b)
    """

    images: Array
    labels: Array
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise ValueError(f"images are {self.images.dtype} {self.images.shape}: pass uint8 (N, 1 or 3, H, W)")
        n, k, m = len(self.images), len(self.labels), len(self.names)
        if not n == k == m:
            raise ValueError(f"{n} images, {k} labels and {m} names: pass one label and one name an image")
        if self.labels.ndim != 1 or not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f"labels are {self.labels.dtype} {self.labels.shape}: pass whole numbers (N,)")
        wrong = sorted({int(k) for k in self.labels if not 0 <= k < len(self.classes)})
        if wrong:
            raise ValueError(f"labels {wrong} are outside 0 to {len(self.classes) - 1}: classes are {self.classes}")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {name}" for n, name in zip(self.counts, self.classes, strict=True))
        return f"ImageSet({len(self)} images, {' x '.join(map(str, self.images.shape[1:]))}: {counts})"

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of images of each class."""
        return tuple(np.bincount(self.labels, minlength=len(self.classes)).tolist())

    def take(self, indices: Array) -> ImageSet:
        """The images at `indices` (int, any length), in that order."""
        names = tuple(self.names[i] for i in indices)
        return ImageSet(self.images[indices], self.labels[indices], self.classes, names)


@dataclass(frozen=True, repr=False, eq=False)
class Splits:
    """A data set: images to train on, to choose on, and to report on once."""

    name: str
    train: ImageSet
    val: ImageSet
    test: ImageSet

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    def __len__(self) -> int:
        return len(self.train) + len(self.val) + len(self.test)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.train.images.shape[1:]))
        counts = " / ".join(str(len(s)) for s in (self.train, self.val, self.test))
        return f"Splits({self.name}: {counts} train / val / test images, {shape}, classes {', '.join(self.classes)})"


def fraction(image_set: ImageSet, share: float, seed: int = 0) -> ImageSet:
    """A stratified random part of an image set, at least one image a class.

    share: above 0 up to 1. Parts of one seed are nested: 1 % lies within 5 %, 5 % within 10 %.
    Raises ValueError when share is not in (0, 1] or a class has no image.

    >>> from dmws_lite.data.phantoms import phantoms
    >>> fraction(phantoms("lung_ct", train=30, val=3, test=3).train, 0.1)
    ImageSet(3 images, 1 x 64 x 64: 1 normal, 1 ground_glass, 1 honeycombing)
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} is not in (0, 1]: pass 0.1 for 10 %")
    if 0 in image_set.counts:
        raise ValueError(f"class {image_set.classes[image_set.counts.index(0)]!r} has no image: remove the class")
    chosen = []
    for label in range(len(image_set.classes)):
        order = np.random.default_rng([seed, label]).permutation(np.flatnonzero(image_set.labels == label))
        chosen.append(order[: max(1, round(share * len(order)))])
    return image_set.take(np.sort(np.concatenate(chosen)))


def open_folder(
    path: str | Path, size: int = 64, seed: int = 0, duplicates: str = "error", progress: bool = True
) -> Splits:
    """Read a folder of images into memory.

    path:       holds one folder a class (split 70 / 15 / 15 at random, stratified, with byte-identical files on one
                side), or `train`, `test` and perhaps `val` that hold them (no `val`: a stratified 15 % of train).
    size:       pixels per side. The short side is resized to it with anti-aliasing and the middle is cut out, so
                nothing is squashed.
    seed:       of the random split.
    duplicates: what to do when a file of one given split is byte-identical to one of another: "error", or "drop" the
                copy that is used earlier (train before val before test).
    Returns Splits; C = 1 when every image is gray (also RGB files with equal channels), else 3. Orientation tags are
    honoured, transparency is laid on black, 16-bit and float images are scaled from their own minimum and maximum.
    Raises FileNotFoundError when path is missing, ValueError when the folder cannot be a data set; the text says why.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"path={str(path)!r} is not a folder: pass the folder that holds the class folders")
    if duplicates not in ("error", "drop"):
        raise ValueError(f"duplicates={duplicates!r}: pass 'error' or 'drop'")
    if size < 1:
        raise ValueError(f"size={size}: pass the number of pixels per side, such as 64")
    found = {FOLDERS[d.name.lower()]: d for d in sorted(root.iterdir()) if d.is_dir() and d.name.lower() in FOLDERS}
    given = {split: _files(found[split]) for split in SHARES if split in found}
    if given and not {"train", "test"} <= given.keys():
        missing = ({"train", "test"} - given.keys()).pop()
        raise ValueError(f"{root} holds {sorted(given)} but no {missing!r} folder: add it, or pass a class-folder root")
    files = given or {"all": _files(root)}
    classes = _check_classes(files, root)
    flat = [(split, label, file) for split, by in files.items() for label, c in enumerate(classes) for file in by[c]]
    digests, images = _read([file for _, _, file in flat], size, progress)
    splits, labels = np.array([s for s, _, _ in flat]), np.array([k for _, k, _ in flat], np.int64)
    names = [file.relative_to(root).as_posix() for _, _, file in flat]
    _check_labels(labels, digests, names)
    keep = _check_duplicates(splits, digests, names, duplicates) if given else np.ones(len(flat), bool)
    if not given:
        splits = _divide(labels, digests, classes, SHARES, seed)
        advice = "If a patient has several images, results will look too good: make train, val and test by patient."
        warnings.warn(f"{root.name}: split at random by image, not by patient. {advice}", stacklevel=2)
    elif "val" not in given:
        train = np.flatnonzero((splits == "train") & keep)
        splits[train] = _divide(labels[train], digests[train], classes, {"train": 0.85, "val": 0.15}, seed)

    def subset(split: str) -> ImageSet:
        rows = np.flatnonzero((splits == split) & keep)
        if gone := set(range(len(classes))) - set(labels[rows].tolist()):
            raise ValueError(f"{split} has no image of class {classes[gone.pop()]!r} left without the copies: add some")
        return ImageSet(images[rows], labels[rows], classes, tuple(names[i] for i in rows))

    return Splits(root.resolve().name, subset("train"), subset("val"), subset("test"))


def _files(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class folder, both sorted; hidden folders and files are passed over."""
    classes = sorted(d for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))
    return {
        d.name: sorted(f for f in d.rglob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
        for d in classes
    }


def _check_classes(files: dict[str, dict[str, list[Path]]], root: Path) -> tuple[str, ...]:
    """The class names, the same in every split, with enough images each."""
    first_split, first = next(iter(files.items()))
    for split, by_class in files.items():
        if by_class.keys() != first.keys():
            odd = sorted(by_class.keys() ^ first.keys())
            raise ValueError(f"{root}: class folders {odd} are not in both {first_split} and {split}: make them so")
    if not any(first.values()):
        raise ValueError(f"{root} holds no class folder with images ({', '.join(SUFFIXES)}): make one folder a class")
    if len(first) < 2:
        raise ValueError(f"{root} holds one class, {next(iter(first))!r}: a classifier needs at least 2 class folders")
    least = {"all": 3, "train": 1 if "val" in files else 2, "val": 1, "test": 1}
    for split, by_class in files.items():
        for name, found in by_class.items():
            if len(found) < least[split]:
                place = root.name if split == "all" else f"{root.name}/{split}"
                raise ValueError(f"{place}/{name} holds {len(found)} images: pass at least {least[split]}")
    return tuple(first)


def _read(files: list[Path], size: int, progress: bool) -> tuple[Array, Array]:
    """The sha256 of each file's bytes (N,), and all images as uint8 (N, C, size, size)."""
    from dmws_lite.runtime.progress import tqdm

    def read(file: Path) -> tuple[str, Array | Exception]:
        data = file.read_bytes()
        try:
            return hashlib.sha256(data).hexdigest(), decode(data, size)
        except Exception as error:  # Pillow raises many kinds; all are reported together below
            return "", error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = list(tqdm(pool.map(read, files), "reading images", len(files), disable=not progress, leave=False))
    broken = [f"{f} ({r})" for f, (_, r) in zip(files, results, strict=True) if isinstance(r, Exception)]
    if broken:
        raise ValueError(f"{len(broken)} files cannot be read, delete or re-export them: " + "; ".join(broken[:5]))
    arrays = [r for _, r in results if not isinstance(r, Exception)]
    channels = max(len(a) for a in arrays)
    images = np.empty((len(arrays), channels, size, size), np.uint8)
    for row, array in zip(images, arrays, strict=True):
        row[:] = array
    return np.array([digest for digest, _ in results]), images


def decode(data: bytes, size: int) -> Array:
    """An image file's bytes as uint8 (C, size, size), C = 1 when it is gray: see `open_folder`."""
    if not data:
        raise ValueError("the file is empty")
    with Image.open(BytesIO(data)) as opened:
        opened.draft("RGB" if opened.mode != "L" else "L", (size, size))
        picture = ImageOps.exif_transpose(opened)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture, np.float32)
        values = (values - values.min()) * (255 / max(float(np.ptp(values)), 1e-6))
        return _square(Image.fromarray(values), size)[None]
    if picture.mode in ("1", "L"):
        return _square(picture.convert("L"), size)[None]
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, (0, 0, 0, 255)), picture)
    channels = _square(picture.convert("RGB"), size).transpose(2, 0, 1)
    return channels[:1] if (channels == channels[0]).all() else channels


def _square(picture: Image.Image, size: int) -> Array:
    """The short side resized to `size` with anti-aliasing, the middle square cut out, as uint8."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    small = picture.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return np.clip(np.rint(np.asarray(small)), 0, 255).astype(np.uint8)


def _check_labels(labels: Array, digests: Array, names: list[str]) -> None:
    """Refuse the same file in two classes: its label would be wrong once, and it could be in two splits."""
    first: dict[str, int] = {}
    pairs = [
        (row, k) for row, digest in enumerate(digests) if labels[k := first.setdefault(digest, row)] != labels[row]
    ]
    if pairs:
        examples = "; ".join(f"{names[k]} = {names[row]}" for row, k in pairs[:3])
        raise ValueError(
            f"{len(pairs)} files are byte-identical to one of another class: {examples}. Keep the right ones"
        )


def _check_duplicates(splits: Array, digests: Array, names: list[str], duplicates: str) -> Array:
    """Which rows to keep (bool (N,)), so that no file's bytes are in two splits; raises or warns when some were."""
    later: dict[str, int] = {}
    pairs, keep = [], np.ones(len(names), bool)
    for split in ("test", "val", "train"):
        rows = np.flatnonzero(splits == split)
        pairs += [(row, later[digests[row]]) for row in rows if digests[row] in later]
        later |= {digests[row]: row for row in rows if digests[row] not in later}
    if not pairs:
        return keep
    examples = "; ".join(f"{names[row]} = {names[copy]}" for row, copy in pairs[:3])
    counts = Counter(f"{splits[row]} and {splits[copy]}" for row, copy in pairs)
    found = ", ".join(f"{n} in {where}" for where, n in counts.items())
    if duplicates == "error":
        way_out = "Remove the copies, or open_folder(..., duplicates='drop') leaves out those in the split used earlier"
        raise ValueError(
            f"{len(pairs)} files are byte-identical to one of another split ({found}): {examples}. {way_out}"
        )
    keep[[row for row, _ in pairs]] = False
    warnings.warn(f"dropped {len(pairs)} images that another split holds too ({found}): {examples}", stacklevel=3)
    return keep


def _divide(labels: Array, digests: Array, classes: tuple[str, ...], shares: dict[str, float], seed: int) -> Array:
    """A split name for each image (N,): stratified, at random, byte-identical images together, no split empty."""
    splits = np.empty(len(labels), "<U5")
    for label, name in enumerate(classes):
        rows = np.flatnonzero(labels == label)
        groups = np.random.default_rng([seed, label]).permutation(np.unique(digests[rows]))
        if len(groups) < len(shares):
            raise ValueError(f"class {name!r} holds {len(groups)} different images: at least {len(shares)} are needed")
        held_out = {split: max(1, round(share * len(groups))) for split, share in shares.items() if split != "train"}
        splits[rows] = "train"
        for split, count in held_out.items():
            block, groups = np.split(groups, [count])
            splits[rows[np.isin(digests[rows], block)]] = split
    return splits
