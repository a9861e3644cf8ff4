"""One run of a study: planned as a job, made, measured, and recorded with what made it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from dmws_lite import __version__
from dmws_lite.data.cards import cards
from dmws_lite.data.opening import open_data
from dmws_lite.data.sets import SPLITS, Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import Teacher, load_teacher
from dmws_lite.method.students import Students
from dmws_lite.runtime.device import pick_device
from dmws_lite.studies import costs
from dmws_lite.studies.methods import METHODS, Method, find_method, start
from dmws_lite.studies.study import Data, Pair, Study
from dmws_lite.training.calibration import at, fit_temperature
from dmws_lite.training.evaluation import calibration_error, evaluate, predict
from dmws_lite.training.fit import Run, fit
from dmws_lite.training.settings import Training

FORMAT = 1  # of a record and of the store
RECIPE = 1  # part of every key: raised when a change of the code, or of a default setting, changes results
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece", "nll", "ece_scaled", "nll_scaled")
COSTS = ("flops_per_step", "parameters", "latency_ms")
PACKAGES = ("torch", "torchvision", "timm", "accelerate", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Job:
    """A run of a study to be made, with fingerprints of its images and weights: a worker that finds others refuses."""

    study: Study
    data: Data
    pair: Pair
    fraction: float
    seed: int
    name: str
    data_id: str
    weights_id: str
    device: str

    @property
    def method(self) -> Method:
        return self.study.resolved[self.name]

    @property
    def training(self) -> Training:
        return replace(self.study.training, **self.method.training, seed=self.seed)

    @property
    def title(self) -> str:
        return f"{self.data.title} · {self.fraction:.0%} · {self.pair.student} · {self.name} · seed {self.seed}"

    def config(self) -> dict[str, Any]:
        """What determines the result, as plain data."""
        method, skd = self.method, self.method.distillation(self.study.distillation)
        return {
            "recipe": RECIPE,
            "data": self.data_id,
            "size": self.study.size,
            "fraction": self.fraction,
            "teacher": self.pair.teacher,
            "student": self.pair.student,
            "weights": self.weights_id,
            "initializer": method.initializer,
            "students": method.students,
            "training": asdict(self.training),
            "distillation": {"strategy": "none"} if skd.strategy == "none" else asdict(skd),
            "device": self.device,
            **({"threads": self.study.threads} if self.device == "cpu" else {}),
            **({"evaluated": method.evaluated} if method.evaluated != "main" else {}),
        }

    @property
    def key(self) -> str:
        """A hash of the config without defaults, so that a new setting leaves the keys of old runs (see RECIPE)."""
        config = self.config()
        for part, defaults in (("training", asdict(Training())), ("distillation", asdict(Distillation()))):
            config[part] = {name: value for name, value in config[part].items() if value != defaults[name]}
        return _hash([json.dumps(config, sort_keys=True).encode()])

    def names(self) -> dict[str, Any]:
        """What tables call the run."""
        grid = {"data": self.data.title, "pair": self.pair.title, "fraction": self.fraction, "seed": self.seed}
        return grid | {"method": self.name, "label": self.method.label, "definition": self.method.definition}


@dataclass(frozen=True)
class Outcome:
    """What a run produces: a record (plain data), its history (one row per evaluation), its predictions (per image)."""

    record: dict[str, Any]
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    predictions: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def key(self) -> str:
        return self.record["key"]

    @property
    def done(self) -> bool:
        return self.record["status"] == "done"


def plan_jobs(study: Study, device: str | None = None) -> list[Job]:
    """The runs of a study, data opened and weights read once for their fingerprints.

    device: of the workers, where they are other machines; None is the study's, or the best there is here.
    """
    device = device or pick_device(study.device).type
    open_splits.cache_clear()  # files may have changed
    load_weights.cache_clear()
    sets = {data.title: _with_absolute_path(data) for data in study.data}
    data_ids = {title: fingerprint(open_splits(data, study.size)) for title, data in sets.items()}
    images, weights_ids = open_splits(next(iter(sets.values())), study.size).train.images[:2], {}
    for pair, (name, method) in product(study.pairs, study.resolved.items()):
        teacher, native = load_weights(pair)
        weights_ids[pair.title, name] = weights_id((teacher, native), method)
        try:  # so that a pair that does not fit is refused before any run starts
            with warnings.catch_warnings(action="ignore"):  # of two images only
                start(method, teacher, pair.student, 2, study.size, 0, native, images)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"method {name!r} does not fit the pair {pair.title}: {error}") from error
    jobs: dict[str, Job] = {}
    for data, pair, fraction, seed, name in study.grid():
        ids = data_ids[data.title], weights_ids[pair.title, name]
        job = Job(study, sets[data.title], pair, fraction, seed, name, *ids, device)
        if job.key in jobs:
            raise ValueError(f"{jobs[job.key].title} and {job.title} are one and the same run: leave one of them out")
        jobs[job.key] = job
    return list(jobs.values())


def _with_absolute_path(data: Data) -> Data:
    """The same data, by its absolute path where it is a file or folder: workers may run in another folder."""
    path = Path(data.source).expanduser()
    if data.source in cards() or not path.exists():
        return data
    return data.model_copy(update={"source": str(path.resolve()), "name": data.title})


def execute(job: Job) -> Outcome:
    """Make one run. An error becomes part of the record; only an interrupt is let through."""
    began, threads = datetime.now(UTC), torch.get_num_threads()
    torch.set_num_threads(job.study.threads)
    try:
        return _make_run(job, began)
    except Exception as error:
        return failed_outcome(job, error, began)
    finally:
        torch.set_num_threads(threads)


def failed_outcome(job: Job, error: BaseException, began: datetime | None = None) -> Outcome:
    """The outcome of a run that an error ended."""
    lines = "".join(traceback.format_exception(error))
    facts = {"type": type(error).__name__, "message": str(error), "traceback": lines}
    return Outcome(_make_record(job, began or datetime.now(UTC), {"status": "failed", "error": facts}))


def train(
    method: str | Method,
    splits: Splits,
    teacher: Teacher,
    student: str,
    training: Training = Training(),
    distillation: Distillation = Distillation(),
    native: Teacher | None = None,
    device: str | None = None,
) -> Run:
    """The run of one method outside of a study, with its networks: the same numbers as in a study.

    method: a name in METHODS, or a Method, which changes `distillation`. native: weights for the method "native".
    A batch is never larger than the training set, and even. Classic distillation fine-tunes its teacher first, on the
    same images with the same budget; Run.seconds counts that, and what the start measured on images.
    """
    method = find_method(method) if isinstance(method, str) else method
    size, largest_batch = splits.train.images.shape[-1], max(2, len(splits.train) // 2 * 2)
    training = replace(training, batch_size=min(training.batch_size, largest_batch), **method.training)
    distillation = method.distillation(distillation)
    students = start(method, teacher, student, len(splits.classes), size, training.seed, native, splits.train)
    seconds_before = sum(measured.seconds for measured in students.measured)
    if distillation.strategy == "kd":
        tuned = train("full_teacher", splits, teacher, student, training, device=device)
        students, seconds_before = replace(students, auxiliary=tuned.main), seconds_before + tuned.seconds
    run = fit(students, splits, training, distillation, device=device, progress=False)
    return replace(run, seconds=run.seconds + seconds_before)


def _make_run(job: Job, began: datetime) -> Outcome:
    splits, (teacher, native) = open_splits(job.data, job.study.size), load_weights(job.pair)
    if (fingerprint(splits), weights_id((teacher, native), job.method)) != (job.data_id, job.weights_id):
        raise ValueError(f"{job.title}: here are other images or weights than where the study was planned: copy those")
    splits, device, student = splits.part(job.fraction, job.seed), job.device, job.pair.student
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    run = train(job.method, splits, teacher, student, job.training, job.study.distillation, native, device)
    peak = torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None
    second = run.auxiliary
    if run.distillation.strategy == "kd":  # the teacher's passes count
        second = start(METHODS["full_teacher"], teacher, student, len(splits.classes), job.study.size, job.seed).main
    best: dict[str, Any] = next(row for row in run.history if row["step"] == run.best_step)
    students = {"main": run.main, "auxiliary": run.auxiliary}
    if job.method.evaluated == "auxiliary":  # as it is at the end: no evaluation of it was chosen
        best = run.history[-1] | {"val_accuracy": run.history[-1]["auxiliary_accuracy"], "val_loss": None}
        students = {"main": run.auxiliary}
    networks = {name: network for name, network in students.items() if network is not None}
    test = {name: predict(network, splits.test) for name, network in networks.items()}
    val = {name: predict(network, splits.val) for name, network in networks.items()}
    images = {"image": splits.test.names, "label": splits.test.labels}
    predictions = [
        pd.DataFrame({"student": name, **images, "predicted": p.argmax(1), "probabilities": list(p)})
        for name, p in test.items()
    ]
    if len(networks) == 2:
        for probabilities in (test, val):
            probabilities["ensemble"] = (probabilities["main"] + probabilities["auxiliary"]) / 2
    values = {
        "status": "done",
        "error": None,
        "classes": list(splits.classes),
        "images": {name: len(getattr(splits, name)) for name in SPLITS},
        "batch_size": run.training.batch_size,
        "study_training": asdict(job.study.training),
        "metrics": {name: _compute_metrics(test[name], val[name], splits) for name in test},
        "val_accuracy": best["val_accuracy"],
        "val_loss": best["val_loss"],
        "best_step": best["step"],
        "seconds": run.seconds,
        "images_per_second": run.images_per_second,
        "cost": costs.measure(Students(run.main, second), splits, run.training, run.distillation, device),
        "peak_memory_mb": peak,
    }
    return Outcome(_make_record(job, began, values), pd.DataFrame(run.history), pd.concat(predictions))


def _compute_metrics(test: np.ndarray, val: np.ndarray, splits: Splits) -> dict[str, float]:
    """METRICS of probabilities on the test images; the scaled ones at the temperature that fits validation best."""
    labels = splits.test.labels
    values = evaluate(test, labels, splits.classes, resamples=0).set_index("metric")["value"].to_dict()
    with warnings.catch_warnings(action="ignore"):  # of a temperature at the end of its range: few validation images
        scaled = at(test, fit_temperature(val, splits.val.labels))
    for name, probabilities in (("nll", test), ("nll_scaled", scaled)):
        likelihood = probabilities[np.arange(len(labels)), labels].astype(float)
        values[name] = -np.log(likelihood.clip(1e-12)).mean()
    values["ece_scaled"] = calibration_error(scaled, labels)
    return {name: float(values[name]) for name in METRICS}


def _make_record(job: Job, began: datetime, values: dict[str, Any]) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name() if job.device == "cuda" and torch.cuda.is_available() else None
    computer = {"processor": f"{platform.machine()}, {os.cpu_count()} cores", "platform": platform.platform()}
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        "format": FORMAT,
        "key": job.key,
        "names": job.names(),
        "fraction": job.fraction,
        "seed": job.seed,
        "size": job.study.size,
        **values,
        "config": job.config(),
        "versions": {"dmws-lite": __version__, **versions, "python": platform.python_version()},
        "git": _revision(),
        "machine": {"device": job.device, "gpu": gpu, **computer, "threads": job.study.threads},
        "started": began.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def _revision() -> str | None:
    """The checkout's commit ("-dirty" where files differ from it); None for an installed package."""
    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.check_output(command, text=True, timeout=20).strip() if (root / ".git").exists() else None
    except (OSError, subprocess.SubprocessError):
        return None


