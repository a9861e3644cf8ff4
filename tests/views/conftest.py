import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def check_picture():
    """check_picture(figure): it is drawn as wide as promised, is not blank, and carries an alt text without gaps."""

    def check(figure):
        assert len(figure.alt_text) > 40 and figure.alt_text.endswith(".")
        assert "\n" not in figure.alt_text and "nan" not in figure.alt_text
        picture = Image.open(io.BytesIO(figure.png()))
        assert picture.text["Description"] == figure.alt_text
        assert picture.width == 8 * 110 and np.asarray(picture.convert("L")).std() > 5

    return check
