"""Chapter 01: right answers are accepted, stubs are open, and each mistake is named without the answer."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, precision_score

from dmws_lite.course import check

EVERYTHING = SimpleNamespace(patients=tuple(f"P{number:03d}" for number in np.repeat(np.arange(20), 3)))


GIVEN = {"01.1": {}, "01.2": {"exposures": 8}, "01.3": {"image_set": EVERYTHING}, "01.4": {}}


def recalls(truth, named):
    return [(named[truth == k] == k).mean() for k in np.unique(truth)]


def test_balanced_accuracy():
    assert check("01.1", lambda truth, named: np.mean(recalls(truth, named))).state == "right"
    assert check("01.1", balanced_accuracy_score).state == "right"
    assert check("01.1", lambda truth, named: None).state == "open"


@pytest.mark.parametrize(
    ("balanced", "part"),
    [
        (lambda truth, named: (truth == named).mean(), "plain accuracy"),
        (lambda truth, named: sum(recalls(truth, named)), "this is a sum"),
        (lambda truth, named: precision_score(truth, named, average="macro", zero_division=0), "that are called so"),
        (lambda truth, named: np.mean([(truth[named == k] == k).mean() for k in set(named)]), "that are called so"),
        (lambda truth, named: 100 * np.mean(recalls(truth, named)), "percentage"),
        (lambda truth, named: recalls(truth, named), "no number"),
    ],
)
def test_balanced_accuracies_that_are_wrong(refused, balanced, part):
    refused("01.1", balanced, part=part, secrets=("mean()", "0.5"))


@pytest.mark.parametrize("exposures", [2, 3, 8])
def test_the_share_of_twins_is_what_a_simulation_finds(exposures):
    in_train = np.random.default_rng(0).random((200_000, exposures)) < 0.5
    simulated = in_train[~in_train[:, 0], 1:].any(1).mean()
    assert simulated == pytest.approx(1 - 0.5 ** (exposures - 1), abs=0.003)
    assert check("01.2", 1 - 0.5 ** (exposures - 1), exposures=exposures).state == "right"
    assert check("01.2", ..., exposures=exposures).state == "open"


@pytest.mark.parametrize(
    ("share", "part"),
    [
        (0.5, "one certain other image"),
        (0.5**4, "none of the others"),
        (0.5**5, "not in train"),
        (1 - 0.5**5, "how many others"),
        (1, "not all"),
        (93.75, "percentage"),
        (0.8, "too small"),
    ],
)
def test_shares_of_twins_that_are_wrong(refused, share, part):
    refused("01.2", share, exposures=5, part=part, secrets=("0.9375", "93.75 %", "93.8"))


def test_a_share_of_eight_exposures_is_read_to_two_digits_and_as_a_percentage(refused):
    assert check("01.2", 0.992, exposures=8).state == check("01.2", 0.99, exposures=8).state == "right"
    refused("01.2", 99.2, exposures=8, part="99.2 looks like a percentage")
    refused("01.2", 0.996, exposures=8, part="how many others")


def by_patient(patients, share):
    names = np.unique(patients)
    return np.isin(patients, np.random.default_rng(0).choice(names, round(share * len(names)), replace=False))


def test_a_split_by_patient():
    assert check("01.3", by_patient, image_set=EVERYTHING).state == "right"
    assert (
        check("01.3", lambda patients, share: by_patient(patients, share).tolist(), image_set=EVERYTHING).state
        == "right"
    )
    assert check("01.3", lambda patients, share: None, image_set=EVERYTHING).state == "open"


@pytest.mark.parametrize(
    ("split", "part"),
    [
        (lambda patients, share: np.random.default_rng(0).random(len(patients)) < share, "have images on both sides"),
        (lambda patients, share: np.arange(len(patients)) < share * len(patients), "15 images of 5 patients: 5 of"),
        (lambda patients, share: np.zeros(len(patients), bool), "one side of the split is empty"),
        (lambda patients, share: ~by_patient(patients, 0.1), "9 patients are in the test, 4 were asked for"),
        (
            lambda patients, share: np.flatnonzero(by_patient(patients, share)),
            "where a list or an array of 20 truth values is asked for",
        ),
        (lambda patients, share: np.unique(patients)[:4], "20 truth values"),
    ],
)
def test_splits_that_are_wrong(refused, split, part):
    refused("01.3", split, image_set=EVERYTHING, part=part)


@pytest.mark.parametrize("read", [torch.tensor, tuple, pd.Series, lambda mask: mask.astype(float)])
def test_a_split_in_any_collection(read):
    split = lambda patients, share: read(by_patient(patients, share))  # noqa: E731
    assert check("01.3", split, image_set=EVERYTHING).state == "right"


def test_the_standard_error_counts_patients():
    whole = np.random.default_rng(0).random((100_000, 18)) < 0.7  # each patient's images are all right or all wrong
    assert check("01.4", whole.mean(1).std()).state == "right"
    assert check("01.4", 0.11).state == "right"
    assert check("01.4", ...).state == "open"


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (0.0382, "an independent trial"),
        (0.04, "an independent trial"),
        (0.21 / 18, "on the scale of the accuracy"),
        (0.1179, "accuracy of one half"),
        (0.216, "to one side"),
        (0.162, "of one patient"),
        (10.8, "percentage"),
        (0.01, "too small"),
    ],
)
def test_standard_errors_that_are_wrong(refused, error, part):
    refused("01.4", error, part=part, secrets=("0.108", "0.11", "18"))
