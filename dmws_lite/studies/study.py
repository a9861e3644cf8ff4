"""A study: a grid of runs over data, pairs, fractions, methods and seeds, as a YAML file describes it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError, ValidationInfo, field_validator, model_validator

from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import EMBEDDED_STUDENT, EMBEDDED_TEACHER
from dmws_lite.runtime.text import require, shorten
from dmws_lite.runtime.validation import Strict, check_keys, faults, parse_yaml
from dmws_lite.studies.methods import METHODS, Method, find_method
from dmws_lite.training.settings import Training

MOST_SEEDS = 10_000
CHANGEABLE = {  # by a variant
    "students": ("auxiliary", "swap", "elements", "layers"),  # of make_students
    "skd": tuple(field.name for field in fields(Distillation)),
    "training": ("steps", "label_smoothing"),
}


class Data(Strict):
    """A data set: what open_data takes, and how it is opened."""

    source: str
    name: str = ""
    fit: str | None = None
    leaks: str = "warn"
    unusable: str = "error"
    seed: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"source": str(value)} if isinstance(value, str | Path) else value

    @property
    def title(self) -> str:
        return self.name or Path(self.source).absolute().name.removesuffix(".md")  # "." has no name


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
    """A method like another (`of`) but for arguments of make_students or settings of Distillation or Training."""

    name: str = Field(min_length=1)
    of: str
    label: str | None = None
    students: dict[str, Any] = Field({})
    skd: dict[str, Any] = Field({})
    training: dict[str, Any] = Field({})

    @property
    def method(self) -> Method:
        base, groups = find_method(self.of), {group: getattr(self, group) for group in CHANGEABLE}
        changes = ", ".join(f"{key}={value}" for changed in groups.values() for key, value in changed.items())
        try:
            for group, names in CHANGEABLE.items():
                check_keys(groups[group], names)
            for group, kind in (("skd", Distillation), ("training", Training)):
                settings = TypeAdapter(kind).validate_python(groups[group])
                for key, value in groups[group].items():
                    if getattr(settings, key) != value:  # a number in quotes; an equal one stays: it is in keys of runs
                        groups[group] = groups[group] | {key: getattr(settings, key)}
        except ValueError as error:
            fault = faults(error) if isinstance(error, ValidationError) else error
            raise ValueError(f"variant {self.name!r} ({changes}): {fault}") from error
        merged: dict[str, Any] = {group: {**getattr(base, group), **changed} for group, changed in groups.items()}
        definition = f"{self.of} with {changes}" if changes else base.definition
        return replace(base, label=self.label or self.name, definition=definition, **merged)


class Study(Strict):
    """A grid of runs: every method on every part of every data set, for every pair and seed, with one budget.

    fractions:    parts of the training images, each in (0, 1]; validation and test are never cut.
    seeds:        a number n (seeds 0 to n - 1) or a list; a seed sets the part of the images, subset draws, classifier,
                  data order and augmentation.
    size:         pixels per side.
    training, distillation: settings that differ from their defaults; the seeds are the study's.
    reference:    the method that the others are compared with; by default "weight_selection", or else the first.
    threads:      CPU threads of a run (a small student takes one); the same number, the same results on every engine.
    device:       "cpu", "cuda", "mps", or None for the best there is.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,59}$")
    question: str = ""
    data: list[Data] = Field(min_length=1)
    pairs: list[Pair] = Field([Pair()], min_length=1)
    methods: list[str | Variant] = Field(min_length=1)
    reference: str = ""
    fractions: list[Annotated[float, Field(gt=0, le=1)]] = Field([0.1], min_length=1)
    seeds: list[Annotated[int, Field(ge=0, lt=2**31)]] = Field(min_length=1)
    size: int = Field(64, ge=8, le=1024)
    training: Training = Training()
    distillation: Distillation = Distillation()
    threads: int = Field(1, ge=1)
    device: Literal["cpu", "cuda", "mps"] | None = None

    @field_validator("training", "distillation", mode="before")
    @classmethod
    def _check_settings(cls, value: Any, info: ValidationInfo) -> Any:
        kind = Training if info.field_name == "training" else Distillation
        if isinstance(value, dict):
            check_keys(value, [f.name for f in fields(kind) if f.name != "seed"])
        return replace(value, seed=0) if isinstance(value, Training) else value

    @field_validator("seeds", mode="before")
    @classmethod
    def _expand_seeds(cls, value: Any) -> Any:
        if type(value) is int and not 1 <= value <= MOST_SEEDS:
            raise ValueError(f"is {value}: give a number from 1 to {MOST_SEEDS}, or a list of seeds")
        return range(value) if type(value) is int else value

    @model_validator(mode="after")
    def _check_names(self) -> Study:
        default = "weight_selection" if "weight_selection" in self.resolved else next(iter(self.resolved))
        object.__setattr__(self, "reference", self.reference or default)
        require("reference", self.reference, self.resolved)
        for kind, entries in (("data", self.data), ("pairs", self.pairs)):
            titles = [entry.title for entry in entries]
            if len(set(titles)) < len(titles):
                raise ValueError(f"{kind} has {titles} with one name twice: give them different names")
        return self

    @cached_property
    def resolved(self) -> dict[str, Method]:
        """The methods by name, each variant as the method that it describes."""
        methods: dict[str, Method] = {}
        for entry in self.methods:
            name, method = (entry, find_method(entry)) if isinstance(entry, str) else (entry.name, entry.method)
            if name in methods or method is not METHODS.get(name, method):
                raise ValueError(f"method {name!r} is there twice: give the variant a name of its own")
            if method.label in (other.label for other in methods.values()):  # figures tell methods by their labels
                raise ValueError(f"label {method.label!r} is there twice: give {name!r} a label of its own")
            methods[name] = method
        return methods

    def grid(self) -> Iterator[tuple[Data, Pair, float, int, str]]:
        """Data, pair, fraction, seed and method of each run, seeds before methods, so that early results compare."""
        return product(self.data, self.pairs, sorted(self.fractions), self.seeds, self.resolved)

    def __len__(self) -> int:
        return sum(1 for _ in self.grid())

    def definition(self) -> dict[str, Any]:
        """What the study's file says, without what equals the defaults."""
        return self.model_dump(mode="json", exclude_defaults=True)


