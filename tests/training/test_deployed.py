import time
import warnings

import numpy as np
import pytest
import torch

import dmws_lite as dm
from dmws_lite.data.sets import ImageSet
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.training.deployed import add_speed_to_card, latency, measure
from dmws_lite.training.export import Run
from dmws_lite.training.onnx_export import load_answer

PIXELS = np.random.default_rng(0).integers(0, 256, (263, 1, 64, 64), dtype=np.uint8)  # go through in two batches
LABELLED = ImageSet(PIXELS, np.arange(263) % 3, tuple("abc"), tuple("u" * 263))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two students: their folders, what predict says of each, and the table of `measure`."""
    folders, probabilities = [tmp_path_factory.mktemp(name) for name in ("one", "two")], []
    for seed, folder in enumerate(folders):
        model = set_input_statistics(dm.build("embedded_vit_48", 3, seed=seed), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
        with torch.no_grad():
            model.get_classifier().weight.mul_(30)  # answers differ from image to image
        Run(model, None, name="embedded_vit_48", classes=tuple("abc"), image_size=64).save(folder)
        probabilities.append(dm.predict(model, LABELLED))
    return folders, probabilities, measure({"one": folders[0], "two": folders[1]}, LABELLED, "one", seconds=0.02)


def test_a_saved_student_answers_as_predict_does_and_leaves_the_pixels_alone(saved):
    frozen = PIXELS[:5].view()
    frozen.flags.writeable = False  # as a memory-mapped data set may be
    with warnings.catch_warnings(action="error"):
        answer = load_answer(saved[0][0])(frozen)
    assert np.allclose(answer, saved[1][0][:5], atol=1e-6)


def test_measure_counts_by_hand(saved):
    folders, (one, two), table = saved
    table, images = table.set_index("way"), table.attrs["images"]
    assert table["accuracy"].tolist() == [(p.argmax(1) == LABELLED.labels).mean() for p in (one, two)]
    assert table["same_class"].tolist() == [1, (one.argmax(1) == two.argmax(1)).mean()] and images == 263
    assert table["largest_difference"].tolist() == pytest.approx([0, np.abs(one - two).max()], abs=1e-5)
    assert table.loc["two", "kilobytes"] == (folders[1] / "model.safetensors").stat().st_size / 1e3
    assert (table["low_ms"] <= table["median_ms"]).all() and (table["median_ms"] <= table["high_ms"]).all()
    with pytest.raises(ValueError, match="reference='left' is none of one"):
        measure({"one": folders[0]}, LABELLED, "left")


def test_latency_is_that_of_a_call_on_one_thread():
    threads = []
    times = latency(lambda: threads.append(torch.get_num_threads()) or time.sleep(0.004), seconds=0.05)
    assert times.ndim == 1 and 4 <= np.median(times) < 40 and set(threads) == {1}


def test_the_card_gets_one_section(saved):
    folder, table = saved[0][0], saved[2]
    before = (folder / "README.md").read_text()
    for machine in ("a slow machine", "a fast machine"):
        card = add_speed_to_card(folder, table, machine).read_text()
    assert card.startswith(before.rstrip()) and card.count("## Files and speed") == 1
    assert "on a fast machine" in card and "slow" not in card and "| one | " in card and "| 1.000 |" in card
    with pytest.raises(FileNotFoundError, match="pass the folder that Run.save wrote"):
        add_speed_to_card(folder / "nowhere", table, "x")
