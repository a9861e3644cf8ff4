"""What is in a data set, and what is wrong with it: one table of findings, each with a severity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dmws_lite.data.probes import shortcuts, visible

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.gathering import Gathered

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
    "patient": "split here by patient: nobody is in two splits",
    "near_duplicates": "split here by groups of copies and look-alikes, since not all patients are known",
    "random": "split here at random: copies and patients may be in two splits. Pass a rule that keeps them together",
}


@dataclass(frozen=True)
class Finding:
    """One row of a report: what was found, how many images (patients, classes) it concerns, and examples."""

    severity: str
    kind: str
    count: int
    detail: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False, eq=False)
class Report:
    """What `check` found.

    findings: table with the columns severity ("invalid", "warning", "note"; in this order), kind, count (images,
              patients or classes), detail (what it means and the way out), files (at most five; "a = b" for pairs).
    probes:   see `probes.shortcuts`.
    shared:   pairs of images that two splits share, see `splitting.leaks`.
    flags:    a row an image of the table: "" or the first thing that is wrong with that image.
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
        counts = {severity: int((self.findings["severity"] == severity).sum()) for severity in SEVERITIES}
        if not self.valid:
            return f"invalid ({counts['invalid']} reason{'s' * (counts['invalid'] > 1)})"
        return f"usable, {counts['warning'] or 'no'} warning{'s' * (counts['warning'] > 1)}"

    def __repr__(self) -> str:
        return f"Report({self.name}: {len(self.gathered.table)} images, {self.verdict})"


def check(source: Any, size: int = 64, seed: int | None = None, progress: bool = True) -> Report:
    """Look for what makes results on a data set wrong, or easy to misread.

    source, size, seed: see `open_data`; size is that of the images in the picture, findings do not depend on it.
    Returns a Report. What is "invalid" makes results wrong; a "warning" is to be looked at; a "note" is to be known.
    Raises what `gather` raises when there is no data set to look at.

    >>> check("phantom_lung_ct", size=32, progress=False).valid
    True
    """
    from dmws_lite.data.gathering import gather

    return inspect(gather(source, size, seed, progress=progress))


def inspect(gathered: Gathered) -> Report:
    """The report on a data set that is already gathered: see `check`."""
    import pandas as pd

    from dmws_lite.data.splitting import leaks

    table = gathered.table
    names = [f"{file}#{frame}" if frame else file for file, frame in zip(table["file"], table["frame"], strict=True)]
    readable = (table["error"] == "").to_numpy()
    shared = leaks(table, gathered.pairs)
    faults = _pixel_faults(gathered)
    probes = shortcuts(table[readable], gathered.thumbnails[readable])
    found = [
        *_unreadable(table, names),
        *_labels(table, gathered.pairs, names),
        *_leaks(table, shared, names),
        *_repeats(table, gathered.pairs, names),
        *(
            Finding("warning", kind, int(rows.sum()), text, _some(names[row] for row in np.flatnonzero(rows)))
            for kind, rows, text in faults
            if rows.any()
        ),
        *_balance(table, gathered.classes),
        *_against_card(gathered),
        *_source(probes),
        *_split(table, gathered.rule),
    ]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    findings = pd.DataFrame([vars(finding) for finding in found])
    return Report(gathered.name, findings, probes, shared, _flags(gathered, shared, faults), gathered)


