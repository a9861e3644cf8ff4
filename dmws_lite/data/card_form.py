"""What a data card may say: pydantic models of the front matter and of the `dmws` block."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from re import _parser  # type: ignore[attr-defined]
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from dmws_lite.data.phantoms import MODALITIES
from dmws_lite.runtime.text import did_you_mean, shorten

LONGEST = 200  # characters of a pattern: our choice
PATH, MOST_WAYS = 100, 2_000_000  # characters of a path, and ways to lay a pattern on it: our choice
KINDS = {"folder": (), "hub": ("revision",), "url": ("sha256", "size"), "kaggle": ("version",)}
KINDS |= {"medmnist": ("image_size",), "phantom": ()}
SIZES = {"n<1K": 1e3, "1K<n<10K": 1e4, "10K<n<100K": 1e5, "100K<n<1M": 1e6, "1M<n<10M": 1e7, "10M<n<100M": 1e8}
STANDARD = ("license_name", "license_link", "license_details", "configs", "dataset_info", "viewer", "thumbnail")


def _check_keys(data: Any, known: Iterable[str]) -> None:
    known = list(known)
    if isinstance(data, dict) and (odd := [key for key in data if key not in known]):
        raise ValueError(f"has an unknown key {odd[0]!r}{did_you_mean(odd[0], known)}: its keys are {', '.join(known)}")


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or PureWindowsPath(value).drive or ".." in path.parts or value[:1] in ("", "~"):
        raise ValueError(f"is {value!r}: write a path that stays inside the data, such as 'images/train'")
    if "\\" in value or "\0" in value:
        raise ValueError(f"is {value!r}: write a path with forward slashes")
    return str(path)


def _place(value: str) -> str:
    if not value or ("$" in value and not re.fullmatch(r"\$[A-Za-z_]\w*(/[^$]*)?", value)):
        raise ValueError(f"is {value!r}: write a folder, '~/folder', '$VARIABLE' or '$VARIABLE/folder'")
    return value


def _regex(value: str) -> str:
    try:
        groups = re.compile(value).groups
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is {value!r}, which is no regular expression ({error}): mend it") from error
    if groups != 1 or len(value) > LONGEST:
        raise ValueError(
            f"is {shorten(value)}, with {groups} groups and {len(value)} characters: write at most {LONGEST} "
            "characters with exactly one group (...), which holds the patient; (?:...) groups without holding"
        )
    if _ways(_parser.parse(value)) > MOST_WAYS:
        raise ValueError(
            f"is {shorten(value)}, which may never end on some file names: write at most three open repeats (*, +), "
            "few ?, and no repeat and no | inside a repeat; what comes before and after the patient can be left out"
        )
    return value


def _ways(parsed: Any) -> float:
    """In how many ways a parsed pattern may be laid on a path, at most; all of them are tried where it fits nowhere."""
    ways = 1.0
    for operation, said in parsed:
        name = str(operation)
        if name.endswith("REPEAT"):
            low, high, body = said
            once = _ways(body)
            ways *= sum(once ** min(count, 25) for count in range(min(low, PATH), min(high, PATH) + 1))
        elif name == "BRANCH":
            ways *= sum(map(_ways, said[1]))
        elif name == "GROUPREF_EXISTS":
            ways *= sum(_ways(part or ()) for part in said[1:])
        elif name in ("SUBPATTERN", "ASSERT", "ASSERT_NOT"):
            ways *= _ways(said[-1])
        elif name == "ATOMIC_GROUP":
            ways *= _ways(said)
        ways = min(ways, 2.0 * MOST_WAYS)
    return ways


Text = Annotated[str, Field(min_length=1)]
Inside = Annotated[str, AfterValidator(_inside)]
Slug = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]


class Strict(BaseModel):
    """A part of a card: no unknown keys, no values of another type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        _check_keys(data, cls.model_fields)
        return data


