"""A methods section for a comparison on one's own images, from what was really done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmws_lite.data.checking import RULES
from dmws_lite.method.distillation import Distillation, half_life_of
from dmws_lite.method.networks import Teacher, build
from dmws_lite.studies.claims import claims
from dmws_lite.studies.compare import Comparison
from dmws_lite.studies.methods import METHODS
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    from dmws_lite.data.checking import Report
    from dmws_lite.data.sets import ImageSet, Splits

TEXT = """**Images.** {name}: {images} images ({counts}). {left_out} {rule}: {train} training, {val} validation and
{test} test images{patients}. Each image was {fit} {size} × {size} pixels (Pillow, bicubic). {share:.0%} of
the training images were used, stratified, drawn anew with each seed.

**Networks.** Teacher: {teacher} ({teacher_size:,} weights, from {source}). Student: {student} ({student_size:,}
weights).

**Methods.** {methods}. Where the method does not say otherwise, self-knowledge distillation had a final α = {alpha:g},
a temperature of {temperature:g}, and {average}.

**Training.** AdamW, {steps} steps of {batch} images, peak learning rate {lr:g}, weight decay {decay:g}, label smoothing
{smoothing:g}; the same images, order, augmentation and classifier start for all methods. The weights of the best of
{evaluations} evaluations on validation were kept; test images were read once a run.
Hyper-parameters: [to be filled in: which were changed after looking at results, on which images, out of which values].

**Statistics.** {seeds} seeds a method. Differences are paired by seed, with 95 % t intervals and exact two-sided
sign-flip permutation tests, Holm's correction over the comparisons with one reference. Intervals over seeds do not
cover the choice of test images.

**Results.** {results}"""


OTHER_UPDATES = {
    "frozen": "an auxiliary that stayed as it was selected",
    "trained": "an auxiliary that was trained on the labels by itself",
}
FITS = {"crop": "cropped to its middle square and resized to", "letterbox": "resized and padded with black to"}


def methods_text(
    report: Report,
    splits: Splits,
    found: Comparison,
    teacher: Teacher,
    student: str,
    training: Training,
    share: float,
    reference: str = "weight_selection",
    distillation: Distillation = Distillation(),
) -> str:
    """A methods section in Markdown, with the sentences of `claims` as its results.

    report:    of `check`, on the images that `splits` were opened from.
    found:     of `compare`, with these splits, teacher, student, training, share and distillation.
    reference: the method that the others are compared with.
    What nobody but the author knows stays out (ethics approval, devices, years, who labelled and how) or is a blank in
    square brackets (what was tuned).
    Raises ValueError as `claims` does.
    """
    sets = (splits.train, splits.val, splits.test)
    used = sum(map(len, sets))
    missing = len(report.gathered.table) - used
    known = all(one.patients for one in sets)
    shape = splits.train.images.shape[-1]
    labels = [METHODS[name].label + f" ({METHODS[name].definition})" for name in found.table["method"].unique()]
    model = build(student, len(splits.classes), shape)
    return TEXT.format(
        name=splits.name,
        images=used,
        counts=", ".join(f"{name} {count}" for name, count in zip(splits.classes, _counts(sets), strict=True)),
        left_out=f"Unusable and left out: {missing}." if missing else "None was left out.",
        rule=RULES[report.gathered.rule].capitalize(),
        **dict(zip(("train", "val", "test"), map(len, sets), strict=True)),
        patients=f", of {' / '.join(str(len(set(one.patients or ()))) for one in sets)} patients" if known else "",
        fit=FITS[splits.fit],
        size=shape,
        share=share,
        teacher=teacher.name,
        teacher_size=sum(tensor.numel() for tensor in teacher.state.values()),
        source=teacher.source,
        student=student,
        student_size=sum(weight.numel() for weight in model.parameters()),
        methods="; ".join(labels),
        alpha=distillation.alpha,
        temperature=distillation.temperature,
        average=_average(distillation, training.steps),
        steps=training.steps,
        batch=training.batch_size,
        lr=training.lr,
        decay=training.weight_decay,
        smoothing=training.label_smoothing,
        evaluations=training.evaluations + 1,
        seeds=found.table["seed"].nunique(),
        results=" ".join(claims(found.table, reference)),
    )


def _average(distillation: Distillation, steps: int) -> str:
    """How the auxiliary followed in words, from the momentum that a run of `steps` steps really has."""
    if distillation.auxiliary_update in OTHER_UPDATES:
        return OTHER_UPDATES[distillation.auxiliary_update]
    first = distillation.momentum_at(0, steps)
    life = half_life_of(first)
    found = f"an exponential moving average with momentum {first:.4g}, a half-life of {life:.3g} of {steps} steps"
    if distillation.momentum_schedule == "cosine":
        return f"{found} at the start; the momentum rose to 1 at the end (cosine)"
    return found


def _counts(sets: tuple[ImageSet, ...]) -> list[int]:
    return [sum(counts) for counts in zip(*(one.counts for one in sets), strict=True)]
