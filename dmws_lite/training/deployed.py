"""What a student costs where it is used: size on disk, time an image, and whether it still answers alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from dmws_lite.data.sets import ImageSet
from dmws_lite.training.export import add_to_card
from dmws_lite.training.onnx_export import FromPixels, open_onnx

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
Answer = Callable[[Array], Array]  # uint8 (N, C, H, W) to probabilities (N, classes)
WARM_UP = 5
BATCH = 256  # images that are answered at once


def by_torch(model: nn.Module) -> Answer:
    """A copy of a network, on the CPU, as a function from pixels to probabilities."""
    whole = FromPixels(deepcopy(model)).cpu().eval()

    def answer(pixels: Array) -> Array:
        with torch.inference_mode():
            return whole(torch.tensor(pixels)).numpy()  # a copy: the pixels may be read-only

    return answer


def by_onnx(path: str | Path) -> Answer:
    """An ONNX file that `to_onnx` or `quantize` wrote as a function from pixels to probabilities."""
    session = open_onnx(path)
    return lambda pixels: session.run(None, {"pixels": pixels})[0]


def latency(answers: Mapping[str, Answer], images: Array, repeats: int = 100) -> dict[str, Array]:
    """Milliseconds an image takes by each of several ways, one image at a time on one thread.

    images: uint8 (N, C, H, W), taken in turn.
    Ways take turns too, so that whatever else the machine does is shared by all. The first WARM_UP rounds are left out.
    Returns (repeats,) of each. Raises ValueError for repeats < 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats} must be at least 1")
    times: dict[str, list[float]] = {name: [] for name in answers}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for k in range(WARM_UP + repeats):
            image = images[k % len(images)][None]
            for name, answer in answers.items():
                start = time.perf_counter()
                answer(image)
                times[name].append(1e3 * (time.perf_counter() - start))
    finally:
        torch.set_num_threads(threads)
    return {name: np.array(found[WARM_UP:]) for name, found in times.items()}


def measure(
    ways: Mapping[str, tuple[Answer, Path | None]], images: ImageSet, reference: str, repeats: int = 100
) -> pd.DataFrame:
    """What each way of asking costs, and how it answers.

    ways:      name: (answer, its file, or None where there is none).
    images:    labelled images that nothing was trained, chosen or calibrated on.
    reference: the way that the others' answers are compared with.
    Returns a row a way: way, kilobytes (nan without a file), accuracy, same_class (share of images with the reference's
    class), largest_difference (of a probability), median_ms, low_ms, high_ms (the middle half of `latency`). The
    number of images is in `.attrs["images"]`.
    Raises ValueError for an unknown reference.
    """
    import pandas as pd

    if reference not in ways:
        raise ValueError(f"reference={reference!r} is none of {', '.join(ways)}")
    found = {name: _in_batches(answer, images.images) for name, (answer, _) in ways.items()}
    times = latency({name: answer for name, (answer, _) in ways.items()}, images.images, repeats)
    rows = []
    for name, (_, path) in ways.items():
        low, median, high = np.percentile(times[name], [25, 50, 75])
        predicted, expected = found[name].argmax(1), found[reference].argmax(1)
        rows.append(
            {
                "way": name,
                "kilobytes": path.stat().st_size / 1e3 if path else np.nan,
                "accuracy": float((predicted == images.labels).mean()),
                "same_class": float((predicted == expected).mean()),
                "largest_difference": float(np.abs(found[name] - found[reference]).max()),
                "median_ms": median,
                "low_ms": low,
                "high_ms": high,
            }
        )
    table = pd.DataFrame(rows)
    table.attrs["images"] = len(images)
    return table


def _in_batches(answer: Answer, pixels: Array) -> Array:
    return np.concatenate([answer(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])


def tell_card(folder: str | Path, table: pd.DataFrame, machine: str) -> Path:
    """Put what `measure` found into the student's card, as its section "Files and speed".

    machine: where it was measured, in words. Returns the card's path.
    """
    rows = [
        f"| {row.way} | {row.kilobytes:,.0f} | {row.accuracy:.3f} | {row.same_class:.3f} | {row.median_ms:.2f} "
        f"({row.low_ms:.2f} to {row.high_ms:.2f}) |"
        for row in table.itertuples()
    ]
    head = ["| | size (kB) | accuracy | same class | ms an image |", "|---|---|---|---|---|"]
    note = f"Batch 1, one thread, median and middle half of the times, on {machine}. Accuracy on the test images."
    return add_to_card(folder, "Files and speed", "\n".join([*head, *rows, "", note]))
