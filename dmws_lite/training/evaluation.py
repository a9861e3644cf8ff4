"""Evaluation: a network's probabilities on a set of images, and metrics of them with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dmws_lite.data.augmentation import normalise
from dmws_lite.data.sets import ImageSet
from dmws_lite.method.measuring import evaluation_mode
from dmws_lite.method.networks import input_statistics, require_image_size
from dmws_lite.runtime.device import few_threads

BINS = 15  # of the calibration error, as in Guo et al. 2017
CHUNK = 100  # resamples at a time, so that memory stays small for large test sets


def predict(model: nn.Module, images: ImageSet | np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Class probabilities (softmax) of every image, float32 (N, classes), computed where the model is; its modes stay.

    model:  carries the mean and standard deviation of its input, as those of `make_students` and `build` do.
    images: an ImageSet, or uint8 (N, C, H, W) with C = 1 or 3.
    Raises ValueError for other images, also of a size that the model does not take, for batch_size < 1, and for a model
    that does not say how its input is normalised.
    """
    pixels = check_images(images, batch_size)
    with evaluation_mode(model), torch.inference_mode(), few_threads(model, pixels):
        logits = [model(batch).float() for batch in normalised_batches(model, pixels, batch_size)]
        return torch.cat(logits).softmax(dim=1).cpu().numpy()


def check_images(images: ImageSet | np.ndarray, batch_size: int = 1) -> np.ndarray:
    """The images as `predict` takes them, uint8 (N, C, H, W); else ValueError, as `predict` says."""
    pixels = images.images if isinstance(images, ImageSet) else images
    is_array = isinstance(pixels, np.ndarray)
    if not is_array or pixels.dtype != np.uint8 or pixels.ndim != 4 or not len(pixels):
        shown = f"{pixels.dtype} {pixels.shape}" if is_array else f"a {type(pixels).__name__}"
        raise ValueError(f"images are {shown}: pass a numpy array, uint8 (N, C, H, W), N >= 1, or an ImageSet")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    return pixels


def normalised_batches(network: nn.Module, pixels: np.ndarray, batch_size: int = 100) -> Iterator[Tensor]:
    """Images uint8 (N, C, H, W) as the network takes them, a batch at a time, on the device where it is."""
    require_image_size(network, pixels.shape)
    device, statistics = next(network.parameters()).device, input_statistics(network)
    for start in range(0, len(pixels), batch_size):
        batch = np.array(pixels[start : start + batch_size])  # a copy: torch takes no read-only or reversed array
        yield normalise(torch.from_numpy(batch).to(device), *statistics)


