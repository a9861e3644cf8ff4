import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score, precision_score, recall_score

from dmws_lite.method.selection import complementary_plans

PLANS = complementary_plans("embedded_vit_96", "embedded_vit_48")
SHARE = PLANS[0].coverage().total
COUNTS = pd.DataFrame([[5, 5], [1, 9]], ["healthy", "ill"], ["healthy", "ill"])
WITH_EMPTY = pd.DataFrame([[5, 5, 0], [1, 9, 0], [0, 0, 0]], ["a", "b", "none"], ["a", "b", "none"])


def by_image(measure):
    """A measure of sklearn (of labels, one per image) as a function of the table of counts and a class."""

    def of_counts(counts, name):
        pairs = [(row, column) for row in counts.index for column in counts for _ in range(counts.loc[row, column])]
        truth, named = np.array(pairs).T
        return measure(truth == name, named == name, truth == named)

    return of_counts


def sensitivity(truth, named, _):
    return recall_score(truth, named)


def specificity(truth, named, _):
    return recall_score(truth, named, pos_label=False)


def pair(first, second, read=tuple):
    return by_image(lambda *labels: read([first(*labels), second(*labels)]))


GIVEN = {
    "00.1": {"plans": PLANS},
    "00.1 overlap": {"plans": (PLANS[0], PLANS[0])},
    "00.2": {"counts": COUNTS},
    "00.2 a class without images": {"counts": WITH_EMPTY},
}
RIGHT = {
    "00.1": [2 * SHARE],
    "00.1 overlap": [SHARE],
    "00.2": [pair(sensitivity, specificity, read) for read in (tuple, pd.Series, torch.tensor)],
    "00.2 a class without images": [pair(sensitivity, specificity)],
    "00.3": [6, 6.0],
}
MESSAGE = {"00.1": "36.1%, and 63.9%", "00.2": "'healthy'"}
WRONG = {
    "00.2": [
        (pair(specificity, sensitivity), "exchanged"),
        (pair(lambda truth, named, _: precision_score(truth, named), specificity), "predicted as the class"),
        (pair(sensitivity, sensitivity), "specificity of 'a': this is the sensitivity once more"),
        (pair(sensitivity, lambda *labels: 1 - specificity(*labels)), "rate of false alarms"),
        (pair(sensitivity, lambda truth, _, same: same[~truth].mean()), "taken for a third class"),
        (pair(*[lambda _, __, same: accuracy_score(same, [True] * len(same))] * 2), "accuracy over all classes"),
    ],
    "00.3": [(5, "with 5 seeds all agree in 0.0625")],
}
SECRETS = {"00.1": (f"{2 * SHARE:.3f}",), "00.3": (" 6 ", "six seeds", "0.0312")}
