"""What is drawn of networks and of a mapping is what was counted and planned."""

import pytest

import dmws_lite as dm
from dmws_lite.analysis.anatomy import anatomy
from dmws_lite.views import figures

PAIR = ("embedded_vit_96", "embedded_vit_48")


def test_shares_by_kind_fill_each_bar(check_picture):
    figure = check_picture(figures.shares_by_kind({name: anatomy(name) for name in PAIR}))
    for axes in figure.axes[:2]:
        for row in range(2):
            bars = [patch for patch in axes.patches if abs(patch.get_y() + patch.get_height() / 2 - row) < 0.1]
            assert sum(bar.get_width() for bar in bars) == pytest.approx(1)
            assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in bars}) == len(bars)
    assert "0.8 M weights, 98.5 M FLOPs" in figure.axes[0].get_yticklabels()[0].get_text()


def test_mapped_blocks_draw_the_plans_layers(check_picture):
    plans = {rule: dm.plan(*PAIR, layers=rule) for rule in ("first", "last", "uniform")}
    figure = check_picture(figures.mapped_blocks(plans))
    for axes, plan in zip(figure.axes, plans.values(), strict=True):
        from_rows = [round(line.get_ydata()[0]) for line in axes.lines]
        assert from_rows == [0, 1, *(2 + block for block in plan.layers[0]), 8]  # tokens, patches, blocks, final norm
        hollow = [[tuple(face[:3]) == (1, 1, 1) for face in c.get_facecolors()] for c in axes.collections]
        assert sum(hollow[0]) == 3 and hollow[0][-1] and sum(hollow[1]) == 1  # two blocks and the classifier
        assert [text.get_text() for text in axes.texts].count("12") == 4
    assert "uniform: tokens feeds tokens" in figure.alt_text
    assert "Not used: block 1, block 4, classifier." in figure.alt_text
