"""Branches: the parts of a network that read its stream of activations, and add to it or replace it.

ViT and ConvNeXt blocks add to the stream, downsampling and the blocks of networks with BatchNorm replace it. A family
that is to be compensated gets an entry in BRANCHES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from timm.models.vision_transformer import Block
from torch import Tensor, nn

from dmws_lite.method.networks import name_of

Run = Callable[[Tensor], Tensor]
Stages = Sequence[Sequence[Any]]  # of blocks, or of their numbers
_MLP = ("mlp.fc1", "mlp.fc2")


@dataclass(frozen=True)
class Branch:
    """A part of the student and of the teacher that ends in a layer which writes to the stream.

    student, teacher: functions from the stream before it to the stream after it.
    layers:  the layers to fit in the order of the forward pass, each by the student's and by the teacher's name.
    skipped: the teacher's modules before it that the student has no counterpart of.
    added:   it adds to the stream: then its last layer aims at the teacher's stream after it. One that replaces the
             stream aims at the output of the teacher's layer.
    scale:   the student's layer scale of what is added.
    """

    student: Run
    teacher: Run
    layers: tuple[tuple[str, str], ...]
    skipped: Sequence[nn.Module] = ()
    added: bool = True
    scale: Tensor | None = None

    @property
    def last(self) -> str:
        """The student's layer that writes to the stream."""
        return self.layers[-1][0]


def _vit(student: Any, teacher: Any, layers: Stages) -> Iterator[Branch]:
    require_plain_blocks(student, teacher)
    for _, i, k, own, other, skipped in _chosen([student.blocks], [teacher.blocks], layers):
        for half, pair in ((1, ("attn.qkv", "attn.proj")), (2, _MLP)):
            names = tuple((f"blocks.{i}.{name}", f"blocks.{k}.{name}") for name in pair)
            scale = getattr(getattr(own, f"ls{half}"), "gamma", None)
            yield Branch(_half(own, half), _half(other, half), names, skipped if half == 1 else (), scale=scale)


def require_plain_blocks(student: Any, teacher: Any) -> None:
    """Raise ValueError unless both are ViTs of timm's pre-norm blocks with as many tokens before the patches."""
    for network in (student, teacher):
        kinds = {type(block) for block in getattr(network, "blocks", ())}
        if kinds != {Block}:
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"{name_of(network)} has blocks {names}, no pre-norm ViT blocks: use weight_selection")
    own, theirs = student.num_prefix_tokens, teacher.num_prefix_tokens
    if own != theirs:
        raise ValueError(
            f"{name_of(student)} has {own} token(s) before the patches, its teacher {name_of(teacher)} {theirs}: "
            "choose a student with as many, or use weight_selection"
        )


def _half(block: Any, half: int) -> Run:
    """The attention (1) or the MLP (2) of a transformer block, with what it is added to."""
    norm, inner, scale = getattr(block, f"norm{half}"), (block.attn, block.mlp)[half - 1], getattr(block, f"ls{half}")
    return lambda stream: stream + scale(inner(norm(stream)))


def _chosen(own: Stages, theirs: Stages, layers: Stages) -> Iterator[tuple]:
    """(stage, student's block number, teacher's, the blocks, the teacher's blocks that are left out before it)."""
    rest: list[nn.Module] = []
    for stage, chosen in enumerate(layers):
        before = 0
        for i, k in enumerate(chosen):
            yield stage, i, k, own[stage][i], theirs[stage][k], [*rest, *theirs[stage][before:k]]
            rest, before = [], k + 1
        rest = [*rest, *theirs[stage][before:]]


def _convnext(student: Any, teacher: Any, layers: Stages) -> Iterator[Branch]:
    own, theirs = ([[stage.downsample, *stage.blocks] for stage in network.stages] for network in (student, teacher))
    shifted = [[0, *(k + 1 for k in chosen)] for chosen in layers]  # the first of a stage is its downsampling
    for stage, i, k, block, other, skipped in _chosen(own, theirs, shifted):
        if i:
            names = [(f"stages.{stage}.blocks.{i - 1}.{n}", f"stages.{stage}.blocks.{k - 1}.{n}") for n in _MLP]
            yield Branch(block, other, tuple(names), skipped, scale=block.gamma)
        elif not isinstance(block, nn.Identity):
            name = f"stages.{stage}.downsample.1"
            yield Branch(block, other, ((name, name),), skipped, added=False)


def _convolutions(student: Any, teacher: Any, layers: Stages) -> Iterator[Branch]:
    """Depthwise separable and inverted residual blocks: pointwise layers aim at the teacher's, before BatchNorm."""
    own, theirs = ([list(stage) for stage in network.blocks] for network in (student, teacher))
    layers = list(layers)
    if isinstance(getattr(student, "conv_head", None), nn.Conv2d):
        for stages, network in ((own, student), (theirs, teacher)):
            stages.append([nn.Sequential(network.conv_head, network.bn2)])
        layers.append((0,))
    for stage, i, k, block, other, skipped in _chosen(own, theirs, layers):
        pointwise = [name for name in ("conv_pw", "conv_pwl") if hasattr(block, name)]
        names = [(f"blocks.{stage}.{i}.{name}", f"blocks.{stage}.{k}.{name}") for name in pointwise]
        names = names or [("conv_head", "conv_head")]
        yield Branch(block, other, tuple(names), skipped, added=False)


BRANCHES: dict[str, tuple[Callable[..., Iterator[Branch]], str]] = {  # by family, with the module that reads first
    "vit": (_vit, "blocks.0"),
    "convnext": (_convnext, "stages.0"),
    "mobilenetv1": (_convolutions, "blocks.0.0"),
    "mbconv": (_convolutions, "blocks.0.0"),
}
