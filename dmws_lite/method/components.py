"""Component mapping: which teacher tensor feeds which student tensor, and what each of its axes means.

The second of the three steps (Tsutsumi et al. 2026, arXiv 2508.20461). A family is a table of name patterns with named
axes; to add a family, add a table. The tables, and the names of the axes, are our choice.

An axis is written `name` (shared by the whole network), `name/{block}` (private to one block) or `a*b` (two axes fused
into one, as q, k and v are in timm's attention). Sizes of FIXED axes must be equal in teacher and student.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

FIXED = ("batch", "qkv", "in_chans", "group", "kernel_h", "kernel_w", "classes", "token", "head_channel")
STAGE, BLOCK = r"stages\.(?P<stage>\d+)\.", r"blocks\.(?P<block>\d+)\."
SEPARABLE, INVERTED = (rf"blocks\.(?P<stage>{stage})\.(?P<block>\d+)\." for stage in ("0", r"[1-9]\d*"))
WB = r"(?P<end>weight|bias)"
BN = r"(?P<end>weight|bias|running_mean|running_var)"


@dataclass(frozen=True)
class Rule:
    """Tensors whose name matches `pattern` have these `axes`; `alias` joins tensors that go by several names."""

    pattern: str
    axes: str
    alias: str = ""


FAMILIES: dict[str, tuple[Rule, ...]] = {
    "vit": (
        Rule(r"cls_token|dist_token|reg_token|pos_embed", "batch token embed"),
        Rule(r"patch_embed\.proj\.weight", "embed in_chans kernel_h kernel_w"),
        Rule(rf"patch_embed\.proj\.bias|norm_pre\.{WB}", "embed"),
        Rule(rf"{BLOCK}(?:norm[12]\.{WB}|ls[12]\.gamma|attn\.proj\.bias|mlp\.fc2\.bias)", "embed"),
        Rule(rf"{BLOCK}attn\.qkv\.weight", "qkv*attn/{block} embed"),
        Rule(rf"{BLOCK}attn\.qkv\.bias", "qkv*attn/{block}"),
        Rule(rf"{BLOCK}attn\.[qk]_norm\.{WB}", "head_channel"),
        Rule(rf"{BLOCK}attn\.proj\.weight", "embed attn/{block}"),
        Rule(rf"{BLOCK}mlp\.fc1\.weight", "mlp/{block} embed"),
        Rule(rf"{BLOCK}mlp\.fc1\.bias", "mlp/{block}"),
        Rule(rf"{BLOCK}mlp\.fc2\.weight", "embed mlp/{block}"),
        Rule(rf"(?:norm|fc_norm)\.{WB}", "embed", alias="final_norm.{end}"),
        Rule(r"(?:head|head_dist)\.weight", "classes embed"),
        Rule(r"(?:head|head_dist)\.bias", "classes"),
    ),
    "convnext": (
        Rule(r"stem\.0\.weight", "stage0 in_chans kernel_h kernel_w"),
        Rule(rf"stem\.0\.bias|stem\.1\.{WB}", "stage0"),
        Rule(rf"{STAGE}downsample\.0\.{WB}", "stage{before}"),
        Rule(rf"{STAGE}downsample\.1\.weight", "stage{stage} stage{before} kernel_h kernel_w"),
        Rule(rf"{STAGE}downsample\.1\.bias", "stage{stage}"),
        Rule(rf"{STAGE}{BLOCK}conv_dw\.weight", "stage{stage} group kernel_h kernel_w"),
        Rule(rf"{STAGE}{BLOCK}(?:conv_dw\.bias|norm\.{WB}|gamma|mlp\.fc2\.bias)", "stage{stage}"),
        Rule(rf"{STAGE}{BLOCK}mlp\.fc1\.weight", "mlp/{stage}.{block} stage{stage}"),
        Rule(rf"{STAGE}{BLOCK}mlp\.(?:fc1\.bias|grn\.weight|grn\.bias)", "mlp/{stage}.{block}"),
        Rule(rf"{STAGE}{BLOCK}mlp\.fc2\.weight", "stage{stage} mlp/{stage}.{block}"),
        Rule(rf"(?:head\.norm|norm_pre|norm)\.{WB}", "stage{last}", alias="final_norm.{end}"),
        Rule(r"head\.fc\.weight", "classes stage{last}"),
        Rule(r"head\.fc\.bias", "classes"),
    ),
    "mobilenetv1": (
        Rule(r"conv_stem\.weight", "out/stem in_chans kernel_h kernel_w"),
        Rule(rf"bn1\.{BN}", "out/stem"),
        Rule(r"blocks\.(?P<stage>\d+)\.(?P<block>\d+)\.conv_dw\.weight", "out/{before} group kernel_h kernel_w"),
        Rule(rf"blocks\.(?P<stage>\d+)\.(?P<block>\d+)\.bn1\.{BN}", "out/{before}"),
        Rule(r"blocks\.(?P<stage>\d+)\.(?P<block>\d+)\.conv_pw\.weight", "out/{stage}.{block} out/{before}"),
        Rule(rf"blocks\.(?P<stage>\d+)\.(?P<block>\d+)\.bn2\.{BN}", "out/{stage}.{block}"),
        Rule(r".*num_batches_tracked", ""),
        Rule(r"classifier\.weight", "classes out/{last}"),
        Rule(r"classifier\.bias", "classes"),
    ),
    "mbconv": (  # stage 0 is depthwise separable, the others are inverted residuals around the stage's stream
        Rule(r"conv_stem\.weight", "stem in_chans kernel_h kernel_w"),
        Rule(rf"bn1\.{BN}", "stem"),
        Rule(rf"{SEPARABLE}conv_dw\.weight", "{before} group kernel_h kernel_w"),
        Rule(rf"{SEPARABLE}bn1\.{BN}", "{before}"),
        Rule(rf"{SEPARABLE}conv_pw\.weight", "stage0 {before}"),
        Rule(rf"{SEPARABLE}bn2\.{BN}", "stage0"),
        Rule(rf"{INVERTED}conv_pw\.weight", "expansion/{stage}.{block} {before}"),
        Rule(rf"{INVERTED}conv_dw\.weight", "expansion/{stage}.{block} group kernel_h kernel_w"),
        Rule(rf"{INVERTED}bn[12]\.{BN}", "expansion/{stage}.{block}"),
        Rule(rf"{INVERTED}conv_pwl\.weight", "stage{stage} expansion/{stage}.{block}"),
        Rule(rf"{INVERTED}bn3\.{BN}", "stage{stage}"),
        Rule(r"conv_head\.weight", "head stage{last}"),
        Rule(rf"bn2\.{BN}", "head"),
        Rule(r".*num_batches_tracked", ""),
        Rule(r"classifier\.weight", "classes head"),
        Rule(r"classifier\.bias", "classes"),
    ),
}

UNNORMALISED = "are not normalised as the teacher's are: its attention is sharper or flatter"
LOST = {  # what it means where the teacher has such a tensor and the student has not, by a part of its name
    "norm_pre": "the student has no norm before its blocks: they read another scale than the teacher's",
    "gamma": "copied matrices act as if the scale were 1; dm.fold_scales(teacher) multiplies it into them, exactly",
    "q_norm": f"the student's queries {UNNORMALISED}",
    "k_norm": f"the student's keys {UNNORMALISED}",
    "grn": "the student does not normalise its hidden units by their response over the image",
}
SIGNATURES = {  # tensors by which a family is recognised
    "vit": ("blocks.0.attn.qkv.weight", "blocks.0.mlp.fc1.weight"),
    "convnext": ("stages.0.blocks.0.conv_dw.weight", "stages.0.blocks.0.mlp.fc1.weight"),
    "mbconv": ("conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.0.conv_pwl.weight"),
    "mobilenetv1": ("conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.0.0.conv_pw.weight"),
}


@dataclass(frozen=True)
class Component:
    """One tensor: its name, its named axes, its stage and block number, and a key that teacher and student share."""

    name: str
    shape: Shape
    axes: tuple[str, ...]
    stage: int
    block: int | None
    key: str


def family_of(shapes: Shapes, name: str) -> str:
    """The family of a network, from its tensor names. Raises ValueError where it is no known one."""
    gated = [tensor for tensor in shapes if re.search(r"mlp\.(fc1_g|w12|w1)\.weight", tensor)]
    fc1, fc2 = (shapes.get(f"blocks.0.mlp.{layer}.weight", (0, 0)) for layer in ("fc1", "fc2"))
    halved = fc2[1] > 0 and fc1[0] == 2 * fc2[1]  # one half of the hidden units gates the other
    if gated or halved:
        raise ValueError(
            f"{name}: {gated[0] if gated else 'blocks.0.mlp'} is a gated MLP (SwiGLU), for which there is no table: "
            "choose a network of its size with a plain MLP (timm names without swiglu, eva, giant)"
        )
    for family, signature in SIGNATURES.items():
        if all(tensor in shapes for tensor in signature):
            return family
    raise ValueError(
        f"{name}: no known family ({', '.join(FAMILIES)}); its tensors are {', '.join(list(shapes)[:3])}, ...: to "
        "support it, add a table to dmws_lite.method.components.FAMILIES, and to SIGNATURES what tells it"
    )


def depths(shapes: Shapes, family: str) -> tuple[int, ...]:
    """The number of blocks in each stage."""
    counts: dict[int, int] = {}
    for tensor in shapes:
        _, match = _find_rule(tensor, family)
        if match and "block" in match.groupdict():
            stage = int(match.groupdict().get("stage", 0))
            counts[stage] = max(counts.get(stage, 0), int(match["block"]) + 1)
    return tuple(counts[stage] for stage in sorted(counts))


def _find_rule(tensor: str, family: str) -> tuple[Rule, re.Match[str]] | tuple[None, None]:
    """The first rule of a family that a tensor's name matches, and the match."""
    for rule in FAMILIES[family]:
        if match := re.fullmatch(rule.pattern, tensor):
            return rule, match
    return None, None


