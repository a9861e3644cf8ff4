from dataclasses import replace

import numpy as np
import pytest

import dmws_lite as dm
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.training.fit import Run

PLANS = dm.complementary_plans("embedded_vit_96", "embedded_vit_48")
RUN = Run(
    set_input_statistics(dm.build("embedded_vit_48", 3, seed=4), (0.5,) * 3, (0.25,) * 3),
    None,
    name="embedded_vit_48",
    teacher="big",
    initializer="weight_selection",
    plans=PLANS,
    data="phantoms",
    classes=("normal", "nodule", "opacity"),
    image_size=64,
    training_images=40,
)


def card_of(folder, evaluation=None, **changes):
    return (replace(RUN, **changes).save(folder, evaluation) / "README.md").read_text()


@pytest.mark.parametrize("fit", ["crop", "letterbox"])
def test_a_saved_student_answers_as_before_and_knows_how_images_become_squares(tmp_path, fit):
    assert ("the rest is black" in card_of(tmp_path / "student", fit=fit)) == (fit == "letterbox")
    again, facts = dm.load_student(tmp_path / "student")
    assert (facts["classes"], facts["std"], facts["fit"]) == (["normal", "nodule", "opacity"], [0.25] * 3, fit)
    assert not again.training and dm.input_statistics(again) == ((0.5,) * 3, (0.25,) * 3)
    images = np.random.default_rng(0).integers(0, 256, (4, 1, 64, 64), dtype=np.uint8)
    assert np.array_equal(dm.predict(RUN.main, images), dm.predict(again, images))


def test_the_card_states_what_it_is_and_what_it_is_not(tmp_path):
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.6, 0.2, 0.2], [0.1, 0.1, 0.8]])
    evaluation = dm.evaluate(probabilities, np.array([0, 1, 2, 2]), RUN.classes)
    low, high = evaluation.set_index("metric").loc["accuracy", ["low", "high"]]
    card = card_of(tmp_path, evaluation)
    for text in (
        "# embedded_vit_48, trained on phantoms",
        f"| test accuracy | 0.750 ({low:.3f} to {high:.3f}) |",
        "| test images | 4 |",
        "| test sensitivity of nodule | 1.000 (",
        "| training images | 40 |",
        "| training steps | 300 |",
        "normal, nodule, opacity",
        "Not a medical device",
        "std [0.25",
    ):
        assert text in card


@pytest.mark.parametrize(
    ("initializer", "start"),
    [
        ("weight_selection", "It started from weights that were selected from the teacher `big`. "),
        ("full_teacher", "It started from all weights of `big`, but for the classifier. "),
        ("native", "It started from pretrained weights of its own. "),
        ("mimetic", "It started from random weights. "),
        ("", ""),
    ],
)
def test_the_card_says_what_the_student_started_from(tmp_path, initializer, start):
    card = card_of(tmp_path, initializer=initializer, plans=(), distillation=dm.Distillation("none"))
    assert f"made by dmws-lite. {start}Method: training on the labels.\n" in card
    assert ("weight-selection" in card) == (initializer == "weight_selection")


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({}, "dual selection and self-knowledge distillation"),
        ({"plans": PLANS[:1]}, "single selection and self-knowledge distillation"),
        ({"plans": ()}, "self-knowledge distillation"),
        ({"distillation": dm.Distillation(alpha=0.0)}, "training on the labels"),
        ({"distillation": dm.Distillation("kd")}, "classic distillation from a fine-tuned teacher"),
        ({"distillation": dm.Distillation("ps_kd")}, r"self-distillation (ps_kd)"),
    ],
)
def test_the_card_says_how_the_student_was_trained(tmp_path, changes, method):
    assert f"Method: {method}.\n" in card_of(tmp_path, **changes)


def test_a_folder_without_a_student_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="pass the folder that Run.save wrote"):
        dm.load_student(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="was not written by Run.save"):
        dm.load_student(tmp_path)
