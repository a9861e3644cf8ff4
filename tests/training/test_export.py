import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import dmws_lite as dm


def save(folder, **changes):
    model = dm.build("embedded_vit_48", 3, seed=4)
    settings = {
        "name": "embedded_vit_48",
        "classes": ("normal", "nodule", "opacity"),
        "mean": (0.5, 0.5, 0.5),
        "std": (0.25, 0.25, 0.25),
        "image_size": 64,
        "report": {
            "data": "phantoms",
            "teacher": "embedded_vit_96",
            "method": "dual selection + SKD",
            "initializer": "weight_selection",
            "test_accuracy": 0.75,
        },
    }
    return model, dm.save_student(folder, model, **{**settings, **changes})


def test_a_saved_student_answers_as_before(tmp_path):
    model, folder = save(tmp_path / "student")
    again, facts = dm.load_student(folder)
    assert (
        facts["classes"] == ["normal", "nodule", "opacity"]
        and facts["std"] == [0.25, 0.25, 0.25]
        and not again.training
    )
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64), dtype=np.uint8)
    assert np.array_equal(dm.predict(model, images, 0.5, 0.25), dm.predict(again, images, 0.5, 0.25))


def test_the_card_states_what_it_is_and_what_it_is_not(tmp_path):
    card = (save(tmp_path)[1] / "README.md").read_text()
    for text in (
        "embedded_vit_96",
        "| test accuracy | 0.75 |",
        "normal, nodule, opacity",
        "Not a medical device",
        "std [0.25",
    ):
        assert text in card


@pytest.mark.parametrize(
    ("initializer", "said", "selected"),
    [
        ("weight_selection", "from weights that were selected from the teacher `big`. Method: labels.", True),
        ("full_teacher", "from all weights of `big`, but for the classifier. Method: labels.", False),
        ("native", "from pretrained weights of its own. Method: labels.", False),
        ("default", "from random weights. Method: labels.", False),
        ("mimetic", "from random weights. Method: labels.", False),
    ],
)
def test_the_card_says_what_the_student_started_from(tmp_path, initializer, said, selected):
    report = {"teacher": "big", "method": "labels", "initializer": initializer}
    card = (save(tmp_path, report=report)[1] / "README.md").read_text()
    assert f"made by dmws-lite. It started {said}\n" in card
    assert ("selected" in card) == ("tags: [medical-imaging, weight-selection]" in card) == selected
    assert ("big" in card) == (initializer in ("weight_selection", "full_teacher")) and "| initializer" not in card


def test_a_start_that_is_not_known_is_not_told_and_an_odd_one_refused(tmp_path):
    card = (save(tmp_path / "a", report={"method": "labels"})[1] / "README.md").read_text()
    assert "made by dmws-lite. Method: labels.\n" in card and "tags: [medical-imaging]\n" in card
    with pytest.raises(ValueError, match="initializer 'selection' is unknown: choose one of default, .*, native"):
        save(tmp_path / "b", report={"initializer": "selection"})
    assert not (tmp_path / "b").exists()


def test_a_folder_without_a_student_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="pass the folder that save_student wrote"):
        dm.load_student(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="was not written by save_student"):
        dm.load_student(tmp_path)


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match="output folder .*file.*pass another folder"):
        save(tmp_path / "file")


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_the_student_knows_how_images_become_squares(tmp_path, fit):
    folder = save(tmp_path, fit=fit)[1]
    assert dm.load_student(folder)[1]["fit"] == fit
    assert ("the rest is black" in (folder / "README.md").read_text()) == (fit == "letterbox")


def test_an_unknown_fit_is_refused_and_an_old_file_is_cropped(tmp_path):
    with pytest.raises(ValueError, match="fit='squash' is unknown"):
        save(tmp_path, fit="squash")
    path = save(tmp_path)[1] / "model.safetensors"
    with safe_open(path, framework="pt") as file:
        facts = {key: value for key, value in file.metadata().items() if key != "fit"}
    save_file(load_file(path), path, metadata=facts)
    assert dm.load_student(tmp_path)[1]["fit"] == "crop"
