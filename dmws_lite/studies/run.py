"""One run of a study: made, measured, and recorded with what made it."""

from __future__ import annotations

import os
import platform
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dmws_lite.data.sets import SPLITS, ImageSet, Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.initializers import initialize
from dmws_lite.method.networks import Teacher, build
from dmws_lite.method.students import Students
from dmws_lite.studies import costs
from dmws_lite.studies.jobs import Job, fingerprint, forget, opened, state_id, teachers, weights_id
from dmws_lite.studies.methods import Method, start
from dmws_lite.training.evaluation import evaluate, predict
from dmws_lite.training.fit import Run, fit
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1  # of a record and of the store
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece")
PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Outcome:
    """What a run leaves: a record (plain data), its history (a row an evaluation), its predictions (a row an image)."""

    record: dict[str, Any]
    history: pd.DataFrame
    predictions: pd.DataFrame

    @property
    def key(self) -> str:
        return self.record["key"]

    @property
    def done(self) -> bool:
        return self.record["status"] == "done"


def execute(job: Job) -> Outcome:
    """Make one run. An error becomes part of the record; only an interrupt is let through."""
    began = datetime.now(UTC)
    try:
        with _threads(job.threads):
            values, history, predictions = _made(job)
    except Exception as error:
        return failed(job, error, began)
    return Outcome(_record(job, began, {"status": "done", "error": None, **values}), history, predictions)


def failed(job: Job, error: BaseException, began: datetime | None = None) -> Outcome:
    """The outcome of a run that an error ended."""
    import pandas as pd

    lines = "".join(traceback.format_exception(error))
    text = {"type": type(error).__name__, "message": str(error), "traceback": lines}
    record = _record(job, began or datetime.now(UTC), {"status": "failed", "error": text})
    return Outcome(record, pd.DataFrame(), pd.DataFrame())


