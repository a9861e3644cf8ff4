"""Unpacking archives from anywhere: nothing leaves the folder, a bomb is stopped, and no folder is left half made."""

from __future__ import annotations

import lzma
import posixpath
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from gzip import BadGzipFile
from pathlib import Path, PurePosixPath, PureWindowsPath

from dmws_lite.runtime.files import build_folder

ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
RATIO, FREE = 100, 200 * 10**6  # an archive unpacks to at most FREE bytes, or RATIO times its own: our choice
UNUSABLE = (zipfile.BadZipFile, tarfile.TarError, BadGzipFile, EOFError, zlib.error, lzma.LZMAError, RuntimeError)


def unpack(archive: Path, target: Path) -> Path:
    """Unpack an archive, and those in it, into a folder that appears when all is there; nothing is done if it is."""
    return build_folder(target, partial(unpack_into, archive=archive))


def unpack_into(folder: Path, archive: Path) -> None:
    """Unpack an archive, and those in it, into a folder."""
    most = max(FREE, RATIO * archive.stat().st_size)
    _extract(archive, most, folder)
    unpack_inside(folder, most)


def _extract(archive: Path, most: int, folder: Path) -> None:
    """Unpack one archive of at most so many bytes into a folder; errors name it."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                _check_members(archive, most, ((info.filename, info.file_size) for info in opened.infolist()))
                for info in opened.infolist():
                    info.filename = info.filename.replace("\\", "/")  # as older tools of Windows write it
                    opened.extract(info, folder)
        else:
            with tarfile.open(archive) as opened:
                _check_members(archive, most, _list_members(opened))
                opened.extractall(folder, filter="data")
    except (*UNUSABLE, KeyError) as error:
        raise ValueError(
            f"{archive} is no zip or tar, or damaged, encrypted or leading out of its folder "
            f"({' '.join(str(error).split())}): get another copy, or unpack it yourself and pass the folder"
        ) from error
    except OSError as error:
        raise OSError(
            f"{archive} could not be unpacked ({error.strerror or error}): free some space, set DMWS_CACHE to a "
            "folder on another disk, or unpack it yourself and pass the folder"
        ) from error


def _list_members(opened: tarfile.TarFile) -> Iterator[tuple[str, int]]:
    """Names and bytes in a tar, and what links lead to; nothing may lie behind a link, where no check is safe."""
    links: set[PurePosixPath] = set()
    for info in opened:
        path, target = PurePosixPath(info.name), info.linkname
        if links & {path, *path.parents}:
            raise tarfile.TarError(f"{info.name} lies behind a link, or in its place")
        if info.issym() or info.islnk():  # a hard link may be to a symbolic one
            links.add(path)
        if info.issym():
            target = posixpath.normpath(path.parent / target)
        yield info.name, info.size
        yield target, 0


def _check_members(archive: Path, bytes_left: int, members: Iterable[tuple[str, int]]) -> None:
    """Refuse names, and what links lead to, out of the folder, and more bytes than an honest archive unpacks to."""
    for name, size in members:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or PureWindowsPath(name).drive or ".." in path.parts:
            raise ValueError(f"{archive}: {name!r} leads out of the folder: nothing is unpacked, get it from elsewhere")
        bytes_left -= size
        if bytes_left < 0:
            raise ValueError(
                f"{archive} unpacks to more than {RATIO} times its size, as a zip bomb does. If you trust it, unpack "
                "it yourself and pass the folder"
            )


def unpack_inside(folder: Path, most: int | None = None) -> None:
    """Replace the archives in a folder by folders of their names, where they are more than half of its bytes.

    most: bytes that it may hold in all; None allows its archives what any others may unpack to.
    """
    paths = [path for path in folder.rglob("*") if path.is_file()]
    hidden = re.compile(r"(^|/)(\.|__MACOSX)")
    sizes = {path: path.stat().st_size for path in paths if not hidden.search(path.relative_to(folder).as_posix())}
    inner = sorted(path for path in sizes if path.name.lower().endswith(ARCHIVES))
    if 2 * sum(sizes[path] for path in inner) <= sum(sizes.values()):
        return
    most = max(FREE, RATIO * sum(sizes[path] for path in inner)) if most is None else most - sum(sizes.values())
    for archive in inner:
        suffix = max((s for s in ARCHIVES if archive.name.lower().endswith(s)), key=len)
        target = archive.with_name(archive.name[: -len(suffix)])
        if target.exists():
            raise ValueError(f"{archive} would unpack to {target}, which is there: unpack it yourself, pass the folder")
        build_folder(target, partial(_extract, archive, most))
        most -= sum(path.stat().st_size for path in target.rglob("*"))
        archive.unlink()
        if [*target.iterdir()] == [target / target.name] and (target / target.name).is_dir():
            aside = (target / target.name).rename(target.with_name(f".{target.name}.inner"))
            target.rmdir()
            aside.rename(target)
