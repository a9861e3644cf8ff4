import bz2
import gzip
import io
import os
import random
import stat
import subprocess
import sys
import tarfile
import zipfile
import zlib
from typing import Any

import pytest

from dmws_lite.data import archives
from dmws_lite.data.archives import unpack

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


def packed(files):
    """The bytes of a zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


def zip_entry(path, name, mode, data):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"a")
        archive.writestr(info, data)
    return path


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def refused(archive, match, kind=ValueError):
    """Unpacking fails naming the archive, leaves no folder, and writes nothing beside it."""
    home = archive.parent
    before = {path for path in home.rglob("*") if not path.name.endswith(".lock")}
    with pytest.raises(kind, match=match) as caught:
        unpack(archive, home / "out")
    assert str(archive) in str(caught.value)
    assert {path for path in home.rglob("*") if not path.name.endswith(".lock")} == before
    return str(caught.value)


@pytest.fixture
def home(tmp_path):
    """A folder inside another, so that what climbs out can be seen."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_unpacks_to_what_was_packed(home, kind):
    out = unpack(pack(home / f"scans.{kind}", FILES), home / "deep" / "out")
    assert content(out) == FILES


@pytest.mark.parametrize("tool", ["zip", "tar"])
def test_archives_of_other_tools_unpack(home, tool):
    folder = home / "images" / "yes"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(NOISE)
    os.link(folder / "1.png", folder / "2.png")
    (folder / "3.png").symlink_to("1.png")
    command = {"zip": ["zip", "-qry", "../x.zip", "."], "tar": ["tar", "-cJf", "../x.zip", "."]}[tool]
    try:
        subprocess.run(command, cwd=home / "images", check=True)
    except FileNotFoundError:
        pytest.skip(f"{tool} is not installed")
    out = unpack(home / "x.zip", home / "out")
    assert content(out) == dict.fromkeys(("yes/1.png", "yes/2.png", "yes/3.png"), NOISE)
    assert not any(path.is_symlink() for path in out.rglob("*"))


