"""A study of a few steps on a folder of small images, and one store of it that the tests of this folder read."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import dmws_lite as dm
from dmws_lite.studies.engines import run_study
from dmws_lite.studies.run import Outcome
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


def made(key, accuracy=0.5):
    """What a run leaves, as a store keeps it, without the run."""
    training = {"steps": 4, "batch_size": 8, "seed": 0}
    record = {
        "format": 1,
        "key": key,
        "status": "done",
        "error": None,
        "config": {"training": training, "data": "images", "weights": "teacher", "initializer": "default"},
        "names": {"data": "d", "pair": "t → s", "method": "m", "label": "M", "definition": "a method"},
        "fraction": 0.1,
        "seed": 0,
        "size": 16,
        "metrics": {"main": dict.fromkeys(("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece"), accuracy)},
        "val_accuracy": accuracy,
        "best_step": 4,
        "seconds": 1.0,
        "images_per_second": 9.0,
        "cost": {"flops_per_step": 1, "parameters": 1, "latency_ms": 1.0},
        "peak_memory_mb": 1.0,
        "machine": {"device": "cpu", "gpu": None},
    }
    history = pd.DataFrame({"step": [0, 4], "val_accuracy": [0.1, accuracy]})
    predictions = pd.DataFrame({"student": "main", "image": ["a", "b"], "label": [0, 1], "predicted": [0, 0]})
    return Outcome(record, history, predictions.assign(probabilities=[[0.6, 0.4]] * 2))


@pytest.fixture(scope="session")
def outcome():
    return made
