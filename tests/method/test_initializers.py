from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import _gen_mobilenet_v1
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from dmws_lite.method.initializers import INITIALIZERS, MEASURED, initialize
from dmws_lite.method.measuring import recalibrate_batchnorm
from dmws_lite.method.selection import plan


def vit(width=24, depth=2, heads=2, size=16, classes=3, **options):
    return VisionTransformer(size, 4, num_classes=classes, embed_dim=width, depth=depth, num_heads=heads, **options)


def convnext(width=8, classes=3):
    return ConvNeXt(num_classes=classes, depths=(1, 1, 2, 1), dims=(width, width, 2 * width, 2 * width))


def mobilenet(width=0.25, classes=3):
    return _gen_mobilenet_v1("mobilenetv1_100", width, num_classes=classes, pad_type="same")


STUDENTS = {"vit": vit, "convnext": convnext, "mobilenet": mobilenet}
TEACHERS = {"vit": partial(vit, 48, 3, 4), "convnext": partial(convnext, 16), "mobilenet": partial(mobilenet, 0.5)}
HEADS = {"vit": "head", "convnext": "head.fc", "mobilenet": "classifier"}
CASES = [  # each initialiser with the families it knows; what is refitted is tested in test_compensation.py
    (name, family)
    for name in INITIALIZERS
    for family in (("vit",) if name == "mimetic" or name in MEASURED else STUDENTS)
]


def inputs_of(name, family, classes=5):
    """What the initialiser `name` needs besides a model, with a teacher of another number of classes."""
    torch.manual_seed(7)
    if name == "full_teacher":
        return {"teacher_state": noisy(STUDENTS[family](classes=classes)).state_dict()}
    if name != "weight_selection" and name not in MEASURED:
        return {}
    teacher = noisy(TEACHERS[family](classes=classes))
    arguments = {"plan": plan(teacher, STUDENTS[family]()), "teacher_state": teacher}
    return arguments | ({"images": torch.randn(9, 3, 16, 16)} if name in MEASURED else {})


