"""Comparison of methods: every method with the same budget, data order, augmentation draws and classifier start."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmws_lite.data.opening import open_data
from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.initializers import initialize
from dmws_lite.method.networks import EMBEDDED_STUDENT, EMBEDDED_TEACHER, Teacher, build, load_teacher
from dmws_lite.method.students import Students, make_students
from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.progress import tqdm
from dmws_lite.training.evaluation import evaluate, predict
from dmws_lite.training.fit import Run, fit
from dmws_lite.training.settings import Training

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece")


@dataclass(frozen=True)
class Method:
    """One row of the comparison: how the students start, and how the main one is distilled.

    initializer: of the main student (see INITIALIZERS), or "native" (its own pretrained weights).
    students:    further arguments of make_students; auxiliary=None means no second student.
    skd:         changes to the comparison's Distillation.
    """

    label: str
    definition: str
    initializer: str = "weight_selection"
    students: dict[str, Any] = field(default_factory=dict)
    skd: dict[str, Any] = field(default_factory=dict)


def _without(label: str, definition: str, initializer: str, **students: Any) -> Method:
    return Method(label, definition, initializer, {"auxiliary": None, **students}, {"strategy": "none"})


METHODS: dict[str, Method] = {
    "default": _without("random initialisation", "timm's own random weights; labels only", "default"),
    "xavier": _without("Xavier", "Xavier uniform weights; labels only", "xavier"),
    "kaiming": _without("Kaiming", "Kaiming normal weights; labels only", "kaiming"),
    "truncated_normal": _without(
        "truncated normal", "truncated normal weights, std 0.02; labels only", "truncated_normal"
    ),
    "mimetic": _without("mimetic", "mimetic attention weights (ViT); labels only", "mimetic"),
    "weight_selection": _without("single selection", "the main subset of the teacher; labels only", "weight_selection"),
    "dual_skd": Method(
        "dual selection + SKD", "the method: complementary auxiliary, EMA, soft targets", "weight_selection"
    ),
    "dual_swapped": Method("dual + SKD, roles swapped", "main and auxiliary exchanged", students={"swap": True}),
    "same_skd": Method("same subset + SKD", "the auxiliary starts as the main does", students={"auxiliary": "same"}),
    "random_skd": Method(
        "random auxiliary + SKD", "the auxiliary starts from random weights", students={"auxiliary": "random"}
    ),
    "dual_frozen": Method(
        "dual, frozen auxiliary", "the auxiliary is never updated", skd={"auxiliary_update": "frozen"}
    ),
    "dual_trained": Method(
        "dual, trained auxiliary", "the auxiliary learns from the labels", skd={"auxiliary_update": "trained"}
    ),
    **{
        f"selection_{name}": Method(
            f"single selection + {name.upper().replace('_', '-')}",
            definition,
            students={"auxiliary": None},
            skd={"strategy": name},
        )
        for name, definition in {
            "dlb": "the main subset; soft targets from the last mini-batch, half of which comes again",
            "ps_kd": "the main subset; soft targets from its own last visit to the image",
            "cs_kd": "the main subset; soft targets from another image of the class, a second forward pass",
            "tf_kd": "the main subset; soft targets from a virtual teacher",
        }.items()
    },
    "native": _without("native pretrained student", "the student's own pretrained weights; labels only", "native"),
    "full_teacher": _without("full teacher", "the teacher itself, fine-tuned: an upper bound", "full_teacher"),
}


@dataclass
class Comparison:
    """table: one row a run; runs and probabilities (on the test images) by (method, seed)."""

    table: pd.DataFrame
    runs: dict[tuple[str, int], Run]
    probabilities: dict[tuple[str, int], np.ndarray]


def compare(
    splits: Splits,
    teacher: Teacher | None = None,
    student: str = EMBEDDED_STUDENT,
    methods: Sequence[str] = ("default", "weight_selection", "dual_skd"),
    seeds: Sequence[int] = (0, 1, 2),
    share: float = 1.0,
    training: Training = Training(),
    distillation: Distillation = Distillation(),
    native: Teacher | None = None,
    device: str | None = None,
    progress: bool = True,
) -> Comparison:
    """Train every method with every seed on the same images and measure each main student once on the test images.

    teacher: from load_teacher; None is the embedded one.
    methods: names in METHODS.
    seeds:   each sets the part of the training images, the classifier, data order and augmentation.
    share:   part of the training images, above 0 up to 1; validation and test are never cut.
    native:  the student's own pretrained weights (load_teacher(student, weights)), for the method "native".
    Returns a Comparison whose table has the columns method, label, seed, the METRICS, val_accuracy, best_step, seconds.
    Raises ValueError for an unknown method, and for "native" without weights.
    """
    import pandas as pd

    for name in methods:
        if name not in METHODS:
            raise ValueError(f"unknown method {name!r}: choose from {', '.join(METHODS)}")
    if "native" in methods and native is None:
        raise ValueError("method 'native' needs native=load_teacher(student, weights='file.safetensors')")
    teacher = teacher or load_teacher(EMBEDDED_TEACHER)
    rows, runs, probabilities = [], {}, {}
    bar = tqdm([(seed, name) for seed in seeds for name in methods], desc="runs", disable=not progress, unit="run")
    for seed, name in bar:
        bar.set_postfix_str(f"{METHODS[name].label}, seed {seed}")
        part = splits.part(share, seed)
        source = native if METHODS[name].initializer == "native" and native else teacher
        students = _start(METHODS[name], source, student, part, seed)
        run = fit(
            students.main,
            students.auxiliary,
            part,
            source.mean,
            source.std,
            replace(training, seed=seed),
            replace(distillation, **METHODS[name].skd),
            device=device,
            progress=False,
        )
        found = predict(run.main, splits.test, source.mean, source.std)
        values = evaluate(found, splits.test.labels, splits.test.classes, resamples=0).set_index("metric")["value"]
        best = next(row for row in run.history if row["step"] == run.best_step)
        rows.append(
            {"method": name, "label": METHODS[name].label, "seed": seed}
            | {metric: float(values[metric]) for metric in METRICS}
            | {"val_accuracy": best["val_accuracy"], "best_step": run.best_step, "seconds": run.seconds}
        )
        runs[name, seed], probabilities[name, seed] = run, found
    return Comparison(pd.DataFrame(rows), runs, probabilities)


def _start(method: Method, source: Teacher, student: str, part: Splits, seed: int) -> Students:
    classes, size = len(part.train.classes), part.train.images.shape[-1]
    if method.initializer in ("native", "full_teacher"):
        model = build(source.name, classes, size)
        return Students(initialize("full_teacher", model, seed=seed, teacher_state=source.state), None, ())
    options = {"initializer": method.initializer, "seed": seed, "image_size": size, **method.students}
    return make_students(source, student, classes, **options)


def summary(table: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Mean and standard deviation of a metric over seeds, a row a method in the table's order."""
    groups = table.groupby("label", sort=False)[metric]
    return groups.agg(mean="mean", std="std", seeds="count").reset_index()


