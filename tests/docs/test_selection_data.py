"""The explorer's stored index sets are those of the package, for every choice that it offers."""

import itertools

import numpy as np
import pytest

import dmws_lite as dm
from dmws_lite.method.components import FIXED


def equal_sets(data, strategy, numbers, plans):
    """Whether the stored sets `numbers` are the plans' index sets, on all axes of all tensors."""
    for number, made in zip(numbers, plans, strict=True):
        for tensor, a in zip(data["tensors"], made.assignments, strict=True):
            assert tensor["axes"] == a.axes
            for axis, index, size in zip(a.axes, a.indices, tensor["shape"], strict=True):
                if axis not in FIXED:
                    mask = data["masks"][data["axes"][axis][strategy][number]]
                    bits = np.unpackbits(np.frombuffer(bytes.fromhex(mask), np.uint8))
                    if not np.array_equal(np.flatnonzero(bits), np.arange(size) if index is None else index):
                        return False
    return True


@pytest.mark.parametrize("title", ["embedded ViT, 96 → 48", "ConvNeXt-T → ConvNeXt-F", "MobileNetV1 ×1 → ×½"])
def test_stored_index_sets_equal_the_package_s(title):
    from selection_data import PAIRS, STRATEGIES, STUDENTS, pair_data

    teacher, student, first = PAIRS[title]
    data = pair_data(teacher, student, first)
    for strategy, layers in zip(STRATEGIES, ("first", "last", "uniform", "first"), strict=True):
        for n in range(2, STUDENTS + 1):
            plans = dm.complementary_plans(teacher, student, n, strategy, layers)
            assert equal_sets(data, strategy, range(n), plans)
        names = [a.teacher for a in plans[0].assignments]
        assert [tensor["names"][layers] for tensor in data["tensors"]] == names
        assert data["layers"][layers] == plans[0].layers and data["size"] == plans[0].coverage().size
    for strategy, phase in itertools.product(STRATEGIES, range(STUDENTS)):
        if phase in data["refused"][strategy]:
            with pytest.raises(ValueError, match=f"phase={phase} is out of range"):
                dm.plan(teacher, student, strategy, phase)
        else:
            assert equal_sets(data, strategy, [phase], [dm.plan(teacher, student, strategy, phase)])
    assert set(data["refused"]["uniform"]) == {2, 3}
    assert first in [tensor["names"]["first"] for tensor in data["tensors"]]
