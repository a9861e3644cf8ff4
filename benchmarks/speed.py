"""Speed, as a table: SKD against plain training, the input pipeline, both students' selection, the import.

`make bench` runs it (chapters have `make times`); `--out benchmarks/speed.md` writes the table with date and machine.
Figures are medians of alternating repeats, so that a machine whose speed drifts treats all alike.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np
import torch
from PIL import Image

import dmws_lite as dm
from dmws_lite.data.augmentation import augment, normalise
from dmws_lite.method.distillation import Distillation, Step, ema, update_auxiliary
from dmws_lite.runtime.device import pick_device, pick_precision
from dmws_lite.runtime.seeds import generator


def alternating(jobs: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each job, run in turn after one warm-up each."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: median(seconds) for name, seconds in times.items()}


def step_rows(
    student: str, size: int, batch: int, device: torch.device, steps: int, repeats: int
) -> list[tuple[str, str, str]]:
    """One training step of a student: plain, with SKD, and with the input pipeline in front."""
    name = f"{student}, {size} px, batch {batch}"
    main, auxiliary = (dm.build(student, 3, size).to(device) for _ in range(2))
    auxiliary.eval()
    optimizer = torch.optim.AdamW(main.parameters(), lr=1e-4)
    images = torch.randint(0, 256, (512, 1, size, size), dtype=torch.uint8, device=device)
    labels = torch.randint(0, 3, (512,), device=device)
    fixed = normalise(images[:batch], 0.5, 0.5)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(pick_precision(device)[0])

    def run(skd: bool, pipeline: bool) -> None:
        for number in range(steps):
            index = torch.from_numpy(np.random.default_rng(number).permutation(512)[:batch]).to(device)
            x = normalise(augment(images[index], generator(number)), 0.5, 0.5) if pipeline else fixed
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                logits = main(x)
            step = Step(logits, labels[index], index, alpha=0.5 * skd, temperature=2.0, targets=lambda x=x: targets(x))
            ema(step).backward()
            torch.nn.utils.clip_grad_norm_(main.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if skd:
                update_auxiliary(auxiliary, main, 0.9)

    @torch.no_grad()
    def targets(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            return auxiliary(x)

    seconds = alternating(
        {"plain": lambda: run(False, False), "skd": lambda: run(True, False), "pipeline": lambda: run(False, True)},
        repeats,
    )
    speed = steps * batch / seconds["plain"]
    return [
        (f"plain step ({name})", f"{1e3 * seconds['plain'] / steps:.1f} ms, {speed:.0f} images/s", ""),
        (f"SKD step / plain step ({name})", f"{seconds['skd'] / seconds['plain']:.2f}", "<= 1.35"),
        (
            f"throughput with the input pipeline / on one fixed batch ({name})",
            f"{seconds['plain'] / seconds['pipeline']:.2f}",
            ">= 0.9",
        ),
    ]


def loop_row(device: torch.device, repeats: int) -> tuple[str, str, str]:
    """Our fit() against a plain DataLoader + torchvision loop on the same PNG files, decoding included."""
    splits, batch, steps, size = dm.phantoms("chest_xray", train=300, val=30, test=30), 32, 45, 64
    training = dm.Training(steps=steps, batch_size=batch, evaluations=1)
    with tempfile.TemporaryDirectory() as folder:
        for number, (image, label) in enumerate(zip(splits.train.images, splits.train.labels, strict=True)):
            path = Path(folder, str(label), f"{number}.png")
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image[0]).save(path)

        def ours() -> None:
            with new_cache(), warnings.catch_warnings(action="ignore"):
                opened = dm.open_data(folder, size, progress=False)
                dm.fit(
                    dm.Students(dm.build("embedded_vit_48", 3)), opened, training, Distillation("none"), progress=False
                )

        seconds = alternating(
            {"ours": ours, "plain": lambda: torchvision_loop(folder, device, batch, steps, size)}, repeats
        )
    ratio = seconds["plain"] / seconds["ours"]
    return (
        "our loop, images per second over a DataLoader + torchvision loop (PNG files, decoding included)",
        f"{ratio:.2f}",
        "",
    )


@contextmanager
def new_cache() -> Iterator[None]:
    """An empty cache, so that images are decoded anew."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, DMWS_CACHE=folder):
        yield


def torchvision_loop(folder: str, device: torch.device, batch: int, steps: int, size: int) -> None:
    from torchvision import datasets, transforms

    change = transforms.Compose(
        [
            transforms.Grayscale(3),
            transforms.Resize(size),
            transforms.RandomHorizontalFlip(),
            transforms.RandomAffine(10, (0.08, 0.08), (0.9, 1.1)),
            transforms.ColorJitter(0.2, 0.2),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    loader = torch.utils.data.DataLoader(datasets.ImageFolder(folder, change), batch, shuffle=True, drop_last=True)
    model = dm.build("embedded_vit_48", 3).to(device).train()
    optimizer, done = torch.optim.AdamW(model.parameters(), lr=1e-3), 0
    while done < steps:
        for images, labels in loader:
            torch.nn.functional.cross_entropy(model(images.to(device)), labels.to(device)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
            if done == steps:
                return


def selection_row(teacher: str, student: str, repeats: int) -> tuple[str, str, str]:
    state = dm.build(teacher, 10).state_dict()

    def both() -> None:
        for plan in dm.complementary_plans(teacher, student):
            plan.apply(state)

    seconds = alternating({"both": both}, repeats)
    return (
        f"both students of {teacher} → {student}",
        f"{1e3 * seconds['both']:.0f} ms",
        "< 100 ms" if "vit" in teacher else "",
    )


def import_row(repeats: int) -> tuple[str, str, str]:
    code = "import time; t = time.perf_counter(); import dmws_lite; print(time.perf_counter() - t)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
        for _ in range(repeats)
    ]
    return ("import dmws_lite", f"{median(seconds):.3f} s", "< 0.3 s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", help="write the table to this Markdown file too")
    args = parser.parse_args()
    device = pick_device()
    rows = step_rows("embedded_vit_48", 64, 32, device, 10, args.repeats)
    if device.type == "cuda":
        rows += step_rows("vit_tiny_patch16_224", 224, 128, device, 10, args.repeats)
    rows += [loop_row(device, args.repeats)]
    rows += [
        selection_row(*pair, args.repeats)
        for pair in (("vit_small_patch16_224", "vit_tiny_patch16_224"), ("convnext_tiny", "convnext_femto"))
    ]
    rows += [import_row(args.repeats)]
    machine = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    lines = [
        "# Speed",
        "",
        f"Made by `make bench` on {datetime.date.today()}: {machine}, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}.",
        "",
        "| what | measured | aim |",
        "|---|---|---|",
        *(f"| {what} | {value} | {aim} |" for what, value, aim in rows),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        Path(args.out).write_text(text)


if __name__ == "__main__":
    main()
