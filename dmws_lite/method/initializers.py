"""Initialisers: the ways to fill a student before training, one name each, all with one signature.

    initializer(model, *, seed, plan, teacher_state, images) -> model

works in place and returns the model, a timm model on the CPU. Those of MEASURED leave what they measured on the images
in `model.measured`. Equal seeds give equal weights, and torch's global random state stays as it was. All end with the
same classifier for the same seed (normal of standard deviation 0.02, biases 0): compared runs start from equal ones.
That is our choice, and so is what `xavier`, `kaiming` and `truncated_normal` do beside their weights: norms start at 1
and 0, layer scales as in a fresh model, tokens and position embeddings from a normal of standard deviation 0.02.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from typing import Any

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.layers.grn import GlobalResponseNorm
from timm.models.convnext import ConvNeXt, ConvNeXtBlock
from timm.models.efficientnet import EfficientNet, efficientnet_init_weights
from torch import Tensor, nn

from dmws_lite.method.branches import BRANCHES
from dmws_lite.method.compensation import compensate, measure, places_of
from dmws_lite.method.components import family_of
from dmws_lite.method.measuring import calibration_images
from dmws_lite.method.networks import Teacher, build, describe, name_of, require_image_size, set_input_statistics
from dmws_lite.method.plan import SelectionPlan, interpolate
from dmws_lite.method.projection import project
from dmws_lite.runtime.device import layout_for
from dmws_lite.runtime.seeds import generator
from dmws_lite.runtime.text import require

MEASURED = {"selection_ls": tuple(BRANCHES), "projection": ("vit",), "projection_ls": ("vit",)}  # with their families
STD = 0.02
CONVNEXT_LAYER_SCALE = 1e-6  # Liu et al. 2022, arXiv 2201.03545
_BODY, _CLASSIFIER, _ATTENTION = 0, 1, 2  # independent random streams of one seed


def initialize(
    name: str, model: Any, *, seed: int = 0, plan: SelectionPlan | None = None, teacher_state: Any = None, images=None
) -> Any:
    """Initialise `model` in place with the initialiser called `name`; it takes of the arguments what it needs.

    teacher_state: the teacher's state dict, its module, or the Teacher itself: then the model carries the teacher's
             input statistics, as its weights need them.
    images:  training images of the model's size that the methods in MEASURED measure on (see `calibration_images`).
    Raises ValueError for an unknown name, with the names there are, for a teacher without weights and for images that
    do not fit; a warning says when there are so few images that a fit may hold for them only.

    >>> splits, teacher = dm.open_data("phantom_brain_mri"), dm.load_teacher()  # doctest: +SKIP
    >>> model, plan = dm.build("embedded_vit_48", 3), dm.plan(teacher, "embedded_vit_48")  # doctest: +SKIP
    >>> dm.initialize("selection_ls", model, plan=plan, teacher_state=teacher, images=splits.train)  # doctest: +SKIP
    """
    require("initializer", name, INITIALIZERS)
    if plan is not None and not isinstance(plan, SelectionPlan):
        raise TypeError(f"plan={type(plan).__name__}: pass one plan; complementary_plans returns one for each student")
    if isinstance(teacher_state, str):
        raise ValueError(f"teacher_state={teacher_state!r} is a name without weights: pass load_teacher(...)")
    vars(model).pop("measured", None)  # of an earlier start
    if isinstance(teacher_state, Teacher):
        set_input_statistics(model, teacher_state.mean, teacher_state.std)
        teacher_state = teacher_state.state
    if name in MEASURED:
        family = family_of(describe(model).shapes, name_of(model))
        if family not in MEASURED[name]:
            alternatives = ["weight_selection", *(other for other, families in MEASURED.items() if family in families)]
            text = f"initializer {name!r} works with the families {', '.join(MEASURED[name])}; {name_of(model)} is a "
            raise ValueError(f"{text}{family}: choose one of {', '.join(alternatives)}")
        if plan is None or teacher_state is None or images is None:
            raise ValueError(
                f"initializer {name!r} needs plan=plan(teacher, student), teacher_state=teacher, and images=training "
                "images to measure on, uint8 (N, 1 or 3, H, W): no labels"
            )
        images = calibration_images(images, model)
        require_image_size(model, images.shape, "calibration images")
    return INITIALIZERS[name](model, seed=seed, plan=plan, teacher_state=teacher_state, images=images)


@torch.no_grad()
def default(model: Any, *, seed: int = 0, **_: Any) -> nn.Module:
    """The distributions timm itself draws a fresh model of this architecture from; for ConvNeXt, `truncated_normal`."""
    if isinstance(model, ConvNeXt):
        return truncated_normal(model, seed=seed)
    _require_cpu(model)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(generator(seed, _BODY).get_state())
        _reset(model.modules())
        if isinstance(model, EfficientNet):
            efficientnet_init_weights(model)
        elif callable(getattr(model, "init_weights", None)):
            model.init_weights()
    return draw_classifier(model, seed)


def xavier(model: nn.Module, *, seed: int = 0, **_: Any) -> nn.Module:
    """Uniform weights of variance 2 / (fan_in + fan_out), biases 0 (Glorot & Bengio 2010)."""
    return _draw(model, seed, nn.init.xavier_uniform_)


def kaiming(model: nn.Module, *, seed: int = 0, **_: Any) -> nn.Module:
    """Normal weights of variance 2 / fan_in, biases 0 (He et al. 2015, arXiv 1502.01852)."""
    return _draw(model, seed, nn.init.kaiming_normal_, nonlinearity="relu")


def truncated_normal(model: nn.Module, *, seed: int = 0, **_: Any) -> nn.Module:
    """Normal weights of standard deviation 0.02, biases 0, as most transformers do; the cut at +-2 has no effect."""
    return _draw(model, seed, nn.init.trunc_normal_, std=STD)


@torch.no_grad()
def mimetic(model: Any, *, seed: int = 0, **_: Any) -> nn.Module:
    """Attention weights as trained ones look: a query matches its own key, values come back with the opposite sign.

    In each block, W_q W_k^T = 0.7 Z + 0.7 I for each head (its best approximation of rank head_dim), and
    W_v W_proj = 0.4 Z - 0.4 I, with entries of Z from N(0, 1 / embed), factored by SVD. Position embeddings are
    sinusoids (0 for class and register tokens). The rest is as in `default`.
    Source: Trockman & Kolter 2023, arXiv 2305.09828.
    """
    attentions = [m for m in model.modules() if isinstance(getattr(m, "qkv", None), nn.Linear) and hasattr(m, "proj")]
    if not attentions:
        text = f"initializer 'mimetic' sets self-attention, and {type(model).__name__} has none"
        raise ValueError(f"{text}: use it with a timm VisionTransformer, or choose another initializer")
    default(model, seed=seed)
    rng = generator(seed, _ATTENTION)
    for attention in attentions:  # torch keeps W transposed: its q rows are the paper's W_q^T
        inner, embed = attention.proj.weight.shape[1], attention.qkv.weight.shape[1]  # inner = head * head_dim
        rank = inner // attention.num_heads
        heads = [_draw_factors(0.7, 0.7, embed, rank, rng) for _ in range(attention.num_heads)]
        values, projection = _draw_factors(0.4, -0.4, embed, inner, rng)
        rows = [*(queries.T for queries, _ in heads), *(keys for _, keys in heads), values.T]
        attention.qkv.weight.copy_(torch.cat(rows))  # (3 * head * head_dim, embed)
        attention.proj.weight.copy_(projection.T)  # (embed, head * head_dim)
        for bias in (attention.qkv.bias, attention.proj.bias):
            if bias is not None:
                nn.init.zeros_(bias)
    positions = getattr(model, "pos_embed", None)
    if positions is not None:
        embed = positions.shape[2]
        if embed % 4:
            raise ValueError(f"initializer 'mimetic' needs a width that is a multiple of 4 (sinusoids), not {embed}")
        patches = build_sincos2d_pos_embed(list(model.patch_embed.grid_size), embed)
        nn.init.zeros_(positions)
        positions[0, -len(patches) :] = patches  # 0 for the tokens before them
    return model


def _draw_factors(alpha: float, beta: float, size: int, rank: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Factors (size, rank) and (rank, size) of alpha Z + beta I with balanced norms; exact where rank = size."""
    noise = torch.randn(size, size, generator=rng) / size**0.5
    u, s, vh = torch.linalg.svd(alpha * noise + beta * torch.eye(size))
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * vh[:rank]


