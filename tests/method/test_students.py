import pytest
import torch

import dmws_lite as dm
from dmws_lite.method.networks import Teacher


@pytest.fixture(scope="module")
def teacher():
    state = dm.build("embedded_vit_96", 5, seed=1).state_dict()
    return Teacher("embedded_vit_96", state, (0.5,) * 3, (0.5,) * 3, "a test")


def make(teacher, *args, **options):
    return dm.make_students(teacher, "embedded_vit_48", 3, *args, **options)


def test_complementary_students_hold_the_two_subsets_and_one_classifier(teacher):
    students = make(teacher)
    weight = teacher.state["blocks.1.mlp.fc1.weight"]
    assert torch.equal(students.main.blocks[1].mlp.fc1.weight, weight[::2, ::2])
    assert torch.equal(students.auxiliary.blocks[1].mlp.fc1.weight, weight[1::2, 1::2])
    assert torch.equal(students.main.head.weight, students.auxiliary.head.weight)
    assert students.plans[0].overlap(students.plans[1]).used == 0


def test_swap_exchanges_the_roles(teacher):
    straight, swapped = make(teacher), make(teacher, swap=True)
    for a, b in ((straight.main, swapped.auxiliary), (straight.auxiliary, swapped.main)):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert repr(straight.plans[0]) == repr(swapped.plans[1])


def test_other_auxiliaries(teacher):
    same, random, alone = (make(teacher, kind) for kind in ("same", "random", None))
    assert torch.equal(same.main.pos_embed, same.auxiliary.pos_embed)
    assert not torch.equal(random.main.pos_embed, random.auxiliary.pos_embed)
    assert torch.equal(random.main.head.weight, random.auxiliary.head.weight)
    assert alone.auxiliary is None
    assert all(torch.equal(s.main.pos_embed, alone.main.pos_embed) for s in (same, random))


def test_other_initialisers_elements_and_image_sizes(teacher):
    plain = make(teacher, None, initializer="default")
    assert plain.plans == () and torch.equal(plain.main.head.weight, make(teacher).main.head.weight)
    larger = make(teacher, image_size=96)
    assert larger.main.pos_embed.shape == (1, 145, 48)
    assert "interpolated" in {a.student: a.note for a in larger.plans[0].assignments}["pos_embed"]
    assert make(teacher, elements="magnitude").plans[0].elements == "magnitude"


def test_unknown_kinds_are_refused(teacher):
    with pytest.raises(ValueError, match="unknown auxiliary='twin': choose one of 'complementary'"):
        make(teacher, "twin")
    with pytest.raises(ValueError, match="'complementary' needs initializer='weight_selection', not 'xavier'"):
        make(teacher, initializer="xavier")
