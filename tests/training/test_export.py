import numpy as np
import pytest

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
