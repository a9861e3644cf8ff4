"""The main and the auxiliary student, made from one teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from dmws_lite.method import alignment
from dmws_lite.method.initializers import initialize
from dmws_lite.method.layers import Layers
from dmws_lite.method.networks import Teacher, build, describe
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.selection import complementary_plans
from dmws_lite.runtime.seeds import generator

_OTHER = 3  # a random stream apart from those of the initialisers
AUXILIARIES = ("complementary", "same", "random", None)


@dataclass(frozen=True)
class Students:
    """Two students of one architecture, and the plans they were made by (main first; none for random weights)."""

    main: nn.Module
    auxiliary: nn.Module | None
    plans: tuple[SelectionPlan, ...]


def make_students(
    teacher: Teacher,
    student: str,
    num_classes: int,
    auxiliary: str | None = "complementary",
    swap: bool = False,
    *,
    elements: str = "uniform",
    layers: Layers = "first",
    initializer: str = "weight_selection",
    align: bool = False,
    seed: int = 0,
    image_size: int | None = None,
) -> Students:
    """The main student and its auxiliary; both start with the same classifier, drawn from `seed`.

    auxiliary:   where its weights come from: "complementary" (another subset of the teacher), "same" (the main's own
                 start), "random" (fresh weights; where the main's are random, another draw), or None for no auxiliary.
    swap:        exchange the roles of main and auxiliary.
    initializer: of the main student (see INITIALIZERS); a "complementary" auxiliary needs "weight_selection".
    align:       put the auxiliary's channels into the order that brings them nearest to the main's; the classifier,
                 which both share, stays (see alignment.align). Our choice.
    seed:        of the classifier, of random weights and of the random element strategies.
    Raises ValueError for an unknown kind of auxiliary and for all that `complementary_plans` and `initialize` refuse.
    Source: the dual-model idea is that of Tsutsumi et al. 2026 (arXiv 2508.20461).

    >>> students = make_students(load_teacher(), "embedded_vit_48", num_classes=3)  # doctest: +SKIP
    """
    if auxiliary not in AUXILIARIES:
        raise ValueError(f"unknown auxiliary={auxiliary!r}: choose one of {', '.join(map(repr, AUXILIARIES))}")
    selected = initializer == "weight_selection"
    if auxiliary == "complementary" and not selected:
        raise ValueError(f"auxiliary='complementary' needs initializer='weight_selection', not {initializer!r}")
    if align and auxiliary is None:
        raise ValueError(
            "align=True orders an auxiliary's channels, and auxiliary=None has none: leave one of them out"
        )
    plans: tuple[SelectionPlan, ...] = ()
    if selected:
        fresh = build(student, num_classes, image_size)
        n = 2 if auxiliary == "complementary" else 1
        plans = complementary_plans(teacher, fresh, n, elements, layers, seed=seed)

    def make(kind: str, plan: SelectionPlan | None) -> nn.Module:
        model = build(student, num_classes, image_size)
        return initialize(kind, model, seed=seed, plan=plan, teacher_state=teacher.state)

    main = make(initializer, plans[0] if plans else None)
    if auxiliary is None:
        return Students(main, None, plans)
    if auxiliary == "random":
        other = build(student, num_classes, image_size)
        initialize("default", other, seed=seed if selected else generator(seed, _OTHER).initial_seed())
        _classifier(other).load_state_dict(_classifier(main).state_dict())
    else:
        other = make(initializer, plans[-1] if plans else None)
    if swap:
        main, other, plans = other, main, plans[::-1]
    if align:
        axes = alignment.axes_of(main, classifier=False)
        state, order = alignment.align(main.state_dict(), other.state_dict(), axes, describe(main).heads)
        other.load_state_dict(state)
        if len(plans) == 2:
            plans = (plans[0], alignment.permuted_plan(plans[1], order))
    return Students(main, other, plans)


def _classifier(model: Any) -> nn.ModuleList:
    """The classifier's layers; a distilled DeiT has two."""
    head = model.get_classifier()
    return nn.ModuleList(head if isinstance(head, tuple) else [head])
