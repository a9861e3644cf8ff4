"""Costs against hand arithmetic and torch's profiler; that measuring changes nothing."""

import random
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import dmws_lite as dm
from dmws_lite.method.networks import Teacher, set_input_statistics
from dmws_lite.method.students import Students
from dmws_lite.studies import costs
from dmws_lite.training.fit import Trainer

BATCH, STEPS = 6, 8
TRAINING = dm.Training(steps=STEPS, batch_size=BATCH, evaluations=2)
NONE = dm.Distillation(strategy="none")


@pytest.fixture(scope="module")
def splits():
    return dm.phantoms("lung_ct", train=30, val=12, test=15, size=16)


def half(model: nn.Module) -> nn.Module:
    return set_input_statistics(model, (0.5,) * 3, (0.5,) * 3)


def vit(seed: int = 0) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(seed)
    return half(
        VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2, num_classes=3)
    )


def linear() -> nn.Module:
    return half(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 10), nn.ReLU(), nn.Linear(10, 3)))


def convolutional() -> nn.Module:
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return half(nn.Sequential(*layers, nn.Linear(8, 3)))


def measured(main, auxiliary, splits, distillation=NONE, teacher=None):
    return costs.measure(Students(main, teacher or auxiliary), splits, TRAINING, distillation, "cpu")


def state_of(main, auxiliary, splits, distillation=NONE):
    state = Trainer(Students(main, auxiliary), splits, TRAINING, distillation, "cpu")
    state.step = STEPS // 2
    return state


def vit_macs() -> tuple[int, int, int]:
    """Multiplications of one image's forward: the patch embedding's, attention's products, all."""
    tokens, width, hidden = 17, 16, 32
    patches = 16 * (3 * 4 * 4) * width
    attention = 2 * (2 * tokens * tokens * width)
    blocks = 2 * (tokens * width * 3 * width + tokens * width * width + 2 * tokens * width * hidden)
    return patches, attention, patches + attention + blocks + width * 3


def test_flops_of_a_linear_network_are_those_by_hand(splits):
    first, second = 3 * 16 * 16 * 10, 10 * 3
    forward, backward = first + second, first + 2 * second  # the input needs no gradient
    assert measured(linear(), None, splits)["flops_per_step"] == 2 * BATCH * (forward + backward)


def test_flops_of_a_vit_count_attention_and_every_network_of_the_step(splits):
    patches, _, forward = vit_macs()
    alone = 2 * BATCH * (3 * forward - patches)
    both = dm.Distillation(alpha_warmup=0.0)
    assert measured(vit(), None, splits)["flops_per_step"] == alone
    assert measured(vit(), vit(1), splits, both)["flops_per_step"] == alone + 2 * BATCH * forward
    trained = dm.Distillation(auxiliary_update="trained")
    assert measured(vit(), vit(1), splits, trained)["flops_per_step"] == 2 * alone + 2 * BATCH * forward
    assert measured(vit(), vit(1), splits, dm.Distillation(alpha=0.0))["flops_per_step"] == alone
    taught = measured(vit(), None, splits, dm.Distillation(strategy="kd"), linear())
    assert taught["flops_per_step"] == alone + 2 * BATCH * (3 * 16 * 16 * 10 + 10 * 3)


def test_torch_counts_fused_attention_otherwise_so_it_is_switched_off_and_on_again(splits):
    model = vit()
    patches, _, forward = vit_macs()
    state = state_of(model, None, splits)
    with FlopCounterMode(display=False) as counter:  # nothing in older versions, recomputation too in newer ones
        state.train_step()
    assert counter.get_total_flops() != 2 * BATCH * (3 * forward - patches) == costs.costs(state)["flops_per_step"]
    assert all(block.attn.fused_attn for block in model.blocks)
    with pytest.raises(KeyError), costs.plain_attention(model):
        raise KeyError
    assert all(block.attn.fused_attn for block in model.blocks)


@pytest.mark.parametrize(("network", "least"), [(linear, 0.99), (vit, 0.99), (convolutional, 0.7)])
def test_the_memory_of_a_step_is_the_profilers_but_for_workspaces(splits, network, least):
    main, auxiliary = network(), network()
    state = state_of(main, auxiliary, splits, dm.Distillation())
    found = costs.costs(state)["step_memory_mb"]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        state.train_step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    rise = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max()
    both = sum(tensor.nbytes for model in (main, auxiliary) for tensor in (*model.parameters(), *model.buffers()))
    moments = 2 * sum(weight.nbytes for weight in main.parameters())  # AdamW's, and a counter a tensor
    assert least < found * 1e6 / (both + moments + rise) < 1.01


