"""Images decoded once, in parallel, into memory-mapped arrays that are keyed by content and settings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from dmws_lite.data.duplicates import pairs
from dmws_lite.data.images import THUMBNAIL, Decoded, decode, suffix_of
from dmws_lite.runtime.files import cache_folder, write_atomically
from dmws_lite.runtime.progress import tqdm

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
FORMAT = 2  # raise it when decoding, thumbnails or pairs change: old caches are then made anew
FACTS = ("width", "height", "mode", "depth", "blank", "patient", "error")
NOBODY = ("", "anon", "anonymous", "anonymised", "anonymized", "none", "null", "unknown")  # ids of no patient
AGAIN = "open it again"  # ends the errors that are not kept
WORKERS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Decoding:
    """Decoded images, a row an image of the table that was asked for.

    folder:     where they are kept.
    facts:      table with the columns sha256, width, height, mode, depth, blank, patient, error.
    images:     uint8 (N, C, size, size), memory-mapped; zeros where error is not "".
    thumbnails: uint8 (N, 32, 32).
    pairs:      copies and look-alikes, see `duplicates.pairs`.
    """

    folder: Path
    facts: pd.DataFrame
    images: Array
    thumbnails: Array
    pairs: pd.DataFrame


def decoded(
    root: Path,
    files: Sequence[str],
    frames: Sequence[int],
    size: int,
    fit: str = "crop",
    window: tuple[float, float] | None = None,
    progress: bool = True,
) -> Decoding:
    """Decode images, or open what was decoded before from the same bytes with the same settings.

    root, files, frames: the folder, each image's path in it, and its slice in that file.
    size, fit, window:   see `images.decode`.
    A file is read again when its size or a time stamp has changed. Two processes may ask for the same images: one
    decodes, the other waits. What a killed process left is not used. Files that cannot be read, or that change between
    hashing and decoding, get an error in the facts.
    Patients are pseudonyms of the ids in DICOM files; NOBODY, zeros, and one id in all files (with a warning) are not
    known. Images of one file whose patient is not known have the file for a patient.
    Raises OSError naming the cache folder when it cannot be written (full or read-only).
    """
    hashes = file_hashes(root, sorted(set(files)), progress)
    wanted = [[file, int(frame), hashes[file]] for file, frame in zip(files, frames, strict=True)]
    settings = {"format": FORMAT, "size": size, "fit": fit, "window": window, "images": wanted}
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:24]
    home = cache_folder("arrays")
    folder = home / key
    with FileLock(home / f"{key}.lock"):
        found = _open(folder, len(files), size)
        if found and found.facts["error"].str.endswith(AGAIN).any():
            found = None
        if found is None:
            _build(folder, root, wanted, size, fit, window, progress)
            found = _open(folder, len(files), size)
    if found is None:
        raise OSError(f"cache folder {folder} was changed by another program: delete it")
    return replace(found, facts=found.facts.assign(patient=_patients(found.facts, files)))


def file_hashes(root: Path, files: Sequence[str], progress: bool = True) -> dict[str, str]:
    """The sha256 of each file's bytes, "" where it cannot be read.

    A file that has not changed since it was last read is not read again.
    """
    index = cache_folder("hashes") / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]}.json"
    stamps = {file: _stamp(root / file) for file in files}
    known = {file: entry for file, entry in _index(index).items() if stamps.get(file) == entry[:3]}
    changed = [file for file in files if file not in known]
    if changed:
        with ThreadPoolExecutor(WORKERS) as pool:
            new = pool.map(lambda file: _sha256(root / file), changed)
            bar = tqdm(zip(changed, new, strict=True), "hashing", len(changed), disable=not progress, leave=False)
            known |= {file: [*stamps[file], digest] for file, digest in bar if stamps[file] and digest}
        write_atomically(index, lambda part: part.write_text(json.dumps(known)))
    return {file: known[file][3] if file in known else "" for file in files}


def _index(path: Path) -> dict[str, list[Any]]:
    """Each file's stamp and hash as they were written down; nothing of what is damaged."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    entries = known.items() if isinstance(known, dict) else ()
    return {file: entry for file, entry in entries if isinstance(entry, list) and len(entry) == 4}


