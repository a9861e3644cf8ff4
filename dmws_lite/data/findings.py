"""What can be wrong with a data set: one function a kind of fault, each giving findings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dmws_lite.data.probes import visible
from dmws_lite.data.sets import SPLITS

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.gathering import Gathered

Array = np.ndarray
EXAMPLES = 5  # files that a finding names
# Our choices:
TINY = 32  # pixels of the short side: half of what images are opened at by default, so they would be blown up
IMBALANCED, UNEVEN = 10, 3  # largest class over smallest class in train: a warning, a note
FEW = 30  # test images of a class: with as few, the 95 % interval of its accuracy is up to ±0.18
MOSTLY = 0.9  # share of gray images from which colour is the exception
MANY = 0.01  # share of held-out images with a look-alike in another split, patients unknown, that is a warning
RULES = {
    "published": "the publisher's split is kept",
    "patient": "split here by patient",
    "near_duplicates": "split here by groups of copies and look-alikes, since not all patients are known",
    "random": "split here at random: copies and patients may be in two splits. Leave `rule` out of the card's `split` "
    "to keep together what belongs together",
}
DROP = "Results look too good: open_data(..., leaks='drop') leaves out the earlier one of each"
SKIP = "open_data(..., unusable='skip') leaves them out"


@dataclass(frozen=True)
class Finding:
    """One row of a report: what was found, how many images (patients, classes) it concerns, and examples."""

    severity: str
    kind: str
    count: int
    detail: str
    files: tuple[str, ...] = ()


def everything(
    gathered: Gathered,
    shared: pd.DataFrame,
    faults: list[tuple[str, Array, str]],
    probes: pd.DataFrame,
    said: Iterable[str] = (),
) -> Iterator[Finding]:
    """All findings on a data set, in no order of severity.

    shared: from `splits.leaks`. faults: from `pixel_faults`. probes: from `probes.shortcuts`.
    said:   warnings from when the images were found.
    """
    table, pairs = gathered.table, gathered.pairs
    names = [f"{file}#{frame}" if frame else file for file, frame in zip(table["file"], table["frame"], strict=True)]
    yield from _unreadable(table, names)
    yield from _labels(table, pairs, names)
    yield from _empty(table, gathered.classes)
    yield from _leaks(gathered, shared, names)
    yield from _repeats(table, pairs, names)
    for kind, rows, text in faults:
        if rows.any():
            yield Finding("warning", kind, int(rows.sum()), text, _some(names[row] for row in np.flatnonzero(rows)))
    yield from _said(said)
    yield from _balance(table, gathered.classes)
    yield from _against_card(gathered)
    yield from _source(probes)
    yield from _split(gathered, bool((shared["kind"] == "patient").any()))


def at_odds(table: pd.DataFrame, column: str) -> Array:
    """Readable images whose very bytes are there again with another value (not "") in a column, bool (N,)."""
    told = table[(table["error"] == "") & (table[column] != "")]
    values = told.groupby(["sha256", "frame"])[column].transform("nunique")
    return (values.reindex(table.index, fill_value=1) > 1).to_numpy()


def columns(pairs: pd.DataFrame) -> tuple[Array, Array, Array]:
    """Pairs as arrays: first, second (rows) and kind."""
    return pairs["first"].to_numpy(np.int64), pairs["second"].to_numpy(np.int64), pairs["kind"].to_numpy(str)


def _unreadable(table: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    errors = table["error"].to_numpy()
    rows = np.flatnonzero(errors != "")
    if len(rows):
        files = _some(f"{names[row]} ({errors[row]})" for row in rows)
        yield Finding("invalid", "unreadable", len(rows), f"cannot be read. Mend or delete them, or {SKIP}", files)


def _labels(table: pd.DataFrame, pairs: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    """One image under two labels."""
    rows = np.flatnonzero(at_odds(table, "label"))
    if len(rows):
        torn = table.iloc[rows].assign(row=rows).drop_duplicates(["sha256", "frame", "label"])
        ends = torn.groupby(["sha256", "frame"], sort=False)["row"].agg(["first", "last"])
        text = f"the same bytes have two labels. Keep the right one, or {SKIP}"
        files = (f"{names[first]} = {names[last]}" for first, last in ends.to_numpy())
        yield Finding("invalid", "two labels", len(rows), text, _some(files))
    first, second, kind = columns(pairs)
    labels = table["label"].to_numpy()
    rows = np.flatnonzero((labels[first] != labels[second]) & (kind == "near"))
    if len(rows):
        text = "nearly the same picture has two labels: look at them, and keep the right one"
        yield Finding("warning", "two labels", *_concerned(rows, first, second, names, text))


def _empty(table: pd.DataFrame, classes: tuple[str, ...]) -> Iterator[Finding]:
    usable = table[(table["error"] == "") & ~at_odds(table, "label")]
    there = {*zip(usable["split"], usable["label"], strict=True)}
    missing = [f"{split} {name}" for split in SPLITS for name in classes if (split, name) not in there]
    if missing:
        text = f"no usable image in {_listed(missing)}: add some, or remove the class everywhere"
        yield Finding("invalid", "empty class in a split", len(missing), text)


def _leaks(gathered: Gathered, shared: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    """What two splits have in common."""
    table, standing = gathered.table, gathered.stand_in
    first, second, kind = columns(shared)
    rows = np.flatnonzero(kind == "exact")
    if len(rows):
        _, text, files = _concerned(rows, first, second, names, f"the same bytes are in two splits. {DROP}")
        yield Finding("invalid", "copies across splits", int(at_odds(table, "split").sum()), text, files)
    rows = np.flatnonzero(kind == "near")
    if len(rows):
        text = f"nearly the same picture is in two splits. {DROP}"
        yield Finding("invalid", "near copies across splits", *_concerned(rows, first, second, names, text))
    rows = np.flatnonzero(kind == "patient")
    if len(rows):
        count = table["patient"].iloc[first[rows]].nunique()
        text = f"{count} {'patient has' if count == 1 else 'patients have'} images in two splits. {DROP}"
        if standing:
            text = f"ids in two splits: {count}. They are {standing}, a stand-in for patients. {DROP}"
        yield Finding("warning" if standing else "invalid", "patients across splits", count, text)
    rows = np.flatnonzero(kind == "similar")
    if len(rows):
        held_out = table["split"].isin(("val", "test")).to_numpy()
        images = {row for row in (*first[rows], *second[rows]) if held_out[row]}
        share = len(images) / max(1, held_out.sum())
        unknown = standing or (table["patient"] == "").any()
        why = "perhaps the same patient, or a neighbouring slice"
        why = why if unknown else "of other patients, if their ids are right"
        text = f"{share:.1%} of val and test look like an image of another split: {why}"
        severity = "warning" if unknown and share >= MANY else "note"
        yield Finding(severity, "look-alikes across splits", *_concerned(rows, first, second, names, text))


def _repeats(table: pd.DataFrame, pairs: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    """Copies that stay within one split and class."""
    first, second, kind = columns(pairs)
    splits, labels = table["split"].to_numpy(), table["label"].to_numpy()
    within = (splits[first] == splits[second]) & (labels[first] == labels[second])
    for which, kind_name in (("exact", "copies within a split"), ("near", "near copies within a split")):
        rows = np.flatnonzero(within & (kind == which))
        if len(rows):
            text = "count more than once. Results stay valid; effectively there are fewer images"
            yield Finding("note", kind_name, *_concerned(rows, first, second, names, text))


def pixel_faults(gathered: Gathered) -> list[tuple[str, Array, str]]:
    """Unexpectedly coloured, tiny and blank images: the kind, which rows, and what it means."""
    table, card = gathered.table, gathered.card
    readable = (table["error"] == "").to_numpy()
    colour = readable & (table["mode"] == "colour").to_numpy()
    gray = 1 - colour.sum() / max(1, readable.sum())
    stated = card.image.mode if card and card.image else None
    expected = stated == "gray" or (stated is None and gray >= MOSTLY)
    why = "the card says gray" if stated else f"{gray:.1%} of the images are gray"
    tiny = readable & (table[["width", "height"]].min(axis=1) < TINY).to_numpy()
    return [
        ("colour", colour & expected, f"colour, though {why}: a mark drawn into it, or another source"),
        ("tiny", tiny, f"the short side is below {TINY} pixels"),
        ("blank", readable & table["blank"].to_numpy(bool), "all pixels have one value"),
    ]


def _balance(table: pd.DataFrame, classes: tuple[str, ...]) -> Iterator[Finding]:
    usable = table[table["error"] == ""]
    train, test = (
        usable[usable["split"] == split]["label"].value_counts().reindex(list(classes), fill_value=0)
        for split in ("train", "test")
    )
    ratio = train.max() / max(1, train.min())
    if ratio > UNEVEN:
        text = f"in train, {train.idxmax()} has {ratio:.0f} times the images of {train.idxmin()}"
        text += f" ({train.max()} and {train.min()}): read balanced accuracy, not accuracy"
        yield Finding("warning" if ratio > IMBALANCED else "note", "class imbalance", len(classes), text)
    few = test[test < FEW]
    if len(few):
        listed = ", ".join(f"{name} {count}" for name, count in few.items())
        text = f"fewer than {FEW} test images, so a class's accuracy says little: {listed}"
        yield Finding("note", "few test images", len(few), text)


def _against_card(gathered: Gathered) -> Iterator[Finding]:
    """Counts that differ from the card's. A warning: another version of the set can be sound, but results differ."""
    card, table = gathered.card, gathered.table
    counts = card.counts if card else None
    if not counts:
        return
    published = gathered.rule == "published" and "all" not in counts

    def place(split: str) -> str:
        carved = split == "val" and "val" not in counts  # out of the published train
        return ("train" if carved else split) if published else "all"

    found = Counter((place(split), label) for split, label in zip(table["split"], table["label"], strict=True))
    expected: Counter[tuple[str, str]] = Counter()
    for split, classes in counts.items():
        expected.update({(place(split), label): count for label, count in classes.items()})
    differ = [(key, found[key], count) for key, count in expected.items() if found[key] != count]
    if differ:
        listed = "; ".join(f"{split} {label} {here}, not {count}" for (split, label), here, count in differ[:EXAMPLES])
        text = f"another version of the set, or files are missing: {listed}"
        yield Finding("warning", "counts differ from the card", len(differ), text)


