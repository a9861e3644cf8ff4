"""Getting a data set into a local folder: from an address, the Hugging Face Hub, Kaggle, MedMNIST or `datasets`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pandas as pd

from dmws_lite.data.archives import unpack_inside, unpack_into
from dmws_lite.data.cards import Card, Source
from dmws_lite.data.images import SUFFIXES
from dmws_lite.data.manifests import COLUMNS
from dmws_lite.data.names import SPLIT_NAMES
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.files import build_folder, cache_folder
from dmws_lite.runtime.progress import tqdm
from dmws_lite.runtime.report import load_extra
from dmws_lite.runtime.text import did_you_mean

CONFIG = ".huggingface.yaml"
FROM_TABLES = "from_parquet"  # the folder of images that were in Parquet files


def fetch(card: Card, progress: bool = True, size: int = 64) -> Path:
    """The folder (or manifest) of a card's first source that is there or can be got; MedMNIST's sizes by fit to `size`.

    Raises FileNotFoundError listing each source, why it failed and the way out (ImportError when a package is missing).
    """

    def rank_size(source: Source) -> tuple[bool, int]:
        side = source.image_size or size
        return side < size, abs(side - size)

    failures: list[tuple[Source, Exception]] = []
    for source in sorted(card.sources, key=rank_size):
        try:
            path = _fetch_source(source, card, progress)
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            failures.append((source, error))
            continue
        if reasons := [f"{other}: {error}" for other, error in failures if not other.folder]:
            warnings.warn(f"{card.name} comes from {source}, because {'; '.join(reasons)}", stacklevel=2)
        return path
    missing = any(isinstance(error, ImportError) for _, error in failures)
    lines = "\n".join(f"- {source}: {' '.join(str(error).split())}" for source, error in failures)
    raise (ImportError if missing else FileNotFoundError)(
        f"{card.name} cannot be got from any of its sources:\n{lines}\n"
        "Mend one of these, or get the data by hand and pass its folder as the source"
    )


def _fetch_source(source: Source, card: Card, progress: bool) -> Path:
    if source.folder:
        return _find_local(source.folder, card)
    if source.hub:
        return fetch_hub(source.hub, source.revision, progress, card.name)
    if source.kaggle:
        return _fetch_kaggle(source, card.name)
    target = cache_folder("downloads", card.name) / _to_slug(f"{source} {source.sha256 or ''}")
    if source.url:
        return build_folder(target, lambda part: _fill_from_url(source, part, target, progress))
    return build_folder(target, lambda part: _fill_from_medmnist(source, part, progress))


def _find_local(place: str, card: Card) -> Path:
    """A folder or manifest on this machine: "~/x", "$VARIABLE/x", or relative to the card."""
    variable, _, rest = place.partition("/")
    if variable.startswith("$"):
        if not os.environ.get(variable[1:]):
            raise FileNotFoundError(f"the environment variable {variable[1:]} is not set")
        place = os.path.join(os.environ[variable[1:]], rest)
    path = (card.path.parent / Path(place).expanduser()).resolve()
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        raise FileNotFoundError(f"{path} is {'empty' if path.exists() else 'not there'}")
    return path


def _to_slug(text: str) -> str:
    """A file name that says what it is and is like no other's."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", text.split("://")[-1]).strip("-.")[-60:]
    return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _fill_from_url(source: Source, part: Path, target: Path, progress: bool) -> None:
    pooch = load_extra("pooch", "hub")
    checksum = source.sha256 and f"sha256:{source.sha256}"
    download = pooch.HTTPDownloader(progressbar=progress, timeout=60)
    archive = Path(pooch.retrieve(source.url, checksum, f"{target.name}.download", target.parent, downloader=download))
    try:
        size, sha256 = archive.stat().st_size, pooch.file_hash(str(archive))
        if source.size not in (None, size):
            raise ValueError(f"{source.url} has {size:,} bytes instead of {source.size:,}: find out why")
        unpack_into(part, archive)
    finally:
        archive.unlink()
    if not checksum:
        warnings.warn(
            f"{source.url}: its checksum is not in the card, so nothing says that this is the right file. "
            f"Add to it: sha256: {sha256}, size: {size}",
            stacklevel=2,
        )


