"""Costs against hand arithmetic; that measuring changes nothing."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import dmws_lite as dm
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.studies import costs

BATCH = 6
TRAINING = dm.Training(steps=8, batch_size=BATCH, evaluations=2)
with_statistics = partial(set_input_statistics, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture(scope="module")
def splits():
    return dm.phantoms("lung_ct", train=30, val=12, test=15, size=16)


def vit() -> nn.Module:
    size = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return with_statistics(VisionTransformer(**size, num_classes=3))


def linear() -> nn.Module:
    return with_statistics(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10), nn.ReLU(), nn.Linear(10, 3)))


def test_flops_count_attention_and_every_network_of_the_step(splits):
    def flops(main, auxiliary=None, **skd):
        settings = dm.Distillation(**skd) if auxiliary else dm.Distillation("none")
        return costs.step_flops(dm.Students(main, auxiliary), splits, TRAINING, settings, "cpu") / (2 * BATCH)

    first, second = 3 * 16 * 16 * 10, 10 * 3
    assert flops(linear()) == (first + second) + (first + 2 * second)  # the input needs no gradient
    tokens, width, hidden = 17, 16, 32
    patches, attention = 16 * (3 * 4 * 4) * width, 2 * (2 * tokens * tokens * width)
    blocks = 2 * (tokens * width * 3 * width + tokens * width * width + 2 * tokens * width * hidden)
    forward = patches + attention + blocks + width * 3
    alone = 3 * forward - patches
    assert flops(vit()) == flops(vit(), vit(), alpha=0.0) == alone
    assert flops(vit(), vit()) == alone + forward
    assert flops(vit(), vit(), auxiliary_update="trained") == 2 * alone + forward
    assert flops(vit(), linear(), strategy="kd") == alone + first + second


def test_measuring_changes_nothing_that_a_run_starts_from(splits):
    layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    main = with_statistics(nn.Sequential(*layers, nn.Linear(8, 3)))
    students, before = dm.Students(main, deepcopy(main)), torch.get_rng_state()
    for strategy in ("ema", "dlb", "ps_kd", "cs_kd"):  # each has a memory or draws of its own
        cost = costs.measure(students, splits, TRAINING, dm.Distillation(strategy, alpha_warmup=0.0), "cpu")
        assert cost["parameters"] == sum(weight.numel() for weight in main.parameters()) and cost["latency_ms"] > 0
    assert torch.equal(before, torch.get_rng_state()) and students.main.training and students.auxiliary.training
    states = zip(main.state_dict().values(), students.auxiliary.state_dict().values(), strict=True)
    assert all(torch.equal(*pair) for pair in states) and main[1].num_batches_tracked == 0
