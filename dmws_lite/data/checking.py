"""What is in a data set, and what is wrong with it: one table of findings, each with a severity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dmws_lite.data.folders import explain_left_out
from dmws_lite.data.opening import Gathered, gather
from dmws_lite.data.probes import probe_shortcuts, visible
from dmws_lite.data.sets import SPLITS
from dmws_lite.data.splits import find_conflicts, find_leaks
from dmws_lite.runtime.text import examples

Array = np.ndarray
SEVERITIES = ("invalid", "warning", "note")
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
    "random": "split here at random, so copies and patients may be in two: leave `rule` out of the card's `split`",
}
DROP = "Results look too good: open_data(..., leaks='drop') leaves out the earlier one of each"
SKIP = "open_data(..., unusable='skip') leaves them out"
KEEP = f"Keep the right one, or {SKIP}"


class Finding(NamedTuple):
    """One row of a report: what was found, how many images (patients, classes) it concerns, and examples."""

    severity: str
    kind: str
    count: int  # type: ignore[assignment]  # a tuple has a method of this name
    detail: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False, eq=False)
class Report:
    """What `check` found.

    findings: table with the columns of `Finding`, the severe ones first.
    probes, shared: see `probes.probe_shortcuts` and `splits.find_leaks`.
    flags:    one per image of the table: "" or the worst thing that is wrong with that image.
    gathered: the data set that was looked at.
    """

    name: str
    findings: pd.DataFrame
    probes: pd.DataFrame
    shared: pd.DataFrame
    flags: tuple[str, ...]
    gathered: Gathered

    @property
    def valid(self) -> bool:
        """Whether nothing was found that makes results invalid."""
        return not (self.findings["severity"] == "invalid").any()

    @property
    def verdict(self) -> str:
        """In a few words: "invalid (2 reasons)", "usable, 1 warning", "usable, no warning"."""
        counts = Counter(self.findings["severity"])
        if not self.valid:
            return f"invalid ({counts['invalid']} reason{'s' * (counts['invalid'] > 1)})"
        return f"usable, {counts['warning'] or 'no'} warning{'s' * (counts['warning'] > 1)}"

    def __repr__(self) -> str:
        return f"Report({self.name}: {len(self.gathered.table)} images, {self.verdict})"


def check(
    source: Any,
    size: int = 64,
    seed: int | None = None,
    frames: str = "middle",
    fit: str | None = None,
    progress: bool = True,
    label: str | int | None = None,
    patient: str | None = None,
) -> Report:
    """Look for what makes results on a data set wrong, or easy to misread.

    source, size, seed, frames, fit, label, patient: see `open_data`; size and fit are those of the images in the
    picture, findings do not depend on them.
    Returns a Report. What is "invalid" makes results wrong; a "warning" is to be looked at; a "note" is to be known.
    Raises what `gather` raises when there is no data set to look at.

    >>> check("phantom_lung_ct", size=32, progress=False).valid
    True
    """
    return inspect(gather(source, size, seed, fit, frames, progress, label, patient))


def inspect(gathered: Gathered) -> Report:
    """The report on a data set that is already gathered: see `check`."""
    table = gathered.table
    readable = (table["error"] == "").to_numpy()
    pairs = gathered.pairs.astype({"first": int, "second": int})
    for name, column in (("two_labels", "label"), ("two_splits", "split")):
        values = table[column].to_numpy()
        pairs[name] = values[pairs["first"]] != values[pairs["second"]]
    shared = find_leaks(table, pairs)
    two_labels, two_splits = find_conflicts(table, "label"), find_conflicts(table, "split")
    faults = _find_faulty_pixels(gathered, readable)
    probes = probe_shortcuts(table[readable], gathered.thumbnails[readable])
    findings = [
        _describe_images("invalid", "unreadable", table, ~readable, f"cannot be read. Mend or delete them, or {SKIP}"),
        *_find_copies(table, pairs, shared, two_labels.sum(), two_splits.sum()),
        *_find_patients(gathered, shared),
        *(_describe_images("warning", kind, table, rows, text) for kind, (rows, text) in faults.items()),
        *_find_class_faults(gathered, readable & ~two_labels),
        _describe_shortcuts(probes),
        *_describe_reading(gathered),
    ]
    findings = sorted((f for f in findings if f.count), key=lambda finding: SEVERITIES.index(finding.severity))
    near = pairs[pairs["two_labels"] & (pairs["kind"] == "near")]
    serious = shared[shared["kind"].isin(gathered.serious)]
    flags = {
        "unreadable": ~readable,
        "two labels": two_labels | table.index.isin([*near["first"], *near["second"]]),
        "in two splits": two_splits | table.index.isin([*serious["first"], *serious["second"]]),
    } | {kind: rows for kind, (rows, _) in faults.items()}
    worst = np.select([*flags.values()], [*flags], "").tolist()
    report = pd.DataFrame(findings, columns=Finding._fields)
    return Report(gathered.name, report, probes, shared, tuple(worst), gathered)


def _find_faulty_pixels(gathered: Gathered, readable: Array) -> dict[str, tuple[Array, str]]:
    """Blank, tiny and unexpectedly coloured images: which rows, and what it means."""
    table, card = gathered.table, gathered.card
    colour = readable & (table["mode"] == "colour").to_numpy()
    gray_share = 1 - colour.sum() / max(1, readable.sum())
    stated_mode = card.image.mode if card and card.image else None
    gray_expected = stated_mode == "gray" or (stated_mode is None and gray_share >= MOSTLY)
    why = "the card says gray" if stated_mode else f"{gray_share:.1%} of the images are gray"
    tiny = readable & (table[["width", "height"]].min(axis=1) < TINY).to_numpy()
    return {
        "blank": (readable & table["blank"].to_numpy(bool), "all pixels have one value"),
        "tiny": (tiny, f"the short side is below {TINY} pixels"),
        "colour": (colour & gray_expected, f"colour, though {why}: a mark drawn into it, or another source"),
    }


def _name_images(table: pd.DataFrame) -> list[str]:
    """The first few images as their file and frame, and why one cannot be read."""
    texts = []
    for row in table[["file", "frame", "error"]].head(EXAMPLES).itertuples():
        name = f"{row.file}#{row.frame}" if row.frame else row.file
        texts.append(f"{name} ({row.error})" if row.error else name)
    return texts


def _describe_images(severity: str, kind: str, table: pd.DataFrame, rows: Array, text: str) -> Finding:
    return Finding(severity, kind, int(rows.sum()), text, tuple(_name_images(table[rows])))


def _describe_pairs(severity: str, kind: str, table: pd.DataFrame, pairs: pd.DataFrame, text: str) -> Finding:
    first, second = (_name_images(table.iloc[pairs[end]]) for end in ("first", "second"))
    files = tuple(map(" = ".join, zip(first, second, strict=True)))
    return Finding(severity, kind, len({*pairs["first"], *pairs["second"]}), text, files)


def _find_copies(
    table: pd.DataFrame, pairs: pd.DataFrame, shared: pd.DataFrame, two_labels: int, two_splits: int
) -> Iterator[Finding]:
    """The same bytes, and nearly the same picture: with two labels, in two splits, within one.

    two_labels, two_splits: how many images have the same bytes as one with another label, or in another split.
    """
    labels = pairs[pairs["two_labels"]]
    within = pairs[~pairs["two_labels"] & ~pairs["two_splits"]]
    nearly, repeated = "nearly the same picture", "count more than once. Results stay valid, on fewer images in effect"
    for severity, kind, linked, closeness, text, count in (
        ("invalid", "two labels", labels, "exact", f"the same bytes have two labels. {KEEP}", two_labels),
        ("warning", "two labels", labels, "near", f"{nearly} has two labels: look, and keep the right one", None),
        ("invalid", "copies across splits", shared, "exact", f"the same bytes are in two splits. {DROP}", two_splits),
        ("invalid", "near copies across splits", shared, "near", f"{nearly} is in two splits. {DROP}", None),
        ("note", "copies within a split", within, "exact", repeated, None),
        ("note", "near copies within a split", within, "near", repeated, None),
    ):
        finding = _describe_pairs(severity, kind, table, linked[linked["kind"] == closeness], text)
        yield finding if count is None else finding._replace(count=int(count))


def _find_patients(gathered: Gathered, shared: pd.DataFrame) -> Iterator[Finding]:
    """Patients in two splits, look-alikes that may be (of val or test, with an image elsewhere), and unknown ones."""
    table, stand_in = gathered.table, gathered.stand_in
    count = table["patient"].iloc[shared["first"][shared["kind"] == "patient"]].nunique()
    text = f"{count} {'patient has' if count == 1 else 'patients have'} images in two splits. {DROP}"
    if stand_in:
        text = f"ids in two splits: {count}. They are {stand_in}, a stand-in for patients. {DROP}"
    yield Finding("warning" if stand_in else "invalid", "patients across splits", count, text)

    similar = shared[shared["kind"] == "similar"]
    held_out = table["split"].isin(("val", "test"))
    share = held_out.iloc[np.unique(similar[["first", "second"]].to_numpy(int))].sum() / max(1, held_out.sum())
    unknown = len(table) if stand_in else int((table["patient"] == "").sum())
    who = "perhaps the same patient, or a neighbouring slice" if unknown else "other patients, if their ids are right"
    text = f"{share:.1%} of val and test look like an image of another split: {who}"
    severity = "warning" if unknown and share >= MANY else "note"
    yield _describe_pairs(severity, "look-alikes across splits", table, similar, text)

    text = "one patient may be in two splits without anyone knowing"
    text += f"; what stands in for patients: {stand_in}" if stand_in else ""
    yield Finding("note", "patients unknown", unknown, text)


def _find_class_faults(gathered: Gathered, usable: Array) -> Iterator[Finding]:
    """Classes that are missing in a split, much larger than others, few in test, or not as many as the card says."""
    table, classes = gathered.table, [*gathered.classes]

    def count_images(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.crosstab(rows["split"], rows["label"]).reindex(index=[*SPLITS], columns=classes, fill_value=0)

    missing = [f"{split} {name}" for (split, name), count in count_images(table[usable]).stack().items() if not count]
    text = f"no usable image in {examples(missing)}: add some, or remove the class everywhere"
    yield Finding("invalid", "empty class in a split", len(missing), text)

    readable = count_images(table[table["error"] == ""])
    train, test = readable.loc["train"], readable.loc["test"]
    ratio = train.max() / max(1, train.min())
    text = f"in train, {train.idxmax()} has {ratio:.0f} times the images of {train.idxmin()}"
    text += f" ({train.max()} and {train.min()}): read balanced accuracy, not accuracy"
    severity = "warning" if ratio > IMBALANCED else "note"
    yield Finding(severity, "class imbalance", len(train) if ratio > UNEVEN else 0, text)
    few = ", ".join(f"{name} {count}" for name, count in test.items() if count < FEW)
    text = f"fewer than {FEW} test images, so a class's accuracy says little: {few}"
    yield Finding("note", "few test images", int((test < FEW).sum()), text)

    stated = (gathered.card and gathered.card.counts) or {}
    present = count_images(table)
    if gathered.rule != "published" or "all" in stated:  # the split is ours: only totals are compared
        stated = {"all": sum((Counter(counts) for counts in stated.values()), Counter())}
        present.loc["all"] = present.sum()
    elif "val" not in stated:  # our val comes out of the published train
        present.loc["train"] += present.loc["val"]
    wrong = [
        f"{split} {name} {present.loc[split, name]}, not {count}"
        for split, counts in stated.items()
        for name, count in counts.items()
        if present.loc[split, name] != count
    ]
    text = f"another version of the set, or files are missing: {'; '.join(wrong[:EXAMPLES])}"
    yield Finding("warning", "counts differ from the card", len(wrong), text)


def _describe_reading(gathered: Gathered) -> Iterator[Finding]:
    """What was passed over, and what is to be said of how the set was read and split."""
    for reason, text in explain_left_out(gathered.left_out).items():
        files = gathered.left_out["file"][gathered.left_out["reason"] == reason]
        yield Finding("warning", "left out", len(files), text, tuple(files.head(EXAMPLES)))
    for note in gathered.notes:
        yield Finding("warning", "how it was read", 1, note)
    splits = gathered.table["split"]
    text = RULES[gathered.rule] + f" ({' / '.join(str((splits == split).sum()) for split in SPLITS)})"
    yield Finding("warning" if gathered.rule == "random" else "note", "split", len(splits), text)


def _describe_shortcuts(probes: pd.DataFrame) -> Finding:
    scores = "; ".join(f"{row.probe} {row.accuracy:.2f}" for row in probes.itertuples())
    text = f"accuracy of a linear model, chance {probes['chance'].iloc[0]:.2f}: {scores}"
    images = int(probes["images"].iloc[0]) if probes["accuracy"].notna().all() else 0
    if visible(probes).empty:
        return Finding("note", "source shortcut", images, text)
    text = f"the source may be visible, and be learnt instead of the disease: {text}"
    return Finding("warning", "source shortcut", images, text)
