"""What is in a data set, and what is wrong with it: one table of findings, each with a severity."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dmws_lite.data import findings
from dmws_lite.data.probes import shortcuts

if TYPE_CHECKING:
    import pandas as pd

    from dmws_lite.data.gathering import Gathered

Array = np.ndarray
SEVERITIES = ("invalid", "warning", "note")
TOLD = ("split at random", "patients are not known")  # warnings that findings on the split tell too


@dataclass(frozen=True, repr=False, eq=False)
class Report:
    """What `check` found.

    findings: table with the columns severity ("invalid", "warning", "note"; in this order), kind, count (images,
              patients or classes), detail (what it means and the way out), files (at most five; "a = b" for pairs, with
              the reason in brackets for what cannot be read).
    probes:   see `probes.shortcuts`.
    shared:   pairs of images that two splits share, see `splits.leaks`.
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
    Returns a Report. What is "invalid" makes results wrong; a "warning" is to be looked at, and is also what was left
    out or said while the images were found; a "note" is to be known.
    Raises what `gather` raises when there is no data set to look at.

    >>> check("phantom_lung_ct", size=32, progress=False).valid
    True
    """
    from dmws_lite.data.gathering import gather

    said: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", UserWarning)
            gathered = gather(source, size, seed, fit, frames, progress)
    except Exception:
        for warning in said:
            warnings.warn(warning.message, warning.category, stacklevel=2)
        raise
    texts = [str(warning.message) for warning in said if issubclass(warning.category, UserWarning)]
    return inspect(gathered, [text for text in texts if not text.startswith(TOLD)])


def inspect(gathered: Gathered, said: Iterable[str] = ()) -> Report:
    """The report on a data set that is already gathered, and on the warnings that were `said` then: see `check`."""
    import pandas as pd

    from dmws_lite.data.splits import leaks

    table = gathered.table
    readable = (table["error"] == "").to_numpy()
    shared = leaks(table, gathered.pairs)
    faults = findings.pixel_faults(gathered)
    probes = shortcuts(table[readable], gathered.thumbnails[readable])
    found = sorted(
        findings.everything(gathered, shared, faults, probes, said),
        key=lambda finding: SEVERITIES.index(finding.severity),
    )
    rows = pd.DataFrame([vars(finding) for finding in found])
    return Report(gathered.name, rows, probes, shared, _flags(gathered, shared, faults), gathered)


def _flags(gathered: Gathered, shared: pd.DataFrame, faults: list[tuple[str, Array, str]]) -> tuple[str, ...]:
    """A word for each image that something is wrong with, the worst of several."""
    table = gathered.table
    first, second, kind = findings.columns(gathered.pairs)
    torn = (table["label"].to_numpy()[first] != table["label"].to_numpy()[second]) & (kind == "near")
    apart = findings.columns(shared[shared["kind"].isin(gathered.serious)])
    words = np.full(len(table), "", object)
    for word, rows, _ in faults:
        words[rows] = word
    words[np.concatenate(apart[:2])] = "in two splits"
    words[findings.at_odds(table, "split")] = "in two splits"
    words[np.concatenate([first[torn], second[torn]])] = "two labels"
    words[findings.at_odds(table, "label")] = "two labels"
    words[(table["error"] != "").to_numpy()] = "unreadable"
    return tuple(words)
