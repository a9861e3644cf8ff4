"""The methods that are compared: how the students start, and how the main one is distilled; one name each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from dmws_lite.method.initializers import initialize
from dmws_lite.method.networks import Teacher, build
from dmws_lite.method.students import Students, make_students
from dmws_lite.runtime.text import did_you_mean

CHANGEABLE = ("auxiliary", "swap", "elements", "layers")  # of make_students, by a variant


@dataclass(frozen=True)
class Method:
    """One row of a comparison.

    label, definition: what figures and tables call it, and one line for the report.
    initializer: of the main student (see INITIALIZERS), or "native" (its own pretrained weights).
    students:    further arguments of make_students; auxiliary=None means no second student.
    skd:         changes to the study's Distillation.
    """

    label: str
    definition: str
    initializer: str = "weight_selection"
    students: dict[str, Any] = field(default_factory=dict)
    skd: dict[str, Any] = field(default_factory=dict)


def _labels_only(label: str, definition: str, initializer: str = "weight_selection", **students: Any) -> Method:
    return Method(label, definition, initializer, {"auxiliary": None, **students}, {"strategy": "none"})


def _self_taught(label: str, definition: str, strategy: str) -> Method:
    return Method(label, definition, students={"auxiliary": None}, skd={"strategy": strategy})


METHODS: dict[str, Method] = {
    # initialisations, each trained on the labels only
    "default": _labels_only("random initialisation", "timm's own random weights; labels only", "default"),
    "xavier": _labels_only("Xavier", "Xavier uniform weights; labels only", "xavier"),
    "kaiming": _labels_only("Kaiming", "Kaiming normal weights; labels only", "kaiming"),
    "truncated_normal": _labels_only(
        "truncated normal", "truncated normal weights, std 0.02; labels only", "truncated_normal"
    ),
    "mimetic": _labels_only("mimetic", "mimetic attention weights (ViT); labels only", "mimetic"),
    "weight_selection": _labels_only("single selection", "the main subset (uniform, first layers); labels only"),
    "selection_consecutive": _labels_only(
        "consecutive selection", "neighbouring elements on each axis; labels only", elements="consecutive"
    ),
    "selection_random": _labels_only(
        "random selection", "random elements, the same on each named axis; labels only", elements="random"
    ),
    "selection_random_inconsistent": _labels_only(
        "inconsistent selection", "random elements, others in each tensor; labels only", elements="random_inconsistent"
    ),
    "selection_magnitude": _labels_only(
        "magnitude selection", "the elements of the largest weights; labels only", elements="magnitude"
    ),
    "selection_heads": _labels_only(
        "whole-heads selection", "whole attention heads are kept (ViT); labels only", elements="heads"
    ),
    "layers_last": _labels_only(
        "last layers", "uniform elements of the teacher's last layers; labels only", layers="last"
    ),
    "layers_uniform": _labels_only(
        "spread layers", "uniform elements of layers spread over the teacher; labels only", layers="uniform"
    ),
    # selection and self-knowledge distillation
    "single_skd": Method(
        "single selection + SKD",
        "the auxiliary starts from the main's own subset; EMA, soft targets",
        students={"auxiliary": "same"},
    ),
    "dual": Method(
        "dual selection, no SKD", "complementary auxiliary that follows as EMA; labels only", skd={"alpha": 0.0}
    ),
    "dual_skd": Method("dual selection + SKD", "the method: complementary auxiliary, EMA, soft targets"),
    "dual_swapped": Method("dual + SKD, roles swapped", "main and auxiliary exchanged", students={"swap": True}),
    "random_skd": Method(
        "random auxiliary + SKD", "the auxiliary starts from random weights", students={"auxiliary": "random"}
    ),
    "dual_frozen": Method(
        "dual, frozen auxiliary", "the auxiliary is never updated", skd={"auxiliary_update": "frozen"}
    ),
    "dual_trained": Method(
        "dual, trained auxiliary", "the auxiliary learns from the labels", skd={"auxiliary_update": "trained"}
    ),
    "selection_dlb": _self_taught(
        "single selection + DLB", "soft targets from the last mini-batch, half of which comes again", "dlb"
    ),
    "selection_ps_kd": _self_taught(
        "single selection + PS-KD", "soft targets from the main's own last visit to the image", "ps_kd"
    ),
    "selection_cs_kd": _self_taught(
        "single selection + CS-KD", "soft targets from another image of the class, a second forward pass", "cs_kd"
    ),
    "selection_tf_kd": _self_taught("single selection + TF-KD", "soft targets from a virtual teacher", "tf_kd"),
    "alpha_0.1": Method("dual + SKD, α 0.1", "the method with a final α of 0.1", skd={"alpha": 0.1}),
    "alpha_0.9": Method("dual + SKD, α 0.9", "the method with a final α of 0.9", skd={"alpha": 0.9}),
    "half_life_0.01": Method(
        "dual + SKD, half-life 1 %", "the method with an EMA that forgets in 1 % of the run", skd={"half_life": 0.01}
    ),
    "half_life_0.25": Method(
        "dual + SKD, half-life 25 %", "the method with an EMA that forgets in 25 % of the run", skd={"half_life": 0.25}
    ),
    # random initialisation with an auxiliary: cells of the factorial
    "default_skd_same": Method(
        "random + SKD, same start",
        "random weights; the auxiliary starts from the same ones",
        "default",
        {"auxiliary": "same"},
    ),
    "default_skd_other": Method(
        "random + SKD, other start",
        "random weights; the auxiliary starts from other random weights",
        "default",
        {"auxiliary": "random"},
    ),
    # the teacher's knowledge by other ways
    "kd": Method(
        "random + classic KD",
        "random weights; soft targets from the fine-tuned teacher",
        "default",
        {"auxiliary": None},
        {"strategy": "kd"},
    ),
    "selection_kd": Method(
        "single selection + classic KD",
        "the main subset; soft targets from the fine-tuned teacher",
        students={"auxiliary": None},
        skd={"strategy": "kd"},
    ),
    "native": _labels_only("native pretrained student", "the student's own pretrained weights; labels only", "native"),
    "full_teacher": _labels_only(
        "full teacher", "the teacher itself, fine-tuned on the labels: an upper bound", "full_teacher"
    ),
}


def find_method(name: str) -> Method:
    """The method called `name`. Raises ValueError for an unknown one, with the nearest and all there are."""
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}{did_you_mean(name, METHODS)}: choose from {', '.join(METHODS)}")
    return METHODS[name]


def variant(name: str, of: str, label: str | None, students: dict[str, Any], skd: dict[str, Any]) -> Method:
    """A method like `of` but for some arguments of make_students or settings of Distillation.

    Raises ValueError for an unknown method, and for an argument that a variant may not change.

    >>> variant("slow", "dual_skd", None, {}, {"half_life": 0.5}).definition
    'dual_skd with half_life=0.5'
    """
    base = find_method(of)
    if odd := [key for key in students if key not in CHANGEABLE]:
        raise ValueError(
            f"variant {name!r}: students has {odd[0]!r}{did_you_mean(odd[0], CHANGEABLE)}, not one of "
            f"{', '.join(CHANGEABLE)}"
        )
    changes = ", ".join(f"{key}={value}" for key, value in {**students, **skd}.items())
    return replace(
        base,
        label=label or name,
        definition=f"{of} with {changes}" if changes else base.definition,
        students={**base.students, **students},
        skd={**base.skd, **skd},
    )


def start(method: Method, source: Teacher, student: str, classes: int, size: int, seed: int) -> Students:
    """The students of a method, untrained."""
    if method.initializer in ("native", "full_teacher"):
        model = initialize("full_teacher", build(source.name, classes, size), seed=seed, teacher_state=source)
        return Students(model, name=source.name, teacher=source.name, initializer=method.initializer)
    options = {"initializer": method.initializer, "seed": seed, "image_size": size, **method.students}
    return make_students(source, student, classes, **options)
