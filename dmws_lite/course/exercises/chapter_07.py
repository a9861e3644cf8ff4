"""Checks of chapter 07, a study."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from statsmodels.stats.multitest import multipletests

from dmws_lite.course.answers import Wrong, array, called, compared, number, smallest
from dmws_lite.studies.paired import LEVEL, detectable
from dmws_lite.studies.statistics import FACTORIAL, factorial, smallest_p

if TYPE_CHECKING:
    import pandas as pd

GAP, RIVALS = 0.01, 6


def exercise_1(for_point: Any, for_holm: Any, *, spread: float, comparisons: int) -> str:
    """Seeds that find a difference of one point, and seeds with which Holm's correction lets any p be small enough."""

    def too_few(what: str) -> Callable[[int], str]:
        return lambda n: f"with {n} seeds {what} is still too large"

    corrected, detected = too_few("the smallest p after correction"), too_few("the difference that could be detected")
    smallest(for_holm, lambda n: comparisons * smallest_p(n) < LEVEL, corrected, 2, "for_holm")
    found = smallest(for_point, lambda n: spread * detectable(n) <= GAP, detected, 2, "for_point")
    return f"The first grows with the square of spread / difference: for a gain half as large, about {4 * found}."


def exercise_2(holm: Any) -> str:
    """Holm's correction of p values, as a function of a list of them."""
    for p in ([0.02, 0.04, 0.01], [0.02, 0.04, 0.01, 0.2], [0.03, 0.011, 0.02, 0.5, 0.012], [0.6, 0.7]):
        found = array(called(holm, list(p)), (len(p),), name=f"the corrected p of {p}")
        right = multipletests(p, LEVEL, "holm")[1]
        if np.allclose(found, right, atol=1e-9):
            continue
        case, mistakes = f"of {p}", _holm_mistakes(np.array(p))
        text = next((text for text, value in mistakes.items() if np.allclose(found, value, atol=1e-9)), None)
        raise Wrong(f"{case}: {text or f'{int((~np.isclose(found, right)).sum())} of {len(p)} are wrong'}")
    return "A hopeless comparison more costs the good ones. Decide before the run which comparisons matter."


def exercise_3(share: Any) -> str:
    """How often at least one of six methods, all as good as the reference, beats it with each of three seeds."""
    one = 0.5**3
    mistakes = {
        one: "this is for one certain method",
        1
        - (1 - one)
        ** RIVALS: "this is for six independent comparisons; here all six share one reference, and its luck",
        RIVALS * one: "either chances were added that can come true together, or 'worse with all seeds' counts, too",
        2 * one: "this is for one certain method, better or worse with all seeds",
    }
    number(share, low=0, high=1)
    found = compared(share, _lucky(), mistakes, relative=0, absolute=0.02)
    return f"In {found:.0%} of such studies somebody wins with every seed. Best of many is not the same as better."


def exercise_4(interaction: Any, *, table: pd.DataFrame) -> str:
    """How much more SKD from the same start adds when weights are selected: a mean over seeds."""
    needed = {name for row in FACTORIAL.values() for name in row}
    if lacking := needed - set(table["method"]):
        raise Wrong(f"this study lacks {', '.join(sorted(lacking))}: run the chapter with the default study")
    means = table.groupby("method")["accuracy"].mean()
    drawn, selected = (means[row[1]] - means[row[0]] for row in FACTORIAL.values())
    wanted = factorial(table).set_index("contrast").loc["SKD x selection"]
    mistakes = {
        selected: "this is what SKD adds where weights are selected; what does it add where they are random?",
        drawn: "this is what SKD adds where weights are random; what does it add where they are selected?",
        (selected + drawn) / 2: "this is what SKD adds on average, the main effect",
        means["dual_skd"] - means["weight_selection"] - drawn: "the auxiliary is to start from the same weights",
    }
    compared(interaction, wanted["difference"], mistakes, relative=0, absolute=5e-4)
    return (
        f"{wanted['difference']:+.3f}, in an interval from {wanted['low']:+.3f} to {wanted['high']:+.3f}. A difference "
        "of differences adds up the noise of four cells."
    )


@cache
def _lucky(studies: int = 200_000) -> float:
    runs = np.random.default_rng(0).normal(size=(studies, 3, RIVALS + 1))
    better = np.all(runs[..., :RIVALS] > runs[..., RIVALS:], axis=1)
    return float(np.any(better, axis=1).mean())


def _holm_mistakes(p: np.ndarray) -> dict[str, np.ndarray]:
    """What known mistakes give, by what to say of them."""
    n, order = len(p), np.argsort(p)
    place = np.argsort(order)
    falling = (n - place) * p
    return {
        "this is Bonferroni's correction, n for all; Holm takes less for the larger ones": np.clip(n * p, 0, 1),
        "a corrected p is never below the one before it in order of size": np.clip(falling, 0, 1),
        "the smallest p gets the largest factor": np.clip((place + 1) * p, 0, 1),
        "a p is never above 1": np.maximum.accumulate(falling[order])[place],
        "give them back in the order in which they came": np.sort(multipletests(p, LEVEL, "holm")[1]),
        "these are the p values as they were": p,
        "the factors go by the size of p, not by its place in the list": np.clip(np.arange(n, 0, -1) * p, 0, 1),
    }
