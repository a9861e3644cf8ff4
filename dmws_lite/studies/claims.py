"""Sentences that a table of runs supports, made from its numbers, and what so few seeds could not have shown."""

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
    by_group, overall = differences(table, reference, metric), pooled(table, reference, metric)
    label, name = dict(zip(table["method"], table["label"], strict=True))[reference], metric.replace("_", " ")
    groups = [f" on {title}" if title else "" for title in titles(by_group)]
    all_groups: list[str | None] = []
    for method in overall["method"]:
        rows = by_group[by_group["method"].eq(method) & by_group["seeds"].gt(0)]
        sets = rows["data"].nunique() if "data" in rows else 1
        count = f"{len(rows)} groups of " if len(rows) > sets else ""
        all_groups.append(f" over {count}{_count(sets, 'data set')} together" if len(rows) > 1 else None)
    overall = overall.rename(columns={"pairs": "seeds"})
    return [
        *sentences(by_group.assign(reference=label), groups, name, "seed"),
        *sentences(overall.assign(reference=label), all_groups, name, "pair"),
    ]


def sentences(rows: pd.DataFrame, places: Sequence[str | None], metric: str, unit: str) -> list[str]:
    """One sentence per row of `differences`, which has the reference's label in a column reference.

    A row whose place is None counts as a comparison, but has no sentence. unit: what is paired, such as "seed".
    """
    shared = metric, unit, int(rows["p"].notna().sum()), rows["seeds"].max()
    records = zip(places, rows.to_dict("records"), strict=True)
    return [f"{_compare(row, place, *shared)}." for place, row in records if place is not None]


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"


def _compare(row: dict[str, Any], place: str, metric: str, unit: str, comparisons: int, most_seeds: int) -> str:
    seeds, label, reference, units = row["seeds"], row["label"], row["reference"], _count(row["seeds"], unit)
    if seeds == 0:
        return f"{label} cannot be compared with {reference}{place}: they have no {unit} in common"
    if row["equal"] == seeds:
        each = f"each of {units}" if seeds > 1 else units
        return f"{label} and {reference} have the same {metric}{place} with {each}; their predictions may differ"
    relation = "level with"
    if row["difference"]:
        relation = "above" if row["difference"] > 0 else "below"
    text = f"{label} is {relation} {reference}{place}: {metric} {row['difference']:+.3f}"
    if seeds == 1:
        return f"{text} with {units}: not shown; 1 seed gives no interval and no p below 1"
    low, high = f"{row['low']:+.3f}", f"{row['high']:+.3f}"
    text += f" [{low}, {high}], better with {row['better']} of {units}"
    text += f", equal with {row['equal']}" if row["equal"] else ""
    text += f", p = {row['p']:.3g} (Holm {row['p_holm']:.3g}): {row['verdict']}"
    if row["verdict"] == "equivalent":
        text += f", as the interval lies within ±{SMALLEST:g}"
    if row["verdict"] == "not shown":
        text += f", and could be anything from {low} to {high}"
        limit = max(smallest_p(seeds), min(1.0, comparisons * smallest_p(most_seeds)))
        if limit >= LEVEL:
            holm = f" after Holm's correction over {comparisons} comparisons" if comparisons > 1 else ""
            text += f"; with {units} no p is below {limit:.3g}{holm}, so nothing could be shown"
    return text
