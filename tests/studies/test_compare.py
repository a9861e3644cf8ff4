import numpy as np
import pandas as pd
import pytest
import torch

import dmws_lite as dm
from dmws_lite.method.networks import Teacher
from dmws_lite.studies.compare import METHODS, _start, differences, main, summary

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
    starts = [_start(METHODS[name], teacher, "embedded_vit_48", splits, 3) for name in names]
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


def test_summary_is_the_mean_and_deviation_over_seeds():
    table = pd.DataFrame({"label": ["b", "b", "a"], "accuracy": [0.5, 0.7, 1.0]})
    rows = summary(table).set_index("label")
    assert list(rows.index) == ["b", "a"]
    assert rows.loc["b", "mean"] == pytest.approx(0.6) and rows.loc["b", "std"] == pytest.approx(
        np.std([0.5, 0.7], ddof=1)
    )


def test_differences_are_paired_by_seed():
    rows = [("a", "A", 0, 0.5), ("a", "A", 1, 0.6), ("b", "B", 0, 0.7), ("b", "B", 1, 0.5)]
    table = pd.DataFrame(rows, columns=["method", "label", "seed", "accuracy"])
    (row,) = differences(table, "a").to_dict("records")
    assert row == {"label": "B", "mean": pytest.approx(0.05), "min": pytest.approx(-0.1), "max": pytest.approx(0.2)}
    with pytest.raises(ValueError, match="reference='c' is not in the table: choose one of a, b"):
        differences(table, "c")


def test_the_command_writes_a_table(tmp_path, capsys):
    out = tmp_path / "deep" / "table.csv"
    options = {"--seeds": "1", "--share": "0.1", "--steps": "2", "--methods": "default", "--out": str(out)}
    main(["phantom_lung_ct", *(word for option in options.items() for word in option)])
    assert pd.read_csv(out)["data"].tolist() == ["phantom_lung_ct"]
    assert "random initialisation" in capsys.readouterr().out