def _record(job: Job, began: datetime, values: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "key": job.key,
        "names": job.names,
        "fraction": job.fraction,
        "seed": job.seed,
        "size": job.size,
        **values,
        "config": job.config(),
        "versions": _versions(),
        "git": _revision(),
        "machine": _machine(job),
        "started": began.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _made(job: Job) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    own = job.spec.initializer == "native"
    if fingerprint(opened(job.data, job.size)) != job.data_id or weights_id(job.pair, own) != job.pair_id:
        forget()  # a worker that lives long may have read them before they changed
    splits, (teacher, native) = opened(job.data, job.size), teachers(job.pair)
    if fingerprint(splits) != job.data_id:
        raise ValueError(f"{job.data.source} holds other images here than where the study was planned: copy those")
    if weights_id(job.pair, own) != job.pair_id:
        raise ValueError(f"{job.pair.title} has other weights here than where the study was planned: copy those")
    part = splits.part(job.fraction, job.seed)
    guide, guide_seconds = _guide(part, teacher, job.training, job.distillation, job.device)
    what = (job.spec, part, teacher, job.pair.student, job.training, job.distillation, native)
    students, settings = _ready(*what, guide)
    cost = {} if job.trial else costs.measure(students, *settings, device=job.device)
    with costs.peak_memory(job.device) as peak:
        run = train(*what, job.device)
    on, (_, training, _) = part.val if job.trial else part.test, settings
    found = probabilities(run, on)
    best = next(row for row in run.history if row["step"] == run.best_step)
    values = {
        "classes": list(part.classes),
        "images": {name: len(getattr(part, name)) for name in SPLITS},
        "batch_size": training.batch_size,
        "metrics": None if job.trial else {name: _metrics(p, on) for name, p in found.items()},
        "val_accuracy": best["val_accuracy"],
        "val_loss": best["val_loss"],
        "best_step": run.best_step,
        "seconds": run.seconds,
        "images_per_second": run.images_per_second,
        "cost": cost,
        "peak_memory_mb": peak.megabytes,
        "teacher_seconds": guide_seconds,
    }
    frames = [] if job.trial else [_predicted(name, p, on) for name, p in found.items() if name != "ensemble"]
    return values, pd.DataFrame(run.history), pd.concat(frames) if frames else pd.DataFrame()


def train(
    method: Method,
    part: Splits,
    teacher: Teacher,
    student: str,
    training: Training,
    distillation: Distillation,
    native: Teacher | None = None,
    device: str | None = None,
) -> Run:
    """Start the students as the method says, and train them."""
    guide, _ = _guide(part, teacher, training, distillation, device)
    students, settings = _ready(method, part, teacher, student, training, distillation, native, guide)
    return fit(students, *settings, device=device, progress=False)


def _ready(
    method: Method,
    part: Splits,
    teacher: Teacher,
    student: str,
    training: Training,
    distillation: Distillation,
    native: Teacher | None,
    guide: nn.Module | None,
) -> tuple[Students, tuple[Splits, Training, Distillation]]:
    """Fresh students, and what fit takes after them; a batch is never larger than the training set, and even."""
    source = native if method.initializer == "native" and native else teacher
    students = start(method, source, student, len(part.classes), part.train.images.shape[-1], training.seed)
    students = replace(students, auxiliary=guide) if guide is not None else students
    return students, (part, _fitting(training, part), distillation)


def _fitting(training: Training, part: Splits) -> Training:
    return replace(training, batch_size=min(training.batch_size, max(2, len(part.train) // 2 * 2)))


def _guide(
    part: Splits, teacher: Teacher, training: Training, distillation: Distillation, device: str | None
) -> tuple[nn.Module | None, float]:
    """For classic distillation: the teacher, fine-tuned on the same images with the same budget, and its seconds."""
    if distillation.strategy != "kd":
        return None, 0.0
    what = (fingerprint(part), teacher.name, state_id(teacher.state), training, device)
    if what not in _LAST_GUIDE:
        _LAST_GUIDE.clear()
        model = build(teacher.name, len(part.classes), part.train.images.shape[-1])
        initialize("full_teacher", model, seed=training.seed, teacher_state=teacher)
        settings = (part, _fitting(training, part), Distillation(strategy="none"))
        run = fit(Students(model), *settings, device=device, progress=False)
        _LAST_GUIDE[what] = (run.main.eval(), run.seconds)
    return _LAST_GUIDE[what]


_LAST_GUIDE: dict[tuple, tuple[nn.Module, float]] = {}  # the last one only: several methods of a seed share it


def probabilities(run: Run, images: ImageSet) -> dict[str, np.ndarray]:
    """Class probabilities (image, class) of the main student and, where there is one, the auxiliary and their mean."""
    found = {"main": predict(run.main, images)}
    if run.auxiliary is not None:
        found["auxiliary"] = predict(run.auxiliary, images)
        found["ensemble"] = (found["main"] + found["auxiliary"]) / 2
    return found


def _metrics(found: np.ndarray, images: ImageSet) -> dict[str, float]:
    values = evaluate(found, images.labels, images.classes, resamples=0).set_index("metric")["value"]
    return {name: float(values[name]) for name in METRICS}


def _predicted(student: str, found: np.ndarray, images: ImageSet) -> pd.DataFrame:
    import pandas as pd

    columns = {"student": student, "image": images.names, "label": images.labels, "predicted": found.argmax(1)}
    return pd.DataFrame(columns).assign(probabilities=list(found.astype(np.float32)))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    from dmws_lite import __version__

    found = {"dmws-lite": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in PACKAGES}


@lru_cache(maxsize=1)
def _revision() -> str | None:
    """The checkout's commit ("-dirty" where files differ from it); None for an installed package."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _machine(job: Job) -> dict[str, Any]:
    cuda = job.device == "cuda" and torch.cuda.is_available()
    return {
        "device": job.device,
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "platform": platform.platform(),
        "threads": job.threads,
    }
