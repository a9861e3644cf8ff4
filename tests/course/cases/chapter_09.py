import numpy as np

KB = 125_763 / 1000


def quantise(weights):
    scale = np.abs(weights).max() / 127
    return np.round(weights / scale), scale


def changed(before, after):
    return (before.argmax(1) != after.argmax(1)).mean()


GIVEN = {"09.1": {"weights": 125_763}}
RIGHT = {
    "09.1": [KB, 126, np.float32(KB)],
    "09.2": [quantise, lambda w: (quantise(w)[0].astype(np.int8), float(quantise(w)[1]))],
    "09.3": [changed, lambda p, q: sum(a.argmax() != b.argmax() for a, b in zip(p, q, strict=True)) / len(p)],
    "09.4": [1 / 0.6, 1.67],
}
WRONG = {
    "09.2": [
        (lambda w: w, "return two things"),
        (lambda w: (w / (abs(w).max() / 127), abs(w).max() / 127), "not whole"),
        (lambda w: (np.round(w / abs(w).max() * 127), 127 / abs(w).max()), "upside down"),
        (lambda w: (np.round(w / abs(w).max() * 64), abs(w).max() / 64), "should become 127"),
        (lambda w: (np.round(w / abs(w).max() * 128), abs(w).max() / 128), "128 does not fit"),
        (lambda w: (np.trunc(w / abs(w).max() * 127), abs(w).max() / 127), "round to the nearest"),
    ],
    "09.3": [
        (lambda p, q: (p.argmax(1) != q.argmax(1)).sum(), "a share is asked for"),
        (lambda p, q: (p.argmax(1) == q.argmax(1)).mean(), "stays the same"),
        (lambda p, q: (p != q).any(1).mean(), "class stays"),
        (lambda p, q: 0.4, "the same twice"),
        (lambda p, q: 1.0 if np.array_equal(p, q) else changed(p, q), "equal answers are no change"),
    ],
}
SECRETS = {"09.1": ("125.8",), "09.4": ("1.67",)}
