"""Projection: a student's stream holds the principal components of its teacher's, in place of some of its channels.

For pre-norm ViTs, whose blocks only read the stream through a LayerNorm and only add to it, and for a student that
keeps a stock LayerNorm. (Not for ConvNeXt: its depthwise convolutions work on single channels, which a rotation mixes.)
Ancestor: SliceGPT (Ashkboos et al. 2024, arXiv 2401.15024). The formulas for a LayerNorm that stays, the choice of
heads and of hidden units are ours.

With M = I - 11'/D, P (D, d - 1) the leading eigenvectors of the second moment of the normalised M x over all places
that read the stream, and Q (d, d - 1) an orthonormal basis of what is orthogonal to the ones vector, the student's
stream is R x with R = Q P' M. What writes to the stream is multiplied by R; what reads it, through a LayerNorm with
gamma and beta, gets W' = sqrt(D rho / d) W diag(gamma) P Q' and b' = b + W beta, rho = E[|P'z|^2 / |z|^2] there.
Exact at d = D.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dmws_lite.method.branches import require_plain_blocks
from dmws_lite.method.elements import spread, whole_heads
from dmws_lite.method.measuring import BATCH
from dmws_lite.method.networks import name_of
from dmws_lite.method.plan import SelectionPlan

ALL = slice(None)
END = ("end", 0)  # the place after the last block that is taken, where the final norm reads


@torch.no_grad()
def project(student: Any, teacher: Any, plan: SelectionPlan, images: Tensor) -> dict[str, Tensor]:
    """Fill a ViT's student in place with its projected teacher.

    teacher: with its weights, of the student's image size.
    plan:    says which blocks are taken, and whether the classifier is taken too.
    Returns what the outputs of each layer stand for in the teacher: indices, or for layers that write to the stream the
    matrix R (student channel, teacher channel).
    """
    require_plain_blocks(student, teacher)
    for network in (student, teacher):
        _require_known_norms(network)
    moments, energies = _measure_stream(teacher.eval(), plan.layers[0], images.to(next(teacher.parameters()).dtype))
    components = principal_components(torch.stack(list(moments.values())).mean(0), student.embed_dim - 1)  # P
    complement = complement_of_ones(student.embed_dim)  # Q
    writer = complement @ components.T  # R: M is in P already
    selected = {a.student for a in plan.assignments}
    places: dict[str, Tensor] = {}

    def reader(norm: Any, place: tuple[str, int]) -> Tensor:
        """sqrt(D rho / d) diag(gamma) P Q', by which a matrix that reads the stream at `place` is multiplied."""
        rho = (components.T @ moments[place] * components.T).sum() / moments[place].trace()
        size = (len(components) * rho / len(complement)).sqrt()
        return size * norm.weight.double()[:, None] * (components @ complement.T)

    _fill_writer(student.patch_embed.proj, teacher.patch_embed.proj, None, writer, ALL)
    for name in selected & {"cls_token", "dist_token", "reg_token", "pos_embed"}:
        getattr(student, name).copy_(getattr(teacher, name).double() @ writer.T)
    for number, k in enumerate(plan.layers[0]):
        block, source = student.blocks[number], teacher.blocks[k]
        heads = _choose_heads(block.attn, source.attn, energies["heads", k])
        rows = torch.cat([heads + part * source.attn.proj.in_features for part in range(3)])
        units = _choose_largest(energies["units", k], block.mlp.fc2.in_features)
        _fill_reader(block.attn.qkv, source.attn.qkv, source.norm1, reader(source.norm1, ("norm1", k)), rows)
        _fill_writer(block.attn.proj, source.attn.proj, source.ls1, writer, heads)
        _fill_reader(block.mlp.fc1, source.mlp.fc1, source.norm2, reader(source.norm2, ("norm2", k)), units)
        _fill_writer(block.mlp.fc2, source.mlp.fc2, source.ls2, writer, units)
        outputs = {"attn.qkv": rows, "attn.proj": writer, "mlp.fc1": units, "mlp.fc2": writer}
        places |= {f"blocks.{number}.{name}": channels for name, channels in outputs.items()}
        for scale in (block.ls1, block.ls2):
            if hasattr(scale, "gamma"):
                nn.init.ones_(scale.gamma)  # the teacher's is in the matrices now
    norm = teacher.fc_norm if isinstance(teacher.norm, nn.Identity) else teacher.norm
    for name in ("head", "head_dist"):
        if f"{name}.weight" in selected:
            _fill_reader(getattr(student, name), getattr(teacher, name), norm, reader(norm, END), ALL)
    for norm in (module for module in student.modules() if isinstance(module, nn.LayerNorm)):
        norm.reset_parameters()  # to 1 and 0: the teacher's are in the matrices
    return places


def _require_known_norms(network: nn.Module) -> None:
    """Raise ValueError for a norm that the formulas do not cover: RMSNorm, or one before the blocks or in a head."""
    for name, module in network.named_modules():
        last_name = name.rpartition(".")[2]
        known = isinstance(module, nn.LayerNorm) and last_name in ("norm1", "norm2", "norm", "fc_norm")
        if "norm" in last_name and not known and not isinstance(module, nn.Identity):
            raise ValueError(f"projection cannot take {name} of {name_of(network)} into account: use selection_ls")


