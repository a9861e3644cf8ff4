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

StreamFunction = Callable[[Tensor], Tensor]  # from a stream to the stream behind a part of the network
Stages = Sequence[Sequence[Any]]  # of blocks, or of their numbers


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

    student: StreamFunction
    teacher: StreamFunction
    layers: tuple[tuple[str, str], ...]
    skipped: Sequence[nn.Module] = ()
    added: bool = True
    scale: Tensor | None = None

    @property
    def last(self) -> str:
        """The student's layer that writes to the stream."""
        return self.layers[-1][0]


def _pair_blocks(teacher: Stages, layers: Stages) -> Iterator[tuple[int, int, int, list[nn.Module]]]:
    """Stage, number of a student's block, number of the teacher's, and the teacher's blocks left out before it."""
    skipped: list[nn.Module] = []
    for stage, chosen in enumerate(layers):
        start = 0
        for i, k in enumerate(chosen):
            yield stage, i, k, [*skipped, *teacher[stage][start:k]]
            skipped, start = [], k + 1
        skipped += teacher[stage][start:]


def _pair_names(student: str, teacher: str, layers: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Both names of each layer, from the names of a student's and a teacher's block."""
    return tuple((f"{student}.{layer}", f"{teacher}.{layer}") for layer in layers)


def _vit(student: Any, teacher: Any, layers: Stages) -> Iterator[Branch]:
    require_plain_blocks(student, teacher)
    for _, i, k, skipped in _pair_blocks([teacher.blocks], layers):
        block, source = student.blocks[i], teacher.blocks[k]
        attention = _pair_names(f"blocks.{i}.attn", f"blocks.{k}.attn", ("qkv", "proj"))
        mlp = _pair_names(f"blocks.{i}.mlp", f"blocks.{k}.mlp", ("fc1", "fc2"))
        scales = [getattr(scale, "gamma", None) for scale in (block.ls1, block.ls2)]
        yield Branch(_half_block(block, 1), _half_block(source, 1), attention, skipped, scale=scales[0])
        yield Branch(_half_block(block, 2), _half_block(source, 2), mlp, scale=scales[1])


def require_plain_blocks(student: Any, teacher: Any) -> None:
    """Raise ValueError unless both are ViTs of timm's pre-norm blocks with as many tokens before the patches."""
    for network in (student, teacher):
        kinds = {type(block) for block in getattr(network, "blocks", ())}
        if kinds != {Block}:
            names = ", ".join(sorted(kind.__name__ for kind in kinds)) or "of another kind"
            raise ValueError(f"{name_of(network)} has blocks {names}, no pre-norm ViT blocks: use weight_selection")
    tokens, teacher_tokens = student.num_prefix_tokens, teacher.num_prefix_tokens
    if tokens != teacher_tokens:
        raise ValueError(
            f"{name_of(student)} has {tokens} token(s) before the patches, its teacher {name_of(teacher)} "
            f"{teacher_tokens}: choose a student with as many, or use weight_selection"
        )


def _half_block(block: Any, half: int) -> StreamFunction:
    """The attention (1) or the MLP (2) of a transformer block, with what it is added to."""
    norm, scale = getattr(block, f"norm{half}"), getattr(block, f"ls{half}")
    inner = block.attn if half == 1 else block.mlp
    return lambda stream: stream + scale(inner(norm(stream)))


def _convnext(student: Any, teacher: Any, layers: Stages) -> Iterator[Branch]:
    # the first module of a stage is its downsampling, so that block numbers are shifted by one
    stages, teacher_stages = ([[s.downsample, *s.blocks] for s in network.stages] for network in (student, teacher))
    shifted = [[0, *(k + 1 for k in chosen)] for chosen in layers]
    for stage, i, k, skipped in _pair_blocks(teacher_stages, shifted):
        block, source, prefix = stages[stage][i], teacher_stages[stage][k], f"stages.{stage}"
        if i:
            names = _pair_names(f"{prefix}.blocks.{i - 1}.mlp", f"{prefix}.blocks.{k - 1}.mlp", ("fc1", "fc2"))
            yield Branch(block, source, names, skipped, scale=block.gamma)
        elif not isinstance(block, nn.Identity):
            yield Branch(block, source, _pair_names(prefix, prefix, ["downsample.1"]), skipped, added=False)


def _convolutions(student: Any, teacher: Any, layers: Stages) -> Iterator[Branch]:
    """Depthwise separable and inverted residual blocks: pointwise layers aim at the teacher's, before BatchNorm."""
    stages, teacher_stages = ([list(stage) for stage in network.blocks] for network in (student, teacher))
    layers = list(layers)
    if isinstance(getattr(student, "conv_head", None), nn.Conv2d):  # the head is one more stage of one block
        for blocks, network in ((stages, student), (teacher_stages, teacher)):
            blocks.append([nn.Sequential(network.conv_head, network.bn2)])
        layers.append((0,))
    for stage, i, k, skipped in _pair_blocks(teacher_stages, layers):
        block, source = stages[stage][i], teacher_stages[stage][k]
        pointwise = [name for name in ("conv_pw", "conv_pwl") if hasattr(block, name)]
        names = _pair_names(f"blocks.{stage}.{i}", f"blocks.{stage}.{k}", pointwise) or (("conv_head", "conv_head"),)
        yield Branch(block, source, names, skipped, added=False)


BRANCHES: dict[str, tuple[Callable[..., Iterator[Branch]], str]] = {  # by family, with the module that reads first
    "vit": (_vit, "blocks.0"),
    "convnext": (_convnext, "stages.0"),
    "mobilenetv1": (_convolutions, "blocks.0.0"),
    "mbconv": (_convolutions, "blocks.0.0"),
}
