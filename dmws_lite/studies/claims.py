"""What may be said of a table of runs: sentences made from its numbers, with what so few seeds could not have shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dmws_lite.studies.statistics import LEVEL, SMALLEST, differences, pooled, smallest_p, titles


def claims(table: pd.DataFrame, reference: str = "default", metric: str = "accuracy") -> list[str]:
    """Sentences on how methods compare with a reference: one per method in each group, then one per method over groups.

    Those over several groups are of pairs of runs of one data set and seed, averaged over fractions and network pairs
    (see `pooled`).

    A difference is "shown", "equivalent" or "not shown" as `differences` has it; if it is not shown, the sentence says
    how large it could still be, and whether so few seeds could have shown anything. Equal results are no sign of equal
    predictions, and the sentence says so.
    Raises ValueError as `differences` does. Source: our choice.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": list("aabb"), "label": list("AABB"), "seed": [0, 1, 0, 1]})
    >>> claims(runs.assign(accuracy=0.5), "a")
    ['B and A have the same accuracy with each of 2 seeds; their predictions may differ.']
    """
    rows, whole = differences(table, reference, metric), pooled(table, reference, metric)
    label, name = dict(zip(table["method"], table["label"], strict=True))[reference], metric.replace("_", " ")
    places = [f" on {title}" if title else "" for title in titles(rows)]
    together = [_together(rows[rows["method"].eq(method) & rows["seeds"].gt(0)]) for method in whole["method"]]
    whole = whole.rename(columns={"pairs": "seeds"})
    return [
        *sentences(rows.assign(reference=label), places, name, "seed"),
        *sentences(whole.assign(reference=label), together, name, "pair"),
    ]


def _together(rows: pd.DataFrame) -> str | None:
    """Over how many groups and data sets a method's rows are; None where there are not several groups."""
    groups, sets = len(rows), rows["data"].nunique() if "data" in rows else 1
    if groups < 2:
        return None
    some = f"{groups} groups of " if groups > sets else ""
    return f" over {some}{sets} data set{'' if sets == 1 else 's'} together"


def sentences(rows: pd.DataFrame, places: Sequence[str | None], metric: str, unit: str) -> list[str]:
    """One sentence per row; a row whose place is None counts as a comparison, but has no sentence.

    rows:   as `differences` gives them, with the reference's label in the column reference.
    metric: its name in words; unit: what is paired, such as "seed".
    """
    shared = metric, unit, int(rows["p"].notna().sum()), rows["seeds"].max()
    records = zip(places, rows.to_dict("records"), strict=True)
    return [f"{_sentence(row, place, *shared)}." for place, row in records if place is not None]


def _sentence(row: dict[str, Any], place: str, metric: str, unit: str, compared: int, most: int) -> str:
    seeds, label, reference = row["seeds"], row["label"], row["reference"]
    units = f"{seeds} {unit}{'' if seeds == 1 else 's'}"
    if seeds == 0:
        return f"{label} cannot be compared with {reference}{place}: they have no {unit} in common"
    if row["equal"] == seeds:
        each = f"each of {units}" if seeds > 1 else units
        return f"{label} and {reference} have the same {metric}{place} with {each}; their predictions may differ"
    side = "above" if row["difference"] > 0 else "below" if row["difference"] < 0 else "level with"
    text = f"{label} is {side} {reference}{place}: {metric} {row['difference']:+.3f}"
    if seeds == 1:
        return f"{text} with {units}: not shown; 1 seed gives no interval and no p below 1"
    equal = f", equal with {row['equal']}" if row["equal"] else ""
    interval = f"{row['low']:+.3f}, {row['high']:+.3f}"
    text += f" [{interval}], better with {row['better']} of {units}{equal}, "
    text += f"p = {row['p']:.3g} (Holm {row['p_holm']:.3g})"
    verdict = {
        "shown": "shown",
        "equivalent": f"equivalent, as the interval lies within ±{SMALLEST:g}",
        "not shown": f"not shown, and could be anything from {interval.replace(',', ' to')}",
    }
    limit = max(smallest_p(seeds), min(1.0, compared * smallest_p(most)))
    if row["verdict"] == "not shown" and limit >= LEVEL:
        corrected = f" after Holm's correction over {compared} comparisons" if compared > 1 else ""
        verdict["not shown"] += f"; with {units} no p is below {limit:.3g}{corrected}, so nothing could be shown"
    return f"{text}: {verdict[row['verdict']]}"
