import hashlib
import json
import socket
import subprocess
import sys
import warnings
from typing import Any

import pytest

from dmws_lite.data import downloads
from dmws_lite.data.downloads import download, forget, recorded

DATA = bytes(range(256)) * 1200  # 307,200 bytes
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(downloads, "BACKOFF", 0.001)


@pytest.fixture
def target(tmp_path, server):
    server.files["/scans.zip"] = DATA
    return tmp_path / "new" / "scans.zip"


def got(server, target, **options):
    how: dict[str, Any] = {"sha256": SHA, "progress": False} | options
    return download(f"{server.url}/scans.zip", target, **how)


def asked(entry):
    return entry[2].get("Range")


def test_a_file_arrives_whole_and_is_not_downloaded_twice(server, target):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert got(server, target, size=len(DATA)) == target
        got(server, target)
    assert target.read_bytes() == DATA
    assert len(server.gets()) == 1
    assert recorded(target) == {"url": f"{server.url}/scans.zip", "sha256": SHA, "size": len(DATA)}
    assert {path.name for path in target.parent.iterdir()} == {"scans.zip", "scans.zip.json", ".scans.zip.lock"}


@pytest.mark.parametrize("stamp", ["etag", "modified"])
def test_a_broken_connection_is_taken_up_where_it_broke_off(server, target, stamp):
    server.stamp, server.cuts["/scans.zip"] = stamp, [100_000, 50_000]
    got(server, target)
    first, second, third = server.gets()
    assert target.read_bytes() == DATA
    assert [asked(first), asked(second), asked(third)] == [None, "bytes=100000-", "bytes=150000-"]
    assert [entry[3] for entry in server.gets()] == [100_000, 50_000, len(DATA) - 150_000]
    assert second[2]["If-Range"] in server.stamps(DATA).values()


def test_a_later_call_takes_up_what_an_earlier_one_left(server, target, monkeypatch):
    monkeypatch.setattr(downloads, "TRIES", 1)
    server.cuts["/scans.zip"] = [123_456]
    with pytest.raises(ConnectionError, match=r"could not be downloaded .*123,456 bytes are kept"):
        got(server, target, size=len(DATA))
        got(server, target, size=len(DATA))
    assert not target.exists()
    assert target.with_name("scans.zip.part").read_bytes() == DATA[:123_456]
    got(server, target)
    assert asked(server.gets()[-1]) == "bytes=123456-"
    assert server.gets()[-1][3] == len(DATA) - 123_456
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("fault", ["no ranges", "weak etag", "no stamp"])
def test_a_file_that_cannot_be_taken_up_is_downloaded_anew(server, target, fault):
    server.ranges = fault != "no ranges"
    server.stamp = {"weak etag": "weak", "no stamp": ""}.get(fault, "etag")
    server.cuts["/scans.zip"] = [100_000]
    got(server, target)
    assert target.read_bytes() == DATA
    assert [entry[3] for entry in server.gets()] == [100_000, len(DATA)]


@pytest.mark.parametrize("honest", [True, False], ids=["honours If-Range", "ignores If-Range"])
def test_a_file_that_changed_between_two_halves_is_never_mixed(server, target, monkeypatch, honest):
    monkeypatch.setattr(downloads, "TRIES", 1)
    server.cuts["/scans.zip"] = [100_000]
    with pytest.raises(ConnectionError):
        got(server, target)
    changed = DATA[::-1]
    server.files["/scans.zip"], server.honest = changed, honest
    monkeypatch.setattr(downloads, "TRIES", 2)
    got(server, target, sha256=hashlib.sha256(changed).hexdigest())
    assert target.read_bytes() == changed
    assert server.gets()[-1][3] == len(changed)


def test_a_part_that_is_longer_than_the_file_is_now_is_dropped(server, target, monkeypatch):
    monkeypatch.setattr(downloads, "TRIES", 1)
    server.cuts["/scans.zip"] = [100_000]
    with pytest.raises(ConnectionError):
        got(server, target)
    short = DATA[:50_000]
    server.files["/scans.zip"], server.honest = short, False
    monkeypatch.setattr(downloads, "TRIES", 2)
    got(server, target, sha256=hashlib.sha256(short).hexdigest())
    assert target.read_bytes() == short


def test_a_download_that_stays_truncated_is_no_file(server, target):
    server.ranges, server.cuts["/scans.zip"] = False, [1000] * 20
    with pytest.raises(ConnectionError, match="could not be downloaded"):
        got(server, target)
    assert not target.exists()
    assert len(server.gets()) == downloads.TRIES


def test_a_wrong_checksum_leaves_nothing_behind(server, target):
    with pytest.raises(ValueError, match=rf"scans.zip: sha256 is {SHA} instead of {'0' * 64}.*download again"):
        got(server, target, sha256="0" * 64)
    assert {path.name for path in target.parent.iterdir()} == {".scans.zip.lock"}
    with pytest.raises(ValueError, match="md5 is"):
        got(server, target, sha256=None, md5="0" * 32)
    got(server, target, sha256=None, md5=hashlib.md5(DATA).hexdigest())
    assert target.read_bytes() == DATA


def test_a_wrong_size_is_refused_before_the_download(server, target):
    with pytest.raises(ValueError, match="has 307,200 bytes instead of 5: it has changed"):
        got(server, target, size=5)
    server.length = False
    with pytest.raises(ValueError, match="sends more than 5 bytes"):
        got(server, target, size=5)
    with pytest.raises(ValueError, match="has 307,200 bytes instead of 400,000"):
        got(server, target, size=400_000)
    assert not target.exists()


def test_a_file_of_unknown_length_arrives_whole(server, target):
    server.length = False
    assert got(server, target).read_bytes() == DATA


