"""A toy for self-distillation: points in a plane, and networks so small that everything they know can be drawn."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector

from dmws_lite.method.distillation import Distillation, update_auxiliary

WINDOW = (-1.6, 2.6, -1.2, 1.7)  # left, right, bottom, top of the part of the plane that is looked at


class Points(NamedTuple):
    """Points with labels, some of them wrong, and for each point another one with the same label."""

    x: Tensor  # float32 (points, 2)
    labels: Tensor  # int64 (points,), 0 or 1
    wrong: Tensor  # bool (points,)
    mates: Tensor  # int64 (points,), indices


def moons(points: int = 60, wrong: float = 0.2, spread: float = 0.2, seed: int = 0) -> Points:
    """Two interleaving half circles of radius 1, one per class (scikit-learn's make_moons); points spread around them.

    wrong: the share of flipped labels, 0 to 1.
    """
    from sklearn.datasets import make_moons

    if not 0 <= wrong <= 1:
        raise ValueError(f"wrong={wrong} is a share of the labels: 0 <= wrong <= 1")
    x, true = make_moons(points, noise=spread, random_state=seed)
    flipped, mates = np.zeros(points, bool), np.arange(points)
    flipped[np.random.default_rng(seed).choice(points, round(wrong * points), replace=False)] = True
    labels = true ^ flipped
    for label in (0, 1):
        mates[labels == label] = np.roll(mates[labels == label], 1)
    return Points(torch.from_numpy(x).float(), *map(torch.from_numpy, (labels, flipped, mates)))


def small_network(seed: int, width: int = 32) -> nn.Sequential:
    """2 inputs, two hidden layers of `width` units, 2 logits; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hidden = nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        return nn.Sequential(*hidden, nn.Linear(width, 2))


@torch.inference_mode()
def surface(model: nn.Module, resolution: int = 60) -> np.ndarray:
    """The probability of class 1 all over WINDOW: float (resolution, resolution), rows from the bottom to the top."""
    left, right, bottom, top = WINDOW
    x, y = np.meshgrid(np.linspace(left, right, resolution), np.linspace(bottom, top, resolution))
    plane = torch.from_numpy(np.stack([x.ravel(), y.ravel()], 1)).float()
    return model(plane).softmax(1)[:, 1].reshape(resolution, resolution).numpy()


@torch.inference_mode()
def judge(model: nn.Module, points: Points) -> dict[str, float]:
    """How well a network knows the labels: accuracy, and loss (mean cross-entropy, in nats)."""
    logits = model(points.x)
    correct = logits.argmax(1) == points.labels
    return {"accuracy": float(correct.float().mean()), "loss": float(F.cross_entropy(logits, points.labels))}


class Course(NamedTuple):
    """What `watch` measured in the course of a run."""

    course: pd.DataFrame  # step, student ("main" or "auxiliary"), accuracy and loss on clean points
    surfaces: dict[str, dict[str, np.ndarray]]  # by moment ("step 0", ...) and student
    result: dict[str, float]  # at the end: the main student's accuracy and loss; "by heart": its share of the wrong
    # labels; "gap": the relative distance of the auxiliary's weights from the average of the main student's


def watch(
    run: Iterable[tuple[int, nn.Module, nn.Module]], data: Points, clean: Points, distillation: Distillation, steps: int
) -> Course:
    """Go through a run of at least 40 steps, and measure what the networks know.

    run:  a generator that trains them, and gives (step, main, auxiliary) before each step and after the last.
    data: the training points.   clean: points with right labels, to judge by.
    """
    moments = (0, steps // 40, steps // 10, steps // 4, steps)  # of which surfaces are kept
    rows, surfaces = [], {}
    for step, main, auxiliary in run:
        if step == 0:
            average = copy.deepcopy(auxiliary)
        else:
            update_auxiliary(average, main, distillation.momentum_at(step - 1, steps))
        networks = {"main": main, "auxiliary": auxiliary}
        if step in moments:
            surfaces[f"step {step}"] = {name: surface(network) for name, network in networks.items()}
        if step % (steps // 20) == 0 or step == steps:
            rows += [{"step": step, "student": name, **judge(network, clean)} for name, network in networks.items()]
    with torch.inference_mode():
        by_heart = (main(data.x).argmax(1) == data.labels)[data.wrong].float().mean()
        weights, average_weights = (parameters_to_vector(network.parameters()) for network in (auxiliary, average))
        gap = (weights - average_weights).norm() / average_weights.norm()
    result = {**judge(main, clean), "by heart": float(by_heart), "gap": float(gap)}
    return Course(pd.DataFrame(rows), surfaces, result)