def _stamp(path: Path) -> list[int]:
    """What changes when a file does; nothing for a file that cannot be reached."""
    try:
        stat = os.stat(path)
    except OSError:
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _bytes(path: Path, sha256: str) -> bytes:
    """A file's bytes, which have to be those that were hashed ("" where that failed)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        way_out = f": {AGAIN}" if sha256 else ""
        raise ValueError(f"it cannot be read ({error.strerror or type(error).__name__}){way_out}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"it changed while it was read: {AGAIN}")
    return data


def _patients(facts: pd.DataFrame, files: Sequence[str]) -> pd.Series:
    """Each image's patient as far as known: an id that all files share tells nobody apart."""
    import pandas as pd

    names = pd.Series(list(files), facts.index, dtype=object)
    patients, readable = facts["patient"], facts["error"] == ""
    ids, count = set(patients[readable]), names[readable].nunique()
    if len(ids) == 1 and "" not in ids and count > 1:
        warnings.warn(
            f"all {count} files have one DICOM patient id, as anonymised exports do: patients count as unknown. "
            "A manifest with a column 'patient' can name them",
            stacklevel=3,
        )
        patients = pd.Series("", facts.index)
    return patients.where((patients != "") | ~names.duplicated(keep=False), names)


def _open(folder: Path, count: int, size: int) -> Decoding | None:
    """What is in a cache folder, or None when it is missing or not whole."""
    import pandas as pd

    try:
        channels = json.loads((folder / "done.json").read_text())["channels"]
        images = np.memmap(folder / "images.raw", np.uint8, "c", shape=(count, channels, size, size))
        thumbnails = np.memmap(folder / "thumbnails.raw", np.uint8, "c", shape=(count, THUMBNAIL, THUMBNAIL))
        text = {"dtype": {"sha256": str, "mode": str, "patient": str, "error": str}, "keep_default_na": False}
        facts = pd.read_csv(folder / "facts.csv", **text)
        linked = pd.read_csv(folder / "pairs.csv")
    except (OSError, ValueError, KeyError):
        return None
    return Decoding(folder, facts, images, thumbnails, linked) if len(facts) == count else None


def _build(folder: Path, root: Path, wanted: list[list[Any]], size: int, fit: str, window: Any, progress: bool) -> None:
    """Decode everything beside `folder`, then put it in its place in one step."""
    for left in (folder, *folder.parent.glob(f"{folder.name}.*.part")):
        shutil.rmtree(left, ignore_errors=True)
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")

    def read(row: list[Any]) -> Decoded | str:
        file, frame, sha = row
        try:
            return decode(_bytes(root / file, sha), suffix_of(file) or ".dcm", size, fit, frame, window)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # decoders raise many kinds; they are kept, and told together
            return str(error) or type(error).__name__

    try:
        part.mkdir()
        with ThreadPoolExecutor(WORKERS) as pool:
            results = tqdm(pool.map(read, wanted), "decoding", len(wanted), disable=not progress, leave=False)
            facts, channels = _write(part, results, size)
        facts.insert(0, "sha256", [sha for _, _, sha in wanted])
        facts.to_csv(part / "facts.csv", index=False)
        thumbnails = np.fromfile(part / "thumbnails.raw", np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL)
        usable = [
            f"{sha}#{frame}" if not error else "" for (_, frame, sha), error in zip(wanted, facts["error"], strict=True)
        ]
        pairs(usable, thumbnails, progress).to_csv(part / "pairs.csv", index=False)
        (part / "done.json").write_text(json.dumps({"channels": channels}))
        part.rename(folder)
    except OSError as error:
        raise OSError(
            f"cache folder {folder.parent} could not be written ({error.strerror or error}): "
            "free some space, or set DMWS_CACHE to a folder that has it"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(part: Path, results: Iterator[Decoded | str], size: int) -> tuple[pd.DataFrame, int]:
    """Write images and thumbnails one after the other; returns their facts and the number of channels.

    Gray images take one channel; from the first colour image on all take three.
    """
    import pandas as pd

    facts, channels, pseudonyms = [], 1, {"": ""}
    with open(part / "images.raw", "wb+") as images, open(part / "thumbnails.raw", "wb") as thumbnails:
        for result in results:
            if isinstance(result, str):
                image, small = np.zeros((1, size, size), np.uint8), np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)
                facts.append((0, 0, "", 0, False, "", result))
            else:
                image, small = result.image, result.thumbnail
                known = result.patient.strip().lower() not in NOBODY and result.patient.strip(" 0")
                patient = pseudonyms.setdefault(result.patient if known else "", f"patient {len(pseudonyms)}")
                facts.append((result.width, result.height, result.mode, result.depth, result.blank, patient, ""))
            if len(image) > channels:
                channels = _widen(images, size)
            images.write(np.broadcast_to(image, (channels, size, size)).tobytes())
            thumbnails.write(small.tobytes())
    return pd.DataFrame(facts, columns=list(FACTS)), channels


def _widen(images: Any, size: int) -> int:
    """Give the gray images written so far three equal channels."""
    images.seek(0)
    gray = np.frombuffer(images.read(), np.uint8).reshape(-1, 1, size, size)
    images.seek(0)
    for row in gray:
        images.write(np.broadcast_to(row, (3, size, size)).tobytes())
    return 3