def _fill_from_medmnist(source: Source, part: Path, progress: bool) -> None:
    """A MedMNIST set as split/class/row.png; its address, checksum and classes are the package's."""
    from PIL import Image

    medmnist, flag = load_extra("medmnist", "hub"), str(source.medmnist)
    if flag not in medmnist.INFO:
        hint = did_you_mean(flag, medmnist.INFO) or f": write one of {', '.join(medmnist.INFO)}"
        raise ValueError(f"medmnist {flag!r} is unknown{hint}")
    info = medmnist.INFO[flag]
    if info["task"].startswith("multi-label") or flag.endswith("3d"):
        raise ValueError(f"medmnist {flag!r} has several labels per image, or volumes: write another")
    for split in SPLITS:
        data = getattr(medmnist, info["python_class"])(split, download=True, root=str(part), size=source.image_size)
        for row, label in enumerate(tqdm(data.labels[:, 0], split, disable=not progress, leave=False)):
            file = part / split / _to_file_name(info["label"][str(label)]) / f"{row:06d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(data.imgs[row]).save(file, compress_level=1)
    for file in part.glob("*.npz"):
        file.unlink()


def _fetch_kaggle(source: Source, name: str) -> Path:
    """A data set in kagglehub's own cache, remembered so that it is found again without a network."""
    handle = f"{source.kaggle}/versions/{source.version}" if source.version else str(source.kaggle)
    record = cache_folder("downloads", name) / f"{_to_slug(handle)}.path"
    if record.is_file() and (folder := Path(record.read_text("utf-8"))).is_dir():
        return folder
    kagglehub = load_extra("kagglehub", "hub")
    try:
        folder = Path(kagglehub.dataset_download(handle))
    except Exception as error:  # of many libraries' kinds
        raise ConnectionError(
            f"it could not be downloaded ({' '.join(str(error).split())}). A set with terms: accept them on its page, "
            "and put your token (kaggle.com, Settings, API) into ~/.kaggle/kaggle.json"
        ) from error
    record.write_text(str(folder), "utf-8")
    return folder


def fetch_hub(repository: str, revision: str | None = None, progress: bool = True, name: str = "hub") -> Path:
    """The folder of a data set on the Hugging Face Hub, its archives unpacked, its Parquet files as class folders."""
    source = f"{repository}@{revision or 'newest'}"
    target = cache_folder("downloads", name) / _to_slug(source)

    def fill(part: Path) -> None:
        ignored = ["*.py", "*.md", CONFIG]  # code, and what may send `datasets` to other places
        try:
            commit = revision or huggingface_hub.HfApi().dataset_info(repository).sha
            huggingface_hub.snapshot_download(
                repository, repo_type="dataset", revision=commit, local_dir=part, ignore_patterns=ignored
            )
        except Exception as error:  # of many libraries' kinds
            reason = str(error).strip().split("\n")[0]
            raise ConnectionError(
                f"hub data set {source} could not be downloaded ({type(error).__name__}: {reason}): check its name, "
                "the revision and the network; for one that is not public, `hf auth login`"
            ) from error
        if not revision:
            warnings.warn(
                f"hub data set {source}: no revision was asked for; this is commit {commit}. Put `revision: {commit}` "
                f"into the card, or pass hf://datasets/{repository}@{commit}, so that everyone gets the same",
                stacklevel=2,
            )
        unpack_inside(part)
        if tables := list(part.rglob("*.parquet")):
            (part / CONFIG).unlink(missing_ok=True)  # of an archive
            loaded = load_extra("datasets", "hub").load_dataset(str(part), cache_dir=str(part / ".cache"))
            write = partial(_write_datasets, _name_splits(loaded), progress=progress, local_files=False)
            build_folder(part / FROM_TABLES, write)
            shutil.rmtree(part / ".cache")
            for table in tables:
                table.unlink()

    build_folder(target, fill, resume=True)
    return target / FROM_TABLES if (target / FROM_TABLES).is_dir() else target


def fetch_datasets(dataset: Any, progress: bool = True) -> Path:
    """The images of a `datasets` Dataset or DatasetDict as a folder of classes, or of splits with these inside."""
    splits = _name_splits(dataset)
    prints = " ".join(f"{split}:{part._fingerprint}" for split, part in sorted(splits.items()))
    target = cache_folder("downloads", "datasets") / hashlib.sha256(prints.encode()).hexdigest()[:24]
    return build_folder(target, partial(_write_datasets, splits, progress=progress))


