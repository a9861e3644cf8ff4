import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics
from torch import nn

from dmws_lite.data.sets import ImageSet
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.training.evaluation import confusion, evaluate, predict

CLASSES = ("normal", "nodule", "mass", "effusion")


def sample(n=120, classes=4, seed=0, sharpness=1.5):
    """Probabilities that are right more often than not, float32 as `predict` gives them, and labels of every class."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    logits = sharpness * rng.standard_normal((n, classes)) + 1.5 * np.eye(classes)[labels]
    return softmax(logits, axis=1).astype(np.float32), labels


def value(table, metric, column="value"):
    return float(table.set_index("metric").loc[metric, column])


def by_sklearn(p, y, classes):
    predicted, k = p.argmax(1), range(len(classes))
    cells = metrics.multilabel_confusion_matrix(y, predicted, labels=list(k))
    return {
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
        "macro_f1": metrics.f1_score(y, predicted, average="macro"),
        "auroc": metrics.roc_auc_score(y, p if len(classes) > 2 else p[:, 1], multi_class="ovr", average="macro"),
        **{f"sensitivity/{classes[i]}": cells[i, 1, 1] / cells[i, 1].sum() for i in k},
        **{f"specificity/{classes[i]}": cells[i, 0, 0] / cells[i, 0].sum() for i in k},
    }


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:2]])
def test_values_are_those_of_scikit_learn_and_the_calibration_error_that_by_hand(classes):
    p, y = sample(classes=len(classes))
    table = evaluate(p, y, classes, resamples=0)
    expected = by_sklearn(p, y, classes) | {"ece": ece_by_hand(p, y)}
    assert set(table.metric) == expected.keys()
    assert all(abs(value(table, metric) - v) < 1e-12 for metric, v in expected.items())
    assert list(table.columns) == ["metric", "value", "low", "high"] and table[["low", "high"]].isna().all(axis=None)


def ece_by_hand(p, y):
    p = p.astype(float)
    total = 0.0
    for b in range(15):
        inside = [i for i in range(len(p)) if b / 15 < p[i].max() <= (b + 1) / 15]
        if inside:
            accuracy = np.mean([p[i].argmax() == y[i] for i in inside])
            total += len(inside) / len(p) * abs(accuracy - np.mean([p[i].max() for i in inside]))
    return total


def test_calibration_error_keeps_certain_predictions_in_the_last_bin():
    """Confidences 1.0 (wrong) and 0.95 (right) share a bin: |1/2 - 0.975| = 0.475; in bins apart it would be 0.525."""
    p = np.array([[1.0, 0.0], [0.95, 0.05]])
    assert abs(value(evaluate(p, np.array([1, 0]), CLASSES[:2], 0), "ece") - 0.475) < 1e-12


def test_intervals_are_those_of_a_bootstrap_one_resample_at_a_time():
    """The same draws, and scikit-learn on each resample; ties in the scores included."""
    p, y = sample(n=30, seed=4)
    y = np.where((y == 3) & (np.arange(30) > 4), 0, y)  # a class so rare that resamples miss it
    p = np.round(p, 1) + 1e-9
    p = p / p.sum(1, keepdims=True)
    table = evaluate(p, y, CLASSES, resamples=60, seed=9)
    rng, rows, dropped = np.random.default_rng(9), [], 0
    for counts in rng.multinomial(30, np.full(30, 1 / 30), 60):
        chosen = np.repeat(np.arange(30), counts)
        if len(set(y[chosen])) < 4:
            dropped += 1
            continue
        rows.append({**by_sklearn(p[chosen], y[chosen], CLASSES), "ece": ece_by_hand(p[chosen], y[chosen])})
    assert table.attrs["dropped"] == dropped > 0
    for metric in table.metric:
        low, high = np.percentile([row[metric] for row in rows], [2.5, 97.5])
        assert abs(value(table, metric, "low") - low) < 1e-9, metric
        assert abs(value(table, metric, "high") - high) < 1e-9, metric


def test_class_without_images_makes_its_metrics_nan_and_drops_no_resample():
    p, y = sample(classes=4)
    y = np.where(y == 3, 0, y)
    table = evaluate(p, y, CLASSES, 100)
    undefined = {"balanced_accuracy", "macro_f1", "auroc", "sensitivity/effusion"}
    for column in ("value", "low", "high"):
        assert set(table.metric[table[column].isna()]) == undefined
    assert table.attrs["dropped"] == 0
    assert abs(value(table, "accuracy") - np.mean(p.argmax(1) == y)) < 1e-12


def test_confusion_counts():
    p = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.1, 0.7, 0.2]])
    table = confusion(p, np.array([0, 1, 1, 2]), ("a", "b", "c"))
    assert table.to_numpy().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert list(table.index) == list(table.columns) == ["a", "b", "c"]
    assert (table.index.name, table.columns.name) == ("true", "predicted")


GOOD, LABELS = np.full((4, 2), 0.5), np.array([0, 1, 0, 1])


@pytest.mark.parametrize("function", [evaluate, confusion])
@pytest.mark.parametrize(
    "probabilities, labels, classes, message",
    [
        (GOOD, LABELS, ("a", "b", "c"), r"shape \(4, 2\): pass \(N, 3\)"),
        (GOOD[:, 0], LABELS, ("a", "b"), r"shape \(4,\): pass \(N, 2\)"),
        (GOOD, LABELS[:3], ("a", "b"), r"labels have shape \(3,\), probabilities \(4, 2\)"),
        (GOOD[:0], LABELS[:0], ("a", "b"), "at least one"),
        (GOOD, LABELS + 1, ("a", "b"), "from 1 to 2: pass integers from 0 to 1"),
        (GOOD, LABELS - 1, ("a", "b"), "from -1 to 0: pass integers from 0 to 1"),
        (GOOD, LABELS.astype(float), ("a", "b"), "labels are float64"),
        (np.where(LABELS[:, None] == 1, np.nan, GOOD), LABELS, ("a", "b"), r"nan or inf in 2 row\(s\)"),
        (GOOD * 4 - 1, LABELS, ("a", "b"), "sum to 1 in each row: pass softmax"),
        (GOOD + np.array([1, -1]), LABELS, ("a", "b"), "at least 0"),
    ],
)
def test_what_is_no_probability_or_label_is_refused(function, probabilities, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        function(probabilities, labels, classes)


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 4 * 4, 3), nn.BatchNorm1d(3))
    return set_input_statistics(model, (0.5,) * 3, (0.5,) * 3)


def pixels(n=10, channels=1):
    return np.random.default_rng(0).integers(0, 256, (n, channels, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 256])
def test_predict_is_the_softmax_of_the_network_in_float64(channels, batch_size):
    model, images = network(), pixels(channels=channels)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    ours = predict(set_input_statistics(model, mean, std), images, batch_size)
    scaled = (np.repeat(images, 3 // channels, axis=1) / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    weight, bias = (t.detach().double().numpy() for t in model[2].parameters())
    logits = (scaled.reshape(10, -1) @ weight.T + bias) / np.sqrt(1 + model[3].eps)
    assert (ours.dtype, ours.shape) == (np.float32, (10, 3))
    assert np.allclose(ours, softmax(logits, axis=1), atol=1e-6)
    image_set = ImageSet(images, np.zeros(10, dtype=np.int64), ("a", "b", "c"), tuple("abcdefghij"))
    assert np.array_equal(predict(model, image_set, batch_size), ours)


def test_predict_restores_modes_and_leaves_statistics_and_random_state():
    model = network().train()
    model[3].eval()
    state, mean = torch.get_rng_state(), model[3].running_mean.clone()
    predict(model, pixels())
    assert [module.training for module in model] == [True, True, True, False] and model.training
    assert torch.equal(state, torch.get_rng_state()) and torch.equal(mean, model[3].running_mean)


@pytest.mark.parametrize(
    "images, options, message",
    [
        (pixels().astype(np.float32), {}, "images are float32"),
        (pixels()[0], {}, r"uint8 \(1, 4, 4\)"),
        (pixels(), {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_predict_errors(images, options, message):
    with pytest.raises(ValueError, match=message):
        predict(network(), images, **options)
