import numpy as np
import pytest
import torch

import dmws_lite as dm
from dmws_lite.method.networks import Teacher
from dmws_lite.studies.methods import METHODS, start

TINY = dm.Training(steps=4, batch_size=8, evaluations=2)


@pytest.fixture(scope="module")
def splits():
    return dm.phantoms("lung_ct", train=30, val=12, test=15)


@pytest.fixture(scope="module")
def teacher():
    return Teacher(
        "embedded_vit_96", dm.build("embedded_vit_96", 5, seed=1).state_dict(), (0.5,) * 3, (0.5,) * 3, "a test"
    )


def test_every_method_starts_with_the_same_classifier(splits, teacher):
    names = [name for name in METHODS if name not in ("native", "full_teacher")]
    starts = [start(METHODS[name], teacher, "embedded_vit_48", len(splits.classes), 64, 3) for name in names]
    heads = [student.head.weight for pair in starts for student in (pair.main, pair.auxiliary) if student is not None]
    assert len(heads) > len(names) and all(torch.equal(head, heads[0]) for head in heads)


def test_every_method_runs(splits, teacher):
    methods = [name for name in METHODS if name != "native"]
    found = dm.compare(splits, teacher, methods=methods, seeds=[0], training=TINY, device="cpu", progress=False)
    assert found.table["method"].tolist() == methods
    for name in methods:
        accuracy = (found.probabilities[name, 0].argmax(1) == splits.test.labels).mean()
        assert found.table.set_index("method")["accuracy"][name] == pytest.approx(accuracy)
        assert found.runs[name, 0].history[-1]["step"] == 4


def test_a_comparison_is_reproducible_and_seeds_differ(splits, teacher):
    def once():
        return dm.compare(
            splits, teacher, methods=["dual_skd"], seeds=[0, 1], share=0.5, training=TINY, device="cpu", progress=False
        )

    a, b = once(), once()
    assert np.array_equal(a.probabilities["dual_skd", 0], b.probabilities["dual_skd", 0])
    assert not np.array_equal(a.probabilities["dual_skd", 0], a.probabilities["dual_skd", 1])


def test_the_native_student_starts_from_its_own_weights(splits, teacher):
    native = Teacher(
        "embedded_vit_48", dm.build("embedded_vit_48", 9, seed=7).state_dict(), (0.5,) * 3, (0.5,) * 3, "a test"
    )
    frozen = dm.Training(steps=1, batch_size=8, evaluations=1, lr=1e-12)
    found = dm.compare(
        splits, teacher, methods=["native"], seeds=[0], native=native, training=frozen, device="cpu", progress=False
    )
    difference = found.runs["native", 0].main.pos_embed.detach() - native.state["pos_embed"]
    assert difference.abs().max() < 1e-6


def test_what_is_missing_is_said_before_anything_is_trained(splits, teacher):
    with pytest.raises(ValueError, match="unknown method 'best': choose from default"):
        dm.compare(splits, teacher, methods=["best"])
    with pytest.raises(ValueError, match="method 'native' needs native=load_teacher"):
        dm.compare(splits, teacher, methods=["native"])
