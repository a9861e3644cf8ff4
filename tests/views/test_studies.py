import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import stats

from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.statistics import FACTORIAL
from dmws_lite.views import figures
from dmws_lite.views.style import PALETTE

CELLS = [name for names in FACTORIAL.values() for name in names]
MANY = list(dict.fromkeys([*CELLS, *METHODS]))[:20]
SIX = ["brain_mri", "chest_xray", "lung_ct_with_a_rather_long_name", "a$b", "phantom_lung_ct", "phantom_brain_mri"]


def table(methods=("default", "dual_skd"), data=("brain_mri",), fractions=(0.1,), seeds=3):
    rng = np.random.default_rng(0)
    rows = [
        {"key": f"{name}/{share}/{method}/{s}", "data": name, "pair": "big → small", "fraction": share, "seed": s}
        | {"method": method, "label": METHODS[method].label, "ece": rng.uniform(0.05, 0.2), "seconds": 20 + 3 * i}
        | {"accuracy": 0.4 + 0.1 * np.log10(100 * share) + 0.01 * i + rng.normal(0, 0.03)}
        | {"flops_per_step": 4e9 * (1 + 0.3 * (i % 2))}
        for name in data
        for share in fractions
        for s in range(seeds)
        for i, method in enumerate(methods)
    ]
    return pd.DataFrame(rows)


def history(runs):
    rows = [
        {"key": run.key, "step": step, "alpha": step / 40, "momentum": 0.9, "val_accuracy": 0.3 + 0.01 * step}
        | {"auxiliary_accuracy": 0.2 + 0.01 * run.seed if run.method != "default" else np.nan}
        for run in runs.itertuples()
        for step in (0, 10, 20)
    ]
    return pd.DataFrame(rows)


def no_overlap(texts):
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    return boxes


def dots(axes):
    """The values that are drawn as dots, row by row."""
    return np.asarray(np.concatenate([own.get_offsets() for own in axes.collections[:-2]]))


def means(axes):
    bars, diamonds = axes.collections[-2:]
    return bars.get_segments(), diamonds


FIGURES = {
    "results": lambda runs: figures.results(runs),
    "paired_differences": lambda runs: figures.paired_differences(runs, "default", fraction=0.1),
    "comparison": lambda runs: figures.comparison(runs[runs["fraction"] == 0.1], chance=0.3, paired=True),
    "fraction_curves": lambda runs: figures.fraction_curves(runs, reference="default"),
    "cost_accuracy": lambda runs: figures.cost_accuracy(runs, reference="default"),
    "auxiliary_over_time": lambda runs: figures.auxiliary_over_time(runs[runs["fraction"] == 0.1], history(runs)),
}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("seeds, fractions", [(1, (0.1,)), (3, (0.01, 0.05, 0.1, 1.0))])
def test_every_figure_draws_and_says_what_it_shows(name, seeds, fractions, check_picture):
    check_picture(FIGURES[name](table(fractions=fractions, seeds=seeds)))


@pytest.mark.parametrize("name", ["results", "cost_accuracy"])
def test_labels_of_twenty_methods_do_not_overlap(name):
    figure = FIGURES[name](table(MANY, SIX if name == "results" else SIX[:1], seeds=2))
    figure.draw_without_rendering()
    names = [label for axes in figure.axes for label in axes.get_yticklabels() if axes.get_subplotspec().is_first_col()]
    for group in (names, [axes.title for axes in figure.axes if axes.get_visible()]):
        assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1 for box in no_overlap(group))
    no_overlap([text for legend in figure.legends for text in legend.get_texts()])


@pytest.mark.parametrize("scale", [0.03, 1])
def test_numbers_below_narrow_panels_do_not_overlap(scale):
    runs = table(("default", "dual_skd", "weight_selection"), SIX)
    runs["accuracy"] = 0.5 + scale * (runs["accuracy"] - 0.5)
    figure = figures.paired_differences(runs, "default")
    figure.draw_without_rendering()
    shown = [
        text
        for axes in figure.axes
        for at, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if axes.get_visible() and axes.get_xlim()[0] <= at <= axes.get_xlim()[1]
    ]
    assert len(no_overlap(shown)) >= 2 * len(SIX)


def test_results_draw_means_intervals_and_seeds():
    runs = table(("default",))
    axes, values = figures.results(runs).axes[0], runs["accuracy"].to_numpy()
    (bar,), diamond = means(axes)
    assert bar[:, 0] == pytest.approx(stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values)))
    assert dots(axes)[:, 0] == pytest.approx(values) and diamond.get_offsets()[0][0] == pytest.approx(values.mean())


def test_paired_differences_draw_every_seeds_difference_and_fill_what_is_shown():
    runs = table(seeds=8).assign(
        accuracy=lambda t: 0.5 + 0.1 * (t["method"] == "dual_skd") + 0.01 * t["seed"] ** 2 % 0.03
    )
    axes = figures.paired_differences(runs, "default").axes[0]
    wide = runs.pivot(index="seed", columns="method", values="accuracy")
    assert dots(axes)[:, 0] == pytest.approx(wide["dual_skd"] - wide["default"])
    assert to_hex(means(axes)[1].get_facecolors()[0]) == PALETTE["main"].lower()  # p = 2 / 2 ** 8
    few = figures.paired_differences(runs[runs["seed"] < 3], "default")
    assert to_hex(means(few.axes[0])[1].get_facecolors()[0]) == "#ffffff" and "0 of 1 are shown" in few.alt_text


