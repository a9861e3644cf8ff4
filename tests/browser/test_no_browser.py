"""Without a browser the tests are skipped, with the way out; where CI is "true" they fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
CONFTEST = Path(__file__).with_name("conftest.py")


@pytest.mark.parametrize(("ci", "outcome"), [("true", "1 error"), ("", "1 skipped")])
def test_no_chromium(tmp_path, ci, outcome):
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_page.py").write_text("def test_page(page):\n    pass\n")
    environment = os.environ | {"CI": ci, "CHROMIUM": str(tmp_path / "gone")}
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c"]
    command += [os.devnull, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert outcome in found.stdout.splitlines()[-1]
    assert "no Chromium starts" in found.stdout and "set CHROMIUM to its path" in found.stdout
