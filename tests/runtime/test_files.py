import errno
from pathlib import Path

import pytest

from dmws_lite.runtime.files import cache_folder, writable_folder, write_atomically


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PermissionError, match="file/out cannot be written to .*: pass another folder"):
        writable_folder(tmp_path / "file" / "out")


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def write(part: Path) -> None:
        part.write_text("new")
        assert path.read_text() == "old"

    assert write_atomically(path, write) == path
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def write(part: Path) -> None:
        part.write_text("ha")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="result.txt could not be written .*No space left.*nothing was lost"):
        write_atomically(path, write)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_cache_is_where_the_variable_says(tmp_path, monkeypatch):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "here"))
    assert cache_folder("arrays", "x") == tmp_path / "here" / "arrays" / "x" and (tmp_path / "here/arrays/x").is_dir()
    monkeypatch.delenv("DMWS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "dmws-lite"


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "file"))
    with pytest.raises(PermissionError, match="file/arrays cannot be written to .*: set DMWS_CACHE"):
        cache_folder("arrays")