def test_paired_differences_leave_out_groups_without_the_reference():
    runs = table(data=("brain", "lung"))
    runs = runs[(runs["data"] == "brain") | (runs["method"] != "default")]
    figure = figures.paired_differences(runs, "default")
    assert [axes.get_title() for axes in figure.axes] == ["brain, 10\N{NO-BREAK SPACE}%"]
    with pytest.raises(ValueError, match="reference='nobody' is not in the table"):
        figures.paired_differences(runs, "nobody")
    apart = runs[(runs["method"] == "default") == (runs["seed"] == 0)]
    with pytest.raises(ValueError, match="'default' has no seed in common with another method"):
        figures.paired_differences(apart, "default")


def test_a_comparison_has_students_t_the_seeds_joined_and_a_named_line():
    runs = table(seeds=4)
    figure = figures.comparison(runs, chance=0.3, paired=True, guess="most frequent class")
    axes, values = figure.axes[0], runs.loc[runs["method"] == "default", "accuracy"]
    low, high = stats.t.interval(0.95, 3, loc=values.mean(), scale=stats.sem(values))
    assert means(axes)[0][0][:, 0] == pytest.approx([low, high])
    wide = runs.pivot(index="method", columns="seed", values="accuracy")
    for line, seed in zip(axes.lines, wide, strict=False):
        assert line.get_xdata() == pytest.approx(wide[seed].to_numpy())
    assert axes.lines[-1].get_xdata() == [0.3, 0.3]
    assert "most frequent class" in [text.get_text() for text in axes.texts]
    assert f"random initialisation {values.mean():.3f} ± {(high - low) / 2:.3f}" in figure.alt_text
    assert figure.alt_text.endswith("dotted line: most frequent class 0.300.")


def test_a_comparison_of_one_seed_or_of_several_metrics():
    alone = figures.comparison(table(seeds=1))
    assert "±" not in alone.alt_text and "interval" not in alone._suptitle.get_text()
    both = figures.comparison(table(), ("accuracy", "ece"), on="clean points")
    assert [axes.get_title() for axes in both.axes] == ["accuracy on clean points", "ece on clean points"]


def test_factorial_joins_the_means_of_the_cells(drawn):
    runs = table(CELLS)
    figure = figures.factorial(runs)
    by_method = runs.groupby("method")["accuracy"].mean()
    lines = {name: line.get_ydata() for name, line in drawn(figure).items()}
    assert lines["random start"] == pytest.approx(by_method[list(FACTORIAL["random"])].to_numpy())
    assert lines["selected start"] == pytest.approx(by_method[list(FACTORIAL["selected"])].to_numpy())
    assert sorted(figure.axes[0].collections[-1].get_offsets()[:, 1]) == pytest.approx(sorted(runs["accuracy"]))
    with pytest.raises(ValueError, match="the factorial needs default_skd_other, single_skd as well"):
        figures.factorial(runs[~runs["method"].isin(["single_skd", "default_skd_other"])])


def test_fraction_curves_are_means_and_t_intervals_beside_each_other(drawn):
    runs = table(CELLS, SIX[:2], (0.1, 1.0))
    figure = figures.fraction_curves(runs, reference="default")
    lines = drawn(figure)
    assert set(lines) == set(runs["label"])
    own = runs[(runs["method"] == "dual_skd") & (runs["data"] == SIX[0])].groupby("fraction")["accuracy"]
    assert lines["dual selection + SKD"].get_ydata() == pytest.approx(own.mean().to_numpy())
    ends = stats.t.interval(0.95, 2, loc=own.mean(), scale=own.sem())
    bars = [segment[:, 1] for group in figure.axes[0].collections for segment in group.get_segments()]
    for low, high in zip(*ends, strict=True):
        assert any(bar == pytest.approx([low, high]) for bar in bars)
    assert lines["dual selection + SKD"].get_xdata() == pytest.approx([0.1, 1], rel=0.15)
    assert len({line.get_marker() for line in lines.values()}) == 6


def test_cost_is_the_mean_over_seeds():
    runs = table()
    left, right = figures.cost_accuracy(runs).axes
    mean = runs[runs["method"] == "dual_skd"][["seconds", "accuracy"]].mean()
    assert np.asarray(left.collections[0].get_offsets())[1] == pytest.approx(mean.to_numpy())
    assert np.asarray(right.collections[0].get_offsets())[:, 0] == pytest.approx([4.0, 5.2])


def test_the_auxiliary_forgets_its_start_as_an_ema_does():
    runs = table(("default", "dual_skd", "dual_frozen"))
    figure = figures.auxiliary_over_time(runs, history(runs), {"dual_frozen": "frozen"})
    dual, frozen = (axes for axes in figure.axes if axes.get_visible())
    curves = {line.get_color(): line.get_ydata() for line in dual.lines if len(line.get_ydata()) == 3}
    assert curves["#D55E00"] == pytest.approx([1, 0.9**10, 0.9**20])
    assert curves[PALETTE["auxiliary"]] == pytest.approx([0.21] * 3)
    assert not any(line.get_color() == "#D55E00" and len(line.get_ydata()) for line in frozen.lines)
    bands = [own.get_paths()[0].vertices[:, 1] for own in dual.collections]
    assert any((band.min(), band.max()) == pytest.approx((0.2, 0.22)) for band in bands)
    with pytest.raises(ValueError, match="no method here has an auxiliary student"):
        figures.auxiliary_over_time(runs, history(runs[runs["method"] == "default"]))
