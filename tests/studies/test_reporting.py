import warnings

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
