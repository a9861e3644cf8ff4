import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

import dmws_lite as dm
from dmws_lite.analysis.saliency import lesions, localisation
from dmws_lite.data.sets import ImageSet
from dmws_lite.training.evaluation import calibration_error
from dmws_lite.views import figures
from dmws_lite.views.style import PALETTE


def ckas():
    rng = np.random.default_rng(0)
    names = ["stem", *(f"blocks.{i}" for i in range(4))]
    main = pd.DataFrame(rng.random((4, 5)), names[1:], names)
    return {"main": main, "random": main / 2}


def maps(count=6):
    return {"teacher": np.random.default_rng(0).random((count, 64, 64)), "main": np.zeros((count, 64, 64))}


IMAGES, MASKS = dm.phantoms("brain_mri", train=3, val=3, test=6).test, lesions("brain_mri", "test", 6)


def test_a_table_shows_each_number_at_its_place(check_picture):
    figure = check_picture(figures.cka_tables(ckas()))
    axes, table = figure.axes[0], ckas()["main"]
    assert [text.get_text() for text in axes.texts] == [f"{v:.2f}" for v in table.to_numpy().ravel()]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["stem", "1", "2", "3", "4"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "2", "3", "4"]
    assert f"last blocks {table.iloc[-1, -1]:.2f}" in figure.alt_text


def test_lesions_are_outlined_where_there_are_any(check_picture):
    figure = check_picture(figures.saliency(IMAGES, [0, 1], maps() | {"auxiliary, Grad-CAM": maps()["main"]}, MASKS))
    (axes,) = figure.axes
    outlines = [path.vertices for collection in axes.collections for path in collection.get_paths()]
    assert len(axes.collections) == 2 * 4 and len(axes.images) == 4 + 4 + 2 * 3
    assert all((outline[:, 1] > 1).all() for outline in outlines)  # in the second row: the first image has no lesion
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["image", "teacher", "main", "auxiliary\nGrad-CAM"]
    assert figure.alt_text.endswith("within the outlines of 1 lesions: teacher 0, main 0, auxiliary, Grad-CAM 0.")
    assert (
        "1 lesions: bright 1." in figures.saliency(IMAGES, [1], {"bright": np.where(MASKS, 1.0, 0.2)}, MASKS).alt_text
    )
    assert not any(axes.collections for axes in figures.saliency(IMAGES, [1], maps()).axes)
    check_picture(figures.corruptions(IMAGES, 1))


def test_scores_are_drawn_at_their_values_with_chance(check_picture):
    table = localisation({"random": maps()["teacher"], "main": maps()["main"]}, MASKS)
    for axes, score in zip(check_picture(figures.localisation(table)).axes, ("mass", "hit"), strict=True):
        rows = table[table["score"] == score]
        bars, diamonds = axes.collections[-2:]
        assert np.asarray(diamonds.get_offsets())[:, 0] == pytest.approx(rows["value"].to_numpy())
        assert [bar[1][0] for bar in bars.get_segments()] == pytest.approx(rows["high"].tolist())
        assert axes.lines[-1].get_xdata()[0] == pytest.approx(table.attrs["chance"])


def test_robustness_keeps_the_colours_of_the_course(check_picture, drawn):
    grid = pd.MultiIndex.from_product([("main", "teacher"), ("noise", "blur"), (0, 3)])
    table = grid.to_frame(False, ["model", "corruption", "severity"])
    accuracy = 0.9 - 0.1 * table["severity"]
    table = table.assign(accuracy=accuracy, low=accuracy - 0.05, high=accuracy + 0.05)
    figure = check_picture(figures.robustness(table, chance=1 / 3))
    lines = drawn(figure, 1)
    assert lines["main"].get_color() == PALETTE["main"] and lines["teacher"].get_ydata() == pytest.approx([0.9, 0.6])
    first = figure.axes[1].collections[-1].get_segments()[0][:, 1]
    assert first == pytest.approx([0.85, 0.95])  # the interval that the table has
    assert "noise, main: 0.90 to 0.60" in figure.alt_text


def test_calibration_draws_the_accuracy_of_each_bin(check_picture):
    shares = {"one": np.array([[0.9, 0.1], [0.91, 0.09], [0.92, 0.08], [0.4, 0.6]])}
    labels = np.array([0, 0, 1, 1])
    axes = check_picture(figures.calibration(shares, labels)).axes[0]
    assert axes.get_title() == f"one\nece {calibration_error(shares['one'], labels):.3f}"
    curve = axes.lines[1]
    assert curve.get_xdata() == pytest.approx([0.6, 0.91]) and curve.get_ydata() == pytest.approx([1, 2 / 3])
    assert sorted(bar.get_height() for bar in axes.patches) == pytest.approx([0.1, 0.3])


def costs():
    ways, sizes = ("teacher, torch", "student, torch", "student, ONNX"), (2800.0, np.nan, 550.0)
    table = pd.DataFrame({"way": ways, "kilobytes": sizes, "accuracy": (0.8, 0.75, 0.75), "median_ms": (9.0, 2.0, 0.6)})
    table = table.assign(low_ms=0.9 * table["median_ms"], high_ms=1.2 * table["median_ms"])
    table.attrs["images"] = 100
    return table


def test_costs_are_drawn_as_they_are(check_picture):
    figure = check_picture(figures.deployed(costs()))
    ends, marks = zip(*(axes.collections[-2:] for axes in figure.axes), strict=True)
    shown = [np.asarray(diamonds.get_offsets())[:, 0].tolist() for diamonds in marks]
    assert shown == [[2800, 550], [9, 2, 0.6], [0.8, 0.75, 0.75]]  # no size for a way without a file
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == list(costs()["way"])
    teacher, student, _ = map(to_hex, marks[1].get_facecolors())
    assert (teacher, student) == (PALETTE["teacher"].lower(), PALETTE["main"].lower())
    low, high = ends[2].get_segments()[0][:, 0]
    assert 0.70 < low < 0.8 < high < 0.88  # Wilson, 80 of 100: 0.711 to 0.867
    assert "size (kB): teacher, torch 2,800, student, ONNX 550; ms per image" in figure.alt_text


def test_files_are_shown_at_full_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    figure = figures.at_full_size([tmp_path / "one.png"])
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (70, 70) and np.array_equal(shown[15:55], pixels) and "one.png" in figure.alt_text


def test_dollars_in_names_are_no_formulas(tmp_path):
    names = ("costs $5", "$a_{$", "$\\frac$", "50 $ or _$_")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 16, 16), dtype=np.uint8)
    images = ImageSet(pixels, np.arange(4), names, tuple("abcd"))
    Image.fromarray(pixels[0, 0]).save(tmp_path / "$x_{$.png")
    drawn = (
        figures.at_full_size([tmp_path / "$x_{$.png"]),
        figures.images(images),
        figures.confusion(pd.DataFrame(np.eye(4, dtype=int), names, names)),
        figures.saliency(images, [1], {"main": np.zeros((4, 16, 16))}),
        figures.soft_targets([1, 0, 0, 0], [0, 1, 0, 0], 1, classes=names),
        figures.deployed(costs().assign(way=list(names[:3]))),
    )
    for figure in drawn:
        assert figure.png()  # a formula that cannot be read raises here
