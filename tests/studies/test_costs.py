"""Costs against hand arithmetic; that measuring changes nothing."""

import random

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import dmws_lite as dm
from dmws_lite.studies import costs

BATCH, STEPS = 6, 8
TRAINING = dm.Training(steps=STEPS, batch_size=BATCH, evaluations=2)
NONE = dm.Distillation(strategy="none")


@pytest.fixture(scope="module")
def splits():
    return dm.phantoms("lung_ct", train=30, val=12, test=15, size=16)


def with_statistics(model: nn.Module) -> nn.Module:
    model.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    return model


def vit(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    size = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return with_statistics(VisionTransformer(**size, num_classes=3))


def linear() -> nn.Module:
    return with_statistics(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10), nn.ReLU(), nn.Linear(10, 3)))


def convolutional() -> nn.Module:
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return with_statistics(nn.Sequential(*layers, nn.Linear(8, 3)))


def flops(main, auxiliary, splits, distillation=NONE):
    return costs.step_flops(dm.Students(main, auxiliary), splits, TRAINING, distillation, "cpu")


def test_flops_of_a_linear_network_are_those_by_hand(splits):
    first, second = 3 * 16 * 16 * 10, 10 * 3
    forward, backward = first + second, first + 2 * second  # the input needs no gradient
    assert flops(linear(), None, splits) == 2 * BATCH * (forward + backward)


def test_flops_of_a_vit_count_attention_and_every_network_of_the_step(splits):
    tokens, width, hidden = 17, 16, 32
    patches, attention = 16 * (3 * 4 * 4) * width, 2 * (2 * tokens * tokens * width)
    blocks = 2 * (tokens * width * 3 * width + tokens * width * width + 2 * tokens * width * hidden)
    forward = patches + attention + blocks + width * 3
    alone = 2 * BATCH * (3 * forward - patches)
    assert flops(vit(), None, splits) == alone
    assert flops(vit(), vit(1), splits, dm.Distillation()) == alone + 2 * BATCH * forward
    trained = dm.Distillation(auxiliary_update="trained")
    assert flops(vit(), vit(1), splits, trained) == 2 * alone + 2 * BATCH * forward
    assert flops(vit(), vit(1), splits, dm.Distillation(alpha=0.0)) == alone
    taught = flops(vit(), linear(), splits, dm.Distillation(strategy="kd"))
    assert taught == alone + 2 * BATCH * (3 * 16 * 16 * 10 + 10 * 3)


@pytest.mark.parametrize("strategy", ["ema", "dlb", "ps_kd", "cs_kd"])  # each has a memory or draws of its own
def test_measuring_does_not_change_the_run(splits, strategy):
    distillation = dm.Distillation(strategy=strategy, alpha_warmup=0.0)

    def run(measuring: bool):
        torch.manual_seed(3)
        students = dm.Students(convolutional(), convolutional())
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        if measuring:
            cost = costs.measure(students, splits, TRAINING, distillation, "cpu")
            assert cost["parameters"] == sum(weight.numel() for weight in students.main.parameters())
            assert cost["latency_ms"] > 0
        assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        made = dm.fit(students, splits, TRAINING, distillation, device="cpu", progress=False)
        rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in made.history]
        return made.main.state_dict(), repr(rows)

    (plain, history), (weights, with_costs) = run(measuring=False), run(measuring=True)
    assert history == with_costs
    assert all(torch.equal(weights[name], plain[name]) for name in plain)
