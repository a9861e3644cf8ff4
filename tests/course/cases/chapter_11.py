import numpy as np
import pandas as pd
import torch

ERRORS = pd.DataFrame({"images": [2, 8, 32, 64], "fitted": [0.0, 0.01, 0.02, 0.03], "others": [2.0, 0.3, 0.06, 0.05]})
CANNOT = ["full_width", "no_images", "long_training"]
GIVEN = {
    "11.2": {"errors": ERRORS},
    "11.2 from most to fewest": {"errors": ERRORS.assign(others=[2.0, 0.3, 0.2, 0.2]).iloc[::-1]},
    "11.2 no lure": {"errors": ERRORS.assign(fitted=ERRORS["others"])},
    "11.4": {"seconds": 3.0, "step": 0.06},
}
# of a = 1, 2, 3 and y = 0, 2, 7, by numpy, with lambda 0.4 of the variance
SLOPE = np.cov([1, 2, 3], [0, 2, 7])[0, 1] / (1.4 * np.var([1, 2, 3], ddof=1))
RIGHT = {
    "11.1": [(SLOPE, 3 - 2 * SLOPE), (torch.tensor(2.5), -2)],
    "11.2": [32, np.int64(32), 32.0],
    "11.2 from most to fewest": [8],
    "11.2 no lure": [32],
    "11.3": [CANNOT, set(CANNOT), tuple(name.upper() for name in CANNOT)],
    "11.4": [75, 74.9, 74],
}
MESSAGE = {"11.2": "32 images", "11.4": "75 steps against 25"}
WRONG = {
    "11.2": [
        (2, "0.000 on the images of the fit, and 2.000 on others: which of them will the student see?"),
        (64, "fewer of those that were tried"),
        (40, "40 images were not tried: choose one of 2, 8, 32, 64"),
    ],
    "11.2 no lure": [(8, "above the limit, 0.100")],
    "11.2 from most to fewest": [(2, "which of them"), (32, "fewer of those")],
    "11.3": [
        (CANNOT[1:], "full_width: selection has copied every channel"),
        (["full_width", "long_training"], "no_images: the fit needs activations"),
        (CANNOT[:2], "long_training: where both starts end"),
        ([*CANNOT, "unlabelled"], "which labels would the fit need?"),
        ([*CANNOT, "short_training"], "close to its start"),
        ([*CANNOT, "other_half"], "lost in either case"),
    ],
}
SECRETS = {"11.1": ("2.5", "-2"), "11.2": ("32 images",), "11.4": ("75",)}
