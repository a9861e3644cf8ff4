"""Everything known of a data set: from a card, folder, archive, manifest or hub id to decoded images and a split."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmws_lite.data.archives import ARCHIVES
from dmws_lite.data.phantoms import phantoms
from dmws_lite.data.sets import SPLITS
from dmws_lite.runtime.files import cache_folder

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.cards import Card

Array = np.ndarray
HUB = "hf://datasets/"
MANIFESTS = (".csv", ".parquet")


@dataclass(frozen=True)
class Gathered:
    """Everything known of a data set before anything is left out.

    table:      a row an image: file, label, split, patient, frame, sha256, width, height, mode, depth, blank, error,
                group.
    images:     uint8 (N, C, size, size), a row a row of the table; zeros where error is not "".
    thumbnails: uint8 (N, 32, 32).
    pairs:      copies and look-alikes by row, see `duplicates.pairs`.
    rule:       how the split came about: "published", "patient", "near_duplicates" or "random".
    root:       the folder that the table's files are in; None for phantoms.
    fit:        how the images became squares: "crop" or "letterbox" (phantoms are drawn as squares).
    """

    name: str
    table: pd.DataFrame
    images: Array
    thumbnails: Array
    pairs: pd.DataFrame
    classes: tuple[str, ...]
    rule: str
    card: Card | None = None
    root: Path | None = None
    fit: str = "crop"
    left_out: pd.DataFrame | None = None
    one_patient: bool = False

    @property
    def flips(self) -> tuple[str, ...]:
        """The mirrorings that the card allows; without a card, left to right."""
        return tuple(self.card.flips) if self.card else ("horizontal",)

    @property
    def stand_in(self) -> str | None:
        """What the ids of patients really are, where the card says that they are none."""
        return self.card.patient.stands_for if self.card and self.card.patient else None

    @property
    def serious(self) -> tuple[str, ...]:
        """The kinds of leaks that make results invalid: shared patients only where their ids are real."""
        return ("exact", "near") if self.stand_in else ("exact", "near", "patient")


def gather(
    source: Any,
    size: int = 64,
    seed: int | None = None,
    fit: str | None = None,
    frames: str = "middle",
    progress: bool = True,
) -> Gathered:
    """Everything known of a data set, with nothing left out: see `open_data` for the arguments."""
    for name, value, known in (("frames", frames, ("middle", "all")), ("fit", fit, (None, "crop", "letterbox"))):
        if value not in known:
            raise ValueError(f"{name}={value!r} is unknown: pass one of {', '.join(map(repr, known))}")
    if size < 1:
        raise ValueError(f"size={size}: pass the number of pixels per side, such as 64")
    card = _card(source)
    if card and card.sources[0].phantom:
        return _phantoms(card, size, _seed(seed, card))
    root, name = _locate(source, card, size, progress)
    return _gather_files(root, name, card, size, _seed(seed, card), fit, frames, progress)


def _seed(seed: int | None, card: Card | None) -> int:
    return seed if seed is not None else card.split.seed if card else 0


def _card(source: Any) -> Card | None:
    """The card that `source` names, if it names one."""
    from dmws_lite.data.cards import cards, read_card

    if not isinstance(source, str | Path):
        return None
    return read_card(source) if str(source) in cards() or Path(source).suffix == ".md" else None


def _locate(source: Any, card: Card | None, size: int, progress: bool) -> tuple[Path, str]:
    """The local folder or manifest of a source, and the data set's name."""
    if card or not isinstance(source, str | Path) or str(source).startswith(HUB):
        return _fetched(source, card, size, progress)
    if not str(source):
        raise ValueError("source='' is empty: pass a folder, a card or an archive")
    path = Path(source).expanduser()
    if path.is_dir() or (path.is_file() and path.suffix.lower() in MANIFESTS):
        return path.resolve(), path.resolve().stem if path.is_file() else path.resolve().name
    if path.is_file() and path.name.lower().endswith(ARCHIVES):
        return _unpacked(path.resolve()), path.name.split(".")[0]
    raise FileNotFoundError(unknown_source(path))


def _fetched(source: Any, card: Card | None, size: int, progress: bool) -> tuple[Path, str]:
    from dmws_lite.data import fetch

    if card:
        return fetch.fetch(card, progress, size), card.name
    if not isinstance(source, str | Path):
        return fetch.fetch_datasets(source, progress), "dataset"
    repository, _, revision = str(source).removeprefix(HUB).partition("@")
    return fetch.fetch_hub(repository, revision or None, progress), repository.split("/")[-1]


