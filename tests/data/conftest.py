"""A cache for each test, cards, and a web server on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dmws_lite.data.cards import read_card


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` (path to bytes); `server.cuts` says after how many bytes an answer breaks off."""

    def do_GET(self):
        self.server.log.append(self.path)
        if self.path not in self.server.files:
            return self.send_error(404)
        data = self.server.files[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: self.server.cuts.pop(self.path, None)])

    def log_message(self, *args):
        pass


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def server(monkeypatch):
    """Its `files` are served at `url` while the test runs; `log` has the paths asked for."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        site.files, site.cuts, site.log = {}, {}, []
        site.url = f"http://127.0.0.1:{site.server_port}"
        thread = threading.Thread(target=site.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield site
        site.shutdown()
        thread.join()


@pytest.fixture
def card(tmp_path):
    """card(classes, sources, **told): mine.md, with classes (and their folders, by other names), and keys of `dmws`."""

    def write_card(classes=("a", "b"), sources=({"folder": "somewhere"},), **told):
        classes = classes if isinstance(classes, dict) else dict(zip(classes, classes, strict=True))
        labels = {name: {"folder": place, "meaning": "seen"} for name, place in classes.items()}
        front = {"pretty_name": "Mine", "license": "unknown", "dmws": {"sources": sources, "classes": labels, **told}}
        (tmp_path / "mine.md").write_text(f"---\n{json.dumps(front)}\n---\n", encoding="utf-8")
        return read_card(tmp_path / "mine.md")

    return write_card