def test_a_known_size_tells_a_file_of_unknown_length_that_broke_off(server, target):
    server.length, server.cuts["/scans.zip"] = False, [100_000]
    assert got(server, target, size=len(DATA)).read_bytes() == DATA
    assert [asked(entry) for entry in server.gets()] == [None, "bytes=100000-"]


def test_a_file_that_was_changed_here_is_noticed(server, target):
    got(server, target)
    target.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(ValueError, match=f"delete {target} and download again"):
        got(server, target)
    forget(target)
    assert got(server, target).read_bytes() == DATA


def test_an_unknown_checksum_is_pinned_with_a_warning_and_holds_from_then_on(server, target):
    with pytest.warns(UserWarning, match=f"checksum was not known.*sha256: {SHA}, size: 307200"):
        got(server, target, sha256=None)
    target.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got(server, target, sha256=None)
    target.unlink()
    server.files["/scans.zip"] = DATA[::-1]
    with pytest.raises(ValueError, match=rf"instead of {SHA}, as it was when it was first downloaded \(.*\.json\)"):
        got(server, target, sha256=None)
    assert not target.exists()
    assert recorded(target)["sha256"] == SHA


def test_a_record_that_cannot_be_read_is_made_anew(server, target):
    target.parent.mkdir()
    for text in ("{", "[]", json.dumps({"url": f"{server.url}/scans.zip"})):
        target.with_name("scans.zip.json").write_text(text)
        target.unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got(server, target, sha256=None)
        assert recorded(target)["sha256"] == SHA


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (404, FileNotFoundError, "is not there .404 Not Found.: correct the address"),
        (403, PermissionError, "is not for everyone .403 Forbidden.: log in"),
        (400, ValueError, "cannot be downloaded .400 Bad Request."),
    ],
)
def test_a_refusal_is_final_and_says_why(server, target, status, kind, text):
    server.statuses["/scans.zip"] = [status] * 9
    with pytest.raises(kind, match=text):
        got(server, target)
    assert len(server.gets()) == 1


def test_a_busy_server_is_asked_again(server, target):
    server.statuses["/scans.zip"] = [503, 429, 500]
    assert got(server, target).read_bytes() == DATA
    assert len(server.gets()) == 4
    target.unlink()
    server.statuses["/scans.zip"] = [503] * 9
    with pytest.raises(ConnectionError, match="503 Service Unavailable.*check the network"):
        got(server, target)


def test_no_network_is_an_error_that_says_so(tmp_path, server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/scans.zip"
        with pytest.raises(ConnectionError, match=f"{url} could not be downloaded .*refused.*: check the network"):
            download(url, tmp_path / "scans.zip", progress=False)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x.zip", "/etc/passwd", "C:\\x.zip", "http://", ""])
def test_only_http_and_https_are_taken(tmp_path, url):
    with pytest.raises(ValueError, match="pass an address that begins with http:// or https://"):
        download(url, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_a_redirect_is_followed_but_not_to_files(server, target):
    server.redirects["/old.zip"] = f"{server.url}/scans.zip"
    assert download(f"{server.url}/old.zip", target, SHA, progress=False).read_bytes() == DATA
    target.unlink()
    server.redirects["/old.zip"] = "file:///etc/passwd"
    with pytest.raises(ValueError, match="could not be downloaded"):
        download(f"{server.url}/old.zip", target, progress=False)
    assert not target.exists()


def test_a_password_is_for_its_own_server_alone(server, target):
    server.redirects["/private.zip"] = f"{server.url.replace('127.0.0.1', 'localhost')}/scans.zip"
    download(f"{server.url}/private.zip", target, SHA, progress=False, auth=("me", "secret"))
    first, second = server.gets()
    assert first[2]["Authorization"].startswith("Basic ")
    assert "Authorization" not in second[2]


def test_bytes_are_kept_as_they_are_sent(server, target):
    server.encoding = "gzip"  # what some servers say of a .tar.gz
    assert got(server, target).read_bytes() == DATA


def test_a_full_disk_is_named_and_the_download_goes_on_later(largest_file, server, target):
    with largest_file(200_000), pytest.raises(OSError, match=r"scans.zip.part could not be written \(.*\): free some"):
        got(server, target)
    kept = target.with_name("scans.zip.part").stat().st_size
    assert 0 < kept <= 200_000
    got(server, target)
    assert asked(server.gets()[-1]) == f"bytes={kept}-"
    assert target.read_bytes() == DATA


def test_a_disk_with_no_space_left_is_not_asked_again(server, target):
    target.parent.mkdir()
    target.with_name("scans.zip.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device\): free some space, or set DMWS_CACHE"):
        got(server, target)
    assert len(server.gets()) == 1


def test_a_file_larger_than_the_disk_is_refused_before_the_download(server, target, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="needs 307,200 bytes more, and 1,000 are free"):
        got(server, target)
    assert not target.with_name("scans.zip.part").exists()


def test_two_processes_download_a_file_once(server, target):
    code = "import sys; from dmws_lite.data.downloads import download; download(*sys.argv[1:], progress=False)"
    command = [sys.executable, "-c", code, f"{server.url}/scans.zip", str(target), SHA]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate()[1] for process in both] == [b"", b""]
    assert [process.returncode for process in both] == [0, 0]
    assert target.read_bytes() == DATA
    assert len(server.gets()) == 1


def test_progress_shows_how_far_a_download_is(server, target, capsys, monkeypatch):
    monkeypatch.setattr(downloads, "CHUNK", 50_000)
    server.cuts["/scans.zip"] = [100_000]
    got(server, target, progress=True)
    shown = capsys.readouterr().err
    assert "scans.zip" in shown
    assert "/307k" in shown
