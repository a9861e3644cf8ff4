import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dmws_lite.views import style


def test_a_picture_gives_notebooks_its_alt_text_and_is_saved_with_it(tmp_path):
    figure, _ = style.picture(1.0)
    figure.alt_text = "Nothing is drawn here."
    bundle, metadata = figure._repr_mimebundle_()
    assert bundle["text/plain"] == metadata["image/png"]["alt"] == figure.alt_text
    assert style.save(figure, tmp_path / "new", "empty") is figure
    saved = Image.open(tmp_path / "new" / "empty.png")
    assert saved.format == "PNG" and saved.text["Description"] == figure.alt_text


def test_twenty_names_are_told_apart_without_colour():
    look = style.looks([f"method {k}" for k in range(20)], {"method 3": "reference"})
    assert len(look["palette"]) == len(set(look["markers"].values())) == 20
    assert [options["method 3"] for options in look.values()] == ["#000000", "*", (1, 1.5)]


def test_curves_draw_means_and_the_bars_they_are_given_and_refuse_a_table_without_rows(drawn):
    table = pd.DataFrame({"x": [0, 0, 1], "y": [0.5, 0.7, 0.8], "name": "main", "low": 0.4, "high": [0.7, 0.8, 0.9]})
    figure = style.curves(table, "x", "y", "name", words="Means", level=(0.3, "chance"))
    assert drawn(figure)["main"].get_ydata() == pytest.approx([0.6, 0.8])
    assert figure.axes[0].collections[-1].get_segments()[2] == pytest.approx(np.array([(1, 0.4), (1, 0.9)]))
    assert figure.axes[0].texts[0].get_text() == "chance" and figure.alt_text == "Means. main: 0.60 to 0.80."
    with pytest.raises(ValueError, match="the table has no rows: there is nothing to draw"):
        style.curves(table.head(0), "x", "y", "name")


def test_names_are_no_formulas_and_short():
    assert style.wrapped("a$b$", 20) == r"a\$b\$" and style.wrapped("word_" * 40, 20).count("\n") == 1
