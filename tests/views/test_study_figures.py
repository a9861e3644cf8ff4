import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.statistics import FACTORIAL
from dmws_lite.views import study_figures as figures
from dmws_lite.views.study_panels import labels_of, named, styles

CELLS = [name for names in FACTORIAL.values() for name in names]
MANY = list(dict.fromkeys([*CELLS, *METHODS]))[:20]
SIX = ["brain_mri", "chest_xray", "lung_ct_with_a_rather_long_name", "a$b", "phantom_lung_ct", "phantom_brain_mri"]


def table(methods=("default", "dual_skd"), data=("brain_mri",), fractions=(0.1,), seeds=3, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        {
            "key": f"{name}/{fraction}/{method}/{s}",
            "data": name,
            "pair": "big → small",
            "fraction": fraction,
            "method": method,
            "label": METHODS[method].label,
            "seed": s,
            "accuracy": 0.4 + 0.1 * np.log10(100 * fraction) + 0.01 * i + rng.normal(0, 0.03),
            "ece": rng.uniform(0.05, 0.2),
            "seconds": 20 + 3 * i,
            "flops_per_step": 4e9 * (1 + 0.3 * (i % 2)),
        }
        for name in data
        for fraction in fractions
        for s in range(seeds)
        for i, method in enumerate(methods)
    ]
    return pd.DataFrame(rows)


def predictions(runs, images=30, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for key in runs["key"]:
        probabilities = rng.dirichlet([1, 1, 1], images)
        columns = {"key": key, "student": "main", "label": rng.integers(0, 3, images)}
        columns["predicted"] = probabilities.argmax(1)
        parts.append(pd.DataFrame(columns).assign(probabilities=list(probabilities)))
    return pd.concat(parts, ignore_index=True)


def history(runs, momentum=0.9):
    rows = [
        {"key": run.key, "step": step, "alpha": step / 40, "momentum": momentum, "val_accuracy": 0.3 + 0.01 * step}
        | {"auxiliary_accuracy": 0.2 + 0.01 * run.seed if run.method != "default" else np.nan}
        for run in runs.itertuples()
        for step in (0, 10, 20)
    ]
    return pd.DataFrame(rows)


def every_figure(runs):
    first = runs[runs["fraction"] == runs["fraction"].min()]
    group = first[first["data"] == first["data"].iloc[0]]
    return {
        "results": lambda: figures.results(first),
        "paired_differences": lambda: figures.paired_differences(runs, "default", fraction=runs["fraction"].min()),
        "fraction_curves": lambda: figures.fraction_curves(runs, reference="default"),
        "cost_accuracy": lambda: figures.cost_accuracy(group, reference="default"),
        "reliability": lambda: figures.reliability(group, predictions(group)),
        "ranks": lambda: figures.ranks(runs),
        "auxiliary_over_time": lambda: figures.auxiliary_over_time(group, history(group)),
    }


@pytest.mark.parametrize("name", every_figure(table()))
@pytest.mark.parametrize("seeds, fractions", [(1, (0.1,)), (3, (0.01, 0.05, 0.1, 1.0))])
def test_every_figure_draws_and_says_what_it_shows(name, seeds, fractions):
    figure = every_figure(table(fractions=fractions, seeds=seeds))[name]()
    assert len(figure.alt_text) > 40 and figure.alt_text.endswith(".") and "\n" not in figure.alt_text
    picture = Image.open(io.BytesIO(figure.png()))
    assert picture.text["Description"] == figure.alt_text
    assert picture.width == 8 * 110 and np.asarray(picture.convert("L")).std() > 5


@pytest.mark.parametrize("name", ["results", "cost_accuracy"])
def test_labels_of_twenty_methods_do_not_overlap(name):
    figure = every_figure(table(MANY, SIX if name == "results" else SIX[:1], seeds=2))[name]()
    figure.draw_without_rendering()
    names = [label for axes in figure.axes for label in axes.get_yticklabels() if axes.get_subplotspec().is_first_col()]
    titles = [axes.title for axes in figure.axes if axes.get_visible()]
    for group in (names, titles):
        boxes = [text.get_window_extent() for text in group if text.get_text()]
        assert boxes and all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 + 1 for box in boxes)
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    legend = [text.get_window_extent() for legend in figure.legends for text in legend.get_texts()]
    assert not any(a.overlaps(b) for i, a in enumerate(legend) for b in legend[:i])


@pytest.mark.parametrize("data", [SIX[:2], SIX])
@pytest.mark.parametrize("scale", [0.03, 0.1, 1])
def test_numbers_below_narrow_panels_do_not_overlap(data, scale):
    runs = table(("default", "dual_skd", "weight_selection"), data)
    runs["accuracy"] = 0.5 + scale * (runs["accuracy"] - 0.5)
    figure = figures.paired_differences(runs, "default")
    figure.draw_without_rendering()
    ends = [axes.get_xlim() for axes in figure.axes]
    boxes = [
        text.get_window_extent()
        for axes, (left, right) in zip(figure.axes, ends, strict=True)
        for at, text in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if axes.get_visible() and left <= at <= right and text.get_text()
    ]
    assert len(boxes) >= 2 * len(data) and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_styles_tell_twenty_methods_apart_without_colour():
    look = styles(table(MANY), "default")
    marks = {(s["marker"], s["markerfacecolor"] == "white") for s in look.values()}
    assert len(look) == len(marks) == 20 and look["default"]["linestyle"] == ":"


