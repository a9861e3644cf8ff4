"""What browser tests share: Chromium, a page that fails on console errors, a static server, screenshots, JupyterLab."""

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SWITCHES = ("no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
SWITCHES += ("disable-component-update", "disable-sync")
SETTINGS = {
    "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false", "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},  # all cells are drawn, also those out of sight
}
RUN_ALL = """async () => {
    const app = window.jupyterapp;
    await app.restored;
    const panel = app.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await app.commands.execute('notebook:run-all-cells');
    const outputs = panel.content.widgets.flatMap(cell => cell.model.toJSON().outputs || []);
    return outputs.filter(output => output.output_type === 'error').map(output => output.ename + ': ' + output.evalue);
}"""


def no_browser(reason):
    """Skip the test; where CI is "true" fail, so that a browser that went missing is noticed."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; of the module, because Playwright's event loop would stop tests that start their own."""
    try:
        import playwright.sync_api as playwright
    except ImportError:
        no_browser("Playwright is missing: pip install playwright")
    names = ("chromium", "google-chrome", "chromium-browser")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as engine:
        try:
            browser = engine.chromium.launch(executable_path=path, args=[f"--{name}" for name in SWITCHES])
        except playwright.Error as error:
            no_browser(f"no Chromium starts ({str(error).splitlines()[0]}): install it, or set CHROMIUM to its path")
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """An empty page, 1280 x 900; the test fails if `page.problems` holds a console or page error at its end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, problems = context.new_page(), []
    page.problems = problems
    page.on("console", lambda said: said.type == "error" and problems.append(f"{said.text} ({said.location['url']})"))
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    context.close()
    assert not problems, "errors in the browser:\n" + "\n".join(problems)


@pytest.fixture
def screenshot(page):
    """A function: write what `page` shows to outputs/screenshots/`name`.png."""
    return lambda name, **options: page.screenshot(path=ROOT / "outputs" / "screenshots" / f"{name}.png", **options)


@pytest.fixture
def serve():
    """A function: serve a folder until the test's end; returns its address, without a slash at the end."""
    servers = []

    def start(folder):
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class QuietHandler(SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/favicon.ico":  # Chromium asks for it unasked
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A JupyterLab whose kernels import this checkout: its address and its root folder."""
    pytest.importorskip("jupyterlab", reason='needs JupyterLab: pip install -e ".[lab]"')
    folder = tmp_path_factory.mktemp("lab")
    own = {name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTER_RUNTIME_DIR": str(folder / "runtime")}
    for name, content in SETTINGS.items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    (folder / "root").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "http://{}:{}".format(*free.getsockname())
    options = ["--no-browser", "--allow-root", "--expose-app-in-browser", f"--port={address.split(':')[-1]}"]
    options += ["--ServerApp.port_retries=0", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder / 'root'}"]
    options += ["--ip=127.0.0.1", "--LabApp.extension_manager=readonly", "--LanguageServerManager.autodetect=False"]
    command, own = [sys.executable, "-m", "jupyterlab", *options], {**os.environ, **own, "PYTHONPATH": str(ROOT)}
    log, end = folder / "lab.log", time.monotonic() + 60
    with log.open("w") as output:
        server = subprocess.Popen(command, env=own, stdout=output, stderr=subprocess.STDOUT)
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/api/status", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
                time.sleep(0.2)
        yield address, folder / "root"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def open_notebook(page, lab):
    """A function: open a notebook with this code in JupyterLab, and run all cells; fails when one raises."""

    def open_it(sources):
        import nbformat

        address, root = lab
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / "notebook.ipynb")
        page.goto(f"{address}/doc/tree/notebook.ipynb")
        page.wait_for_selector(".jp-Notebook-cell", timeout=60_000)
        errors = page.evaluate(RUN_ALL)
        assert not errors, f"cells raised: {errors}"

    return open_it
