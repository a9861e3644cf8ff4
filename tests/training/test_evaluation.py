import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn import metrics
from torch import nn

from dmws_lite.method.networks import build, set_input_statistics
from dmws_lite.training.calibration import at, error_by_chance, fit_temperature
from dmws_lite.training.evaluation import calibration_error, confusion, evaluate, predict

CLASSES = ("normal", "nodule", "mass", "effusion")


def sample(n=120, classes=4, seed=0):
    """Probabilities that are right more often than not, the first certain and wrong, and labels of every class."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    logits = 1.5 * rng.standard_normal((n, classes)) + 1.5 * np.eye(classes)[labels]
    logits[0, 1] += 200
    return softmax(logits, axis=1).astype(np.float32), labels


def expected(p, y, classes):
    """By scikit-learn, and the calibration error by hand."""
    predicted, k = p.argmax(1), range(len(classes))
    cells = metrics.multilabel_confusion_matrix(y, predicted, labels=list(k))
    confidence, right = p.max(1).astype(float), predicted == y
    bins = [(confidence > b / 15) & (confidence <= (b + 1) / 15) for b in range(15)]
    return {
        "accuracy": metrics.accuracy_score(y, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, predicted),
        "macro_f1": metrics.f1_score(y, predicted, average="macro"),
        "auroc": metrics.roc_auc_score(y, p if len(classes) > 2 else p[:, 1], multi_class="ovr", average="macro"),
        "ece": sum(abs(right[own].mean() - confidence[own].mean()) * own.mean() for own in bins if own.any()),
        **{f"sensitivity/{classes[i]}": cells[i, 1, 1] / cells[i, 1].sum() for i in k},
        **{f"specificity/{classes[i]}": cells[i, 0, 0] / cells[i, 0].sum() for i in k},
    }


@pytest.mark.parametrize("classes", [CLASSES, CLASSES[:2]])
def test_values_are_those_of_scikit_learn_and_the_calibration_error_that_by_hand(classes):
    p, y = sample(classes=len(classes))
    table = evaluate(p, y, classes, resamples=0)
    assert list(table.columns) == ["metric", "value", "low", "high"] and table[["low", "high"]].isna().all(axis=None)
    assert dict(zip(table["metric"], table["value"], strict=True)) == pytest.approx(expected(p, y, classes), abs=1e-12)


def test_intervals_are_those_of_a_bootstrap_one_resample_at_a_time():
    p, y = sample(n=30, seed=4)
    y = np.where((y == 3) & (np.arange(30) > 4), 0, y)  # a class so rare that resamples miss it
    p = np.round(p, 1) + 1e-9
    p = p / p.sum(1, keepdims=True)
    table = evaluate(p, y, CLASSES, resamples=60, seed=9)
    draws = np.random.default_rng(9).multinomial(30, np.full(30, 1 / 30), 60)
    chosen = [rows for rows in (np.repeat(np.arange(30), counts) for counts in draws) if len(set(y[rows])) == 4]
    assert table.attrs == {"dropped": 60 - len(chosen), "images": 30} and len(chosen) < 60
    ends = np.percentile([list(expected(p[rows], y[rows], CLASSES).values()) for rows in chosen], [2.5, 97.5], axis=0)
    assert np.allclose(table[["low", "high"]].to_numpy().T, ends, atol=1e-9)


def test_a_class_without_images_makes_its_metrics_nan_and_drops_no_resample():
    p, y = sample()
    table = evaluate(p, np.where(y == 3, 0, y), CLASSES, 100)
    undefined = ["balanced_accuracy", "macro_f1", "auroc", "sensitivity/effusion"]
    assert sorted(table["metric"][table["low"].isna()]) == sorted(undefined) and table.attrs["dropped"] == 0


def test_confusion_counts():
    p = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.4, 0], [0.1, 0.7, 0.2]])
    table = confusion(p, np.array([0, 1, 1, 2]), ("a", "b", "c"))
    assert table.to_numpy().tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert (list(table.index), table.index.name, table.columns.name) == (["a", "b", "c"], "true", "predicted")


GOOD, LABELS = np.full((4, 2), 0.5), np.array([0, 1, 0, 1])


@pytest.mark.parametrize("function", [evaluate, confusion])
@pytest.mark.parametrize(
    "probabilities, labels, classes, message",
    [
        (GOOD, LABELS, "abc", r"shape \(4, 2\): pass \(N, 3\)"),
        (GOOD, LABELS[:3], "ab", r"labels have shape \(3,\), probabilities \(4, 2\)"),
        (GOOD[:0], LABELS[:0], "ab", "at least one"),
        (GOOD, LABELS + 1, "ab", "from 1 to 2: pass integers from 0 to 1"),
        (GOOD, LABELS.astype(float), "ab", "labels are float64"),
        (np.where(LABELS[:, None] == 1, np.nan, GOOD), LABELS, "ab", r"2 row\(s\) .*nan: training diverged, lower lr"),
        (GOOD + np.array([1, -1]), LABELS, "ab", r"4 row\(s\) that are none, the first \[1.5, -0.5\]: .* at least 0"),
    ],
)
def test_what_is_no_probability_or_label_is_refused(function, probabilities, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        function(probabilities, labels, tuple(classes))


def network():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 4 * 4, 3), nn.BatchNorm1d(3))
    return set_input_statistics(model, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def pixels(channels=1):
    return np.random.default_rng(0).integers(0, 256, (10, channels, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize("channels, batch_size", [(1, 3), (3, 256)])
def test_predict_is_the_softmax_of_the_network_in_float64_and_leaves_it_as_it_is(channels, batch_size):
    model, images = network().train(), pixels(channels)
    model[3].eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ours = predict(model, images, batch_size)
    mean, std = (np.reshape(values, (3, 1, 1)) for values in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    scaled = (np.repeat(images, 3 // channels, axis=1) / 255 - mean) / std
    weight, bias = (t.detach().double().numpy() for t in model[2].parameters())
    logits = (scaled.reshape(10, -1) @ weight.T + bias) / np.sqrt(1 + model[3].eps)
    assert ours.dtype == np.float32 and np.allclose(ours, softmax(logits, axis=1), atol=1e-6)
    assert [module.training for module in model] == [True, True, True, False] and model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_predict_refuses():
    cases = [(pixels() / 9, 9, "are float64"), (pixels()[0], 9, "uint8"), (pixels()[:0], 9, "N >= 1")]
    for images, size, text in [*cases, (pixels(), 0, "=0"), ([1], 9, "are a list: pass a numpy array")]:
        with pytest.raises(ValueError, match=text):
            predict(network(), images, size)
    with pytest.raises(ValueError, match="images are 4 x 4, the model takes 64 x 64: .* with image_size=4"):
        predict(build("embedded_vit_48", 3), pixels())


def drawn(temperature, n=20000, classes=3, seed=0):
    """Labels drawn from softmax(logits), and the probabilities of a network that says softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, classes))
    labels = (rng.random((n, 1)) > softmax(logits, axis=1).cumsum(1)[:, :-1]).sum(1)
    return torch.from_numpy(logits / temperature).float().softmax(1).numpy(), labels  # in float32, as `predict`


