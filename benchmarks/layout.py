"""A training step and a prediction of each kind of student on a CPU, contiguous and in channels_last.

`python benchmarks/layout.py` prints the table in `benchmarks/layout.md`: medians in ms, batches of 32 images.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import date
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from torch.utils.benchmark import Timer

from dmws_lite.method.networks import build

STUDENTS = (
    ("embedded_vit_48", 64),
    ("mobilenetv1_050", 64),
    ("mobilenetv2_050", 64),
    ("efficientnet_lite0_050", 64),
    ("efficientnet_lite0_050", 128),
    ("tf_efficientnet_lite0", 64),
    ("convnext_atto", 64),
)
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def main() -> None:
    machine = f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    print("# The layout of memory on a CPU\n")
    print(f"Made by `python benchmarks/layout.py` on {date.today()}: {machine}. Milliseconds, medians; 32 images.")
    print("*Last*: torch's channels_last, where the channels of a pixel lie side by side.\n")
    print("| student, pixels | threads | step: contiguous | last | ratio | prediction: contiguous | last | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for threads in (1, 2):
        for name, size in STUDENTS:
            (step, forward), (last_step, last_forward) = (measure(name, size, threads, layout) for layout in LAYOUTS)
            steps = f"{step:.0f} | {last_step:.0f} | {last_step / step:.2f}"
            print(f"| {name}, {size} | {threads} | {steps} |", end="")
            print(f" {forward:.0f} | {last_forward:.0f} | {last_forward / forward:.2f} |", flush=True)


def measure(name: str, size: int, threads: int, layout: torch.memory_format) -> tuple[float, float]:
    """Median milliseconds of a training step without its optimiser, and of a prediction."""
    model = build(name, 4, size).to(memory_format=layout)
    images, labels = torch.randn(32, 3, size, size).contiguous(memory_format=layout), torch.arange(32) % 4

    def step() -> None:
        cross_entropy(model.train()(images), labels).backward()
        model.zero_grad()

    def predict() -> None:
        with torch.inference_mode():
            model.eval()(images)

    def median(work: Callable[[], Any]) -> float:
        work()
        timer = Timer("work()", globals={"work": work}, num_threads=threads)
        return 1000 * timer.blocked_autorange(min_run_time=2).median

    return median(step), median(predict)


if __name__ == "__main__":
    main()
