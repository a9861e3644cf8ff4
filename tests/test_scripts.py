"""The script that pretrains the embedded teacher, and that this teacher knows its task."""

import pytest

import dmws_lite as dm

formulas, pretrain = pytest.importorskip("formulas"), pytest.importorskip("pretrain")


def test_the_embedded_teacher_knows_its_own_task():
    model = dm.build("embedded_vit_96", num_classes=len(formulas.CLASSES))
    model.load_state_dict(dm.load_teacher().state)
    assert pretrain.accuracy(model, seed=99, batches=1, batch_size=200) > 0.6


def test_a_short_pretraining_writes_the_teacher_and_its_report(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "accuracy", lambda model, seed, batches: seed / 10)  # thousands of images, above
    report = pretrain.pretrain(steps=2, batch_size=4, out=tmp_path)
    assert report["images_seen"] == 8 and (report["accuracy_curve"], report["accuracy"]) == ([(2, 0.1)], 0.2)
    assert dm.load_teacher("embedded_vit_96", tmp_path).state["head.weight"].shape == (len(formulas.CLASSES), 96)
