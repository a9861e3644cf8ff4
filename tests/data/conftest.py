"""A web server on this machine that can do what real ones do wrong."""

import hashlib
import threading
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Site:
    """What the server holds and how it behaves; `log` has (method, path, request headers, body bytes sent).

    files:     path to bytes.
    cuts:      path to numbers of bytes after which the connection is closed, one an answer.
    statuses:  path to status codes to answer with, one an answer.
    redirects: path to address.
    ranges:    whether Range is understood; honest: whether If-Range is.
    stamp:     "etag", "weak", "modified" or "" (nothing that tells versions apart).
    length:    whether the length is told; encoding: a Content-Encoding to claim.
    """

    def __init__(self):
        self.files, self.cuts, self.statuses, self.redirects, self.headers = {}, {}, {}, {}, {}
        self.ranges, self.honest, self.stamp, self.length, self.encoding = True, True, "etag", True, ""
        self.log = []
        self.url = ""

    def gets(self, path=""):
        return [entry for entry in self.log if entry[0] == "GET" and entry[1].startswith(path)]

    def stamps(self, data):
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        modified = formatdate(int(hashlib.md5(data).hexdigest()[:7], 16), usegmt=True)
        return {"etag": {"ETag": etag}, "weak": {"ETag": f"W/{etag}"}, "modified": {"Last-Modified": modified}}.get(
            self.stamp, {}
        )


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, site):
        super().__init__(("127.0.0.1", 0), Handler)
        self.site = site

    def handle_error(self, *args):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self):
        site, path = self.server.site, self.path
        self.entry = [self.command, path, dict(self.headers), 0]
        site.log.append(self.entry)
        if site.statuses.get(path):
            return self.reply(site.statuses[path].pop(0), b"", {})
        if path in site.redirects:
            return self.reply(302, b"", {"Location": site.redirects[path]})
        if path not in site.files:
            return self.reply(404, b"not here", {})
        data = site.files[path]
        headers = site.stamps(data) | site.headers.get(path, {})
        if site.encoding:
            headers["Content-Encoding"] = site.encoding
        asked = self.headers.get("Range", "")
        same = self.headers.get("If-Range") in (None, *headers.values())
        if asked and site.ranges and (same or not site.honest):
            start = int(asked.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self.reply(206, data[start:], headers)
        return self.reply(200, data, headers)

    do_HEAD = do_GET

    def reply(self, status, body, headers):
        site = self.server.site
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if site.length or not body:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = site.cuts[self.path].pop(0) if site.cuts.get(self.path) else None
        self.wfile.write(body[:cut])
        self.entry[3] = len(body[:cut])
        if cut is not None:
            self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A Site that is served at server.url while the test runs."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    site = Site()
    with Server(site) as http:
        site.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield site
        http.shutdown()
        thread.join()


@pytest.fixture
def largest_file():
    """A disk that is full after so many bytes of a file: the system itself refuses the next."""
    import resource  # Unix has it

    @contextmanager
    def limited(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limited
