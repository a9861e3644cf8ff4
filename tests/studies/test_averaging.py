import numpy as np
import pytest
import torch

import dmws_lite as dm
from dmws_lite.studies.averaging import average, averaging, cosine, main

TINY = dm.Training(steps=4, batch_size=8, evaluations=2)


def test_an_average_is_half_of_each():
    a, b = (dm.build("embedded_vit_48", 3, seed=seed) for seed in (0, 1))
    before = {name: tensor.clone() for name, tensor in b.state_dict().items()}
    for name, tensor in average(a, b).state_dict().items():
        torch.testing.assert_close(tensor, (a.state_dict()[name] + before[name]) / 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in b.state_dict().items())


def test_cosine_is_that_of_the_matrices():
    a, b = (dm.build("embedded_vit_48", 3, seed=seed) for seed in (0, 1))
    names = [n for n, t in a.state_dict().items() if t.squeeze().ndim > 1 and not n.startswith("head")]
    x, y = (np.concatenate([m.state_dict()[n].double().numpy().ravel() for n in names]) for m in (a, b))
    assert cosine(a, b) == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-5)


def test_the_same_start_averages_to_itself_and_alignment_brings_nearer():
    splits = dm.phantoms("lung_ct", train=40, val=12, test=6)
    found = averaging(splits, TINY, share=0.5).set_index(["time", "auxiliary"])
    same = found.loc["start", "same"]
    assert same["cosine"] == pytest.approx(1, abs=1e-5) and same["main"] == same["average"]
    assert found.loc["start", "aligned"]["cosine"] > found.loc["start", "complementary"]["cosine"] + 0.1
    assert ((found > -1) & (found <= 1.00001)).all().all() and len(found) == 6


def test_the_command_prints_a_table(capsys, monkeypatch):
    monkeypatch.setattr("dmws_lite.studies.averaging.open_data", lambda _: dm.phantoms("lung_ct", 320, 12, 6))
    main(["anything", "--seeds", "1", "--steps", "2"])
    out = capsys.readouterr().out
    assert "complementary" in out and "trained" in out and "mean of 1 seeds" in out
