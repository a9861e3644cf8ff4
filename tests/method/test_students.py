import pytest
import torch

import dmws_lite as dm
from dmws_lite.method.networks import Teacher
from dmws_lite.method.students import Students

STATISTICS = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)


@pytest.fixture(scope="module")
def teacher():
    return Teacher("embedded_vit_96", dm.build("embedded_vit_96", 5, seed=1).state_dict(), *STATISTICS, "a test")


def make(teacher, *args, **options):
    return dm.make_students(teacher, "embedded_vit_48", 3, *args, **options)


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_complementary_students_hold_the_two_subsets_one_classifier_and_what_they_are(teacher):
    students = make(teacher)
    weight = teacher.state["blocks.1.mlp.fc1.weight"]
    assert torch.equal(students.main.blocks[1].mlp.fc1.weight, weight[::2, ::2])
    assert torch.equal(students.auxiliary.blocks[1].mlp.fc1.weight, weight[1::2, 1::2])
    assert torch.equal(students.main.head.weight, students.auxiliary.head.weight)
    assert students.plans[0].overlap(students.plans[1]).used == 0
    assert dm.input_statistics(students.main) == STATISTICS == dm.input_statistics(students.auxiliary)
    assert (students.name, students.teacher) == ("embedded_vit_48", "embedded_vit_96")
    assert students.initializer == "weight_selection" and Students(students.main).name == students.name
    larger = make(teacher, image_size=96, elements="heads")
    assert larger.main.pos_embed.shape == (1, 145, 48) and larger.plans[0].elements == "heads"
    swapped = make(teacher, swap=True)
    assert equal(students.main, swapped.auxiliary) and equal(students.auxiliary, swapped.main)
    assert repr(students.plans[0]) == repr(swapped.plans[1])


def test_other_auxiliaries(teacher):
    same, random, alone = (make(teacher, kind) for kind in ("same", "random", None))
    assert torch.equal(same.main.pos_embed, same.auxiliary.pos_embed)
    assert not torch.equal(random.main.pos_embed, random.auxiliary.pos_embed)
    assert torch.equal(random.main.head.weight, random.auxiliary.head.weight)
    assert alone.auxiliary is None and all(torch.equal(s.main.pos_embed, alone.main.pos_embed) for s in (same, random))


def test_a_random_auxiliary_of_a_random_main_is_another_draw_with_the_same_classifier(teacher):
    first, again, other = (make(teacher, "random", initializer="mimetic", seed=seed) for seed in (0, 0, 1))
    assert equal(first.auxiliary, again.auxiliary) and first.plans == ()
    assert equal(first.main, make(teacher, None, initializer="mimetic").main)
    main, auxiliary, third = (one.state_dict() for one in (first.main, first.auxiliary, other.auxiliary))
    for name in ("blocks.0.mlp.fc1.weight", "blocks.3.attn.qkv.weight", "pos_embed", "patch_embed.proj.weight"):
        assert not torch.equal(main[name], auxiliary[name]) and not torch.equal(auxiliary[name], third[name])
    assert torch.equal(main["head.weight"], auxiliary["head.weight"])


def test_unknown_kinds_are_refused(teacher):
    with pytest.raises(ValueError, match="unknown auxiliary 'twin': choose from complementary, same, random, None"):
        make(teacher, "twin")
    with pytest.raises(TypeError, match="teacher=VisionTransformer: pass what load_teacher returns"):
        make(dm.build("embedded_vit_96", 3))
    for initializer in ("xavier", "projection"):
        with pytest.raises(ValueError, match=f"needs .*'weight_selection' or 'selection_ls', not '{initializer}'"):
            make(teacher, initializer=initializer)
