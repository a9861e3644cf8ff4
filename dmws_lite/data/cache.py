"""Images decoded once, in parallel, into memory-mapped arrays that are found again by files, times and settings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dmws_lite.data.duplicates import find_pairs
from dmws_lite.data.images import THUMBNAIL, Decoded, decode, suffix_of
from dmws_lite.runtime.files import build_folder, cache_folder
from dmws_lite.runtime.progress import tqdm

Array = np.ndarray
Reading = tuple[str, Decoded, str]  # a file's hash, its image (a black one of no size), and why there is none
FORMAT = 6  # raise it when decoding, thumbnails or pairs change: old caches are then made anew
FACTS = ("sha256", "width", "height", "mode", "depth", "blank", "patient", "error")
NOBODY = ("", "anon", "anonymous", "anonymised", "anonymized", "none", "null", "unknown")  # ids of no patient
WORKERS = min(8, os.cpu_count() or 1)


class Decoding(NamedTuple):
    """Decoded images, one row per image that was asked for."""

    facts: pd.DataFrame  # with the columns FACTS
    images: Array  # uint8 (N, C, size, size), memory-mapped; zeros where error is not ""
    thumbnails: Array  # uint8 (N, 32, 32)
    pairs: pd.DataFrame  # copies and look-alikes, see `duplicates.find_pairs`


def decode_files(
    root: Path,
    files: Sequence[str],
    frames: Sequence[int],
    size: int,
    fit: str = "crop",
    window: tuple[float, float] | None = None,
    progress: bool = True,
) -> Decoding:
    """Decode images (and their slices, `frames`), or open what was decoded from the same files with the same settings.

    A file is read again when its size or a time stamp has changed; one that cannot be read has an error in the facts.
    Patients are pseudonyms of the ids in DICOM files, or the file where several images of it have none.
    """
    stamps: dict[str, list[int]] = {}
    for file in {*files}:
        try:
            stat = (root / file).stat()
            stamps[file] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        except OSError:  # it will have an error
            stamps[file] = []
    images = [[file, int(frame), *stamps[file]] for file, frame in zip(files, frames, strict=True)]
    settings = [FORMAT, str(root.resolve()), size, fit, window, images]
    folder = cache_folder("arrays") / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:24]
    square, small = np.zeros((1, size, size), np.uint8), np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)
    missing = Decoded(square, small, width=0, height=0, mode="", depth=0, blank=False)
    current, warned = threading.local(), dict[str, list[str]]()  # a thread's file; files of each warning's text

    def read(file: str, frame: int) -> Reading:
        current.file, sha256 = file, ""
        try:
            data = (root / file).read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            return sha256, decode(data, suffix_of(file) or ".dcm", size, fit, frame, window), ""
        except ImportError:
            raise
        except MemoryError as error:
            raise MemoryError(f"{file} does not fit into memory ({error}): make it smaller") from error
        except Exception as error:  # decoders raise many kinds; all are kept, and reported together
            return sha256, missing, str(error) or type(error).__name__

    def note(text: Any, category: type[Warning], *_: Any) -> None:
        if issubclass(category, UserWarning):
            warned.setdefault(str(text), []).append(getattr(current, "file", ""))

    def fill(part: Path) -> None:
        with ThreadPoolExecutor(WORKERS) as pool, warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note  # type: ignore[assignment]  # for all threads: each says which file it is at
            readings = pool.map(read, files, map(int, frames))
            _write(part, tqdm(readings, "decoding", len(files), disable=not progress, leave=False), size, frames)
        (part / "warnings.json").write_text(json.dumps(warned), encoding="utf-8")

    try:
        return _open(build_folder(folder, fill), files, size)
    except (ValueError, KeyError, EOFError, FileNotFoundError):  # damaged, by another program
        shutil.rmtree(folder)
        return _open(build_folder(folder, fill), files, size)


def _write(part: Path, readings: Iterator[Reading], size: int, frames: Sequence[int]) -> None:
    """Write images, thumbnails, facts and pairs into a folder; all images take three channels when one is in colour."""
    facts, thumbnails, channels, pseudonyms = [], [], 1, {"": ""}
    try:
        with open(part / "images.raw", "wb+") as file:
            for sha256, decoded, error in readings:
                if len(decoded.image) > channels:  # the first in colour: those before it get three equal channels
                    channels = len(decoded.image)
                    file.seek(0)
                    gray = np.frombuffer(file.read(), np.uint8).reshape(-1, 1, size, size)
                    file.seek(0)
                    file.writelines(image.repeat(channels, axis=0).tobytes() for image in gray)
                file.write(np.broadcast_to(decoded.image, (channels, size, size)).tobytes())
                thumbnails.append(decoded.thumbnail)
                patient = decoded.patient
                if patient.strip().lower() in NOBODY or not patient.strip(" 0"):
                    patient = ""
                patient = pseudonyms.setdefault(patient, f"patient {len(pseudonyms)}")
                measures = (decoded.width, decoded.height, decoded.mode, decoded.depth, decoded.blank)
                facts.append((sha256, *measures, patient, error))
        table = pd.DataFrame(facts, columns=list(FACTS))
        table.to_csv(part / "facts.csv", index=False)
        np.save(part / "thumbnails.npy", np.array(thumbnails, np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL))
        rows = zip(table["sha256"], frames, table["error"], strict=True)
        keys = ["" if error else f"{sha256}#{frame}" for sha256, frame, error in rows]
        find_pairs(keys, np.load(part / "thumbnails.npy")).to_csv(part / "pairs.csv", index=False)
    except OSError as error:
        raise OSError(
            f"cache folder {part.parent} could not be written ({error.strerror or error}): "
            "free some space, or set DMWS_CACHE to a folder that has it"
        ) from error


def _open(folder: Path, files: Sequence[str], size: int) -> Decoding:
    """What is in a cache folder; ValueError when it is damaged."""
    channels = (folder / "images.raw").stat().st_size // (len(files) * size * size)
    images = np.memmap(folder / "images.raw", np.uint8, "c", shape=(len(files), channels, size, size))
    thumbnails = np.load(folder / "thumbnails.npy", "c")
    types = dict.fromkeys(("sha256", "mode", "patient", "error"), str)
    facts = pd.read_csv(folder / "facts.csv", dtype=types, keep_default_na=False)
    if not len(facts) == len(thumbnails) == len(files) or channels not in (1, 3):
        raise ValueError(f"{folder} does not hold {len(files)} images")
    for text, warned in json.loads((folder / "warnings.json").read_text("utf-8")).items():
        warnings.warn(f"{text} ({len(warned)} files, such as {min(warned)})", stacklevel=4)

    names = pd.Series(list(files), facts.index, dtype=object)
    readable = facts["error"] == ""
    if facts["patient"][readable].nunique() == 1 and names[readable].nunique() > 1:  # anonymised: it tells nothing
        facts["patient"] = ""
    patients = facts["patient"]
    facts["patient"] = patients.where((patients != "") | ~names.duplicated(keep=False), names)
    return Decoding(facts, images, thumbnails, pd.read_csv(folder / "pairs.csv"))
