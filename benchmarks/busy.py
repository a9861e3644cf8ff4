"""Training steps on a CPU that is idle, and on one with a core taken by another process, under several settings.

`python benchmarks/busy.py` runs each setting in fresh processes, in turn, and prints the median of the repeats; `--out`
writes the table to a Markdown file too. Run it on a machine that does nothing else. "as it comes" is what the package
sets (see `dmws_lite/__init__.py`); "before" is torch's own way, which waits for the other threads in a busy loop.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

SETTINGS: dict[str, dict[str, str]] = {  # by name, what is set in the process
    "as it comes": {},
    "torch's own (GOMP_SPINCOUNT=300000)": {"GOMP_SPINCOUNT": "300000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    **{f"GOMP_SPINCOUNT={count}": {"GOMP_SPINCOUNT": str(count)} for count in (0, 1000, 10_000, 100_000)},
}
STEPS = """
import time
import dmws_lite as dm
splits = dm.phantoms("chest_xray", train=300, val=30, test=30)
students = dm.make_students(dm.load_teacher(), "embedded_vit_48", 3)
training = dm.Training(steps={steps}, evaluations=2)
run = dm.fit(students, splits, training, device="cpu", progress=False)
print(2 * run.history[-1]["seconds"])
"""  # the second half, twice: the first has what a process does once


def seconds(environment: dict[str, str], steps: int) -> float:
    """Seconds of `steps` training steps of the embedded student, with SKD, in a process of their own."""
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    own = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", STEPS.format(steps=steps)]
    return float(subprocess.run(command, env=own | environment, capture_output=True, text=True, check=True).stdout)


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that keeps one core busy."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--out", type=Path, help="write the table to this Markdown file too")
    args = parser.parse_args()
    times: dict[tuple[str, bool], list[float]] = {(name, busy): [] for name in args.settings for busy in (False, True)}
    for _ in range(args.repeats):
        for name in args.settings:
            times[name, False].append(seconds(SETTINGS[name], args.steps))
            with busy_core():
                times[name, True].append(seconds(SETTINGS[name], args.steps))
    rows = [(name, median(times[name, False]), median(times[name, True])) for name in args.settings]
    lines = [
        f"# {args.steps} training steps, idle and with one core taken",
        "",
        f"Made by `python benchmarks/busy.py` on {datetime.date.today()}: {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}. Median seconds of {args.repeats} processes each.",
        "",
        "| setting | idle | one core taken | times |",
        "|---|---|---|---|",
        *(f"| {name} | {idle:.1f} | {busy:.1f} | {busy / idle:.1f} |" for name, idle, busy in rows),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
