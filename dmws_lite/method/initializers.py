"""Initialisers: the ways to fill a student before training, one name each, all with one signature.

    initializer(model, *, seed=0, plan=None, teacher_state=None) -> model

works in place and returns the model, a timm model on the CPU. Only "weight_selection" uses `plan`; only it and
"full_teacher" use `teacher_state`. All draw from generators of their own: equal seeds give equal weights, and torch's
global random state stays as it was. All end with the same classifier for the same seed (normal of standard deviation
0.02, biases 0), so that compared runs start from equal classifiers. That classifier is our choice, and so is what
`xavier`, `kaiming` and `truncated_normal` do beside their weights: norms start at 1 and 0, layer scales as in a fresh
model, tokens and position embeddings from a normal of standard deviation 0.02.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.layers.grn import GlobalResponseNorm
from timm.models.convnext import ConvNeXt, ConvNeXtBlock
from timm.models.efficientnet import EfficientNet, efficientnet_init_weights
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dmws_lite.method.networks import Teacher, set_input_statistics
from dmws_lite.method.plan import SelectionPlan, interpolate
from dmws_lite.runtime.seeds import generator

STD = 0.02
CONVNEXT_LAYER_SCALE = 1e-6  # Liu et al. 2022, arXiv 2201.03545
_BODY, _CLASSIFIER, _ATTENTION = 0, 1, 2  # independent random streams of one seed


def initialize(name: str, model: nn.Module, **options) -> nn.Module:
    """Initialise `model` in place with the initialiser called `name`.

    options: seed, plan, teacher_state, as that initialiser needs them. teacher_state may be the Teacher itself: then
             the model carries the teacher's input statistics, as its weights need them.
    Raises ValueError for an unknown name, with the names there are.
    """
    if name not in INITIALIZERS:
        raise ValueError(f"unknown initializer {name!r}: choose one of {', '.join(INITIALIZERS)}")
    if isinstance(teacher := options.get("teacher_state"), Teacher):
        set_input_statistics(model, teacher.mean, teacher.std)
        options["teacher_state"] = teacher.state
    return INITIALIZERS[name](model, **options)


@torch.no_grad()
def default(model: nn.Module, *, seed: int = 0, plan=None, teacher_state=None) -> nn.Module:
    """The distributions timm itself draws a fresh model of this architecture from; for ConvNeXt, `truncated_normal`."""
    _require_cpu(model)
    if isinstance(model, ConvNeXt):
        return truncated_normal(model, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator(seed, _BODY).get_state())
        _reset(model.modules())
        if isinstance(model, EfficientNet):
            efficientnet_init_weights(model)
        elif callable(own_rule := getattr(model, "init_weights", None)):
            own_rule()
    return draw_classifier(model, seed)


def xavier(model: nn.Module, *, seed: int = 0, plan=None, teacher_state=None) -> nn.Module:
    """Uniform weights of variance 2 / (fan_in + fan_out), biases 0 (Glorot & Bengio 2010)."""
    return _draw(model, seed, nn.init.xavier_uniform_)


def kaiming(model: nn.Module, *, seed: int = 0, plan=None, teacher_state=None) -> nn.Module:
    """Normal weights of variance 2 / fan_in, biases 0 (He et al. 2015, arXiv 1502.01852)."""
    return _draw(model, seed, nn.init.kaiming_normal_, nonlinearity="relu")


def truncated_normal(model: nn.Module, *, seed: int = 0, plan=None, teacher_state=None) -> nn.Module:
    """Normal weights of standard deviation 0.02, biases 0, as most transformers do; the cut at +-2 never bites."""
    return _draw(model, seed, nn.init.trunc_normal_, std=STD)


@torch.no_grad()
def mimetic(model: nn.Module, *, seed: int = 0, plan=None, teacher_state=None) -> nn.Module:
    """Attention that starts as trained attention looks: queries meet like keys, values return with changed sign.

    In each block, W_q W_k^T = 0.7 Z + 0.7 I for each head (its best approximation of rank head_dim), and
    W_v W_proj = 0.4 Z - 0.4 I, with entries of Z from N(0, 1 / embed), factored by SVD. Position embeddings are
    sinusoids (0 for class and register tokens). The rest is as in `default`.
    Raises ValueError for a model without timm's fused attention, or of a width that is no multiple of 4.
    Source: Trockman & Kolter 2023, arXiv 2305.09828.
    """
    attentions = [m for m in model.modules() if isinstance(getattr(m, "qkv", None), nn.Linear) and hasattr(m, "proj")]
    if not attentions:
        raise ValueError(
            f"initializer 'mimetic' sets self-attention, and {type(model).__name__} has none: use it with a timm "
            "VisionTransformer, or choose another initializer"
        )
    state = default(model, seed=seed).state_dict()
    own = generator(seed, _ATTENTION)
    for attention in attentions:
        _mimic(attention, own)
    if "pos_embed" in state:
        state["pos_embed"].copy_(_sinusoids(model, *state["pos_embed"].shape[1:]))
    return model


@torch.no_grad()
def weight_selection(
    model: nn.Module,
    *,
    seed: int = 0,
    plan: SelectionPlan | None = None,
    teacher_state: Mapping[str, Tensor] | None = None,
) -> nn.Module:
    """The teacher's weights that `plan` selects; tensors that the plan skips start as in `default`.

    Networks with BatchNorm need `recalibrate_batchnorm` afterwards; `fit` does that.
    Raises ValueError without plan or teacher_state, and where plan and model disagree on a tensor.
    Source: Xu et al. 2024, arXiv 2311.18823.
    """
    if plan is None or teacher_state is None:
        raise ValueError("initializer 'weight_selection' needs plan=plan(teacher, student) and teacher_state=teacher")
    default(model, seed=seed)
    return _load(model, plan.apply(teacher_state), "the plan", optional=plan.skipped)


@torch.no_grad()
def full_teacher(
    model: nn.Module, *, seed: int = 0, plan=None, teacher_state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """All of the teacher's weights but the classifier, in a model of its architecture (any image size): an upper bound.

    Raises ValueError without teacher_state, and for another architecture (the message names the tensor).
    """
    if teacher_state is None:
        raise ValueError("initializer 'full_teacher' needs teacher_state=load_teacher(name)")
    own, fresh = default(model, seed=seed).state_dict(), _classifier_names(model)
    state = {name: tensor for name, tensor in teacher_state.items() if name not in fresh}
    if "pos_embed" in state and "pos_embed" in own and state["pos_embed"].shape[1] != own["pos_embed"].shape[1]:
        state["pos_embed"] = interpolate(state["pos_embed"], own["pos_embed"].shape[1])
    return _load(model, state, "the teacher", optional=fresh)


INITIALIZERS: dict[str, Callable[..., nn.Module]] = {
    rule.__name__: rule
    for rule in (default, xavier, kaiming, truncated_normal, mimetic, weight_selection, full_teacher)
}


@torch.no_grad()
def recalibrate_batchnorm(model: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Measure the running statistics of every BatchNorm anew, in place; a model without BatchNorm stays as it is.

    A selected channel sees other inputs than it saw in the teacher, so the teacher's statistics are wrong for it.
    batches: normalised float (batch, 3, height, width); the statistics are their plain average. Dropout stays off, and
             modes and momenta are as before afterwards (torch's own update_bn keeps neither).
    Raises ValueError when there is no batch.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return model
    device, batches = next(model.parameters()).device, iter(batches)
    if (first := next(batches, None)) is None:
        raise ValueError("batches is empty: pass at least one batch of training images to measure BatchNorm on")
    modes, momenta = {m: m.training for m in model.modules()}, [norm.momentum for norm in norms]
    try:
        model.eval()
        for norm in norms:
            norm.train()
            norm.momentum = None  # a plain average
            norm.reset_running_stats()
        for batch in chain([first], batches):
            model(batch.to(device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
    return model


def _require_cpu(model: nn.Module) -> None:
    if (device := next(model.parameters()).device).type != "cpu":
        raise ValueError(f"the model is on {device}: initialise it on the CPU, then move it: devices then start equal")


@torch.no_grad()
def _draw(model: nn.Module, seed: int, rule: Callable, **options) -> nn.Module:
    """Fill the weights of all linear and convolution layers, and the tokens, by `rule`; the rest is constant."""
    _require_cpu(model)
    own = generator(seed, _BODY)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    _reset(m for m in model.modules() if not isinstance(m, nn.Linear | nn.Conv2d))
    for name, layer in layers.items():
        # fan-in and fan-out are counted apart for q, k and v, and for the groups of a convolution
        for part in layer.weight.chunk(3 if name.endswith("qkv") else getattr(layer, "groups", 1)):
            rule(part, generator=own, **options)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for parameter in model.parameters(recurse=False):  # class and register tokens, position embeddings
        nn.init.trunc_normal_(parameter, std=STD, generator=own)
    return draw_classifier(model, seed)


def _reset(modules: Iterable[nn.Module]) -> None:
    """Every layer's own `reset_parameters()`, and the constants of timm layers that have none."""
    module: Any
    for module in modules:
        if isinstance(module, ConvNeXtBlock) and module.gamma is not None:
            nn.init.constant_(module.gamma, CONVNEXT_LAYER_SCALE)
        elif isinstance(module, GlobalResponseNorm):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)
        elif hasattr(module, "reset_parameters"):
            module.reset_parameters()


