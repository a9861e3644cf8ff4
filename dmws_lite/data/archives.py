"""Unpacking archives from anywhere: nothing leaves the folder, nothing is linked, and a bomb is stopped."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import posixpath
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, NamedTuple

SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
MOST_BYTES, MOST_FILES = 200 * 10**9, 1_000_000  # that an archive may unpack to: our choice
RATIO, FREE = 100, 200 * 10**6  # unpacked bytes a packed byte; up to FREE bytes any ratio will do: our choice
CHUNK = 2**20  # bytes read at once; a tar header larger than this is refused
LONGEST_LINK, LONGEST_CHAIN = 4096, 40  # characters, links to links
KINDS = {0: "file", stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
OPENERS: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Member(NamedTuple):
    """A member of an archive; kind is "file", "folder", "link" or "special", link is a path below the archive's top."""

    name: str
    kind: str
    size: int
    link: str
    open: Callable[[], IO[bytes] | None]


@dataclass
class Allowance:
    """How much an archive, with those inside it, may still unpack to."""

    bytes: int
    files: int

    def take(self, size: int, archive: Path, name: str) -> None:
        self.bytes -= size
        self.files -= 1
        if self.bytes < 0 or self.files < 0:
            raise ValueError(
                f"{archive} unpacks to too much at {name!r}, as a zip bomb does (limits: {RATIO} times its size above "
                f"{FREE // 10**6} MB, {MOST_BYTES // 10**9} GB, {MOST_FILES:,} files). If you trust it, unpack it "
                "yourself and pass the folder"
            )


class Careful:
    """A tar's unpacked bytes as a file: large headers are refused, and so is more than `most` bytes in all."""

    def __init__(self, file: Any, most: int, archive: Path) -> None:
        self.file, self.most, self.archive, self.last = file, most, archive, b""
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= CHUNK:
            raise ValueError(f"{self.archive} has a header of {size:,} bytes: no sound tar has, get another copy")
        self.last = self.file.read(size)
        Allowance(self.most, 1).take(self.file.tell(), self.archive, "its headers")
        return self.last


def unpack(archive: str | Path, target: str | Path) -> Path:
    """Unpack a zip or tar (also .gz, .bz2, .xz) into a folder that appears only when all is there.

    archive: the file; its first bytes say what it is. Archives inside it are unpacked too, one level deep, each into a
             folder of its name, where they are more than half of its bytes (our choice).
    target:  the folder to make; when it is there already, nothing is done.
    Returns target. Links become copies of the files that they lead to.
    Raises FileNotFoundError when there is no archive; ValueError naming archive and member when one would land outside
    the folder, links out of it, is a device, is encrypted or damaged, or when it all unpacks to more than MOST_BYTES
    or MOST_FILES, or RATIO times the archive (above FREE bytes); OSError when it cannot be written. Then nothing is
    left.
    """
    archive = Path(archive)
    if not archive.is_file():
        raise FileNotFoundError(f"{archive} is not a file: pass a .zip or .tar")
    return build_folder(Path(target), partial(unpack_into, archive))


def build_folder(target: Path, fill: Callable[[Path], object], resume: bool = False) -> Path:
    """Let `fill` fill a folder beside `target`, then put it in its place in one step; several processes do it once.

    resume: keep what a failed attempt leaves, for the next one to go on from.
    """
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with FileLock(target.with_name(f".{target.name}.lock")):
        if target.is_dir():
            return target
        if not resume:
            shutil.rmtree(part, ignore_errors=True)
        part.mkdir(exist_ok=True)
        try:
            fill(part)
        except BaseException:
            if not resume:
                shutil.rmtree(part, ignore_errors=True)
            raise
        return part.rename(target)


def unpack_into(archive: Path, folder: Path) -> None:
    """Unpack an archive, and those inside it, into a folder that is there: see `unpack`."""
    allowance = _allowance(archive)
    _extract(archive, folder, allowance)
    _unpack_inner(folder, lambda _: allowance)


def unpack_inside(folder: Path) -> None:
    """Replace the archives in a folder by what they hold, where they are more than half of its bytes: see `unpack`."""
    _unpack_inner(folder, _allowance)


def share(folder: Path, suffixes: tuple[str, ...]) -> tuple[float, list[Path]]:
    """The share of a folder's bytes (0 to 1) that files with these endings hold, and those files; hidden ones aside."""
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(folder).parts)
    ]
    wanted = [path for path in found if path.name.lower().endswith(suffixes)]
    total = sum(path.stat().st_size for path in found)
    return sum(path.stat().st_size for path in wanted) / max(total, 1), wanted


def _unpack_inner(folder: Path, allow: Callable[[Path], Allowance]) -> None:
    held, inner = share(folder, SUFFIXES)
    for archive in inner if held > 0.5 else ():
        suffix = max((s for s in SUFFIXES if archive.name.lower().endswith(s)), key=len)
        target = archive.with_name(archive.name[: -len(suffix)])
        if target.exists():
            raise ValueError(f"{archive} would unpack to {target}, which is there: unpack it yourself, pass the folder")
        build_folder(target, partial(_extract, archive, allowance=allow(archive)))
        archive.unlink()
        _lift(target)


