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
IMAGE = {"vit": 16, "convnext": 32, "mobilenet": 32}
RANDOM = ("default", "xavier", "kaiming", "truncated_normal")


def inputs_of(name, family, classes=5):
    """What the initialiser `name` needs besides a model, with a teacher of another number of classes."""
    torch.manual_seed(7)
    if name == "weight_selection" or name in MEASURED:
        teacher = noisy(TEACHERS[family](classes=classes))
        given = {"plan": plan(teacher, STUDENTS[family]()), "teacher_state": teacher.state_dict()}
        return (
            given
            if name not in MEASURED
            else given | {"teacher_state": teacher} | {"images": torch.randn(9, 3, *2 * [IMAGE[family]])}
        )
    return {"teacher_state": noisy(STUDENTS[family](classes=classes)).state_dict()} if name == "full_teacher" else {}


def noisy(model):
    """No tensor of a trained network is constant."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor))
    return model


def equal(a, b):
    return all(torch.equal(x, b[name]) for name, x in a.items())


def cases():
    """Each initialiser with the families it knows; what is refitted is tested in test_compensation.py."""
    known = {"mimetic": ("vit",)} | {name: ("vit",) for name in MEASURED}
    return [(name, family) for name in INITIALIZERS for family in known.get(name, STUDENTS)]


@pytest.mark.parametrize("name, family", cases())
def test_weights_come_from_the_seed_alone_and_the_global_random_state_is_left_alone(name, family):
    given = inputs_of(name, family)
    models = [noisy(STUDENTS[family]()) for _ in range(3)]
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    a, b, c = (initialize(name, m, seed=s, **given).state_dict() for m, s in zip(models, (3, 3, 4), strict=True))
    assert equal(a, b) and not equal(a, c)
    assert torch.equal(before, torch.get_rng_state()) and np.array_equal(numpy_before, np.random.get_state()[1])


@pytest.mark.parametrize("family", STUDENTS)
def test_all_initialisers_give_the_same_classifier(family):
    heads = []
    for name in (name for name, f in cases() if f == family):
        model = initialize(name, noisy(STUDENTS[family]()), seed=5, **inputs_of(name, family))
        heads.append(model.get_classifier())
    assert all(torch.equal(head.weight, heads[0].weight) and not head.bias.any() for head in heads)
    assert 0.01 < heads[0].weight.std() < 0.03


@pytest.mark.parametrize("family", STUDENTS)
def test_default_draws_from_the_distributions_of_a_fresh_model(family):
    torch.manual_seed(0)
    fresh = STUDENTS[family]().state_dict()
    ours = initialize("default", noisy(STUDENTS[family]())).state_dict()
    head = "head.fc" if family == "convnext" else "classifier" if family == "mobilenet" else "head"
    for name in fresh.keys() - {f"{head}.weight"}:
        a, b = fresh[name].double().flatten(), ours[name].double().flatten()
        if a.std(correction=0) == 0:
            assert torch.equal(a, b), name
        else:
            assert stats.ks_2samp(a.numpy(), b.numpy()).pvalue > 1e-4, name


def weights(model):
    """(name, weight, whether depthwise) of all linear and convolution layers but the classifier."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer is not model.get_classifier():
            yield name, layer.weight.detach().double().numpy(), getattr(layer, "groups", 1) > 1


def fans(weight, depthwise, name):
    """fan-in and fan-out by hand: a depthwise channel has one input and one output, q, k and v are three maps."""
    area = int(np.prod(weight.shape[2:]))
    if depthwise:
        return area, area
    outputs = weight.shape[0] // 3 if name.endswith("qkv") else weight.shape[0]
    return weight.shape[1] * area, outputs * area