def components(shapes: Shapes, family: str, name: str) -> list[Component]:
    """Every tensor of a network with its named axes; ValueError for the first that the family's table does not know."""
    blocks = depths(shapes, family)
    return [_describe_tensor(tensor, tuple(shape), family, blocks, name) for tensor, shape in shapes.items()]


def _describe_tensor(tensor: str, shape: Shape, family: str, blocks: tuple[int, ...], network: str) -> Component:
    rule, match = _find_rule(tensor, family)
    if rule is None or match is None:
        text = f"{network}: tensor {tensor} {shape} is not in the table of family {family!r}"
        raise ValueError(f"{text}: add a Rule for it to dmws_lite.method.components.FAMILIES[{family!r}]")
    groups = match.groupdict()
    stage, block = int(groups.get("stage", 0)), int(groups["block"]) if "block" in groups else None
    places = {"stage": stage, "block": block, **_name_neighbours(family, stage, block, blocks)}
    axes = tuple(rule.axes.format(**places).split())
    if len(squeeze(shape, len(axes))) != len(axes):
        raise ValueError(f"{network}: tensor {tensor} has shape {shape}, but family {family!r} expects the axes {axes}")
    key = rule.alias.format(**groups) or tensor
    if block is not None:
        key = f"{tensor[: match.start('block')]}*{tensor[match.end('block') :]}"
    return Component(tensor, shape, axes, stage, block, key)


