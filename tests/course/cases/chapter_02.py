import numpy as np
import torch

import dmws_lite as dm
from dmws_lite.method.components import FIXED

CANDIDATES = ["vit_tiny_patch16_224", "deit_tiny_patch16_224", "vit_base_patch16_224", "mobilenetv1_050"]
BLOCKS = [0, 2, 3, 5, 6, 8]


def share(axes):
    return 0.5 ** sum(axis not in FIXED for axis in axes)


GIVEN = {
    "02.1": {"plan": dm.plan("vit_small_patch16_224", "vit_tiny_patch16_224")},
    "02.1 with other names of axes": {"plan": dm.plan("convnext_tiny", "convnext_femto")},
    "02.4": {"teacher": "vit_small_patch16_224", "candidates": CANDIDATES},
}
RIGHT = {
    "02.1": [share],
    "02.1 with other names of axes": [share],
    "02.2": [4 * 197**2 * 192, 29.8e6],
    "02.3": [BLOCKS, BLOCKS[::-1], np.linspace(0, 8, 6).round(), torch.linspace(0, 8, 6).round()],
    "02.4": [CANDIDATES[:2], set(CANDIDATES[:2]), np.array(CANDIDATES[:2])],
    "02.5": [12 * 12 * 96**2, 1.33e6],
}
WRONG = {
    "02.1": [
        (lambda axes: 0.5 ** len(axes), "not every axis is halved"),
        (lambda axes: 0.5, "how many of these axes are halved?"),
        (lambda axes: 1, "at least one axis is halved"),
    ],
    "02.3": [
        ([0, 2, 4, 6, 8], "5 block(s)"),
        ([0, 1, 2, 3, 4, 5], "that is 'first'"),
        ([1, 2, 3, 5, 6, 8], "keeps the first and the last"),
        ([0, 1, 3, 5, 6, 8], "but 1 of the others"),
    ],
    "02.4": [(CANDIDATES[:1], "1 more would"), (CANDIDATES[:3], "wider than its teacher")],
}
SECRETS = {
    "02.2": ("29805312", "2.98053e+07", "half", "quarter"),
    "02.3": ("0, 2, 3, 5, 6, 8", "8/5", "8 / 5", "1.6"),
    "02.5": ("1327104", "1.3271e+06"),
}
