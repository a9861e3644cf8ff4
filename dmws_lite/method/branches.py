"""Branches: the parts of a network that read its stream of activations, and add to it or replace it.

ViT and ConvNeXt blocks add to the stream, downsampling and MobileNetV1's blocks replace it. A family that is to be
compensated gets an entry in BRANCHES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dmws_lite.method.networks import name_of

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Branch:
    """A part of the student and of the teacher that ends in a layer which writes to the stream.

    layers:  (student's name, teacher's name) of the layers to fit, in order.
    skipped: the teacher's modules before it that the student has no twin for.
    aims_at: of the last layer: "stream" (the teacher's after the branch) or "output" (of the teacher's layer).
    added:   the branch is added to the stream; `scale` is the student's layer scale of what is added.
    """

    student: Run
    teacher: Run
    layers: tuple[tuple[str, str], ...]
    skipped: Sequence[nn.Module] = ()
    aims_at: str = "stream"
    added: bool = True
    scale: Tensor | None = None


def _vit(student: Any, teacher: Any, layers: Sequence[Sequence[int]]) -> Iterator[Branch]:
    require_plain_blocks(student, teacher)
    before = 0
    for i, k in enumerate(layers[0]):
        own, other = student.blocks[i], teacher.blocks[k]
        for branch, pair in ((1, ("attn.qkv", "attn.proj")), (2, ("mlp.fc1", "mlp.fc2"))):
            names = tuple((f"blocks.{i}.{name}", f"blocks.{k}.{name}") for name in pair)
            skipped = teacher.blocks[before:k] if branch == 1 else ()
            scale = getattr(getattr(own, f"ls{branch}"), "gamma", None)
            yield Branch(_half(own, branch), _half(other, branch), names, skipped, scale=scale)
        before = k + 1


def require_plain_blocks(student: Any, teacher: Any) -> None:
    """Raise ValueError unless both are ViTs of timm's pre-norm blocks."""
    for network in (student, teacher):
        kinds = {type(block) for block in getattr(network, "blocks", ())}
        if kinds != {Block}:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"{name_of(network)} has blocks {names}, no pre-norm ViT blocks: use weight_selection")


def _half(block: Any, branch: int) -> Run:
    """The attention (1) or the MLP (2) of a transformer block, with what it is added to."""
    norm, inner = (block.norm1, block.attn) if branch == 1 else (block.norm2, block.mlp)
    scale = block.ls1 if branch == 1 else block.ls2
    return lambda stream: stream + scale(inner(norm(stream)))


def _convnext(student: Any, teacher: Any, layers: Sequence[Sequence[int]]) -> Iterator[Branch]:
    for stage, chosen in enumerate(layers):
        own, other = student.stages[stage], teacher.stages[stage]
        skipped: list[nn.Module] = list(teacher.stages[stage - 1].blocks[layers[stage - 1][-1] + 1 :]) if stage else []
        if not isinstance(own.downsample, nn.Identity):
            name = f"stages.{stage}.downsample.1"
            yield Branch(own.downsample, other.downsample, ((name, name),), skipped, added=False)
            skipped = []
        before = 0
        for i, k in enumerate(chosen):
            names = tuple((f"stages.{stage}.blocks.{i}.{n}", f"stages.{stage}.blocks.{k}.{n}") for n in _MLP)
            block = own.blocks[i]
            skipped = [*skipped, *other.blocks[before:k]]
            yield Branch(block, other.blocks[k], names, skipped, scale=block.gamma)
            skipped, before = [], k + 1


_MLP = ("mlp.fc1", "mlp.fc2")


def _mobilenetv1(student: Any, teacher: Any, layers: Sequence[Sequence[int]]) -> Iterator[Branch]:
    for stage, chosen in enumerate(layers):
        before = 0
        for i, k in enumerate(chosen):
            names = ((f"blocks.{stage}.{i}.conv_pw", f"blocks.{stage}.{k}.conv_pw"),)
            skipped = teacher.blocks[stage][before:k]
            own, other = student.blocks[stage][i], teacher.blocks[stage][k]
            yield Branch(own, other, names, skipped, aims_at="output", added=False)
            before = k + 1


BRANCHES: dict[str, tuple[Callable[..., Iterator[Branch]], str]] = {  # by family, with the module that reads first
    "vit": (_vit, "blocks.0"),
    "convnext": (_convnext, "stages.0"),
    "mobilenetv1": (_mobilenetv1, "blocks.0.0"),
}
