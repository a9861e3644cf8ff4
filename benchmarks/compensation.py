"""What least squares costs and how few images suffice: seconds, peak memory and error by the number of images.

`python benchmarks/compensation.py` prints three tables; `--out FILE` writes them, `--images FOLDER` takes real training
images for the last two (else drawn ones), `--only NAME` makes one of them. "cost" is that of ViT-S → ViT-T at 224 px
(random weights: time and memory do not depend on them), each number of images in a fresh process; "steps" is how many
training steps a fit is worth, in CPU seconds of one thread; "error" is that of the fitted student by number of images.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import dmws_lite as dm
from dmws_lite.method.compensation import compensate, measure, places_of
from dmws_lite.method.initializers import initialize
from dmws_lite.method.measuring import calibration_images
from dmws_lite.method.networks import EMBEDDED_STUDENT, EMBEDDED_TEACHER

TABLES = ("cost", "steps", "error")
PAIRS = {EMBEDDED_TEACHER: EMBEDDED_STUDENT, "mobilenetv1_100": "mobilenetv1_050"}
STEPS = (20, 60)  # of two trainings, whose difference counts
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
    """For each number of images: seconds, CPU seconds, peak memory, and what the fit added to it."""
    rows = ["| images | seconds | CPU seconds | peak memory | of it, by the fit |", "|---|---|---|---|---|"]
    for n in COST:
        process = subprocess.run([sys.executable, "-c", RUN.format(n=n)], stdout=subprocess.PIPE, text=True, check=True)
        seconds, cpu, peak, added = map(float, process.stdout.split())
        rows.append(f"| {n} | {seconds:.0f} | {cpu:.0f} | {peak:,.0f} MB | {added:,.0f} MB |")
    return rows


def steps_rows(source: str) -> list[str]:
    """For each pair: CPU seconds of a fit and of a training step without an auxiliary, on one thread."""
    rows = ["| pair | CPU seconds of a fit | of a step | a fit in steps |", "|---|---|---|---|"]
    splits, labels_only = dm.open_data(source, 64), dm.Distillation(strategy="none")
    torch.set_num_threads(1)
    for big, small in PAIRS.items():
        teacher, student = dm.build(big, 1, 64), dm.build(small, len(splits.train.classes), 64)
        plan = dm.plan(teacher, small)
        student.load_state_dict(plan.apply(teacher.state_dict()), strict=False)
        images = calibration_images(splits.train, big, 128)
        times = [time.process_time()]
        compensate(student, teacher, plan.layers, places_of(plan), images)
        times.append(time.process_time())
        for steps in STEPS:
            training = dm.Training(steps=steps, evaluations=1)
            dm.fit(dm.Students(student, None), splits, training, labels_only, device="cpu", progress=False)
            times.append(time.process_time())
        fit, short, long = np.diff(times)
        step = (long - short) / (STEPS[1] - STEPS[0])
        rows.append(f"| {big} → {small} | {fit:.2f} | {step:.3f} | {fit / step:.0f} |")
    return rows


def error_rows(source: str) -> list[str]:
    """The error of the embedded student's stream after the last block, on the fit's images and on others."""
    splits, teacher = dm.open_data(source, 64), dm.load_teacher()
    network = initialize("full_teacher", dm.build(teacher.name, 1), teacher_state=teacher)
    plan = dm.plan(teacher, EMBEDDED_STUDENT)
    others = calibration_images(splits.val, teacher, HELD_OUT)

    def error_at_the_end(student: torch.nn.Module) -> float:
        return measure(student, network, plan.layers, places_of(plan), others).table["after"].iloc[-1]

    rows = [["images"], ["on these images"], ["on other images"]]
    for n in ERROR:
        student = dm.build(EMBEDDED_STUDENT, 1)
        initialize("weight_selection", student, plan=plan, teacher_state=teacher.state)
        selected = error_at_the_end(student)
        images = calibration_images(splits.train, teacher, n)
        table = compensate(student, network, plan.layers, places_of(plan), images).table
        values = (str(len(images)), f"{table['after'].iloc[-1]:.3f}", f"{error_at_the_end(student):.3f}")
        for row, value in zip(rows, values, strict=True):
            row.append(value)
    rows.insert(1, ["---"] * len(rows[0]))
    return [*(f"| {' | '.join(row)} |" for row in rows), "", f"Selection alone, on the other images: {selected:.3f}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=TABLES, nargs="*", default=TABLES)
    parser.add_argument("--images", default="phantom_brain_mri", help="a folder of images, or a data card")
    parser.add_argument("--out", type=Path, help="a Markdown file")
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # of few images: that is the question
    lines, source = ["# Least squares: cost, and the number of images", ""], Path(args.images).name
    machine = f"{platform.machine()}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    if "cost" in args.only:
        caption = f"ViT-S → ViT-T at 224 px, {machine}. Memory is the process's peak resident set."
        lines += [caption, "", *cost_rows(), ""]
    if "steps" in args.only:
        caption = f"128 images of {source} at 64 px, one thread, a step is of 32 images and without an auxiliary."
        lines += [caption, "", *steps_rows(args.images), ""]
    if "error" in args.only:
        caption = "Embedded pair, 64 px: error of the stream after the last block, as a share of the teacher's variance"
        lines += [f"{caption}; images from {source}.", "", *error_rows(args.images), ""]
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
