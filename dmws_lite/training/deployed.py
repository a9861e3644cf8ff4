"""What a student costs where it is used: size on disk, time per image, and whether its answers stay the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from dmws_lite.data.sets import ImageSet
from dmws_lite.runtime.text import require
from dmws_lite.training.onnx_export import load_answer, predict_onnx


def latency(function: Callable[[], object], seconds: float = 0.2) -> np.ndarray:
    """Milliseconds of one call on one thread, float (measurements,), by torch.utils.benchmark: it waits for a GPU."""
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of a GPU that is not there
    from torch.utils.benchmark import Timer

    measurement = Timer("function()", globals={"function": function}, num_threads=1)
    return 1e3 * np.array(measurement.blocked_autorange(min_run_time=seconds).times)


def measure(ways: Mapping[str, str | Path], images: ImageSet, reference: str, seconds: float = 0.5) -> pd.DataFrame:
    """Cost and accuracy of each file that holds a student, on labelled images that it has not seen.

    ways:      by name, a folder that `Run.save` wrote or an ONNX file (see `load_answer`).
    reference: the name of the one that the others' answers are compared with.
    seconds:   how long each is timed, one image at a time.
    Returns one row for each way: way, kilobytes (of its weights' file), accuracy, same_class (share of images with the
    reference's class), largest_difference (of a probability), median_ms, low_ms, high_ms (the middle half of
    `latency`). The number of images is in `.attrs["images"]`. Raises ValueError for an unknown reference.
    """
    require("reference", reference, ways)
    expected, rows = predict_onnx(ways[reference], images), []
    for name, path in ways.items():
        probabilities = predict_onnx(path, images)
        milliseconds = latency(partial(load_answer(path), images.images[:1]), seconds)
        low, median, high = np.percentile(milliseconds, [25, 50, 75])
        file = Path(path, "model.safetensors") if Path(path).is_dir() else Path(path)
        row = {
            "way": name,
            "kilobytes": file.stat().st_size / 1e3,
            "accuracy": (probabilities.argmax(1) == images.labels).mean(),
            "same_class": (probabilities.argmax(1) == expected.argmax(1)).mean(),
            "largest_difference": np.abs(probabilities - expected).max(),
        }
        rows.append(row | {"median_ms": median, "low_ms": low, "high_ms": high})
    table = pd.DataFrame(rows)
    table.attrs["images"] = len(images)
    return table
