import io
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from dmws_lite.data.sets import ImageSet
from dmws_lite.method.selection import complementary_plans, plan
from dmws_lite.views import figures

PAIR = ("embedded_vit_96", "embedded_vit_48")


@pytest.fixture(scope="module")
def plans():
    return complementary_plans(*PAIR)


def run(auxiliary=True):
    rows = [
        {"step": step, "loss": loss, "alpha": 0.1, "momentum": 0.9, "val_accuracy": right, "auxiliary_accuracy": other}
        for step, loss, right, other in ((0, np.nan, 0.3, 0.4), (10, 1.0, 0.6, 0.5), (20, 0.9, 0.55, 0.5))
    ]
    for row in rows:
        row |= {"both_right": 0.25} if auxiliary else {"auxiliary_accuracy": float("nan")}
    return SimpleNamespace(history=rows, best_step=10)


def table():
    rows = [
        (label, seed, 0.5 + 0.1 * i + 0.02 * seed)
        for i, label in enumerate(("random", "selection"))
        for seed in range(3)
    ]
    return pd.DataFrame(rows, columns=["label", "seed", "accuracy"])


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


def every_figure(plans):
    image_set = ImageSet(np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 1, 0, 1]), ("a", "b"), tuple("wxyz"))
    counts = pd.DataFrame([[3, 1], [0, 4]], index=["a", "b"], columns=["a", "b"])
    return {
        "axis_strips": lambda: figures.axis_strips(plans),
        "axis_strips, three students": lambda: figures.axis_strips(complementary_plans(*PAIR, n=3)),
        "tensor_maps": lambda: figures.tensor_maps(plans, ["blocks.0.attn.qkv.weight", "norm.bias"]),
        "coverage_bars": lambda: figures.coverage_bars(plans),
        "coverage_bars, one student": lambda: figures.coverage_bars(plans[0]),
        "layer_map": lambda: figures.layer_map(plans[0]),
        "consistency": lambda: figures.consistency({"uniform": plans[0]}),
        "selection": lambda: figures.selection(plans, "norm.bias"),
        "images": lambda: figures.images(image_set),
        "history": lambda: figures.history(run()),
        "history, several": lambda: figures.history({"dual": run(), "single": run(auxiliary=False)}),
        "disagreement": lambda: figures.disagreement(run()),
        "comparison": lambda: figures.comparison(table(), chance=0.5),
        "confusion": lambda: figures.confusion(counts),
        "half_life": lambda: figures.half_life(300),
        "similarity": lambda: figures.similarity({"a": [0.9, 0.5], "b": [0.1, 0.0]}),
    }


@pytest.mark.parametrize("name", every_figure(None))
def test_every_figure_draws_and_says_what_it_shows(plans, name):
    figure = every_figure(plans)[name]()
    assert len(figure.alt_text) > 40 and figure.alt_text.endswith(".")
    bundle, metadata = figure._repr_mimebundle_()
    assert bundle["text/plain"] == metadata["image/png"]["alt"] == figure.alt_text
    picture = Image.open(io.BytesIO(figure.png()))
    assert picture.text["Description"] == figure.alt_text
    assert picture.width == 8 * 110 and np.asarray(picture.convert("L")).std() > 5  # as wide as promised, and not blank


def test_save_writes_a_png_and_returns_the_figure(plans, tmp_path):
    figure = figures.layer_map(plans[0])
    assert figures.save(figure, tmp_path / "new", "layers") is figure
    assert Image.open(tmp_path / "new" / "layers.png").format == "PNG"


