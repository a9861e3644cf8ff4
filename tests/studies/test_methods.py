import pytest
import torch

import dmws_lite as dm
from dmws_lite.method.networks import Teacher
from dmws_lite.studies.methods import METHODS, start
from dmws_lite.studies.run import train


def weights(name, seed):
    return Teacher(name, dm.build(name, 5, seed=seed).state_dict(), (0.4,) * 3, (0.6,) * 3, "a test")


TINY, TEACHER = dm.Training(steps=4, batch_size=8, evaluations=2, seed=3), weights("embedded_vit_96", 1)


@pytest.fixture(scope="module")
def splits():
    return dm.phantoms("lung_ct", train=30, val=12, test=15)


def test_every_method_starts_with_the_same_classifier_and_the_teachers_statistics(splits):
    names = [name for name in METHODS if name not in ("native", "full_teacher")]
    starts = [start(METHODS[name], TEACHER, "embedded_vit_48", 3, 64, 3, images=splits.train) for name in names]
    students = [student for pair in starts for student in (pair.main, pair.auxiliary) if student is not None]
    assert len(students) > len(names)
    assert all(torch.equal(student.head.weight, students[0].head.weight) for student in students)
    assert all(dm.input_statistics(student) == ((0.4,) * 3, (0.6,) * 3) for student in students)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "native"])
def test_every_method_trains_and_has_a_label_and_a_line(splits, name):
    run, method = train(name, splits, TEACHER, "embedded_vit_48", TINY, device="cpu"), METHODS[name]
    assert run.history[-1]["step"] == 4 and run.distillation == method.distillation()
    assert dm.predict(run.main, splits.test).shape == (15, 3)
    assert method.definition and "\n" not in method.definition
    assert [other for other in METHODS.values() if other.label == method.label] == [method]


def test_the_native_student_starts_from_its_own_weights(splits):
    native, frozen = weights("embedded_vit_48", 7), dm.Training(steps=1, batch_size=8, evaluations=1, lr=1e-12)
    run = train("native", splits, TEACHER, "embedded_vit_48", frozen, native=native, device="cpu")
    assert (run.main.pos_embed.detach() - native.state["pos_embed"]).abs().max() < 1e-6
    with pytest.raises(ValueError, match="method 'native' needs native=load_teacher"):
        train("native", splits, TEACHER, "embedded_vit_48")
