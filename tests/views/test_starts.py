import numpy as np
import pandas as pd
import pytest

from dmws_lite.analysis.starts import STARTS, TEACHER
from dmws_lite.method.measuring import Measured
from dmws_lite.studies.methods import METHODS
from dmws_lite.views import figures
from dmws_lite.views.style import PALETTE

NAMES = (*STARTS, TEACHER)
ROWS = pd.DataFrame([(name, METHODS[name].label) for name in NAMES], columns=["method", "label"])
ROWS["start"] = 1.0 + ROWS.index
BLOCKS = ROWS.merge(pd.DataFrame({"block": [0, 1, 2]}), how="cross")
KINDS = ROWS.merge(pd.DataFrame({"kind": ["qkv", "proj", "fc1"]}), how="cross")
WEIGHTS = KINDS.assign(singular=[np.array([4.0, 2.0, 1.0])] * len(KINDS))
LOSSES = pd.concat(
    BLOCKS.assign(step=BLOCKS["block"], seed=seed, val_loss=2.0 - 0.1 * BLOCKS["start"] * BLOCKS["block"] - 0.2 * seed)
    for seed in (0, 1)
)
FIGURES = {
    "spectra": lambda: figures.spectra(WEIGHTS),
    "through_depth": lambda: figures.through_depth(BLOCKS.assign(spread=BLOCKS["start"], similarity=0.5)),
    "attention": lambda: figures.attention(BLOCKS.assign(entropy=0.1 * BLOCKS["start"], distance=0.9)),
    "first_steps": lambda: figures.first_steps(LOSSES, chance=1.0986),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_method_looks_the_same_in_all_figures_and_unlike_any_other(name, check_picture, drawn):
    found = drawn(check_picture(FIGURES[name]()))
    assert len(found) == len({line.get_marker() for line in found.values()}) == len(NAMES)
    assert found["single selection"].get_color() == PALETTE["main"]
    assert found["full teacher"].get_color() == PALETTE["teacher"]
    assert found["Xavier"].get_color() == drawn(FIGURES["spectra"]())["Xavier"].get_color()


def test_spectra_are_divided_by_the_largest_singular_value(drawn):
    figure = figures.spectra(WEIGHTS)
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["qkv", "proj", "fc1"]
    assert drawn(figure)["Xavier"].get_ydata()[[0, 30, 60]] == pytest.approx([1, 0.5, 0.25])


def test_first_steps_show_the_mean_every_seed_and_chance(drawn):
    figure = figures.first_steps(LOSSES, chance=1.0986)
    assert drawn(figure)["random initialisation"].get_ydata() == pytest.approx([1.9, 1.8, 1.7])
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_linewidth() <= 1]
    assert any(line == pytest.approx([2.0, 1.9, 1.8]) for line in lines) and [1.0986, 1.0986] in lines


def test_errors_of_layers_are_drawn_before_and_after_for_each_student(check_picture, drawn):
    def errors(*before):
        table = pd.DataFrame({"module": ["qkv", "proj"], "before": before, "after": [0.1, 0.05]})
        return Measured("selection_ls", 8, "0" * 16, 1.0, table)

    figure = check_picture(figures.layer_errors([errors(0.5, 0.9), errors(0.6, 0.8)]))
    assert [axes.get_title() for axes in figure.axes] == ["main", "auxiliary"]
    assert drawn(figure, 1)["before"].get_ydata() == pytest.approx([0.6, 0.8])
    assert drawn(figure)["after"].get_ydata() == pytest.approx([0.1, 0.05]) and figure.axes[0].get_yscale() == "log"
    check_picture(figures.layer_errors([errors(np.nan, np.nan)]))  # of a projection, without a before


def test_no_attention_is_said():
    with pytest.raises(ValueError, match="these networks have no attention"):
        figures.attention(BLOCKS.iloc[:0])
