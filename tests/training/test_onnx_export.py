import json
import sys

import numpy as np
import pytest
import torch

import dmws_lite as dm
from dmws_lite import ImageSet, __version__
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.training.deployed import measure
from dmws_lite.training.export import Run
from dmws_lite.training.onnx_export import check_onnx, onnx_facts, predict_onnx, quantize, to_onnx

pytest.importorskip("onnx", reason='needs onnx: pip install "dmws-lite[course]"')
pytest.importorskip("onnxruntime", reason='needs onnxruntime: pip install "dmws-lite[course]"')
MEAN, STD, CLASSES = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), ("normal", "nodule", "opacity")
FAMILIES = {"embedded_vit_48": 64, "test_convnext": 64, "mobilenetv1_050": 48}


def save(folder, name="embedded_vit_48", seed=0):
    """A student that answers differently from image to image, although it has learnt nothing."""
    model = set_input_statistics(dm.build(name, 3, FAMILIES[name], seed=seed), MEAN, STD)
    with torch.no_grad():
        model.get_classifier().weight.mul_(30)
    Run(model, None, name=name, classes=CLASSES, image_size=FAMILIES[name]).save(folder)
    return model.eval()


def draw(n, channels=1, size=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    save(folder)
    return folder, to_onnx(folder, licence="Apache-2.0")


@pytest.mark.parametrize("name", FAMILIES)
def test_it_answers_as_the_network_does_in_float64(tmp_path, name):
    model = save(tmp_path, name).double()
    path = to_onnx(tmp_path)
    centre, spread = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (MEAN, STD))
    for channels, n in ((1, 1), (3, 5)):
        images = draw(n, channels, FAMILIES[name])
        answers = predict_onnx(path, images)
        with torch.inference_mode():
            wanted = model((torch.from_numpy(images).double() / 255 - centre) / spread).softmax(1).numpy()
        assert np.abs(answers - wanted).max() < 1e-5 and answers.dtype == np.float32
        assert (wanted.std(0).max() > 1e-3 or n == 1) and check_onnx(tmp_path, images) < 1e-5


def test_the_file_says_what_it_is_and_nothing_of_this_machine(exported):
    folder, path = exported
    facts, content = onnx_facts(path), path.read_bytes()
    assert [json.loads(facts[key]) for key in ("classes", "mean", "std")] == [list(CLASSES), list(MEAN), list(STD)]
    assert facts["licence"] == "Apache-2.0" and facts["dmws_lite"] == __version__ and facts["image_size"] == "64"
    assert b"site-packages" not in content and str(folder).encode() not in content and b".py" not in content
    images = ImageSet(draw(6), np.arange(6) % 3, CLASSES, tuple("abcdef"))
    table = measure({"torch": folder, "onnx": path}, images, "torch", seconds=0.01)
    assert table["kilobytes"].tolist()[1] == path.stat().st_size / 1e3 and (table["largest_difference"] < 1e-5).all()


def test_int8_is_smaller_and_close(exported):
    folder, path = exported
    images, wanted = draw(20, seed=1), predict_onnx(path, draw(20, seed=1))
    for calibration, name in ((None, "dynamic"), (draw(8, seed=2), "static, 8 images")):
        small = quantize(folder, calibration)
        assert small.stat().st_size < 0.65 * path.stat().st_size
        assert onnx_facts(small)["precision"] == f"int8, {name}" and onnx_facts(small)["licence"] == "Apache-2.0"
        apart = np.abs(predict_onnx(small, images) - wanted).max()
        assert 1e-6 < apart < 0.3  # another arithmetic, nearly the same answers


def test_convolutions_shrink_with_calibration_only_and_nothing_is_printed(tmp_path, capfd, recwarn):
    save(tmp_path, "mobilenetv1_050")
    whole = to_onnx(tmp_path).stat().st_size
    assert quantize(tmp_path).stat().st_size > 0.95 * whole
    assert quantize(tmp_path, draw(4, size=48)).stat().st_size < 0.4 * whole
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_what_is_missing_or_out_of_date_is_named(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="pass the folder that Run.save wrote"):
        to_onnx(tmp_path)
    with pytest.raises(FileNotFoundError, match="write it with to_onnx first"):
        quantize(tmp_path)
    with pytest.raises(FileNotFoundError, match="write it with to_onnx or quantize"):
        predict_onnx(tmp_path / "model.onnx", draw(1))
    save(tmp_path)
    to_onnx(tmp_path)
    save(tmp_path, seed=1)
    with pytest.raises(ValueError, match=r"differs from torch by .* Write it again"):
        check_onnx(tmp_path, draw(4))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install \"dmws-lite\[course\]\""):
        to_onnx(tmp_path)
