"""The training loop: a main student learns from the labels and from its auxiliary, the auxiliary follows it.

Read `fit` first, then `Trainer.train_step`. All that is random is drawn from the seed and the number of the step, so a
run that goes on from a checkpoint ends as if it had never stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from dmws_lite.data.augmentation import augment, normalise, to_device
from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import STRATEGIES, Distillation, Step, move_average, tensors_of
from dmws_lite.method.measuring import recalibrate_batchnorm
from dmws_lite.method.networks import input_statistics
from dmws_lite.method.students import Students
from dmws_lite.runtime.device import few_threads, layout_for, pick_device, pick_precision
from dmws_lite.runtime.files import writable_folder, write_atomically
from dmws_lite.runtime.progress import tqdm
from dmws_lite.runtime.seeds import generator
from dmws_lite.training.evaluation import predict
from dmws_lite.training.export import Run, make_run
from dmws_lite.training.settings import Training

SHOWN = {"loss": "loss", "val": "val_accuracy", "aux": "auxiliary_accuracy"}  # by the progress bar


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
                   strategy needs none; for "kd" it is the fine-tuned teacher, which stays as it is.
    checkpoint:    a file that each evaluation writes; a run that finds it goes on from it, on a CPU bit for bit.
    device:        "cpu", "cuda", "mps", or None for the best there is.
    on_evaluation: is given each new row of the history after the checkpoint was written; True stops the run, which ends
                   as a whole one does, and goes on from its checkpoint when fit is called again.
    Networks with BatchNorm have its statistics measured on the training images first.
    Returns a Run. Its history has one row for each evaluation, the first before training: step, loss, hard_loss, alpha,
    momentum, lr, val_accuracy, val_loss, auxiliary_accuracy (nan without one), both_right, images_per_second, seconds.
    Raises ValueError for settings that don't fit the data, FloatingPointError when the loss is no longer finite.
    Source: the method of Tsutsumi et al. 2026 (arXiv 2508.20461); optimiser and schedule are our choice.

    >>> run = fit(make_students(load_teacher(), "embedded_vit_48", 3), splits)  # doctest: +SKIP
    """
    _check_arguments(students, splits, training, distillation)
    with (
        few_threads(students.main, splits.train.images),
        torch.random.fork_rng(devices=[]),
        closing(Trainer(students, splits, training, distillation, device)) as trainer,
    ):
        is_first = trainer.accelerator.is_main_process  # of several
        if checkpoint is not None:
            writable_folder(Path(checkpoint).parent)
            if Path(checkpoint).exists():
                trainer.resume(checkpoint)
        hidden = not (progress and is_first)
        evaluations = np.unique(np.linspace(0, training.steps, training.evaluations + 1).round().astype(int))
        last_evaluation = trainer.step if trainer.best else -1
        with tqdm(desc="training", unit="step", total=training.steps, initial=trainer.step, disable=hidden) as bar:
            for step in evaluations[evaluations > last_evaluation].tolist():
                row = trainer.train_until(step, bar)
                bar.set_postfix({name: f"{row[key]:.3f}" for name, key in SHOWN.items() if not np.isnan(row[key])})
                if checkpoint is not None and is_first:
                    trainer.save(checkpoint)
                stop = float(bool(is_first and on_evaluation and on_evaluation(row)))
                if trainer.accelerator.reduce(torch.tensor(stop, device=trainer.device)):  # in every process
                    break
    students.main.load_state_dict(trainer.best)
    return make_run(students, splits, training, distillation, trainer.record)


def load_run(
    checkpoint: str | Path, students: Students, splits: Splits, training: Training, distillation: Distillation
) -> Run:
    """What `fit` would have returned if it had been stopped when it wrote this checkpoint; other arguments as there.

    Raises ValueError naming the settings that it was not made with.
    """
    state = load_checkpoint(checkpoint)
    _require_settings(checkpoint, state, asdict(training) | asdict(distillation) | _describe_start(students))
    students.main.load_state_dict(state["best"])
    if students.auxiliary is not None and state["auxiliary"] is not None:
        students.auxiliary.load_state_dict(state["auxiliary"])
    return make_run(students, splits, training, distillation, state["record"])


class Learner(NamedTuple):
    """A network that is trained, as accelerate prepared it, with what trains it."""

    network: nn.Module
    weights: list[nn.Parameter]
    optimizer: Any
    schedule: CosineLRScheduler


