import captum.attr
import numpy as np
import pytest
import torch
from timm.layers import set_fused_attn
from torch import nn

import dmws_lite as dm
from dmws_lite.analysis import saliency
from dmws_lite.data.phantoms import phantom
from dmws_lite.method.networks import set_input_statistics


@pytest.fixture(scope="module")
def inputs(images):
    return torch.from_numpy(images.images).repeat(1, 3, 1, 1) / 127.5 - 1


class Patches(nn.Module):
    """A norm whose patches pass through `grid`, as (image, channel, row, column): a layer that captum can look at."""

    def __init__(self, norm, side):
        super().__init__()
        self.norm, self.side, self.grid = norm, side, nn.Identity()

    def forward(self, tokens):
        tokens = self.norm(tokens)
        patches = tokens[:, 1:].transpose(1, 2).unflatten(2, (self.side, self.side))
        return torch.cat([tokens[:, :1], self.grid(patches).flatten(2).transpose(1, 2)], dim=1)


@pytest.mark.parametrize("name", ["mobilenetv1_050", "convnext_atto", "embedded_vit_48"])
def test_grad_cam_equals_captums(images, inputs, name):
    model = set_input_statistics(dm.build(name, 3, 64).eval(), (0.5,) * 3, (0.5,) * 3)
    targets = np.array([0, 1, 2, 2, 1, 0] * 2)
    got = saliency.grad_cam(model, images, targets=targets, batch_size=4)
    layer = saliency.last_layer(model)
    if name.startswith("embedded"):
        model.blocks[-1].norm1 = wrapped = Patches(layer, 8)
        layer = wrapped.grid
    reference = captum.attr.LayerGradCam(model, layer)
    small = reference.attribute(inputs, torch.from_numpy(targets), relu_attributions=True)
    expected = captum.attr.LayerAttribution.interpolate(small.detach(), (64, 64), "bilinear")[:, 0].numpy()
    assert got == pytest.approx(expected / np.maximum(expected.max((1, 2), keepdims=True), 1e-30), abs=1e-4)
    assert got.shape == (12, 64, 64) and got.any()


def test_grad_cam_leaves_no_trace_and_takes_frozen_networks(images):
    model = dm.build("embedded_vit_48", 3)
    maps = saliency.grad_cam(model, images, images.labels)
    assert all(weight.grad is None for weight in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert np.array_equal(saliency.grad_cam(model.requires_grad_(False), images, images.labels), maps)


@pytest.mark.parametrize("pool", ["token", "avg"])
def test_rollout_multiplies_timms_own_attention(images, inputs, pool):
    set_fused_attn(False)
    try:
        model = dm.build("embedded_vit_48", 3).eval()
    finally:
        set_fused_attn(True)
    model.global_pool = pool
    seen = []
    for block in model.blocks:
        block.attn.attn_drop.register_forward_hook(lambda *call: seen.append(call[-1].double().numpy()))
    with torch.no_grad():
        model(inputs)
    mixed = np.eye(65)
    for weights in seen:
        mixed = (0.5 * weights.mean(1) + 0.5 * np.eye(65)) @ mixed
    grid = torch.from_numpy((mixed[:, 0] if pool == "token" else mixed.mean(1))[:, 1:].reshape(12, 1, 8, 8))
    large = nn.functional.interpolate(grid, (64, 64), mode="bilinear")[:, 0].numpy()
    got = saliency.attention_rollout(model, images, batch_size=4)
    assert got == pytest.approx(large / large.max((1, 2), keepdims=True), abs=1e-5)


def test_lesions_are_those_of_the_images_that_open_data_gives():
    test = dm.open_data("phantom_lung_ct", size=16, progress=False).test
    masks = saliency.lesions("phantom_lung_ct", "test", 6, size=16)
    for i, mask in enumerate(masks):
        image, lesion = phantom("lung_ct", "test", i, size=16)
        assert np.array_equal(image, test.images[i, 0]) and np.array_equal(lesion, mask)
        assert mask.any() == (test.labels[i] > 0)


def test_scores_by_hand():
    masks, maps = np.zeros((4, 2, 4), bool), np.zeros((4, 2, 4))
    masks[:3, 0, :2] = True  # a quarter of the pixels; the last image has no lesion
    maps[0, 0, 0], maps[0, 1, 3] = 3, 1  # peak inside, three quarters of the mass
    maps[1, 1] = 1  # four peaks outside
    table = saliency.scores(maps, masks)  # the third map says nothing: it scores what chance would
    expected = {"image": [0, 1, 2], "area": [0.25] * 3, "mass": [0.75, 0, 0.25], "hit": [1, 0, 0.25]}
    assert table.to_dict("list") == expected
    for other, lesion in ((np.ones((4, 2, 5)), masks), (maps, masks & False)):
        with pytest.raises(ValueError, match=r"lesions: pass \(N, H, W\) of each and lesions"):
            saliency.scores(other, lesion)


def test_reference_maps_do_not_know_the_image():
    masks, seen = saliency.lesions("brain_mri", "test", 6), saliency.lesions("brain_mri", "train", 9)
    maps = saliency.reference_maps(masks, seen)
    assert all(each.shape == masks.shape and each.max() == pytest.approx(1) for each in maps.values())
    middle = maps["centre"][0]
    assert middle[31:33, 31:33].min() == middle.max() and middle == pytest.approx(middle[::-1, ::-1])
    assert maps["usual place"][3] == pytest.approx(seen.mean(0) / seen.mean(0).max())


def test_sanity_tells_a_map_of_the_lesion_from_maps_of_anything():
    masks, rng = np.zeros((40, 8, 8), bool), np.random.default_rng(0)
    masks[:, 2:4, 5:7] = True
    unlearnt = [rng.random(masks.shape) for _ in range(3)]
    checked = saliency.sanity(masks.astype(float), unlearnt, masks)
    hits = [saliency.scores(others, masks)["hit"].mean() for others in unlearnt]
    assert checked["hit"] == 1 and abs(checked["correlation"]) < 0.1
    assert (checked["unlearnt_mean"], checked["unlearnt_best"]) == pytest.approx((np.mean(hits), max(hits)))
    assert saliency.sanity(unlearnt[0], unlearnt[:1], masks)["correlation"] == pytest.approx(1)