@torch.no_grad()
def weight_selection(model: nn.Module, *, seed: int = 0, plan=None, teacher_state: Any = None, **_: Any) -> nn.Module:
    """The teacher's weights that `plan` selects; tensors that the plan skips start as in `default`.

    Networks with BatchNorm need `recalibrate_batchnorm` afterwards; `fit` does that.
    Source: Xu et al. 2024, arXiv 2311.18823.
    """
    if plan is None or teacher_state is None:
        raise ValueError("initializer 'weight_selection' needs plan=plan(teacher, student) and teacher_state=teacher")
    state = plan.apply(_state_of(teacher_state))
    return _load_state(default(model, seed=seed), state, "the plan", optional=plan.skipped)


def selection_ls(model: Any, *, seed: int = 0, plan: Any, teacher_state: Any, images: Tensor) -> nn.Module:
    """Weight selection, then each layer refitted to the teacher by least squares on the images: see `compensate`."""
    weight_selection(model, seed=seed, plan=plan, teacher_state=teacher_state)
    teacher = _build_teacher(teacher_state, plan, images)
    model.measured = compensate(model, teacher, plan.layers, places_of(plan), images)
    return model


def projection(model: Any, *, seed: int = 0, plan: Any, teacher_state: Any, images: Tensor) -> nn.Module:
    """Principal components of the teacher's stream in place of channels (pre-norm ViTs): see `project`."""
    teacher = _build_teacher(teacher_state, plan, images)
    places = project(default(model, seed=seed), teacher, plan, images)
    model.measured = measure(model, teacher, plan.layers, places, images, "projection")
    return model


