import time
import warnings

import numpy as np
import pytest

import dmws_lite as dm
from dmws_lite.data.sets import ImageSet
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.training.deployed import BATCH, WARM_UP, by_torch, latency, measure, tell_card
from dmws_lite.training.fit import Run

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 1, 64, 64), dtype=np.uint8)
LABELLED = ImageSet(IMAGES, np.array([0, 1, 2, 0, 1, 2]), ("a", "b", "c"), tuple("uvwxyz"))


def saying(*labels):
    """An answer that is sure of these classes, in turn, and takes its time."""
    return lambda pixels: np.eye(3)[[labels[k % len(labels)] for k in range(len(pixels))]]


def test_by_torch_answers_as_predict_does():
    model = set_input_statistics(dm.build("embedded_vit_48", 3, seed=1), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert np.allclose(by_torch(model)(IMAGES), dm.predict(model, IMAGES), atol=1e-6)


def test_by_torch_leaves_the_network_and_the_pixels_alone():
    model = dm.build("embedded_vit_48", 3).train()
    frozen = IMAGES.view()
    frozen.flags.writeable = False  # as a memory-mapped data set may be
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_torch(model)(frozen)
    assert model.training and all(module.training for module in model.modules())


def test_a_test_set_goes_through_in_batches():
    seen = []

    def answer(pixels):
        seen.append(len(pixels))
        return np.eye(3)[pixels[:, 0, 0, 0] % 3]

    count = 2 * BATCH + 7
    pixels = np.zeros((count, 1, 2, 2), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count) % 3
    many = ImageSet(pixels, np.arange(count) % 3, ("a", "b", "c"), tuple(map(str, range(count))))
    table = measure({"one": (answer, None)}, many, "one", repeats=1)
    assert max(seen) == BATCH and sum(n for n in seen if n > 1) == count and table["accuracy"].item() == 1


def test_latency_is_of_one_image_after_warm_up():
    shapes = []

    def slow(pixels):
        shapes.append(pixels.shape)
        time.sleep(0.05 if len(shapes) <= WARM_UP else 0.002)

    times = latency({"slow": slow, "none": lambda pixels: None}, IMAGES, repeats=8)
    assert set(shapes) == {(1, 1, 64, 64)} and len(shapes) == WARM_UP + 8
    assert 2 <= np.median(times["slow"]) < 40 and np.median(times["none"]) < 1 and times["slow"].shape == (8,)
    with pytest.raises(ValueError, match="repeats=0 must be at least 1"):
        latency({}, IMAGES, repeats=0)


def test_measure_counts_by_hand(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"0" * 2500)
    ways = {"right": (saying(0, 1, 2), None), "half": (saying(0, 1, 0), file)}
    table = measure(ways, LABELLED, "right", repeats=3).set_index("way")
    assert table.loc["right", ["accuracy", "same_class", "largest_difference"]].tolist() == [1, 1, 0]
    assert table.loc["half", ["accuracy", "same_class"]].tolist() == pytest.approx([4 / 6, 4 / 6])
    assert table.loc["half", "largest_difference"] == 1 and table.loc["half", "kilobytes"] == 2.5
    assert np.isnan(table.loc["right", "kilobytes"]) and table.attrs["images"] == 6
    assert (table["low_ms"] <= table["median_ms"]).all() and (table["median_ms"] <= table["high_ms"]).all()
    with pytest.raises(ValueError, match="reference='left' is none of right, half"):
        measure(ways, LABELLED, "left")


def test_the_card_gets_one_section(tmp_path):
    Run(dm.build("embedded_vit_48", 3), None, name="embedded_vit_48", classes=tuple("abc"), image_size=64).save(
        tmp_path
    )
    before = (tmp_path / "README.md").read_text()
    ways = {"student, torch": (saying(0, 1, 2), tmp_path / "model.safetensors")}
    table = measure(ways, LABELLED, "student, torch", 2)
    for machine in ("a slow machine", "a fast machine"):
        card = tell_card(tmp_path, table, machine).read_text()
    assert card.startswith(before.rstrip()) and card.count("## Files and speed") == 1
    assert "on a fast machine" in card and "slow" not in card and "| student, torch | " in card and "| 1.000 |" in card
    with pytest.raises(FileNotFoundError, match="pass the folder that Run.save wrote"):
        tell_card(tmp_path / "nowhere", table, "x")
