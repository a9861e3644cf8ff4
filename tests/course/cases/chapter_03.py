import numpy as np
import torch
from torch import nn


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


def moved(*names):
    """A shuffle of some tensors only; "columns" orders the columns of fc2, "rows" its rows."""

    def shuffled(state, order):
        shuffled = dict(state)
        for name in names:
            key = f"blocks.0.mlp.{'fc2.weight' if name in ('columns', 'rows') else name}"
            shuffled[key] = shuffled[key][:, order] if name == "columns" else shuffled[key][order]
        return shuffled

    return shuffled


def in_place(state, order):
    state["blocks.0.mlp.fc1.bias"] = state["blocks.0.mlp.fc1.bias"][order]
    return state


def every(size, pick, phase):
    return range(phase, size, size // pick)


GIVEN = {"03.4": {"model": Mlp(), "images": torch.randn(16, 4)}}
RIGHT = {
    "03.1": [(3 / 16, 3 / 4), (0.19, 0.75)],
    "03.2": [
        every,
        lambda size, pick, phase: np.arange(size).reshape(pick, -1)[:, phase],
        lambda size, pick, phase: [phase + k * size / pick for k in range(pick)],
    ],
    "03.3": [[8, 9, 10, 11], {11, 10, 9, 8}, torch.arange(8.0, 12.0)],
    "03.4": [moved("fc1.weight", "fc1.bias", "columns")],
}
OPEN = {"03.4": [lambda state, order: dict(state)]}
MESSAGE = {"03.4": "rounding"}
WRONG = {
    "03.2": [
        (lambda size, pick, phase: range(0, size, size // pick), "what phase 0 gets"),
        (lambda size, pick, phase: range(phase * pick, (phase + 1) * pick), "block of neighbours"),
        (lambda size, pick, phase: range(phase, size, 2), "subset(12, 3, 2) gives 5 indices"),
        (lambda size, pick, phase: [phase + 2 * k for k in range(pick)], "subset(12, 3, 2) is not evenly spaced"),
    ],
    "03.3": [([4, 5], "twice as wide"), ([2], "elements='heads'"), (range(12), "these are 12 heads")],
    "03.4": [
        (moved("fc1.weight"), "each hidden unit's bias has stayed"),
        (moved("fc1.weight", "fc1.bias"), "what the next layer reads from each hidden unit has stayed"),
        (moved("fc1.weight", "fc1.bias", "rows"), "the hidden units are not the rows"),
        (moved("fc1.weight", "fc1.bias", "columns", "fc2.bias"), "and nothing else"),
        *((moved("columns"), "fc1.weight is as it was"), (in_place, "work on a copy")),
        (lambda state, order: RIGHT["03.4"][0](state, order.argsort()), "unit order[0] comes first"),
        (lambda state, order: {**state, "more": order}, "does not take this state"),
    ],
}
SECRETS = {"03.1": ("3/16", "0.1875", "3/4"), "03.2": ("[1, 3", "phase::"), "03.3": ("[8", "8 to 11", "8, 9")}