def evaluate(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Accuracy, balanced accuracy, macro F1, AUROC, calibration error, sensitivity and specificity with 95 % intervals.

    probabilities: float (N, classes), rows sum to 1.   labels: int (N,), indices into `classes`.
    resamples:     bootstrap resamples of the images; 0 leaves the intervals nan.
    Returns columns metric, value, low, high. "auroc" is the mean of one-vs-rest over the classes, "ece" the expected
    calibration error (Guo et al. 2017) with 15 bins of equal width; sensitivity and specificity have one row per class
    ("sensitivity/name"). A metric that needs a class without images is nan. Intervals are percentiles over images drawn
    with replacement, for this trained network. Resamples that lack a class of the labels are left out, and counted in
    `.attrs["dropped"]`; `.attrs["images"]` is the number of images.
    Raises ValueError where shapes, classes and labels disagree, and for rows that are no probabilities.
    """
    probabilities, labels = check_predictions(probabilities, labels, classes)
    if resamples < 0:
        raise ValueError(f"resamples={resamples} must be 0 (no intervals) or more")
    rng, n, is_class = np.random.default_rng(seed), len(labels), labels[:, None] == np.unique(labels)
    resampled: list[np.ndarray] = []
    for start in range(0, resamples, CHUNK):
        counts = rng.multinomial(n, np.full(n, 1 / n), min(CHUNK, resamples - start)).astype(np.float64)
        has_all_classes = (counts @ is_class > 0).all(1)
        resampled.extend(_compute_metrics(counts[has_all_classes], probabilities, labels))
    rates = [f"{rate}/{name}" for rate in ("sensitivity", "specificity") for name in classes]
    names = ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece", *rates]
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0) if resampled else (np.nan, np.nan)
    values = _compute_metrics(np.ones((1, n)), probabilities, labels)[0]
    table = pd.DataFrame({"metric": names, "value": values, "low": low, "high": high})
    table.attrs |= {"dropped": resamples - len(resampled), "images": n}
    return table


def confusion(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Numbers of images by true class (rows) and predicted class (columns). Arguments and errors as in `evaluate`."""
    from sklearn.metrics import confusion_matrix

    probabilities, labels = check_predictions(probabilities, labels, classes)
    counts = confusion_matrix(labels, probabilities.argmax(1), labels=range(len(classes)))
    return pd.DataFrame(counts, pd.Index(classes, name="true"), pd.Index(classes, name="predicted"))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error, "ece", alone; arguments as in `evaluate`."""
    probabilities, labels = check_predictions(probabilities, labels)
    return float(_ece(np.ones((1, len(labels))), probabilities, labels)[0])


def check_predictions(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays, of probabilities and labels that fit together; else ValueError, as `evaluate` says."""
    probabilities, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    shape = probabilities.shape
    count = shape[-1] if classes is None else len(classes)
    if count < 2 or probabilities.ndim != 2 or shape[1] != count:
        raise ValueError(f"probabilities have shape {shape}: pass (N, {count}), a column for each of 2 or more classes")
    if labels.shape != shape[:1] or not len(labels):
        raise ValueError(f"labels have shape {labels.shape}, probabilities {shape}: pass one per row, at least one")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= count:
        text = f"labels are {labels.dtype}, from {min(labels.tolist())} to {max(labels.tolist())}"
        raise ValueError(f"{text}: pass integers from 0 to {count - 1}")
    wrong = ~((probabilities >= 0).all(1) & np.isclose(probabilities.sum(1), 1, atol=1e-3))
    if wrong.any():
        first = probabilities[wrong][0].tolist()
        way_out = "pass softmax outputs, at least 0 and with a sum of 1 in each row (nan: training diverged, lower lr)"
        raise ValueError(f"probabilities hold {wrong.sum()} row(s) that are none, the first {first}: {way_out}")
    return probabilities, labels


def _compute_metrics(counts: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The metrics of many resamples at once, (resample, metric); counts (resample, image): how often each drew each."""
    classes, n = np.arange(probabilities.shape[1]), len(labels)
    is_class, is_predicted = labels[:, None] == classes, probabilities.argmax(1)[:, None] == classes  # (image, class)
    hits, actual = counts @ (is_class & is_predicted), counts @ is_class  # (resample, class)
    predicted = counts @ is_predicted  # (resample, class)
    with np.errstate(invalid="ignore"):
        sensitivity, specificity = hits / actual, (n - actual - predicted + hits) / (n - actual)
        f1 = np.where(actual > 0, 2 * hits / (actual + predicted), np.nan).mean(1)
    auroc = np.mean([_auroc(counts, probabilities[:, k], is_class[:, k]) for k in classes], axis=0)
    ece = _ece(counts, probabilities, labels)
    columns = [hits.sum(1) / n, sensitivity.mean(1), f1, auroc, ece, *sensitivity.T, *specificity.T]
    return np.stack(columns, axis=1)


def _auroc(counts: np.ndarray, scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(resample,): how often a positive image scores above a negative one; a tie counts one half."""
    order = np.argsort(scores[~positive], kind="stable")
    negatives = scores[~positive][order]
    below = np.pad(counts[:, ~positive][:, order].cumsum(1), ((0, 0), (1, 0)))  # (resample, number of negatives + 1)
    left, right = (np.searchsorted(negatives, scores[positive], side) for side in ("left", "right"))
    wins = (counts[:, positive] * (below[:, left] + below[:, right])).sum(1) / 2
    with np.errstate(invalid="ignore"):
        return wins / (counts[:, positive].sum(1) * below[:, -1])


def _ece(counts: np.ndarray, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(resample,): |accuracy - confidence| of each bin, weighted by its images; 1.0 is in the last bin."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    gaps = (bins[:, None] == np.arange(BINS)) * (correct - confidence)[:, None]  # (image, bin)
    return np.abs(counts @ gaps).sum(1) / counts.sum(1)
