"""The main and the auxiliary student, made from one teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from dmws_lite.method.initializers import MEASURED, draw_classifier, initialize
from dmws_lite.method.layers import Layers
from dmws_lite.method.measuring import CALIBRATION, Measured, calibration_images
from dmws_lite.method.networks import Teacher, build, name_of, require_whole_patches
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.selection import complementary_plans
from dmws_lite.runtime.seeds import generator
from dmws_lite.runtime.text import require

_AUXILIARY = 3  # a random stream apart from those of the initialisers
SELECTED = ("weight_selection", "selection_ls")  # from a plan, which may be complementary
AUXILIARIES = ("complementary", "same", "random", None)


@dataclass(frozen=True)
class Students:
    """Two students of one architecture, and how they were made.

    auxiliary:   None where there is none; for classic distillation ("kd") the fine-tuned teacher.
    plans:       the plans they were made by, main first; none for random weights.
    name:        the main student's, as `build` takes it; by default the one that it was built by.
    teacher:     the teacher's name, "" where there was none.
    initializer: how the main student was filled (see INITIALIZERS), "" where it is not known.
    """

    main: nn.Module
    auxiliary: nn.Module | None = None
    plans: tuple[SelectionPlan, ...] = ()
    name: str = ""
    teacher: str = ""
    initializer: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", name_of(self.main))

    @property
    def measured(self) -> tuple[Measured, ...]:
        """What was measured for each student that a method of MEASURED filled, main first."""
        records = (getattr(model, "measured", None) for model in (self.main, self.auxiliary))
        return tuple(record for record in records if record is not None)


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
    seed: int = 0,
    image_size: int | None = None,
    images: Any = None,
    calibration: int = CALIBRATION,
) -> Students:
    """The main student and its auxiliary; both start with the same classifier, drawn from `seed`.

    auxiliary:   where its weights come from: "complementary" (another subset of the teacher), "same" (the main's own
                 start), "random" (fresh weights; where the main's are random, another draw), or None for no auxiliary.
    swap:        exchange the roles of main and auxiliary.
    initializer: of the main student (see INITIALIZERS); a "complementary" auxiliary needs "weight_selection" or
                 "selection_ls". elements, layers: see `plan`.
    seed:        of the classifier, of random weights and of the random element strategies.
    images:      training images, without labels, for the initialisers that measure: "selection_ls", "projection",
                 "projection_ls" (see `initialize`); at most `calibration` of them are used, evenly spread.
    Raises ValueError for an unknown kind of auxiliary and for all that `complementary_plans` and `initialize` refuse.
    Source: the dual-model idea is that of Tsutsumi et al. 2026 (arXiv 2508.20461).

    >>> options = {"initializer": "selection_ls", "images": splits.train}  # doctest: +SKIP
    >>> students = make_students(load_teacher(), "embedded_vit_48", num_classes=3, **options)  # doctest: +SKIP
    """
    require("auxiliary", auxiliary, AUXILIARIES)
    if isinstance(teacher, str):
        raise ValueError(f"teacher={teacher!r} is a name without weights: pass load_teacher({teacher!r})")
    if not isinstance(teacher, Teacher):
        raise TypeError(f"teacher={type(teacher).__name__}: pass what load_teacher returns")
    if auxiliary == "complementary" and initializer not in SELECTED:
        text = f"auxiliary='complementary' needs initializer={' or '.join(map(repr, SELECTED))}, not {initializer!r}"
        raise ValueError(f"{text}: pass auxiliary=None, 'same' or 'random'")
    network = build(student, num_classes, image_size)
    require_whole_patches(network, image_size)
    plans: tuple[SelectionPlan, ...] = ()
    needs_plan = initializer in (*SELECTED, *MEASURED)
    if needs_plan:
        n = 2 if auxiliary == "complementary" else 1
        plans = complementary_plans(teacher, network, n, elements, layers, seed=seed)
    if images is not None and initializer in MEASURED:
        images = calibration_images(images, teacher, calibration)

    def make(initializer: str, seed: int, number: int = 0) -> nn.Module:
        model, plan = build(student, num_classes, image_size), plans[number] if plans else None
        return initialize(initializer, model, seed=seed, plan=plan, teacher_state=teacher, images=images)

    first, second = make(initializer, seed), None
    if auxiliary == "random":
        other_seed = seed if needs_plan else generator(seed, _AUXILIARY).initial_seed()
        second = draw_classifier(make("default", other_seed), seed)
    elif auxiliary is not None:
        second = make(initializer, seed, -1)
    if swap and second is not None:
        first, second, plans = second, first, plans[::-1]
    plans = plans if initializer in SELECTED else ()  # a projected student holds no subset
    return Students(first, second, plans, student, teacher.name, initializer)