def projection_ls(model: Any, *, seed: int = 0, plan: Any, teacher_state: Any, images: Tensor) -> nn.Module:
    """`projection`, then each layer refitted to the teacher by least squares on the images: see `compensate`."""
    teacher = _build_teacher(teacher_state, plan, images)
    places = project(default(model, seed=seed), teacher, plan, images)
    model.measured = compensate(model, teacher, plan.layers, places, images, method="projection_ls")
    return model


@torch.no_grad()
def full_teacher(model: Any, *, seed: int = 0, teacher_state: Any = None, **_: Any) -> nn.Module:
    """All of the teacher's weights but the classifier, in its own architecture at any image size: an upper bound."""
    if teacher_state is None:
        raise ValueError("initializer 'full_teacher' needs teacher_state=load_teacher(name)")
    default(model, seed=seed)
    weights = {id(weight) for layer in _classifier_layers(model) for weight in layer.parameters()}
    classifier = {name for name, weight in model.named_parameters() if id(weight) in weights}
    state = {name: tensor for name, tensor in _state_of(teacher_state).items() if name not in classifier}
    positions, model_positions = state.get("pos_embed"), getattr(model, "pos_embed", None)
    if positions is not None and model_positions is not None and positions.shape[1] != model_positions.shape[1]:
        state["pos_embed"] = interpolate(positions, model_positions.shape[1])
    return _load_state(model, state, "the teacher", optional=classifier)


INITIALIZERS: dict[str, Callable[..., nn.Module]] = {rule.__name__: rule for rule in (
    default, xavier, kaiming, truncated_normal, mimetic,
    weight_selection, selection_ls, projection, projection_ls, full_teacher,
)}  # fmt: skip


def _state_of(teacher: Any) -> Mapping[str, Tensor]:
    return teacher.state_dict() if isinstance(teacher, nn.Module) else teacher


def _build_teacher(teacher: Any, plan: SelectionPlan, images: Tensor) -> nn.Module:
    """The teacher's network, for images of this size."""
    if isinstance(teacher, nn.Module):
        require_image_size(teacher, images.shape, "calibration images")
        network: nn.Module = deepcopy(teacher)
    else:
        network = full_teacher(build(plan.teacher, 1, images.shape[-1]), teacher_state=teacher)
    return network.to(memory_format=layout_for(network, torch.device("cpu")))


def _require_cpu(model: nn.Module) -> None:
    if (device := next(model.parameters()).device).type != "cpu":
        raise ValueError(f"the model is on {device}: initialise it on the CPU, then move it: devices then start equal")


@torch.no_grad()
def _draw(model: nn.Module, seed: int, rule: Callable, **options) -> nn.Module:
    """Fill the weights of all linear and convolution layers, and the tokens, by `rule`; the rest is constant."""
    _require_cpu(model)
    rng = generator(seed, _BODY)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    _reset(m for m in model.modules() if not isinstance(m, nn.Linear | nn.Conv2d))
    for name, layer in layers.items():
        # fan-in and fan-out are those of each of q, k and v, and of each group of a convolution
        for matrix in layer.weight.chunk(3 if name.endswith("qkv") else getattr(layer, "groups", 1)):
            rule(matrix, generator=rng, **options)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    for parameter in model.parameters(recurse=False):  # class and register tokens, position embeddings
        nn.init.trunc_normal_(parameter, std=STD, generator=rng)
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


def _classifier_layers(model: Any) -> list[Any]:
    """The classifier's layers: none in a headless model, two in a distilled DeiT."""
    heads = model.get_classifier()
    return [m for m in (heads if isinstance(heads, tuple) else (heads,)) if hasattr(m, "weight")]


@torch.no_grad()
def draw_classifier(model: nn.Module, seed: int) -> nn.Module:
    """Give a model the classifier that all initialisers draw from this seed, in place."""
    rng = generator(seed, _CLASSIFIER)
    for layer in _classifier_layers(model):
        nn.init.trunc_normal_(layer.weight, std=STD, generator=rng)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return model


def _load_state(model: nn.Module, state: Mapping[str, Tensor], source: str, optional: Collection[str]) -> nn.Module:
    """Copy `state` into the model; every tensor must be there, but for the `optional` ones."""
    model_state = model.state_dict()
    for name in (*model_state, *state):
        if name in optional and name not in state:
            continue
        shape, source_shape = (tuple(s[name].shape) if name in s else "missing" for s in (model_state, state))
        if shape != source_shape:
            text = f"{name} is {shape} in the model, {source_shape} in {source}"
            raise ValueError(f"{text}: build the model that it was made for")
    model.load_state_dict(state, strict=False)
    return model