class Trainer:
    """A run under way. `step` is the number of steps done, `record` the history, `best` the best weights so far."""

    def __init__(self, students: Students, splits: Splits, training: Training, distillation: Distillation, device=None):
        self.training, self.distillation, self.splits = training, distillation, splits
        self.accelerator = _make_accelerator(device, training, distillation)
        self.device = self.accelerator.device
        self.main, self.start = students.main, _describe_start(students)
        self.mean, self.std = input_statistics(students.main)
        self.auxiliary: nn.Module | None = students.auxiliary
        self.teacher: nn.Module | None = None
        if distillation.strategy == "kd" and students.auxiliary is not None:
            self.auxiliary, self.teacher = None, students.auxiliary.eval().to(self.device)
        self.layout = layout_for(self.main, self.device)
        self.images, self.labels = to_device(splits.train, self.device)  # uint8 (N, C, H, W), int64 (N,)
        for student in filter(None, (self.main, self.auxiliary)):
            student.to(device=self.device)
            student.to(memory_format=self.layout)
            batches = self.images.chunk(-(-len(self.images) // 256))  # of about the same size
            recalibrate_batchnorm(student, (normalise(batch, self.mean, self.std) for batch in batches))
        self.learners = [self._make_learner(self.main.train())]
        if self.auxiliary is not None:
            trained = distillation.auxiliary_update == "trained"
            self.auxiliary.eval().requires_grad_(trained)
            self.learners += [self._make_learner(self.auxiliary)] if trained else []
            self.averaged = tensors_of(self.auxiliary), tensors_of(self.main)  # by the EMA
        self.stateful = {"main": self.main, "auxiliary": self.auxiliary, "scaler": self.accelerator.scaler}
        self.memory: dict[str, Tensor] = {}  # what a strategy keeps from step to step
        if distillation.strategy == "ps_kd":
            shape = len(splits.train), len(splits.classes)
            self.memory["probabilities"] = torch.full(shape, float("nan"), device=self.device)
        self.record: dict[str, Any] = {"history": [], "best_step": 0, "seconds": 0.0, "skipped_steps": 0}
        self.step, self.best = 0, dict[str, Tensor]()
        one_core = self.device.type == "cpu" and torch.get_num_threads() == 1
        self.second_core = ThreadPoolExecutor(1) if one_core else None
        self.next_batch: dict[int, Callable[[], tuple[np.ndarray, Tensor, Tensor]]] = {}  # by its step

    def _make_learner(self, network: nn.Module) -> Learner:
        t = self.training
        # a fused AdamW rounds differently on a CPU; with a scaler it hides which steps were skipped
        fused = self.device.type == "cuda" and not self.accelerator.scaler
        options: Any = {"fused": True} if fused else {"foreach": self.device.type == "cpu" or None}
        optimizer = create_optimizer_v2(network, "adamw", t.lr, t.weight_decay, **options)
        warmup: Any = {"warmup_t": int(t.warmup * t.steps), "warmup_prefix": False}
        schedule = CosineLRScheduler(optimizer, t.steps, t_in_epochs=False, **warmup)
        network, optimizer = self.accelerator.prepare(network, optimizer)
        return Learner(network, list(network.parameters()), optimizer, schedule)

    def train_step(self) -> Tensor:
        """One step of both students. Returns its loss and its cross-entropy with the labels, (2,)."""
        t, d, main = self.training, self.distillation, self.learners[0]
        rows, indices, images = self.next_batch.pop(self.step, partial(self._batch, self.step))()
        labels, alpha = self.labels[indices], d.alpha_at(self.step, t.steps)  # int64 (batch,)
        targets: Callable[[], Tensor] = partial(self._soft_targets, images)
        if alpha > 0 and d.strategy in ("ema", "kd"):
            targets = self._beside(targets)
        if self.step + 1 < t.steps:
            self.next_batch[self.step + 1] = self._beside(partial(self._batch, self.step + 1))
        for learner in self.learners:
            learner.schedule.step_update(self.step)
        logits = self._forward(main.network, images)  # (batch, classes)
        partner = partial(self._partner_logits, rows)
        step = Step(logits, labels, indices, alpha, d.temperature, t.label_smoothing, targets, partner, self.memory)
        loss = STRATEGIES[d.strategy](step)
        updated = self._descend(main, loss)
        if updated and self.auxiliary is not None and d.auxiliary_update == "ema":
            move_average(*self.averaged, d.momentum_at(self.step, t.steps, len(self.images) / t.batch_size))
        for learner in self.learners[1:]:  # an auxiliary that is trained on the labels, by itself
            logits = self._forward(learner.network.train(), images).float()
            self._descend(learner, F.cross_entropy(logits, labels, label_smoothing=t.label_smoothing))
            learner.network.eval()
        self.record["skipped_steps"] += not updated
        self.step += 1
        with torch.no_grad():
            return torch.stack([loss.detach(), step.hard_loss()])

    def _beside(self, work: Callable[[], Any]) -> Callable[[], Any]:
        """What gives the result of `work` when called; a second core begins at once where training keeps to one."""
        return self.second_core.submit(work).result if self.second_core else work

    def _batch(self, step: int) -> tuple[np.ndarray, Tensor, Tensor]:
        """Batch number `step`: positions in the training set (batch,), as array and as tensor, and the images."""
        overlap = 2 if self.distillation.strategy == "dlb" else 1
        rows = batch_indices(step, len(self.images), self.training.batch_size, self.training.seed, overlap)
        rows = rows[self.accelerator.process_index :: self.accelerator.num_processes]  # those of this process
        indices = torch.from_numpy(rows).to(self.device, non_blocking=True)  # a GPU is not waited for
        return rows, indices, self.augmented(indices, step)

    def augmented(self, indices: Tensor, step: int, stream: int = 0) -> Tensor:
        """The images at `indices`, float (batch, 3, H, W), augmented and normalised; `stream`: another draw."""
        rng = generator(self.training.seed, step, self.accelerator.process_index, stream)
        images = normalise(augment(self.images[indices], rng, self.splits.flips), self.mean, self.std)
        return images.contiguous(memory_format=self.layout)

    def _forward(self, network: Any, images: Tensor) -> Tensor:
        with self.accelerator.autocast():
            return network(images)

    @torch.no_grad()
    def _logits(self, network: Any, images: Tensor) -> Tensor:
        return self._forward(network, images)

    def _soft_targets(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of the one that teaches."""
        if self.auxiliary is not None and self.distillation.auxiliary_norm == "batch":
            recalibrate_batchnorm(self.auxiliary, [images])
        return self._logits(self.teacher or self.auxiliary, images)

    def _descend(self, learner: Learner, loss: Tensor) -> bool:
        """Take a step down the loss. Returns False where the gradient scaler skipped it, as gradients overflowed."""
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(learner.weights, self.training.clip)
        learner.optimizer.step()
        learner.optimizer.zero_grad()
        return not learner.optimizer.step_was_skipped

    def _partner_logits(self, rows: np.ndarray) -> Tensor:
        """The main student's logits on other images of the same classes; on the same one where a class has no other."""
        rng = np.random.default_rng([self.training.seed, self.step, self.accelerator.process_index])
        labels = self.splits.train.labels
        mates = [np.flatnonzero((labels == labels[row]) & (np.arange(len(labels)) != row)) for row in rows]
        partners = [rng.choice(others) if len(others) else row for others, row in zip(mates, rows, strict=True)]
        indices = torch.from_numpy(np.array(partners)).to(self.device, non_blocking=True)
        return self._logits(self.main, self.augmented(indices, self.step, stream=1))

    def train_until(self, until: int, bar: tqdm) -> dict[str, float]:
        """Train up to step `until` and evaluate. Returns the history's new row, with means over these steps."""
        t, d, began, first_step = self.training, self.distillation, time.perf_counter(), self.step
        torch.manual_seed(t.seed * 1_000_003 + first_step)
        self.main.train()
        sums = torch.zeros(2, device=self.device)
        while self.step < until:
            sums += self.train_step()
            bar.update()
            if self.step % 20 == 0 or self.step == until:
                self._check_finite(self.accelerator.reduce(sums, "mean"))
        steps, seconds = self.step - first_step, time.perf_counter() - began
        means = self.accelerator.reduce(sums, "mean") / steps if steps else sums * float("nan")
        row = {
            "step": self.step,
            "loss": means[0].item(),
            "hard_loss": means[1].item(),
            "alpha": d.alpha_at(self.step, t.steps),
            "momentum": d.momentum_at(self.step, t.steps, len(self.images) / t.batch_size),
            "lr": self.learners[0].optimizer.param_groups[0]["lr"],
            "images_per_second": steps * t.batch_size / seconds,
            "seconds": seconds,
            **self._evaluate(),
        }
        quality = (row["val_accuracy"], -row["val_loss"])  # the best weights: highest accuracy, then lowest loss
        if quality > tuple(self.record.get("best_quality", (-1, 0))):
            self.record |= {"best_step": self.step, "best_quality": quality}
            self.best = {name: tensor.detach().clone() for name, tensor in self.main.state_dict().items()}
        self.record["history"].append(row)
        self.record["seconds"] += seconds
        return row

    def _evaluate(self) -> dict[str, float]:
        """Both students on the validation images."""
        val, students = self.splits.val, list(filter(None, (self.main, self.auxiliary)))
        if self.accelerator.num_processes > 1:  # BatchNorm's statistics are those of the first process
            for buffer in (buffer for student in students for buffer in student.buffers()):
                torch.distributed.broadcast(buffer, src=0)
        probabilities = [predict(student, val) for student in students]  # (validation images, classes) each
        self._check_finite(torch.from_numpy(probabilities[0]))
        correct = [p.argmax(1) == val.labels for p in probabilities]
        likelihood = probabilities[0][np.arange(len(val)), val.labels].clip(1e-12)
        both = len(correct) == 2
        return {
            "auxiliary_accuracy": float(correct[1].mean()) if both else float("nan"),
            "both_right": float((correct[0] & correct[1]).mean()) if both else float("nan"),
            "val_accuracy": float(correct[0].mean()),
            "val_loss": float(-np.log(likelihood).mean()),
        }

    def _check_finite(self, values: Tensor) -> None:
        if not torch.isfinite(values).all():
            raise FloatingPointError(
                f"the loss is no longer finite at step {self.step} (lr={self.training.lr}, clip={self.training.clip}): "
                "train with a lower lr; the last checkpoint, from before that, is kept"
            )

    def close(self) -> None:
        """Give both students back as they came: no mixed precision in their forward, gradients allowed, contiguous."""
        for learner in self.learners:
            self.accelerator.unwrap_model(learner.network, keep_fp32_wrapper=False)
        for student in filter(None, (self.main, self.auxiliary)):
            student.to(memory_format=torch.contiguous_format)
        if self.auxiliary is not None:
            self.auxiliary.requires_grad_(True)
        if self.second_core:
            self.second_core.shutdown()
        if self.device.type != "cpu":  # a GPU keeps nothing but the students
            self.learners.clear()
            self.accelerator.free_memory()

    def save(self, path: str | Path) -> None:
        """Write all that `resume` needs into one file, which is never half written."""
        state: dict[str, Any] = {"settings": self._settings()}
        state |= {name: owner and owner.state_dict() for name, owner in self.stateful.items()}
        state |= {"optimizers": [learner.optimizer.state_dict() for learner in self.learners]}
        state |= {"record": self.record, "best": self.best, "memory": self.memory}
        buffer = BytesIO()
        torch.save(state, buffer)
        write_atomically(path, lambda part: part.write_bytes(buffer.getbuffer()))

    def resume(self, path: str | Path) -> None:
        """Go on from a checkpoint. Raises ValueError naming the settings that it was not made with."""
        state = load_checkpoint(path)
        _require_settings(path, state, self._settings())
        for name, owner in self.stateful.items():
            if owner and state[name]:
                owner.load_state_dict(state[name])
        for learner, optimizer in zip(self.learners, state["optimizers"], strict=True):
            learner.optimizer.load_state_dict(optimizer)
        self.memory, self.best = ({n: t.to(self.device) for n, t in state[key].items()} for key in ("memory", "best"))
        self.record, self.step = self.record | state["record"], state["record"]["history"][-1]["step"]

    def _settings(self) -> dict[str, Any]:
        """What a checkpoint and the run that goes on from it must have in common."""
        teacher = self.teacher.state_dict().values() if self.teacher is not None else ()
        images, labels, *weights = (crc32(t.cpu().numpy().tobytes()) for t in (self.images, self.labels, *teacher))
        return {
            **asdict(self.training),
            **asdict(self.distillation),
            "images": images,
            "labels": labels,
            **self.start,
            "teacher": weights,
            "auxiliary": self.auxiliary is not None,
            "normalisation": [self.mean, self.std],
            "flips": sorted(self.splits.flips),
            "processes": self.accelerator.num_processes,
        }


def _describe_start(students: Students) -> dict[str, Any]:
    """The network that is trained, and what it started from."""
    return {
        "network": [[name, *tensor.shape] for name, tensor in students.main.state_dict().items()],
        "start": [students.teacher, students.initializer],
        "plans": [[plan.elements, int(plan.phase), plan.layers] for plan in students.plans],
    }


def _require_settings(path: str | Path, state: dict[str, Any], settings: dict[str, Any]) -> None:
    """Raise ValueError naming the settings that a checkpoint was not made with."""
    if different := [key for key, value in settings.items() if state["settings"].get(key) != value]:
        text = f"checkpoint {path} was made with other settings ({', '.join(different)})"
        raise ValueError(f"{text}: delete it, or pass another path")


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """What `Trainer.save` wrote: plain data and tensors, on the CPU. Raises ValueError for any other file."""
    try:
        return {"settings": {}, **torch.load(BytesIO(Path(path).read_bytes()), map_location="cpu", weights_only=True)}
    except (RuntimeError, UnpicklingError, EOFError, TypeError) as error:
        raise ValueError(f"{path} is not a checkpoint of this project: delete it, or pass another path") from error


def batch_indices(step: int, size: int, batch_size: int, seed: int, overlap: int = 1) -> np.ndarray:
    """Which images are in batch number `step`, int64: a window that moves over endless reshufflings of all of them.

    overlap: 2 lets half of each batch come again in the next (for "dlb").

    >>> sorted(np.concatenate([batch_indices(step, 6, 3, seed=0) for step in (0, 1)]).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    positions = step * (batch_size // overlap) + np.arange(batch_size)
    return np.array([_shuffle(size, seed, int(p // size))[p % size] for p in positions], dtype=np.int64)


@lru_cache(maxsize=4)
def _shuffle(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)


def _make_accelerator(device: str | None, training: Training, distillation: Distillation) -> Accelerator:
    """Accelerate on the chosen device; one process may change it from run to run."""
    target = pick_device("cpu" if os.environ.get("ACCELERATE_USE_CPU") == "true" else device)
    if PartialState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=target.type == "cpu", mixed_precision=pick_precision(target)[0])
    if training.batch_size % accelerator.num_processes:
        raise ValueError(f"batch_size={training.batch_size} cannot be shared by {accelerator.num_processes} processes")
    if accelerator.num_processes > 1 and distillation.strategy in ("dlb", "ps_kd"):
        raise ValueError(f"strategy={distillation.strategy!r} keeps its memory in one process: run it in one")
    return accelerator


def _check_arguments(students: Students, splits: Splits, training: Training, distillation: Distillation) -> None:
    """Raise ValueError for the first thing that does not fit together."""
    main, auxiliary, strategy = students.main, students.auxiliary, distillation.strategy
    size, classes, batch = len(splits.train), len(splits.classes), training.batch_size
    if batch > size:
        raise ValueError(f"batch_size={batch} is larger than the training set: pass batch_size <= {size}")
    if strategy == "dlb" and batch % 2:
        raise ValueError(f"batch_size={batch} must be even for strategy='dlb', which repeats half of a batch")
    if not len(splits.val):
        raise ValueError("the validation set is empty: the best weights are chosen on it")
    for network, role in ((main, "main student"), (auxiliary if strategy == "kd" else None, "teacher")):
        outputs = getattr(network, "num_classes", classes)
        if outputs != classes:
            raise ValueError(f"the {role} has {outputs} outputs, the data {classes} classes: build it for these")
    if auxiliary is None:
        if strategy == "kd":
            raise ValueError("strategy='kd' needs a fine-tuned teacher: pass Students(main, auxiliary=teacher)")
        if strategy == "ema" and distillation.alpha > 0:
            raise ValueError("strategy='ema' needs an auxiliary student: pass one, or Distillation(strategy='none')")
        return
    shapes = [{name: tensor.shape for name, tensor in m.state_dict().items()} for m in (main, auxiliary)]
    if strategy != "kd" and shapes[0] != shapes[1]:
        text = "main and auxiliary must be of one architecture: make both with make_students"
        raise ValueError(f"{text} (a teacher as auxiliary needs Distillation(strategy='kd'))")
    statistics = [input_statistics(network) for network in (main, auxiliary)]
    if statistics[0] != statistics[1]:
        text = "main and auxiliary see the same images, but expect them with mean and std {} and {}".format(*statistics)
        raise ValueError(f"{text}: make both with make_students, or choose a teacher with the same")