def _unreadable(table: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    rows = np.flatnonzero(table["error"] != "")
    if len(rows):
        text = f"cannot be read ({table['error'].iloc[rows[0]]}). Mend or delete them, or pass unusable='skip'"
        yield Finding("invalid", "unreadable", len(rows), text, _some(names[row] for row in rows))


def _labels(table: pd.DataFrame, pairs: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    """One image under two labels."""
    first, second, kind = _columns(pairs)
    torn = table["label"].to_numpy()[first] != table["label"].to_numpy()[second]
    for which, severity, text in (
        ("exact", "invalid", "the same bytes have two labels. Keep the right one, or pass unusable='skip'"),
        ("near", "warning", "nearly the same picture has two labels: look at them, and keep the right one"),
    ):
        rows = np.flatnonzero(torn & (kind == which))
        if len(rows):
            concerned = len({*first[rows], *second[rows]})
            files = (f"{names[first[k]]} = {names[second[k]]}" for k in rows)
            yield Finding(severity, "two labels", concerned, text, _some(files))


def _leaks(table: pd.DataFrame, shared: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    """What two splits have in common."""
    first, second, kind = _columns(shared)
    held_out = table["split"].isin(("val", "test")).to_numpy()
    drop = "Results look too good: pass leaks='drop'"
    for which, kind_name, text in (
        ("exact", "copies across splits", f"the same bytes are in two splits. {drop}"),
        ("near", "near copies across splits", f"nearly the same picture is in two splits. {drop}"),
    ):
        rows = np.flatnonzero(kind == which)
        if len(rows):
            yield Finding("invalid", kind_name, *_concerned(rows, first, second, names, text))
    rows = np.flatnonzero(kind == "patient")
    if len(rows):
        patients = table["patient"].iloc[np.concatenate([first[rows], second[rows]])].nunique()
        text = f"{patients} patients have images in two splits. {drop}"
        yield Finding("invalid", "patients across splits", patients, text)
    rows = np.flatnonzero(kind == "similar")
    if len(rows):
        images = {row for row in (*first[rows], *second[rows]) if held_out[row]}
        share, unknown = len(images) / max(1, held_out.sum()), (table["patient"] == "").any()
        text = f"{share:.1%} of val and test look like an image of another split: "
        text += (
            "perhaps the same patient, or a neighbouring slice"
            if unknown
            else "of other patients, if their ids are right"
        )
        severity = "warning" if unknown and share >= MANY else "note"
        yield Finding(severity, "look-alikes across splits", *_concerned(rows, first, second, names, text))


def _repeats(table: pd.DataFrame, pairs: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    """Copies that stay within one split."""
    first, second, kind = _columns(pairs)
    splits = table["split"].to_numpy()
    within = splits[first] == splits[second]
    for which, kind_name in (("exact", "copies within a split"), ("near", "near copies within a split")):
        rows = np.flatnonzero(within & (kind == which))
        if len(rows):
            text = "count more than once. Results stay valid; effectively there are fewer images"
            yield Finding("note", kind_name, *_concerned(rows, first, second, names, text))


def _pixel_faults(gathered: Gathered) -> list[tuple[str, Array, str]]:
    """Unexpectedly coloured, tiny and blank images: the kind, which rows, and what it means."""
    table, card = gathered.table, gathered.card
    readable = (table["error"] == "").to_numpy()
    colour = readable & (table["mode"] == "colour").to_numpy()
    gray = 1 - colour.sum() / max(1, readable.sum())
    stated = card.image.mode if card and card.image else None
    expected = stated == "gray" or (stated is None and gray >= MOSTLY)
    why = "the card says gray" if stated else f"{gray:.0%} of the images are gray"
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


def _source(probes: pd.DataFrame) -> Iterator[Finding]:
    told = "; ".join(f"{row.probe} {row.accuracy:.2f}" for row in probes.itertuples())
    text = f"accuracy of a linear model, chance {probes['chance'].iloc[0]:.2f}: {told}"
    seen = visible(probes)
    if len(seen):
        text = f"the source may be visible, and be learnt instead of the disease: {text}"
        yield Finding("warning", "source shortcut", int(probes["images"].iloc[0]), text)
    elif probes["accuracy"].notna().all():
        yield Finding("note", "source shortcut", int(probes["images"].iloc[0]), text)


def _split(table: pd.DataFrame, rule: str) -> Iterator[Finding]:
    counts = table["split"].value_counts()
    text = f"{RULES[rule]} ({' / '.join(str(counts.get(split, 0)) for split in ('train', 'val', 'test'))})"
    yield Finding("warning" if rule == "random" else "note", "split", len(table), text)
    unknown = int((table["patient"] == "").sum())
    if unknown:
        yield Finding("note", "patients unknown", unknown, "one patient may be in two splits without anyone knowing")


def _flags(gathered: Gathered, shared: pd.DataFrame, faults: list[tuple[str, Array, str]]) -> tuple[str, ...]:
    """A word for each image that something is wrong with, the worst of several."""
    table = gathered.table
    first, second, kind = _columns(gathered.pairs)
    torn = (table["label"].to_numpy()[first] != table["label"].to_numpy()[second]) & (kind != "similar")
    apart = _columns(shared[shared["kind"] != "similar"])
    words = np.full(len(table), "", object)
    for word, rows, _ in faults:
        words[rows] = word
    words[np.concatenate(apart[:2])] = "in two splits"
    words[np.concatenate([first[torn], second[torn]])] = "two labels"
    words[(table["error"] != "").to_numpy()] = "unreadable"
    return tuple(words)


def _columns(pairs: pd.DataFrame) -> tuple[Array, Array, Array]:
    return pairs["first"].to_numpy(np.int64), pairs["second"].to_numpy(np.int64), pairs["kind"].to_numpy(str)


def _concerned(
    rows: Array, first: Array, second: Array, names: list[str], text: str
) -> tuple[int, str, tuple[str, ...]]:
    """How many images some pairs concern, the text, and the first pairs."""
    return len({*first[rows], *second[rows]}), text, _some(f"{names[first[k]]} = {names[second[k]]}" for k in rows)


def _some(files: Iterable[str]) -> tuple[str, ...]:
    return tuple(file for file, _ in zip(files, range(EXAMPLES), strict=False))
