"""What a GPU has to show, in three parts: is training on it correct, how fast is it, and what do the kept studies say.

`make gpu-pack` fills a folder with images, weights and wheels for a machine without a network; there, `make gpu` runs
this script on it. Each part has a time limit and writes its tables after every row, so that a run that is cut off
leaves what it had; the study goes on where it stopped. On a CPU all is of toy size, to test the script itself.
"""

from __future__ import annotations

import argparse
import atexit
import datetime
import gc
import importlib.util
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from speed import (
    alternating,
    new_cache,
    skd_and_pipeline,
    synchronise,
    timm_loop,
    torchvision_loop,
    write_images,
)
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

import dmws_lite as dm
from dmws_lite.data.augmentation import augment
from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import STRATEGIES
from dmws_lite.method.measuring import recalibrate_batchnorm
from dmws_lite.method.networks import Teacher
from dmws_lite.method.students import Students
from dmws_lite.runtime.device import pick_device, pick_precision
from dmws_lite.runtime.seeds import generator
from dmws_lite.training import fit as loop

SECONDS = {"correctness": 120, "speed": 180, "study": 480}  # limits, where --seconds says nothing
GRACE = 20  # seconds that a row which is under way may take beyond the limit, before the part is ended
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "no": torch.float32}
WORDS = {True: "ok", False: "**failed**"}
Row = tuple[str, ...]


@dataclass
class Table:
    """A Markdown table that is written again after each row, so that nothing is lost when the run is cut off."""

    path: Path
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, *row: Any) -> None:
        self.rows.append(row)
        print(" | ".join(map(str, row)), flush=True)
        lines = [f"# {self.title}", "", f"Made by `make gpu` on {datetime.date.today()}: {machine()}.", ""]
        for cells in (self.columns, ("---",) * len(self.columns), *self.rows):
            lines.append(f"| {' | '.join(map(str, cells))} |")
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass
class Place:
    """Where a part of the script runs, on which images, and until when."""

    device: torch.device
    pack: Path | None
    out: Path
    until: float
    workers: int = 1  # runs of a study at once

    @property
    def toy(self) -> bool:
        return self.device.type == "cpu"

    @property
    def left(self) -> float:
        """Seconds until the part's limit."""
        return self.until - time.monotonic()

    def images(self) -> list[Path]:
        """The image folders of the pack."""
        return sorted(path for path in (self.pack / "images").glob("*") if path.is_dir()) if self.pack else []

    def fill(self, table: Table, checks: list[Callable[[], Iterator[tuple]]]) -> None:
        """The rows of each check; one that fails, or for which no time is left, is named and the others go on."""
        for check in checks:
            title = getattr(check, "func", check).__doc__.splitlines()[0]
            try:
                if self.left < 0:
                    raise TimeoutError("not run: the time was over")
                for row in check():
                    table.add(*row)
            except Exception as error:  # it becomes a row
                reason = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")
                table.add(title, reason[:300], *[""] * (len(table.columns) - 3), WORDS[False])


def machine() -> str:
    device = pick_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"no GPU, {os.cpu_count()} CPU cores, toy sizes"
    return f"{name}, {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"


# ---------------------------------------------------------------------------------------------------- correctness


def correctness(place: Place) -> None:
    """Each check against the CPU, or against what must not happen; a limit is stated before it is measured."""
    torch.backends.cudnn.allow_tf32 = False  # float32 is compared with the CPU's
    columns = ("what", "measured", "limit", "verdict")
    table = Table(place.out / "correctness.md", "Correctness on this machine", columns)
    splits = dm.phantoms("chest_xray", train=96, val=30, test=30)
    checks = [forward, training_as_on_cpu, augmentation, batchnorm, precisions, overflow, strategies, resumption]
    place.fill(table, [partial(check, place, splits) for check in (*checks, memory_after_a_run)])


def verdict(what: str, value: float, limit: float) -> tuple[str, str, str, str]:
    return what, f"{value:.2g}", f"<= {limit:g}", WORDS[value <= limit]


def pair(name: str = "embedded_vit_48") -> Students:
    if name == "embedded_vit_48":
        return dm.make_students(dm.load_teacher(), name, 3)
    return Students(dm.build(name, 3, 64, seed=0), dm.build(name, 3, 64, seed=1))


