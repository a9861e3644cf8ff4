"""Writing files so that a crash, a full disk or a second process never leaves half of one."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError


def writable_folder(folder: str | Path, advice: str = "pass another folder") -> Path:
    """Make sure that a folder exists and can be written to, before any work is done; else raise PermissionError."""
    folder = Path(folder)
    probe = folder / f".write-test-{os.getpid()}-{threading.get_ident()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(f"folder {folder} cannot be written to ({error.strerror}): {advice}") from error
    return folder


def cache_folder(*parts: str) -> Path:
    """A folder for what can be made or fetched again: below $DMWS_CACHE, or ~/.cache/dmws-lite."""
    home = os.environ.get("DMWS_CACHE") or Path.home() / ".cache" / "dmws-lite"
    with suppress(OSError):  # told below
        Path(home).mkdir(0o700, parents=True, exist_ok=True)  # images of patients are nobody else's
    return writable_folder(Path(home, *parts), "set DMWS_CACHE to a folder that can")


def write_atomically(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file beside `path`, then put it in its place in one step.

    Raises OSError naming the file when it cannot be written (a full disk, for example); what `path` held is kept.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        write(part)
        with open(part, "r+b") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"{path} could not be written ({error}): free some space or pass another folder (for the cache, in "
            "DMWS_CACHE); nothing was lost"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def build_folder(target: Path, fill: Callable[[Path], object], resume: bool = False) -> Path:
    """Let `fill` fill a folder beside `target`, then put it in its place in one step; several processes do it once.

    resume: keep the files of a failed attempt, so that the next one continues from them.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")  # what is not complete yet
    with FileLock(target.with_name(f".{target.name}.lock")):
        if target.is_dir():
            return target
        if not resume:
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        try:
            part.mkdir(exist_ok=True)
            fill(part)
            return part.rename(target)
        finally:
            if not resume:
                shutil.rmtree(part, ignore_errors=True)


def claim(path: Path) -> FileLock | None:
    """A lock on the file `path`, released when its process ends at the latest; None when another process has it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock
