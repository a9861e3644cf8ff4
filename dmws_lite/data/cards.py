"""Data cards: one Markdown file a data set, with a block in its front matter that says how to get and read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dmws_lite.data.card_form import SIZES, Card, FrontMatter
from dmws_lite.runtime.text import did_you_mean, shorten

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = Path(__file__).parents[1]
LARGEST, DEEPEST = 200_000, 12  # bytes of a card, levels of its YAML: our choice
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # may rewrite a terminal


def cards() -> dict[str, Path]:
    """The data sets' cards by name; from the installed package, or from the checkout."""
    shipped = PACKAGE / "_data_cards"
    folder = shipped if shipped.is_dir() else PACKAGE.parent / "data_cards"
    return {path.stem: path for path in sorted(folder.glob("*.md")) if path.stem != "template"}


def read_card(name_or_path: str | Path) -> Card:
    """Read and check a data card.

    name_or_path: a name in `cards()`, or a Markdown file: a Hugging Face dataset card with a `dmws` block.
    Raises FileNotFoundError for a file that is not there, ValueError for an unknown name and for a card that cannot be
    used; the text names the file, the key, its value and the way out. Nothing is executed or downloaded: YAML that
    builds objects or repeats itself by aliases, and paths that lead out of the data, are refused.

    >>> read_card("phantom_lung_ct")
    Card(phantom_lung_ct: Phantom lung CT, 3 classes, from phantom)
    >>> read_card("phantom_lung_ct").classes["ground_glass"].meaning
    'hazy patches that let vessels show through'
    """
    from huggingface_hub import DatasetCard
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    path = _find(name_or_path)
    text = _text(path)
    block = REGEX_YAML_BLOCK.search(text)
    if not block:
        raise ValueError(f"{path} has no front matter: begin it with a line ---, YAML and a line --- (see template.md)")
    check_yaml(block.group(2), path)
    try:
        parsed = DatasetCard(text)
        data = {key: value for key, value in vars(parsed.data).items() if value is not None}
        front = FrontMatter.model_validate(data)
    except ValidationError as error:
        raise ValueError(f"{path}: {'; '.join(_faults(error))}") from error
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: its front matter is no dataset card's ({error}): see template.md") from error
    return Card.model_construct(
        **dict(front.dmws),
        name=path.stem,
        path=path,
        pretty_name=front.pretty_name,
        license=front.license,
        prose=parsed.text.strip(),
    )


def _find(name_or_path: str | Path) -> Path:
    known, path = cards(), Path(name_or_path).expanduser()
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    if path.suffix.lower() != ".md":
        hint = did_you_mean(name_or_path, known)
        raise ValueError(f"unknown card {str(name_or_path)!r}{hint}: pass a .md file or one of {', '.join(known)}")
    if not path.is_file():
        raise FileNotFoundError(f"card {path} does not exist: pass another file, or one of {', '.join(known)}")
    return path.resolve()


def _text(path: Path) -> str:
    size = os.stat(path).st_size
    if size > LARGEST:
        raise ValueError(f"{path} has {size:,} bytes: a card has at most {LARGEST:,}, shorten it")
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from error
    if unseen := UNSEEN.search(text):
        line = text.count("\n", 0, unseen.start()) + 1
        raise ValueError(f"{path}, line {line}: the control character {unseen[0]!r} is refused: delete it")
    return text


def check_yaml(block: str, path: Path, first: int = 2) -> None:
    """Refuse YAML that does more than state values, before anything is built from it.

    first: the line of the file that the block begins with.
    """
    import yaml

    depth = 0
    try:
        for event in yaml.parse(block, Loader=yaml.SafeLoader):
            line = event.start_mark.line + first
            if getattr(event, "anchor", None):
                raise ValueError(f"{path}, line {line}: anchors (&) and aliases (*) are refused: write the value out")
            if unseen := UNSEEN.search(getattr(event, "value", None) or ""):
                raise ValueError(f"{path}, line {line}: the control character {unseen[0]!r} is refused: write it out")
            if tag := getattr(event, "tag", None):
                raise ValueError(f"{path}, line {line}: the tag {tag!r} is refused: write a plain value")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"{path}, line {line}: YAML is nested more than {DEEPEST} deep: flatten it")
        _check_twice(yaml.compose(block, Loader=yaml.SafeLoader), path, first)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: this is no YAML ({' '.join(str(error).split())}): mend it") from error


