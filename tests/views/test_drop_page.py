import json
import re

import numpy as np
import pytest

import dmws_lite as dm
from dmws_lite.data.sets import ImageSet
from dmws_lite.training.fit import Run
from dmws_lite.views.drop_page import MOST_EXAMPLES, drop_page


def save(folder, name="embedded_vit_48", size=64, fit="crop"):
    Run(dm.build(name, 2, size), None, name=name, classes=("a", "b"), image_size=size, fit=fit).save(folder)
    return folder


def images(n=2, size=64):
    pixels = np.random.default_rng(0).integers(0, 256, (n, 1, size, size), dtype=np.uint8)
    return ImageSet(pixels, np.arange(n) % 2, ("a", "b"), tuple(map(str, range(n))))


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_holds_everything_and_asks_nobody_and_what_does_not_fit_is_named(tmp_path, monkeypatch):
    page_file = drop_page(save(tmp_path), images(9))
    page = page_file.path.read_text()
    data = data_of(page)
    assert len(data["examples"]) == MOST_EXAMPLES and data["net"]["depth"] == 4 and data["net"]["heads"] == 3
    wanted = dm.predict(dm.load_student(tmp_path)[0], images(9).images[:6])
    assert np.allclose([example["probabilities"] for example in data["examples"]], wanted)
    assert not re.search(r"https?://", page) and "default-src 'none'" in page
    assert "Not for diagnosis" in page and page_file.path.stat().st_size < 1e6
    assert "MB): open it in a browser" in repr(page_file)
    assert 'sandbox="allow-scripts"' in page_file._repr_html_()  # no access to the notebook
    monkeypatch.setattr("dmws_lite.views.drop_page.LARGEST_SHOWN", 1000)
    assert "<iframe" not in page_file._repr_html_() and "page.html" in page_file._repr_html_()
    with pytest.raises(ValueError, match="at least one image of 64 x 64 pixels"):
        drop_page(tmp_path, images(size=32))
    with pytest.raises(FileNotFoundError, match="Run.save wrote"):
        drop_page(tmp_path / "nowhere", images())


VITS = "test_vit2", "deit_tiny_distilled_patch16_224", "vit_relpos_small_patch16_224"


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "mobilenetv4_conv_small_050", *VITS])
def test_other_networks_are_sent_to_onnx(tmp_path, name):
    with pytest.raises(ValueError, match=rf"plain vision transformers .* {name} is none: to_onnx writes a file"):
        drop_page(save(tmp_path, name, 224), images(size=224))


def test_the_page_fits_images_as_the_training_did(tmp_path):
    for fit, text in (("letterbox", "the rest is black"), ("crop", "the middle is kept")):
        page = " ".join(drop_page(save(tmp_path, fit=fit), images()).path.read_text().split())
        assert text in page and f'"fit": "{fit}"' in page