@contextmanager
def precision(name: str, noise: bool = True) -> Iterator[None]:
    """`fit` in this precision, whatever it would choose; without noise, which each device draws for itself."""
    plain = augment if noise else partial(augment, noise=0)
    chosen = mock.patch.object(loop, "pick_precision", lambda device: (name, "asked for"))
    with chosen, mock.patch.object(loop, "augment", plain):
        yield


def short(place: Place, splits: Splits, students: Students | None = None, steps: int = 20, **options: Any) -> Any:
    """A short run: options of `fit`, and `skd`, settings of Distillation."""
    training = dm.Training(steps=2 if place.toy else steps, evaluations=2, batch_size=16)
    skd = dm.Distillation(**{"alpha_warmup": 0.0, **options.pop("skd", {})})
    options = {"device": place.device.type, "progress": False, **options}
    return dm.fit(students or pair(), splits, training, skd, **options)


def weights(model: nn.Module) -> Tensor:
    return parameters_to_vector(model.parameters()).detach().cpu().clone()


def forward(place: Place, splits: Splits) -> Iterator[Row]:
    """Forward pass in float32 as on the CPU"""
    for name, size in (("embedded_vit_48", 64), ("mobilenetv1_050", 64), ("vit_tiny_patch16_224", 224)):
        model = dm.build(name, 3, size).eval()
        images = torch.randn(4, 3, size, size, generator=generator(0))
        with torch.no_grad():
            expected = model(images)
            logits = model.to(place.device)(images.to(place.device)).cpu()
        yield verdict(f"logits in float32, {name}", float((logits - expected).norm() / expected.norm()), 1e-3)


def training_as_on_cpu(place: Place, splits: Splits) -> Iterator[Row]:
    """Training in float32 as on the CPU, from the same seed"""
    start = weights(pair().main)
    with precision("no", noise=False):
        on_cpu, on_device = (short(place, splits, device=device) for device in ("cpu", place.device.type))
    losses = [run.history[1]["loss"] for run in (on_cpu, on_device)]
    yield verdict("loss of the first steps, relative difference", abs(losses[1] / losses[0] - 1), 1e-2)
    expected = weights(on_cpu.auxiliary)
    difference = (expected - weights(on_device.auxiliary)).norm() / (expected - start).norm()
    yield verdict("auxiliary's weights, difference over their change in the run", float(difference), 0.05)


def augmentation(place: Place, splits: Splits) -> Iterator[Row]:
    """Augmentation on the device, and its noise"""
    images = torch.from_numpy(splits.train.images[:16])
    plain = [augment(x, generator(1), noise=0).cpu() for x in (images, images.to(place.device))]
    difference = (plain[0] - plain[1]).abs().mean().item()
    yield verdict("augmented pixels without noise, mean difference in grey levels", difference, 0.1)
    grey = torch.full((64, 1, 64, 64), 128.0, device=place.device)
    noisy = partial(augment, grey, flips=(), degrees=0, shift=0, zoom=0, contrast=0)
    first, again, other = (noisy(generator(seed)).cpu() - 128 for seed in (1, 1, 2))
    largest = first.std(dim=(1, 2, 3)).max().item() / 255
    yield verdict("noise: distance of its largest deviation from 0.03", abs(largest - 0.03), 0.003)
    seeded = torch.equal(first, again) and not torch.equal(first, other)
    yield "noise: the same for the same seed, another for another", str(seeded), "True", WORDS[seeded]


def batchnorm(place: Place, splits: Splits) -> Iterator[Row]:
    """BatchNorm's statistics, measured again"""
    images, statistics = torch.randn(64, 3, 64, 64, generator=generator(0)), []
    for device in ("cpu", place.device):
        model = recalibrate_batchnorm(dm.build("mobilenetv1_050", 3).to(device), images.split(32))
        buffers = [buffer.flatten().cpu() for name, buffer in model.named_buffers() if "running" in name]
        statistics.append(torch.cat(buffers))
    difference = (statistics[0] - statistics[1]).norm() / statistics[0].norm()
    yield verdict("BatchNorm statistics, relative difference", float(difference), 1e-3)


def precisions(place: Place, splits: Splits) -> Iterator[Row]:
    """bf16, and fp16 with the gradient scaler"""
    losses = {}
    for name in ("no", "bf16", "fp16"):
        if name == "fp16" and place.device.type != "cuda":
            yield "fp16", "not run: needs a GPU", "", ""
            continue
        with precision(name):
            run = short(place, splits, steps=60)
        losses[name] = run.history[-1]["loss"]
        if name != "no":
            yield verdict(f"{name}: last loss, less that in float32", abs(losses[name] - losses["no"]), 0.1)
            yield f"{name}: skipped steps", str(run.skipped_steps), "", ""
    yield "precision that `fit` chooses here", pick_precision(place.device)[0], "", ""


