"""Comparison of methods in memory: same budget, data order, augmentation draws and classifier start for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import EMBEDDED_STUDENT, EMBEDDED_TEACHER, Teacher, load_teacher
from dmws_lite.runtime.progress import tqdm
from dmws_lite.studies.methods import find_method
from dmws_lite.studies.run import METRICS, train
from dmws_lite.training.evaluation import evaluate, predict
from dmws_lite.training.fit import Run
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Comparison:
    """table: one row a run; runs and probabilities (on the test images) by (method, seed)."""

    table: pd.DataFrame
    runs: dict[tuple[str, int], Run]
    probabilities: dict[tuple[str, int], np.ndarray]


def compare(
    splits: Splits,
    teacher: Teacher | None = None,
    student: str = EMBEDDED_STUDENT,
    methods: Sequence[str] = ("default", "weight_selection", "dual_skd"),
    seeds: Sequence[int] = (0, 1, 2),
    share: float = 1.0,
    training: Training = Training(),
    distillation: Distillation = Distillation(),
    native: Teacher | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Train every method with every seed on the same images and measure each main student once on the test images.

    In memory, for a look; `run_study` keeps its runs, and compares over data sets, fractions and pairs.

    teacher: from load_teacher; None is the embedded one.
    methods: names in METHODS.
    seeds:   each sets the part of the training images, the classifier, data order and augmentation.
    share:   part of the training images, above 0 up to 1; validation and test are never cut.
    native:  the student's own pretrained weights (load_teacher(student, weights)), for the method "native".
    Returns a Comparison whose table has the columns method, label, seed, the METRICS, val_accuracy, best_step, seconds.
    Raises ValueError for an unknown method, and for "native" without weights.
    """
    import pandas as pd

    chosen = {name: find_method(name) for name in methods}
    if "native" in methods and native is None:
        raise ValueError("method 'native' needs native=load_teacher(student, weights='file.safetensors')")
    teacher = teacher or load_teacher(EMBEDDED_TEACHER)
    rows, runs, probabilities = [], {}, {}
    bar = tqdm([(seed, name) for seed in seeds for name in methods], desc="runs", disable=not progress, unit="run")
    for seed, name in bar:
        method = chosen[name]
        bar.set_postfix_str(f"{method.label}, seed {seed}")
        part = splits.part(share, seed)
        settings = (replace(training, seed=seed), replace(distillation, **method.skd))
        run = train(method, part, teacher, student, *settings, native, device)
        found = predict(run.main, splits.test)
        values = evaluate(found, splits.test.labels, splits.test.classes, resamples=0).set_index("metric")["value"]
        best = next(row for row in run.history if row["step"] == run.best_step)
        rows.append(
            {"method": name, "label": method.label, "seed": seed}
            | {metric: float(values[metric]) for metric in METRICS}
            | {"val_accuracy": best["val_accuracy"], "best_step": run.best_step, "seconds": run.seconds}
        )
        runs[name, seed], probabilities[name, seed] = run, found
    return Comparison(pd.DataFrame(rows), runs, probabilities)
