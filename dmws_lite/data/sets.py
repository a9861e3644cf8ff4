"""Labelled images in memory or memory-mapped, divided into splits, and parts of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

Array = np.ndarray
SPLITS = ("train", "val", "test")  # in the order in which they are used


@dataclass(frozen=True, repr=False, eq=False)
class ImageSet:
    """Labelled images of one size, in memory or memory-mapped.

    images:   uint8 (N, C, H, W), C = 1 (gray) or 3 (RGB).
    labels:   int64 (N,), indices into `classes`.
    classes:  one name per class.
    names:    one name per image, such as its file's path in the folder.
    patients: one id per image, or None where they are not known.
    Raises ValueError when these do not fit together.

    >>> ImageSet(np.zeros((2, 1, 8, 8), np.uint8), np.array([0, 1]), ("a", "b"), ("x", "y"))
    ImageSet(2 images, 1 x 8 x 8: 1 a, 1 b)
    """

    images: Array
    labels: Array
    classes: tuple[str, ...]
    names: tuple[str, ...]
    patients: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[1] not in (1, 3):
            raise ValueError(f"images are {self.images.dtype} {self.images.shape}: pass uint8 (N, 1 or 3, H, W)")
        if self.labels.ndim != 1 or not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(f"labels are {self.labels.dtype} {self.labels.shape}: pass whole numbers (N,)")
        n, k, m = len(self.images), len(self.labels), len(self.names)
        if not n == k == m == len(self.patients or self.names):
            raise ValueError(f"{n} images, {k} labels, {m} names: pass a label, a name, a patient (or None) for each")
        if len({*self.classes}) < len(self.classes):
            raise ValueError(f"classes are {self.classes}: give each class a name of its own")
        if wrong := sorted({*self.labels.tolist()} - {*range(len(self.classes))}):
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
        """The images at `indices` (int, any length), in that order; a run of neighbours is not copied."""
        first, count = (int(indices[0]), len(indices)) if len(indices) else (0, 0)
        neighbours = first >= 0 and np.array_equal(indices, np.arange(first, first + count))
        images = self.images[first : first + count] if neighbours else self.images[indices]
        names = tuple(self.names[i] for i in indices)
        patients = self.patients and tuple(self.patients[i] for i in indices)
        return ImageSet(images, self.labels[indices], self.classes, names, patients)


@dataclass(frozen=True, repr=False, eq=False)
class Splits:
    """A data set: images to train on, to choose on, and to report on once.

    flips: the mirrorings that anatomy allows, for augmentation: "horizontal", "vertical", both or none.
    fit:   how its images became squares, "crop" or "letterbox" (see `open_data`): later images must go the same way.
    """

    name: str
    train: ImageSet
    val: ImageSet
    test: ImageSet
    flips: tuple[str, ...] = field(default=("horizontal",), kw_only=True)
    fit: str = field(default="crop", kw_only=True)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    def part(self, share: float, seed: int = 0) -> Splits:
        """The same with a stratified part of the training images (see `fraction`); val and test stay whole."""
        return replace(self, train=fraction(self.train, share, seed))

    def __len__(self) -> int:
        return len(self.train) + len(self.val) + len(self.test)

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.train.images.shape[1:]))
        counts = " / ".join(str(len(s)) for s in (self.train, self.val, self.test))
        return f"Splits({self.name}: {counts} train / val / test images, {shape}, classes {', '.join(self.classes)})"


def fraction(image_set: ImageSet, share: float, seed: int = 0) -> ImageSet:
    """A stratified random part of an image set, at least one image per class.

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
