import numpy as np
import pytest
import torch

from dmws_lite.method.selection import complementary_plans, plan
from dmws_lite.views.plan_tables import (
    axis_masks,
    consistency_table,
    coverage_table,
    summary,
    tensor_roles,
    typical_axes,
)

PAIR = ("embedded_vit_96", "embedded_vit_48")


@pytest.fixture(scope="module")
def plans():
    return complementary_plans(*PAIR)


def test_masks_of_complementary_students_share_out_every_axis(plans):
    masks = axis_masks(plans)
    assert masks["embed"].shape == (2, 96) and masks["mlp/0"].shape == (2, 384)
    assert all((mask.sum(0) == 1).all() for mask in masks.values())
    assert masks["embed"][0].nonzero()[0].tolist() == list(range(0, 96, 2))


def test_roles_of_a_matrix_a_vector_and_a_kernel(plans):
    by_hand = np.zeros((384, 96), int)
    by_hand[0::2, 0::2], by_hand[1::2, 1::2] = 1, 2
    assert np.array_equal(tensor_roles(plans, "blocks.0.mlp.fc1.weight"), by_hand)
    assert np.array_equal(tensor_roles(plans, "norm.bias"), [[1, 2] * 48])
    assert np.array_equal(tensor_roles(plans, "patch_embed.proj.weight"), [[1, 2] * 48])


def test_roles_tell_shared_from_unused(plans):
    main = plans[0]
    roles = tensor_roles((main, main), "norm.bias")
    assert np.array_equal(roles, [[3, 0] * 48])
    assert not tensor_roles(plans, "blocks.5.mlp.fc1.weight").any()  # the student takes blocks 0 to 3


@pytest.mark.parametrize("tensor", ["blocks.0.attn.qkv.weight", "blocks.1.attn.proj.weight", "pos_embed", "cls_token"])
def test_roles_agree_with_the_weights_that_apply_copies(plans, tensor):
    shapes = plans[0].teacher_shapes
    state = {name: torch.arange(int(np.prod(shape))).reshape(shape) for name, shape in shapes.items()}
    copied = np.isin(state[tensor].numpy(), plans[0].apply(state)[tensor].numpy())
    map_of_copied = copied if copied.ndim == 2 else copied.all(axis=(0, 1))[None]
    assert np.array_equal(map_of_copied, tensor_roles(plans, tensor) == 1)


def test_an_unknown_tensor_is_refused(plans):
    with pytest.raises(ValueError, match=r"no tensor 'blocks\.9\.x': choose one of cls_token"):
        tensor_roles(plans, "blocks.9.x")


def test_coverage_table_adds_up(plans):
    table = coverage_table(plans).set_index("tensors")
    assert table.loc["all", "elements"] == plans[0].coverage().size == table["elements"][:-1].sum()
    assert table.loc["all", "main"] == pytest.approx(plans[0].coverage().total)
    assert table.loc["norm.bias", ["main", "auxiliary", "shared", "unused"]].tolist() == [0.5, 0.5, 0, 0]
    four_of_six_blocks = 4 / 6
    assert table.loc["blocks.*.mlp.fc*.weight", "unused"] == pytest.approx(1 - four_of_six_blocks / 2)


def test_coverage_table_of_overlapping_plans():
    table = coverage_table(complementary_plans("vit_large_patch16_224", "vit_base_patch16_224")).set_index("tensors")
    assert table.loc["norm.bias", ["main", "auxiliary", "shared", "unused"]].tolist() == [0.75, 0.75, 0.5, 0]


def test_consistency_table_sees_what_random_inconsistent_breaks(plans):
    assert consistency_table(plans[0])["consistent"].all()
    broken = consistency_table(plan(*PAIR, elements="random_inconsistent")).set_index("axis")
    assert not broken.loc["embed", "consistent"]
    assert broken.loc["mlp/0", "tensors"] == 3


def test_typical_axes_are_one_of_each_kind(plans):
    assert typical_axes(plans) == ["embed", "attn/0", "mlp/0"]


def test_summary_of_one_plan_has_no_overlap(plans):
    assert summary(plans[0]) == "coverage: main 18.05 %; 9 of 9 axes consistent"


def test_the_summary_of_three_students_tells_the_largest_overlap():
    plans = complementary_plans("embedded_vit_96", "embedded_vit_48", n=3)
    shares = [plans[a].overlap(plans[b]).total for a, b in ((0, 1), (0, 2), (1, 2))]
    assert min(shares) == 0 < max(shares)
    assert f"; largest overlap {100 * max(shares):.2f} %;" in summary(plans)
