"""The jobs of a study: every run as data, with all that determines its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dmws_lite.data.cards import cards
from dmws_lite.data.opening import open_data
from dmws_lite.data.sets import SPLITS, Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import Teacher, load_teacher
from dmws_lite.runtime.device import pick_device
from dmws_lite.studies.methods import Method, start
from dmws_lite.studies.study import Data, Pair, Study
from dmws_lite.training.settings import Training

RECIPE = 1  # part of every key: raised when a change of the code, or of a default setting, changes results


@dataclass(frozen=True)
class Job:
    """A run to be made: everything that determines its result, and the names that tables call it by.

    data_id, pair_id: fingerprints of the images and of the weights; a worker that finds others refuses.
    trial:            a run that only chooses hyper-parameters, on validation.
    """

    data: Data
    data_id: str
    pair: Pair
    pair_id: str
    fraction: float
    method: str
    spec: Method
    seed: int
    training: Training
    distillation: Distillation
    size: int
    threads: int
    device: str
    trial: bool = False

    def config(self) -> dict[str, Any]:
        """What determines the result, as plain data."""
        labels_only = self.distillation.strategy == "none"
        return {
            "recipe": RECIPE,
            "data": self.data_id,
            "size": self.size,
            "fraction": self.fraction,
            "teacher": self.pair.teacher,
            "student": self.pair.student,
            "weights": self.pair_id,
            "initializer": self.spec.initializer,
            "students": self.spec.students,
            "training": asdict(self.training),
            "distillation": {"strategy": "none"} if labels_only else asdict(self.distillation),
            "device": self.device,
            **({"threads": self.threads} if self.device == "cpu" else {}),
            **({"trial": True} if self.trial else {}),
        }

    @property
    def key(self) -> str:
        """A hash of the config: 16 hexadecimal digits. Settings at their defaults are left out (see RECIPE)."""
        config = self.config()
        for name, settings in (("training", self.training), ("distillation", self.distillation)):
            default = asdict(type(settings)())
            config[name] = {key: value for key, value in config[name].items() if value != default[key]}
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def names(self) -> dict[str, Any]:
        return {
            "data": self.data.title,
            "pair": self.pair.title,
            "method": self.method,
            "label": self.spec.label,
            "definition": self.spec.definition,
        }

    @property
    def title(self) -> str:
        trial = f" · trial lr {self.training.lr:g}, decay {self.training.weight_decay:g}" if self.trial else ""
        return (
            f"{self.data.title} · {self.fraction:.0%} · {self.pair.student} · {self.method} · seed {self.seed}{trial}"
        )


def plan_jobs(study: Study, device: str | None = None) -> list[Job]:
    """The runs of a study, data opened and weights read once for their fingerprints.

    device: of the workers, where they are other machines; None is the study's, or the best there is here.
    Raises ValueError, FileNotFoundError and all that opening and loading raise, before anything is trained.
    """
    where = device or pick_device(study.device).type
    forget()
    sets = {data.title: _located(data) for data in study.data}
    data_ids = {title: fingerprint(opened(data, study.size)) for title, data in sets.items()}
    for pair in study.pairs:
        _check_pair(study, pair)
    jobs = [
        Job(
            sets[data.title],
            data_ids[data.title],
            pair,
            weights_id(pair, study.resolved[name].initializer == "native"),
            fraction,
            name,
            study.resolved[name],
            seed,
            study.training_of(seed),
            study.distillation_of(study.resolved[name]),
            study.size,
            study.threads,
            where,
        )
        for data, pair, fraction, seed, name in study.grid()
    ]
    first: dict[str, Job] = {}
    for job in jobs:
        if (other := first.setdefault(job.key, job)) is not job:
            raise ValueError(f"{other.title} and {job.title} are one and the same run: leave one of the two out")
    return jobs


def _located(data: Data) -> Data:
    """The same, by its whole path where it is a file or folder: workers may stand elsewhere."""
    path = Path(data.source).expanduser()
    if data.source in cards() or not path.exists():
        return data
    return data.model_copy(update={"source": str(path.resolve()), "name": data.title})


def forget() -> None:
    """Read data and weights anew when they are needed next: files may have changed."""
    for cached in (opened, teachers, weights_id):
        cached.cache_clear()


def _check_pair(study: Study, pair: Pair) -> None:
    """Make the students of every method once, so that a pair that does not fit is refused before a run is."""
    teacher, native = teachers(pair)
    made = set()
    for name, method in study.resolved.items():
        distillation = study.distillation_of(method)
        what = (method.initializer, repr(method.students), distillation.strategy)
        if what in made:
            continue
        made.add(what)
        try:
            source = native if method.initializer == "native" and native else teacher
            students = start(method, source, pair.student, classes=2, size=study.size, seed=0)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"method {name!r} does not fit the pair {pair.title}: {error}") from error
        if distillation.strategy == "ema" and students.auxiliary is None:
            raise ValueError(f"method {name!r} has strategy 'ema' and no auxiliary: give it one, or another strategy")


def tuned(job: Job, trials: Sequence[dict[str, Any]]) -> Job:
    """The same run with the hyper-parameters of the trial that did best on validation; the first of equals.

    trials: records of runs that differ from each other in what is tuned.
    """
    best = max(trials, key=lambda record: (record["val_accuracy"], -record["val_loss"]))
    chosen = {key: best["config"]["training"][key] for key in ("lr", "weight_decay")}
    return replace(job, training=replace(job.training, **chosen))


def fingerprint(splits: Splits) -> str:
    """A hash of the images, labels, classes and allowed mirrorings of all splits: 16 hexadecimal digits."""
    known = hashlib.sha256(repr((splits.classes, sorted(splits.flips))).encode())
    for name in SPLITS:
        part = getattr(splits, name)
        known.update(repr(part.images.shape).encode())
        known.update(np.ascontiguousarray(part.images).data)
        known.update(np.ascontiguousarray(part.labels).data)
    return known.hexdigest()[:16]


@lru_cache(maxsize=4)
def opened(data: Data, size: int) -> Splits:
    return open_data(data.source, size, fit=data.fit, leaks=data.leaks, unusable=data.unusable, progress=False)


@lru_cache(maxsize=4)
def teachers(pair: Pair) -> tuple[Teacher, Teacher | None]:
    native = load_teacher(pair.student, pair.native_weights) if pair.native_weights else None
    return load_teacher(pair.teacher, pair.weights), native


@lru_cache(maxsize=16)
def weights_id(pair: Pair, native: bool) -> str:
    """A hash of the weights that a method knows: the teacher's, and for "native" the student's own too."""
    teacher, own = teachers(pair)
    return "-".join(state_id(known.state) for known in (teacher, own if native else None) if known)


def state_id(state: Mapping[str, Tensor]) -> str:
    """A hash of a state dict: 16 hexadecimal digits."""
    known = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        known.update(f"{name} {tuple(tensor.shape)}".encode())
        known.update(tensor.contiguous().cpu().numpy().data)
    return known.hexdigest()[:16]