def test_results_draw_means_intervals_and_seeds():
    runs = table(("default",))
    bar, dots, diamond = figures.results(runs).axes[0].lines
    values = runs["accuracy"].to_numpy()
    assert bar.get_xdata() == pytest.approx(stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values)))
    assert dots.get_xdata() == pytest.approx(values) and diamond.get_xdata() == pytest.approx([values.mean()])


def test_paired_differences_draw_every_seeds_difference_and_fill_what_is_shown():
    runs = table(seeds=8).assign(
        accuracy=lambda t: 0.5 + 0.1 * (t["method"] == "dual_skd") + 0.01 * t["seed"] ** 2 % 0.03
    )
    axes = figures.paired_differences(runs, "default").axes[0]
    wide = runs.pivot(index="seed", columns="method", values="accuracy")
    assert axes.lines[1].get_xdata() == pytest.approx(wide["dual_skd"] - wide["default"])
    assert axes.lines[2].get_markerfacecolor() != "white"  # p = 2 / 2 ** 8
    few = figures.paired_differences(runs[runs["seed"] < 3], "default")
    assert few.axes[0].lines[2].get_markerfacecolor() == "white" and "0 of 1 are shown" in few.alt_text


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


def test_factorial_joins_the_means_of_the_cells():
    runs = table(CELLS)
    axes = figures.factorial(runs).axes[0]
    means = runs.groupby("method")["accuracy"].mean()
    lines = [bars.lines[0].get_ydata() for bars in axes.containers]
    assert lines[0] == pytest.approx(means[list(FACTORIAL["random"])].to_numpy())
    assert lines[1] == pytest.approx(means[list(FACTORIAL["selected"])].to_numpy())
    with pytest.raises(ValueError, match="the factorial needs default_skd_other, single_skd as well"):
        figures.factorial(runs[~runs["method"].isin(["single_skd", "default_skd_other"])])


def test_fraction_curves_have_every_method_once_and_the_reference_everywhere():
    runs = table(MANY, SIX[:2], (0.1, 1.0))
    figure = figures.fraction_curves(runs, reference="default")
    drawn = [[c.get_label() for c in axes.containers] for axes in figure.axes if axes.containers]
    labels = labels_of(runs)
    assert all(names[0] == labels["default"] and len(names) <= figures.CURVES + 1 for names in drawn)
    others = [name for names in drawn for name in names[1:]]
    assert sorted(others) == sorted([label for name, label in labels.items() if name != "default"] * 2)


def test_cost_is_the_mean_over_seeds():
    runs = table()
    left, right = figures.cost_accuracy(runs).axes
    points = {line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in left.lines}
    mean = runs[runs["method"] == "dual_skd"][["seconds", "accuracy"]].mean()
    assert points["dual selection + SKD"] == pytest.approx(mean.to_numpy())
    assert [line.get_xdata()[0] for line in right.lines] == pytest.approx([4.0, 5.2])


def test_reliability_bins_are_accuracies():
    runs = table(("default",), seeds=1)
    found = pd.DataFrame({"key": runs["key"][0], "student": "main", "label": [0, 0, 1, 1], "predicted": [0, 0, 0, 1]})
    found["probabilities"] = [[0.9, 0.1], [0.91, 0.09], [0.92, 0.08], [0.4, 0.6]]
    axes = figures.reliability(runs, found).axes[0]
    curve = axes.lines[1]
    assert curve.get_xdata() == pytest.approx([0.6, 0.91]) and curve.get_ydata() == pytest.approx([1, 2 / 3])
    assert sorted(bar.get_height() for bar in axes.patches)[-2:] == pytest.approx([0.1, 0.3])


def test_ranks_draw_the_critical_difference():
    runs = table(("default", "weight_selection", "dual_skd"), SIX)
    figure = figures.ranks(runs)
    critical = stats.studentized_range.ppf(0.95, 3, np.inf) * np.sqrt(3 * 4 / 12 / 6)
    bar = figure.axes[0].lines[0].get_xdata()
    assert bar[1] - bar[0] == pytest.approx(critical)
    assert f"Critical difference {critical:.2f}" in figure.alt_text


def test_the_auxiliary_forgets_its_start_as_an_ema_does():
    runs = table(("default", "dual_skd", "dual_frozen"))
    figure = figures.auxiliary_over_time(runs, history(runs), {"dual_frozen": "frozen"})
    accuracy, _, schedule, frozen = (figure.axes[i] for i in range(4))
    assert schedule.lines[1].get_ydata() == pytest.approx([1, 0.9**10, 0.9**20])
    assert len(frozen.lines) == 1
    assert accuracy.lines[1].get_ydata() == pytest.approx([0.21] * 3)
    band = accuracy.collections[1].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((0.2, 0.22))
    with pytest.raises(ValueError, match="no method here has an auxiliary student"):
        figures.auxiliary_over_time(runs, history(runs[runs["method"] == "default"]))


def test_five_auxiliaries_stand_in_two_even_rows_with_steps_below_each():
    runs = table(("single_skd", "dual_skd", "dual", "dual_frozen", "default_skd_same"))
    axes = figures.auxiliary_over_time(runs, history(runs)).axes
    assert len(axes) == 4 * 3 and sum(panel.get_visible() for panel in axes) == 2 * 5
    assert all(panel.xaxis.get_tick_params()["labelbottom"] for panel in (*axes[3:6], *axes[9:12]))


def test_names_are_no_formulas_and_short():
    assert named("a$b$", 20) == r"a\$b\$"
    assert named("word_" * 40, 20).count("\n") == 1
