"""Element selection: which indices along one axis of the teacher a student receives.

The third of the three steps (Tsutsumi et al. 2026, arXiv 2508.20461). The rule for one subset is that of weight
selection (Xu et al. 2024, arXiv 2311.18823); the rule for further, complementary subsets is our choice.
"""

from __future__ import annotations

import numpy as np

STRATEGIES = ("uniform", "consecutive", "random", "random_inconsistent", "magnitude", "heads")


def spread(size: int, pick: int) -> np.ndarray:
    """Positions of `pick` evenly spaced elements out of `size`: every k-th if k = size / pick is whole, else rounded.

    Source: the rule of Xu et al. 2024's released code.

    >>> spread(6, 3), spread(5, 3)
    (array([0, 2, 4]), array([0, 2, 4]))
    """
    if not 1 <= pick <= size:
        raise ValueError(f"cannot pick {pick} of {size}: a student's axis holds 1 to {size} of the teacher's elements")
    if size % pick == 0:
        return np.arange(pick) * (size // pick)
    return np.round(np.linspace(0, size - 1, pick)).astype(np.int64)


def subsets(
    size: int, pick: int, n: int = 1, strategy: str = "uniform", seed: int = 0, scores: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """The index sets of `n` students along one axis, each taken from the elements that were used least so far.

    size, pick: lengths of the teacher's and a student's axis, 1 <= pick <= size.
    strategy:   "uniform" (evenly spaced), "consecutive" (a block), "random" (seeded), "magnitude" (largest of the
                `scores`, one for each element).
    Returns n arrays int64 (pick,), strictly increasing. Students share no index while size >= n * pick; otherwise as
    few as possible (2 * pick - size for two students).
    Source: Xu et al. 2024 for the first set; taking the next from the least-used elements is our choice.

    >>> subsets(8, 4, n=2)
    (array([0, 2, 4, 6]), array([1, 3, 5, 7]))
    >>> subsets(5, 3, n=2, strategy="consecutive")
    (array([0, 1, 2]), array([0, 3, 4]))
    """
    spread(size, pick)  # refuses what cannot be picked
    scores = np.empty(0) if scores is None else scores
    if strategy == "magnitude" and len(scores) != size:
        raise ValueError(f"elements='magnitude' needs one score for each of the {size} elements: pass the weights")
    rng = np.random.default_rng(seed)
    choose = {
        "uniform": lambda pool, count: pool[spread(len(pool), count)],
        "consecutive": lambda pool, count: pool[:count],
        "random": lambda pool, count: rng.choice(pool, count, replace=False),
        "magnitude": lambda pool, count: pool[np.argsort(-scores[pool], kind="stable")[:count]],
    }
    if strategy not in choose:
        raise ValueError(f"unknown elements={strategy!r}: choose one of {', '.join(STRATEGIES)}")
    uses, sets = np.zeros(size, dtype=np.int64), []  # uses: how many students have each element so far
    for _ in range(n):
        chosen = np.empty(0, dtype=np.int64)
        while len(chosen) < pick:
            others = np.setdiff1d(np.arange(size), chosen)
            pool = others[uses[others] == uses[others].min()]
            chosen = np.append(chosen, choose[strategy](pool, min(pick - len(chosen), len(pool))))
        sets.append(np.sort(chosen))
        uses[chosen] += 1
    return tuple(sets)


def phase_subset(size: int, pick: int, phase: int, strategy: str = "uniform", **options) -> np.ndarray:
    """The index set number `phase` along one axis; phase 0 is the published rule, all phases are disjoint.

    Raises ValueError where the axis has no room for that phase; where size == pick every phase takes all elements.

    >>> phase_subset(6, 2, phase=1)
    array([1, 4])
    """
    phases = size // max(pick, 1)
    if phase < 0 or (pick < size and phase >= phases):
        text = f"phase={phase} is out of range on an axis of {size} elements of which {pick} are picked"
        allowed = f"it has {phases} disjoint subset(s), so 0 <= phase < {phases}"
        raise ValueError(f"{text}: {allowed}; complementary_plans() also handles axes that must share")
    return subsets(size, pick, 1 if pick == size else phase + 1, strategy, **options)[-1]


def whole_heads(head_dim: int, heads: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Indices that keep teacher heads of `head_dim` channels, of each of them the same `channels`.

    Our choice: the published rule gives student head j half of teacher heads 2j and 2j + 1.

    >>> whole_heads(2, np.array([1, 3]), np.array([0, 1]))
    array([2, 3, 6, 7])
    """
    return (heads[:, None] * head_dim + channels).reshape(-1)