def _classifiers(model: Any) -> list[Any]:
    """The classifier's layers: none in a headless model, two in a distilled DeiT."""
    heads = model.get_classifier()
    return [m for m in (heads if isinstance(heads, tuple) else (heads,)) if hasattr(m, "weight")]


def _classifier_names(model: nn.Module) -> set[str]:
    own = {id(p) for layer in _classifiers(model) for p in layer.parameters()}
    return {name for name, p in model.named_parameters() if id(p) in own}


@torch.no_grad()
def draw_classifier(model: nn.Module, seed: int) -> nn.Module:
    """Give a model the classifier that all initialisers draw from this seed, in place."""
    own = generator(seed, _CLASSIFIER)
    for layer in _classifiers(model):
        nn.init.trunc_normal_(layer.weight, std=STD, generator=own)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return model


def _load(model: nn.Module, state: Mapping[str, Tensor], source: str, optional: Iterable[str]) -> nn.Module:
    """Copy `state` into the model; every tensor must be there, but for the `optional` ones."""
    own = model.state_dict()
    for name in (*own, *state):
        mine, theirs = (tuple(s[name].shape) if name in s else "missing" for s in (own, state))
        if mine != theirs and not (theirs == "missing" and name in optional):
            raise ValueError(
                f"{name} is {mine} in the model, {theirs} in {source}: build the model that it was made for"
            )
    model.load_state_dict(state, strict=False)
    return model


