"""Training steps and the demo on a CPU that is idle, and on one with a core taken by another process.

`python benchmarks/busy.py` runs each setting in fresh processes, in turn, and prints the median of the repeats;
`--demo` times the quickstart too, `--out` writes the table to a Markdown file. Run it on a machine that does nothing
else. "as it comes" is what `runtime.device.few_threads` chooses; the others use as many threads as torch does.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

SETTINGS: dict[str, tuple[dict[str, str], str]] = {  # by name, what is set in the process, and what runs in it first
    "as it comes": ({}, ""),
    "torch's own": ({}, "device.SMALL = 0"),
    "OMP_WAIT_POLICY=PASSIVE": ({"OMP_WAIT_POLICY": "PASSIVE"}, "device.SMALL = 0"),
    "GOMP_SPINCOUNT=1000": ({"GOMP_SPINCOUNT": "1000"}, "device.SMALL = 0"),
}
STUDENTS = {"embedded_vit_48": 64, "mobilenetv1_050": 64, "vit_tiny_patch16_224": 64}  # with the images' size
DEMO = "the demo"
STEPS = """
import dmws_lite as dm
from dmws_lite.method.students import Students
from dmws_lite.runtime import device
{first}
splits = dm.phantoms("chest_xray", train=300, val=30, test=30, size={size})
students = Students(dm.build("{student}", 3, {size}), dm.build("{student}", 3, {size}, seed=1))
run = dm.fit(students, splits, dm.Training(steps={steps}, evaluations=2), device="cpu", progress=False)
print(2 * run.history[-1]["seconds"])
"""  # the second half, twice: the first has what a process does once


def seconds(student: str, setting: str, steps: int) -> float:
    """Seconds of `steps` training steps of a student, with SKD, or of the demo, in a process of their own."""
    environment, first = SETTINGS[setting]
    names = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    variables = {name: value for name, value in os.environ.items() if name not in names} | environment
    if student == DEMO:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "dmws_lite.cli", "demo", "--out", folder]
            subprocess.run(command, env=variables, capture_output=True, check=True)
        return time.perf_counter() - began
    code = STEPS.format(first=first, student=student, size=STUDENTS[student], steps=steps)
    return float(subprocess.run([sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE, check=True).stdout)


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--students", nargs="*", default=list(STUDENTS), choices=STUDENTS)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--demo", action="store_true", help="time the quickstart too")
    parser.add_argument("--out", type=Path, help="write the table to this Markdown file too")
    args = parser.parse_args()
    times: dict[tuple[str, str], tuple[list[float], list[float]]] = {}  # idle and busy, by what ran and the setting
    jobs = [(student, setting) for student in args.students for setting in args.settings] * args.repeats
    for student, setting in [*jobs, *[(DEMO, "as it comes")] * args.demo]:
        idle, busy = times.setdefault((student, setting), ([], []))
        idle.append(seconds(student, setting, args.steps))
        with busy_core():
            busy.append(seconds(student, setting, args.steps))
    rows = [(*names, median(idle), median(busy)) for names, (idle, busy) in times.items()]
    lines = [
        f"# {args.steps} training steps, idle and with one core taken",
        "",
        f"Made by `python {shlex.join(sys.argv)}` on {datetime.date.today()}: {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}. Median seconds of {args.repeats} process(es) each "
        "(the demo: of one). *As it comes*: with as many threads as dmws-lite chooses; *torch's own*: as torch does.",
        "",
        "| student | threads | idle | one core taken | times |",
        "|---|---|---|---|---|",
        *(f"| {name} | {threads} | {i:.1f} | {b:.1f} | {b / i:.1f} |" for name, threads, i, b in rows),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
