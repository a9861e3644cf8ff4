"""What changes while a run is under way: how to move it on, measure it, save it and bring it back."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from dmws_lite.data.augmentation import augment, normalise, to_device
from dmws_lite.data.sets import ImageSet, Splits
from dmws_lite.method.distillation import STRATEGIES, Distillation, Step, update_auxiliary
from dmws_lite.method.initializers import recalibrate_batchnorm
from dmws_lite.method.students import Students
from dmws_lite.runtime.progress import tqdm
from dmws_lite.runtime.seeds import generator
from dmws_lite.training.checkpoints import load_checkpoint, load_optimizer, optimizer_tensors, save_checkpoint
from dmws_lite.training.evaluation import predict
from dmws_lite.training.settings import Training


class TrainingState:
    """Both students with their optimisers, the images on the device, and the strategy's memory."""

    def __init__(
        self,
        students: Students,
        splits: Splits,
        training: Training,
        distillation: Distillation,
        accelerator: Accelerator,
    ):
        train, main, auxiliary, teacher = splits.train, students.main, students.auxiliary, None
        if distillation.strategy == "kd":
            auxiliary, teacher = None, auxiliary
        self.training, self.distillation, self.accelerator = training, distillation, accelerator
        self.mean, self.std, self.flips, self.step = students.mean, students.std, splits.flips, 0
        self.images, self.labels = to_device(train, accelerator.device)
        self.by_class = [np.flatnonzero(train.labels == c) for c in range(len(train.classes))]
        self.main, self.auxiliary = main, auxiliary
        self.teacher = None if teacher is None else teacher.eval().to(accelerator.device)
        for student in filter(None, (main, auxiliary)):
            student.to(accelerator.device)
            recalibrate_batchnorm(student, self._plain_batches())
        self.wrapped, self.optimizer, self.schedule = self._prepare(main)
        self.memory: dict[str, Tensor] = {}
        if distillation.strategy == "ps_kd":
            unseen = torch.full((len(train), len(train.classes)), float("nan"), device=accelerator.device)
            self.memory["probabilities"] = unseen
        self.pupil = None
        if auxiliary is not None:
            auxiliary.eval().requires_grad_(distillation.auxiliary_update == "trained")
            if distillation.auxiliary_update == "trained":
                self.pupil = self._prepare(auxiliary)

    def _prepare(self, model: nn.Module) -> tuple[nn.Module, Any, CosineLRScheduler]:
        t = self.training
        optimizer = create_optimizer_v2(model, opt="adamw", lr=t.lr, weight_decay=t.weight_decay)
        schedule = CosineLRScheduler(
            optimizer, t.steps, warmup_t=int(t.warmup * t.steps), t_in_epochs=False, warmup_prefix=False
        )
        wrapped, prepared = self.accelerator.prepare(model, optimizer)
        return wrapped, prepared, schedule

    def _plain_batches(self) -> Iterator[Tensor]:
        for part in self.images.chunk(-(-len(self.images) // 256)):
            yield normalise(part, self.mean, self.std)

    def advance(self, until: int, bar: tqdm) -> dict[str, float]:
        """Train up to step `until`; returns the means over these steps."""
        start, first = time.perf_counter(), self.step
        torch.manual_seed(self.training.seed * 1_000_003 + first)
        sums = torch.zeros(2, device=self.accelerator.device)
        while self.step < until:
            sums += self._one_step()
            self.step += 1
            bar.update()
            if self.step % 20 == 0 or self.step == until:
                self._check_finite(self.accelerator.reduce(sums, "mean"))
        seconds, count = time.perf_counter() - start, max(self.step - first, 1)
        loss, hard = (
            (self.accelerator.reduce(sums, "mean") / count).tolist()
            if self.step > first
            else (float("nan"), float("nan"))
        )
        return {
            "step": self.step,
            "loss": loss,
            "hard_loss": hard,
            "alpha": self.distillation.alpha_at(self.step, self.training.steps),
            "momentum": self.distillation.momentum_at(self.step, self.training.steps),
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": (self.step - first) * self.training.batch_size / seconds,
            "seconds": seconds,
        }

    def _one_step(self) -> Tensor:
        t, d, rank = self.training, self.distillation, self.accelerator.process_index
        overlap = 2 if d.strategy == "dlb" else 1
        indices = batch_indices(self.step, len(self.images), t.batch_size, t.seed, overlap)
        mine = torch.from_numpy(indices[rank :: self.accelerator.num_processes]).to(self.images.device)
        images, labels = self._draw(mine, 0), self.labels[mine]
        self.schedule.step_update(self.step)
        self.wrapped.train()
        with self.accelerator.autocast():
            logits = self.wrapped(images)
        step = Step(
            logits,
            labels,
            mine,
            alpha=d.alpha_at(self.step, t.steps),
            temperature=d.temperature,
            smoothing=t.label_smoothing,
            targets=lambda: self._targets(images),
            partner=lambda: self._partner_logits(mine),
            memory=self.memory,
        )
        loss = STRATEGIES[d.strategy](step)
        self._update(loss, self.wrapped, self.optimizer)
        self._follow(images, labels)
        with torch.no_grad():
            return torch.stack([loss.detach(), step.hard_loss()])

    def _draw(self, indices: Tensor, stream: int) -> Tensor:
        """The images at `indices`, augmented and normalised; `stream` tells apart several draws in one step."""
        own = generator(self.training.seed, self.step, self.accelerator.process_index, stream)
        return normalise(augment(self.images[indices], own, self.flips), self.mean, self.std)

    def _update(self, loss: Tensor, model: nn.Module, optimizer: Any) -> None:
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(model.parameters(), self.training.clip)
        optimizer.step()
        optimizer.zero_grad()

    def _follow(self, images: Tensor, labels: Tensor) -> None:
        """What the auxiliary does after the main student's step."""
        d, t = self.distillation, self.training
        if self.pupil is not None:
            model, optimizer, schedule = self.pupil
            schedule.step_update(self.step)
            model.train()
            with self.accelerator.autocast():
                logits = model(images)
            self._update(F.cross_entropy(logits.float(), labels, label_smoothing=t.label_smoothing), model, optimizer)
            model.eval()
        elif d.auxiliary_update == "ema" and self.auxiliary is not None:
            update_auxiliary(self.auxiliary, self.main, d.momentum_at(self.step, t.steps))

    @torch.no_grad()
    def _targets(self, images: Tensor) -> Tensor:
        """The logits that the main student is to learn from."""
        source = self.teacher if self.distillation.strategy == "kd" else self.auxiliary
        assert source is not None
        with self.accelerator.autocast():
            return source(images)

    @torch.no_grad()
    def _partner_logits(self, indices: Tensor) -> Tensor:
        """The main student's logits on other images of the same classes; on the same one where a class has no other."""
        rng = np.random.default_rng([self.training.seed, self.step, self.accelerator.process_index])
        classes = [self.by_class[label] for label in self.labels[indices].tolist()]
        own = indices.tolist()
        partners = np.array([rng.choice(c[c != i]) if len(c) > 1 else i for c, i in zip(classes, own, strict=True)])
        with self.accelerator.autocast():
            return self.main(self._draw(torch.from_numpy(partners).to(indices.device), 1))

    def _check_finite(self, values: Tensor) -> None:
        if not torch.isfinite(values).all():
            raise FloatingPointError(
                f"the loss is no longer finite at step {self.step} (lr={self.training.lr}, clip={self.training.clip}): "
                "train with a lower lr; the last checkpoint, from before that, is kept"
            )

    def measure(self, val: ImageSet) -> dict[str, float]:
        """Both students on the validation images, with the first process's BatchNorm statistics everywhere."""
        if self.accelerator.num_processes > 1:
            for buffer in (*self.main.buffers(), *(self.auxiliary.buffers() if self.auxiliary is not None else ())):
                torch.distributed.broadcast(buffer, src=0)
        row = {"auxiliary_accuracy": float("nan"), "both_right": float("nan")}
        probabilities = predict(self.main, val)
        self._check_finite(torch.from_numpy(probabilities))
        chosen = probabilities[np.arange(len(val)), val.labels]
        row |= {"val_accuracy": _accuracy(probabilities, val), "val_loss": float(-np.log(chosen.clip(1e-12)).mean())}
        if self.auxiliary is not None:
            other = predict(self.auxiliary, val)
            row |= {
                "auxiliary_accuracy": _accuracy(other, val),
                "both_right": float(((probabilities.argmax(1) == val.labels) & (other.argmax(1) == val.labels)).mean()),
            }
        return row

    def save(self, path: str | Path, record: dict[str, Any], best: dict[str, Tensor]) -> None:
        groups = {
            "main": self.main.state_dict(),
            "best": best,
            "memory": self.memory,
            "optimizer": optimizer_tensors(self.optimizer),
        }
        if self.auxiliary is not None:
            groups["auxiliary"] = self.auxiliary.state_dict()
        if self.pupil is not None:
            groups["pupil"] = optimizer_tensors(self.pupil[1])
        scaler = self.accelerator.scaler
        save_checkpoint(
            path, groups, {**record, "settings": self._settings(), "scaler": scaler and scaler.state_dict()}
        )

    def close(self) -> None:
        """Give both students back as they came: no mixed precision in their forward, gradients allowed."""
        for prepared in filter(None, (self.wrapped, self.pupil and self.pupil[0])):
            self.accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
        if self.auxiliary is not None:
            self.auxiliary.requires_grad_(True)

    def resume(self, path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        groups, record = load_checkpoint(path)
        if record["settings"] != (mine := self._settings()):
            other = [key for key in mine if record["settings"].get(key) != mine[key]]
            raise ValueError(
                f"checkpoint {path} was made with other settings ({', '.join(other)}): delete it, or pass another path"
            )
        self.main.load_state_dict(groups["main"])
        load_optimizer(self.optimizer, groups.get("optimizer", {}))
        if self.auxiliary is not None:
            self.auxiliary.load_state_dict(groups["auxiliary"])
        if self.pupil is not None:
            load_optimizer(self.pupil[1], groups.get("pupil", {}))
        if record["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(record["scaler"])
        self.memory = {name: tensor.to(self.accelerator.device) for name, tensor in groups.get("memory", {}).items()}
        self.step = record["history"][-1]["step"]
        best = {name: tensor.to(self.accelerator.device) for name, tensor in groups["best"].items()}
        return {key: record[key] for key in ("history", "best_step", "seconds")}, best

    def _settings(self) -> dict[str, Any]:
        shapes = [(name, *tensor.shape) for name, tensor in self.main.state_dict().items()]
        contents = (self.images.cpu().numpy().tobytes(), self.labels.cpu().numpy().tobytes(), repr(shapes).encode())
        images, labels, network = map(zlib.crc32, contents)
        teacher = 0
        for tensor in self.teacher.state_dict().values() if self.teacher is not None else ():
            teacher = zlib.crc32(tensor.cpu().numpy().tobytes(), teacher)
        return {
            **asdict(self.training),
            **asdict(self.distillation),
            "images": images,
            "labels": labels,
            "network": network,
            "teacher": teacher,
            "auxiliary": self.auxiliary is not None,
            "normalisation": repr((self.mean, self.std)),
            "flips": sorted(self.flips),
            "processes": self.accelerator.num_processes,
        }


def batch_indices(step: int, size: int, batch_size: int, seed: int, overlap: int = 1) -> np.ndarray:
    """Which images are in batch number `step`: a window that moves over endless reshufflings of the training set.

    overlap: 2 lets half of each batch come again in the next (for "dlb").
    Returns int64 (batch_size,).

    >>> sorted(np.concatenate([batch_indices(step, 6, 3, seed=0) for step in (0, 1)]).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    positions = step * (batch_size // overlap) + np.arange(batch_size)
    return np.array([_shuffled(size, seed, int(p // size))[p % size] for p in positions], dtype=np.int64)


@lru_cache(maxsize=4)
def _shuffled(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(size)


def _accuracy(probabilities: np.ndarray, images: ImageSet) -> float:
    return float((probabilities.argmax(1) == images.labels).mean())