def _name_splits(dataset: Any) -> dict[str, Any]:
    """The parts of a `datasets` Dataset or DatasetDict by split ("train", "val", "test"; "" when it is not split)."""
    datasets = load_extra("datasets", "hub")
    if isinstance(dataset, datasets.Dataset):
        return {"": dataset}
    if not isinstance(dataset, datasets.DatasetDict):
        raise ValueError(
            f"source is a {type(dataset).__name__}: pass a folder, a card, or a datasets.Dataset or DatasetDict "
            "(streaming=False)"
        )
    if len(dataset) == 1:
        return {"": next(iter(dataset.values()))}
    splits = {SPLIT_NAMES.get(str(name).lower(), ""): part for name, part in dataset.items()}
    if "" in splits or len(splits) < len(dataset):
        raise ValueError(f"splits {', '.join(map(str, dataset))} are not train, validation, test: pick or rename them")
    return splits


def _write_datasets(splits: dict[str, Any], folder: Path, progress: bool, local_files: bool = True) -> None:
    """Write images as split/class/row_name.ending, with metadata.csv where patients are known.

    local_files: whether to take images from files on this machine that the data set names.
    """
    from datasets import Image

    patients: dict[str, Any] = {}
    for split, part in splits.items():
        image, label, patient = _find_columns(part.features)
        folders = _name_class_folders(part.features[label], part[label])
        rows = part.select_columns([*filter(None, (image, label, patient))]).cast_column(image, Image(decode=False))
        for row, item in enumerate(tqdm(rows, f"writing {split}", disable=not progress, leave=False)):
            stored = item[image] or {}
            data, name = stored.get("bytes"), Path(stored.get("path") or "")
            if data is None and not (name.name and local_files):
                raise ValueError(f"row {row} holds no image (path {str(name)!r}): its bytes must be in the data set")
            stem, suffix = _to_file_name(name.stem), name.suffix.lower()
            file_name = "_".join([f"{row:06d}", *([stem] if stem else [])]) + (suffix if suffix in SUFFIXES else ".png")
            file = folder / split / folders[row] / file_name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(name.read_bytes() if data is None else data)
            patients[file.relative_to(folder).as_posix()] = item[patient] if patient else None
    if any(patients.values()):
        table = pd.DataFrame({"file": patients.keys(), "patient": patients.values()})
        table.to_csv(folder / "metadata.csv", index=False)


def _find_columns(features: Any) -> tuple[str, str, str]:
    """The names of the columns that hold the image, the label and the patient ("" for none)."""
    from datasets import ClassLabel, Image

    stored = {"bytes", "path"}  # as an image lies in Parquet that names no types
    images = [
        name
        for name, feature in features.items()
        if isinstance(feature, Image) or (isinstance(feature, dict) and {*feature} == stored)
    ]
    images = images if len(images) == 1 else [name for name in images if name.lower() in ("image", "img")]
    classes = [name for name in features if isinstance(features[name], ClassLabel)]
    labels = [*classes, *(name for name in features if name.lower() in COLUMNS["label"])]
    patients = [*(name for name in features if name.lower() in COLUMNS["patient"]), ""]
    if not images or not labels:
        missing = "label; rename it (type ClassLabel, or called label)" if images else "image; rename it (type Image)"
        raise ValueError(f"columns {', '.join(features)}: none is the {missing}")
    return images[0], labels[0], patients[0]


def _name_class_folders(feature: Any, labels: Any) -> list[str]:
    """The folder of each label; feature is the column's type."""
    is_class = hasattr(feature, "int2str")
    missing = [row for row, label in enumerate(labels) if label is None or (is_class and label < 0)]
    if missing:
        raise ValueError(f"{len(missing)} rows have no label, such as row {missing[0]}: filter them out")
    names = [feature.int2str(label) if is_class else str(label) for label in labels]
    if len({_to_file_name(name) for name in names}) < len({*names}):
        raise ValueError(f"classes {', '.join(sorted({*names}))} do not give different folder names: rename them")
    return [_to_file_name(name) for name in names]


def _to_file_name(name: str) -> str:
    """A name as that of one visible file or folder."""
    return re.sub(r"[/\\\0]|^\.|^ | $", "_", name)[:120]