def noisy(model):
    """No tensor of a trained network is constant."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    return model


def equal(a, b):
    return all(torch.equal(x, b[name]) for name, x in a.items())


@pytest.mark.parametrize("name, family", CASES)
def test_weights_come_from_the_seed_alone_and_the_global_random_state_is_left_alone(name, family):
    arguments = inputs_of(name, family)
    models = [noisy(STUDENTS[family]()) for _ in range(3)]
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    a, b, c = (initialize(name, m, seed=s, **arguments).state_dict() for m, s in zip(models, (3, 3, 4), strict=True))
    assert equal(a, b) and not equal(a, c)
    assert torch.equal(before, torch.get_rng_state()) and np.array_equal(numpy_before, np.random.get_state()[1])


@pytest.mark.parametrize("family", STUDENTS)
def test_all_initialisers_give_the_same_classifier(family):
    heads = []
    for name in (name for name, f in CASES if f == family):
        heads.append(initialize(name, noisy(STUDENTS[family]()), seed=5, **inputs_of(name, family)).get_classifier())
    assert all(torch.equal(head.weight, heads[0].weight) and not head.bias.any() for head in heads)
    assert 0.01 < heads[0].weight.std() < 0.03


@pytest.mark.parametrize("family", STUDENTS)
def test_default_draws_from_the_distributions_of_a_fresh_model(family):
    torch.manual_seed(0)
    fresh = STUDENTS[family]().state_dict()
    ours = initialize("default", noisy(STUDENTS[family]())).state_dict()
    for name in fresh.keys() - {f"{HEADS[family]}.weight"}:
        a, b = fresh[name].double().flatten(), ours[name].double().flatten()
        if a.std(correction=0) == 0:
            assert torch.equal(a, b), name
        else:
            assert stats.ks_2samp(a.numpy(), b.numpy()).pvalue > 1e-4, name


def fans(name, layer):
    """fan-in and fan-out by hand: a depthwise channel has one input and one output, q, k and v are three maps."""
    area = int(np.prod(layer.weight.shape[2:]))
    if getattr(layer, "groups", 1) > 1:
        return area, area
    outputs, inputs = layer.weight.shape[:2]
    return inputs * area, outputs // (3 if name.endswith("qkv") else 1) * area


@pytest.mark.parametrize("family", STUDENTS)
@pytest.mark.parametrize("name", ["xavier", "kaiming", "truncated_normal"])
def test_weights_follow_the_formula_biases_are_0_and_norms_and_layer_scales_as_in_a_fresh_model(name, family):
    model = initialize(name, noisy(STUDENTS[family]()), seed=2)
    for layer_name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d) or layer is model.get_classifier():
            continue
        fan_in, fan_out = fans(layer_name, layer)
        bound, weight = np.sqrt(6 / (fan_in + fan_out)), layer.weight.detach().double().numpy()
        law = {
            "xavier": stats.uniform(-bound, 2 * bound),
            "kaiming": stats.norm(0, np.sqrt(2 / fan_in)),
            "truncated_normal": stats.norm(0, 0.02),
        }[name]
        assert stats.kstest(weight.ravel(), law.cdf).pvalue > 1e-4, layer_name
    fresh, ours = STUDENTS[family]().state_dict(), model.state_dict()
    for tensor in (tensor for tensor in fresh if fresh[tensor].ndim < 2):
        expected = torch.zeros_like(fresh[tensor]) if tensor.endswith("bias") else fresh[tensor]
        assert torch.equal(ours[tensor], expected), tensor


def test_mimetic_attention_is_noise_about_the_identity_and_positions_are_sinusoids_but_for_the_class_token():
    """Values and projection are noise - I; the heads' singular values are the largest of 0.7 (Z + I), so they are near
    those of an independent draw."""
    drawn = 0.7 * (np.random.default_rng(0).normal(size=(96, 96)) / np.sqrt(96) + np.eye(96))
    largest = np.linalg.svd(drawn, compute_uv=False)[:24]
    model = initialize("mimetic", vit(96, heads=4))
    for block in model.blocks:
        q, k, v = block.attn.qkv.weight.detach().double().numpy().reshape(3, 96, 96)
        noise = v.T @ block.attn.proj.weight.detach().double().numpy().T / 0.4 + np.eye(96)
        assert stats.kstest(noise.ravel() * np.sqrt(96), "norm").pvalue > 1e-4 and abs(np.trace(noise)) < 5
        for i in np.split(np.arange(96), 4):
            assert np.allclose(np.linalg.svd(q[i].T @ k[i], compute_uv=False)[:24], largest, atol=0.15)
    positions = model.pos_embed.detach().double().numpy()[0]
    angles = np.stack(np.divmod(np.arange(16), 4), axis=1)[:, :, None] * 10000.0 ** (-np.arange(24) / 24)
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).reshape(16, 96)  # (row or column, band)
    assert not positions[0].any() and np.allclose(np.sort(positions[1:]), np.sort(expected), atol=1e-6)


@pytest.mark.parametrize("family", STUDENTS)
def test_weight_selection_loads_what_the_plan_cuts_and_full_teacher_copies_all_but_the_classifier(family):
    arguments = inputs_of("weight_selection", family)
    model, default = (initialize(name, STUDENTS[family](), **arguments) for name in ("weight_selection", "default"))
    selected = arguments["plan"].apply(arguments["teacher_state"].state_dict())
    assert len(selected) > 10 and equal({**default.state_dict(), **selected}, model.state_dict())
    state = inputs_of("full_teacher", family)["teacher_state"]
    model = initialize("full_teacher", STUDENTS[family](), teacher_state=state)
    other = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, state[name])}
    assert other == {f"{HEADS[family]}.weight", f"{HEADS[family]}.bias"}


def test_full_teacher_interpolates_positions_for_another_image_size():
    positions = torch.tensor([5.0] + 16 * [2.0])[None, :, None].expand(1, 17, 24)
    made = initialize("full_teacher", vit(size=32), teacher_state=vit().state_dict() | {"pos_embed": positions})
    assert torch.allclose(made.pos_embed[0], torch.tensor([5.0] + 64 * [2.0])[:, None])


SELECTED, STATE = inputs_of("weight_selection", "vit"), vit().state_dict()
OTHER = {**STATE, "conv_stem.weight": torch.zeros(1)}


@pytest.mark.parametrize(
    ("name", "model", "arguments", "message"),
    [
        ("weight_selection", vit(depth=3), SELECTED, r"blocks\.2\.\S+ is \(.*\) in the model, missing in the plan"),
        ("weight_selection", vit(12), SELECTED, r"cls_token is \(1, 1, 12\) in the model, \(1, 1, 24\) in the plan"),
        ("full_teacher", vit(), {"teacher_state": OTHER}, r"conv_stem.weight is missing in the model"),
        ("full_teacher", vit(), {}, "full_teacher.*needs.*teacher_state"),
        ("weight_selection", vit(), {"plan": (SELECTED["plan"],) * 2}, "plan=tuple: pass one plan"),
        ("mimetic", convnext(), {}, "mimetic.*has none"),
        ("mimetic", vit(18, heads=2), {}, "multiple of 4.*not 18"),
        ("he", vit(), {}, "unknown initializer 'he'.*default, xavier, kaiming"),
        ("xavier", vit().to("meta"), {}, "meta.*initialise it on the CPU"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_tensor_named(name, model, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        initialize(name, model, **arguments)


def test_recalibration_is_the_average_of_the_batches_own_statistics():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.9), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3)).train()
    conv, norm = model[1].eval(), model[2]
    batches = torch.randn(3, 5, 3, 8, 8) * 2 + 1
    assert recalibrate_batchnorm(model, iter(batches)) is model
    outputs = [conv(batch).detach().double().numpy().transpose(1, 0, 2, 3).reshape(4, -1) for batch in batches]
    assert np.allclose(norm.running_mean, np.mean([x.mean(1) for x in outputs], axis=0), atol=1e-5)
    assert np.allclose(norm.running_var, np.mean([x.var(1, ddof=1) for x in outputs], axis=0), rtol=1e-5)
    assert norm.momentum == 0.3
    assert [module.training for module in (model, *model)] == [True, True, False, True]
