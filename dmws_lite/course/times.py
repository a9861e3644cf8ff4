"""How long the students' chapters take, measured and written to course.yaml: `python -m dmws_lite.course.times`.

Without a GPU everything runs on one CPU core with one thread. The executed chapters are kept for the site.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dmws_lite.course.chapters import FOLDER, read_chapters
from dmws_lite.course.executed import EXECUTED, execute
from dmws_lite.runtime.device import pick_device
from dmws_lite.runtime.files import write_atomically


def one_core() -> None:
    """Keep the kernels that this process starts to one thread and, where the system can (Linux), one core."""
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(notebook: Path, runs: Mapping[str, bool]) -> list[str]:
    """Run a chapter once for each of `runs` (a column of course.yaml: smoke or not), and write down its seconds.

    Returns what failed, in words; a run that fails has its old time.
    """
    failed = []
    for column, smoke in runs.items():
        try:
            seconds = execute(notebook, EXECUTED / ("smoke" if smoke else "full"), smoke)
        except (RuntimeError, OSError) as error:
            failed.append(f"{notebook.stem}, {column}: {error}")
            print(f"failed: {failed[-1]}", file=sys.stderr, flush=True)
            continue
        write_times(notebook.stem, {column: seconds}, notebook.parent)
        print(f"{notebook.stem}, {column}: {seconds:.0f} s", flush=True)
    return failed


def write_times(name: str, seconds: Mapping[str, float], folder: Path = FOLDER) -> None:
    """Replace some of a chapter's times in course.yaml; all else stays as it is."""
    path = folder / "course.yaml"
    kept = read_chapters(folder)[name].seconds.model_dump() | {
        key: max(1, round(value)) for key, value in seconds.items()
    }
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
    runs = {"smoke": True} if place == "cpu" else {}
    runs |= {} if options.smoke else {place: False}
    if place == "cpu":
        one_core()
    wanted = tuple(options.chapters) or ("",)
    notebooks = [path for path in sorted(FOLDER.glob("[0-9]*.ipynb")) if path.stem.startswith(wanted)]
    if not notebooks:
        parser.error(f"no chapter of {FOLDER} begins with {' or '.join(wanted)}")
    failed = [line for notebook in notebooks for line in measure(notebook, runs)]
    print("now run: make course")
    for run in failed:
        print(f"failed: {run}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
