import warnings
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import dmws_lite as dm
from dmws_lite.data.messy import messy_folder
from dmws_lite.studies.claims import claims
from dmws_lite.studies.compare import Comparison
from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.reporting import methods_text


@pytest.fixture(scope="module")
def text_and_splits(tmp_path_factory):
    folder = messy_folder(tmp_path_factory.mktemp("data") / "mess", patients=36)
    report = dm.check(folder, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        splits = dm.open_data(folder, unusable="skip", progress=False)
    names = ("weight_selection", "dual_skd")
    rows = [
        (name, METHODS[name].label, seed, 0.5 + 0.1 * (name == "dual_skd") + 0.01 * seed)
        for name in names
        for seed in (0, 1)
    ]
    table = pd.DataFrame(rows, columns=["method", "label", "seed", "accuracy"])
    training = dm.Training(steps=123, batch_size=16, lr=2e-3)
    teacher = dm.load_teacher()
    text = methods_text(report, splits, Comparison(table, {}, {}), teacher, "embedded_vit_48", training, 0.5)
    return text, splits, table


def test_it_says_what_was_done(text_and_splits):
    text, splits, table = text_and_splits
    sets = (splits.train, splits.val, splits.test)
    persons = " / ".join(str(len(set(one.patients))) for one in sets)
    for part in (
        f"{sum(map(len, sets))} images",
        f"{len(splits.train)} training, {len(splits.val)} validation",
        "Unusable and left out: 1.",
        "Split here by patient",
        f"of {persons} patients",
        "64 × 64",
        "50% of the training images",
        "125,763",
        "123 steps of 16 images",
        "learning rate 0.002",
        "2 seeds a method",
        "complementary auxiliary, EMA, soft targets",
    ):
        assert part in " ".join(text.split()), part
    assert all(sentence in text for sentence in claims(table, "weight_selection"))
    assert "not shown" in text and not np.any([brace in text for brace in "{}"])


def drafted(text_and_splits, fit="crop", **distillation):
    _, splits, table = text_and_splits
    gathered = SimpleNamespace(table=range(len(splits)), rule="patient")
    training = dm.Training(steps=100)
    settings = dm.load_teacher(), "embedded_vit_48", training, 1.0, "weight_selection", dm.Distillation(**distillation)
    shown = methods_text(
        SimpleNamespace(gathered=gathered), replace(splits, fit=fit), Comparison(table, {}, {}), *settings
    )
    return " ".join(shown.split())


def test_it_claims_nothing_that_it_cannot_know(text_and_splits):
    text = drafted(text_and_splits)
    assert "was tuned" not in text and "Hyper-parameters: [to be filled in" in text


def test_the_half_life_is_that_of_the_momentum(text_and_splits):
    assert "momentum 0.8706, a half-life of 5 of 100 steps" in drafted(text_and_splits)
    assert "momentum 0.99, a half-life of 69 of 100 steps" in drafted(text_and_splits, momentum=0.99)
    assert "the momentum rose to 1" in drafted(text_and_splits, momentum=0.9, momentum_schedule="cosine")
    assert "stayed as it was selected" in drafted(text_and_splits, auxiliary_update="frozen")


def test_it_says_how_images_became_squares(text_and_splits):
    assert "cropped to its middle square and resized to 64 × 64" in drafted(text_and_splits)
    letterboxed = drafted(text_and_splits, fit="letterbox")
    assert "resized and padded with black to 64 × 64" in letterboxed and "cropped" not in letterboxed
