"""Data cards: one Markdown file per data set, with a block in its front matter that says how to get and read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import permutations
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.text import did_you_mean, escape_markdown
from dmws_lite.runtime.validation import Strict, faults, parse_yaml

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).parents[1]
FRONT_MATTER = re.compile(r"\s*---\n(.*?\n|)---\n?(.*)", re.S)
KINDS = {"folder": (), "hub": ("revision",), "url": ("sha256", "size"), "kaggle": ("version",)}
KINDS |= {"medmnist": ("image_size",), "phantom": ()}
SIZES = {"n<1K": 1e3, "1K<n<10K": 1e4, "10K<n<100K": 1e5, "100K<n<1M": 1e6, "1M<n<10M": 1e7}


def _check_path(value: str) -> str:
    path = PurePosixPath(value)
    if value[:1] in ("", "/", "~") or ".." in path.parts or "\\" in value or PureWindowsPath(value).drive:
        raise ValueError(f"is {value!r}: write a path that stays inside the data, such as 'images/train'")
    return str(path)


def check_pattern(value: str) -> str:
    """A regular expression with one group."""
    try:
        groups = re.compile(value).groups
    except re.error as error:
        raise ValueError(f"is {value!r}, which is no regular expression ({error}): correct it") from error
    if groups != 1:
        raise ValueError(f"is {value!r}, with {groups} groups: write exactly one (...), which holds the patient")
    return value


Text = Annotated[str, Field(min_length=1)]
Inside = Annotated[str, AfterValidator(_check_path)]
Slug = Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]


class Source(Strict, strict=True):
    """Where the data can be got: one of KINDS, with what belongs to it."""

    folder: Text | None = None
    hub: Slug | None = None
    revision: Text | None = None
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    size: PositiveInt | None = None
    kaggle: Slug | None = None
    version: PositiveInt | None = None
    medmnist: Text | None = None
    image_size: Literal[28, 64, 128, 224] | None = None
    phantom: Literal["chest_xray", "lung_ct", "brain_mri"] | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> Source:
        stated = self.model_dump(exclude_none=True)
        kinds = [name for name in KINDS if name in stated]
        if len(kinds) != 1:
            raise ValueError(f"has {' and '.join(kinds) or 'no source'}: give one of {', '.join(KINDS)}")
        if others := stated.keys() - {*kinds, *KINDS[kinds[0]]}:
            raise ValueError(f"has {min(others)}, which does not belong to {kinds[0]}: remove it")
        if self.medmnist and not self.image_size:
            raise ValueError(f"has medmnist {self.medmnist!r} without image_size: add 28, 64, 128 or 224")
        return self

    @property
    def kind(self) -> str:
        """Which of KINDS this is."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    def __str__(self) -> str:
        detail = f"@{self.revision}" if self.revision else f" at {self.image_size} px" if self.image_size else ""
        return f"{self.kind} {getattr(self, self.kind)}{detail}"


class Label(Strict, strict=True):
    """A class: its folder below the root, or below each split (by default its name), and what it means."""

    folder: Inside
    meaning: Text


class Picture(Strict, strict=True):
    """What the images are expected to be; `size` is width and height, `depth` is bits per channel."""

    mode: Literal["gray", "colour"] | None = None
    size: Annotated[list[PositiveInt], Field(min_length=2, max_length=2)] | None = None
    depth: PositiveInt | None = None


class Split(Strict, strict=True):
    """How train, val and test come about; without a rule the loader chooses."""

    rule: Literal["published", "patient", "near_duplicates", "random"] | None = None
    seed: NonNegativeInt = 0
    manifest: Inside | None = None


class Patient(Strict, strict=True):
    """How a file's path tells its patient, and what its group stands for where that is no patient."""

    pattern: Annotated[str, AfterValidator(check_pattern)]
    stands_for: Text | None = None


class Recipe(Strict, strict=True):
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
    flips: list[Literal["horizontal", "vertical"]] = Field(default=[])

    @property
    def class_folders(self) -> dict[str, str]:
        """The class of each folder that is named."""
        return {label.folder: name for name, label in self.classes.items()}

    @field_validator("classes", mode="before")
    @classmethod
    def _name_the_folders(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: {"folder": str(k), **label} if isinstance(label, dict) else label for k, label in value.items()}

    @model_validator(mode="after")
    def _check_keys_together(self) -> Recipe:
        if self.window and not self.window[0] < self.window[1]:
            raise ValueError(f"has window {self.window}: write the lower value first")
        if len(self.sources) > 1 and any(source.phantom for source in self.sources):
            raise ValueError("has a phantom beside other sources: phantoms are drawn, so remove the others")
        for (name, one), (other, two) in permutations(self.classes.items(), 2):
            outer, inner = PurePosixPath(one.folder), PurePosixPath(two.folder)
            if self.layout != "manifest" and outer in (inner, *inner.parents):
                raise ValueError(f"has classes {name!r} in {one.folder!r} and {other!r} in {two.folder!r}: move one")
        for split, counts in (self.counts or {}).items():
            if unknown := [name for name in counts if name not in self.classes]:
                hint = did_you_mean(unknown[0], self.classes)
                raise ValueError(f"counts {split} of {unknown[0]!r}{hint}, which is no class")
        return self


