import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import dmws_lite as dm
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.training.deployed import measure
from dmws_lite.training.export import Run
from dmws_lite.training.onnx_export import check_onnx, load_answer, onnx_facts, predict_onnx, quantize, to_onnx

pytest.importorskip("onnx", reason='needs onnx: pip install "dmws-lite[course]"')
pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "dmws-lite[course]"')
MEAN, STD, CLASSES = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), ("normal", "nodule", "opacity")
FAMILIES = {"embedded_vit_48": 64, "test_convnext": 64, "mobilenetv1_050": 48}
PLANS = dm.complementary_plans("embedded_vit_96", "embedded_vit_48")


def made(name="embedded_vit_48", seed=0, **changes):
    """The run of a student that answers differently from image to image, although it has learnt nothing."""
    model = set_input_statistics(dm.build(name, 3, FAMILIES[name], seed=seed), MEAN, STD).eval()
    with torch.no_grad():
        model.get_classifier().weight.mul_(30)
    facts = {"teacher": "big", "initializer": "weight_selection", "plans": PLANS, "data": "phantoms"}
    facts |= {"classes": CLASSES, "image_size": FAMILIES[name], "training_images": 40}
    return replace(Run(model, None, name=name, **facts), **changes)


def draw(n, channels=1, size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


LABELLED = dm.ImageSet(draw(263), np.arange(263) % 3, CLASSES, ("",) * 263)  # go through in two batches


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two students that were saved; the first is an ONNX file, too."""
    one, two = (made(seed=seed).save(tmp_path_factory.mktemp("student")) for seed in (0, 1))
    to_onnx(one, licence="Apache-2.0")
    return one, two


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_a_saved_student_answers_as_before_and_knows_how_images_become_squares(tmp_path, fit):
    run = made(fit=fit)
    again, facts = dm.load_student(run.save(tmp_path))
    assert ("the rest is black" in (tmp_path / "README.md").read_text()) == (fit == "letterbox")
    assert (facts["classes"], facts["std"], facts["fit"]) == (list(CLASSES), list(STD), fit)
    assert not again.training and dm.input_statistics(again) == (MEAN, STD)
    expected = dm.predict(run.main, LABELLED)
    assert np.array_equal(dm.predict(again, LABELLED), expected)
    assert np.allclose(load_answer(tmp_path)(LABELLED.images[:5]), expected[:5], atol=1e-6)


def test_the_card_states_what_it_is_and_what_it_is_not(tmp_path):
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])
    evaluation = dm.evaluate(probabilities, np.array([0, 1, 2, 2]), CLASSES)
    low, high = evaluation.set_index("metric").loc["accuracy", ["low", "high"]]
    card = (made().save(tmp_path, evaluation) / "README.md").read_text()
    measured = f"| test accuracy | 0.750 ({low:.3f} to {high:.3f}) |", "| test sensitivity of nodule | 1.000 ("
    for text in (*measured, "| training images | 40 |", "Not a medical device", "std [0.2, 0.25, 0.3]"):
        assert text in card


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "selected from the teacher `big`. Method: dual selection and self-knowledge distillation."),
        ({"plans": PLANS[:1]}, "Method: single selection and self-knowledge distillation."),
        ({"plans": (), "initializer": ""}, "made by dmws-lite. Method: self-knowledge distillation."),
        ({"initializer": "selection_ls"}, "selected from the teacher `big` and refitted to it. Method: dual"),
        ({"initializer": "projection_ls", "plans": ()}, "of the teacher `big`, refitted to it. Method: self"),
        ({"initializer": "native"}, "It started from pretrained weights of its own. "),
        ({"initializer": "mimetic"}, "It started from random weights. "),
        ({"initializer": "mine"}, "It started from `mine`. "),
        ({"distillation": dm.Distillation(alpha=0.0)}, "Method: training on the labels."),
        ({"distillation": dm.Distillation("ps_kd")}, "Method: self-distillation (ps_kd)."),
    ],
)
def test_the_card_says_what_the_student_started_from_and_how_it_was_trained(tmp_path, changes, text):
    card = (made(**changes).save(tmp_path) / "README.md").read_text()
    assert text in card and ("weight-selection" in card) == ("initializer" not in changes)


@pytest.mark.parametrize("name", FAMILIES)
def test_onnx_answers_as_the_network_does_in_float64(tmp_path, name):
    run = made(name)
    path, model = to_onnx(run.save(tmp_path)), run.main.double()
    centre, spread = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    for channels, n in ((1, 1), (3, 5)):
        images = draw(n, channels, FAMILIES[name])
        answers = predict_onnx(path, images)
        with torch.inference_mode():
            wanted = model((torch.from_numpy(images).double() / 255 - centre) / spread).softmax(1).numpy()
        assert np.abs(answers - wanted).max() < 1e-5 and answers.dtype == np.float32
        assert (wanted.std(0).max() > 1e-3 or n == 1) and check_onnx(tmp_path, images) < 1e-5


def test_the_onnx_file_says_what_it_is_and_nothing_of_this_machine(folders):
    path = folders[0] / "model.onnx"
    facts, content = onnx_facts(path), path.read_bytes()
    assert [json.loads(facts[key]) for key in ("classes", "mean", "std")] == [list(CLASSES), list(MEAN), list(STD)]
    assert (facts["licence"], facts["dmws_lite"], facts["image_size"]) == ("Apache-2.0", dm.__version__, "64")
    assert b"site-packages" not in content and str(folders[0]).encode() not in content and b".py" not in content


def test_convolutions_shrink_with_calibration_only_and_nothing_is_printed(tmp_path, capfd, recwarn):
    whole = to_onnx(made("mobilenetv1_050").save(tmp_path), licence="Apache-2.0").stat().st_size
    assert quantize(tmp_path).stat().st_size > 0.95 * whole
    small = quantize(tmp_path, draw(4, size=48))
    assert small.stat().st_size < 0.4 * whole
    assert (onnx_facts(small)["precision"], onnx_facts(small)["licence"]) == ("int8, static, 4 images", "Apache-2.0")
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_what_is_missing_or_wrong_or_out_of_date_is_named(tmp_path, monkeypatch):
    for function, message in ((to_onnx, "the folder that Run"), (quantize, "with to_onnx"), (load_answer, "that Run")):
        with pytest.raises(FileNotFoundError, match=message):
            function(tmp_path)
    to_onnx(made().save(tmp_path))
    with pytest.raises(ValueError, match="images are float64 .*: pass a numpy array, uint8"):
        quantize(tmp_path, draw(4) / 255)
    made(seed=1).save(tmp_path)
    with pytest.raises(ValueError, match=r"differs from torch by .* Write it again"):
        check_onnx(tmp_path, draw(4))
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="was not written by Run.save"):
        dm.load_student(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install \"dmws-lite\[course\]\""):
        to_onnx(tmp_path)


def test_what_is_saved_is_measured(folders):
    one, two = (dm.predict(dm.load_student(folder)[0], LABELLED) for folder in folders)
    table = measure(dict(zip(("one", "two"), folders, strict=True)), LABELLED, "one", seconds=0.02)
    assert table["accuracy"].tolist() == [(p.argmax(1) == LABELLED.labels).mean() for p in (one, two)]
    assert table["same_class"].tolist() == [1, (one.argmax(1) == two.argmax(1)).mean()]
    assert table["largest_difference"].tolist() == pytest.approx([0, np.abs(one - two).max()], abs=1e-5)
    assert (table["low_ms"] <= table["median_ms"]).all() and (table["median_ms"] <= table["high_ms"]).all()
    with pytest.raises(ValueError, match="unknown reference 'left': choose from one"):
        measure({"one": folders[0]}, LABELLED, "left")
