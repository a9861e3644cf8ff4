import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import dmws_lite as dm
from dmws_lite.analysis.saliency import lesions, localisation
from dmws_lite.training.evaluation import calibration_error
from dmws_lite.views import figures
from dmws_lite.views.picture import PALETTE


def ckas():
    rng = np.random.default_rng(0)
    names = ["stem", *(f"blocks.{i}" for i in range(4))]
    main = pd.DataFrame(rng.random((4, 5)), names[1:], names)
    return {"main": main, "random": main / 2}


def bias():
    rows = [(n, pairs, 0.9 - n / 1000, 0.1) for n in (10, 300) for pairs in ("same", "shuffled")]
    return pd.DataFrame(rows, columns=["images", "pairs", "biased", "debiased"])


def course():
    rows = [
        (step, pair, block, 0.1 * block + step / 1000)
        for step in (0, 100)
        for pair in ("main, auxiliary", "main, teacher")
        for block in (1, 2, 3, 4)
    ]
    return pd.DataFrame(rows, columns=["step", "pair", "block", "cka"])


def images():
    return dm.phantoms("brain_mri", train=3, val=3, test=6).test


def maps(count=6):
    return {"teacher": np.random.default_rng(0).random((count, 64, 64)), "main": np.zeros((count, 64, 64))}


def located():
    return localisation({"random": maps()["teacher"], "main": maps()["main"]}, lesions("brain_mri", "test", 6))


def said():
    sure = np.array([[0.95, 0.05]] * 40)
    return {"main": sure, "main, T = 2": np.array([[0.8, 0.2]] * 40)}, np.repeat([0, 1], [30, 10])


def sturdy():
    rows = [
        (model, kind, severity, 0.9 - 0.1 * severity - 0.2 * i, 0.05)
        for i, model in enumerate(("main", "teacher", "single selection"))
        for kind in ("noise", "blur", "contrast")
        for severity in (0, 1, 3)
    ]
    table = pd.DataFrame(rows, columns=["model", "corruption", "severity", "accuracy", "half"])
    return table.assign(low=table["accuracy"] - 0.05, high=table["accuracy"] + 0.05, confidence=0.7)


FIGURES = {
    "cka_tables": lambda: figures.cka_tables(ckas()),
    "cka_estimators": lambda: figures.cka_estimators(bias()),
    "cka_over_training": lambda: figures.cka_over_training(course()),
    "saliency": lambda: figures.saliency(images(), [1, 2], maps(), lesions("brain_mri", "test", 6)),
    "localisation": lambda: figures.localisation(located()),
    "calibration": lambda: figures.calibration(*said()),
    "corruptions": lambda: figures.corruptions(images(), 1),
    "robustness": lambda: figures.robustness(sturdy(), chance=1 / 3),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_and_says_what_it_shows(name):
    figure = FIGURES[name]()
    assert len(figure.alt_text) > 60 and figure.alt_text.endswith(".") and "nan" not in figure.alt_text
    picture = Image.open(io.BytesIO(figure.png()))
    assert picture.text["Description"] == figure.alt_text
    assert picture.width == 8 * 110 and np.asarray(picture.convert("L")).std() > 5


def test_a_table_shows_each_number_at_its_place():
    figure = figures.cka_tables(ckas())
    axes, table = figure.axes[0], ckas()["main"]
    assert [text.get_text() for text in axes.texts] == [f"{v:.2f}" for v in table.to_numpy().ravel()]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["stem", "1", "2", "3", "4"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "2", "3", "4"]
    assert np.asarray(axes.images[0].get_array()) == pytest.approx(table.to_numpy())
    assert f"last blocks {table.iloc[-1, -1]:.2f}" in figure.alt_text
    large = figures.cka_tables({"large": pd.DataFrame(np.ones((12, 12)))})
    assert not large.axes[0].texts


def test_lines_are_told_apart_without_colour():
    for figure in (figures.cka_estimators(bias()), figures.cka_over_training(course())):
        lines = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
        assert len({(line.get_marker(), line.get_linestyle()) for line in lines}) == len(lines) == 4


def test_over_training_draws_a_panel_a_pair():
    figure = figures.cka_over_training(course())
    assert [axes.get_title() for axes in figure.axes] == ["main and auxiliary", "main and teacher"]
    assert figure.axes[1].lines[3].get_ydata() == pytest.approx([0.4, 0.5])
    assert "main and teacher, block 4: 0.40 to 0.50" in figure.alt_text


def test_lesions_are_outlined_where_there_are_any():
    masks = lesions("brain_mri", "test", 6)
    figure = figures.saliency(images(), [0, 1], maps(), masks)
    outlined = [len(axes.collections) for axes in figure.axes]
    assert outlined == [0, 0, 0, 2, 2, 2]  # the first image has no lesion
    assert [axes.get_title() for axes in figure.axes[:3]] == ["image", "teacher", "main"]
    titled = figures.saliency(images(), [1], {"auxiliary, Grad-CAM": maps()["main"]}, masks)
    assert titled.axes[1].get_title() == "auxiliary\nGrad-CAM"
    assert not any(axes.collections for axes in figures.saliency(images(), [1], maps()).axes)


def test_scores_are_drawn_at_their_values_with_chance():
    table = located()
    for axes, score in zip(figures.localisation(table).axes, ("mass", "hit"), strict=True):
        rows = table[table["score"] == score]
        diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
        assert diamonds == pytest.approx(rows["value"].tolist())
        assert axes.lines[-1].get_xdata()[0] == pytest.approx(table.attrs["chance"])


def test_calibration_is_told_by_panel():
    probabilities, labels = said()
    figure = figures.calibration(probabilities, labels)
    for axes, (name, p) in zip(figure.axes, probabilities.items(), strict=True):
        assert axes.get_title() == f"{name}\nece {calibration_error(p, labels):.3f}"


def test_robustness_keeps_the_colours_of_the_course():
    figure = figures.robustness(sturdy(), chance=1 / 3)
    assert [axes.get_title() for axes in figure.axes] == ["noise", "blur", "contrast"]
    bars = {bar.get_label(): bar for bar in figure.axes[1].containers}
    assert bars["main"].lines[0].get_color() == PALETTE["main"]
    assert bars["teacher"].lines[0].get_ydata() == pytest.approx([0.7, 0.6, 0.4])
    looks = {(bar.lines[0].get_marker(), str(bar.lines[0].get_linestyle())) for bar in bars.values()}
    assert len(looks) == 3
    assert "noise, main: 0.90 to 0.60" in figure.alt_text
    assert figures.robustness(sturdy(), "confidence").axes[0].get_ylabel() == "confidence"
