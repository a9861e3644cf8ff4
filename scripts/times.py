"""How long the students' chapters take, measured and written to course.yaml: `make times`.

Without a GPU everything runs on one CPU core with one thread, other work on the machine does not count, and the bigger
scales take few steps and seeds (scales.FEW). The executed chapters are kept for the site.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dmws_lite.course.chapters import FOLDER, read_chapters
from dmws_lite.runtime.device import pick_device
from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.notebooks import defaults, run_notebook
from dmws_lite.studies.scales import FEW

EXECUTED = FOLDER.parent / "outputs" / "executed"


def execute(notebook: Path, folder: Path, smoke: bool = False, scale: str = "") -> float:
    """Run a chapter from an empty folder, in which its own outputs vanish; `folder` gets the notebook and its page.

    The notebook of a run that fails is left in folder/unfinished; what `folder` held of the chapter stays.
    Returns the seconds from start to end, kernel and HTML page included; on a CPU those in which it computed, and at
    another scale with few steps and seeds. Raises RuntimeError when a cell failed.
    """
    notebook, folder = notebook.resolve(), writable_folder(folder).resolve()
    on_cpu = pick_device().type == "cpu"
    parameters: dict[str, Any] = {"smoke": True} if smoke else {}
    if scale:
        parameters["scale"] = scale
    if scale and on_cpu:
        parameters |= {key: value for key, value in FEW.items() if key in defaults(notebook)}
    start, cpu_start = time.time(), sum(os.times()[:4])
    with tempfile.TemporaryDirectory(dir=folder) as empty, contextlib.chdir(empty):
        executed = run_notebook(notebook, folder / "unfinished", parameters)
    seconds = sum(os.times()[:4]) - cpu_start if on_cpu else time.time() - start
    os.utime(executed, (start, start))  # older than all that changed meanwhile
    for path in (executed.with_suffix(".html"), executed):
        os.replace(path, folder / path.name)
    return seconds


def write_times(name: str, seconds: Mapping[str, float], folder: Path = FOLDER, scale: str = "") -> None:
    """Replace some of a chapter's times in course.yaml, of the default run or of a scale; all else stays as it is."""
    path = folder / "course.yaml"
    measured = {column: max(1, round(value)) for column, value in seconds.items()}
    chapter = read_chapters(folder)[name]
    times = (chapter.scales[scale] if scale else chapter.seconds).model_dump(exclude_unset=bool(scale)) | measured
    words = ", ".join(f"{column}: {'null' if value is None else f'{value:g}'}" for column, value in times.items())
    place = rf"scales: .*\b{re.escape(scale)}: " if scale else "seconds: "
    entry = re.compile(rf"(^{re.escape(name)}:\n(?:  .*\n)*?  {place})\{{[^{{}}]*\}}", re.MULTILINE)
    text, replaced = entry.subn(rf"\g<1>{{{words}}}", path.read_text(encoding="utf-8"))
    if not replaced:
        raise ValueError(f"course.yaml, {name}: write a line `  seconds: {{cpu: null, smoke: null, gpu: null}}`")
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def use_one_core() -> None:
    """Keep the kernels that this process starts to one thread and, where the system can (Linux), one core."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/times.py")
    parser.add_argument("chapters", nargs="*", help='beginnings of names, such as "03"; none: all')
    parser.add_argument("--smoke", action="store_true", help="measure the smoke runs only")
    parser.add_argument("--scale", default="", help="measure the chapters that train at this scale, such as imagenet")
    options = parser.parse_args(arguments)
    device = "cpu" if pick_device().type == "cpu" else "gpu"
    columns = [] if options.smoke else [device]
    if device == "cpu" and not options.scale:
        columns.insert(0, "smoke")
    if device == "cpu":
        use_one_core()
    beginnings, chapters = tuple(options.chapters) or ("",), read_chapters(FOLDER)
    notebooks = [path for path in sorted(FOLDER.glob("[0-9]*.ipynb")) if path.stem.startswith(beginnings)]
    notebooks = [path for path in notebooks if not options.scale or options.scale in chapters[path.stem].scales]
    if not notebooks:
        scale = f" and has the scale {options.scale}" if options.scale else ""
        parser.error(f"no chapter of {FOLDER} begins with {' or '.join(beginnings)}{scale}")
    failures = []
    for notebook in notebooks:
        for column in columns:
            smoke = column == "smoke"
            folder = EXECUTED / (options.scale or ("smoke" if smoke else "full"))
            write_times(notebook.stem, {}, notebook.parent, options.scale)  # fails now rather than after the run
            try:
                seconds = execute(notebook, folder, smoke, options.scale)
            except (RuntimeError, OSError) as error:  # keeps its old time
                failures.append(f"failed: {notebook.stem}, {column}: {error}")
                continue
            write_times(notebook.stem, {column: seconds}, notebook.parent, options.scale)
            print(f"{notebook.stem}, {column}: {seconds:.0f} s", flush=True)
    print("now run: make course")
    print(*failures, sep="\n", file=sys.stderr)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
