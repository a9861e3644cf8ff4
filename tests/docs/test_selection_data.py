"""The data of the selection explorer: sizes from the plans, random index sets as the package draws them."""

import json

import numpy as np
import pytest

from dmws_lite.method.selection import complementary_plans


def test_masks_hold_the_random_index_sets():
    from selection_data import PAIRS, STUDENTS, pair_data

    teacher, student, tensor = PAIRS["embedded ViT, 96 → 48"]
    data = pair_data(teacher, student, tensor)
    plans = complementary_plans(teacher, student, STUDENTS, "random")
    for number, plan in enumerate(plans):
        a = next(a for a in plan.assignments if a.student == "blocks.1.mlp.fc1.weight")
        for axis, index in zip(a.axes, a.indices, strict=True):
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(data["axes"][axis]["random"][number]), np.uint8))
            np.testing.assert_array_equal(np.flatnonzero(bits), index)


def test_a_fused_axis_counts_once():
    from selection_data import axis_sizes

    sizes = axis_sizes(complementary_plans("embedded_vit_96", "embedded_vit_48")[0].assignments)
    assert sizes["attn/0"] == (96, 48) and sizes["mlp/3"] == (384, 192) and sizes["embed"] == (96, 48)
    assert "qkv*attn/0" not in sizes and "token" not in sizes


def test_the_file_is_a_script_with_every_pair(tmp_path):
    from selection_data import PAIRS, write

    text = write(tmp_path / "pairs.js").read_text(encoding="utf-8")
    data = json.loads(text.removeprefix("const SELECTION_DATA = ").rstrip(";\n"))
    assert list(data["pairs"]) == list(PAIRS)
    for pair in data["pairs"].values():
        names = [a["teacher"] for a in pair["assignments"]]
        assert pair["first"] in [first for first, *_ in names]
        assert all(name in pair["teacherShapes"] for row in names for name in row)
    assert len(text) < 300_000


@pytest.mark.parametrize("layers", ["first", "last", "uniform"])
def test_each_layer_strategy_has_its_teacher_tensors(layers):
    from selection_data import LAYERS, PAIRS, pair_data

    teacher, student, tensor = PAIRS["ConvNeXt-T → ConvNeXt-F"]
    plan = complementary_plans(teacher, student, layers=layers)[0]
    data = pair_data(teacher, student, tensor)
    assert [a["teacher"][LAYERS.index(layers)] for a in data["assignments"]] == [a.teacher for a in plan.assignments]