@pytest.mark.parametrize("family", STUDENTS)
@pytest.mark.parametrize("name", ["xavier", "kaiming", "truncated_normal"])
def test_weights_follow_the_formula_biases_are_0_and_norms_and_layer_scales_as_in_a_fresh_model(name, family):
    model = initialize(name, noisy(STUDENTS[family]()), seed=2)
    for layer, weight, depthwise in weights(model):
        fan_in, fan_out = fans(weight, depthwise, layer)
        bound = np.sqrt(6 / (fan_in + fan_out))
        law = {
            "xavier": stats.uniform(-bound, 2 * bound),
            "kaiming": stats.norm(0, np.sqrt(2 / fan_in)),
            "truncated_normal": stats.norm(0, 0.02),
        }[name]
        assert stats.kstest(weight.ravel(), law.cdf).pvalue > 1e-4, layer
        assert np.isclose(weight.var(), law.var(), rtol=6 / np.sqrt(weight.size)), layer
    fresh, ours = STUDENTS[family]().state_dict(), model.state_dict()
    for tensor in (tensor for tensor in fresh if fresh[tensor].ndim < 2):
        expected = torch.zeros_like(fresh[tensor]) if tensor.endswith("bias") else fresh[tensor]
        assert torch.equal(ours[tensor], expected), tensor


def test_tokens_and_layer_scale_of_a_vit():
    model = initialize("xavier", noisy(vit(init_values=0.1, reg_tokens=2)))
    for tokens in (model.cls_token, model.reg_token, model.pos_embed):
        assert 0 < tokens.std() < 0.05
    assert torch.equal(model.blocks[0].ls1.gamma, torch.full((24,), 0.1))


def products(attention):
    """(W_q W_k^T of each head, W_v W_proj) in the paper's orientation, float64."""
    q, k, v = attention.qkv.weight.detach().double().numpy().reshape(3, -1, attention.qkv.in_features)
    heads = [(q[i].T @ k[i]) for i in np.split(np.arange(len(q)), attention.num_heads)]
    return heads, v.T @ attention.proj.weight.detach().double().numpy().T


def test_mimetic_value_projection_is_noise_minus_identity():
    for block in initialize("mimetic", vit(96, heads=4)).blocks:
        noise = products(block.attn)[1] / 0.4 + np.eye(96)
        assert stats.kstest(noise.ravel() * np.sqrt(96), "norm").pvalue > 1e-4
        assert abs(np.trace(noise)) < 5


def test_mimetic_heads_are_the_best_low_rank_part_of_noise_plus_identity():
    """The kept singular values are the largest of 0.7 (Z + I), so they are near those of an independent draw."""
    heads, _ = products(initialize("mimetic", vit(96, heads=4)).blocks[0].attn)
    rng = np.random.default_rng(0)
    drawn = np.linalg.svd(0.7 * (rng.normal(size=(96, 96)) / np.sqrt(96) + np.eye(96)), compute_uv=False)[:24]
    for head in heads:
        assert np.allclose(np.linalg.svd(head, compute_uv=False)[:24], drawn, atol=0.15)


def test_mimetic_positions_are_sinusoids_and_the_class_token_has_none():
    model = initialize("mimetic", vit())
    positions = model.pos_embed.detach().double().numpy()[0]
    rows, columns = np.divmod(np.arange(16), 4)
    bands = 10000.0 ** (-np.arange(6) / 6)
    angles = np.stack([rows, columns], axis=1)[:, :, None] * bands  # (patch, row or column, band)
    assert not positions[0].any()
    expected = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).reshape(16, 24)
    assert np.allclose(np.sort(positions[1:]), np.sort(expected), atol=1e-6)


def test_mimetic_refuses_models_without_attention_and_widths_without_sinusoids():
    for model in (convnext(), mobilenet()):
        with pytest.raises(ValueError, match="mimetic.*has none"):
            initialize("mimetic", model)
    with pytest.raises(ValueError, match="multiple of 4.*not 18"):
        initialize("mimetic", vit(18, heads=2))


@pytest.mark.parametrize("family", STUDENTS)
def test_weight_selection_loads_what_the_plan_cuts_and_defaults_the_rest(family):
    given = inputs_of("weight_selection", family)
    ours = initialize("weight_selection", STUDENTS[family](), **given).state_dict()
    cut = given["plan"].apply(given["teacher_state"])
    rest = initialize("default", STUDENTS[family]()).state_dict()
    assert len(cut) > 10
    assert equal(cut, ours)
    assert all(torch.equal(ours[name], rest[name]) for name in given["plan"].skipped)
    assert cut.keys() | given["plan"].skipped.keys() == ours.keys()