def _name_neighbours(family: str, stage: int, block: int | None, blocks: tuple[int, ...]) -> dict[str, str]:
    """What `{before}` and `{last}` stand for in a rule's axes."""
    last = len(blocks) - 1
    if family == "mobilenetv1":  # an axis of its own for each block
        entry = f"{stage - 1}.{blocks[stage - 1] - 1}" if stage else "stem"
        return {"before": f"{stage}.{block - 1}" if block else entry, "last": f"{last}.{blocks[-1] - 1}"}
    if family == "mbconv":
        entry = f"stage{stage - 1}" if stage else "stem"
        return {"before": f"stage{stage}" if block else entry, "last": str(last)}
    return {"before": str(max(stage - 1, 0)), "last": str(last)}


def squeeze(shape: Iterable[int], axes: int) -> Shape:
    """`shape` without the two trailing ones of a 1 x 1 convolution where a linear layer's two axes are meant."""
    shape = tuple(shape)
    return shape[:-2] if len(shape) == axes + 2 and shape[-2:] == (1, 1) else shape


def unfuse(axis: str) -> str:
    """The axis that elements are selected along: "attn/3" of "qkv*attn/3"."""
    return axis.split("*")[-1]


def map_tensors(
    teacher: list[Component], student: list[Component], layers: tuple[tuple[int, ...], ...], refused: dict[str, str]
) -> tuple[list[tuple[Component, Component]], dict[str, str], dict[str, str]]:
    """(Student, teacher) pairs, why other tensors are not fed (`refused`: by axis), what losing the teacher's means."""
    by_key = {(c.key, c.stage, c.block): c for c in teacher}
    pairs, skipped = [], {}
    for c in student:
        block = None if c.block is None else layers[c.stage][c.block]
        source = by_key.get((c.key, c.stage, block))
        if not c.axes:
            skipped[c.name] = "a counter, not a weight"
        elif source is None:
            skipped[c.name] = "the teacher has no such tensor"
        elif reasons := [refused[axis] for axis in c.axes if axis in refused]:
            skipped[c.name] = reasons[0]
        elif c.name == "reg_token" and c.shape[1] > source.shape[1]:
            skipped[c.name] = f"the teacher has only {source.shape[1]} register token(s)"
        else:
            pairs.append((c, source))
    student_keys, lost = {c.key for c in student}, {}
    for c in teacher:
        chosen = c.block is None or c.block in layers[c.stage]
        if chosen and c.key not in student_keys and c.axes and "classes" not in c.axes:
            meanings = (meaning for part, meaning in LOST.items() if part in c.name)
            lost[c.name] = next(meanings, "the student has no such tensor")
    return pairs, skipped, lost
