"""How long the chapters take, measured and written to course.yaml: `python -m dmws_lite.course.times`."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from dmws_lite.course.chapters import FOLDER, read_chapters
from dmws_lite.runtime.device import pick_device
from dmws_lite.runtime.files import write_atomically
from dmws_lite.runtime.notebooks import run_notebook


def measure(notebook: Path, smoke: bool) -> float:
    """Seconds that a notebook takes from start to end, kernel and HTML page included."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        run_notebook(notebook, out, {"smoke": smoke, "output": out})
        return time.perf_counter() - start


def write_times(name: str, seconds: Mapping[str, float], folder: Path = FOLDER) -> None:
    """Replace some of a chapter's times in course.yaml; all else stays as it is."""
    path = folder / "course.yaml"
    kept = read_chapters(folder)[name].seconds.model_dump() | {key: round(value) for key, value in seconds.items()}
    words = ", ".join(f"{key}: {'null' if value is None else f'{value:g}'}" for key, value in kept.items())
    entry = re.compile(rf"(^{re.escape(name)}:\n(?:  .*\n)*?  seconds: )\{{.*\}}$", re.MULTILINE)
    text, replaced = entry.subn(rf"\g<1>{{{words}}}", path.read_text(encoding="utf-8"))
    if not replaced:
        raise ValueError(f"course.yaml, {name}: write a line `  seconds: {{cpu: null, smoke: null, gpu: null}}`")
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m dmws_lite.course.times")
    parser.add_argument("chapters", nargs="*", help='beginnings of names, such as "03"; none: all')
    parser.add_argument("--smoke", action="store_true", help="measure the smoke runs only")
    options = parser.parse_args(arguments)
    place = "cpu" if pick_device().type == "cpu" else "gpu"
    for notebook in sorted(FOLDER.glob("*.ipynb")):
        if not options.chapters or notebook.stem.startswith(tuple(options.chapters)):
            runs = {"smoke": True} if place == "cpu" else {}
            runs |= {} if options.smoke else {place: False}
            seconds = {key: measure(notebook, smoke) for key, smoke in runs.items()}
            write_times(notebook.stem, seconds)
            print(notebook.stem, {key: round(value) for key, value in seconds.items()}, flush=True)
    print("now run: make course")
    return 0


if __name__ == "__main__":
    sys.exit(main())
