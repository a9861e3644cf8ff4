"""Downloading one file: resumed where it broke off, checked, and in its place only when it is whole."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TRIES, BACKOFF = 4, 0.5  # attempts in a row that bring nothing new; seconds before the second, doubled each time
TIMEOUT = (10, 60)  # seconds to connect, and without a byte
CHUNK = 2**20
GONE, DENIED, BUSY = (404, 410), (401, 403), (408, 425, 429)


def download(
    url: str,
    target: str | Path,
    sha256: str | None = None,
    size: int | None = None,
    progress: bool = True,
    md5: str | None = None,
    auth: Any = None,
) -> Path:
    """Download a file, unless it is there; a broken download goes on where it broke off.

    url:         http or https.
    target:      the file to make. Until it is whole and checked it is called target.part.
    sha256, md5: what it must be, in hex. With neither, the first download's sha256 is written to target.json, with a
                 warning that says what to put into a card, and later downloads must equal it.
    size:        bytes that it must have.
    auth:        for `requests`, for this server alone.
    Returns target. Several processes may ask for the same file: it is downloaded once.
    Raises ValueError for another scheme, a wrong checksum or size; FileNotFoundError (404), PermissionError (401, 403)
    or ConnectionError naming the url; OSError naming the file when it cannot be written. The part is kept for the next
    attempt, unless it is wrong.
    """
    from filelock import FileLock

    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError(f"url={url!r} is refused: pass an address that begins with http:// or https://")
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if target.exists():
            _check(target, target, url, sha256, size, md5)
            return target
        part = _receive(url, target, size, progress, auth)
        try:
            digest = _check(part, target, url, sha256, size, md5)
        except ValueError:
            _discard(part)
            raise
        _record(target, url, digest, part.stat().st_size, known=bool(sha256 or md5))
        part.replace(target)
        _discard(part)
    return target


def recorded(target: Path) -> dict[str, Any]:
    """What is known of a file that was downloaded to `target`: its url, sha256 and size; empty when nothing is."""
    return _read(_beside(target, ".json"))


def forget(target: Path) -> None:
    """Delete a download, and what is known of it."""
    target.unlink(missing_ok=True)
    _beside(target, ".json").unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _beside(part, ".json").unlink(missing_ok=True)


def _check(file: Path, target: Path, url: str, sha256: str | None, size: int | None, md5: str | None) -> str:
    """The file's sha256, once it is found to be the right one."""
    if size is not None and file.stat().st_size != size:
        raise ValueError(f"{target} has {file.stat().st_size:,} bytes instead of {size:,}: {_way_out(file, target)}")
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", *(["md5"] if md5 else []))}
    with open(file, "rb") as opened:
        while chunk := opened.read(CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    found = {name: digest.hexdigest() for name, digest in digests.items()}
    pinned = recorded(target)
    expected = {"sha256": sha256, "md5": md5}
    if not sha256 and not md5 and pinned.get("url") == url:
        expected["sha256"] = pinned.get("sha256")
    for name, value in expected.items():
        if value and found[name] != value.lower():
            since = "" if sha256 or md5 else f", as it was when it was first downloaded ({_beside(target, '.json')})"
            raise ValueError(
                f"{target}: {name} is {found[name]} instead of {value}{since}. {url} holds another file, or it was "
                f"changed on the way: {_way_out(file, target)}"
            )
    return found["sha256"]


def _way_out(file: Path, target: Path) -> str:
    again = f"delete {target} and download again" if file == target else "download again"
    return f"{again}; if it stays so, find out why before you correct the card"


def _record(target: Path, url: str, sha256: str, size: int, known: bool) -> None:
    from dmws_lite.runtime.files import write_atomically

    record, text = _beside(target, ".json"), json.dumps({"url": url, "sha256": sha256, "size": size}, indent=1)
    if not known and recorded(target).get("url") != url:
        warnings.warn(
            f"{url}: its checksum was not known, so nothing says that this is the right file. Later downloads must "
            f"equal it ({record}). For a card's url: sha256: {sha256}, size: {size}",
            stacklevel=3,
        )
    write_atomically(record, lambda path: path.write_text(text, "utf-8"))


def _receive(url: str, target: Path, size: int | None, progress: bool, auth: Any) -> Path:
    """All of the file in target.part, over as many connections as it takes."""
    import requests
    from urllib3.exceptions import HTTPError

    part = _beside(target, ".part")
    failures, furthest = 0, _length(part)
    with requests.Session() as session:
        while True:
            try:
                _attempt(session, url, part, size, progress, auth)
                return part
            except (ConnectionError, TimeoutError, requests.ConnectionError, requests.Timeout, HTTPError) as error:
                failures = 1 if _length(part) > furthest else failures + 1
                furthest = max(furthest, _length(part))
                if failures == TRIES:
                    kept = f"; {_length(part):,} bytes are kept and it goes on from there" if _length(part) else ""
                    raise ConnectionError(
                        f"{url} could not be downloaded ({_plain(error)}): check the network and try again{kept}"
                    ) from error
                time.sleep(BACKOFF * 2 ** (failures - 1))
            except requests.RequestException as error:
                raise ValueError(f"{url} could not be downloaded ({_plain(error)}): correct the address") from error


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _plain(error: Exception) -> str:
    """The innermost reason of an error, without the address, which may hold a signature."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return str(reason or error).split("): ")[-1] or type(error).__name__


def _attempt(session: Any, url: str, part: Path, size: int | None, progress: bool, auth: Any) -> None:
    """One connection: ask for what is missing and write it. Raises ConnectionError when some is missing still."""
    state = _read(_beside(part, ".json"))
    have = _length(part) if state.get("url") == url and state.get("validator") else 0
    if have and have == state.get("total"):
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state["validator"]}
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT, auth=auth) as answer:
        if answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{have}":
            return
        if answer.status_code == 416 or (answer.status_code == 206 and not _goes_on(answer, have, state)):
            _discard(part)
            raise ConnectionError("the file on the server has changed")
        _check_status(answer, url)
        have = have if answer.status_code == 206 else 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        if size is not None and total is not None and total != size:
            raise ValueError(f"{url} has {total:,} bytes instead of {size:,}: it has changed; correct the card")
        _check_space(part, total, have)
        _write(answer, part, have, total, size, url, progress)


def _validator(answer: Any) -> str:
    """What tells one version of a file from another; a weak ETag may not be used for that."""
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")


def _goes_on(answer: Any, have: int, state: dict[str, Any]) -> bool:
    return (
        bool(have)
        and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        and _validator(answer) in ("", state["validator"])
    )


def _check_status(answer: Any, url: str) -> None:
    status = f"{answer.status_code} {answer.reason}"
    if answer.status_code in GONE:
        raise FileNotFoundError(f"{url} is not there ({status}): correct the address")
    if answer.status_code in DENIED:
        raise PermissionError(f"{url} is not for everyone ({status}): log in there, or download it by hand")
    if answer.status_code in BUSY or answer.status_code >= 500:
        raise ConnectionError(f"the server answers {status}")
    if answer.status_code not in (200, 206):
        raise ValueError(f"{url} cannot be downloaded ({status}): correct the address")


def _check_space(part: Path, total: int | None, have: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if total is not None and total - have > free:
        raise OSError(
            f"{part} needs {total - have:,} bytes more, and {free:,} are free: free some space, or set DMWS_CACHE to a "
            "folder on another disk"
        )


def _write(answer: Any, part: Path, have: int, total: int | None, size: int | None, url: str, progress: bool) -> None:
    from dmws_lite.runtime.progress import tqdm

    most, got = total if total is not None else size, have
    state = json.dumps({"url": url, "validator": _validator(answer), "total": total})
    bar = tqdm(desc=part.stem, total=most, initial=have, unit="B", unit_scale=True, disable=not progress, leave=False)
    try:
        with bar, open(part, "ab" if have else "wb") as file:
            _beside(part, ".json").write_text(state, "utf-8")
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                got += len(chunk)
                if most is not None and got > most:
                    raise ValueError(f"{url} sends more than {most:,} bytes: it has changed; correct the card")
                file.write(chunk)
                bar.update(len(chunk))
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise OSError(
            f"{part} could not be written ({error.strerror}): free some space, or set DMWS_CACHE to a folder on "
            "another disk; what is there is kept, and the download goes on from it"
        ) from error
    if most is not None and got < most:
        raise ConnectionError(f"{got:,} of {most:,} bytes came")