def unknown_source(path: Path) -> str:
    """Why a path is nothing that `open_data` can open, and what may have been meant."""
    from dmws_lite.data.cards import cards

    if path.is_file():
        return (
            f"source={str(path)!r} is a file of another kind: pass a folder, a card (.md), .csv, .parquet, .zip or .tar"
        )
    if "://" in str(path) or ":/" in str(path):
        return f"source={str(path)!r} is an address: write a card with it as `url` (see the template), or download it"
    close = difflib.get_close_matches(str(path), cards(), 3, 0.6) or [card for card in cards() if str(path) in card]
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    hub = f"; for a data set on the hub write {HUB}{path}" if len(path.parts) == 2 else ""
    return f"source={str(path)!r} is neither a folder, a file, nor a card{hint}: `dmws data list` shows the cards{hub}"


def _unpacked(archive: Path) -> Path:
    from dmws_lite.data.archives import unpack

    stat = archive.stat()
    key = hashlib.sha256(f"{archive}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:24]
    return unpack(archive, cache_folder("archives") / key)


def _phantoms(card: Card, size: int, seed: int) -> Gathered:
    """Phantoms as if they were files: each is a patient of its own, and the split is a published one."""
    import pandas as pd
    from PIL import Image

    from dmws_lite.data.images import THUMBNAIL

    sets = phantoms(card.sources[0].phantom or "", size=size, seed=seed)
    parts = [getattr(sets, split) for split in SPLITS]
    images = np.concatenate([part.images for part in parts])
    shape = (THUMBNAIL, THUMBNAIL)
    small = [np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC)) for image in images[:, 0]]
    names = [name for part in parts for name in part.names]
    table = pd.DataFrame(
        {
            "file": names,
            "label": [sets.classes[k] for part in parts for k in part.labels],
            "split": np.repeat(SPLITS, [len(part) for part in parts]),
            "patient": names,
            "frame": 0,
            "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
        }
    ).assign(width=size, height=size, mode="gray", depth=8, blank=False, error="", group=range(len(names)))
    none = pd.DataFrame({"first": [], "second": [], "kind": [], "correlation": []})
    return Gathered(card.name, table, images, np.stack(small), none, sets.classes, "published", card)


def _gather_files(
    root: Path, name: str, card: Card | None, size: int, seed: int, fit: str | None, frames: str, progress: bool
) -> Gathered:
    from dmws_lite.data import cache, duplicates, scanning

    if root.is_file():
        table, classes = scanning.scan_manifest(root, card, frames)
        root = root.parent
    else:
        table, classes, root = scanning.scan(root, card, frames)
    window = (card.window[0], card.window[1]) if card and card.window else None
    how = fit or (card.fit if card else "crop")
    done = cache.decoded(root, list(table["file"]), list(table["frame"]), size, how, window, progress)
    table = table.assign(
        **{name: done.facts[name] for name in done.facts if name != "patient"},
        patient=_patients(table["patient"], done.facts["patient"]),
        group=duplicates.groups(len(table), done.pairs),
    )
    table, rule = _split(table, card, seed)
    order = np.argsort(table["split"].map({split: k for k, split in enumerate((*SPLITS, ""))}), kind="stable")
    return _reordered(
        Gathered(name, table, done.images, done.thumbnails, done.pairs, classes, rule, card, root, how),
        np.asarray(order),
    )


def _reordered(found: Gathered, order: Array) -> Gathered:
    """Rows in another order; when it is the same, the images stay memory-mapped."""
    if (order == np.arange(len(order))).all():
        return found
    place = np.argsort(order)
    pairs = found.pairs.assign(first=place[found.pairs["first"]], second=place[found.pairs["second"]])
    table = found.table.iloc[order].reset_index(drop=True)
    return replace(found, table=table, images=found.images[order], thumbnails=found.thumbnails[order], pairs=pairs)


def _split(table: pd.DataFrame, card: Card | None, seed: int) -> tuple[pd.DataFrame, str]:
    """The table with a split in every row, from the card's manifest or made now, and the rule."""
    from dmws_lite.data.splits import read_manifest, split_table

    if card and card.split.manifest:
        return read_manifest(card.path.parent / card.split.manifest, table), card.split.rule or "published"
    names, rule = split_table(table, seed, card.split.rule if card and card.split.rule else "auto")
    return table.assign(split=names), rule


def _patients(said: pd.Series, found: pd.Series) -> pd.Series:
    """One id a person: the manifest's, else the pseudonym that files give, "" where neither knows.

    Where some images of a pseudonym have an id in the manifest, all of them get it.
    """
    both = (said != "") & (found != "")
    same = dict(zip(found[both], said[both], strict=True))
    return said.where(said != "", found.map(lambda pseudonym: same.get(pseudonym, pseudonym)))
