"""Pictures of architectures and of the mapping: what is drawn is what was counted and planned."""

import pytest

import dmws_lite as dm
from dmws_lite.analysis.anatomy import anatomy, block_widths
from dmws_lite.views import figures

PAIR = ("embedded_vit_96", "embedded_vit_48")


def texts(axes):
    return [text.get_text() for text in axes.texts]


def edges(axes):
    """The lines from teacher to student."""
    return [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]


def test_silhouettes_are_as_wide_as_the_blocks(check_picture):
    figure = check_picture(figures.silhouettes({"A → B": tuple(map(block_widths, PAIR))}))
    assert [round(patch.get_width()) for patch in figure.axes[0].patches] == [96] * 6 + [48] * 4
    assert "6 blocks of 96 channels to 4 blocks of 48 channels" in figure.alt_text


def test_shares_by_kind_fill_each_bar():
    figure = figures.shares_by_kind({name: anatomy(name) for name in PAIR})
    for axes in figure.axes[:2]:
        for row in range(2):
            bars = [patch for patch in axes.patches if abs(patch.get_y() + patch.get_height() / 2 - row) < 0.1]
            assert sum(bar.get_width() for bar in bars) == pytest.approx(1)
            assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in bars}) == len(bars)
    assert "0.8 M weights, 98.5 M FLOPs" in figure.axes[0].get_yticklabels()[0].get_text()


def test_shares_by_stage_add_up_and_are_the_tables(drawn):
    table = anatomy("convnext_femto")
    figure = figures.shares_by_stage({"F": table})
    for name, column in (("weights", "parameters"), ("FLOPs", "flops")):
        own = [table.loc[table["stage"] == f"stage {i}", column].sum() for i in range(4)]
        assert drawn(figure)[name].get_ydata() == pytest.approx([value / sum(own) for value in own])


def test_ratios_lie_at_a_quarter_and_a_half():
    pair = tuple(anatomy(name) for name in ("vit_small_patch16_224", "vit_tiny_patch16_224"))
    figure = figures.ratios({"S → T": pair})
    weights, flops = (list(line.get_xdata()) for line in figure.axes[0].lines[:2])
    kinds = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    at = dict(zip(kinds, zip(weights, flops, strict=True), strict=True))
    assert at["attention matrices"] == pytest.approx((0.25, 0.25), abs=0.001)
    assert at["attention products"][1] == at["norms, tokens, scales"][0] == 0.5
    assert "attention products" not in figure.alt_text  # they have no weights


def test_mapped_blocks_draw_the_plans_layers(check_picture):
    plans = {rule: dm.plan(*PAIR, layers=rule) for rule in ("first", "last", "uniform")}
    figure = check_picture(figures.mapped_blocks(plans))
    for axes, plan in zip(figure.axes, plans.values(), strict=True):
        from_rows = [round(line.get_ydata()[0]) for line in edges(axes)]
        assert from_rows == [0, 1, *(2 + block for block in plan.layers[0]), 8]  # tokens, patches, blocks, final norm
        hollow = [[tuple(face[:3]) == (1, 1, 1) for face in c.get_facecolors()] for c in axes.collections]
        assert sum(hollow[0]) == 3 and hollow[0][-1] and sum(hollow[1]) == 1  # two blocks and the classifier
        assert texts(axes).count("12") == 4
    assert "uniform: tokens feeds tokens" in figure.alt_text
    assert "Not used: block 1, block 4, classifier." in figure.alt_text


def test_mapped_tensors_name_axes_and_shares(check_picture):
    figure = check_picture(figures.mapped_tensors(dm.plan("convnext_tiny", "convnext_femto"), "downsampling 1"))
    shown = texts(figure.axes[0])
    assert "stage1, stage0, kernel_h, kernel_w   1/4" in shown
    assert "stages.1.downsample.1.weight\n192 × 96 × 2 × 2" in shown
    assert "stages.1.downsample.1.weight\n96 × 48 × 2 × 2" in shown
    assert {line.get_linestyle() for line in edges(figure.axes[0])} == {"-", "--"}
    with pytest.raises(ValueError, match=r"choose one of tokens, patches, block 0, .*final norm"):
        figures.mapped_tensors(dm.plan(*PAIR), "block 4")
