"""A web server on this machine, and a disk that is full."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Site(ThreadingHTTPServer):
    """Serves `files` (path to bytes), also from a byte on; `cuts` says after how many bytes an answer breaks off.

    log: (path, Range header, bytes sent) of each request.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.log = {}, {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *args):
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self):
        data, asked = self.server.files.get(self.path), self.headers.get("Range", "")
        start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
        status = 404 if data is None else 416 if start and start >= len(data) else 206 if start else 200
        body = data[start:] if status in (200, 206) else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        cuts = self.server.cuts.get(self.path, [])
        body = body[: cuts.pop(0)] if cuts else body
        self.close_connection = True
        self.server.log.append((self.path, asked, len(body)))
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A Site that is served at server.url while the test runs."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    with Site() as site:
        thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield site
        site.shutdown()
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