def principal_components(moment: Tensor, count: int) -> Tensor:
    """The leading eigenvectors (D, count) of a moment (D, D) within what is orthogonal to the ones vector."""
    inside = complement_of_ones(len(moment))
    vectors = (inside @ torch.linalg.eigh(inside.T @ moment @ inside).eigenvectors).flip(1)[:, :count]
    # an eigenvector's sign is arbitrary: the largest element of each becomes positive
    return vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()


def complement_of_ones(size: int) -> Tensor:
    """An orthonormal basis (size, size - 1) of what is orthogonal to the ones vector: cosines, float64."""
    places = torch.arange(size, dtype=torch.float64) + 0.5
    return torch.cos(torch.pi / size * places[:, None] * torch.arange(1, size)) * (2 / size) ** 0.5


def _measure_stream(teacher: Any, chosen: tuple[int, ...], images: Tensor) -> tuple[dict, dict]:
    """The second moment of the normalised stream at each place, and the energy that heads and hidden units write."""
    moments: dict[tuple[str, int], Any] = defaultdict(float)
    energies: dict[tuple[str, int], Any] = defaultdict(float)

    def add_stream(stream: Tensor, place: tuple[str, int]) -> None:
        z = stream.double().flatten(0, -2)
        z = z - z.mean(1, keepdim=True)
        z = z / z.norm(dim=1, keepdim=True)
        moments[place] = moments[place] + z.T @ z

    def add_energy(inputs: Tensor, place: tuple[str, int], layer: nn.Linear, groups: int) -> None:
        a = inputs.double().flatten(0, -2).unflatten(1, (groups, -1))  # (token, group, channel)
        weight = layer.weight.double().unflatten(1, (groups, -1))
        moment = torch.einsum("ngi,ngj->gij", a, a)
        energies[place] = energies[place] + torch.einsum("gij,ogi,ogj->g", moment, weight, weight)

    def on_input(module: nn.Module, function: Callable, *details: Any) -> Any:
        return module.register_forward_pre_hook(lambda _, inputs: function(inputs[0], *details))

    hooks = [teacher.blocks[chosen[-1]].register_forward_hook(lambda *call: add_stream(call[-1], END))]
    for k in chosen:
        block = teacher.blocks[k]
        hooks += [on_input(block.norm1, add_stream, ("norm1", k)), on_input(block.norm2, add_stream, ("norm2", k))]
        hooks.append(on_input(block.attn.proj, add_energy, ("heads", k), block.attn.proj, block.attn.num_heads))
        hooks.append(on_input(block.mlp.fc2, add_energy, ("units", k), block.mlp.fc2, block.mlp.fc2.in_features))
    try:
        for batch in images.split(BATCH):
            teacher.forward_features(batch)
    finally:
        for hook in hooks:
            hook.remove()
    if not all(moment.isfinite().all() for moment in moments.values()):
        raise ValueError("the teacher's activations are not finite: check its weights and the images")
    return moments, energies


def _choose_heads(attention: Any, source: Any, energy: Tensor) -> Tensor:
    """The channels of those heads that write most energy, whole where the head's size allows."""
    s, t = ((layer.num_heads, layer.head_dim) for layer in (attention, source))
    if s[0] > t[0] or s[1] > t[1]:
        text = f"the student's {s[0]} heads of {s[1]} do not fit into the teacher's {t[0]} heads of {t[1]}"
        raise ValueError(f"projection keeps whole heads: {text}: use selection_ls")
    return torch.from_numpy(whole_heads(t[1], _choose_largest(energy, s[0]).numpy(), spread(t[1], s[1])))


def _choose_largest(energy: Tensor, count: int) -> Tensor:
    """The positions of the `count` largest values, in rising order."""
    return energy.argsort(descending=True, stable=True)[:count].sort().values


def _fill_reader(layer: Any, source: Any, norm: Any, reader: Tensor, rows: Any) -> None:
    """Fill a layer that reads the stream: W' = W reader, b' = b + W beta."""
    weight = source.weight.double()[rows]
    layer.weight.copy_(weight @ reader)
    if layer.bias is not None:
        bias = 0 if source.bias is None else source.bias.double()[rows]
        layer.bias.copy_(bias + weight @ norm.bias.double())
    elif norm.bias.any():
        raise ValueError(f"projection puts a norm's biases into the layer after it, {layer} has none: use selection_ls")


def _fill_writer(layer: Any, source: Any, scale: Any, writer: Tensor, columns: Any) -> None:
    """Fill a layer that writes to the stream: W' = R diag(layer scale) W, b' = R diag(layer scale) b."""
    writer = writer * scale.gamma.double() if hasattr(scale, "gamma") else writer
    layer.weight.copy_((writer @ source.weight.double().flatten(1)[:, columns]).view_as(layer.weight))
    if layer.bias is not None and source.bias is not None:
        layer.bias.copy_(writer @ source.bias.double())
