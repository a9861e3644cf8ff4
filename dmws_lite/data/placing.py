"""What the folders that images lie in say of them, and warnings about those that this leaves out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dmws_lite.data.listing import some
from dmws_lite.data.sets import SPLITS
from dmws_lite.data.walking import Tree, tally, visible, walk

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.cards import Card

MASKS = ("mask", "masks")


def class_folders(card: Card | None) -> dict[str, str]:
    """Each class folder that a card names, and its class."""
    return {told.folder: name for name, told in card.classes.items()} if card else {}


def placed(files: list[str], splits: Mapping[str, str], folders: Mapping[str, str]) -> pd.DataFrame:
    """What the folders say: file, split and label, the last two "" where they do not."""
    import pandas as pd

    rows = []
    for file in files:
        split = splits.get(file.partition("/")[0], "")
        inner = file.partition("/")[2] if split else file
        if folders:
            label = next((name for folder, name in folders.items() if inner.startswith(folder + "/")), "")
        else:
            label = inner.rpartition("/")[0].partition("/")[0]
        rows.append((file, split, label))
    return pd.DataFrame(rows, columns=["file", "split", "label"], dtype=object)


def masks(table: pd.DataFrame, card: Card | None) -> pd.Series:
    """Which images lie in a folder called mask, bool with the table's index; folders that a card names do not count."""
    named = {name: folder for folder, name in class_folders(card).items()}

    def is_mask(file: str, split: str, label: str) -> bool:
        inner = file.partition("/")[2] if split else file
        inner = inner.removeprefix(f"{named[label]}/") if label in named else inner
        return any(part.lower() in MASKS for part in inner.split("/")[:-1])

    rows = zip(table["file"], table["split"], table["label"], strict=True)
    return table["file"].isin([row[0] for row in rows if is_mask(*row)])


def warn_of_masks(files: pd.Series) -> None:
    """Say which images are left out as masks."""
    if len(files):
        text = f"left out {len(files)} images in folders called mask or masks: {some(sorted(files))}"
        warnings.warn(f"{text}. A card can name such a folder as a class", stacklevel=3)


def warn_of_others(tree: Tree, splits: Mapping[str, str], card: Card | None) -> None:
    """Say which files of class folders are not read."""
    table = placed([*tree.others], splits, class_folders(card))
    files = table["file"][(table["label"] != "") & ~masks(table, card)]
    if len(files):
        kinds = tally(map(tree.others.__getitem__, files), "{1} {0}").encode(errors="replace").decode()
        warnings.warn(
            f"left out {len(files)} files of kinds that are not read ({kinds}): save them as PNG", stacklevel=3
        )


def warn_of_folders_beside(root: Path, splits: Mapping[str, str]) -> None:
    """Say which folders with images lie beside the split folders."""
    beside = [name for name in visible(root)[0] if splits and name not in splits and not (root / name).is_symlink()]
    found = [name for name in beside if os.access(root / name, os.R_OK | os.X_OK) for _ in walk(root / name).files]
    if found:
        warnings.warn(
            f"left out folders beside {', '.join(sorted(splits, key=lambda name: SPLITS.index(splits[name])))}: "
            f"{tally(found, '{0} ({1} images)')}. Move what belongs to a split into it",
            stacklevel=3,
        )


def warn_of_unnamed(table: pd.DataFrame, card: Card) -> None:
    """Say which folders with images a card does not name: the outermost that hold none that it does name."""
    named = class_folders(card)

    def outermost(file: str, split: str) -> str:
        parts = (file.partition("/")[2] if split else file).split("/")[:-1]
        folders = ["/".join(parts[: k + 1]) for k in range(len(parts))]
        return next((f for f in folders if not any(name.startswith(f"{f}/") for name in named)), "/".join(parts) or ".")

    found = [outermost(file, split) for file, split in zip(table["file"], table["split"], strict=True)]
    if found:
        warn_of_classes(found, card, "folders")


def warn_of_classes(found: Iterable[str], card: Card, what: str) -> None:
    """Say how many images are left out for a label, or for a folder, that a card does not name."""
    text = f"left out {what} that {card.path.name} does not name: {tally(found, '{0} ({1} images)')}"
    warnings.warn(f"{text}. Add those that are classes to its `classes`", stacklevel=3)
