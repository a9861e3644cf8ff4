"""What may be said of a table of runs: sentences made from its numbers, with what so few seeds could not have shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dmws_lite.studies.statistics import LEVEL, SMALLEST, differences, pooled, smallest_p, titles


def claims(table: pd.DataFrame, reference: str = "default", metric: str = "accuracy") -> list[str]:
    """Sentences on how methods compare with a reference: one per method in each group, then one per method over groups.

    Those over several groups are of pairs of runs of one data set and seed (see `pooled`). If a difference is "not
    shown" (see `differences`), the sentence says how large it could still be, and whether so few seeds could have shown
    anything. Raises ValueError as `differences` does.

    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": list("aabb"), "label": list("AABB"), "seed": [0, 1, 0, 1]})
    >>> claims(runs.assign(accuracy=0.5), "a")
    ['B and A have the same accuracy with each of 2 seeds; their predictions may differ.']
    """
    rows, whole = differences(table, reference, metric), pooled(table, reference, metric)
    label, name = dict(zip(table["method"], table["label"], strict=True))[reference], metric.replace("_", " ")
    places, together = [f" on {title}" if title else "" for title in titles(rows)], list[str | None]()
    for method in whole["method"]:
        own = rows[rows["method"].eq(method) & rows["seeds"].gt(0)]
        sets = own["data"].nunique() if "data" in own else 1
        some = f"{len(own)} groups of " if len(own) > sets else ""
        together.append(f" over {some}{_count(sets, 'data set')} together" if len(own) > 1 else None)
    return [
        *sentences(rows.assign(reference=label), places, name, "seed"),
        *sentences(whole.rename(columns={"pairs": "seeds"}).assign(reference=label), together, name, "pair"),
    ]


def sentences(rows: pd.DataFrame, places: Sequence[str | None], metric: str, unit: str) -> list[str]:
    """One sentence per row of `differences`, which has the reference's label in a column reference.

    A row whose place is None counts as a comparison, but has no sentence. unit: what is paired, such as "seed".
    """
    shared = metric, unit, int(rows["p"].notna().sum()), rows["seeds"].max()
    records = zip(places, rows.to_dict("records"), strict=True)
    return [f"{_sentence(row, place, *shared)}." for place, row in records if place is not None]


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _sentence(row: dict[str, Any], place: str, metric: str, unit: str, compared: int, most: int) -> str:
    seeds, label, reference, units = row["seeds"], row["label"], row["reference"], _count(row["seeds"], unit)
    if seeds == 0:
        return f"{label} cannot be compared with {reference}{place}: they have no {unit} in common"
    if row["equal"] == seeds:
        each = f"each of {units}" if seeds > 1 else units
        return f"{label} and {reference} have the same {metric}{place} with {each}; their predictions may differ"
    side = "above" if row["difference"] > 0 else "below" if row["difference"] < 0 else "level with"
    text = f"{label} is {side} {reference}{place}: {metric} {row['difference']:+.3f}"
    if seeds == 1:
        return f"{text} with {units}: not shown; 1 seed gives no interval and no p below 1"
    low, high, equal = f"{row['low']:+.3f}", f"{row['high']:+.3f}", f", equal with {row['equal']}" * (row["equal"] > 0)
    text += f" [{low}, {high}], better with {row['better']} of {units}{equal}, "
    text += f"p = {row['p']:.3g} (Holm {row['p_holm']:.3g}): {row['verdict']}"
    if row["verdict"] == "equivalent":
        text += f", as the interval lies within ±{SMALLEST:g}"
    if row["verdict"] == "not shown":
        text += f", and could be anything from {low} to {high}"
        limit = max(smallest_p(seeds), min(1.0, compared * smallest_p(most)))
        if limit >= LEVEL:
            holm = f" after Holm's correction over {compared} comparisons" if compared > 1 else ""
            text += f"; with {units} no p is below {limit:.3g}{holm}, so nothing could be shown"
    return text