def test_memory_and_arithmetic_are_the_same_each_time_and_grow_with_the_batch(splits):
    one, again = (measured(vit(), vit(1), splits, dm.Distillation()) for _ in range(2))
    assert (one["flops_per_step"], one["step_memory_mb"]) == (again["flops_per_step"], again["step_memory_mb"])
    state = state_of(vit(), vit(1), splits, dm.Distillation())
    state.training = dm.Training(steps=STEPS, batch_size=2 * BATCH, evaluations=2)
    double = costs.costs(state)
    assert double["flops_per_step"] == 2 * one["flops_per_step"]
    assert double["step_memory_mb"] > 1.3 * one["step_memory_mb"]


def test_the_method_costs_more_a_step_than_single_selection_and_is_as_large(splits):
    names = {"dual_skd": ("complementary", dm.Distillation()), "weight_selection": (None, NONE)}
    own = dm.build("embedded_vit_96", 5, seed=1).state_dict()
    teacher = Teacher("embedded_vit_96", own, (0.5,) * 3, (0.5,) * 3, "a test")
    found = {}
    for name, (auxiliary, distillation) in names.items():
        students = dm.make_students(teacher, "embedded_vit_48", 3, auxiliary, image_size=16)
        found[name] = measured(students.main, students.auxiliary, splits, distillation)
        assert found[name]["parameters"] == sum(weight.numel() for weight in students.main.parameters())
        assert found[name]["latency_ms"] > 0
    dual, single = found["dual_skd"], found["weight_selection"]
    assert dual["parameters"] == single["parameters"]
    assert 1.3 < dual["flops_per_step"] / single["flops_per_step"] < 1.5  # four forwards' worth instead of three
    assert dual["step_memory_mb"] > single["step_memory_mb"]


@pytest.mark.parametrize("strategy", ["ema", "dlb", "ps_kd", "cs_kd", "tf_kd", "none"])
def test_measuring_does_not_change_the_run(splits, strategy):
    distillation = dm.Distillation(strategy=strategy, alpha_warmup=0.0)

    def run(measuring: bool):
        main, auxiliary = convolutional(), convolutional()
        if measuring:
            before = [tensor.clone() for model in (main, auxiliary) for tensor in model.state_dict().values()]
            draws = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
            measured(main, auxiliary, splits, distillation)
            after = [tensor for model in (main, auxiliary) for tensor in model.state_dict().values()]
            assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
            assert draws == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
            assert all(weight.grad is None and weight.requires_grad for weight in main.parameters())
        options = {"training": TRAINING, "distillation": distillation, "device": "cpu", "progress": False}
        found = dm.fit(Students(main, auxiliary), splits, **options)
        rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in found.history]
        return found.main.state_dict(), repr(rows)

    torch.manual_seed(3)
    plain, history = run(measuring=False)
    torch.manual_seed(3)
    weights, with_costs = run(measuring=True)
    assert history == with_costs
    assert all(torch.equal(weights[name], plain[name]) for name in plain)


def test_latency_is_that_of_one_image_and_leaves_the_network_in_training(monkeypatch):
    class Slow(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            assert images.shape == (1, 3, 20, 20) and not self.training and not torch.is_grad_enabled()
            now[0] += 0.004
            return images

    now, model = [0.0], Slow()
    monkeypatch.setattr(costs.time, "perf_counter", lambda: now[0])
    assert costs.latency(model, 20) == pytest.approx(4)
    assert model.training


def test_the_peak_of_a_block_is_seen_after_its_end_and_after_an_error():
    size = 200_000_000
    with costs.peak_memory("cpu") as quiet:
        pass
    with pytest.raises(RuntimeError, match="on purpose"), costs.peak_memory("cpu") as peak:
        block = np.ones(size, np.uint8)
        until = time.monotonic() + 20
        while peak.megabytes < quiet.megabytes + 0.9 * size / 1e6 and time.monotonic() < until:
            time.sleep(0.01)
        del block
        raise RuntimeError("on purpose")
    assert peak.megabytes > quiet.megabytes + 0.9 * size / 1e6
    with costs.peak_memory("cpu") as later:
        pass
    assert later.megabytes < peak.megabytes - 0.5 * size / 1e6
