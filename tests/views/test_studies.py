import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy import stats

from dmws_lite.analysis.starts import STARTS, TEACHER
from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.statistics import FACTORIAL
from dmws_lite.views import figures
from dmws_lite.views.studies import cost_accuracy
from dmws_lite.views.style import PALETTE

CELLS = [name for names in FACTORIAL.values() for name in names]
MANY = list(dict.fromkeys([*CELLS, *METHODS]))[:20]
SIX = ["brain_mri", "chest_xray", "lung_ct_with_a_rather_long_name", "a$b", "phantom_lung_ct", "phantom_brain_mri"]


def no_overlap(texts):
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    return boxes


def drawn_forest(axes):
    """The values of the dots, the ends of the intervals, and the diamonds."""
    *dots, bars, diamonds = axes.collections
    ends = [bar[:, 0] for bar in bars.get_segments()]
    return np.concatenate([np.asarray(dots_of_group.get_offsets())[:, 0] for dots_of_group in dots]), ends, diamonds


FIGURES = {
    "results": lambda runs: figures.results(runs),
    "paired_differences": lambda runs: figures.paired_differences(runs, "default", fraction=0.1),
    "comparison": lambda runs: figures.comparison(runs[runs["fraction"] == 0.1], chance=0.3, paired=True),
    "fraction_curves": lambda runs: figures.fraction_curves(runs, reference="default"),
    "cost_accuracy": lambda runs: cost_accuracy(runs, reference="default"),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("seeds, fractions", [(1, (0.1,)), (3, (0.01, 0.05, 0.1, 1.0))])
def test_every_figure_draws_and_says_what_it_shows(name, seeds, fractions, check_picture, table):
    check_picture(FIGURES[name](table(fractions=fractions, seeds=seeds)))


@pytest.mark.parametrize("name", ["results", "cost_accuracy"])
def test_labels_of_twenty_methods_and_numbers_below_panels_do_not_overlap(name, table):
    figure = FIGURES[name](table(MANY, SIX if name == "results" else SIX[:1], seeds=2))
    figure.draw_without_rendering()
    shown = [axes for axes in figure.axes if axes.get_visible()]
    names = [label for axes in shown for label in axes.get_yticklabels() if axes.get_subplotspec().is_first_col()]
    for group in (names, [axes.title for axes in shown]):
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1 for box in no_overlap(group))
    no_overlap([text for legend in figure.legends for text in legend.get_texts()])
    ticks = [zip(axes.get_xticks(), axes.get_xticklabels(), [axes.get_xlim()] * 99, strict=False) for axes in shown]
    no_overlap([text for labels in ticks for at, text, (low, high) in labels if low <= at <= high])


def test_results_draw_means_intervals_and_seeds(table):
    runs = table(("default",))
    axes, values = figures.results(runs).axes[0], runs["accuracy"].to_numpy()
    dots, (ends,), diamond = drawn_forest(axes)
    assert ends == pytest.approx(stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values)))
    assert dots == pytest.approx(values) and diamond.get_offsets()[0][0] == pytest.approx(values.mean())


def test_paired_differences_draw_every_seeds_difference_and_fill_what_is_shown(table):
    runs = table(seeds=8)
    dots, _, diamonds = drawn_forest(figures.paired_differences(runs, "default").axes[0])
    wide = runs.pivot(index="seed", columns="method", values="accuracy")
    assert dots == pytest.approx(wide["dual_skd"] - wide["default"])
    assert to_hex(diamonds.get_facecolors()[0]) == PALETTE["main"].lower()  # p = 2 / 2 ** 8
    few = figures.paired_differences(runs[runs["seed"] < 3], "default")
    assert to_hex(drawn_forest(few.axes[0])[2].get_facecolors()[0]) == "#ffffff"
    assert "0 of 1 are shown" in few.alt_text


def test_paired_differences_leave_out_groups_without_the_reference(table):
    runs = table(data=("brain", "lung"))
    runs = runs[(runs["data"] == "brain") | (runs["method"] != "default")]
    figure = figures.paired_differences(runs, "default")
    assert [axes.get_title() for axes in figure.axes] == ["brain, 10\N{NO-BREAK SPACE}%"]
    with pytest.raises(ValueError, match="unknown reference 'nobody'"):
        figures.paired_differences(runs, "nobody")
    no_common_seed = runs[(runs["method"] == "default") == (runs["seed"] == 0)]
    with pytest.raises(ValueError, match="'default' has no seed in common with another method"):
        figures.paired_differences(no_common_seed, "default")


