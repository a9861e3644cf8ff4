"""Speed, as a table: SKD against plain training, the pieces of a step, other loops, selection, the import.

`make bench` runs it (chapters have `make times`); `--out benchmarks/speed.md` writes the table with date and machine.
Figures are medians of alternating repeats, so that a machine whose speed drifts treats all alike.
"""

from __future__ import annotations

import argparse
import cProfile
import datetime
import os
import platform
import pstats
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

import dmws_lite as dm
from dmws_lite.data.sets import Splits
from dmws_lite.method.students import Students
from dmws_lite.runtime.device import few_threads, pick_device, pick_precision
from dmws_lite.training.fit import Trainer


def synchronise() -> None:
    """Wait until a GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternating(jobs: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each job, run in turn after one warm-up each."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            synchronise()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: median(seconds) for name, seconds in times.items()}


@cache
def phantoms(count: int, size: int) -> Splits:
    return dm.phantoms("chest_xray", train=count, val=3, test=3, size=size)


def new_trainer(student: str, size: int, batch: int, device: torch.device, strategy: str) -> Trainer:
    """A run of many steps, to take some from."""
    splits = phantoms(2 * batch, size)
    students = Students(dm.build(student, 3, size), dm.build(student, 3, size, seed=1))
    training, skd = dm.Training(steps=100_000, batch_size=batch), dm.Distillation(strategy, alpha_warmup=0.0)
    return Trainer(students, splits, training, skd, device.type)


def run_steps(trainer: Trainer, steps: int) -> None:
    for _ in range(steps):
        trainer.train_step()


def skd_and_pipeline(
    student: str, size: int, batch: int, device: torch.device, steps: int, repeats: int
) -> list[tuple[str, str, str]]:
    """A training step of `fit`: plain, with SKD, and on one fixed batch in place of the input pipeline."""
    strategies = {"skd": "ema", "plain": "none", "fixed": "none"}
    trainers = {name: new_trainer(student, size, batch, device, strategy) for name, strategy in strategies.items()}
    images = trainers["fixed"].augmented(torch.arange(batch, device=device), 0)
    trainers["fixed"].augmented = lambda indices, step, stream=0: images  # type: ignore[method-assign]
    seconds = alternating({name: partial(run_steps, trainer, steps) for name, trainer in trainers.items()}, repeats)
    for trainer in trainers.values():
        trainer.close()
    name, per_step = f"{student}, {size} px, batch {batch}", seconds["plain"] / steps
    ratios = seconds["skd"] / seconds["plain"], seconds["fixed"] / seconds["plain"]
    return [
        (f"plain step ({name})", f"{1e3 * per_step:.1f} ms, {batch / per_step:.0f} images/s", ""),
        (f"SKD step / plain step ({name})", f"{ratios[0]:.2f}", "<= 1.34"),
        (f"throughput with the input pipeline / on one fixed batch ({name})", f"{ratios[1]:.2f}", ">= 0.95"),
    ]


PIECES = {  # of a step: the end of the file's name, and the function
    "forward pass of the main student": ("training/fit.py", "_forward"),
    "backward pass": ("accelerate/accelerator.py", "backward"),
    "soft targets": ("training/fit.py", "_logits"),
    "AdamW": ("accelerate/optimizer.py", "step"),
    "augmentation, normalisation": ("training/fit.py", "augmented"),
    "clipping": ("accelerate/accelerator.py", "clip_grad_norm_"),
    "EMA": ("method/distillation.py", "move_average"),
    "choice of the images": ("training/fit.py", "batch_indices"),
}


def profile_rows(device: torch.device, steps: int = 60) -> list[tuple[str, str, str]]:
    """The share of an SKD step that each piece of it takes, by cProfile, to which Python's share looks larger."""
    trainer, profile = new_trainer("embedded_vit_48", 64, 32, device, "ema"), cProfile.Profile()
    run_steps(trainer, 5)
    profile.runcall(run_steps, trainer, steps)
    trainer.close()
    calls = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    whole = next(call[3] for (_, _, name), call in calls.items() if name == "run_steps")
    rows = []
    for title, (file, function) in PIECES.items():
        called = [call[4] for (path, _, name), call in calls.items() if path.endswith(file) and name == function]
        callers = [(name, times[3]) for by in called for (_, _, name), times in by.items()]
        inside = sum(seconds for name, seconds in callers if name != "_logits")  # soft targets have a row of their own
        rows.append((f"of an SKD step: {title}", f"{inside / whole:.1%}", ""))
    return rows


