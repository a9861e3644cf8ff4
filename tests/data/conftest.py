"""A web server on this machine, and a disk that is full."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Site(ThreadingHTTPServer):
    """Serves `files` (path to bytes); `cuts` says after how many bytes an answer breaks off. log: paths asked for."""

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
        data = self.server.files.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.close_connection = True
        self.server.log.append(self.path)
        self.wfile.write((data or b"")[: self.server.cuts.pop(self.path, None)])

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
