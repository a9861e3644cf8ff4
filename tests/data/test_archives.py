import io
import random
import subprocess
import sys
import tarfile
import zipfile
from typing import Any

import pytest

from dmws_lite.data import archives
from dmws_lite.data.archives import unpack
from dmws_lite.runtime.files import build_folder

NOISE = random.Random(0).randbytes(300_000)
FILES = {"set/train/no/1.png": b"one", "set/train/yes/Größe 腫瘍.png": NOISE, "set/empty.txt": b""}
KINDS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")


def entry(name, data=b"", kind=tarfile.REGTYPE, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


def pack(path, files):
    """An archive of name to bytes, or of tar entries, of the kind that its name says."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
    else:
        mode: Any = "w" if path.suffix == ".tar" else f"w:{path.suffix[1:]}"
        entries = [entry(*item) for item in files.items()] if isinstance(files, dict) else files
        with tarfile.open(path, mode) as archive:
            for info, data in entries:
                archive.addfile(info, io.BytesIO(data))
    return path


def packed(home, files, kind="zip"):
    """The bytes of an archive."""
    path = pack(home / f"packed.{kind}", files)
    data = path.read_bytes()
    path.unlink()
    return data


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refused(archive, match, kind=ValueError):
    """Unpacking fails naming the archive, leaves no folder, and writes nothing beside it or above it."""
    before = content(archive.parent.parent)
    with pytest.raises(kind, match=match) as caught:
        unpack(archive, archive.parent / "out")
    assert str(archive.parent) in str(caught.value)
    assert content(archive.parent.parent) == before and not (archive.parent / "out").exists()


@pytest.fixture
def home(tmp_path):
    """A folder inside another, so that what climbs out can be seen."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_unpacks_to_what_was_packed_and_only_once(home, kind):
    archive = pack(home / f"scans.{kind}", FILES)
    out = unpack(archive, home / "deep" / "out")
    assert content(out) == FILES
    archive.write_bytes(b"broken")
    assert unpack(archive, out) == out
    with pytest.raises(FileNotFoundError, match=r"b.zip is not a file: pass a .zip or .tar"):
        unpack(home / "b.zip", home / "other")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/tmp/evil", "C:/evil", "C:evil", "..\\evil", "\\\\h\\s\\e"]
)
def test_a_member_that_would_land_outside_is_refused(home, kind, name):
    refused(pack(home / f"slip.{kind}", {"good.png": b"x", name: b"evil"}), "leads out of the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
@pytest.mark.parametrize("link", ["/etc/passwd", "../../secret", "b/../../../secret"])
def test_a_link_that_leads_out_is_refused(home, kind, link):
    (home.parent / "secret").write_text("secret")
    entries = [entry("a/good.png", b"x"), entry("a/link.png", b"", kind, link)]
    refused(
        pack(home / "x.tar", entries), "leads out of its folder|damaged|could not be unpacked", (ValueError, OSError)
    )


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(home, kind):
    refused(pack(home / "x.tar", [entry("good", b"x"), entry("dev/null", b"", kind)]), "'dev/null' is a special file")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_stopped_by_its_ratio(home, kind, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 10**6)
    archive = pack(home / f"bomb.{kind}", {"zeros.png": bytes(5 * 10**6)})
    assert archive.stat().st_size * archives.RATIO < 5 * 10**6
    refused(archive, "more than 100 times its size, as a zip bomb does.*pass the folder")
    (home / "x.zip").write_bytes(packed(home, {f"bomb.{kind}": archive.read_bytes()}))
    refused(home / "x.zip", "as a zip bomb does")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_refused(home, kind, share):
    archive = pack(home / f"x.{kind}", {f"{i}.png": NOISE for i in range(3)})
    data = archive.read_bytes()
    archive.write_bytes(data[: int(share * len(data.rstrip(b"\0")))])
    refused(archive, "damaged.*get another copy")


def test_a_full_disk_is_named_and_leaves_nothing(largest_file, home):
    archive = pack(home / "x.zip", {"a.png": NOISE})
    with largest_file(100_000):
        refused(archive, "could not be unpacked .*free some space, or set DMWS_CACHE", OSError)
    assert content(unpack(archive, home / "out")) == {"a.png": NOISE}


def test_what_a_killed_process_left_is_not_used(home):
    code = """
import os, sys, pathlib
from dmws_lite.runtime.files import build_folder
def fill(part):
    (part / "stale.png").write_bytes(b"half")
    os.kill(os.getpid(), 9)
build_folder(pathlib.Path(sys.argv[1]), fill)
"""
    assert subprocess.run([sys.executable, "-c", code, home / "out"]).returncode == -9
    assert not (home / "out").exists() and (home / ".out.part" / "stale.png").exists()
    assert content(build_folder(home / "out", lambda part: (part / "new.png").write_bytes(b"x"))) == {"new.png": b"x"}
    assert not (home / ".out.part").exists()


def test_archives_inside_are_unpacked_beside_the_rest(home):
    inner = packed(home, {"train/yes/1.png": NOISE, "train/no/1.png": b"one"})
    tar = packed(home, {"yes/2.png": NOISE}, "tar.gz")
    archive = pack(home / "x.zip", {"data/train.zip": inner, "data/test.tar.gz": tar, "README.md": b"read"})
    assert content(unpack(archive, home / "out")) == {
        "README.md": b"read",
        "data/train/yes/1.png": NOISE,
        "data/train/no/1.png": b"one",
        "data/test/yes/2.png": NOISE,
    }


def test_a_small_archive_beside_images_is_left_alone(home):
    files = {"yes/1.png": NOISE, "masks.zip": packed(home, {"1.png": b"mask"}), "__MACOSX/._a.zip": b"no zip"}
    assert content(unpack(pack(home / "x.zip", files), home / "out")) == files


def test_an_archive_inside_neither_climbs_out_nor_overwrites(home):
    inner = packed(home, {"../../evil": b"x" * 1000})
    refused(pack(home / "x.zip", {"a.zip": inner}), "leads out of the folder")
    inner = packed(home, {"1.png": NOISE})
    refused(pack(home / "y.zip", {"a/1.png": b"one", "a.zip": inner}), "which is there: unpack it yourself")
