"""What a method costs on this machine: arithmetic and memory of a training step, size, latency, peak memory of a run.

The measuring is done on copies, in steps of its own, and leaves weights and random states as they were.
"""

from __future__ import annotations

import copy
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.students import Students
from dmws_lite.runtime.device import pick_device
from dmws_lite.training.fit import Trainer
from dmws_lite.training.settings import Training

MEGABYTE = 1e6
FORWARDS = (5, 100)  # fewest and most timed forwards of `latency`
PATIENCE = 0.1  # seconds after which it takes no more than the fewest
INTERVAL = 0.02  # seconds between two looks at the process's memory


def measure(
    students: Students,
    splits: Splits,
    training: Training,
    distillation: Distillation,
    device: str | None = None,
) -> dict[str, Any]:
    """What training these students so will cost, from two steps of copies of them, at the middle of the run.

    Arguments as for `training.fit`. Of the training images only two batches are used.
    Returns flops_per_step and step_memory_mb (see `costs`), parameters (of the main student), latency_ms.

    >>> measure(students, splits, dm.Training(), dm.Distillation())["parameters"]  # doctest: +SKIP
    125763
    """
    where = pick_device(device)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if where.type == "cuda" else []):
        torch.manual_seed(training.seed)
        main, auxiliary = copy.deepcopy((students.main, students.auxiliary))
        some = splits.train.take(np.arange(min(2 * training.batch_size, len(splits.train))))
        copies, few = replace(students, main=main, auxiliary=auxiliary), replace(splits, train=some)
        state = Trainer(copies, few, training, distillation, device)
        state.step = training.steps // 2
        found: dict[str, Any] = costs(state)
        state.close()
        size = splits.train.images.shape[-1]
        return {**found, "parameters": parameters(main), "latency_ms": latency(main, size)}


def costs(state: Trainer) -> dict[str, float]:
    """Arithmetic and memory of one step of `state`, which goes on by two steps: give it a state of its own.

    Returns flops_per_step (int): two for each multiplication and addition of matrix products, convolutions and
    attention, forward and backward, of all networks in the step, the auxiliary's and the teacher's forwards among them.
    Normalisation, activations, augmentation, EMA and optimiser are not counted: they are linear in the number of
    values or weights, and small beside it. And step_memory_mb (10^6 bytes): weights and optimiser states of all
    networks, and the most that torch had allocated above that during a step (gradients, activations, the batch); not
    the training images, and on a CPU not the workspaces of convolutions.
    """
    with plain_attention(state.main, state.auxiliary, state.teacher), FlopCounterMode(display=False) as counter:
        state.train_step()  # makes the optimiser's states too, and what "dlb" remembers
    megabytes = _step_memory(state) / MEGABYTE
    return {"flops_per_step": counter.get_total_flops(), "step_memory_mb": round(megabytes, 3)}


def parameters(model: nn.Module) -> int:
    """The number of a network's weights."""
    return sum(weight.numel() for weight in model.parameters())


def latency(model: nn.Module, image_size: int) -> float:
    """Milliseconds of one image's forward: the median of repeated ones in evaluation mode, after warm-up.

    image_size: pixels per side; the image is float32 (1, 3, image_size, image_size), on the model's device.
    """
    model = copy.deepcopy(model).eval()
    device = next(model.parameters()).device
    image = torch.zeros(1, 3, image_size, image_size, device=device)
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(3):
            model(image)
        start = time.perf_counter()
        while len(times) < FORWARDS[0] or (len(times) < FORWARDS[1] and time.perf_counter() - start < PATIENCE):
            _synchronise(device)
            before = time.perf_counter()
            model(image)
            _synchronise(device)
            times.append(time.perf_counter() - before)
    return median(times) * 1000


@dataclass
class Peak:
    """The most memory so far, in 10^6 bytes."""

    megabytes: float = float("nan")


@contextmanager
def peak_memory(device: str | None = None) -> Iterator[Peak]:
    """The peak memory of what runs inside the block, all of this process counted.

    device: on "cuda" what torch had allocated there; else the process's resident memory, looked at 50 times a second,
            in which Python and torch themselves are some hundred megabytes.

    >>> with peak_memory("cpu") as peak:
    ...     _ = bytearray(1000)
    >>> peak.megabytes > 1
    True
    """
    peak = Peak()
    if pick_device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        try:
            yield peak
        finally:
            peak.megabytes = torch.cuda.max_memory_allocated() / MEGABYTE
        return
    process, over = psutil.Process(), threading.Event()
    peak.megabytes = process.memory_info().rss / MEGABYTE

    def look() -> None:
        while not over.wait(INTERVAL):
            peak.megabytes = max(peak.megabytes, process.memory_info().rss / MEGABYTE)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()
        peak.megabytes = max(peak.megabytes, process.memory_info().rss / MEGABYTE)


def _step_memory(state: Trainer) -> int:
    """Bytes of networks and optimiser states, and of what a step allocates on top."""
    held: list[Tensor] = [
        *chain.from_iterable(
            chain(m.parameters(), m.buffers()) for m in (state.main, state.auxiliary, state.teacher) if m is not None
        ),
        *(
            value
            for learner in (state.learner, state.auxiliary_learner)
            if learner is not None
            for values in learner.optimizer.state.values()
            for value in values.values()
            if isinstance(value, Tensor)
        ),
    ]
    own = sum(tensor.nbytes for tensor in held)
    if state.images.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        state.train_step()
        return own + torch.cuda.max_memory_allocated() - before
    with _Allocations() as allocations:
        state.train_step()
    return own + allocations.peak


class _Allocations(TorchDispatchMode):
    """Bytes of the tensors that torch's operations make inside the block: now, and at most.

    As torch.profiler(profile_memory=True) has it, which writes to the terminal, but for what an operation takes and
    releases within itself: a convolution's workspace.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        old = set(_storages((args, kwargs)))
        made = function(*args, **(kwargs or {}))
        for identity, storage in _storages(made).items():
            if identity not in old and identity not in self.alive:
                self.alive.add(identity)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._released, identity, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return made

    def _released(self, identity: int, size: int) -> None:
        self.alive.discard(identity)
        self.now -= size


def _storages(values: Any) -> dict[int, torch.UntypedStorage]:
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    return {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors}


@contextmanager
def plain_attention(*models: nn.Module | None) -> Iterator[None]:
    """timm's attention as matrix products: FlopCounterMode counts nothing, or more, of the CPU's fused kernel."""
    modules = [module for model in models if model is not None for module in model.modules()]
    fused = [module for module in modules if getattr(module, "fused_attn", False)]
    for module in fused:
        module.fused_attn = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in fused:
            module.fused_attn = True  # type: ignore[assignment]


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
