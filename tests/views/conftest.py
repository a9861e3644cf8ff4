import io

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from dmws_lite.studies.methods import METHODS


@pytest.fixture
def check_picture():
    """check_picture(figure): it is drawn as wide as promised, is not blank, and carries an alt text without gaps."""

    def check(figure):
        assert len(figure.alt_text) > 40 and figure.alt_text.endswith(".")
        assert "\n" not in figure.alt_text and "nan" not in figure.alt_text
        picture = Image.open(io.BytesIO(figure.png()))
        assert picture.text["Description"] == figure.alt_text
        assert picture.width == 8 * 110 and np.asarray(picture.convert("L")).std() > 5
        return figure

    return check


@pytest.fixture
def drawn():
    """drawn(figure, panel): the lines of a panel, by what the legend says of their colour."""

    def lines(figure, panel=0):
        axes = figure.axes[panel]
        legend = figure.legends[0] if figure.legends else axes.get_legend()
        entries = zip(legend.legend_handles, legend.get_texts(), strict=True)
        names = {to_hex(handle.get_color()): text.get_text() for handle, text in entries}
        shown = [line for line in axes.lines if len(line.get_xdata()) and to_hex(line.get_color()) in names]
        return {names[to_hex(line.get_color())]: line for line in reversed(shown)}  # the first of a colour

    return lines


@pytest.fixture(scope="session")
def table():
    """table(methods, data, fractions, seeds): a study's runs, one row per run."""

    def make(methods=("default", "dual_skd"), data=("brain_mri",), fractions=(0.1,), seeds=3):
        rng = np.random.default_rng(0)
        rows = [
            {"key": f"{name}/{share}/{method}/{s}", "data": name, "pair": "big → small", "fraction": share, "seed": s}
            | {"method": method, "label": METHODS[method].label, "ece": rng.uniform(0.05, 0.2), "seconds": 20 + 3 * i}
            | {"accuracy": 0.4 + 0.1 * np.log10(100 * share) + 0.1 * i + rng.normal(0, 0.03)}
            | {"flops_per_step": 4e9 * (1 + 0.3 * (i % 2))}
            for name in data
            for share in fractions
            for s in range(seeds)
            for i, method in enumerate(methods)
        ]
        return pd.DataFrame(rows)

    return make
