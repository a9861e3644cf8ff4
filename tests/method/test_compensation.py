"""Least squares and projection: exact where nothing is cut, against float64 by hand, and what they refuse."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from timm.layers import RmsNorm
from timm.models.convnext import ConvNeXt
from timm.models.deit import VisionTransformerDistilled
from timm.models.efficientnet import _gen_efficientnet_lite, _gen_mobilenet_v1
from timm.models.vision_transformer import VisionTransformer

import dmws_lite as dm
from dmws_lite.method.compensation import compensate, places_of
from dmws_lite.method.measuring import calibration_images

efficientnet = partial(_gen_efficientnet_lite, "tf_efficientnet_lite0", 0.1, 0.1, num_classes=3)
distilled = partial(VisionTransformerDistilled, 16, 4, num_classes=3, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2)
REFITTED = ("qkv", "attn.proj", "fc1", "fc2", "conv_pw", "conv_pwl", "conv_head", "downsample.1")


def vit(width=16, heads=2, depth=2, **options):
    shape = {"embed_dim": width, "depth": depth, "num_heads": heads, "mlp_ratio": 2}
    return VisionTransformer(16, 4, num_classes=3, **shape, **options)


def convnext(width=8, depth=2, **options):
    return ConvNeXt(num_classes=3, depths=(1, depth, 1, 1), dims=(width, width, 2 * width, 2 * width), **options)


def mobilenet(width=0.125):
    return _gen_mobilenet_v1("mobilenetv1_100", width, num_classes=3, pad_type="same")


def trained(model, seed=0):
    """A network none of whose tensors is constant, in float64."""
    rng = torch.Generator().manual_seed(seed)
    for tensor in model.double().state_dict().values():
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape, generator=rng, dtype=tensor.dtype)
            tensor += 0.5 * noise if tensor.ndim < 2 else 0.1 * (noise - 0.5)
    return model.eval()


def images(n=40, size=16, seed=1):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (vit, 16),
        (lambda: vit(init_values=0.3, reg_tokens=2, global_pool="avg"), 16),
        (lambda: vit(qkv_bias=False), 16),
        (convnext, 64),
        (lambda: convnext(conv_mlp=True, use_grn=True, ls_init_value=None), 64),
        (mobilenet, 64),
        (efficientnet, 64),
    ],
)
def test_with_all_channels_kept_and_no_ridge_the_student_equals_its_teacher_again(build, size):
    teacher, calibration = trained(build()), images(200 if size == 16 else 48, size)
    student = build().double()
    student.load_state_dict(teacher.state_dict())
    plan = dm.plan(teacher, student)
    for name in places_of(plan):
        if name.endswith(REFITTED):
            student.get_submodule(name).weight.data.mul_(0.7).add_(0.01)
    assert (student.eval()(calibration) - teacher(calibration)).abs().max() > 1e-3
    measured = compensate(student, teacher, plan.layers, places_of(plan), calibration, ridge=0)
    assert (student.eval()(calibration) - teacher(calibration)).abs().max() < 1e-6
    assert (measured.table["before"].iloc[1:] > 1e-6).all() and measured.table["after"].max() < 1e-10


@pytest.mark.parametrize(
    ("teacher", "student", "layers"),
    [
        (lambda: vit(depth=4), lambda: vit(8, 1, 2), (1, 3)),
        (lambda: convnext(8, 3), lambda: convnext(4, 1), ((0,), (1,), (0,), (0,))),
    ],
)
def test_where_blocks_are_left_out_the_next_layer_aims_beyond_them(teacher, student, layers):
    teacher, student, calibration = trained(teacher()), student().double(), images(30, 16 if len(layers) == 2 else 64)
    plan = dm.plan(teacher, student, layers=layers)
    arguments = {"plan": plan, "teacher_state": teacher, "images": calibration}
    table = dm.initialize("selection_ls", student, **arguments).measured.table
    assert table["after"].iloc[-1] < table["before"].iloc[-1]


def ridge_by_hand(a, y, ridge):
    a, y = a.flatten(0, -2).numpy(), y.flatten(0, -2).numpy()
    c_aa, c_ya = np.cov(a.T, bias=True), (y - y.mean(0)).T @ (a - a.mean(0)) / len(a)
    weight = c_ya @ np.linalg.inv(c_aa + ridge * c_aa.diagonal().mean() * np.eye(len(c_aa)))
    return weight, y.mean(0) - weight @ a.mean(0)


@torch.no_grad()
def test_a_toy_by_hand_each_layer_in_turn_on_the_students_own_activations():
    """The first MLP branch of a one-block ViT: fc1 aims at the teacher's outputs, fc2 at the stream's difference."""
    teacher, student, calibration = trained(vit(16, 2, 1)), vit(8, 1, 1).double(), images()  # two batches
    plan = dm.plan(teacher, student)
    student.load_state_dict(plan.apply(teacher.state_dict()), strict=False)
    compensate(student, teacher, plan.layers, places_of(plan), calibration)
    streams = [net.norm_pre(net._pos_embed(net.patch_embed(calibration))) for net in (student, teacher)]
    (block,), (source,) = student.blocks, teacher.blocks
    student_stream, stream = (x + b.attn(b.norm1(x)) for x, b in zip(streams, (block, source), strict=True))
    hidden = source.mlp.fc1(source.norm2(stream))
    target = (stream + source.mlp.fc2(source.mlp.act(hidden)))[..., ::2] - student_stream
    inputs = block.norm2(student_stream)
    units = block.mlp.act(block.mlp.fc1(inputs))
    for layer, a, y in ((block.mlp.fc1, inputs, hidden[..., ::2]), (block.mlp.fc2, units, target)):
        assert all(map(partial(np.allclose, atol=1e-10), (layer.weight, layer.bias), ridge_by_hand(a, y, 1e-3)))


@pytest.mark.parametrize(
    "build", [vit, lambda: vit(init_values=0.3, reg_tokens=2), lambda: vit(global_pool="avg"), distilled]
)
def test_projection_is_exact_where_nothing_is_cut(build):
    teacher, student, calibration = trained(build()), build().double(), images()
    plan = dm.plan(teacher, student, classifier=True)
    dm.initialize("projection", student, plan=plan, teacher_state=teacher, images=calibration)
    assert not torch.allclose(student.blocks[0].mlp.fc1.weight, teacher.blocks[0].mlp.fc1.weight)
    assert (student.eval()(calibration) - teacher(calibration)).abs().max() < 1e-10
    assert student.measured.table["after"].max() < 1e-20


@pytest.fixture(scope="module")
def embedded():
    return dm.load_teacher(), dm.phantoms("brain_mri", train=48, val=3, test=3).train


def make(embedded, initializer, auxiliary=None, **options):
    teacher, photos = embedded
    return dm.make_students(teacher, "embedded_vit_48", 3, auxiliary, initializer=initializer, images=photos, **options)


def test_the_error_after_the_last_block_falls_from_selection_to_least_squares_to_projection(embedded):
    ls, projected = (make(embedded, name).measured[0].table.iloc[-1] for name in ("selection_ls", "projection_ls"))
    assert ls["module"] == projected["module"] == "blocks.3.mlp.fc2" and ls["aims_at"] == "stream"
    assert ls["before"] > 0.5 > 0.05 > ls["after"] > projected["after"] > 0
    assert make(embedded, "projection").measured[0].table["after"].iloc[-1] == pytest.approx(projected["before"])


def test_both_students_are_compensated_and_what_was_measured_is_a_table(embedded):
    for measured in make(embedded, "selection_ls", "complementary", calibration=40).measured:
        assert (measured.method, measured.images) == ("selection_ls", 40)
        assert list(measured.table) == ["module", "aims_at", "inputs", "places", "ridge", "before", "after"]
        assert set(measured.table["places"]) == {40 * 65} and measured.table["after"].iloc[-1] < 0.05


def test_uint8_and_normalised_images_are_the_same_and_an_image_set_will_do(embedded):
    teacher, photos = embedded
    floats = torch.from_numpy(photos.images).float().expand(-1, 3, -1, -1) / 255
    ways = [photos, photos.images, torch.from_numpy(photos.images), (floats - 0.5) / 0.5]
    batches = [calibration_images(way, teacher, 12) for way in ways]
    assert all(torch.equal(batch, batches[0]) for batch in batches) and batches[0].shape == (12, 3, 64, 64)
    with pytest.warns(UserWarning, match="as if nobody had normalised them: pass uint8"):
        calibration_images(floats, teacher)
    with pytest.raises(ValueError, match="calibration=0: measure on at least one"):
        calibration_images(photos, teacher, 0)
    with pytest.raises(TypeError, match="pass images=splits.train"):
        calibration_images(dm.phantoms("brain_mri", train=3, val=3, test=3), teacher)


INFINITE = {"blocks.1.mlp.fc1.bias": torch.full((384,), torch.inf)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "'selection_ls' needs .*images=training images"),
        ({"images": torch.zeros(4, 3, 32, 32)}, "calibration images are 32 x 32, the model takes 64 x 64"),
        ({"images": torch.full((4, 3, 64, 64), 200.0)}, "values 200 to 200: pass uint8"),
        ({"images": torch.full((4, 3, 64, 64), torch.nan)}, "finite floats"),
        ({"images": torch.zeros(0, 3, 64, 64)}, "at least one"),
        ({"teacher_state": "embedded_vit_96"}, "is a name without weights: pass load_teacher"),
        ({"teacher_state": dm.load_teacher().state | INFINITE}, r"activations at blocks.1.mlp.fc1 are not finite"),
    ],
)
def test_what_cannot_be_measured_is_refused(embedded, change, message):
    teacher, photos = embedded
    arguments = {"plan": dm.plan(teacher, "embedded_vit_48"), "teacher_state": teacher, "images": photos}
    with pytest.raises(ValueError, match=message):
        dm.initialize("selection_ls", dm.build("embedded_vit_48", 3), **(arguments | change))


@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        (mobilenet, mobilenet, "families vit; .* is a mobilenetv1: choose one of weight_selection, selec"),
        (lambda: vit(pre_norm=True), vit, "cannot take norm_pre of .*: use selection_ls"),
        (lambda: vit(qk_norm=True), lambda: vit(qk_norm=True), "cannot take blocks.0.attn.q_norm of"),
        (lambda: vit(norm_layer=RmsNorm), vit, "cannot take blocks.0.norm1 of"),
        (lambda: trained(vit()), lambda: vit(qkv_bias=False), "puts a norm's biases into the layer after it, Linear"),
        (distilled, vit, r"has 1 token\(s\) before the patches, its teacher VisionTransformerDistilled 2: choose"),
    ],
)
def test_what_projection_would_get_wrong_is_refused(teacher, student, message):
    teacher, student = teacher(), student()
    arguments = {"plan": dm.plan(teacher, student, classifier=True), "teacher_state": teacher}
    with pytest.raises(ValueError, match=message):
        dm.initialize("projection", student, images=images().float(), **arguments)


def test_few_images_warn_with_what_it_means_and_too_many_are_a_memory_error(embedded, monkeypatch):
    words = r"2 calibration images give 130 places \(images x positions\) for the 192 inputs"
    with pytest.warns(UserWarning, match=words) as caught:
        make((embedded[0], embedded[1].images[:2]), "selection_ls")
    assert "torch" not in caught[0].filename
    memory = SimpleNamespace(available=3 * 48 * 65 * (48 + 96) * 4 - 1)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    with pytest.raises(MemoryError, match="48 x 3 x 64 x 64 calibration images do not fit into memory: pass fewer"):
        make(embedded, "selection_ls")


@pytest.mark.filterwarnings("ignore:.*fewer than")
@pytest.mark.parametrize("count", [2, 33])  # 33: the last batch would be a single image
def test_a_layer_whose_output_is_the_same_for_all_images_is_refitted_without_an_error(count):
    teacher, student = trained(mobilenet(0.25)), trained(mobilenet())
    plan = dm.plan(teacher, student)
    equal = images(1, 32).repeat(count, 1, 1, 1)
    assert np.isfinite(compensate(student, teacher, plan.layers, places_of(plan), equal).table["after"]).all()
