"""Chapter 03: right answers are accepted, stubs are open, and each mistake is named without the answer."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dmws_lite.course import check


class Mlp(nn.Module):
    """A network with the names of a ViT's first MLP."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        mlp = nn.ModuleDict({"fc1": nn.Linear(4, 8), "fc2": nn.Linear(8, 8)})
        self.blocks = nn.ModuleList([nn.ModuleDict({"mlp": mlp})])

    def forward(self, x):
        mlp = self.blocks[0]["mlp"]
        return mlp["fc2"](mlp["fc1"](x).relu())


GIVEN = {"03.1": {}, "03.2": {}, "03.3": {}, "03.4": {"model": Mlp(), "images": torch.zeros(2, 4)}}


def test_three_students_of_a_quarter_of_the_width():
    assert check("03.1", 3 / 16, 3 / 4).state == "right"
    assert check("03.1", ..., 0.75).state == "open"


@pytest.mark.parametrize(
    ("matrix", "vector", "part"),
    [
        (3 / 16, 1 / 4, "vector: this is the share of one student"),
        (3 / 16, 75, "vector: 75 looks like a percentage"),
        (3 / 16, 1 / 16, "vector: a vector has one axis"),
        (3 / 16, 1.5, "vector: 1.5 is too large"),
        (1 / 16, 3 / 4, "matrix: this is the share of one student"),
        (3 / 4, 3 / 4, "matrix: this is the share of the rows"),
        (9 / 16, 3 / 4, "nobody can carry"),
        (0.1, 3 / 4, "matrix: 0.1 is too small"),
    ],
)
def test_shares_that_are_wrong(refused, matrix, vector, part):
    refused("03.1", matrix, vector, part=part, secrets=("3/16", "0.1875", "3/4"))


@pytest.mark.parametrize(
    "subset",
    [
        lambda size, pick, phase: range(phase, size, size // pick),
        lambda size, pick, phase: np.arange(size).reshape(pick, -1)[:, phase],
        lambda size, pick, phase: torch.arange(size)[phase :: size // pick],
        lambda size, pick, phase: [phase + k * size // pick for k in range(pick)],
        lambda size, pick, phase: [phase + k * size / pick for k in range(pick)],
        lambda size, pick, phase: np.linspace(phase, size + phase, pick, endpoint=False),
        lambda size, pick, phase: set(range(phase, size, size // pick)),
    ],
)
def test_the_rule_of_the_uniform_strategy(subset):
    assert check("03.2", subset).state == "right"


@pytest.mark.parametrize(
    ("subset", "part"),
    [
        (lambda size, pick, phase: range(0, size, size // pick), "what phase 0 gets"),
        (lambda size, pick, phase: range(phase * pick, (phase + 1) * pick), "block of neighbours"),
        (lambda size, pick, phase: range(phase, size, 2), "subset(12, 3, 2) gives 5 indices"),
        (lambda size, pick, phase: [phase + 2 * k for k in range(pick)], "subset(12, 3, 2) is not evenly spaced"),
        (lambda size, pick, phase: [*range(phase, size, size // pick)][::-1], "another order"),
        (lambda size, pick, phase: [phase + 3 * k for k in range(pick)], "outside 0 to 7"),
        (lambda size, pick, phase: slice(phase, size, 2), "whole numbers"),
        (lambda size, pick, phase: [0.5] * pick, "whole numbers"),
    ],
)
def test_rules_that_are_wrong(refused, subset, part):
    refused("03.2", subset, part=part, secrets=("[1, 3", "phase::"))


def test_the_last_student_head():
    assert check("03.3", [8, 9, 10, 11]).state == check("03.3", {11, 10, 9, 8}).state == "right"
    assert check("03.3", [8.0, 9.0, 10.0, 11.0]).state == check("03.3", (8, 9, 10, 11)).state == "right"
    assert check("03.3", torch.arange(8.0, 12.0)).state == check("03.3", pd.Series([8, 9, 10, 11])).state == "right"
    assert check("03.3", np.arange(8, 12)).state == "right"
    assert check("03.3", ...).state == "open"


@pytest.mark.parametrize(
    ("heads", "part"),
    [
        ([4, 5], "twice as wide"),
        ([2], "elements='heads'"),
        ([9, 10, 11, 12], "12 heads, counted from 0"),
        ([-1, 8, 9, 10], "counted from 0"),
        (range(12), "these are 12 heads"),
        (11, "whole numbers"),
    ],
)
def test_heads_that_are_wrong(refused, heads, part):
    refused("03.3", heads, part=part, secrets=("[8", "8 to 11", "8, 9"))


def moved(*names):
    """A shuffle of some tensors only; "columns" orders the columns of fc2, "rows" its rows."""

    def shuffled(state, order):
        found = dict(state)
        for name in names:
            part = "fc2.weight" if name in ("columns", "rows") else name
            tensor = found[f"blocks.0.mlp.{part}"]
            found[f"blocks.0.mlp.{part}"] = tensor[:, order] if name == "columns" else tensor[order]
        return found

    return shuffled


def test_hidden_units_in_another_order():
    given = {"model": Mlp(), "images": torch.randn(16, 4)}
    verdict = check("03.4", moved("fc1.weight", "fc1.bias", "columns"), **given)
    assert verdict.state == "right" and "rounding" in verdict.message
    assert check("03.4", lambda state, order: None, **given).state == "open"
    assert check("03.4", lambda state, order: dict(state), **given).state == "open"


def in_place(state, order):
    state["blocks.0.mlp.fc1.bias"] = state["blocks.0.mlp.fc1.bias"][order]
    return state


@pytest.mark.parametrize(
    ("shuffled", "part"),
    [
        (moved("fc1.weight"), "each hidden unit's bias has stayed"),
        (moved("fc1.weight", "fc1.bias"), "what the next layer reads from each hidden unit has stayed"),
        (moved("fc1.weight", "fc1.bias", "rows"), "the hidden units are not the rows"),
        (moved("fc1.weight", "fc1.bias", "columns", "fc2.bias"), "and nothing else"),
        (moved("columns"), "fc1.weight is as it was"),
        (in_place, "work on a copy"),
        (lambda state, order: {**state, "more": order}, "does not take this state"),
        (lambda state, order: order, "is no state"),
    ],
)
def test_orders_that_change_the_network(refused, shuffled, part):
    refused("03.4", shuffled, part=part, model=Mlp(), images=torch.randn(16, 4))