def test_what_is_there_is_not_unpacked_again(home):
    archive = pack(home / "a.zip", FILES)
    out = unpack(archive, home / "out")
    archive.write_bytes(b"broken")
    (out / "mine.txt").write_text("kept")
    assert unpack(archive, out) == out
    assert (out / "mine.txt").exists()
    with pytest.raises(FileNotFoundError, match=r"b.zip is not a file: pass a .zip or .tar"):
        unpack(home / "b.zip", home / "other")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/tmp/evil", "C:/evil", "C:evil", "..\\evil", "\\\\h\\s\\e"]
)
def test_a_member_that_would_land_outside_is_refused(home, kind, name):
    archive = pack(home / f"slip.{kind}", {"good.png": b"x", name: b"evil"})
    text = refused(archive, "leads out of the folder")
    assert repr(name) in text
    assert content(home.parent).keys() == {f"home/slip.{kind}"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
@pytest.mark.parametrize("link", ["/etc/passwd", "../../secret", "b/../../../secret", "C:\\secret"])
def test_a_link_that_leads_out_is_refused(home, kind, link):
    (home.parent / "secret").write_text("secret")
    entries = [entry("a/good.png", b"x"), entry("a/link.png", b"", kind, link)]
    refused(pack(home / "x.tar", entries), "'a/link.png'.*leads out of the folder|'a/link.png'.* not to a file of it")


def test_a_link_that_leads_out_is_refused_in_a_zip(home):
    (home.parent / "secret").write_text("secret")
    refused(
        zip_entry(home / "x.zip", "link.png", stat.S_IFLNK | 0o777, "../secret"), "'link.png', a link to '../secret'"
    )
    refused(zip_entry(home / "y.zip", "link.png", stat.S_IFLNK | 0o777, "x" * 5000), "link.png' has 5,000 bytes")


def test_nothing_is_written_through_a_link(home):
    outside = home.parent / "outside"
    outside.mkdir()
    for link in (str(outside), "../outside"):
        refused(
            pack(home / "x.tar", [entry("d", b"", tarfile.SYMTYPE, link), entry("d/evil", b"x")]), "leads out|twice"
        )
    assert not list(outside.iterdir())


def test_links_inside_become_copies(home):
    entries = [
        entry("s.png", b"", tarfile.SYMTYPE, "b/s.png"),
        entry("a/1.png", b"one"),
        entry("b/h.png", b"", tarfile.LNKTYPE, "a/1.png"),
        entry("b/s.png", b"", tarfile.SYMTYPE, "../a/1.png"),
    ]
    out = unpack(pack(home / "x.tar.gz", entries), home / "out")
    assert content(out) == dict.fromkeys(("s.png", "a/1.png", "b/h.png", "b/s.png"), b"one")
    assert not any(path.is_symlink() or path.stat().st_nlink > 1 for path in out.rglob("*.png"))


@pytest.mark.parametrize("link", ["nowhere.png", "a", "self.png"])
def test_a_link_to_no_file_is_refused(home, link):
    entries = [entry("a/1.png", b"one"), entry("self.png", b"", tarfile.SYMTYPE, link)]
    refused(pack(home / "x.tar", entries), "'self.png' is a link, but not to a file of it")


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(home, kind):
    refused(pack(home / "x.tar", [entry("good", b"x"), entry("dev/null", b"", kind)]), "'dev/null' is a device")


def test_devices_are_refused_in_a_zip(home):
    refused(zip_entry(home / "x.zip", "pipe", stat.S_IFIFO | 0o666, b""), "'pipe' is a device")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_bomb_is_stopped_by_its_ratio(home, kind, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 10**6)
    archive = pack(home / f"bomb.{kind}", {"zeros.png": bytes(5 * 10**6)})
    assert archive.stat().st_size * archives.RATIO < 5 * 10**6
    refused(archive, "unpacks to too much at '.*', as a zip bomb does .*pass the folder")


def test_a_bomb_is_stopped_by_the_limits_as_they_are(home):
    inside = bytes(archives.FREE // 4)
    refused(pack(home / "bomb.zip", {f"{i}.png": inside for i in range(5)}), "unpacks to too much at '4.png'")


def test_a_bomb_in_a_bomb_is_stopped(home, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 10**6)
    monkeypatch.setattr(archives, "RATIO", 20)
    inner = packed({"zeros.png": bytes(400_000)})
    archive = pack(home / "bomb.zip", {f"{i}.zip": inner for i in range(5)})
    assert len(inner) * 20 < 400_000
    refused_text = refused_nested(archive)
    assert "unpacks to too much" in refused_text


def refused_nested(archive):
    with pytest.raises(ValueError) as caught:
        unpack(archive, archive.parent / "out")
    assert not (archive.parent / "out").exists()
    return str(caught.value)


def test_an_archive_of_too_much_or_too_many_files_is_stopped(home, monkeypatch):
    archive = pack(home / "x.zip", {f"{i}.png": NOISE for i in range(4)})
    monkeypatch.setattr(archives, "MOST_BYTES", 10**6)
    refused(archive, "unpacks to too much at '3.png'")
    monkeypatch.setattr(archives, "MOST_BYTES", 10**9)
    monkeypatch.setattr(archives, "MOST_FILES", 3)
    refused(archive, "unpacks to too much at '3.png'")
    refused(pack(home / "y.tar", [entry(str(i), b"", tarfile.DIRTYPE) for i in range(4)]), "too much at '3'")


def test_copies_that_links_ask_for_count(home, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 10**6)
    monkeypatch.setattr(archives, "RATIO", 1)
    links = [entry(f"{i}.png", b"", tarfile.LNKTYPE, "a.png") for i in range(5)]
    refused(pack(home / "x.tar", [entry("a.png", NOISE), *links]), "unpacks to too much at '2.png'")


@pytest.mark.parametrize("said", [10, 200_000])
def test_a_member_that_holds_more_or_less_than_it_says_is_refused(home, said):
    archive = pack(home / "x.zip", {"zeros.png": bytes(100_000)})
    data = archive.read_bytes().replace((100_000).to_bytes(4, "little"), said.to_bytes(4, "little"))
    archive.write_bytes(data)
    refused(archive, "or damaged after 'zeros.png'")


def test_a_huge_header_does_not_fill_the_memory(home):
    size = 30 * 2**20
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, size
    archive = home / "x.tar.gz"
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(header.tobuf(tarfile.USTAR_FORMAT) + bytes(size))
    refused(archive, "has a header of 31,457,280 bytes")


def test_zeros_after_the_end_are_a_bomb_too(home, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 10**6)
    archive = pack(home / "x.tar", {"a.png": b"a"})
    data = gzip.compress(archive.read_bytes() + bytes(5 * 10**6))
    (home / "y.tar.gz").write_bytes(data)
    refused(home / "y.tar.gz", "unpacks to too much at 'its headers'")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_refused(home, kind, share):
    archive = pack(home / f"x.{kind}", {f"{i}.png": NOISE for i in range(3)})
    data = archive.read_bytes()
    archive.write_bytes(data[: int(share * len(data.rstrip(b"\0")))])
    refused(archive, "damaged.*get another copy")


def test_a_tar_that_breaks_off_between_members_is_refused(home):
    archive = pack(home / "x.tar", {"a.png": b"a", "b.png": b"b"})
    archive.write_bytes(archive.read_bytes()[:1024])
    refused(archive, "damaged after 'a.png' .it breaks off.")


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_flipped_byte_is_noticed(home, kind):
    archive = pack(home / f"x.{kind}", {"a.png": NOISE})
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    refused(archive, "damaged.*get another copy")


def test_a_broken_checksum_at_the_end_of_a_gzip_is_noticed(home):
    archive = pack(home / "x.tar.gz", {"a.png": b"a"})
    data = bytearray(archive.read_bytes())
    data[-8:-4] = (zlib.crc32(b"other")).to_bytes(4, "little")
    archive.write_bytes(data)
    refused(archive, "damaged after 'a.png' .CRC check failed")


@pytest.mark.parametrize("data", [b"", b"<!DOCTYPE html><html>log in</html>", NOISE, b"PK", b"\x1f\x8b", b"BZh9"])
def test_what_is_no_archive_is_refused(home, data):
    (home / "x.zip").write_bytes(data)
    refused(home / "x.zip", "is no zip or tar, or damaged")


def test_an_encrypted_zip_is_refused(home):
    archive = pack(home / "x.zip", {"a.png": b"a"})
    data = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    archive.write_bytes(data)
    refused(archive, "'a.png'.*encrypted.*: unpack it yourself and pass the folder")


def test_an_unknown_compression_is_refused(home):
    archive = pack(home / "x.zip", {"a.png": b"a"})
    data = bytearray(archive.read_bytes())
    for mark, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + place] = 9  # Deflate64
    archive.write_bytes(data)
    refused(archive, "'a.png'.*compression.*: unpack it yourself and pass the folder")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a.png", "a.png"), ("a", "a/b.png"), ("a/b", "a"), ("a.png", "./a.png")])
def test_two_members_of_one_name_are_refused(home, names):
    refused(pack(home / "x.tar", [entry(name, b"x") for name in names]), "twice|could not be unpacked")


def test_a_name_that_is_too_long_is_named(home):
    refused(pack(home / "x.tar", {"n" * 300: b"x"}), r"could not be unpacked \(File name too long\)", OSError)


def test_a_full_disk_is_named_and_leaves_nothing(largest_file, home):
    archive = pack(home / "x.zip", {"a.png": NOISE})
    with largest_file(100_000):
        refused(archive, "'a.png' could not be unpacked .*free some space, or set DMWS_CACHE", OSError)
    assert content(unpack(archive, home / "out")) == {"a.png": NOISE}


def test_what_a_killed_unpacking_left_is_not_used(home):
    archive = pack(home / "x.zip", {f"{i}.png": NOISE for i in range(3)})
    code = """
import os, sys
from dmws_lite.data import archives
write, count = archives._write, []
def killed(*args):
    count.append(write(*args))
    if len(count) == 2:
        os.kill(os.getpid(), 9)
archives._write = killed
archives.unpack(sys.argv[1], sys.argv[2])
"""
    out = home / "out"
    assert subprocess.run([sys.executable, "-c", code, archive, out]).returncode == -9
    assert not out.exists()
    left = home / ".out.part"
    assert len(content(left)) == 2
    (left / "stale.png").write_bytes(b"stale")
    assert content(unpack(archive, out)).keys() == {"0.png", "1.png", "2.png"}
    assert not left.exists()


def test_two_processes_unpack_once(home):
    archive = pack(home / "x.tar.gz", {f"{i}.png": NOISE for i in range(20)})
    code = "import sys; from dmws_lite.data.archives import unpack; unpack(*sys.argv[1:])"
    both = [subprocess.Popen([sys.executable, "-c", code, archive, home / "out"]) for _ in range(3)]
    assert [process.wait() for process in both] == [0, 0, 0]
    assert content(home / "out") == {f"{i}.png": NOISE for i in range(20)}


def test_archives_inside_are_unpacked_beside_the_rest(home):
    inner = {"train/yes/1.png": NOISE, "train/no/1.png": b"one"}
    tar = pack(home / "test.tar.gz", {"yes/2.png": NOISE}).read_bytes()
    archive = pack(home / "x.zip", {"data/train.zip": packed(inner), "data/test.tar.gz": tar, "README.md": b"read"})
    assert content(unpack(archive, home / "out")) == {
        "README.md": b"read",
        "data/train/yes/1.png": NOISE,
        "data/train/no/1.png": b"one",
        "data/test/yes/2.png": NOISE,
    }


def test_archives_inside_are_unpacked_one_level_deep(home):
    deepest = packed({"1.png": NOISE})
    archive = pack(home / "x.zip", {"a.zip": packed({"b.zip": deepest})})
    assert content(unpack(archive, home / "out")) == {"a/b.zip": deepest}


def test_a_small_archive_beside_images_is_left_alone(home):
    files = {"yes/1.png": NOISE, "masks.zip": packed({"1.png": b"mask"}), "__MACOSX/._a.zip": b"no zip"}
    assert content(unpack(pack(home / "x.zip", files), home / "out")) == files


def test_an_evil_archive_inside_is_refused(home):
    archive = pack(home / "x.zip", {"a.zip": packed({"../../evil": b"x" * 1000})})
    assert "leads out of the folder" in refused_nested(archive)
    assert content(home.parent).keys() == {"home/x.zip"}


def test_an_archive_inside_does_not_overwrite_a_folder(home):
    archive = pack(home / "x.zip", {"a/1.png": b"one", "a.zip": packed({"1.png": NOISE})})
    assert "which is there: unpack it yourself" in refused_nested(archive)


def test_a_bz2_is_read_by_its_first_bytes_not_by_its_name(home):
    data = pack(home / "x.tar", FILES).read_bytes()
    (home / "file_downloaded").write_bytes(bz2.compress(data))
    assert content(unpack(home / "file_downloaded", home / "out")) == FILES