class Source(Strict):
    """Where the data can be got: one of folder, hub, url, kaggle, medmnist and phantom, with what belongs to it."""

    folder: Annotated[str, AfterValidator(_place)] | None = None
    hub: Slug | None = None
    revision: Text | None = None
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    size: PositiveInt | None = None
    kaggle: Slug | None = None
    version: PositiveInt | None = None
    medmnist: Annotated[str, Field(pattern=r"^[a-z]+$")] | None = None
    image_size: Literal[28, 64, 128, 224] | None = None
    phantom: Text | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        kinds = [name for name in given if name in KINDS]
        if len(kinds) != 1:
            raise ValueError(f"has {' and '.join(kinds) or 'no source'}: give one of {', '.join(KINDS)}")
        if odd := [name for name in given if name not in (*kinds, *KINDS[kinds[0]])]:
            raise ValueError(f"has {odd[0]}, which does not belong to {kinds[0]}: remove it")
        if self.medmnist and not self.image_size:
            raise ValueError(f"has medmnist {self.medmnist!r} without image_size: add 28, 64, 128 or 224")
        if self.phantom and self.phantom not in MODALITIES:
            raise ValueError(f"has phantom {self.phantom!r}: write one of {', '.join(MODALITIES)}")
        return self

    @property
    def kind(self) -> str:
        """Which of KINDS this is."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    def __str__(self) -> str:
        after = {"hub": f"@{self.revision or 'main'}", "medmnist": f" at {self.image_size} px"}.get(self.kind, "")
        return f"{self.kind} {getattr(self, self.kind)}{after}"


class Label(Strict):
    """A class: its folder below the root, or below each split (by default its name), and what it means."""

    folder: Inside
    meaning: Text


class Picture(Strict):
    """What the images are expected to be; `size` is width and height, `depth` is bits a channel."""

    mode: Literal["gray", "colour"] | None = None
    size: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = None
    depth: PositiveInt | None = None


class Split(Strict):
    """How train, val and test come about; without a rule the loader chooses."""

    rule: Literal["published", "patient", "near_duplicates", "random"] | None = None
    seed: NonNegativeInt = 0
    manifest: Inside | None = None


class Patient(Strict):
    """How a file's path tells its patient: a regular expression with one group.

    stands_for: what the group really holds, where it is no patient, such as "blocks of 100 neighbouring files".
    """

    pattern: Annotated[str, AfterValidator(_regex)]
    stands_for: Text | None = None


class Recipe(Strict):
    """The `dmws` block, which the loader obeys; `data_cards/template.md` explains each key."""

    sources: Annotated[list[Source], Field(min_length=1)]
    root: Inside = "."
    layout: Literal["classes", "splits", "manifest"] | None = None
    manifest: Inside | None = None
    columns: dict[Literal["file", "label", "split", "patient"], Text] | None = None
    classes: Annotated[dict[Text, Label], Field(min_length=2)]
    counts: dict[Literal["train", "val", "test", "all"], dict[str, NonNegativeInt]] | None = None
    image: Picture | None = None
    split: Split = Split()
    patient: Patient | None = None
    normalisation: Literal["teacher"] = "teacher"
    window: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    fit: Literal["crop", "letterbox"] = "crop"
    flips: list[Literal["horizontal", "vertical"]] = []

    @field_validator("classes", mode="before")
    @classmethod
    def _default_folders(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        labels = {name: label for name, label in value.items() if isinstance(label, dict)}
        return value | {name: {"folder": str(name), **label} for name, label in labels.items()}

    @field_validator("window")
    @classmethod
    def _low_first(cls, value: list[float] | None) -> list[float] | None:
        if value and not value[0] < value[1]:
            raise ValueError(f"is {value}: write the lower value first")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if any(source.phantom for source in self.sources) and len(self.sources) > 1:
            raise ValueError("has a phantom beside other sources: phantoms are drawn, so remove the others")
        if self.layout != "manifest":
            _check_folders({name: PurePosixPath(label.folder) for name, label in self.classes.items()})
        for split, classes in (self.counts or {}).items():
            if odd := [name for name in classes if name not in self.classes]:
                raise ValueError(f"counts {split} of {odd[0]!r}{did_you_mean(odd[0], self.classes)}, which is no class")
        if self.counts and "all" in self.counts and len(self.counts) > 1:
            raise ValueError("counts 'all' beside splits: write one or the other")
        return self


class Card(Recipe):
    """A data set's card: the `dmws` block, and the parts of the front matter and the prose that people read."""

    name: str
    path: Path
    pretty_name: str
    license: str
    prose: str

    def __repr__(self) -> str:
        sources = " or ".join(dict.fromkeys(source.kind for source in self.sources))
        return f"Card({self.name}: {self.pretty_name}, {len(self.classes)} classes, from {sources})"

    __str__ = __repr__


class FrontMatter(BaseModel):
    """The front matter of a Hugging Face dataset card, as far as it is needed here, with the `dmws` block."""

    model_config = ConfigDict(strict=True)

    pretty_name: Text
    license: Text
    task_categories: list[Text] = []
    tags: list[Text] = []
    size_categories: list[Text] = []
    language: list[Text] = []
    dmws: Recipe

    @model_validator(mode="before")
    @classmethod
    def _known(cls, data: Any) -> Any:
        from huggingface_hub import DatasetCardData

        standard = [*inspect.signature(DatasetCardData).parameters][:-2]  # without ignore_metadata_errors and **kwargs
        _check_keys(data, (*cls.model_fields, *standard, *STANDARD))
        return data

    @field_validator("size_categories")
    @classmethod
    def _standard_sizes(cls, value: list[str]) -> list[str]:
        if odd := [size for size in value if size not in SIZES]:
            raise ValueError(f"has {odd[0]!r}: write one of {', '.join(SIZES)}")
        return value


def _check_folders(folders: dict[str, PurePosixPath]) -> None:
    for name, folder in folders.items():
        for other, place in folders.items():
            if name != other and (folder == place or folder in place.parents):
                raise ValueError(
                    f"has classes {name!r} in {str(folder)!r} and {other!r} in {str(place)!r}: give each its own folder"
                )
