import numpy as np
import pandas as pd
import torch
from scipy.stats import binom

from dmws_lite.analysis import representations


def cka(x, y):
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def uncentred(x, y):
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def in_place(x, y):
    x -= x.mean(0)
    y -= y.mean(0)
    return cka(x, y)


def cam(channels, slopes):
    return np.maximum(0, (slopes.mean((1, 2))[:, None, None] * channels).sum(0))


def spoilt():
    """Two of five intervals of "b" leave out 0."""
    gaps = [(0.1, 0.3), (-0.3, -0.1), (-0.1, 0.2), (-0.2, 0.0), (-0.2, 0.1)]
    rows = [("b", severity, low, high) for severity, (low, high) in enumerate(gaps, start=1)]
    rows += [("b", 0, 0.1, 0.2), ("a", 1, 0.0, 0.0), ("c", 1, 0.2, 0.4), ("c", 2, 0.2, 0.4), ("c", 3, 0.2, 0.4)]
    table = pd.DataFrame(rows, columns=["model", "severity", "difference_low", "difference_high"])
    return table.assign(low=0.6, high=0.8)


def needed(images, chance, level=0.05):
    return next(k for k in range(images) if binom.sf(k - 1, images, chance) < level)


GIVEN = {
    "08.3": {"images": 200, "chance": 0.055},
    "08.3 fewer images": {"images": 60, "chance": 0.1},
    "08.5": {"table": spoilt(), "model": "b"},
    "08.5 another network": {"table": spoilt(), "model": "z"},
}
RIGHT = {
    "08.1": [cka, lambda x, y: torch.tensor(cka(x, y))],
    "08.2": [cam, lambda a, s: 7 * cam(a, s), lambda a, s: torch.tensor(cam(a, s), requires_grad=True)],
    "08.3": [needed(200, 0.055)],
    "08.3 fewer images": [needed(60, 0.1)],
    "08.4": [2, np.float64(2.0)],
    "08.5": [(2, 0.25), (2.0, 0.2504)],
}
WRONG = {
    "08.1": [
        (lambda x, y: cka(x, y) ** 0.5, "this is the square root"),
        (representations.cka, "this is the debiased estimate"),
        (uncentred, "the columns are not centred"),
        (lambda x, y: uncentred(x - x.mean(1)[:, None], y - y.mean(1)[:, None]), "over the features of an image"),
        (in_place, "your function changes the arrays"),
        (lambda x, y: cka(x, y) + (x.std() > 1.5), "cka of twice the first array"),
    ],
    "08.2": [
        (lambda a, s: (s.mean((1, 2))[:, None, None] * a).sum(0), "goes below 0"),
        (lambda a, s: (a * s).sum(0).clip(0), "one weight for all places"),
        (lambda a, s: a.sum(0).clip(0), "not weighted"),
        (lambda a, s: cam(a, s) ** 2, "another map"),
        (lambda a, s: a * s, "(6, 4, 5), where a list or an array of numbers of shape (4, 5)"),
    ],
    "08.5 another network": [(2, 0.2, "no corrupted images of 'z'")],
}
SECRETS = {"08.2": ("cut at 0", "average the slopes"), "08.4": ("is 2", "2.0")}
SECRETS |= {"08.3": (f" {needed(200, 0.055)} ", f" {needed(200, 0.055)}.")}