def test_a_tensor_that_does_not_fit_is_named():
    selected, state = inputs_of("weight_selection", "vit"), vit().state_dict()
    other = {**state, "conv_stem.weight": torch.zeros(1)}
    for name, model, given, message in (
        ("weight_selection", vit(depth=3), selected, r"blocks\.2\.\S+ is \(.*\) in the model, missing in the plan"),
        ("weight_selection", vit(depth=1), selected, r"blocks\.1\.\S+ is missing in the model"),
        ("weight_selection", vit(12), selected, r"cls_token is \(1, 1, 12\) in the model, \(1, 1, 24\) in the plan"),
        ("full_teacher", vit(12), {"teacher_state": state}, r"cls_token is \(1, 1, 12\) .* in the teacher: build the"),
        ("full_teacher", vit(), {"teacher_state": other}, r"conv_stem.weight is missing in the model"),
    ):
        with pytest.raises(ValueError, match=message):
            initialize(name, model, **given)


@pytest.mark.parametrize("name", ["weight_selection", "full_teacher"])
def test_teacher_is_asked_for(name):
    with pytest.raises(ValueError, match=f"{name}.*needs.*teacher_state"):
        initialize(name, vit())


@pytest.mark.parametrize("family", STUDENTS)
def test_full_teacher_copies_all_but_the_classifier(family):
    state = inputs_of("full_teacher", family)["teacher_state"]
    model = initialize("full_teacher", STUDENTS[family](), teacher_state=state)
    head = {"vit": "head", "convnext": "head.fc", "mobilenet": "classifier"}[family]
    other = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, state[name])}
    assert other == {f"{head}.weight", f"{head}.bias"}


def test_full_teacher_interpolates_positions_for_another_image_size():
    teacher = vit()
    with torch.no_grad():
        teacher.pos_embed[:, 0], teacher.pos_embed[:, 1:] = 5.0, 2.0
    positions = initialize("full_teacher", vit(size=32), teacher_state=teacher.state_dict()).pos_embed[0]
    assert positions.shape == (65, 24)
    assert torch.allclose(positions[0], torch.tensor(5.0))
    assert torch.allclose(positions[1:], torch.tensor(2.0))


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match="unknown initializer 'he'.*default, xavier, kaiming"):
        initialize("he", vit())


@pytest.mark.parametrize("name", RANDOM)
def test_only_the_cpu_is_drawn_on(name):
    with pytest.raises(ValueError, match="meta.*initialise it on the CPU"):
        initialize(name, vit().to("meta"))


def normalised(n, size, seed=0):
    return torch.randn(n, size, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def test_recalibration_is_the_average_of_the_batches_own_statistics():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.9), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=0.3)).train()
    conv, norm = model[1].eval(), model[2]
    nn.init.constant_(norm.running_mean, 100.0)
    norm.num_batches_tracked.fill_(7)
    batches = normalised(3, 5)
    assert recalibrate_batchnorm(model, iter(batches)) is model
    seen = [conv(batch).detach().double().numpy().transpose(1, 0, 2, 3).reshape(4, -1) for batch in batches]
    assert np.allclose(norm.running_mean, np.mean([x.mean(1) for x in seen], axis=0), atol=1e-5)
    assert np.allclose(norm.running_var, np.mean([x.var(1, ddof=1) for x in seen], axis=0), rtol=1e-5)
    assert norm.momentum == 0.3
    assert [module.training for module in (model, *model)] == [True, True, False, True]


def test_recalibration_refuses_no_batches_and_keeps_the_statistics():
    model = nn.Sequential(nn.BatchNorm2d(3))
    nn.init.constant_(model[0].running_mean, 4.0)
    with pytest.raises(ValueError, match="batches is empty"):
        recalibrate_batchnorm(model, [])
    assert torch.equal(model[0].running_mean, torch.full((3,), 4.0))
