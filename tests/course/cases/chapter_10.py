import numpy as np


def shared(train, test):
    return "no" if set(train) & set(test) else "yes"


def apart(train, test):
    return "unknown" if "" in train or "" in test else shared(train, test)


GIVEN = {"10.3": {"comparisons": 6}}
GIVEN |= {f"10.3 of {comparisons}": {"comparisons": comparisons} for comparisons in (1, 2)}
RIGHT = {
    "10.1": [apart],
    "10.2": [246, 246.0, np.int64(246)],
    "10.3": [8],
    "10.3 of 1": [6],
    "10.3 of 2": [7],
    "10.4": ["B", " b ", "'b'."],
}
WRONG = {
    "10.1": [
        (shared, "no id"),
        (lambda a, b: "no" if a == b else "yes", "share a patient"),
        (lambda a, b: "yes" if set(a) & set(b) else "no", "share none"),
        (lambda a, b: "unknown" if "" in a else shared(a, b), "without an id in test"),
        (lambda a, b: "unknown" if "" in b else shared(a, b), "without an id in train"),
        (lambda a, b: "unknown" if "" in set(a) & set(b) else shared(a, b), "both yes and no are guesses"),
        (lambda a, b: "unknown", "all ids are known"),
    ],
    "10.2": [(100, "too small"), (245.86, "whole numbers"), (385, "of 0.5"), (384.16, "of 0.5"), (248, "too large")],
    "10.3": [(6, "right for one comparison, but there are 6 here"), (3, "smallest p of 3 seeds is 0.25")],
    "10.4": [("A", "one throw of four"), ("c", "not the same")],
}
SECRETS = {"10.2": ("246",), "10.3": (" 8",)}
