"""The methods that are compared: how the students start, and how the main one is distilled; one name each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from dmws_lite.method.distillation import Distillation
from dmws_lite.method.initializers import initialize
from dmws_lite.method.networks import Teacher, build
from dmws_lite.method.students import Students, make_students
from dmws_lite.runtime.text import require


@dataclass(frozen=True)
class Method:
    """One row of a comparison.

    label, definition: what figures and tables call it, and one line for the report.
    initializer: of the main student (see INITIALIZERS), or "native" (its own pretrained weights).
    students:    further arguments of make_students; auxiliary=None means no second student.
    skd, training: changes to the study's Distillation and Training.
    evaluated:   the student that is tested: "main", or "auxiliary" as it is after the last step.
    """

    label: str
    definition: str
    initializer: str = "weight_selection"
    students: dict[str, Any] = field(default_factory=dict)
    skd: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    evaluated: str = "main"

    def distillation(self, base: Distillation = Distillation()) -> Distillation:
        """A study's settings of SKD with this method's changes."""
        return replace(base, **self.skd)


def _solo(label: str, text: str, strategy: str, initializer: str = "weight_selection", **students: Any) -> Method:
    """A method that learns from the strategy's soft targets, without a second student."""
    return Method(label, text, initializer, {"auxiliary": None, **students}, {"strategy": strategy})


def _plain(label: str, text: str, initializer: str = "weight_selection", **students: Any) -> Method:
    """A method that learns from the labels only, without a second student."""
    return _solo(label, f"{text}; labels only", "none", initializer, **students)


def _dual(
    label: str, text: str, auxiliary: str | None = None, initializer: str = "weight_selection", **skd: Any
) -> Method:
    """A method with an auxiliary, by default make_students' own choice: a complementary one."""
    return Method(label, text, initializer, {"auxiliary": auxiliary} if auxiliary else {}, skd)


METHODS: dict[str, Method] = {
    # initialisations, each trained on the labels only
    "default": _plain("random initialisation", "timm's own random weights", "default"),
    "xavier": _plain("Xavier", "Xavier uniform weights", "xavier"),
    "kaiming": _plain("Kaiming", "Kaiming normal weights", "kaiming"),
    "truncated_normal": _plain("truncated normal", "truncated normal weights, std 0.02", "truncated_normal"),
    "mimetic": _plain("mimetic", "mimetic attention weights (ViT)", "mimetic"),
    "weight_selection": _plain("single selection", "the main subset (uniform, first layers)"),
    "selection_ls": _plain("selection + least squares", "the main subset, each layer refitted", "selection_ls"),
    "projection": _plain("projection", "principal components of the teacher's stream (ViT)", "projection"),
    "projection_ls": _plain(
        "projection + least squares", "principal components, each layer refitted (ViT)", "projection_ls"
    ),
    "selection_consecutive": _plain("consecutive selection", "neighbours on each axis", elements="consecutive"),
    "selection_random": _plain("random selection", "random elements, the same on each named axis", elements="random"),
    "selection_random_inconsistent": _plain(
        "inconsistent selection", "random elements, others in each tensor", elements="random_inconsistent"
    ),
    "selection_magnitude": _plain("magnitude selection", "elements of the largest weights", elements="magnitude"),
    "selection_heads": _plain("whole-heads selection", "whole attention heads are kept (ViT)", elements="heads"),
    "layers_last": _plain("last layers", "uniform elements of the teacher's last layers", layers="last"),
    "layers_uniform": _plain("spread layers", "uniform elements of layers spread over the teacher", layers="uniform"),
    # selection and self-knowledge distillation
    "single_skd": _dual("single selection + SKD", "the auxiliary starts as the main; EMA, soft targets", "same"),
    "dual": _dual("dual selection, no SKD", "complementary auxiliary that follows as EMA; labels only", alpha=0.0),
    "ema_of_main": replace(
        _dual("EMA of the main student", "single selection, labels only; its EMA is tested", "same", alpha=0.0),
        evaluated="auxiliary",
    ),
    "dual_skd": _dual("dual selection + SKD", "the method: complementary auxiliary, EMA, soft targets"),
    "dual_swapped": Method("dual + SKD, roles swapped", "main and auxiliary exchanged", students={"swap": True}),
    "random_skd": _dual("random auxiliary + SKD", "the auxiliary starts from random weights", "random"),
    "dual_frozen": _dual("dual, frozen auxiliary", "the auxiliary is never updated", auxiliary_update="frozen"),
    "dual_trained": _dual(
        "dual, trained auxiliary", "the auxiliary learns from the labels", auxiliary_update="trained"
    ),
    "selection_dlb": _solo("single selection + DLB", "soft targets from the last mini-batch, half of it again", "dlb"),
    "selection_ps_kd": _solo("single selection + PS-KD", "soft targets from its last visit to the image", "ps_kd"),
    "selection_cs_kd": _solo("single selection + CS-KD", "soft targets from another image of the class", "cs_kd"),
    "selection_tf_kd": _solo("single selection + TF-KD", "soft targets from a virtual teacher", "tf_kd"),
    "alpha_0.1": _dual("dual + SKD, α 0.1", "the method with a final α of 0.1", alpha=0.1),
    "alpha_0.9": _dual("dual + SKD, α 0.9", "the method with a final α of 0.9", alpha=0.9),
    "half_life_0.01": _dual("dual + SKD, half-life 1 %", "an EMA that forgets in 1 % of the run", half_life=0.01),
    "half_life_0.25": _dual("dual + SKD, half-life 25 %", "an EMA that forgets in 25 % of the run", half_life=0.25),
    # random initialisation with an auxiliary: cells of the factorial
    "default_skd_same": _dual(
        "random + SKD, same start", "random weights; the auxiliary starts as the main", "same", "default"
    ),
    "default_skd_other": _dual(
        "random + SKD, other start", "random weights; the auxiliary has others", "random", "default"
    ),
    # the teacher's knowledge by other ways
    "kd": _solo("random + classic KD", "random weights; soft targets from the fine-tuned teacher", "kd", "default"),
    "selection_kd": _solo("single selection + classic KD", "soft targets from the fine-tuned teacher", "kd"),
    "native": _plain("native pretrained student", "the student's own pretrained weights", "native"),
    "full_teacher": _plain("full teacher", "the teacher itself, fine-tuned: an upper bound", "full_teacher"),
}


def find_method(name: str) -> Method:
    """The method called `name`. Raises ValueError for an unknown one, with the nearest and all there are."""
    require("method", name, METHODS)
    return METHODS[name]


def start(
    method: Method,
    teacher: Teacher,
    student: str,
    classes: int,
    size: int,
    seed: int,
    native: Teacher | None = None,
    images: Any = None,
) -> Students:
    """The students of a method, untrained; images: of the run, which some initialisers measure on."""
    if method.initializer in ("native", "full_teacher"):
        source = teacher if method.initializer == "full_teacher" else native
        if source is None:
            raise ValueError("method 'native' needs native=load_teacher(student, weights='file.safetensors')")
        return Students(initialize("full_teacher", build(source.name, classes, size), seed=seed, teacher_state=source))
    options = {"initializer": method.initializer, "seed": seed, "image_size": size, "images": images, **method.students}
    return make_students(teacher, student, classes, **options)
