import math

import numpy as np
import torch

HISTORY = [
    {"val_accuracy": 0.3, "auxiliary_accuracy": 0.3, "both_right": 0.3},
    {"val_accuracy": 0.60, "auxiliary_accuracy": 0.58, "both_right": 0.55},
    {"val_accuracy": 0.9, "auxiliary_accuracy": 0.9, "both_right": 0.9},
]
GIVEN = {"06.4": {"history": HISTORY}}
LIVES = math.log2(100)  # half-lives until 1 % is left


def averaged(main_share):
    """An average that gives the main student this weight, as a function of the momentum; integers are copied."""

    def mix(auxiliary, main, momentum):
        share = main_share(momentum)
        mixed = {name: (1 - share) * auxiliary[name] + share * main[name] for name in main}
        return {name: mixed[name] if main[name].is_floating_point() else main[name].clone() for name in main}

    return mix


def in_place(auxiliary, main, momentum):
    for name, old in auxiliary.items():
        old.copy_(momentum * old + (1 - momentum) * main[name])
    return auxiliary


def without_buffers(auxiliary, main, momentum):
    return {name: momentum * auxiliary[name] + (1 - momentum) * main[name] for name in ("0.weight", "0.bias")}


def weights(m):
    """Of past main students in the average, the newest first."""
    return (1 - m) * m ** np.arange(5000)


RIGHT = {
    "06.1": [averaged(lambda m: 1 - m)],
    "06.2": [(0.5 ** (LIVES / (0.1 * 50 * 1200 / 64)), 0.1 / LIVES), (0.952, 0.015)],
    "06.3": [lambda m: 1 / (weights(m) ** 2).sum(), lambda m: torch.tensor((1 + m) / (1 - m))],
    "06.4": [0.63, 0.6301, np.float64(0.63)],
    "06.5": [("single_skd", "dual_skd"), ("dual_skd", "single_skd")],
}
MESSAGE = {"06.4": "63.0%; the main student alone has 60.0% there. The other 3.0% of the images are all"}
WRONG = {
    "06.1": [
        *((averaged(lambda m: m), "the two weights are exchanged"), (averaged(lambda m: 1), "a copy has no memory")),
        (averaged(lambda m: 0), "as it was before the step"),
        (averaged(lambda m: 0.5), "not the mean with the weights m and 1 - m"),
        (lambda a, b, m: {n: m * a[n] + (1 - m) * b[n] for n in a}, "num_batches_tracked counts batches"),
        (lambda a, b, m: {n: m * a[n] + b[n] for n in a}, "must add up to 1"),
        (without_buffers, "is missing: the auxiliary needs every tensor, buffers included"),
        (in_place, "the auxiliary student that was passed in has changed"),
    ],
    "06.2": [(0.950, 0.015, "0.95 is too small"), (0.954, 0.015, "0.954 is too large")],
    "06.5": [
        ("weight_selection", "dual_skd", "'weight_selection' has no auxiliary at all"),
        *(("weight_selection", "dual", "never uses"), ("random_skd", "dual_skd", "what selected weights are worth")),
        *(("dual_swapped", "dual_skd", "in other roles"), ("dual_frozen", "dual_skd", "more changes")),
        ("weight_selection", "single_skd", "neither of these has a second subset"),
        ("dual_skd", "dual_skd", "one method twice"),
    ],
}
SECRETS = {"06.1": ("0.9 *",), "06.2": ("0.952", "0.015"), "06.3": ("1 + m",), "06.4": ("0.63", "63.0")}
SECRETS |= {"06.5": ("'single_skd' and", "single_skd against")}