@pytest.mark.parametrize("temperature", [1 / 15, 0.4, 2.5])
def test_the_temperature_that_spoilt_the_probabilities_is_found(temperature):
    probabilities, labels = drawn(temperature)
    assert fit_temperature(probabilities, labels) == pytest.approx(1 / temperature, rel=0.03)
    assert calibration_error(at(probabilities, 1 / temperature), labels) < 0.015


def test_chance_shrinks_with_images_and_covers_a_calibrated_network():
    probabilities, labels = drawn(1.0, n=300)
    few, many = error_by_chance(probabilities[:75], 200), error_by_chance(probabilities, 200)
    assert few.mean() > 1.5 * many.mean()
    errors = [calibration_error(*drawn(1.0, n=300, seed=seed)) for seed in range(1, 41)]
    assert np.mean(errors) == pytest.approx(many.mean(), rel=0.15)
    assert calibration_error(drawn(0.3, n=300)[0], labels) > many.max()


def test_a_temperature_at_the_end_of_the_range_is_said_and_0_is_refused():
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8]])
    with pytest.warns(UserWarning, match="is at an end of"):
        assert fit_temperature(probabilities, np.array([0, 1])) < 0.06
    for call, given, text in ((at, 0, "temperature=0 must be above 0"), (fit_temperature, [0], r"shape \(1,\), proba")):
        with pytest.raises(ValueError, match=text):
            call(probabilities, given)
