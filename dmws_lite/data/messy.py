"""A folder of images as one finds it: phantoms of mixed sizes and kinds, with the faults that real folders have."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from dmws_lite.data.augmentation import augment
from dmws_lite.data.phantoms import CLASSES, draw
from dmws_lite.runtime.files import writable_folder

SIDES = (96, 192)  # pixels of the smallest and the largest image
BURNED_IN = "DOE JANE 1961"  # nobody: a made-up name, as devices write it into the pixels


def messy_folder(folder: str | Path, modality: str = "lung_ct", patients: int = 240, seed: int = 0) -> Path:
    """Draw a folder of classes with `metadata.csv`, and put into it what is wrong with folders.

    modality: see `phantoms`. patients: at least 12; each has one to three similar exposures, all of one class.
    Sizes and shapes are mixed, half of the patients have JPEG files, the rest PNG. Faults: one file is cut off, one
    is a copy of another under a new name, the first image has a (made-up) name burned into its pixels, and a text file
    lies between the images. Source: our choice; the phantoms are drawn, no patient is involved.
    Returns the folder. Raises ValueError for fewer than 12 patients, FileExistsError for a folder that is not empty.
    """
    if patients < 12:
        raise ValueError(f"patients={patients} are too few to split: pass 12 or more")
    folder = writable_folder(folder)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: pass a new folder, nothing is overwritten")
    rng = np.random.default_rng([seed, 10])
    rows: list[tuple[str, str]] = []
    for patient in range(patients):
        name = CLASSES[modality][patient % len(CLASSES[modality])]
        (folder / name).mkdir(exist_ok=True)
        for image in _draw_exposures(modality, patient % len(CLASSES[modality]), rng):
            picture, file = Image.fromarray(image), f"{name}/scan_{len(rows):04d}.{'jpg' if patient % 2 else 'png'}"
            if not rows:
                ImageDraw.Draw(picture).text((6, len(image) - 16), BURNED_IN, fill=255)
            picture.save(folder / file, quality=92)
            rows.append((file, f"P{patient:03d}"))
    cut_off, (copied, owner) = folder / rows[len(rows) // 2][0], rows[len(rows) // 3]
    data = cut_off.read_bytes()
    cut_off.write_bytes(data[: len(data) // 3])
    rows.append((copied.replace(".", "_final."), owner))
    shutil.copyfile(folder / copied, folder / rows[-1][0])
    (folder / copied).with_name("readme.txt").write_text("ask Jane which of these are the good ones\n")
    lines = ["file_name,patient", *map(",".join, rows)]
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def _draw_exposures(modality: str, label: int, rng: np.random.Generator) -> list[np.ndarray]:
    """One to three similar images of a patient, uint8 (H, W), wider or taller than the square by a black border."""
    side = int(rng.integers(*SIDES, endpoint=True))
    first, _ = draw(modality, label, rng, side)
    count = int(rng.integers(1, 4))
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    batch = torch.from_numpy(np.repeat(first[None, None], count, 0))
    mild = augment(batch, generator, (), degrees=3, shift=0.02, zoom=0.03, contrast=0.1)
    border = [(0, 0), (0, 0)]
    border[int(rng.integers(2))] = (int(rng.integers(side // 8)),) * 2
    return [np.pad(image, border) for image in mild[:, 0].round().to(torch.uint8).numpy()]
