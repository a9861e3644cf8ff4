"""The setup cell, run with a package index and a pip that only say what they were asked."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest

import dmws_lite
from dmws_lite.course.chapters import FOLDER

CELLS = nbformat.read(FOLDER / "00_quickstart.ipynb", as_version=4).cells
SETUP = next(cell.source for cell in CELLS if cell.cell_type == "code")
HOSTED = {"torch": "2.11.0+cu128", "numpy": "2.0.2", "protobuf": "5.29.5", "ipywidgets": "7.7.1", "IPython": "7.34.0"}


@pytest.fixture
def run_cell(monkeypatch):
    """Run the cell with these modules installed; returns pip's commands, and how often the environment was told."""

    def run(installed, returncode=0):
        commands, announced = [], []
        held = {name.lower().replace("_", "-"): HOSTED.get(name, "1.0") for name in installed}

        def version(name):
            if name not in held:
                raise importlib.metadata.PackageNotFoundError(name)
            return held[name]

        result = SimpleNamespace(returncode=returncode, stderr="ERROR: cannot install")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name in installed else None)
        monkeypatch.setattr(importlib.metadata, "version", version)
        monkeypatch.setattr(subprocess, "run", lambda command, **options: commands.append(command) or result)
        monkeypatch.setattr(dmws_lite, "announce", lambda: announced.append(True))
        exec(SETUP, {})
        return commands, announced

    return run


def test_the_release_is_installed_where_the_package_is_not_what_is_there_is_pinned_and_a_refusal_is_shown(run_cell):
    assert run_cell({*HOSTED, "dmws_lite"}) == ([], [True])
    (command,), announced = run_cell({*HOSTED, "pandas"})
    source = f"dmws-lite[course] @ git+https://github.com/dmws-lite/dmws-lite@v{dmws_lite.__version__}"
    pins = [f"{name.lower()}=={version}" for name, version in HOSTED.items()]
    assert command == [sys.executable, "-m", "pip", "install", "--quiet", source, *pins] and announced == [True]
    with pytest.raises(RuntimeError, match="could not be installed, and nothing was changed: ERROR: cannot install"):
        run_cell({"torch"}, returncode=1)
