import errno

import pytest

from dmws_lite.runtime.files import cache_folder, writable_folder, write_atomically


def test_a_file_is_replaced_in_one_step_and_kept_when_the_disk_is_full(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def write(part, error=None):
        part.write_text("new")
        assert path.read_text() == "old"
        if error:
            raise error

    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="result.txt could not be written .*No space left.*nothing was lost"):
        write_atomically(path, lambda part: write(part, full))
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    assert write_atomically(path, write) == path
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_the_cache_is_where_the_variable_says_and_an_unwritable_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "here"))
    assert cache_folder("arrays", "x") == tmp_path / "here" / "arrays" / "x" and (tmp_path / "here/arrays/x").is_dir()
    monkeypatch.delenv("DMWS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "dmws-lite"
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PermissionError, match="file/out cannot be written to .*: pass another folder"):
        writable_folder(tmp_path / "file" / "out")
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "file"))
    with pytest.raises(PermissionError, match="file/arrays cannot be written to .*: set DMWS_CACHE"):
        cache_folder("arrays")
