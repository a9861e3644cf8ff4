import io
import random
import shutil
import tarfile
import zipfile

import pytest

from dmws_lite.data import archives
from dmws_lite.data.archives import unpack
from dmws_lite.runtime.files import build_folder

NOISE = random.Random(0).randbytes(300_000)
FILES = {"set/train/no/1.png": b"one", "set/train/yes/Größe 腫瘍.png": NOISE, "set/empty.txt": b""}
KINDS = ("zip", "tar", "tar.gz", "tar.bz2", "tar.xz")


def pack(files, kind="zip"):
    """The bytes of an archive of names to bytes; in a tar also to links, each its kind and its target."""
    file = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return file.getvalue()
    with tarfile.open(fileobj=file, mode=f"w:{kind[4:]}") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, tuple):
                (info.type, info.linkname), data = data, b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def read_files(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def home(tmp_path):
    """A folder inside another, so that what climbs out can be seen."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def unpack_bytes(home, data):
    (home / "x.zip").write_bytes(data)
    return read_files(unpack(home / "x.zip", home / "deep" / "out"))


def assert_refused(home, data, match):
    """Unpacking fails naming the archive, leaves no folder, and writes nothing beside it or above it."""
    (home / "x.zip").write_bytes(data)
    before = read_files(home.parent)
    with pytest.raises(ValueError, match=match) as caught:
        unpack(home / "x.zip", home / "out")
    assert str(home) in str(caught.value)
    assert read_files(home.parent) == before and not (home / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_unpacks_to_what_was_packed_and_only_once(home, kind):
    assert unpack_bytes(home, pack(FILES, kind)) == FILES
    assert unpack_bytes(home, b"broken") == FILES


def test_folders_may_be_parted_by_backslashes(home):
    assert unpack_bytes(home, pack({"set\\ill\\1.png": NOISE})) == {"set/ill/1.png": NOISE}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize("name", ["a/../../evil", "/tmp/evil", "C:/evil", "..\\evil", "\\\\h\\s\\e"])
def test_a_member_that_would_land_outside_is_refused(home, kind, name):
    assert_refused(home, pack({"good.png": b"x", name: b"evil"}, kind), "leads out of the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
@pytest.mark.parametrize("link", ["/etc/passwd", "b/../../../secret"])
def test_links_that_lead_out_and_devices_are_refused(home, kind, link):
    (home.parent / "secret").write_text("secret")
    assert_refused(home, pack({"a/good.png": b"x", "a/link.png": (kind, link)}, "tar"), "out of (its|the) folder")
    for members in ({"l": (tarfile.SYMTYPE, "a"), "l/x": b"y"}, {"a/link.png": (tarfile.LNKTYPE, "a/none.png")}):
        assert_refused(home, pack(members, "tar"), "out of (its|the) folder")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_is_stopped_by_its_ratio(home, kind, monkeypatch):
    monkeypatch.setattr(archives, "FREE", 10**6)
    bomb = pack({"zeros.png": bytes(5 * 10**6)}, kind)
    assert_refused(home, bomb, "more than 100 times its size, as a zip bomb does.*pass the folder")
    assert_refused(home, pack({f"bomb.{kind}": bomb}), "as a zip bomb does")
    half = pack({"zeros.png": bytes(600_000)}, kind)
    halves = pack({f"{k}.{kind}": half for k in range(2)})
    assert_refused(home, halves, "1.zip unpacks to more|1.tar.gz unpacks to more")


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_archive_is_refused(home, kind):
    data = pack({f"{i}.png": NOISE for i in range(3)}, kind).rstrip(b"\0")
    for length in (len(data) // 10, len(data) - 999):
        assert_refused(home, data[:length], "damaged.*get another copy")


def test_what_a_killed_process_left_is_not_used(home):
    (home / ".out.part").mkdir()
    (home / ".out.part" / "stale.png").write_bytes(b"half")
    built = build_folder(home / "out", lambda part: (part / "new.png").write_bytes(b"x"))
    assert read_files(built) == {"new.png": b"x"} and not (home / ".out.part").exists()


def test_archives_inside_are_unpacked_where_they_are_most_of_it(home):
    inner = pack({"train/yes/1.png": NOISE, "train/no/1.png": b"one"})
    data = pack({"data/train.zip": inner, "data/test.tar.gz": pack({"yes/2.png": NOISE}, "tar.gz"), "README": b""})
    names = {"README": b"", "data/train/no/1.png": b"one"}
    assert unpack_bytes(home, data) == names | {"data/train/yes/1.png": NOISE, "data/test/yes/2.png": NOISE}
    assert_refused(home, pack({"a.zip": pack({"../../evil": b"x" * 1000})}), "leads out of the folder")
    clash = {"a/1.png": b"one", "a.zip": pack({"1.png": NOISE})}
    assert_refused(home, pack(clash), "which is there: unpack it yourself")
    files = {"yes/1.png": NOISE, "masks.zip": pack({"1.png": b"mask"}), "__MACOSX/._a.zip": b"no zip"}
    shutil.rmtree(home / "deep")
    assert unpack_bytes(home, pack(files)) == files
