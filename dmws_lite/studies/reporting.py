"""A methods section for a comparison on one's own images, from what was really done."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dmws_lite.data.findings import RULES
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import Teacher, build
from dmws_lite.studies.claims import claims
from dmws_lite.studies.compare import Comparison
from dmws_lite.studies.methods import METHODS
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    from dmws_lite.data.checking import Report
    from dmws_lite.data.sets import ImageSet, Splits

TEXT = """**Images.** {name}: {images} images ({counts}). {left_out} {rule}: {train} training, {val} validation and
{test} test images{patients}. Each image was cropped to its middle square and resized to {size} × {size} pixels (Pillow,
bicubic). {share:.0%} of the training images were used, stratified, drawn anew with each seed.

**Networks.** Teacher: {teacher} ({teacher_size:,} weights, from {source}). Student: {student} ({student_size:,}
weights).

**Methods.** {methods}. Self-knowledge distillation: final α = {alpha:g}, temperature {temperature:g}, an exponential
moving average with a half-life of {half_life:.0%} of the run.

**Training.** AdamW, {steps} steps of {batch} images, peak learning rate {lr:g}, weight decay {decay:g}, label smoothing
{smoothing:g}; the same images, order, augmentation and classifier start for all methods. The weights of the best of
{evaluations} evaluations on validation were kept; test images were read once a run. No hyper-parameter was tuned.

**Statistics.** {seeds} seeds a method. Differences are paired by seed, with 95 % t intervals and exact two-sided
sign-flip permutation tests, Holm's correction over the comparisons with one reference. Intervals over seeds do not
cover the choice of test images.

**Results.** {results}"""


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

    report:    of `check`, on the images that `splits` were opened from, with `open_data`'s default fit.
    found:     of `compare`, with these splits, teacher, student, training, share and distillation.
    reference: the method that the others are compared with.
    What nobody but the author knows stays out: ethics approval, devices, years, who labelled and how.
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
        half_life=distillation.half_life,
        steps=training.steps,
        batch=training.batch_size,
        lr=training.lr,
        decay=training.weight_decay,
        smoothing=training.label_smoothing,
        evaluations=training.evaluations + 1,
        seeds=found.table["seed"].nunique(),
        results=" ".join(claims(found.table, reference)),
    )


def _counts(sets: tuple[ImageSet, ...]) -> list[int]:
    return [sum(counts) for counts in zip(*(one.counts for one in sets), strict=True)]