def studies() -> dict[str, Path]:
    """The files of the studies that come with dmws-lite, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parent / "kept").glob("*.yaml"))}


def read_study(name_or_path: str | Path, **changes: Any) -> Study:
    """Read and check a study: a name in `studies()`, or a YAML file.

    changes: fields of Study to replace, such as data=["my_images"], seeds=5, methods=["default"].
    Raises FileNotFoundError for a file that is not there, ValueError for an unknown name and for a study that cannot be
    run; the text names the file, the key, its value and the way out.

    >>> read_study("smoke", seeds=2).seeds
    [0, 1]
    """
    options, path = studies(), Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        require("study", str(name_or_path), [*options, "or a .yaml file"])
    file = options.get(str(name_or_path), path)
    if not file.is_file():
        raise FileNotFoundError(f"study {path} does not exist: pass another file, or one of {', '.join(options)}")
    content = parse_yaml(file.read_text(encoding="utf-8", errors="replace"), path)
    if not isinstance(content, dict):
        raise ValueError(f"study {path} holds {shorten(content)}: write keys and values, such as `name: mine`")
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", path.stem).strip("_.-")
    return make_study(str(path), **{"name": name, **{str(key): value for key, value in content.items()}, **changes})


def make_study(source: str = "study", /, **content: Any) -> Study:
    """A Study from its fields; errors are ValueErrors that name the source, the key, its value and the way out.

    >>> make_study(name="mine", data=["phantom_lung_ct"], methods=["default", "weight_selection"], seeds=3).seeds
    [0, 1, 2]
    """
    try:
        return Study(**content)
    except ValidationError as error:
        raise ValueError(f"{source}: {faults(error)}") from error