def _mimic(attention: Any, own: torch.Generator) -> None:
    """Set one block's fused qkv and proj. torch keeps W transposed: its q rows are the paper's W_q^T."""
    inner, embed = attention.proj.weight.shape[1], attention.qkv.weight.shape[1]  # inner = head * head_dim
    head_dim = inner // attention.num_heads
    heads = [_factors(0.7, 0.7, embed, head_dim, own) for _ in range(attention.num_heads)]
    values, projection = _factors(0.4, -0.4, embed, inner, own)
    rows = [*(left.T for left, _ in heads), *(right for _, right in heads), values.T]
    attention.qkv.weight.copy_(torch.cat(rows))  # (3 * head * head_dim, embed)
    attention.proj.weight.copy_(projection.T)  # (embed, head * head_dim)
    for layer in (attention.qkv, attention.proj):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def _factors(alpha: float, beta: float, size: int, rank: int, own: torch.Generator) -> tuple[Tensor, Tensor]:
    """Factors (size, rank) and (rank, size) of alpha Z + beta I with balanced norms; exact where rank = size."""
    noise = torch.randn(size, size, generator=own) / size**0.5
    u, s, vh = torch.linalg.svd(alpha * noise + beta * torch.eye(size))
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * vh[:rank]


def _sinusoids(model: Any, tokens: int, embed: int) -> Tensor:
    """Position embeddings (1, token, embed): 2-D sinusoids for the patches, 0 for the tokens before them."""
    if embed % 4:
        raise ValueError(f"initializer 'mimetic' needs a width that is a multiple of 4 for its sinusoids, not {embed}")
    patches = build_sincos2d_pos_embed(list(model.patch_embed.grid_size), embed)
    return torch.cat([torch.zeros(tokens - len(patches), embed), patches])[None]
