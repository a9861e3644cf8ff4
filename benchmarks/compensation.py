"""What least squares costs and how few images suffice: seconds, peak memory and error by the number of images.

`python benchmarks/compensation.py` prints both tables; `--out FILE` writes them, `--images FOLDER` takes real training
images for the second (else it is drawn ones), `--only cost` or `--only error` makes one of them. The cost is that of
ViT-S → ViT-T at 224 px (random weights: time and memory do not depend on them), each number of images in a fresh
process.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import warnings
from pathlib import Path

import torch

import dmws_lite as dm
from dmws_lite.method.compensation import compensate, measure, places_of
from dmws_lite.method.initializers import initialize
from dmws_lite.method.measuring import calibration_images
from dmws_lite.method.networks import EMBEDDED_STUDENT

COST, ERROR = (64, 16), (2, 4, 8, 16, 32, 64, 128)  # numbers of images
HELD_OUT = 64  # validation images that the error on other images is measured on
RUN = """
import resource, time, warnings
import torch
import dmws_lite as dm
from dmws_lite.method.compensation import compensate, places_of
teacher, student = (dm.build(f"vit_{{size}}_patch16_224", 2).eval() for size in ("small", "tiny"))
plan = dm.plan(teacher, student)
student.load_state_dict(plan.apply(teacher.state_dict()), strict=False)
images = torch.randn({n}, 3, 224, 224)
before, began, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter(), time.process_time()
warnings.simplefilter("ignore")
compensate(student, teacher, plan.layers, places_of(plan), images)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.perf_counter() - began, time.process_time() - cpu, peak / 1000, (peak - before) / 1000)
"""


def cost_rows() -> list[str]:
    """Of each number of images: seconds, CPU seconds, peak memory, and what the fit added to it."""
    rows = ["| images | seconds | CPU seconds | peak memory | of it, by the fit |", "|---|---|---|---|---|"]
    for n in COST:
        done = subprocess.run([sys.executable, "-c", RUN.format(n=n)], stdout=subprocess.PIPE, text=True, check=True)
        seconds, cpu, peak, added = map(float, done.stdout.split())
        rows.append(f"| {n} | {seconds:.0f} | {cpu:.0f} | {peak:,.0f} MB | {added:,.0f} MB |")
    return rows


def error_rows(source: str) -> list[str]:
    """The error of the embedded student's stream after the last block, on the fit's images and on others."""
    splits, teacher = dm.open_data(source, 64), dm.load_teacher()
    network = initialize("full_teacher", dm.build(teacher.name, 1), teacher_state=teacher)
    plan = dm.plan(teacher, EMBEDDED_STUDENT)
    others = calibration_images(splits.val, teacher, HELD_OUT)

    def end(student: torch.nn.Module) -> float:
        return measure(student, network, plan.layers, places_of(plan), others).table["after"].iloc[-1]

    rows = [["images"], ["on these images"], ["on other images"]]
    for n in ERROR:
        student = dm.build(EMBEDDED_STUDENT, 1)
        initialize("weight_selection", student, plan=plan, teacher_state=teacher.state)
        alone = end(student)
        images = calibration_images(splits.train, teacher, n)
        table = compensate(student, network, plan.layers, places_of(plan), images).table
        values = (str(len(images)), f"{table['after'].iloc[-1]:.3f}", f"{end(student):.3f}")
        for row, value in zip(rows, values, strict=True):
            row.append(value)
    rows.insert(1, ["---"] * len(rows[0]))
    return [*(f"| {' | '.join(row)} |" for row in rows), "", f"Selection alone, on the other images: {alone:.3f}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("cost", "error"))
    parser.add_argument("--images", default="phantom_brain_mri", help="a folder of images, or a data card")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # of few images: that is what is asked
    lines = ["# Least squares: cost, and the number of images", ""]
    if given.only != "error":
        place = f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
        lines += [f"ViT-S → ViT-T at 224 px, {place}. Memory is the process's peak resident set.", "", *cost_rows(), ""]
    if given.only != "cost":
        told = "Embedded pair, 64 px: error of the stream after the last block, as a share of the teacher's variance"
        lines += [f"{told}; images from {Path(given.images).name}.", "", *error_rows(given.images), ""]
    print("\n".join(lines))
    if given.out:
        given.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