def test_alt_texts_are_made_from_the_data(plans):
    assert "embed: 48 and 48 of 96 indices, 0 shared, 0 unused" in figures.axis_strips(plans).alt_text
    assert (
        "main 25%, auxiliary 25%, several 0%, nobody 50%"
        in figures.tensor_maps(plans, ["blocks.0.mlp.fc1.weight"]).alt_text
    )
    broken = plan(*PAIR, elements="random_inconsistent")
    assert "tensors disagree" in figures.consistency({"broken": broken}).alt_text


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ("uniform", "main 0, 2, 4, …, 94; auxiliary 1, 3, 5, …, 95."),
        ("consecutive", "main 0, 1, 2, …, 47; auxiliary 48, 49, 50, …, 95."),
    ],
)
def test_alt_text_of_strips_tells_strategies_apart(elements, said):
    assert said in figures.axis_strips(complementary_plans(*PAIR, elements=elements), axes=["embed"]).alt_text


@pytest.mark.parametrize("shared", [False, True])
def test_legend_of_maps_has_their_marks_and_no_others(plans, shared):
    drawn = figures.tensor_maps((plans[0], plans[0] if shared else plans[1]), ["blocks.0.mlp.fc1.weight"]).legends[0]
    marks = {
        text.get_text(): patch.get_hatch() or "" for text, patch in zip(drawn.texts, drawn.get_patches(), strict=True)
    }
    assert marks == {"main": "", "auxiliary": "///", **({"both": "xxx"} if shared else {}), "not used": ""}


def test_layer_map_draws_one_line_a_student_block():
    axes = figures.layer_map(plan(*PAIR, layers="uniform")).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines] == [0, 2, 3, 5]


def test_history_shows_both_students_and_the_kept_step():
    accuracy = figures.history(run()).axes[1]
    drawn = lines(accuracy)
    assert drawn["main"].get_ydata().tolist() == [0.3, 0.6, 0.55]
    assert drawn["auxiliary"].get_color() == figures.PALETTE["auxiliary"] and drawn["auxiliary"].get_linestyle() == "--"
    assert drawn["kept: best on validation"].get_xdata() == [10]
    assert "auxiliary" not in lines(figures.history(run(auxiliary=False)).axes[1])


def test_disagreement_stacks_to_one():
    axes = figures.disagreement(run()).axes[0]
    heights = np.array([bar.get_height() for bar in axes.patches]).reshape(4, 3)
    assert heights[:, 1] == pytest.approx([0.25, 0.35, 0.25, 0.15])
    with pytest.raises(ValueError, match="needs a run with an auxiliary"):
        figures.disagreement(run(auxiliary=False))


def test_comparison_interval_is_students_t():
    axes = figures.comparison(table(), chance=0.5).axes[0]
    values = np.array([0.5, 0.52, 0.54])
    low, high = stats.t.interval(0.95, 2, loc=values.mean(), scale=stats.sem(values))
    assert axes.lines[0].get_xdata() == pytest.approx([low, high])
    assert axes.lines[-1].get_xdata() == [0.5, 0.5]


def test_an_axis_of_accuracies_ends_at_one():
    wide = table().assign(accuracy=[0.7, 1.0, 0.9, 0.0, 0.3, 0.1])
    assert figures.comparison(wide).axes[0].get_xlim() == (-0.02, 1.02)
    assert figures.comparison(wide.rename(columns={"accuracy": "loss"}), "loss").axes[0].get_xlim()[1] > 1.02


@pytest.mark.parametrize(
    ("options", "label"), [({}, "chance"), ({"guess": "most frequent class"}, "most frequent class")]
)
def test_comparisons_dotted_line_says_what_it_is(options, label):
    figure = figures.comparison(table(), chance=0.5, **options)
    assert [text.get_text() for text in figure.axes[0].texts if not text.get_text().startswith("0.")] == [label]
    assert figure.alt_text.endswith(f"; dotted line: {label} 0.500.")
    assert "dotted" not in figures.comparison(table()).alt_text


def test_half_life_is_half_at_its_half_life():
    curve = figures.half_life(100, half_lives=(25,)).axes[0].lines[0]
    assert curve.get_ydata()[[0, 25, 50]] == pytest.approx([100, 50, 25])


def test_coverage_bars_refuse_three_plans():
    with pytest.raises(ValueError, match=r"one or two plans, not 3: pass plans\[:2\]"):
        figures.coverage_bars(complementary_plans(*PAIR, n=3))
