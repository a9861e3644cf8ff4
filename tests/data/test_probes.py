import numpy as np
import pandas as pd

from dmws_lite.data.probes import PROBES, probe_shortcuts, visible


def noise(count):
    """A table and thumbnails of two classes between which nothing differs."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"label": np.where(np.arange(count) % 2, "b", "a"), "patient": "", "group": range(count)})
    table = table.assign(width=224, height=200, mode="gray", depth=8)
    return table, rng.integers(60, 190, (count, 32, 32), dtype=np.uint8)


def test_probes_stay_near_chance_on_noise():
    probes = probe_shortcuts(*noise(600))
    assert probes["probe"].tolist() == list(PROBES)
    assert (probes["chance"] == 0.5).all() and (probes["images"] == 600).all()
    assert probes["accuracy"].between(0.42, 0.58).all()
    assert (probes["error"][[0, 1, 3]].between(0.015, 0.025)).all()  # sqrt(0.25 / 600) is 0.020
    assert visible(probes).empty


def test_a_marker_at_the_border_is_found_by_the_border_alone():
    table, thumbnails = noise(400)
    thumbnails[1::2, 0, 3:8] = 230
    thumbnails[1::2, 12:20, 12:20] = np.minimum(thumbnails[1::2, 12:20, 12:20], 160)  # about the same brightness
    probes = probe_shortcuts(table, thumbnails)
    assert visible(probes)["probe"].tolist() == ["border pixels"]
    assert probes["accuracy"][0] > 0.97 and probes["accuracy"][2] < 0.6


def test_file_properties_that_differ_by_class_are_found():
    for column, values in {"mode": ["colour", "gray"], "depth": [8, 16], "height": [224, 100]}.items():
        table, thumbnails = noise(200)
        table[column] = np.resize(values, len(table))
        assert probe_shortcuts(table, thumbnails)["accuracy"][2] == 1


def test_images_of_one_patient_or_group_are_never_on_both_sides():
    table, rng, people = noise(400)[0], np.random.default_rng(1), np.arange(400) // 10
    table["label"] = np.where(rng.permutation(40) % 2, "b", "a")[people]
    own = rng.integers(0, 256, (40, 32, 32))[people]  # each patient has a background of their own, no class has one
    thumbnails = np.clip(own + rng.normal(0, 3, own.shape), 0, 255).astype(np.uint8)
    assert probe_shortcuts(table, thumbnails)["accuracy"][0] > 0.95
    for column, values in {"patient": [f"patient {k}" for k in people], "group": people}.items():
        assert probe_shortcuts(table.assign(**{column: values}), thumbnails)["accuracy"][0] < 0.8