def overflow(place: Place, splits: Splits) -> Iterator[Row]:
    """fp16 with gradients that overflow: such steps are skipped, by the auxiliary too"""
    if place.device.type != "cuda":
        yield "fp16 with gradients that overflow", "not run: needs a GPU", "", ""
        return
    with precision("fp16"):
        trainer = loop.Trainer(pair(), splits, dm.Training(steps=40, batch_size=16), dm.Distillation(), "cuda")
    scaler = trainer.accelerator.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**40})
    wrong = 0
    for _ in range(40):
        students, skipped = (trainer.main, trainer.auxiliary), trainer.record["skipped_steps"]
        before = [weights(student) for student in students]
        trainer.train_step()
        stayed = [torch.equal(old, weights(student)) for old, student in zip(before, students, strict=True)]
        wrong += trainer.record["skipped_steps"] > skipped and not all(stayed)
    skipped = trainer.record["skipped_steps"]
    trainer.close()
    yield "fp16: skipped steps of 40, from a scale of 2^40", str(skipped), "5 to 35", WORDS[5 <= skipped <= 35]
    yield verdict("skipped steps in which a student moved", wrong, 0)


def strategies(place: Place, splits: Splits) -> Iterator[Row]:
    """Every strategy, and an auxiliary that is trained"""
    teacher = dm.build("embedded_vit_96", 3)
    for name in STRATEGIES:
        for update in ("ema", "trained") if name == "ema" else ("ema",):
            students = replace(pair(), auxiliary=teacher) if name == "kd" else pair()
            start = weights(students.main)
            run = short(place, splits, students, steps=4, skd={"strategy": name, "auxiliary_update": update})
            moved = not torch.equal(start, weights(run.main)) or run.best_step == 0
            loss = run.history[-1]["loss"]
            yield f"strategy {name}, {update}", f"loss {loss:.3f}", "finite", WORDS[moved and math.isfinite(loss)]


def resumption(place: Place, splits: Splits) -> Iterator[Row]:
    """A run that is stopped and goes on from its checkpoint"""
    with tempfile.TemporaryDirectory() as folder:
        whole, path = short(place, splits), Path(folder, "run")
        half = whole.history[1]["step"]
        short(place, splits, checkpoint=path, on_evaluation=lambda row: row["step"] == half)
        resumed = short(place, splits, checkpoint=path)
    difference = (weights(whole.auxiliary) - weights(resumed.auxiliary)).norm() / weights(whole.auxiliary).norm()
    yield verdict("stopped and gone on, or whole: relative difference of weights", float(difference), 1e-3)


