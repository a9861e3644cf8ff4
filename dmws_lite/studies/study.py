"""A study: a grid of runs over data, pairs, fractions, methods and seeds, as a YAML file says it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator, model_validator

from dmws_lite.data.cards import parse_yaml
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import EMBEDDED_STUDENT, EMBEDDED_TEACHER
from dmws_lite.runtime.text import did_you_mean, shorten
from dmws_lite.studies.methods import METHODS, Method, find_method, variant
from dmws_lite.training.settings import Training

LARGEST = 100_000  # bytes of a study's file: our choice
SEEDS, HIGHEST = 1000, 2**31  # most seeds of a study, and a bound of each: our choice
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
BUDGET = ("steps", "batch_size", "evaluations")  # of Training: what every method gets the same of


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(Strict):
    """A data set: what open_data takes, and how it is opened."""

    source: str
    name: str = ""
    fit: str | None = None
    leaks: str = "warn"
    unusable: str = "error"

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @property
    def title(self) -> str:
        return self.name or Path(self.source).name


class Pair(Strict):
    """A teacher and a student, by timm's names or ours; weights from files where they are not the built-in ones."""

    teacher: str = EMBEDDED_TEACHER
    student: str = EMBEDDED_STUDENT
    weights: str | None = None
    native_weights: str | None = None

    @property
    def title(self) -> str:
        return f"{self.teacher} → {self.student}"


class Variant(Strict):
    """A method like another (`of`) but for some arguments of make_students or settings of Distillation."""

    name: str
    of: str
    label: str | None = None
    students: dict[str, Any] = Field(default_factory=dict)
    skd: dict[str, Any] = Field(default_factory=dict)


