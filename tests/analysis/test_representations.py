import itertools

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import dmws_lite as dm
from dmws_lite.analysis.representations import cka, features, linear_probe, over_training, read_by_classifier
from dmws_lite.method.networks import set_input_statistics

X, Y = np.random.default_rng(0).standard_normal((2, 9, 30)) + 5
PAIR = X, np.concatenate([X[:, :20], Y[:, :12]], axis=1)


def hsic_by_traces(k, line):
    """The biased estimator: tr(KHLH) / (n - 1)^2."""
    centre = np.eye(len(k)) - 1 / len(k)
    return np.trace(k @ centre @ line @ centre) / (len(k) - 1) ** 2


def hsic_by_definition(k, line):
    """The U-statistic of Song et al. 2012 itself: a mean over all ordered choices of four different images."""
    values = [
        k[i, j] * line[i, j] + k[i, j] * line[q, r] - 2 * k[i, j] * line[i, q]
        for i, j, q, r in itertools.permutations(range(len(k)), 4)
    ]
    return np.mean(values)


@pytest.mark.parametrize(("debiased", "hsic"), [(False, hsic_by_traces), (True, hsic_by_definition)])
def test_cka_is_the_ratio_of_hsic_by_its_definition(debiased, hsic):
    k, line = (side @ side.T for side in PAIR)
    expected = hsic(k, line) / np.sqrt(hsic(k, k) * hsic(line, line))
    assert cka(*PAIR, debiased=debiased) == pytest.approx(expected, abs=1e-10)


def test_what_cannot_be_compared_is_refused(images):
    for first, second, message in ((9, 8, "9 and 8 images"), (3, 3, "3 images are too few")):
        with pytest.raises(ValueError, match=message):
            cka(X[:first], Y[:second])
    with pytest.raises(ValueError, match="Linear has no blocks"):
        features(set_input_statistics(torch.nn.Linear(2, 2), (0.5,) * 3, (0.5,) * 3), images)


@pytest.mark.parametrize("name", ["embedded_vit_48", "mobilenetv1_050", "convnext_atto"])
@pytest.mark.parametrize("places", [True, False])
def test_features_are_what_the_blocks_put_out_and_no_hooks_are_left(images, name, places):
    model, seen = dm.build(name, 3, 64), {}
    got = features(set_input_statistics(model, (0.5,) * 3, (0.5,) * 3), images, places, batch_size=5)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    outside = {k: m for k, m in model.named_modules() if k in got and k != "stem"}
    for key, block in outside.items():
        block.register_forward_hook(lambda *call, key=key: seen.update({key: call[-1].detach()}))
    model.eval()(torch.from_numpy(images.images).repeat(1, 3, 1, 1) / 127.5 - 1)
    assert list(got) == (["stem"] if places else []) + list(outside) and len(outside) > 3
    for key, output in seen.items():
        summary = output[:, 0] if output.ndim == 3 else output.mean((2, 3))
        assert got[key] == pytest.approx((output.flatten(1) if places else summary).numpy(), abs=1e-4)


def test_over_training_compares_both_students_at_each_step(images):
    a, b = (dm.build("embedded_vit_48", 3, seed=seed) for seed in (0, 1))
    snapshots = {step: {"main": model.state_dict(), "auxiliary": b.state_dict()} for step, model in ((0, a), (9, b))}
    student, reference = (features(model, images, False) for model in (a, dm.build("embedded_vit_96", 3)))
    table = over_training(dm.build("embedded_vit_48", 3, seed=2), snapshots, reference, images)
    got = table.set_index(["step", "pair", "block"])["cka"].sort_index()
    assert len(table) == 2 * 3 * 4
    assert got[9, "main, auxiliary"].to_numpy() == pytest.approx(1)
    assert got[0, "main, teacher", 2] == pytest.approx(cka(student["blocks.1"], reference["blocks.1"]))
    assert got[9, "main, teacher", 4] == pytest.approx(got[0, "auxiliary, teacher", 4])


@pytest.mark.parametrize("classes", [2, 3])
def test_a_probe_answers_as_the_classifier_it_was_made_of(classes):
    splits, teacher = dm.phantoms("brain_mri", train=30, val=3, test=12), dm.load_teacher()
    train = splits.train.take(np.flatnonzero(splits.train.labels < classes))
    train = dm.ImageSet(train.images, train.labels, splits.classes[:classes], train.names)
    model = linear_probe(teacher, train)
    body = {name: tensor for name, tensor in teacher.state.items() if not name.startswith("head")}
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in body.items())
    x, y = (read_by_classifier(model, part)[0] for part in (train, splits.test))
    scaler = StandardScaler().fit(x)
    expected = LogisticRegression(max_iter=3000).fit(scaler.transform(x), train.labels)
    assert dm.predict(model, splits.test) == pytest.approx(expected.predict_proba(scaler.transform(y)), abs=2e-3)
