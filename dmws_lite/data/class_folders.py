"""Images that come in tables or arrays, written as split and class folders."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dmws_lite.data.listing import COLUMNS, SPLIT_NAMES

ENDINGS = {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tif", "BMP": ".bmp"}
LONGEST = 120  # characters of a name: our choice


def splits_of(dataset: Any) -> dict[str, Any]:
    """The parts of a `datasets` Dataset or DatasetDict by split ("train", "val", "test"; "" when it is not split)."""
    from datasets import Dataset, DatasetDict

    if isinstance(dataset, Dataset):
        return {"": dataset}
    if not isinstance(dataset, DatasetDict):
        raise ValueError(
            f"source is a {type(dataset).__name__}: pass a folder, a card, or a datasets.Dataset or DatasetDict "
            "(streaming=False)"
        )
    if len(dataset) == 1:
        return {"": next(iter(dataset.values()))}
    named = {SPLIT_NAMES.get(str(name).lower(), ""): part for name, part in dataset.items()}
    if "" in named or len(named) < len(dataset):
        raise ValueError(f"splits {', '.join(map(str, dataset))} are not train, validation, test: pick or rename them")
    return named


def write_datasets(splits: Mapping[str, Any], folder: Path, progress: bool = True, files: bool = True) -> None:
    """Write `datasets` Datasets as image files split/class/row_name.ending, with metadata.csv where patients are known.

    splits: from `splits_of`. The image column is the one of type Image (of several: image or img), the label column
            the one of type ClassLabel, or one called label, class or the like; patient, patient_id or the like is kept.
    folder: an empty folder. PNG, JPEG, TIFF and BMP files keep their bytes, all else becomes PNG.
    files:  take images from files on this machine that the data set names; else their bytes must be in it.
    Raises ValueError naming the column, row or class that is missing.
    """
    columns = {split: _columns(part, split) for split, part in splits.items()}
    classes = {name for split, part in splits.items() for name in _class_names(part, columns[split][1])}
    patients: list[tuple[str, str]] = []
    for split, part in splits.items():
        image, label, patient = columns[split]
        _make_folders(folder / split, sorted(classes))
        write = _writer(part, image, label, folder / split, files)
        paths = _in_parallel(write, len(part), split or "images", progress)
        if patient:
            places = [path.relative_to(folder).as_posix() for path in paths]
            values = ["" if value is None else str(value) for value in part[patient]]
            patients += zip(places, values, strict=True)
    if patients:
        with open(folder / "metadata.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("file", "patient"), *patients])


def write_medmnist(file: Path, classes: list[str], folder: Path, progress: bool = True) -> None:
    """Write the arrays of a MedMNIST file as split/class/row.png.

    file:    .npz with train_images uint8 (N, H, W) or (N, H, W, 3), train_labels (N, 1), the same for val and test.
    classes: their names, in the order of the labels.
    folder:  an empty folder.
    Raises ValueError naming the file and the split that is not so.
    """
    import numpy as np
    from PIL import Image

    with np.load(file, allow_pickle=False) as arrays:
        for split in ("train", "val", "test"):
            try:
                images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
            except (KeyError, ValueError) as error:
                raise ValueError(f"{file}: {split} cannot be read ({error}): delete it and download again") from error
            gray_or_colour = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
            if images.dtype != np.uint8 or not gray_or_colour or labels.shape != (len(images), 1):
                shapes = f"images {images.dtype} {images.shape}, labels {labels.shape}"
                raise ValueError(f"{file}: {split} has {shapes}: only single-label images can be used")
            if not set(labels[:, 0].tolist()) <= set(range(len(classes))):
                raise ValueError(f"{file}: {split} has labels that are none of its {len(classes)} classes: report it")
            _make_folders(folder / split, classes)

            def write(row: int, images: Any = images, labels: Any = labels, home: Path = folder / split) -> Path:
                path = home / _safe(classes[labels[row, 0]]) / f"{row:06d}.png"
                Image.fromarray(images[row]).save(path, compress_level=1)
                return path

            _in_parallel(write, len(images), split, progress)


def _columns(part: Any, split: str) -> tuple[str, str, str]:
    """The names of the columns that hold the image, the label and the patient ("" for none)."""
    from datasets import ClassLabel, Image

    images = [name for name, kind in part.features.items() if isinstance(kind, Image)]
    image = next((name for name in ("image", "img") if name in images), images[0] if len(images) == 1 else "")
    typed = [name for name, kind in part.features.items() if isinstance(kind, ClassLabel)]
    plain = {name.lower(): name for name in part.features}
    named = [plain[name] for name in (*COLUMNS["label"], "labels") if name in plain]
    label = next((name for name in named if name in typed), [*typed, *named, ""][0])
    patient = next((plain[name] for name in COLUMNS["patient"] if name in plain), "")
    for name, what, kind in ((image, "image", "type Image"), (label, "label", "type ClassLabel, or called label")):
        if not name:
            where = f" of {split}" if split else ""
            raise ValueError(f"columns{where} {', '.join(part.features)}: none is the {what}; rename it ({kind})")
    return image, label, patient


def _class_names(part: Any, label: str) -> list[str]:
    return [_class_name(part.features[label], value) for value in part.unique(label)]


def _class_name(kind: Any, value: Any) -> str:
    """A label's class; kind is the column's type."""
    if value is None or (hasattr(kind, "int2str") and value < 0):
        raise ValueError(f"some rows have no label ({value}): filter them out")
    return kind.int2str(value) if hasattr(kind, "int2str") else str(value)


def _make_folders(home: Path, names: Iterable[str]) -> None:
    names = [*names]
    if len({_safe(name) for name in names}) < len(names) or "" in names:
        raise ValueError(f"classes {', '.join(map(repr, names))} do not give different folder names: rename them")
    for name in names:
        (home / _safe(name)).mkdir(parents=True)


def _safe(name: str) -> str:
    """A name as that of one visible file or folder."""
    return re.sub(r"[/\\\0]|^\.|^ | $", "_", name)[:LONGEST]


def _writer(part: Any, image: str, label: str, home: Path, files: bool) -> Callable[[int], Path]:
    """What writes the image of a row, and returns its path."""
    from datasets import Image

    raw = part.cast_column(image, Image(decode=False)).select_columns([image, label])

    def write(row: int) -> Path:
        item = raw[row]
        data, stem = _bytes(item[image], files, row)
        data, ending = _encoded(data)
        folder = home / _safe(_class_name(part.features[label], item[label]))
        path = folder / f"{row:06d}{_safe('_' + stem) if stem else ''}{ending}"
        path.write_bytes(data)
        return path

    return write


def _bytes(found: Mapping[str, Any] | None, files: bool, row: int) -> tuple[bytes, str]:
    """An image's bytes as stored, and the stem of the file that it was ("" where not known)."""
    path = str((found or {}).get("path") or "")
    stem = PurePosixPath(PureWindowsPath(path).as_posix()).stem
    if found and found["bytes"] is not None:
        return found["bytes"], stem
    if files and path and Path(path).is_file():
        return Path(path).read_bytes(), stem
    what = f"names the file {path!r}, which is not taken" if path else "holds no image"
    raise ValueError(f"row {row} {what}: the images' bytes must be in the data set")


def _encoded(data: bytes) -> tuple[bytes, str]:
    """Bytes and ending of an image file; what Pillow cannot read stays as it is, for the reader to report."""
    from PIL import Image

    try:
        with Image.open(BytesIO(data)) as picture:
            if ending := ENDINGS.get(picture.format or ""):
                return data, ending
            file = BytesIO()
            picture.save(file, "PNG")
            return file.getvalue(), ".png"
    except Exception:  # Pillow raises many kinds
        return data, ".png"


def _in_parallel(write: Callable[[int], Path], count: int, what: str, progress: bool) -> list[Path]:
    from dmws_lite.runtime.progress import tqdm

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(tqdm(pool.map(write, range(count)), f"writing {what}", count, disable=not progress, leave=False))