class FrontMatter(BaseModel):
    """The front matter of a Hugging Face dataset card, as far as it is needed here; its other keys are the Hub's."""

    pretty_name: Text
    license: Text
    dmws: Recipe


class Card(Recipe):
    """A data set's card: the `dmws` block, and what else of the front matter and the prose people read."""

    name: str
    path: Path
    pretty_name: str
    license: str
    prose: str

    def __str__(self) -> str:
        sources = " or ".join(dict.fromkeys(source.kind for source in self.sources))
        return f"Card({self.name}: {self.pretty_name}, {len(self.classes)} classes, from {sources})"

    __repr__ = __str__


def cards() -> dict[str, Path]:
    """The data sets' cards by name; from the installed package, or from the checkout."""
    return {path.stem: path for path in sorted(_cards_folder().glob("*.md")) if path.stem != "template"}


def _cards_folder() -> Path:
    shipped = PACKAGE / "_data_cards"
    return shipped if shipped.is_dir() else PACKAGE.parent / "data_cards"


def read_card(name_or_path: str | Path) -> Card:
    """Read and check a data card.

    name_or_path: a name in `cards()`, or a Markdown file: a Hugging Face dataset card with a `dmws` block.
    Raises FileNotFoundError for a file that is not there, ValueError for an unknown name and for a card that cannot be
    used; the text names the file, the key, its value and the way out. Nothing is executed or downloaded, and paths that
    lead out of the data are refused.

    >>> read_card("phantom_lung_ct")
    Card(phantom_lung_ct: Phantom lung CT, 3 classes, from phantom)
    >>> read_card("phantom_lung_ct").classes["ground_glass"].meaning
    'hazy patches that let vessels show through'
    """
    names = cards()
    path = names.get(str(name_or_path), Path(name_or_path).expanduser())
    if path.suffix.lower() != ".md":
        hint = did_you_mean(name_or_path, names)
        raise ValueError(f"unknown card {str(name_or_path)!r}{hint}: pass a .md file or one of {', '.join(names)}")
    if not path.is_file():
        raise FileNotFoundError(f"card {path} does not exist: pass another file, or one of {', '.join(names)}")
    try:
        parts = FRONT_MATTER.match(path.read_text("utf-8-sig"))
        if not parts:
            raise ValueError(f"{path} has no front matter: begin it with a line ---, YAML and a line ---")
        front = FrontMatter.model_validate(parse_yaml("\n" + parts[1], path) or {})
    except ValidationError as error:
        raise ValueError(f"{path}: {faults(error)} (see template.md)") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from error
    facts = dict(front) | dict(front.dmws)
    return Card.model_construct(**facts, prose=parts[2].strip(), name=path.stem, path=path.resolve())


def card_text(
    name: str,
    table: pd.DataFrame,
    classes: Iterable[str],
    recipe: Mapping[str, object],
    folder: str | Path,
    rule: str,
    manifest: str,
) -> str:
    """The text of a card for the images in a folder; recipe: what says how they are read."""
    title = " ".join(name.split())
    table = table if (table["split"] != "").all() else table.assign(split="all")
    counts = table.groupby(["split", "label"]).size()
    front = {
        "pretty_name": title,
        "license": "unknown",
        "task_categories": ["image-classification"],
        "tags": ["medical"],
        "size_categories": [next(size for size, limit in SIZES.items() if len(table) < limit)],
        "language": ["en"],
        "dmws": {
            "sources": [{"folder": str(folder)}],
            **recipe,
            "classes": {str(label): {"meaning": "to be filled in"} for label in classes},
            "counts": {part: counts[part].to_dict() for part in (*SPLITS, "all") if part in counts},
            "image": {"mode": "gray" if (table["mode"] == "gray").all() else "colour"},
            "split": {"rule": rule, "manifest": manifest},
            "flips": [],
        },
    }
    template = (_cards_folder() / "template.md").read_text("utf-8").partition("\n# My images\n")[2]
    prose = re.sub(r"(?m)^(?=[A-Z])", "To be filled in: ", template)
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n# {escape_markdown(title)}\n{prose}"
    )
