"""What is in a data set, and what is wrong with it: one table of findings, each with a severity."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dmws_lite.data.folders import explained
from dmws_lite.data.probes import shortcuts, visible
from dmws_lite.data.sets import SPLITS
from dmws_lite.data.splits import leaks

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.opening import Gathered

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


@dataclass(frozen=True, repr=False, eq=False)
class Report:
    """What `check` found.

    findings: table with the columns of `Finding`, the severe ones first.
    probes:   see `probes.shortcuts`.
    shared:   pairs of images that two splits share, see `splits.leaks`.
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
) -> Report:
    """Look for what makes results on a data set wrong, or easy to misread.

    source, size, seed, frames, fit: see `open_data`; size and fit are those of the images in the picture, findings do
    not depend on them.
    Returns a Report. What is "invalid" makes results wrong; a "warning" is to be looked at; a "note" is to be known.
    Raises what `gather` raises when there is no data set to look at.

    >>> check("phantom_lung_ct", size=32, progress=False).valid
    True
    """
    from dmws_lite.data.opening import gather

    return inspect(gather(source, size, seed, fit, frames, progress))


def inspect(gathered: Gathered) -> Report:
    """The report on a data set that is already gathered: see `check`."""
    import pandas as pd

    table = gathered.table
    readable = (table["error"] == "").to_numpy()
    names = [f"{file}#{frame}" if frame else file for file, frame in zip(table["file"], table["frame"], strict=True)]
    pairs = gathered.pairs.astype({"first": int, "second": int})
    two_labels, two_splits = _conflicts(table, "label"), _conflicts(table, "split")
    shared = leaks(table, pairs)
    faults = _pixel_faults(gathered)
    probes = shortcuts(table[readable], gathered.thumbnails[readable])
    findings = [
        *_unreadable(table, names),
        *_two_labels(table, pairs, names, two_labels),
        *_empty_classes(gathered, readable & ~two_labels),
        *_leaks(gathered, shared, names, two_splits),
        *_repeats(table, pairs, names),
        *(_on_images("warning", kind, rows, names, text) for kind, (rows, text) in faults.items() if rows.any()),
        *_left_out(gathered),
        *_balance(gathered),
        *_counts_on_card(gathered),
        *_shortcuts(probes),
        *_split(gathered, bool((shared["kind"] == "patient").any())),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))

    serious = shared[shared["kind"].isin(gathered.serious)]
    torn = pairs[(pairs["kind"] == "near") & _differ(table, pairs, "label")]
    flags = np.full(len(table), "", object)
    for kind, (rows, _) in faults.items():
        flags[rows] = kind
    for flag, ends, rows in (("in two splits", serious, two_splits), ("two labels", torn, two_labels)):
        flags[[*ends["first"], *ends["second"]]] = flag
        flags[rows] = flag
    flags[~readable] = "unreadable"
    return Report(gathered.name, pd.DataFrame(map(vars, findings)), probes, shared, tuple(flags), gathered)


def _conflicts(table: pd.DataFrame, column: str) -> Array:
    """Readable images whose very bytes occur again with another value (not "") in a column, bool (N,)."""
    rows = table[(table["error"] == "") & (table[column] != "")]
    values = rows.groupby(["sha256", "frame"])[column].transform("nunique")
    return (values.reindex(table.index, fill_value=1) > 1).to_numpy()


def _differ(table: pd.DataFrame, pairs: pd.DataFrame, column: str) -> Array:
    """Pairs whose images have different values in a column, bool (P,)."""
    values = table[column].to_numpy()
    return values[pairs["first"]] != values[pairs["second"]]


def _on_images(severity: str, kind: str, rows: Array, names: list[str], text: str) -> Finding:
    files = tuple(names[row] for row in np.flatnonzero(rows)[:EXAMPLES])
    return Finding(severity, kind, int(rows.sum()), text, files)


def _on_pairs(
    severity: str, kind: str, pairs: pd.DataFrame, names: list[str], text: str, count: int | None = None
) -> Iterator[Finding]:
    """A finding on pairs of images, if there are any; count is that of the images in them, unless it is given."""
    if len(pairs):
        files = tuple(f"{names[row.first]} = {names[row.second]}" for row in pairs.head(EXAMPLES).itertuples())
        yield Finding(severity, kind, count or len({*pairs["first"], *pairs["second"]}), text, files)