def loop_row(device: torch.device, file_size: int, threads: int, repeats: int) -> tuple[str, str, str]:
    """Our fit() against a plain DataLoader + torchvision loop on the same PNG files, decoding included.

    threads: of the plain loop; ours takes one, as its network is small.
    """
    student, batch, steps, size = "embedded_vit_48", 32, 45, 64
    training = dm.Training(steps=steps, batch_size=batch, evaluations=1)
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder), 300, file_size)

        def ours() -> None:
            with new_cache(), warnings.catch_warnings(action="ignore"):
                splits = dm.open_data(folder, size, progress=False)
                students = Students(dm.build(student, 3))
                dm.fit(students, splits, training, dm.Distillation("none"), progress=False)

        def plain() -> None:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            torchvision_loop(folder, device, batch, steps, size, student)
            torch.set_num_threads(before)

        seconds = alternating({"ours": ours, "plain": plain}, repeats)
    name = "our loop, images per second over a DataLoader + torchvision loop "
    name += f"(PNG files of {file_size} px, threads of that loop: {threads})"
    return name, f"{seconds['plain'] / seconds['ours']:.2f}", ">= 1.5"


def write_images(folder: Path, count: int, size: int, suffix: str = ".png") -> None:
    """Class folders of images: phantoms, each shifted by a few pixels as often as it takes."""
    drawn = dm.phantoms("chest_xray", train=min(count, 150), val=3, test=3, size=size).train
    for number in range(count):
        k, shift = number % len(drawn), number // len(drawn)
        path = folder / drawn.classes[drawn.labels[k]] / f"{number:04d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(drawn.images[k, 0], shift, axis=1)).save(path, quality=90)


@contextmanager
def new_cache() -> Iterator[None]:
    """An empty cache, so that images are decoded anew."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, DMWS_CACHE=folder):
        yield


def torchvision_loop(folder: str, device: torch.device, batch: int, steps: int, size: int, student: str) -> float:
    """A DataLoader and torchvision's transforms. Returns images per second of the second half of the steps."""
    from torchvision import datasets, transforms

    transform = transforms.Compose(
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
    workers: dict[str, Any] = {"num_workers": 0}
    if device.type == "cuda":
        workers = {"num_workers": os.cpu_count(), "persistent_workers": True, "pin_memory": True}
    images = datasets.ImageFolder(folder, transform)
    loader = torch.utils.data.DataLoader(images, batch, shuffle=True, drop_last=True, **workers)
    return plain_loop(loader, device, batch, steps, size, student)


def timm_loop(folder: str, device: torch.device, batch: int, steps: int, size: int, student: str) -> float:
    """timm's data set and loader, with its prefetcher on a GPU; otherwise as `torchvision_loop`."""
    from timm.data import ImageDataset, create_loader

    on_gpu = device.type == "cuda"
    half = (0.5, 0.5, 0.5)
    loader = create_loader(
        ImageDataset(folder),
        (3, size, size),
        batch,
        is_training=True,
        use_prefetcher=on_gpu,
        device=device,
        mean=half,
        std=half,
        num_workers=(os.cpu_count() or 1) if on_gpu else 0,
        persistent_workers=on_gpu,
    )
    return plain_loop(loader, device, batch, steps, size, student)


def plain_loop(loader: Any, device: torch.device, batch: int, steps: int, size: int, student: str) -> float:
    """Training as a script would do it, in the precision that we choose too."""
    model = dm.build(student, 3, size).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=device.type == "cuda" or None)
    dtype, done = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(pick_precision(device)[0]), 0
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    began = time.perf_counter()
    while done < steps:
        for images, labels in loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                logits = model(images)
            scaler.scale(torch.nn.functional.cross_entropy(logits.float(), labels)).backward()
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            done += 1
            if done == steps // 2:
                synchronise()
                began = time.perf_counter()
            if done == steps:
                break
    synchronise()
    return (steps - steps // 2) * batch / (time.perf_counter() - began)


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
    with few_threads(dm.build("embedded_vit_48", 3, 64), phantoms(64, 64).train.images):  # as `fit` does it
        rows = skd_and_pipeline("embedded_vit_48", 64, 32, device, 10, args.repeats)
    rows += profile_rows(device) if device.type == "cpu" else []
    threads = torch.get_num_threads()
    loops = sorted({(64, 1), *((size, threads) for size in (64, 224, 512))})
    rows += [loop_row(device, *loop, args.repeats) for loop in loops]
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