def _said(texts: Iterable[str]) -> Iterator[Finding]:
    """Warnings from when the images were found; those on files left out count them."""
    for text in dict.fromkeys(texts):
        left_out = text.startswith("left out")
        count = sum(map(int, re.findall(r"(\d+) (?:files|images)", text))) if left_out else 1
        yield Finding("warning", "left out" if left_out else "said when opened", count or 1, text)


def _source(probes: pd.DataFrame) -> Iterator[Finding]:
    told = "; ".join(f"{row.probe} {row.accuracy:.2f}" for row in probes.itertuples())
    text = f"accuracy of a linear model, chance {probes['chance'].iloc[0]:.2f}: {told}"
    seen = visible(probes)
    if len(seen):
        text = f"the source may be visible, and be learnt instead of the disease: {text}"
        yield Finding("warning", "source shortcut", int(probes["images"].iloc[0]), text)
    elif probes["accuracy"].notna().all():
        yield Finding("note", "source shortcut", int(probes["images"].iloc[0]), text)


def _split(gathered: Gathered, shared: bool) -> Iterator[Finding]:
    """How the split came about, and whose patients are not known; `shared`: patients are in two splits."""
    table, rule, standing = gathered.table, gathered.rule, gathered.stand_in
    text = RULES[rule]
    if rule == "patient" and standing:
        text = f"split here, kept together by {standing}, a stand-in for patients"
    elif rule == "patient" and not shared:
        text += ": nobody is in two splits"
    counts = table["split"].value_counts()
    text += f" ({' / '.join(str(counts.get(split, 0)) for split in SPLITS)})"
    yield Finding("warning" if rule == "random" else "note", "split", len(table), text)
    unknown = len(table) if standing else int((table["patient"] == "").sum())
    if unknown:
        text = "one patient may be in two splits without anyone knowing"
        text += f"; what stands in for patients: {standing}" if standing else ""
        yield Finding("note", "patients unknown", unknown, text)


def _concerned(
    rows: Array, first: Array, second: Array, names: list[str], text: str
) -> tuple[int, str, tuple[str, ...]]:
    """How many images some pairs concern, the text, and the first pairs."""
    return len({*first[rows], *second[rows]}), text, _some(f"{names[first[k]]} = {names[second[k]]}" for k in rows)


def _some(files: Iterable[str]) -> tuple[str, ...]:
    return tuple(file for file, _ in zip(files, range(EXAMPLES), strict=False))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (f" and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else "")