def _unreadable(table: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    rows = np.flatnonzero(table["error"] != "")
    if len(rows):
        files = tuple(f"{names[row]} ({table['error'].iloc[row]})" for row in rows[:EXAMPLES])
        yield Finding("invalid", "unreadable", len(rows), f"cannot be read. Mend or delete them, or {SKIP}", files)


def _two_labels(table: pd.DataFrame, pairs: pd.DataFrame, names: list[str], rows: Array) -> Iterator[Finding]:
    apart = pairs[_differ(table, pairs, "label")]
    text = f"the same bytes have two labels. Keep the right one, or {SKIP}"
    yield from _on_pairs("invalid", "two labels", apart[apart["kind"] == "exact"], names, text, int(rows.sum()))
    text = "nearly the same picture has two labels: look at them, and keep the right one"
    yield from _on_pairs("warning", "two labels", apart[apart["kind"] == "near"], names, text)


def _empty_classes(gathered: Gathered, usable: Array) -> Iterator[Finding]:
    table = gathered.table[usable]
    present = {*zip(table["split"], table["label"], strict=True)}
    missing = [f"{split} {name}" for split in SPLITS for name in gathered.classes if (split, name) not in present]
    if missing:
        more = f" and {len(missing) - EXAMPLES} more" if len(missing) > EXAMPLES else ""
        text = f"no usable image in {', '.join(missing[:EXAMPLES])}{more}: add some, or remove the class everywhere"
        yield Finding("invalid", "empty class in a split", len(missing), text)


def _leaks(gathered: Gathered, shared: pd.DataFrame, names: list[str], two_splits: Array) -> Iterator[Finding]:
    """What two splits have in common."""
    table, stand_in = gathered.table, gathered.stand_in
    kinds = {kind: shared[shared["kind"] == kind] for kind in ("exact", "near", "patient", "similar")}
    text = f"the same bytes are in two splits. {DROP}"
    yield from _on_pairs("invalid", "copies across splits", kinds["exact"], names, text, int(two_splits.sum()))
    text = f"nearly the same picture is in two splits. {DROP}"
    yield from _on_pairs("invalid", "near copies across splits", kinds["near"], names, text)
    if len(kinds["patient"]):
        count = table["patient"].iloc[kinds["patient"]["first"]].nunique()
        text = f"{count} {'patient has' if count == 1 else 'patients have'} images in two splits. {DROP}"
        if stand_in:
            text = f"ids in two splits: {count}. They are {stand_in}, a stand-in for patients. {DROP}"
        yield Finding("warning" if stand_in else "invalid", "patients across splits", count, text)
    held_out = table["split"].isin(("val", "test")).to_numpy()
    images = {row for column in ("first", "second") for row in kinds["similar"][column] if held_out[row]}
    share = len(images) / max(1, held_out.sum())
    unknown = stand_in or (table["patient"] == "").any()
    why = (
        "perhaps the same patient, or a neighbouring slice" if unknown else "of other patients, if their ids are right"
    )
    text = f"{share:.1%} of val and test look like an image of another split: {why}"
    severity = "warning" if unknown and share >= MANY else "note"
    yield from _on_pairs(severity, "look-alikes across splits", kinds["similar"], names, text)


def _repeats(table: pd.DataFrame, pairs: pd.DataFrame, names: list[str]) -> Iterator[Finding]:
    """Copies that stay within one split and class."""
    within = pairs[~_differ(table, pairs, "split") & ~_differ(table, pairs, "label")]
    text = "count more than once. Results stay valid; effectively there are fewer images"
    for which, kind in (("exact", "copies within a split"), ("near", "near copies within a split")):
        yield from _on_pairs("note", kind, within[within["kind"] == which], names, text)


def _pixel_faults(gathered: Gathered) -> dict[str, tuple[Array, str]]:
    """Unexpectedly coloured, tiny and blank images: which rows, and what it means."""
    table, card = gathered.table, gathered.card
    readable = (table["error"] == "").to_numpy()
    colour = readable & (table["mode"] == "colour").to_numpy()
    gray = 1 - colour.sum() / max(1, readable.sum())
    stated = card.image.mode if card and card.image else None
    expected = stated == "gray" or (stated is None and gray >= MOSTLY)
    why = "the card says gray" if stated else f"{gray:.1%} of the images are gray"
    tiny = readable & (table[["width", "height"]].min(axis=1) < TINY).to_numpy()
    return {
        "colour": (colour & expected, f"colour, though {why}: a mark drawn into it, or another source"),
        "tiny": (tiny, f"the short side is below {TINY} pixels"),
        "blank": (readable & table["blank"].to_numpy(bool), "all pixels have one value"),
    }


def _left_out(gathered: Gathered) -> Iterator[Finding]:
    for reason, text in explained(gathered.left_out).items():
        files = gathered.left_out["file"][gathered.left_out["reason"] == reason]
        yield Finding("warning", "left out", len(files), text, tuple(files.head(EXAMPLES)))
    if gathered.one_patient:
        text = "all files have one DICOM patient id, as anonymised exports do: patients count as unknown"
        yield Finding("warning", "one patient id", len(gathered.table), text)


def _balance(gathered: Gathered) -> Iterator[Finding]:
    usable = gathered.table[gathered.table["error"] == ""]
    train, test = (
        usable.loc[usable["split"] == split, "label"].value_counts().reindex(list(gathered.classes), fill_value=0)
        for split in ("train", "test")
    )
    ratio = train.max() / max(1, train.min())
    if ratio > UNEVEN:
        text = f"in train, {train.idxmax()} has {ratio:.0f} times the images of {train.idxmin()}"
        text += f" ({train.max()} and {train.min()}): read balanced accuracy, not accuracy"
        yield Finding("warning" if ratio > IMBALANCED else "note", "class imbalance", len(train), text)
    few = test[test < FEW]
    if len(few):
        counts = ", ".join(f"{name} {count}" for name, count in few.items())
        text = f"fewer than {FEW} test images, so a class's accuracy says little: {counts}"
        yield Finding("note", "few test images", len(few), text)


def _counts_on_card(gathered: Gathered) -> Iterator[Finding]:
    """Counts that differ from the card's. A warning: another version of the set can be sound, but results differ."""
    table, counts = gathered.table, (gathered.card and gathered.card.counts) or {}
    published = gathered.rule == "published" and "all" not in counts
    carved = {} if "val" in counts else {"val": "train"}  # our val comes out of the published train

    def place(split: str) -> str:
        return carved.get(split, split) if published else "all"

    expected: Counter[tuple[str, str]] = Counter()
    for split, classes in counts.items():
        expected.update({(place(split), label): count for label, count in classes.items()})
    present = Counter((place(split), label) for split, label in zip(table["split"], table["label"], strict=True))
    differences = [(*key, present[key], count) for key, count in expected.items() if present[key] != count]
    if differences:
        listed = "; ".join(f"{split} {label} {n}, not {count}" for split, label, n, count in differences[:EXAMPLES])
        text = f"another version of the set, or files are missing: {listed}"
        yield Finding("warning", "counts differ from the card", len(differences), text)


def _shortcuts(probes: pd.DataFrame) -> Iterator[Finding]:
    scores = "; ".join(f"{row.probe} {row.accuracy:.2f}" for row in probes.itertuples())
    text = f"accuracy of a linear model, chance {probes['chance'].iloc[0]:.2f}: {scores}"
    if len(visible(probes)):
        text = f"the source may be visible, and be learnt instead of the disease: {text}"
        yield Finding("warning", "source shortcut", int(probes["images"].iloc[0]), text)
    elif probes["accuracy"].notna().all():
        yield Finding("note", "source shortcut", int(probes["images"].iloc[0]), text)


def _split(gathered: Gathered, patients_shared: bool) -> Iterator[Finding]:
    """How the split came about, and whose patients are not known."""
    table, rule, stand_in = gathered.table, gathered.rule, gathered.stand_in
    text = RULES[rule]
    if rule == "patient" and stand_in:
        text = f"split here, kept together by {stand_in}, a stand-in for patients"
    elif rule == "patient" and not patients_shared:
        text += ": nobody is in two splits"
    counts = Counter(table["split"])
    text += f" ({' / '.join(str(counts[split]) for split in SPLITS)})"
    yield Finding("warning" if rule == "random" else "note", "split", len(table), text)
    unknown = len(table) if stand_in else int((table["patient"] == "").sum())
    if unknown:
        text = "one patient may be in two splits without anyone knowing"
        text += f"; what stands in for patients: {stand_in}" if stand_in else ""
        yield Finding("note", "patients unknown", unknown, text)