class Study(Strict):
    """A grid of runs: every method on every part of every data set, for every pair and seed, with one budget.

    fractions:    parts of the training images, each in (0, 1]; validation and test are never cut.
    seeds:        a number n (seeds 0 to n - 1) or a list; a seed sets the part of the images, subset draws, classifier,
                  data order and augmentation.
    size:         pixels per side.
    training, distillation: settings of Training and Distillation that differ from their defaults.
    tuning:       values of Training's lr or weight_decay to try, for every method alike; chosen on validation with
                  one more seed, once for each data set, pair, fraction and method. None by default.
    reference:    the method that the others are compared with.
    threads:      CPU threads of a run; the same number gives the same numbers on every engine.
    device:       "cpu", "cuda", "mps", or None for the best there is.
    """

    name: str
    question: str = ""
    data: list[Data] = Field(min_length=1)
    pairs: list[Pair] = Field(default_factory=lambda: [Pair()], min_length=1)
    methods: list[str | Variant] = Field(min_length=1)
    reference: str = "weight_selection"
    fractions: list[float] = Field(default_factory=lambda: [0.1], min_length=1)
    seeds: list[int] = Field(min_length=1)
    size: int = Field(64, ge=8, le=1024)
    training: dict[str, Any] = Field(default_factory=dict)
    distillation: dict[str, Any] = Field(default_factory=dict)
    tuning: dict[str, list[float]] = Field(default_factory=dict)
    threads: int = Field(1, ge=1)
    device: Literal["cpu", "cuda", "mps"] | None = None

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"is {value!r}: use letters, digits, '_', '-' and '.', at most 60")
        return value

    @field_validator("seeds", mode="before")
    @classmethod
    def _counted(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            if not 1 <= value <= SEEDS:
                raise ValueError(f"is {value}: pass 1 to {SEEDS} seeds")
            return list(range(value))
        return value

    @field_validator("seeds", "fractions")
    @classmethod
    def _once(cls, value: list[Any]) -> list[Any]:
        if len(value) > SEEDS:
            raise ValueError(f"has {len(value)} values: pass at most {SEEDS}")
        if twice := [v for v in value if value.count(v) > 1]:
            raise ValueError(f"has {twice[0]} twice: a run is made once, name each value once")
        if wrong := [v for v in value if not 0 <= v < HIGHEST]:
            raise ValueError(f"has {wrong[0]}: pass values from 0 to {HIGHEST - 1}")
        return value

    @field_validator("fractions")
    @classmethod
    def _shares(cls, value: list[float]) -> list[float]:
        if wrong := [v for v in value if not 0 < v <= 1]:
            raise ValueError(f"has {wrong[0]}, which is not in (0, 1]: write 0.1 for 10 %")
        return sorted(value)

    @field_validator("tuning")
    @classmethod
    def _tunable(cls, value: dict[str, list[float]]) -> dict[str, list[float]]:
        for key, values in value.items():
            if key not in ("lr", "weight_decay"):
                raise ValueError(f"has {key!r}: lr and weight_decay can be tuned; a budget cannot")
            if len(set(values)) < 2:
                raise ValueError(f"has {values} for {key}: name at least two values to choose from")
            for number in values:
                Training(**_known("tuning", Training, {key: number}))
        return value

    @model_validator(mode="after")
    def _whole(self) -> Study:
        methods = self.resolved
        if self.reference not in methods:
            hint = did_you_mean(self.reference, methods)
            raise ValueError(f"reference={self.reference!r} is none of the methods{hint}: {', '.join(methods)}")
        for kind, entries in (("data", self.data), ("pairs", self.pairs)):
            titles = [entry.title for entry in entries]
            if len(set(titles)) < len(titles):
                raise ValueError(f"{kind} has {titles} with one name twice: give them different names")
        if "native" in methods and (bare := [pair.title for pair in self.pairs if not pair.native_weights]):
            raise ValueError(f"method 'native' needs native_weights='file.safetensors' for the pair {bare[0]}")
        self.training_of(0)
        for method in methods.values():
            self.distillation_of(method)
        return self

    @cached_property
    def resolved(self) -> dict[str, Method]:
        """The methods by name, variants made."""
        found: dict[str, Method] = {}
        for entry in self.methods:
            name = entry if isinstance(entry, str) else entry.name
            if name in found or (not isinstance(entry, str) and name in METHODS):
                raise ValueError(f"method {name!r} is there twice: give the variant a name of its own")
            found[name] = (
                find_method(entry)
                if isinstance(entry, str)
                else variant(name, entry.of, entry.label, entry.students, entry.skd)
            )
        return found

    def training_of(self, seed: int, **tuned: float) -> Training:
        """The budget and optimiser of a run."""
        return Training(**_known("training", Training, {**self.training, **tuned}, but="seed"), seed=seed)

    def distillation_of(self, method: Method) -> Distillation:
        """The settings of SKD of a method."""
        return Distillation(**_known("distillation", Distillation, {**self.distillation, **method.skd}))

    def grid(self) -> Iterator[tuple[Data, Pair, float, int, str]]:
        """Data, pair, fraction, seed and method of each run, seeds before methods, so that early results compare."""
        for data in self.data:
            for pair in self.pairs:
                for fraction in self.fractions:
                    for seed in self.seeds:
                        for name in self.resolved:
                            yield data, pair, fraction, seed, name

    def __len__(self) -> int:
        return len(self.data) * len(self.pairs) * len(self.fractions) * len(self.seeds) * len(self.methods)

    def definition(self) -> dict[str, Any]:
        """What the study's file said, less what is as by default."""
        return self.model_dump(mode="json", exclude_defaults=True)


def _known(what: str, kind: type, settings: dict[str, Any], but: str = "") -> dict[str, Any]:
    """The settings as the numbers and texts that a dataclass has them as; ValueError for others."""
    names = [f.name for f in fields(kind) if f.name != but]
    if odd := [key for key in settings if key not in names]:
        raise ValueError(
            f"{what} has an unknown key {odd[0]!r}{did_you_mean(odd[0], names)}: its keys are {', '.join(names)}"
        )
    try:
        return _form(kind)(**settings).model_dump(exclude_unset=True)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{what}: {fault['loc'][0]} is {shorten(fault['input'])}: {fault['msg'].lower()}") from error


@lru_cache(maxsize=4)
def _form(kind: type) -> type[BaseModel]:
    """A model with the fields of a dataclass, for finite numbers only."""
    hints = get_type_hints(kind)
    entries: dict[str, Any] = {f.name: (hints[f.name], f.default) for f in fields(kind)}
    return create_model(kind.__name__, __config__=ConfigDict(allow_inf_nan=False, extra="forbid"), **entries)


def budget(training: Training, size: int) -> str:
    """What every method in one table must have the same of."""
    values = asdict(training)
    return ", ".join([*(f"{key} {values[key]}" for key in BUDGET), f"{size} px"])


def studies() -> dict[str, Any]:
    """The studies that come with dmws-lite, by name."""
    folder = files("dmws_lite") / "studies" / "kept"
    return {Path(path.name).stem: path for path in sorted(folder.iterdir(), key=str) if path.name.endswith(".yaml")}


def read_study(name_or_path: str | Path, **changes: Any) -> Study:
    """Read and check a study.

    name_or_path: a name in `studies()`, or a YAML file.
    changes:      fields of Study to replace, such as data=["my_images"], seeds=5, methods=["default"].
    Raises FileNotFoundError for a file that is not there, ValueError for an unknown name and for a study that cannot be
    run; the text names the file, the key, its value and the way out.

    >>> read_study("smoke", seeds=2).seeds
    [0, 1]
    """
    known, path = studies(), Path(name_or_path)
    if str(name_or_path) in known:
        text = known[str(name_or_path)].read_text(encoding="utf-8")
    elif path.suffix not in (".yaml", ".yml"):
        hint = did_you_mean(name_or_path, known)
        raise ValueError(f"unknown study {str(name_or_path)!r}{hint}: pass a .yaml file or one of {', '.join(known)}")
    elif not path.is_file():
        raise FileNotFoundError(f"study {path} does not exist: pass another file, or one of {', '.join(known)}")
    elif path.stat().st_size > LARGEST:
        raise ValueError(f"study {path} is larger than {LARGEST:,} bytes: that is no study")
    else:
        text = path.read_text(encoding="utf-8", errors="replace")
    said = parse_yaml(text, path)
    if not isinstance(said, dict):
        raise ValueError(f"study {path} holds {shorten(said)}: write keys and values, such as `name: mine`")
    return make_study(str(path), **{"name": path.stem, **said, **changes})


def make_study(source: str = "study", **said: Any) -> Study:
    """A Study from its fields; errors are ValueErrors that name the key, its value and the way out.

    >>> make_study(name="mine", data=["phantom_lung_ct"], methods=["default", "weight_selection"], seeds=3).seeds
    [0, 1, 2]
    """
    try:
        return Study(**said)
    except ValidationError as error:
        raise ValueError(f"{source}: {'; '.join(_faults(error))}") from error


def _faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"])
        message = str(fault.get("ctx", {}).get("error") or fault["msg"])
        if fault["type"] == "missing":
            yield f"{where} is missing: add it"
        elif fault["type"] == "extra_forbidden":
            known = Study.model_fields
            yield f"{where} is no key of a study{did_you_mean(where, known)}: its keys are {', '.join(known)}"
        elif fault["type"] == "value_error":
            yield f"{where} {message}".strip()
        else:
            yield f"{where} is {shorten(fault['input'])}: {message[0].lower()}{message[1:]}"
