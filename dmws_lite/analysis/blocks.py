"""The blocks of a ViT, ConvNeXt or MobileNet: what leaves each of them, and where its attention looks."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = re.compile(r"(?:stages\.\d+\.)?blocks\.\d+(?:\.\d+)?")


def blocks_of(network: nn.Module) -> dict[str, nn.Module]:
    """The blocks by their names, in the order of the forward pass; ValueError for a network without such blocks."""
    modules = network.named_modules()
    blocks = {name: m for name, m in modules if BLOCK.fullmatch(name) and not isinstance(m, nn.Sequential)}
    if not blocks:
        raise ValueError(f"{type(network).__name__} has no blocks by the names of timm's ViT, ConvNeXt or MobileNet")
    return blocks


@torch.inference_mode()
def block_outputs(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """The input of the first block ("stem") and the output of each, by its name: tokens or maps, images first."""
    outputs: dict[str, Tensor] = {}
    blocks = blocks_of(network)
    first = next(iter(blocks.values()))
    hooks = [first.register_forward_pre_hook(lambda _, arguments: outputs.update(stem=arguments[0]))]
    for name, block in blocks.items():
        hooks.append(block.register_forward_hook(lambda *call, name=name: outputs.update({name: call[-1]})))
    _run_with_hooks(network, inputs, hooks)
    return outputs


def attention_weights(network: nn.Module, inputs: Tensor) -> list[Tensor]:
    """The attention (image, head, token, token) of each block, from queries and keys: timm's fused one hides it."""
    weights: list[Tensor] = []

    def record(layer: Any, arguments: tuple[Tensor, ...], _: Tensor) -> None:
        fused = layer.qkv(arguments[0]).unflatten(-1, (3, layer.num_heads, -1)).permute(2, 0, 3, 1, 4)
        queries, keys = layer.q_norm(fused[0]), layer.k_norm(fused[1])
        weights.append((queries @ keys.transpose(-2, -1) * layer.scale).softmax(-1))

    layers = [layer for layer in network.modules() if hasattr(layer, "qkv") and hasattr(layer, "num_heads")]
    _run_with_hooks(network, inputs, [layer.register_forward_hook(record) for layer in layers])
    return weights


def pool_output(output: Tensor, network: Any) -> Tensor:
    """One vector per image (image, channel), as for the classifier: the class token if it is read, else the mean."""
    if output.ndim == 4:
        return output.mean((2, 3))
    return output[:, 0] if network.global_pool == "token" else output.mean(1)


def _run_with_hooks(network: nn.Module, inputs: Tensor, hooks: list[Any]) -> None:
    try:
        network.eval()(inputs)
    finally:
        for hook in hooks:
            hook.remove()
