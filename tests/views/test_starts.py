import numpy as np
import pandas as pd
import pytest

from dmws_lite.analysis.starts import STARTS, TEACHER
from dmws_lite.method.measuring import Measured
from dmws_lite.studies.methods import METHODS
from dmws_lite.views import figures
from dmws_lite.views.style import PALETTE

NAMES = (*STARTS, TEACHER)


def rows(values, blocks=(1, 2)):
    """A table with a row a method and block; `values` makes the other columns from the places of both."""
    return pd.DataFrame(
        {"method": name, "label": METHODS[name].label, "block": block, **values(i, block)}
        for i, name in enumerate(NAMES)
        for block in blocks
    )


def weights():
    matrix = {"rank_share": 0.5, "singular": np.array([4.0, 2.0, 1.0])}
    kinds = [rows(lambda i, block, k=kind: {"kind": k, "gain": 0.1 + i, **matrix}) for kind in ("qkv", "proj", "fc1")]
    return pd.concat(kinds, ignore_index=True)


def signals():
    return rows(lambda i, block: {"spread": 1.0 + i + block, "similarity": 1 - 0.1 * i * block}, blocks=(0, 1, 2))


def looks():
    return rows(lambda i, block: {"entropy": 1 - 0.1 * i, "distance": 1 - 0.05 * block})


def losses():
    table = rows(lambda i, block: {"val_loss": 1.1 - 0.1 * i * block}, blocks=(0, 1)).rename(columns={"block": "step"})
    return pd.concat([table.assign(seed=0), table.assign(seed=1, val_loss=table["val_loss"] - 0.2)])


FIGURES = {
    "spectra": lambda: figures.spectra(weights()),
    "gains": lambda: figures.gains(weights()),
    "through_depth": lambda: figures.through_depth(signals()),
    "attention": lambda: figures.attention(looks()),
    "first_steps": lambda: figures.first_steps(losses(), chance=1.0986),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_method_looks_the_same_in_all_figures_and_unlike_any_other(name, check_picture, drawn):
    found = drawn(check_picture(FIGURES[name]()))
    assert len(found) == len({line.get_marker() for line in found.values()}) == len(NAMES)
    assert found["single selection"].get_color() == PALETTE["main"]
    assert found["full teacher"].get_color() == PALETTE["teacher"]
    reference = drawn(FIGURES["gains"]())
    assert all(line.get_color() == reference[label].get_color() for label, line in found.items())


def test_spectra_are_divided_by_the_largest_singular_value(drawn):
    figure = figures.spectra(weights())
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["qkv", "proj", "fc1"]
    curve = drawn(figure)["Xavier"].get_ydata()
    assert curve[[0, 30, 60]] == pytest.approx([1, 0.5, 0.25])


def test_first_steps_show_the_mean_every_seed_and_chance(drawn):
    figure = figures.first_steps(losses(), chance=1.0986)
    assert drawn(figure)["random initialisation"].get_ydata() == pytest.approx([1.0, 1.0])
    thin = [list(line.get_ydata()) for line in figure.axes[0].lines if line.get_linewidth() < 1]
    assert any(seed == pytest.approx([1.1, 1.1]) for seed in thin)
    assert any(list(line.get_ydata()) == [1.0986, 1.0986] for line in figure.axes[0].lines)


def errors(*before):
    names = ["blocks.0.attn.qkv", "blocks.0.attn.proj"]
    table = pd.DataFrame({"module": names, "before": before, "after": [0.1, 0.05]})
    return Measured("selection_ls", 8, "0" * 16, 1.0, table)


def test_errors_of_layers_are_drawn_before_and_after_for_each_student(check_picture, drawn):
    figure = check_picture(figures.layer_errors([errors(0.5, 0.9), errors(0.6, 0.8)]))
    assert [axes.get_title() for axes in figure.axes] == ["main", "auxiliary"]
    assert drawn(figure, 1)["before"].get_ydata() == pytest.approx([0.6, 0.8])
    assert drawn(figure)["after"].get_ydata() == pytest.approx([0.1, 0.05]) and figure.axes[0].get_yscale() == "log"
    check_picture(figures.layer_errors([errors(np.nan, np.nan)]))  # of a projection, without a before


def test_no_attention_is_said():
    with pytest.raises(ValueError, match="these networks have no attention"):
        figures.attention(looks().iloc[:0])
