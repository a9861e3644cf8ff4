import numpy as np
import pytest
import torch

from dmws_lite.method.selection import complementary_plans, plan
from dmws_lite.views import figures
from dmws_lite.views.plans import axis_masks, elements_of, summary

PAIR = ("embedded_vit_96", "embedded_vit_48")


@pytest.fixture(scope="module")
def plans():
    return complementary_plans(*PAIR)


def test_strips_and_bars_of_several_students_are_drawn_and_the_summary_tells_the_largest_overlap(plans, check_picture):
    check_picture(figures.coverage_bars(plans[0]))
    three = complementary_plans(*PAIR, n=3)
    for several in (plans, three):
        check_picture(figures.axis_strips(several))
    with pytest.raises(ValueError, match=r"one or two plans, not 3: pass plans\[:2\]"):
        figures.coverage_bars(three)
    assert summary(plans[0]) == "coverage: main 18.05 %; 9 of 9 axes consistent; blocks of the teacher: 0, 1, 2, 3"
    shares = [three[a].overlap(three[b]).total for a, b in ((0, 1), (0, 2), (1, 2))]
    assert min(shares) == 0 < max(shares)
    assert f"; largest overlap {100 * max(shares):.2f} %;" in summary(three)


def test_masks_of_complementary_students_share_out_every_axis(plans):
    masks = axis_masks(plans)
    assert masks["embed"].shape == (2, 96) and masks["mlp/0"].shape == (2, 384)
    assert all((mask.sum(0) == 1).all() for mask in masks.values())
    assert masks["embed"][0].nonzero()[0].tolist() == list(range(0, 96, 2))


@pytest.mark.parametrize("tensor", ["blocks.0.attn.qkv.weight", "blocks.1.attn.proj.weight", "pos_embed", "cls_token"])
def test_roles_agree_with_the_weights_that_apply_copies(plans, tensor):
    shapes = plans[0].teacher_shapes
    state = {name: torch.arange(int(np.prod(shape))).reshape(shape) for name, shape in shapes.items()}
    copied = np.isin(state[tensor].numpy(), plans[0].apply(state)[tensor].numpy())
    map_of_copied = copied if copied.ndim == 2 else copied.all(axis=(0, 1))[None]
    assert np.array_equal(map_of_copied, elements_of(plans, tensor, ends=1000)[0] == 1)


def test_roles_tell_shared_from_unused_and_legends_have_the_marks_of_maps(plans):
    assert elements_of((plans[0], plans[0]), "norm.bias", ends=2)[0].iloc[0].dropna().to_list() == [-1, 0, -1, 0]
    assert (elements_of(plans, "blocks.5.norm1.bias")[1] == "nobody").all(axis=None)  # the student takes blocks 0 to 3
    with pytest.raises(ValueError, match=r"no tensor 'blocks\.9\.x': choose one of cls_token"):
        elements_of(plans, "blocks.9.x")
    for pair, both in ((plans, {}), ((plans[0], plans[0]), {"both": "xxx"})):
        legend = figures.tensor_maps(pair, ["blocks.0.mlp.fc1.weight"]).legends[0]
        marks = {t.get_text(): p.get_hatch() or "" for t, p in zip(legend.texts, legend.get_patches(), strict=True)}
        assert marks == {"main": "", "auxiliary": "///", **both, "not used": ""}


def test_coverage_bars_add_up():
    plans = complementary_plans("vit_large_patch16_224", "vit_base_patch16_224")
    figure = figures.coverage_bars(plans)
    parts = {bars.get_label(): bars for bars in figure.axes[0].containers}
    kinds = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    widths = {name: bars[kinds.index("norm.bias")].get_width() for name, bars in parts.items()}
    assert widths == pytest.approx({"only main": 25, "both": 50, "only auxiliary": 25, "not used": 0})
    whole = parts["only main"][0].get_width() + parts["both"][0].get_width()
    assert kinds[0] == "all" and whole == pytest.approx(100 * plans[0].coverage().total)


def test_consistency_sees_what_random_inconsistent_breaks(plans):
    figure = figures.consistency({"agreeing": plans[0], "broken": plan(*PAIR, elements="random_inconsistent")})
    agreeing, broken = (axes.get_title() for axes in figure.axes)
    assert "tensors agree" in agreeing and "tensors disagree" in broken and "tensors disagree" in figure.alt_text