def _check_twice(node: Any, path: Path, first: int) -> None:
    """Refuse a key that is written twice: YAML would keep the last without a word."""
    pairs = getattr(node, "value", None)
    if not isinstance(pairs, list):
        return
    seen: set[str] = set()
    for item in pairs:
        key, value = item if isinstance(item, tuple) else (None, item)
        if key is not None and str(key.value) in seen:
            raise ValueError(f"{path}, line {key.start_mark.line + first}: {key.value!r} is written twice: keep one")
        seen |= {str(key.value)} if key is not None else set()
        _check_twice(value, path, first)


def _faults(error: ValidationError) -> Iterator[str]:
    """What is wrong with a card, each as where, value and way out."""
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"] if part != "[key]") or "front matter"
        if fault["type"] == "missing":
            yield f"{where} is missing: add it (see template.md)"
        elif fault["type"] == "value_error":
            yield f"{where} {fault['ctx']['error']}"
        else:
            hint = " (put it in quotes)" if fault["type"] == "string_type" else ""
            message = re.sub(r" or instance of \w+", "", fault["msg"]).removeprefix("Input ")
            yield f"{where} is {shorten(fault['input'])}: it {message[0].lower()}{message[1:]}{hint}"


PROSE = """# {title}

## What it shows

To be filled in: which organ, which examination, which patients, who drew the line between the classes and how.

## Where it comes from

To be filled in: hospital or publisher, years, devices, how the images were exported, address of the original.

## How to cite

To be filled in.

## Licence

Not stated.

## Splits and flips

To be filled in: which images are of one patient, and which mirrorings (`flips`) leave an image that could be real.

## Known problems

To be filled in: copies, patients in two splits, classes from different devices, marks drawn into images.

## Must not be used for

Decisions about patients.
"""


def card_text(
    name: str,
    table: pd.DataFrame,
    classes: Iterable[str],
    layout: str | None,
    folder: str | Path,
    rule: str | None = None,
    manifest: str | None = None,
) -> str:
    """The text of a data card for one's own images, with prose to be filled in.

    name:     the data set's name, for people.
    table:    one row an image, with the columns label and split ("train", "val", "test" or "") and, where the images
              were decoded, mode, width, height and depth.
    classes:  the class names in the order of the labels.
    layout:   "classes", "splits" or "manifest"; None leaves it to the loader.
    folder:   where the images are.
    rule:     how they were split: "published", "patient", "near_duplicates" or "random"; None leaves it to the loader.
    manifest: the file beside the card that holds the split.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"label": ["cyst", "none"], "split": ["train", "test"]})
    >>> card_text("Kidneys", table, ("none", "cyst"), "splits", "~/kidneys").splitlines()[:4]
    ['---', 'language:', '- en', 'license: unknown']
    """
    from huggingface_hub import DatasetCardData

    split = {"rule": rule, "manifest": manifest}
    recipe = {
        "sources": [{"folder": str(folder)}],
        "layout": layout,
        "classes": {str(label): {"meaning": "to be filled in"} for label in classes},
        "counts": _counted(table),
        "image": _pictured(table),
        "split": {key: value for key, value in split.items() if value},
        "flips": [],
    }
    title = " ".join(name.split())
    data = DatasetCardData(
        language=["en"],
        license="unknown",
        size_categories=[next(size for size, limit in SIZES.items() if len(table) < limit)],
        task_categories=["image-classification"],
        pretty_name=title,
        tags=["medical"],
        dmws={key: value for key, value in recipe.items() if value not in (None, {})},
    )
    return f"---\n{data.to_yaml()}\n---\n\n{PROSE.format(title=title)}"


def _counted(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Images of each class in each split; of all where a split is not known."""
    known = bool((table["split"] != "").all())
    splits = [split for split in ("train", "val", "test") if (table["split"] == split).any()] if known else ["all"]
    labels = {split: table["label"][table["split"] == split] if known else table["label"] for split in splits}
    return {
        split: {str(k): int(n) for k, n in found.value_counts(sort=False).items()} for split, found in labels.items()
    }


def _pictured(table: pd.DataFrame) -> dict[str, Any]:
    """What all images have in common."""
    if "mode" not in table:
        return {}
    one = {column: table[column].iloc[0] for column in ("width", "height", "depth") if table[column].nunique() == 1}
    picture: dict[str, Any] = {"mode": "gray" if (table["mode"] == "gray").all() else "colour"}
    if {"width", "height"} <= one.keys():
        picture["size"] = [int(one["width"]), int(one["height"])]
    return picture | ({"depth": int(one["depth"])} if "depth" in one else {})
