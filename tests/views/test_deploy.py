import numpy as np
import pandas as pd
from PIL import Image

from dmws_lite.data.sets import ImageSet
from dmws_lite.views import figures


def costs():
    rows = [
        ("teacher, torch", 2800.0, 0.8, 9.0),
        ("student, torch", np.nan, 0.75, 2.0),
        ("student, ONNX", 550.0, 0.75, 0.6),
    ]
    table = pd.DataFrame(rows, columns=["way", "kilobytes", "accuracy", "median_ms"])
    table = table.assign(low_ms=0.9 * table["median_ms"], high_ms=1.2 * table["median_ms"])
    table.attrs["images"] = 100
    return table


def test_costs_are_drawn_as_they_are():
    figure = figures.deployed(costs())
    sizes, times, accuracies = figure.axes
    assert [bar.get_width() for bar in sizes.patches] == [2800, 550]  # none for a way without a file
    medians = [line.get_xdata()[0] for line in times.lines if len(line.get_xdata()) == 1]
    assert medians == [9, 2, 0.6]
    low, high = accuracies.collections[0].get_segments()[0][:, 0]
    assert 0.70 < low < 0.8 < high < 0.88  # Wilson, 80 of 100: 0.711 to 0.867
    markers = [line.get_marker() for line in times.lines if len(line.get_xdata()) == 1]
    assert markers[0] != markers[1] == markers[2]
    assert "student, ONNX: 550 kB, 0.6 ms, accuracy 0.750" in figure.alt_text


def test_an_answer_marks_the_likeliest_without_colour():
    figure = figures.answer(np.zeros((1, 8, 8), np.uint8), [0.2, 0.7, 0.1], ["a", "b", "c"], "scan")
    bars = figure.axes[1].patches
    assert [round(bar.get_width(), 3) for bar in bars] == [0.2, 0.7, 0.1]
    assert [bar.get_hatch() for bar in bars] == ["///", "", "///"]
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["a", "▸ b", "c"]
    assert figure.alt_text == "scan: the student says b. Probabilities: a 20.0%, b 70.0%, c 10.0%."


def test_files_are_shown_at_full_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    figure = figures.at_full_size([tmp_path / "one.png"])
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (70, 70) and np.array_equal(shown[15:55], pixels)
    assert "one.png" in figure.alt_text


def test_dollars_in_names_are_no_formulas(tmp_path):
    names = ("costs $5", "$a_{$", "$\\frac$", "50 $ or _$_")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 1, 16, 16), dtype=np.uint8)
    images = ImageSet(pixels, np.arange(4), names, tuple("abcd"))
    said = np.full((4, 4), 0.25)
    counts = pd.DataFrame(np.eye(4, dtype=int), names, names)
    path = tmp_path / "$x_{$.png"
    Image.fromarray(pixels[0, 0]).save(path)
    drawn = (
        figures.answer(pixels[0], said[0], names, names[1]),
        figures.at_full_size([path]),
        figures.images(images),
        figures.confusion(counts),
        figures.inspected(images, 1, {"main": said}, {"main": np.zeros((4, 16, 16))}),
        figures.soft_targets([1, 0, 0, 0], [0, 1, 0, 0], 1, classes=names),
        figures.deployed(costs().assign(way=list(names[:3]))),
    )
    for figure in drawn:
        assert figure.png()  # a formula that cannot be read raises here
    ticks = [label.get_text() for label in drawn[0].axes[1].get_yticklabels()]
    assert ticks[1] == r"\$a_{\$"