def _lift(folder: Path) -> None:
    """train.zip with nothing but a folder train in it gives train, not train/train."""
    names = [path.name for path in folder.iterdir()]
    if [name.lower() for name in names] == [folder.name.lower()] and (folder / names[0]).is_dir():
        aside = folder.with_name(f".{folder.name}.lifted")
        (folder / names[0]).rename(aside)
        folder.rmdir()
        aside.rename(folder)


def _allowance(archive: Path) -> Allowance:
    return Allowance(min(MOST_BYTES, max(FREE, RATIO * archive.stat().st_size)), MOST_FILES)


def _extract(archive: Path, folder: Path, allowance: Allowance) -> None:
    """Unpack one archive; errors name it and the member."""
    name, links = "", {}
    try:
        for member in _members(archive, allowance):
            name = member.name
            inside = _inside(name, archive)
            place = folder / inside
            allowance.take(member.size, archive, name)
            if member.kind == "folder":
                place.mkdir(parents=True, exist_ok=True)
            elif member.kind == "link":
                links[inside] = _inside(member.link, archive, name)
            elif member.kind == "file":
                _write(member, place)
            else:
                raise ValueError(f"{archive}: {name!r} is a device or the like: unpack it yourself and pass the folder")
        for link in links:
            name = str(link)
            source = folder / _end(link, links)
            if not source.is_file():
                raise ValueError(f"{archive}: {name!r} is a link, but not to a file of it: unpack it yourself")
            allowance.take(source.stat().st_size, archive, name)
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            with open(source, "rb") as file, open(folder / link, "xb") as copy:
                shutil.copyfileobj(file, copy, CHUNK)
    except FileExistsError as error:
        raise ValueError(f"{archive}: {name!r} is in it twice: unpack it yourself and pass the folder") from error
    except (NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{archive}: {name!r} {error}: unpack it yourself and pass the folder") from error
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            full = "free some space, or set DMWS_CACHE to a folder on another disk"
            way_out = full if error.errno in FULL else "unpack it yourself and pass the folder"
            raise OSError(f"{archive}: {name!r} could not be unpacked ({error.strerror}): {way_out}") from error
        after = f" after {name!r}" if name else ""
        raise ValueError(f"{archive} is no zip or tar, or damaged{after} ({error}): get another copy") from error


def _end(link: PurePosixPath, links: dict[PurePosixPath, PurePosixPath]) -> PurePosixPath:
    """Where a chain of links ends."""
    for _ in range(LONGEST_CHAIN):
        if link not in links:
            break
        link = links[link]
    return link


def _inside(name: str, archive: Path, link: str = "") -> PurePosixPath:
    """A member's path; refused when it leads out of the folder that it is unpacked to."""
    plain = PurePosixPath(name.replace("\\", "/"))
    if plain.is_absolute() or PureWindowsPath(name).drive or ".." in plain.parts or "\0" in name:
        what = f"{link!r}, a link to {name!r}," if link else f"{name!r}"
        raise ValueError(f"{archive}: {what} leads out of the folder: nothing is unpacked, get it from elsewhere")
    return plain


def _write(member: Member, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    assert source is not None
    with source, open(place, "xb") as file:
        shutil.copyfileobj(source, file, CHUNK)
        if file.tell() != member.size:
            raise EOFError(f"{file.tell():,} of {member.size:,} bytes of {member.name!r} are there")


def _members(archive: Path, allowance: Allowance) -> Iterator[Member]:
    with open(archive, "rb") as file:
        is_zip = file.read(2) == b"PK"
    return _zip_members(archive) if is_zip else _tar_members(archive, allowance.bytes)


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = "folder" if info.is_dir() else KINDS.get(stat.S_IFMT(info.external_attr >> 16), "special")
            link = ""
            if kind == "link":
                if info.file_size > LONGEST_LINK:
                    raise ValueError(
                        f"{path}: the link {info.filename!r} has {info.file_size:,} bytes: unpack it yourself"
                    )
                link = _joined(info.filename, archive.read(info).decode("utf-8", "surrogateescape"))
            yield Member(info.filename, kind, info.file_size, link, partial(archive.open, info))


def _tar_members(path: Path, most: int) -> Iterator[Member]:
    with open(path, "rb") as file:
        start = file.read(6)
    opener = next((opener for magic, opener in OPENERS.items() if start.startswith(magic)), partial(open, mode="rb"))
    with opener(path) as file:
        careful: Any = Careful(file, most, path)
        with tarfile.open(fileobj=careful, mode="r:") as archive:
            for info in archive:
                kind = "file" if info.isreg() else "folder" if info.isdir() else "special"
                if info.issym() or info.islnk():
                    kind = "link"
                link = _joined(info.name, info.linkname) if info.issym() else info.linkname
                yield Member(info.name, kind, info.size, link, partial(archive.extractfile, info))
        if len(careful.last) < tarfile.BLOCKSIZE or any(careful.last):
            raise EOFError("it breaks off")
        while careful.read(CHUNK):  # to the end, where the checksum is
            pass


def _joined(name: str, link: str) -> str:
    """Where a symbolic link leads, from the archive's top."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
