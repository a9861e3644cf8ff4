from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_score, recall_score

RNG = np.random.default_rng(0)
EVERYTHING = SimpleNamespace(patients=tuple(f"P{number:03d}" for number in np.repeat(np.arange(20), 3)))
TRUE_OR_FALSE = RNG.random((100_000, 18)) < 0.7  # each patient's images are all right or all wrong


def twins(exposures):
    """The share of test images with another image of the patient in train, by simulation."""
    in_train = RNG.random((200_000, exposures)) < 0.5
    return in_train[~in_train[:, 0], 1:].any(1).mean()


def by_patient(patients, share):
    names = np.unique(patients)
    return np.isin(patients, RNG.choice(names, round(share * len(names)), replace=False))


GIVEN = {"01.2": {"exposures": 8}, "01.2 five": {"exposures": 5}, "01.3": {"image_set": EVERYTHING}}
RIGHT = {
    "01.1": [balanced_accuracy_score],
    "01.2": [1 - 0.5**7, 0.992, 0.99],
    "01.2 five": [1 - 0.5**4, twins(5)],
    "01.3": [by_patient, lambda patients, share: pd.Series(by_patient(patients, share)).astype(float)],
    "01.4": [TRUE_OR_FALSE.mean(1).std(), Fraction(11, 100), pd.DataFrame([0.11])],
}
WRONG = {
    "01.1": [
        (accuracy_score, "plain accuracy"),
        (lambda truth, named: recall_score(truth, named, average=None).sum(), "this is a sum"),
        (lambda truth, named: precision_score(truth, named, average="macro", zero_division=0), "predicted as it"),
    ],
    "01.2": [(99.2, "99.2 looks like a percentage")],
    "01.3": [
        (lambda patients, share: RNG.random(len(patients)) < share, "have images on both sides"),
        (lambda patients, share: np.arange(len(patients)) < share * len(patients), "15 images of 5 patients: 5 of"),
        (lambda patients, share: np.zeros(len(patients), bool), "one side of the split is empty"),
        (lambda patients, share: by_patient(patients, 0.5), "5 patients are in the test, 4 were asked for"),
    ],
}
SECRETS = {"01.1": ("mean()",), "01.2": ("0.9921875",), "01.4": ("0.108", "0.11", "18")}
