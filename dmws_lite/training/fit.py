"""The training of a main student with its auxiliary: self-knowledge distillation from start to end."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.networks import input_statistics
from dmws_lite.method.plan import SelectionPlan
from dmws_lite.method.students import Students
from dmws_lite.runtime.device import pick_device, pick_precision
from dmws_lite.runtime.files import writable_folder
from dmws_lite.runtime.progress import tqdm
from dmws_lite.training.checkpoints import load_checkpoint
from dmws_lite.training.settings import Training
from dmws_lite.training.state import TrainingState

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Run:
    """What a run leaves: the main student of the best evaluation (by validation), the auxiliary, and the history.

    auxiliary: None where there was none, and for classic distillation, whose teacher stays as it was.
    The fields from `name` on say what was trained on what; `save` writes them into the student's card.
    """

    main: nn.Module
    auxiliary: nn.Module | None
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    seconds: float = 0.0
    images_per_second: float = 0.0
    name: str = ""
    teacher: str = ""
    initializer: str = ""
    plans: tuple[SelectionPlan, ...] = ()
    data: str = ""
    classes: tuple[str, ...] = ()
    image_size: int = 0
    fit: str = "crop"
    training_images: int = 0
    training: Training = Training()
    distillation: Distillation = Distillation()

    def save(self, folder: str | Path, evaluation: pd.DataFrame | None = None) -> Path:
        """Write the main student and its model card into a folder; `load_student` reads it again.

        evaluation: the table of `evaluate` on the test images, for the card.
        Returns the folder. Raises PermissionError or OSError when it can't be written.
        """
        from dmws_lite.training.export import save_run

        return save_run(folder, self, evaluation)


def fit(
    students: Students,
    splits: Splits,
    training: Training = Training(),
    distillation: Distillation = Distillation(),
    *,
    checkpoint: str | Path | None = None,
    device: str | None = None,
    progress: bool = True,
    on_evaluation: Callable[[dict[str, float]], bool | None] | None = None,
) -> Run:
    """Train the main student on the labels and on the auxiliary's soft targets; the auxiliary gets no gradient.

    students:      as `make_students` makes them; both are trained in place. The auxiliary may be None where the
                   strategy needs none. For strategy "kd" it is the teacher: any network with these classes and the
                   main's input statistics, fine-tuned before; it is put into evaluation mode and stays as it is.
    checkpoint:    a file; written at each evaluation, and a run that finds it goes on from it. On a CPU the resumed
                   run ends with the same weights, bit for bit.
    device:        "cpu", "cuda", "mps", or None for the best there is.
    on_evaluation: is given each new row of the history, after the checkpoint was written; True stops the run early:
                   it ends as a whole one does, and goes on from its checkpoint when fit is called again.
    Networks with BatchNorm, selected or not, have its statistics measured on the training images first.
    Returns a Run. Its history has one row for each evaluation, the first before training: step, loss, hard_loss, alpha,
    momentum, lr, val_accuracy, val_loss, auxiliary_accuracy (nan without one), both_right, images_per_second, seconds.
    Raises ValueError for settings that don't fit the data, FloatingPointError when the loss is no longer finite.
    Source: the method of Tsutsumi et al. 2026 (arXiv 2508.20461); optimiser and schedule are our choice.

    >>> run = fit(make_students(load_teacher(), "embedded_vit_48", 3), splits)  # doctest: +SKIP
    """
    _check(students, splits, training, distillation)
    accelerator = _accelerator(device)
    if training.batch_size % accelerator.num_processes:
        raise ValueError(f"batch_size={training.batch_size} cannot be shared by {accelerator.num_processes} processes")
    if accelerator.num_processes > 1 and distillation.strategy in ("dlb", "ps_kd"):
        raise ValueError(f"strategy={distillation.strategy!r} keeps its memory in one process: run it in one")
    if checkpoint is not None:
        writable_folder(Path(checkpoint).parent)
    state = TrainingState(students, splits, training, distillation, accelerator)
    record: dict[str, Any] = {"history": [], "best_step": 0, "seconds": 0.0}
    best: dict[str, Tensor] = {}
    if checkpoint is not None and Path(checkpoint).exists():
        record, best = state.resume(checkpoint)
    marks = np.unique(np.linspace(0, training.steps, training.evaluations + 1).round().astype(int))
    bar = tqdm(
        total=training.steps,
        initial=state.step,
        desc="training",
        unit="step",
        disable=not (progress and accelerator.is_main_process),
    )
    before = torch.get_rng_state()
    try:
        for mark in marks:
            if record["history"] and mark <= record["history"][-1]["step"]:
                continue
            row = state.advance(int(mark), bar) | state.measure(splits.val)
            record["seconds"] += row["seconds"]
            if not record["history"] or _better(row, record["history"][_row_of(record)]):
                record["best_step"] = row["step"]
                best = {name: tensor.detach().clone() for name, tensor in state.main.state_dict().items()}
            record["history"].append(row)
            bar.set_postfix(_told(row))
            if checkpoint is not None and accelerator.is_main_process:
                state.save(checkpoint, record, best)
            stop = bool(on_evaluation and accelerator.is_main_process and on_evaluation(row))
            if accelerator.reduce(torch.tensor(float(stop), device=accelerator.device)):
                break
    finally:
        bar.close()
        torch.set_rng_state(before)
        state.close()
    state.main.load_state_dict(best)
    return _ended(students, splits, training, distillation, record)


def load_run(
    checkpoint: str | Path,
    students: Students,
    splits: Splits,
    training: Training = Training(),
    distillation: Distillation = Distillation(),
) -> Run:
    """What `fit` would have returned if it had been stopped when it wrote this checkpoint.

    The other arguments are those of `fit`; both students get the checkpoint's weights.
    Raises ValueError for a file that is no checkpoint.
    """
    groups, record = load_checkpoint(checkpoint)
    students.main.load_state_dict(groups["best"])
    if students.auxiliary is not None and "auxiliary" in groups:
        students.auxiliary.load_state_dict(groups["auxiliary"])
    return _ended(students, splits, training, distillation, record)


def _ended(
    students: Students, splits: Splits, training: Training, distillation: Distillation, record: dict[str, Any]
) -> Run:
    seconds = record["seconds"]
    return Run(
        students.main,
        None if distillation.strategy == "kd" else students.auxiliary,
        record["history"],
        record["best_step"],
        seconds,
        record["history"][-1]["step"] * training.batch_size / seconds if seconds else 0.0,
        name=students.name,
        teacher=students.teacher,
        initializer=students.initializer,
        plans=students.plans,
        data=splits.name,
        classes=splits.classes,
        image_size=splits.train.images.shape[-1],
        fit=splits.fit,
        training_images=len(splits.train),
        training=training,
        distillation=distillation,
    )


def _accelerator(device: str | None) -> Accelerator:
    """Accelerate on the chosen device; one process may change it from run to run."""
    where = pick_device("cpu" if os.environ.get("ACCELERATE_USE_CPU") == "true" else device)
    if PartialState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=where.type == "cpu", mixed_precision=pick_precision(where)[0])


def _told(row: dict[str, float]) -> dict[str, str]:
    """What the progress bar says of an evaluation: no loss before the first step, nothing of an absent auxiliary."""
    columns = {"loss": "loss", "val": "val_accuracy", "aux": "auxiliary_accuracy"}
    found = {name: f"{row[column]:.3f}" for name, column in columns.items() if not np.isnan(row[column])}
    return found | {"images_per_second": f"{row['images_per_second']:.0f}"}


def _row_of(record: dict[str, Any]) -> int:
    return next(i for i, row in enumerate(record["history"]) if row["step"] == record["best_step"])


def _better(row: dict[str, float], best: dict[str, float]) -> bool:
    """By validation accuracy; equal accuracies are told apart by the validation loss."""
    return (row["val_accuracy"], -row["val_loss"]) > (best["val_accuracy"], -best["val_loss"])


def _check(students: Students, splits: Splits, training: Training, distillation: Distillation) -> None:
    main, auxiliary, kd = students.main, students.auxiliary, distillation.strategy == "kd"
    size, classes = len(splits.train), len(splits.classes)
    if training.batch_size > size:
        raise ValueError(
            f"batch_size={training.batch_size} is larger than the training set ({size} images): "
            f"pass batch_size <= {size}"
        )
    if distillation.strategy == "dlb" and training.batch_size % 2:
        raise ValueError(
            f"batch_size={training.batch_size} must be even for strategy='dlb', which repeats half of a batch"
        )
    if not len(splits.val):
        raise ValueError("the validation set is empty: the best weights are chosen on it")
    if (outputs := getattr(main, "num_classes", classes)) != classes:
        raise ValueError(f"the main student has {outputs} outputs, the data {classes} classes: build it with those")
    if auxiliary is None:
        if kd:
            raise ValueError(
                "strategy='kd' needs a fine-tuned teacher: pass Students(main, auxiliary=teacher), "
                "or Distillation(strategy='ema')"
            )
        if distillation.strategy == "ema" and distillation.alpha > 0:
            raise ValueError("strategy='ema' needs an auxiliary student: pass one, or Distillation(strategy='none')")
        return
    if kd and (outputs := getattr(auxiliary, "num_classes", classes)) != classes:
        raise ValueError(f"the teacher has {outputs} outputs, the data {classes} classes: fine-tune it on them first")
    if not kd and _shapes(main) != _shapes(auxiliary):
        raise ValueError(
            "main and auxiliary must be of one architecture: make both with make_students (a teacher as auxiliary "
            "needs Distillation(strategy='kd'))"
        )
    if (theirs := input_statistics(auxiliary)) != (mine := input_statistics(main)):
        raise ValueError(
            f"main and auxiliary see the same images, but expect them with mean and std {mine} and {theirs}: "
            "make both with make_students, or choose a teacher with the same"
        )


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
