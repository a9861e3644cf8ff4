"""A study of a few steps on a folder of small images, and one store of it that the tests of this folder read."""

import numpy as np
import pytest
from PIL import Image

import dmws_lite as dm
from dmws_lite.studies.engines import run_study
from dmws_lite.studies.study import make_study


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder train, val and test with 20, 6 and 8 images of each of three classes, 16 pixels a side."""
    folder = tmp_path_factory.mktemp("data") / "images"
    splits = dm.phantoms("lung_ct", train=60, val=18, test=24, size=16)
    for name in ("train", "val", "test"):
        split = getattr(splits, name)
        for number, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = folder / name / split.classes[label] / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.squeeze(image)).save(path)
    return folder


@pytest.fixture(scope="session")
def tiny(images):
    content = {"name": "tiny", "data": [images], "methods": ["default", "weight_selection", "dual_skd"], "seeds": 2}
    content |= {"fractions": [0.5], "size": 16, "training": {"steps": 4, "batch_size": 8, "evaluations": 2}}
    return lambda **changes: make_study(**content | {"device": "cpu"} | changes)


@pytest.fixture(scope="session")
def tiny_store(tiny, tmp_path_factory):
    return run_study(tiny(), tmp_path_factory.mktemp("tiny") / "store", progress=False)
