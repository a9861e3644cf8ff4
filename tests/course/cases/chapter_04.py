import numpy as np
import torch

from dmws_lite.analysis import starts
from dmws_lite.method.networks import build, load_teacher

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SELECTED = starts.untrained(load_teacher(), "embedded_vit_48", 3, IMAGES, ["weight_selection"])["weight_selection"]
GIVEN = {
    "04.3": {"network": SELECTED, "inputs": IMAGES},
    "04.3 without attention": {"network": build("mobilenetv1_050", 3).eval(), "inputs": IMAGES[:, :, :32, :32]},
    "04.4": {"ratio": 0.707},
    "04.4 a larger loss": {"ratio": 0.6},
}


def of_singular_values(rule):
    return lambda matrix: rule(np.linalg.svd(matrix, compute_uv=False))


RIGHT = {
    "04.1": [(2500, 5000), (2500.0, np.float64(5000.0000001))],
    "04.2": [lambda matrix: np.linalg.norm(matrix) ** 2 / np.linalg.norm(matrix, 2) ** 2],
    "04.3": [("stays", "rises", " Rises")],
    "04.4": [(2**0.5, 0.5)],
    "04.4 a larger loss": [(1 / 0.6, 0.36)],
}
MESSAGE = {"04.3": "rank share 0.169 → 0.3"}
WRONG = {
    "04.2": [
        (of_singular_values(lambda s: (s**2).sum() / s[0] ** 2 / len(s)), "share of the full rank"),
        (np.linalg.matrix_rank, "counts a tiny singular value"),
        (of_singular_values(lambda s: (s**2).sum() ** 0.5 / s[0]), "a square is missing"),
        (of_singular_values(lambda s: s.sum() / s[0]), "not their squares"),
        (np.linalg.norm, "a drawn matrix"),
    ],
    "04.3": [
        ("falls", "rises", "rises", "Frobenius norm"),
        ("stays", "falls", "rises", "independent entries"),
        ("stays", "stays", "rises", "rank share: it does something else"),
        ("stays", "rises", "stays", "Queries match keys"),
    ],
    "04.3 without attention": [("falls", "rises", "stays", "gain: it does something else")],
}
SECRETS = {"04.1": ("2500", "5000"), "04.4": ("1.41", "0.5 ")}
