"""Drawn stand-ins for medical images: a chest X-ray, an axial lung CT and an axial brain MRI, from a seed.

Every picture is a formula: anatomy that varies from image to image, harmless findings that occur in every class, a
lesion that only its class has, uneven brightness and grain. Mean and standard deviation are equalised, so that shape,
texture and place tell the classes, not brightness. Phantoms test methods and teach; they say nothing about patients.
All formulas are our choice.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from dmws_lite.data import anatomy
from dmws_lite.data.sets import SPLITS, ImageSet, Splits
from dmws_lite.runtime.files import build_folder, cache_folder
from dmws_lite.runtime.text import require_seed

Array = np.ndarray
CLASSES: dict[str, tuple[str, ...]] = {
    "chest_xray": ("normal", "nodules", "consolidation"),
    "lung_ct": ("normal", "ground_glass", "honeycombing"),
    "brain_mri": ("no_tumour", "glioma", "meningioma"),
}
MODALITIES = tuple(CLASSES)


def phantoms(
    modality: str,
    train: int = 600,
    val: int = 150,
    test: int = 300,
    size: int = 64,
    seed: int = 0,
    cached: bool = False,
) -> Splits:
    """Three disjoint, balanced sets of labelled phantoms.

    modality:         "chest_xray", "lung_ct" or "brain_mri".
    train, val, test: number of images; classes take turns, so a smaller set is the beginning of a larger one.
    size:             pixels per side; another size shows the same images (the grain aside).
    cached:           keep the images in the cache folder, and read them there the next time: drawing takes seconds.
    Returns Splits of uint8 images (N, 1, size, size).
    Raises ValueError when a number of images is smaller than the number of classes.

    >>> phantoms("brain_mri", train=6, val=3, test=3).train
    ImageSet(6 images, 1 x 64 x 64: 2 no_tumour, 2 glioma, 2 meningioma)
    """
    classes = _classes(modality)
    sets = []
    for split, count in zip(SPLITS, (train, val, test), strict=True):
        if count < len(classes):
            raise ValueError(f"{split}={count} is smaller than the number of classes: pass {split} >= {len(classes)}")
        images = _images(modality, split, count, size, seed, cached)
        labels = np.arange(count) % len(classes)
        names = tuple(f"{split}_{i:05d}_{classes[label]}" for i, label in enumerate(labels))
        sets.append(ImageSet(images[:, None], labels, classes, names))
    return Splits(modality, *sets)


def _images(modality: str, split: str, count: int, size: int, seed: int, cached: bool) -> Array:
    """Phantoms (N, H, W): from the cache where today's formulas drew them, drawn anew where there can be no cache."""

    def draw_all() -> Array:
        return np.stack([phantom(modality, split, i, size, seed)[0] for i in range(count)])

    if not cached:
        return draw_all()
    formulas = b"".join(Path(file).read_bytes() for file in (__file__, anatomy.__file__))
    name = f"{modality}_{split}_{count}_{size}_{seed}_{hashlib.sha256(formulas).hexdigest()[:16]}"
    try:
        folder = build_folder(cache_folder("phantoms") / name, lambda part: np.save(part / "images.npy", draw_all()))
        return np.load(folder / "images.npy")
    except (OSError, ValueError):  # no room, no permission, or damaged
        return draw_all()


def write_volume(
    path: str | Path, modality: str = "brain_mri", slices: int = 15, size: int = 64, seed: int = 0
) -> Path:
    """Write a TIFF file with many pages, as a scan has slices: a drawn one that shrinks towards both ends.

    >>> write_volume("volume.tiff")  # doctest: +SKIP
    """
    middle = Image.fromarray(phantom(modality, "test", 0, size, seed)[0])
    sides = 2 * np.rint(size / 2 * np.sqrt(1 - np.linspace(-0.95, 0.95, slices) ** 2)).astype(int)
    pages = [ImageOps.expand(middle.resize((side, side)), (size - side) // 2) for side in sides]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return Path(path)


def phantom(modality: str, split: str, index: int, size: int = 64, seed: int = 0) -> tuple[Array, Array]:
    """Image number `index` of a split of `phantoms`, with its lesion mask: see `draw` for what is returned."""
    label = index % len(_classes(modality))
    rng = np.random.default_rng([require_seed(seed), MODALITIES.index(modality), SPLITS.index(split), index])
    return draw(modality, label, rng, size)


def draw(modality: str, label: int, rng: np.random.Generator, size: int = 64) -> tuple[Array, Array]:
    """One phantom uint8 (H, W) and where its lesion is, bool (H, W).

    label: index into CLASSES[modality]; 0 has no lesion. Raises ValueError for an unknown modality or a size below 16.

    >>> image, mask = draw("lung_ct", 1, np.random.default_rng(0))
    >>> image.shape, bool(mask.any())
    ((64, 64), True)
    """
    classes = _classes(modality)
    if size < 16:
        raise ValueError(f"size={size} is too small to show a lesion: pass size >= 16")
    image, lesion = getattr(anatomy, modality)(classes[label], rng, size)
    # Uneven sensitivity, grain, and the same mean and standard deviation for every class, with some jitter:
    image = image * (1 + rng.uniform(0.03, 0.12) * anatomy.field(rng, size, 3))
    jitter_mean, jitter_std, grain = rng.uniform(-10, 10), rng.uniform(-6, 6), rng.uniform(0.06, 0.16)
    image = (image - image.mean()) / image.std() + grain * rng.standard_normal((size, size), dtype=np.float32)
    return np.clip(92 + jitter_mean + (62 + jitter_std) * image, 0, 255).astype(np.uint8), lesion > 0.5


def _classes(modality: str) -> tuple[str, ...]:
    if modality not in CLASSES:
        raise ValueError(f"modality={modality!r} is unknown: pass one of {MODALITIES}")
    return CLASSES[modality]