def memory_after_a_run(place: Place, splits: Splits) -> Iterator[Row]:
    """What stays on the GPU after a run"""
    if place.device.type != "cuda":
        yield "memory after a run", "not run: needs a GPU", "", ""
        return
    short(place, splits)  # the libraries' own workspaces come with the first run
    gc.collect()
    before = torch.cuda.memory_allocated()
    run = short(place, splits)
    tensors = [tensor for student in (run.main, run.auxiliary) for tensor in student.state_dict().values()]
    students = sum(-(-tensor.nbytes // 512) * 512 for tensor in tensors)
    yield verdict("bytes on the GPU beside the two students", torch.cuda.memory_allocated() - before - students, 65536)
    del run, tensors
    gc.collect()
    yield verdict("bytes on the GPU when the students are gone", torch.cuda.memory_allocated() - before, 0)


# ---------------------------------------------------------------------------------------------------- speed


def speed(place: Place) -> None:
    """Ratios first, then images per second, what dual costs, and several runs at once; compiled networks last."""
    table = Table(place.out / "speed.md", "Speed on this machine", ("what", "measured", "aim"))
    big = "vit_tiny_patch16_224", "convnext_femto", "mobilenetv1_050", "efficientnet_lite0_050"
    sizes = [("embedded_vit_48", 64, 8 if place.toy else 32), *((name, 224, 128) for name in big if not place.toy)]
    jobs = [partial(ratios, place, *size) for size in sizes[: 1 if place.toy else 2]]
    jobs += [partial(loops, place), partial(costs_of_two, place)]
    jobs += [partial(throughput, place, *size, kind) for size in sizes for kind in LAYOUTS]
    jobs += [partial(several_runs, place)]
    jobs += [partial(throughput, place, *size, kind) for size in sizes for kind in COMPILED]
    place.fill(table, jobs)


def ratios(place: Place, student: str, size: int, batch: int) -> Iterator[Row]:
    """SKD step / plain step, and the input pipeline"""
    yield from skd_and_pipeline(student, size, batch, place.device, 1 if place.toy else 10, 1 if place.toy else 5)


def loops(place: Place) -> Iterator[Row]:
    """Our loop against a DataLoader + torchvision loop and timm's, on the same PNG files"""
    student, size, batch, steps = ("embedded_vit_48", 64, 8, 4) if place.toy else ("vit_tiny_patch16_224", 224, 64, 60)
    with tempfile.TemporaryDirectory() as folder, new_cache():
        write_images(Path(folder), 24 if place.toy else 600, size)
        began = time.perf_counter()
        splits = dm.open_data(folder, size, progress=False)
        opened = time.perf_counter() - began
        yield f"opening {len(splits)} images of {size} px, once", f"{opened:.1f} s", ""
        students = Students(dm.build(student, 3, size))
        run = dm.fit(
            students,
            splits,
            dm.Training(steps=steps, batch_size=batch, evaluations=2),
            dm.Distillation("none"),
            device=place.device.type,
            progress=False,
        )
        ours = run.history[-1]["images_per_second"]
        yield f"our loop ({student}, {size} px, batch {batch})", f"{ours:.0f} images/s", ""
        other_loops = {"a DataLoader + torchvision loop": torchvision_loop, "a loop on timm's loader": timm_loop}
        for name, loop in other_loops.items():
            rate = loop(folder, place.device, batch, steps, size, student)
            yield f"our loop, images per second over {name} ({rate:.0f} images/s)", f"{ours / rate:.2f}", ">= 1.5"


def costs_of_two(place: Place) -> Iterator[Row]:
    """Memory and seconds of plain training, single selection + SKD, and dual selection + SKD"""
    teacher, student, size, batch = "embedded_vit_96", "embedded_vit_48", 64, 8
    if not place.toy:
        teacher, student, size, batch = "vit_small_patch16_224", "vit_tiny_patch16_224", 224, 64
    half = (0.5, 0.5, 0.5)
    source = Teacher(teacher, dm.build(teacher, 3, size).state_dict(), half, half, "random weights, for speed only")
    splits = dm.phantoms("chest_xray", train=24 if place.toy else 300, val=6, test=6, size=size)
    training, plain = dm.Training(steps=2 if place.toy else 40, batch_size=batch, evaluations=2), 0.0
    for name, auxiliary in (("plain", None), ("single + SKD", "same"), ("dual + SKD", "complementary")):
        students = dm.make_students(source, student, 3, auxiliary)
        skd = dm.Distillation("ema" if auxiliary else "none", alpha_warmup=0.0)
        if place.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        run = dm.fit(students, splits, training, skd, device=place.device.type, progress=False)
        seconds = run.history[-1]["seconds"]
        plain = plain or seconds
        peak = torch.cuda.max_memory_allocated() / 2**20 if place.device.type == "cuda" else float("nan")
        measured = f"{1e3 * seconds / (training.steps / 2):.1f} ms a step, peak {peak:.0f} MiB"
        yield f"{name} ({teacher} → {student}, batch {batch})", f"{measured}, {seconds / plain:.2f} × plain", ""
        del students, run


def several_runs(place: Place) -> Iterator[Row]:
    """Several runs on one device at once"""
    alone = 0.0
    for count in (1,) if place.toy else (1, 4, 8):
        rate = run_at_once(place, count)
        alone = alone or rate
        measured = f"{rate:.0f} steps/s in all, {rate / alone:.2f} ×"
        yield f"{count} runs at once (embedded_vit_48, batch 32)", measured, ""


def run_at_once(place: Place, count: int) -> float:
    """Steps per second of `count` processes that train at the same time."""
    steps = 2 if place.toy else 150
    command = [sys.executable, __file__, "--worker", str(steps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(count)]  # type: ignore[call-overload]
    try:
        for process in workers:
            process.stdout.readline()  # it is warm
        began = time.perf_counter()
        for process in workers:
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in workers:
            if "done" not in process.stdout.readline():
                raise RuntimeError("a worker failed")
        return count * steps / (time.perf_counter() - began)
    finally:
        for process in workers:
            process.kill()
            process.communicate()


def worker(steps: int) -> None:
    """One of several runs at once: warm up, wait for the others, train, and print when each is done."""
    torch.set_num_threads(1)
    splits, skd = dm.phantoms("chest_xray", train=64, val=6, test=6), dm.Distillation()
    for number, word in ((2, "warm"), (steps, "done")):
        dm.fit(pair(), splits, dm.Training(steps=number, evaluations=1), skd, progress=False)
        print(word, flush=True)
        if word == "warm":
            sys.stdin.readline()


@dataclass(frozen=True)
class Kind:
    """A way to compute a training step; `wrap` changes a network, given a batch of its input."""

    name: str
    dtype: str = "bf16"
    layout: torch.memory_format = torch.contiguous_format
    fused: bool = False
    wrap: Callable[[nn.Module, Tensor], nn.Module] | None = None


def graphed(model: nn.Module, images: Tensor) -> nn.Module:
    """Forward and backward pass as CUDA graphs, which launch their kernels at once."""
    return torch.cuda.make_graphed_callables(model, (images,))


LAST = torch.channels_last
LAYOUTS = [
    Kind("float32", "no"),
    Kind("16 bits"),
    Kind("16 bits, channels_last", layout=LAST),
    Kind("16 bits, channels_last, fused AdamW", layout=LAST, fused=True),
]
COMPILED = [
    Kind("+ CUDA graphs", layout=LAST, fused=True, wrap=graphed),
    Kind("+ torch.compile", layout=LAST, fused=True, wrap=lambda model, images: torch.compile(model)),
    Kind("+ torch.compile, reduce-overhead", layout=LAST, fused=True,
         wrap=lambda model, images: torch.compile(model, mode="reduce-overhead")),
]  # fmt: skip


def throughput(place: Place, student: str, size: int, batch: int, kind: Kind) -> Iterator[Row]:
    """Images per second of plain training steps on one batch"""
    name = f"{student}, {size} px, batch {batch}, {kind.name}"
    if kind.wrap and place.device.type != "cuda":
        yield name, "not run: needs a GPU", ""
        return
    chosen = pick_precision(place.device)[0] if kind.dtype != "no" else "no"
    low = {"enabled": chosen != "no", "cache_enabled": not kind.wrap}
    autocast = partial(torch.autocast, place.device.type, DTYPES[chosen], **low)
    images = torch.randn(batch, 3, size, size, device=place.device).contiguous(memory_format=kind.layout)
    labels = torch.arange(batch, device=place.device) % 3
    model = dm.build(student, 3, size).to(place.device, memory_format=kind.layout).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=kind.fused or None)
    began = time.perf_counter()
    with autocast():
        network = kind.wrap(model, images) if kind.wrap else model

    def steps(number: int) -> None:
        for _ in range(number):
            with autocast():
                logits = network(images)
            F.cross_entropy(logits.float(), labels).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

    steps(1 if place.toy else 4)
    synchronise()
    ready, number = time.perf_counter() - began, 2 if place.toy else 30
    seconds = alternating({"": partial(steps, number)}, 1 if place.toy else 3)[""]
    measured = f"{batch * number / seconds:.0f} images/s, {1e3 * seconds / number:.1f} ms a step"
    yield name, measured, f"ready in {ready:.0f} s"


# ---------------------------------------------------------------------------------------------------- study

STUDIES = ("parts", "beyond", "claim")  # those that are there
GROWTH = (([0.1], 1), ([0.1], 2), ([0.1], 3), ([0.05, 0.1], 3), ([0.05, 0.1], 5), ([0.01, 0.05, 0.1], 5))
IMAGENET = ("mobilenetv1_100", "mobilenetv1_050")  # a pair whose weights a pack may hold


def study(place: Place) -> None:
    """The kept studies on the packed images: fractions and seeds grow as long as the time allows."""
    from dmws_lite.studies.study import studies

    names = [name for name in STUDIES if name in studies()][: 1 if place.toy else None]
    stores = {name: dm.Store(place.out / "stores" / name, create=True) for name in names}
    rates: dict[str, float] = {}  # seconds of a run
    broken: dict[str, str] = {}  # studies that cannot be run, and why
    for fractions, seeds in GROWTH[: 1 if place.toy else None]:
        for name in [name for name in stores if name not in broken]:
            chosen, began = chosen_study(place, name, fractions, seeds), time.monotonic()
            missing = len(chosen) - len(stores[name].table())
            if missing <= 0 or missing * rates.get(name, 0) > place.left:
                continue
            at_once = {"workers": place.workers} if place.workers > 1 else {}
            try:
                dm.run_study(chosen, stores[name].folder, progress=False, **at_once)
            except Exception as error:  # the other studies go on
                broken[name] = f"{type(error).__name__}: {error}"
            rates[name] = (time.monotonic() - began) / missing
            write_study(place, name, stores[name])
    for name, store in stores.items():
        write_study(place, name, store)
    if broken:
        raise RuntimeError("; ".join(f"study {name}: {reason}" for name, reason in broken.items()))


def chosen_study(place: Place, name: str, fractions: list[float], seeds: int) -> Any:
    changes: dict[str, Any] = {"fractions": fractions, "seeds": seeds}
    if place.images():
        changes["data"] = [{"source": str(path), "name": path.name} for path in place.images()]
    files = {path.stem: str(path) for path in (place.pack / "weights").glob("*.safetensors")} if place.pack else {}
    teacher, student = IMAGENET
    if teacher in files:
        packed = {"teacher": teacher, "student": student, "weights": files[teacher]}
        packed |= {"native_weights": files[student]} if student in files else {}
        changes["pairs"] = [{"teacher": "embedded_vit_96", "student": "embedded_vit_48"}, packed]
    if place.toy:
        changes |= {"training": {"steps": 2, "evaluations": 1, "batch_size": 8}, "pairs": [{}]}
        changes["methods"] = list(dm.read_study(name).methods)[:2]
    return dm.read_study(name, **changes)


def write_study(place: Place, name: str, store: Any) -> None:
    """All runs as CSV, and the mean accuracy of each method as Markdown."""
    runs = store.table()
    runs.to_csv(place.out / f"study_{name}.csv", index=False)
    keys = ["data", "pair", "fraction", "method"]
    table = Table(place.out / f"study_{name}.md", f"Study {name}", (*keys, "seeds", "accuracy", "seconds"))
    for group, rows in runs.groupby(keys, sort=False):
        table.add(*group, len(rows), f"{rows['accuracy'].mean():.3f}", f"{rows['seconds'].mean():.1f}")
    failures = store.failures()
    for _, row in failures.iterrows():
        table.add(*row.get(keys, [""] * 4), "", "failed", str(row.get("error", ""))[:200].replace("|", "/"))


# ---------------------------------------------------------------------------------------------------- the script

PARTS: dict[str, Callable[[Place], None]] = {"correctness": correctness, "speed": speed, "study": study}


def add_wheels(pack: Path) -> None:
    """Unpack the pack's wheels of packages that this Python lacks, for this process and those that it starts."""
    site = tempfile.mkdtemp(prefix="gpu-pack-")
    atexit.register(shutil.rmtree, site, ignore_errors=True)
    for wheel in sorted((pack / "wheels").glob("*.whl")):
        if importlib.util.find_spec(wheel.name.split("-")[0]) is None:
            zipfile.ZipFile(wheel).extractall(site)
    sys.path.insert(0, site)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), site)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seconds", type=float, help=f"of each part; by default {SECONDS}")
    parser.add_argument("--pack", type=Path, help="folder of images, weights and wheels that gpu_pack.py made")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "gpu", help="folder of the results")
    parser.add_argument(
        "--workers", type=int, default=1, help="runs of a study at once (the speed part measures what pays)"
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return worker(args.worker)
    if args.pack and not args.pack.is_dir():
        parser.error(f"--pack {args.pack} is no folder: make it with `make gpu-pack`")
    if args.pack:
        add_wheels(args.pack)
    warnings.simplefilter("ignore")  # of images that look alike, and of libraries
    args.out.mkdir(parents=True, exist_ok=True)
    device, failed = pick_device(), False
    for part in args.part:
        seconds = args.seconds or SECONDS[part]
        if len(args.part) == 1 or device.type == "cpu":
            PARTS[part](Place(device, args.pack, args.out, time.monotonic() + seconds, args.workers))
            continue
        # a process of its own, which can be ended
        options = ["--part", part, "--seconds", str(seconds), "--out", str(args.out), "--workers", str(args.workers)]
        options += ["--pack", str(args.pack)] if args.pack else []
        try:
            failed |= bool(subprocess.run([sys.executable, __file__, *options], timeout=seconds + GRACE).returncode)
        except subprocess.TimeoutExpired:
            print(f"{part}: ended after {seconds + GRACE:.0f} s; what it had is in {args.out}")
            failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