def differences(table: pd.DataFrame, reference: str = "default", metric: str = "accuracy") -> pd.DataFrame:
    """Paired differences to a reference method, seed by seed: mean, smallest and largest, a row a method.

    reference: a name in the column method. Raises ValueError when the table does not hold it.
    """
    wide = table.pivot(index="seed", columns="method", values=metric)
    if reference not in wide:
        raise ValueError(f"reference={reference!r} is not in the table: choose one of {', '.join(wide)}")
    labels = table.drop_duplicates("method").set_index("method")["label"].drop(reference)
    gaps = wide[labels.index].sub(wide[reference], axis=0)
    return gaps.agg(["mean", "min", "max"]).T.set_index(labels).reset_index()


def main(arguments: Sequence[str] | None = None) -> None:
    import pandas as pd

    parser = argparse.ArgumentParser(prog="python -m dmws_lite.studies.compare", description=__doc__)
    parser.add_argument("data", nargs="+", help="data cards, folders of images, or whatever else open_data takes")
    parser.add_argument("--methods", nargs="+", default=["default", "weight_selection", "dual_skd"], choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.1, help="part of the training images")
    parser.add_argument("--size", type=int, default=64, help="pixels per side")
    parser.add_argument("--steps", type=int, default=Training.steps)
    parser.add_argument("--lr", type=float, default=Training.lr)
    parser.add_argument("--batch-size", type=int, default=Training.batch_size)
    parser.add_argument("--teacher", default=EMBEDDED_TEACHER)
    parser.add_argument("--weights", help="the teacher's .safetensors file")
    parser.add_argument("--student", default=EMBEDDED_STUDENT)
    parser.add_argument("--native-weights", help="the student's own pretrained .safetensors file")
    parser.add_argument("--out", default="outputs/compare.csv")
    args = parser.parse_args(arguments)
    out = writable_folder(Path(args.out).parent) / Path(args.out).name
    native = load_teacher(args.student, args.native_weights) if args.native_weights else None
    tables = []
    for data in args.data:
        found = compare(
            open_data(data, args.size),
            load_teacher(args.teacher, args.weights),
            args.student,
            args.methods,
            range(args.seeds),
            args.share,
            Training(steps=args.steps, lr=args.lr, batch_size=args.batch_size),
            native=native,
        )
        tables.append(found.table.assign(data=Path(data).name, share=args.share))
        text = pd.concat(tables).to_csv(index=False)
        write_atomically(out, lambda part, text=text: part.write_text(text))  # type: ignore[misc]
        print(f"\n{Path(data).name}, {args.share:.0%} of the training images, {args.seeds} seeds, test accuracy")
        print(summary(found.table).to_string(index=False, float_format="{:.3f}".format), flush=True)
        for reference in [name for name in ("default", "weight_selection") if name in args.methods]:
            print(f"minus {METHODS[reference].label}, seed by seed (mean, smallest, largest)")
            print(differences(found.table, reference).to_string(index=False, float_format="{:+.3f}".format), flush=True)
    print(f"\n{out}")


if __name__ == "__main__":
    main()
