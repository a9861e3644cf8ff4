"""What a leak does, a demonstration: one student on the same images, split by image and split by patient."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from dmws_lite.data import duplicates
from dmws_lite.data.augmentation import augment
from dmws_lite.data.images import THUMBNAIL
from dmws_lite.data.sets import ImageSet, Splits
from dmws_lite.data.splits import split_table
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import EMBEDDED_STUDENT, Teacher, load_teacher
from dmws_lite.method.students import make_students
from dmws_lite.runtime.progress import tqdm
from dmws_lite.training.evaluation import predict
from dmws_lite.training.fit import fit
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    import pandas as pd

WAYS = {"image": "random", "patient": "patient"}  # the rule of `split_table` for each way to divide
SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}  # few patients: a larger test than usual, to hold enough of them


def pooled(splits: Splits) -> ImageSet:
    """The images of train, val and test as one set, in this order."""
    parts = (splits.train, splits.val, splits.test)
    patients = [patient for part in parts for patient in part.patients or ()]
    return ImageSet(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.labels for part in parts]),
        splits.classes,
        tuple(name for part in parts for name in part.names),
        tuple(patients) if len(patients) == len(splits) else None,
    )


def families(image_set: ImageSet) -> tuple[str, ...]:
    """Which images belong together: the patient's id where all are known, else the number of a group of look-alikes.

    Source: our choice; for look-alikes see `duplicates.pairs`.
    """
    if image_set.patients and all(image_set.patients):
        return image_set.patients
    gray = image_set.images.mean(axis=1).astype(np.uint8)
    small = np.stack([np.asarray(Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL))) for image in gray])
    hashes = [hashlib.sha256(image.tobytes()).hexdigest() for image in image_set.images]
    return tuple(map(str, duplicates.groups(len(small), duplicates.pairs(hashes, small))))


def twins(image_set: ImageSet) -> float:
    """The share of images that have another one of their family (see `families`) in the set."""
    _, family, sizes = np.unique(families(image_set), return_inverse=True, return_counts=True)
    return float((sizes[family] > 1).mean())


def exposures(image_set: ImageSet, count: int, seed: int = 0) -> ImageSet:
    """Each image `count` times, as further exposures or neighbouring slices of one patient would look.

    count: images a patient, 1 or more. Each is turned, shifted, scaled, brightened and given noise, all mildly.
    Returns an ImageSet of N x count images with `patients` set. Raises ValueError for count < 1.
    Source: our choice. Real exposures differ in more than this: posture, breathing, the slice's height.

    >>> from dmws_lite.data.phantoms import phantoms
    >>> exposures(phantoms("lung_ct", train=3, val=3, test=3).train, 2).patients
    ('0', '0', '1', '1', '2', '2')
    """
    if count < 1:
        raise ValueError(f"count={count} exposures a patient: pass 1 or more")
    rows = np.repeat(np.arange(len(image_set)), count)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.from_numpy(image_set.images[rows])
    drawn = augment(pixels, generator, (), degrees=3, shift=0.02, zoom=0.03, contrast=0.1)
    family = families(image_set)
    return ImageSet(
        drawn.round().to(torch.uint8).numpy(),
        image_set.labels[rows],
        image_set.classes,
        tuple(f"{image_set.names[row]}, exposure {k % count}" for k, row in enumerate(rows)),
        tuple(family[row] for row in rows),
    )


def divide(image_set: ImageSet, name: str, seed: int, by: str) -> Splits:
    """The images of a set, split anew: half to train on, a fifth to choose on, three tenths to report on.

    seed: of what is left to chance. by: "patient" keeps families together; "image" does not, and leaks.
    Raises ValueError for another `by`, and for a class with fewer than three families.
    Source: our choice; see `splits.split_table`.
    """
    import pandas as pd

    if by not in WAYS:
        raise ValueError(f"by={by!r} is unknown: pass 'image' or 'patient'")
    labels = np.array(image_set.classes)[image_set.labels]
    table = pd.DataFrame({"file": image_set.names, "label": labels, "split": "", "patient": families(image_set)})
    table = table.assign(frame=0, error="", group=range(len(table)))
    split, _ = split_table(table, seed, WAYS[by], SHARES)
    train, val, test = (image_set.take(np.flatnonzero(split == part)) for part in SHARES)
    return Splits(name, train, val, test)


def leak_study(
    image_set: ImageSet,
    seeds: Sequence[int],
    training: Training = Training(),
    teacher: Teacher | None = None,
    student: str = EMBEDDED_STUDENT,
    flips: Collection[str] = (),
    progress: bool = True,
) -> pd.DataFrame:
    """Train the same student on both splits of the same images: what the leak adds to the test's accuracy.

    image_set: with families of several images (see `families`), drawn by `exposures` where there are none.
    seeds:     each sets both splits, the classifier, data order and augmentation.
    teacher:   from load_teacher; None is the embedded one. The student is selected from it and learns from labels only.
    flips:     see `Splits`.
    Returns a row a run: split ("by image" or "by patient"), seed, accuracy (on the test images, read once),
    train_images, test_images, test_images_with_a_twin (that have one of their family in train).
    A demonstration, and our choice: it shows that a test can be wrong, not by how much another one is.
    """
    import pandas as pd

    teacher, rows = teacher or load_teacher(), []
    image_set = replace(image_set, patients=families(image_set))
    runs = [(seed, by) for seed in seeds for by in WAYS]
    for seed, by in tqdm(runs, desc="leak study", disable=not progress, unit="run"):
        splits = replace(divide(image_set, f"by {by}", seed, by), flips=tuple(flips))
        size = image_set.images.shape[-1]
        students = make_students(teacher, student, len(splits.classes), None, seed=seed, image_size=size)
        budget = replace(training, seed=seed)
        run = fit(students, splits, budget, Distillation("none"), progress=False)
        right = predict(run.main, splits.test).argmax(axis=1) == splits.test.labels
        twin = np.isin(splits.test.patients, splits.train.patients)  # type: ignore[arg-type]
        rows.append((splits.name, seed, right.mean(), len(splits.train), len(splits.test), int(twin.sum())))
    columns = ["split", "seed", "accuracy", "train_images", "test_images", "test_images_with_a_twin"]
    return pd.DataFrame(rows, columns=columns)
