import matplotlib.colors
import numpy as np
import pandas as pd
import pytest

from dmws_lite.training.toy import WINDOW, moons
from dmws_lite.views import figures
from dmws_lite.views.style import LINES, PALETTE

RISING = np.tile(np.linspace(0, 1, 20), (20, 1))


def test_surfaces_show_the_grids_with_their_line():
    figure = figures.surfaces({"main": {"step 0": np.full((20, 20), 0.6), "step 9": RISING}})
    first, second = figure.axes[:2]
    assert (first.images[0].get_array() == 0.6).all() and not first.collections  # no place is undecided: no line
    np.testing.assert_array_equal(second.images[0].get_array(), RISING)
    (line,) = second.collections
    where = np.concatenate([path.vertices for path in line.get_paths()])[:, 0]
    assert np.allclose(where, sum(WINDOW[:2]) / 2, atol=0.12)
    assert tuple(first.images[0].get_extent()) == WINDOW
    assert "main step 0: class 1 on 100% of the plane, mean confidence 0.60" in figure.alt_text


def test_points_are_drawn_by_label_and_wrong_ones_ringed():
    data = moons(30, 0.2)
    figure = figures.surfaces({"": {"a": np.full((20, 20), 0.6)}}, data)
    zero, one, rings = figure.axes[0].collections
    assert len(zero.get_offsets()) == (data.labels == 0).sum() and len(one.get_offsets()) == (data.labels == 1).sum()
    np.testing.assert_allclose(rings.get_offsets(), data.x[data.wrong])
    assert zero.get_paths()[0].vertices.tolist() != one.get_paths()[0].vertices.tolist()  # not by colour alone


def test_the_course_of_both_students(drawn):
    rows = [(step, student, 0.5 + step / 100, 1.0) for step in (0, 10) for student in ("main", "auxiliary")]
    course = pd.DataFrame(rows, columns=["step", "student", "accuracy", "loss"])
    figure = figures.toy_course({"A": course, "B": course})
    lines = drawn(figure)
    for student in ("main", "auxiliary"):
        assert list(lines[student].get_ydata()) == pytest.approx([0.5, 0.6])
        assert matplotlib.colors.to_hex(lines[student].get_color()).upper() == PALETTE[student]
        assert lines[student].get_linestyle() == LINES[student]
    assert "A: accuracy, main: 0.50 to 0.60" in figure.alt_text