@lru_cache(maxsize=4)
def open_splits(data: Data, size: int) -> Splits:
    return open_data(data.source, size, data.seed, data.fit, data.leaks, data.unusable, progress=False)


@lru_cache(maxsize=4)
def load_weights(pair: Pair) -> tuple[Teacher, Teacher | None]:
    """The teacher and, where the pair has them, the student's own pretrained weights."""
    native = load_teacher(pair.student, pair.native_weights) if pair.native_weights else None
    return load_teacher(pair.teacher, pair.weights), native


def weights_id(weights: tuple[Teacher, Teacher | None], method: Method) -> str:
    """A hash of the weights that a method knows: the teacher's, and for "native" the student's own too."""
    sources = weights if method.initializer == "native" else weights[:1]
    return "-".join(_hash(_to_bytes(source.state)) for source in sources if source)


def _to_bytes(state: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    for name, tensor in sorted(state.items()):
        yield f"{name} {tuple(tensor.shape)}".encode()
        yield tensor.contiguous().cpu().numpy().data


def fingerprint(splits: Splits) -> str:
    """A hash of the images, labels, classes and allowed mirrorings of all splits."""
    pieces: list[bytes | memoryview] = [repr((splits.classes, sorted(splits.flips))).encode()]
    for split in (getattr(splits, name) for name in SPLITS):
        pieces += [repr(split.images.shape).encode(), np.ascontiguousarray(split.images).data, split.labels.data]
    return _hash(pieces)


def _hash(pieces: Iterable[bytes | memoryview]) -> str:
    """16 hexadecimal digits."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()[:16]
