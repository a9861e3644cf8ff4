"""Images decoded once, in parallel, into memory-mapped arrays that are keyed by content and settings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from dmws_lite.data.decoding import THUMBNAIL, Decoded, decode, suffix_of
from dmws_lite.data.duplicates import pairs
from dmws_lite.runtime.files import cache_folder, write_atomically
from dmws_lite.runtime.progress import tqdm

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
FORMAT = 1  # raise it when decoding, thumbnails or pairs change: old caches are then made anew
FACTS = ("width", "height", "mode", "depth", "blank", "patient", "error")
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
    size, fit, window:   see `decoding.decode`.
    A file is read again when its size or a time stamp has changed. Two processes may ask for the same images: one
    decodes, the other waits. What a killed process left is not used.
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
        if found is None:
            _build(folder, root, wanted, size, fit, window, progress)
            found = _open(folder, len(files), size)
    if found is None:
        raise OSError(f"cache folder {folder} was changed by another program: delete it")
    return found


def file_hashes(root: Path, files: Sequence[str], progress: bool = True) -> dict[str, str]:
    """The sha256 of each file's bytes; a file that has not changed since it was last read is not read again."""
    index = cache_folder("hashes") / f"{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]}.json"
    try:
        known = json.loads(index.read_text())
    except (OSError, ValueError):
        known = {}
    stamps = {}
    for file in files:
        stat = os.stat(root / file)
        stamps[file] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    changed = [file for file in files if known.get(file, [None])[:3] != stamps[file]]
    if changed:
        with ThreadPoolExecutor(WORKERS) as pool:
            new = pool.map(lambda file: _sha256(root / file), changed)
            bar = tqdm(zip(changed, new, strict=True), "hashing", len(changed), disable=not progress, leave=False)
            known |= {file: [*stamps[file], digest] for file, digest in bar}
        known = {file: known[file] for file in files}
        write_atomically(index, lambda part: part.write_text(json.dumps(known)))
    return {file: known[file][3] for file in files}


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        file, frame, _ = row
        try:
            return decode((root / file).read_bytes(), suffix_of(file), size, fit, frame, window)
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
                patient = pseudonyms.setdefault(result.patient, f"patient {len(pseudonyms)}")
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
