"""Self-knowledge distillation (SKD): the auxiliary student's EMA, and the losses.

By default (Tsutsumi et al. 2026, arXiv 2508.20461) the main student learns from the labels and from the auxiliary's
soft targets, and the auxiliary follows it as its exponential moving average. Hyper-parameters are our choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dmws_lite.runtime.text import require

CORRECT = 0.9  # probability that the virtual teacher of "tf_kd" gives to the right class


@dataclass(frozen=True)
class Distillation:
    """Settings of SKD; lengths are shares of the run, so that a short run and a long one behave alike.

    strategy:          "ema" (the method), "dlb", "ps_kd", "cs_kd", "tf_kd", "kd" (a fixed teacher's soft targets), or
                       "none" (labels only).
    alpha:             final weight of the soft targets, 0 <= alpha <= 1.
    alpha_warmup:      share of the run over which alpha rises linearly from 0; 0 means from the first step.
    alpha_until:       share of the run after which the labels teach alone; 1 means that the soft targets stay.
    alpha_anneal:      share of the run over which alpha falls back to 0 before that; 0 means at once.
    temperature:       T > 0 of the softmax on both sides.
    half_life:         share of the run after which the EMA has forgotten half of its start (see momentum_of).
    half_life_epochs:  the half-life in passes over the training images, instead of a share of the run.
    momentum:          m in [0, 1] itself, instead of a half-life.
    momentum_schedule: "constant", or "cosine" (rises to 1 at the end of the run; Grill et al. 2020, arXiv 2006.07733).
    auxiliary_update:  "ema", "frozen" (the auxiliary stays as it started) or "trained" (on the labels, by itself).
    auxiliary_norm:    BatchNorm's statistics in the auxiliary: "ema" (averaged as its weights are), or "batch"
                       (measured again on each batch that it teaches, before it does).
    Raises ValueError for a value outside its range. Source: our choice.
    """

    strategy: str = "ema"
    alpha: float = 0.5
    alpha_warmup: float = 1.0
    temperature: float = 2.0
    half_life: float = 0.05
    momentum: float | None = None
    momentum_schedule: str = "constant"
    auxiliary_update: str = "ema"
    alpha_until: float = 1.0
    alpha_anneal: float = 0.0
    half_life_epochs: float | None = None
    auxiliary_norm: str = "ema"

    def __post_init__(self) -> None:
        choices: dict[str, Any] = {
            "strategy": STRATEGIES,
            "auxiliary_update": ("ema", "frozen", "trained"),
            "auxiliary_norm": ("ema", "batch"),
            "momentum_schedule": ("constant", "cosine"),
        }
        for name, names in choices.items():
            require(name, getattr(self, name), names)
        for setting in fields(self):
            name, value = setting.name, getattr(self, setting.name)
            if value == setting.default:  # None is one
                continue
            if name not in choices and not isinstance(value, Real):
                raise ValueError(f"{name}={value!r} must be a number")
            if name in ("alpha", "alpha_warmup", "alpha_until", "alpha_anneal", "momentum") and not 0 <= value <= 1:
                raise ValueError(f"{name}={value} is out of range: 0 <= {name} <= 1")
            if name in ("temperature", "half_life", "half_life_epochs") and not 0 < value < math.inf:
                raise ValueError(f"{name}={value} must be above 0, and finite")

    def alpha_at(self, step: int, steps: int) -> float:
        """The weight of the soft targets at `step` of `steps`.

        >>> up_and_down = Distillation(alpha=0.4, alpha_warmup=0.5, alpha_anneal=0.5)
        >>> [up_and_down.alpha_at(step, 100) for step in (0, 25, 50, 75, 100)]
        [0.0, 0.2, 0.4, 0.2, 0.0]
        """
        warmup, anneal = self.alpha_warmup * steps, self.alpha_anneal * steps
        remaining = self.alpha_until * steps - step  # steps with soft targets
        rise = min(1.0, step / warmup) if warmup else 1.0
        fall = min(1.0, remaining / anneal) if anneal else float(remaining > 0 or self.alpha_until == 1)
        return self.alpha * max(0.0, min(rise, fall))

    def momentum_at(self, step: int, steps: int, epoch: float | None = None) -> float:
        """The EMA's momentum at `step` of `steps`; epoch: how many steps a pass over the training images takes."""
        half_life = self.half_life * steps
        if self.half_life_epochs is not None and epoch is not None:
            half_life = self.half_life_epochs * epoch
        base = momentum_of(half_life) if self.momentum is None else self.momentum
        if self.momentum_schedule == "constant":
            return base
        return 1 - (1 - base) * (math.cos(math.pi * step / steps) + 1) / 2


def momentum_of(half_life: float) -> float:
    """The momentum m with which an EMA forgets half of its start in `half_life` steps: m ** half_life = 1 / 2.

    >>> round(momentum_of(693), 4), round(momentum_of(1), 4)
    (0.999, 0.5)
    """
    return 0.5 ** (1 / half_life)


def half_life_of(momentum: float) -> float:
    """The number of steps after which an EMA has forgotten half of its start: ln 2 / -ln m.

    >>> round(half_life_of(0.999))
    693
    """
    if not 0 < momentum < 1:
        return 0.0 if momentum <= 0 else math.inf
    return math.log(2) / -math.log(momentum)


def update_auxiliary(auxiliary: nn.Module, main: nn.Module, momentum: float) -> None:
    """auxiliary <- momentum * auxiliary + (1 - momentum) * main, in place; buffers too, integer ones are copied.

    Not torch's AveragedModel: its first update copies the main student over the auxiliary ("dual" becomes "single").
    """
    move_average(tensors_of(auxiliary), tensors_of(main), momentum)


def tensors_of(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers, which an EMA averages; a loop collects them once."""
    return [*model.parameters(), *model.buffers()]


@torch.no_grad()
def move_average(old_tensors: list[Tensor], new_tensors: list[Tensor], momentum: float) -> None:
    """What `update_auxiliary` does, on lists of tensors."""
    pairs = list(zip(old_tensors, new_tensors, strict=True))
    floating = [pair for pair in pairs if pair[0].is_floating_point()]
    get_ema_multi_avg_fn(momentum)([old for old, _ in floating], [new for _, new in floating], None)
    for old, new in pairs:
        if not old.is_floating_point():
            old.copy_(new)


def soft_loss(logits: Tensor, target_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(target / T) || softmax(logits / T)), mean over the batch; the target gets no gradient.

    logits, target_logits: (batch, classes). Source: Hinton et al. 2015 (arXiv 1503.02531).

    >>> soft_loss(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 2.0]]), 2.0).item()
    0.0
    """
    p = F.log_softmax(target_logits.detach().float() / temperature, dim=1)
    q = F.log_softmax(logits.float() / temperature, dim=1)
    return temperature**2 * F.kl_div(q, p, reduction="batchmean", log_target=True)


@dataclass
class Step:
    """What a strategy sees of one training step; `targets` and `partner` give logits (batch, classes) when called."""

    logits: Tensor  # (batch, classes), the main student's, with gradient
    labels: Tensor  # int64 (batch,)
    indices: Tensor  # int64 (batch,), the images' positions in the training set
    alpha: float
    temperature: float = 1.0
    smoothing: float = 0.0
    targets: Callable[[], Tensor] | None = None  # the auxiliary's (or the teacher's) on the same images
    partner: Callable[[], Tensor] | None = None  # the main student's on other images of the same classes
    memory: dict[str, Tensor] = field(default_factory=dict)  # what a strategy keeps; saved with the run

    def hard_loss(self) -> Tensor:
        """Cross-entropy with the labels."""
        return F.cross_entropy(self.logits.float(), self.labels, label_smoothing=self.smoothing)


def ema(step: Step) -> Tensor:
    """(1 - alpha) CE(main, y) + alpha T^2 KL(auxiliary || main); in "kd" a fixed teacher stands for the auxiliary.

    Source: arXiv 2508.20461, for "kd" Hinton et al. 2015; that the two weights add up to 1 is our choice.
    """
    if step.alpha == 0:
        return step.hard_loss()
    assert step.targets is not None
    soft = soft_loss(step.logits, step.targets(), step.temperature)
    return (1 - step.alpha) * step.hard_loss() + step.alpha * soft


def dlb(step: Step) -> Tensor:
    """CE(main, y) + alpha T^2 KL(last step's logits || main) on the half that was in the last mini-batch too.

    Source: Shen et al. 2022, self-distillation from the last mini-batch (arXiv 2203.16172).
    """
    loss, memory = step.hard_loss(), step.memory
    if "indices" in memory:
        now, before = (step.indices[:, None] == memory["indices"][None]).nonzero(as_tuple=True)  # of the same images
        if len(now):
            loss = loss + step.alpha * soft_loss(step.logits[now], memory["logits"][before], step.temperature)
    memory.update(indices=step.indices.detach().clone(), logits=step.logits.detach().float().clone())
    return loss


def ps_kd(step: Step) -> Tensor:
    """CE(main, (1 - alpha) y + alpha P), with P the main student's probabilities when it last saw the image.

    memory["probabilities"]: (training images, classes), rows of NaN where an image was not seen yet (then y is used).
    Source: Kim et al. 2021, progressive self-knowledge distillation (arXiv 2006.12000), where alpha rises linearly.
    """
    memory = step.memory["probabilities"]
    past = memory[step.indices]
    hard = F.one_hot(step.labels, step.logits.shape[1]).to(past.dtype)
    hard = hard * (1 - step.smoothing) + step.smoothing / hard.shape[1]
    target = torch.where(past.isnan(), hard, (1 - step.alpha) * hard + step.alpha * past)
    memory[step.indices] = step.logits.detach().float().softmax(dim=1)
    return F.cross_entropy(step.logits.float(), target)


def cs_kd(step: Step) -> Tensor:
    """CE(main, y) + alpha T^2 KL(main on another image of the same class || main).

    Source: Yun et al. 2020, class-wise self-knowledge distillation (arXiv 2003.13964).
    """
    assert step.partner is not None
    return step.hard_loss() + step.alpha * soft_loss(step.logits, step.partner(), step.temperature)


def tf_kd(step: Step) -> Tensor:
    """(1 - alpha) CE(main, y) + alpha T^2 KL(virtual teacher || main), which gives the right class CORRECT.

    Source: Yuan et al. 2020, teacher-free distillation (arXiv 1909.11723), the regularisation form; T^2 is our choice.
    """
    classes = step.logits.shape[1]
    virtual = torch.full_like(step.logits, (1 - CORRECT) / (classes - 1), dtype=torch.float32)
    virtual.scatter_(1, step.labels[:, None], CORRECT)
    return (1 - step.alpha) * step.hard_loss() + step.alpha * soft_loss(step.logits, virtual.log(), step.temperature)


STRATEGIES: dict[str, Callable[[Step], Tensor]] = {rule.__name__: rule for rule in (ema, dlb, ps_kd, cs_kd, tf_kd)} | {
    "kd": ema,
    "none": Step.hard_loss,
}
