"""Chapters as they were run, kept in outputs/executed: the site shows them, and their times are measured there."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from pathlib import Path

from dmws_lite.course.chapters import FOLDER
from dmws_lite.runtime.files import writable_folder
from dmws_lite.runtime.notebooks import run_notebook

EXECUTED = FOLDER.parent / "outputs" / "executed"


def execute(notebook: Path, folder: Path, smoke: bool = False) -> float:
    """Run a chapter from an empty folder, in which its own outputs vanish; `folder` gets the notebook and its page.

    The notebook of a run that fails is left in folder/unfinished; what `folder` held of the chapter stays.
    Returns the seconds from start to end, kernel and HTML page included. Raises RuntimeError when a cell failed.
    """
    notebook, folder = notebook.resolve(), writable_folder(folder).resolve()
    start = time.time()
    with tempfile.TemporaryDirectory(dir=folder) as empty, contextlib.chdir(empty):
        executed = run_notebook(notebook, folder / "unfinished", {"smoke": True} if smoke else {})
    seconds = time.time() - start
    os.utime(executed, (start, start))  # older than all that changed meanwhile
    for made in (executed.with_suffix(".html"), executed):
        os.replace(made, folder / made.name)
    return seconds
