"""Checkpoints: everything a run needs to go on, in one safetensors file that is never half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dmws_lite.runtime.files import write_atomically

Groups = dict[str, dict[str, Tensor]]


def save_checkpoint(path: str | Path, groups: Groups, record: dict[str, Any]) -> None:
    """Write groups of tensors (for example {"main": state dict, ...}) and a JSON record, atomically.

    Raises OSError when the file cannot be written; the checkpoint that was there before is kept.
    """
    tensors = {
        f"{group}|{name}": t.detach().cpu().clone() for group, state in groups.items() for name, t in state.items()
    }
    write_atomically(path, lambda part: save_file(tensors, part, metadata={"record": json.dumps(record)}))


def load_checkpoint(path: str | Path) -> tuple[Groups, dict[str, Any]]:
    """Read what `save_checkpoint` wrote.

    Raises ValueError for a file that is no such checkpoint.
    """
    groups: Groups = {}
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["record"])
            for key in file.keys():  # noqa: SIM118 - safe_open is no mapping
                group, name = key.split("|", 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a checkpoint of this project ({error}): delete it, or pass another path"
        ) from error
    return groups, record


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors: "<parameter number>.<name>"."""
    state = optimizer.state_dict()["state"]
    return {f"{number}.{name}": torch.as_tensor(value) for number, own in state.items() for name, value in own.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimizer the state that `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split(".", 1)
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
