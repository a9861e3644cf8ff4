"""What may be said of a table of runs: sentences made from its numbers, with what so few seeds could not have shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dmws_lite.studies.paired import EXACT, LEVEL
from dmws_lite.studies.statistics import differences, pooled, smallest_p, titles

if TYPE_CHECKING:
    import pandas as pd


def claims(table: pd.DataFrame, reference: str = "default", metric: str = "accuracy") -> list[str]:
    """Sentences on how methods compare with a reference: one a method in each group, then one a method over its groups.

    Those over several groups are of pairs of runs of one data set and seed, averaged over fractions and network pairs
    (see `pooled`).

    A difference is "shown" only if Holm's corrected p is below 0.05 and the 95 % interval excludes 0. Otherwise the
    sentence says what this number of seeds could have shown. Equal results are no sign of equal predictions, and the
    sentence says so.
    Raises ValueError as `differences` does. Source: our choice.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": list("aabb"), "label": list("AABB"), "seed": [0, 1, 0, 1]})
    >>> claims(runs.assign(accuracy=0.5), "a")
    ['B and A have the same accuracy with each of 2 seeds; their predictions may differ.']
    """
    found = differences(table, reference, metric)
    label, name = dict(zip(table["method"], table["label"], strict=True))[reference], metric.replace("_", " ")
    sentences = _sentences(found, [f" on {title}" if title else "" for title in titles(found)], label, name, "seed")
    whole = pooled(table, reference, metric).rename(columns={"pairs": "seeds"})
    places = [_together(found[found["method"].eq(method) & found["seeds"].gt(0)]) for method in whole["method"]]
    return sentences + _sentences(whole, places, label, name, "pair")


def _together(rows: pd.DataFrame) -> str | None:
    """Over how many groups and data sets a method's rows are; None where there are not several groups."""
    groups, sets = len(rows), rows["data"].nunique() if "data" in rows else 1
    if groups < 2:
        return None
    some = f"{groups} groups of " if groups > sets else ""
    return f" over {some}{sets} data set{'' if sets == 1 else 's'} together"


def _sentences(rows: pd.DataFrame, places: Sequence[str | None], reference: str, metric: str, unit: str) -> list[str]:
    """A sentence a row; one whose place is None counts as a comparison, but is not said."""
    most, compared = rows["seeds"].max(), int(rows["p"].notna().sum())
    sentences = []
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        if place is None:
            continue
        seeds, label = row["seeds"], row["label"]
        units = f"{seeds} {unit}{'' if seeds == 1 else 's'}"
        if seeds == 0:
            text = f"{label} cannot be compared with {reference}{place}: they have no {unit} in common"
        elif row["equal"] == seeds:
            same = f"each of {units}" if seeds > 1 else units
            text = f"{label} and {reference} have the same {metric}{place} with {same}; their predictions may differ"
        else:
            limit = max(smallest_p(seeds), min(1.0, compared * smallest_p(most)))
            text = f"{label} is {_side(row)} {reference}{place}: {metric} {_numbers(row, units)}: "
            text += _grade(row, units, limit, compared)
        sentences.append(f"{text}.")
    return sentences


def _side(row: dict[str, Any]) -> str:
    return "above" if row["difference"] > 0 else "below" if row["difference"] < 0 else "level with"


def _numbers(row: dict[str, Any], units: str) -> str:
    if row["seeds"] == 1:
        return f"{row['difference']:+.3f} with {units}"
    equal = f", equal with {row['equal']}" if row["equal"] else ""
    interval = f"{row['difference']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]"
    return f"{interval}, better with {row['better']} of {units}{equal}, p = {row['p']:.3g} (Holm {row['p_holm']:.3g})"


def _grade(row: dict[str, Any], units: str, limit: float, compared: int) -> str:
    """The verdict and, where nothing is shown, why; `limit` is the smallest p that the correction could have left."""
    if row["p_holm"] < LEVEL and (row["low"] > 0 or row["high"] < 0):
        return "shown"
    if row["seeds"] == 1:
        return "not shown; 1 seed gives no interval and no p below 1"
    least = f"{smallest_p(row['seeds']):.3g}"
    holm = f" ({limit:.3g} after Holm's correction over {compared} comparisons)" if compared > 1 else ""
    if row["seeds"] > EXACT:
        reason = "not shown; any true difference in the interval agrees with these runs"
    elif limit < LEVEL:
        reason = f"not shown; with {units} p could have been as small as {least}{holm}"
    else:
        reason = f"not shown; with {units} no p is below {least}{holm}, so none could be"
    if row.get("detectable", 0) > 0:
        reason += f"; a t test finds a true difference only from about {row['detectable']:.2g} on (4 times in 5)"
    return reason
