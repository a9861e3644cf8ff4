"""Source-shortcut probes: can the class be told from what holds hardly any anatomy?"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

Array = np.ndarray
PROBES = ("border pixels", "mean and spread", "file properties", "whole thumbnail")
SAMPLE = 3000  # images at most
FOLDS = 5
COMMON_SIZES = 10  # this many of the most frequent sizes are features of their own
# Share of the way from chance to "every image right" from which a probe without anatomy is a warning. Our choice: the
# COVID-19 Radiography classes, which come from different hospitals, reach 0.65 with border pixels; real sets of which
# no such thing is known reach 0.3 to 0.5, since a border also holds the outline of the body.
VISIBLE = 0.55


def probe_shortcuts(table: pd.DataFrame, thumbnails: Array, seed: int = 0) -> pd.DataFrame:
    """How well a linear model tells the class from border pixels, brightness or file properties alone.

    Returns one row per probe (the three, and the whole thumbnail to compare with): accuracy (balanced over classes),
    its standard error, chance and images. NaN where a class has fewer than two patients or groups of copies, of which
    none is fitted on and answered for. Source: our choice, after Maguolo & Nanni 2021 (Inf. Fusion 76:1-7).
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(len(table))[:SAMPLE])
    table, pixels = table.iloc[chosen], thumbnails[chosen].astype(np.float32) / 255
    labels = pd.factorize(table["label"], sort=True)[0]
    units = pd.factorize(table["patient" if (table["patient"] != "").all() else "group"])[0]
    folds = _make_folds(labels, units, seed)
    flat = pixels.reshape(len(pixels), pixels.shape[1] * pixels.shape[2])
    features = (
        np.concatenate([pixels[:, 0], pixels[:, -1], pixels[:, 1:-1, 0], pixels[:, 1:-1, -1]], axis=1),
        np.stack([flat.mean(axis=1), flat.std(axis=1)], axis=1),
        _file_properties(table),
        flat,
    )
    chance = 1 / max(1, len(set(labels)))
    rows = []
    for name, values in zip(PROBES, features, strict=True):
        accuracy, error = _score(values, labels, folds) if folds else (np.nan, np.nan)
        rows.append((name, accuracy, error, chance, len(table)))
    return pd.DataFrame(rows, columns=["probe", "accuracy", "error", "chance", "images"])


def visible(probes: pd.DataFrame) -> pd.DataFrame:
    """The probes without anatomy that reach VISIBLE beyond chance error (two standard errors)."""
    low = (probes["accuracy"] - 2 * probes["error"] - probes["chance"]) / (1 - probes["chance"])
    return probes[(probes["probe"] != PROBES[-1]) & (low >= VISIBLE)]


def _make_folds(labels: Array, units: Array, seed: int) -> list[tuple[Array, Array]]:
    """Rows to fit on and to answer for: stratified, no unit in both; none when a class has fewer than two units."""
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min((len(set(units[labels == label])) for label in set(labels)), default=0)
    if fewest < 2 or len(set(labels)) < 2:
        return []
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a small class that is uneven over folds is fine here
        warnings.simplefilter("ignore", UserWarning)
        parts = list(folds.split(labels, labels, units))
    return [(fit, answer) for fit, answer in parts if len(answer) and set(labels[fit]) == set(labels)]


def _score(values: Array, labels: Array, folds: list[tuple[Array, Array]]) -> tuple[float, float]:
    """Balanced accuracy over the folds, and its standard error (binomial, one class at a time)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    correct = np.full(len(labels), np.nan)
    for fit, answer in folds:
        regression = LogisticRegression(C=0.01, tol=0.01, max_iter=100, class_weight="balanced")
        with warnings.catch_warnings():  # a rough fit is enough
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = make_pipeline(StandardScaler(), regression).fit(values[fit], labels[fit])
        correct[answer] = model.predict(values[answer]) == labels[answer]
    parts = [correct[(labels == label) & ~np.isnan(correct)] for label in np.unique(labels)]
    shares, counts = (np.array([f(part) for part in parts if len(part)]) for f in (np.mean, len))
    return float(shares.mean()), float(np.sqrt(np.sum(shares * (1 - shares) / counts)) / len(shares))


def _file_properties(table: pd.DataFrame) -> Array:
    """Width, height, aspect (logarithms), depth, colour, and whether the size is one of the most frequent ones."""
    width, height = (np.log(table[side].to_numpy(float).clip(1)) for side in ("width", "height"))
    sizes = table["width"].astype(str) + "x" + table["height"].astype(str)
    common = [(sizes == size).to_numpy(float) for size in sizes.value_counts().index[:COMMON_SIZES]]
    gray, depth = (table["mode"] == "gray").to_numpy(float), table["depth"].to_numpy(float)
    return np.stack([width, height, width - height, depth, gray, *common], axis=1)