def test_a_comparison_has_students_t_the_seeds_joined_and_a_named_line(table):
    runs = table(seeds=4)
    figure = figures.comparison(runs, ("accuracy", "ece"), chance=0.3, paired=True)
    axes, values = figure.axes[0], runs.loc[runs["method"] == "default", "accuracy"]
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert drawn_forest(axes)[1][0] == pytest.approx([low, high])
    wide = runs.pivot(index="method", columns="seed", values="accuracy").loc[["default", "dual_skd"]]
    for line, seed in zip(axes.lines[1:], wide, strict=False):  # the first one is chance
        assert line.get_xdata() == pytest.approx(wide[seed].to_numpy())
    assert [axes.get_title() for axes in figure.axes] == ["accuracy on the test images", "ece on the test images"]
    assert "most frequent class" in [text.get_text() for text in axes.texts]
    assert f"random initialisation {values.mean():.3f} ± {(high - low) / 2:.3f}" in figure.alt_text
    assert figure.alt_text.endswith("dotted line: most frequent class 0.300.")
    alone = figures.comparison(table(seeds=1))
    assert "±" not in alone.alt_text and "interval" not in alone._suptitle.get_text()


def test_factorial_joins_the_means_of_the_cells(drawn, table):
    runs = table(CELLS)
    figure = figures.factorial(runs)
    by_method = runs.groupby("method")["accuracy"].mean()
    for name, methods in FACTORIAL.items():
        assert drawn(figure)[f"{name} start"].get_ydata() == pytest.approx(by_method[list(methods)].to_numpy())
    assert sorted(figure.axes[0].collections[-1].get_offsets()[:, 1]) == pytest.approx(sorted(runs["accuracy"]))
    with pytest.raises(ValueError, match="the factorial needs default_skd_other, single_skd as well"):
        figures.factorial(runs[~runs["method"].isin(["single_skd", "default_skd_other"])])


def test_fraction_curves_are_means_and_t_intervals_beside_each_other(drawn, table):
    runs = table(CELLS, SIX[:2], (0.1, 1.0))
    figure = figures.fraction_curves(runs, reference="default")
    assert len({line.get_marker() for line in drawn(figure).values()}) == 6
    line = drawn(figure)["dual selection + SKD"]
    accuracies = runs[(runs["method"] == "dual_skd") & (runs["data"] == SIX[0])].groupby("fraction")["accuracy"]
    assert line.get_ydata() == pytest.approx(accuracies.mean().to_numpy())
    assert line.get_xdata() == pytest.approx([0.1, 1], rel=0.15)
    ends = stats.t.interval(0.95, 2, loc=accuracies.mean(), scale=accuracies.sem())
    bars = [segment[:, 1] for group in figure.axes[0].collections for segment in group.get_segments()]
    for low, high in zip(*ends, strict=True):
        assert any(bar == pytest.approx([low, high]) for bar in bars)


def test_methods_keep_their_looks_in_all_figures():
    names = (*STARTS, TEACHER)
    look, few = figures.method_looks(names), figures.method_looks(names[:3])
    assert len(look["palette"]) == len(set(look["markers"].values())) == len(names)
    assert look["palette"]["Xavier"] == few["palette"]["Xavier"]
    for name, role in (("weight_selection", "main"), (TEACHER, "teacher"), ("default", "random")):
        assert look["palette"][METHODS[name].label] == PALETTE[role]


def test_cost_is_the_mean_over_seeds(table):
    runs = table()
    left, right = cost_accuracy(runs).axes
    mean = runs[runs["method"] == "dual_skd"][["seconds", "accuracy"]].mean()
    assert np.asarray(left.collections[0].get_offsets())[1] == pytest.approx(mean.to_numpy())
    assert np.asarray(right.collections[0].get_offsets())[:, 0] == pytest.approx([4.0, 5.2])
