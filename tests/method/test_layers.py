import pytest

from dmws_lite.method.layers import select_layers


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("first", ((0, 1), (0, 1, 2, 3))),
        ("last", ((1, 2), (5, 6, 7, 8))),
        ("uniform", ((0, 2), (0, 3, 5, 8))),
        ([[0, 2], [1, 2, 4, 8]], ((0, 2), (1, 2, 4, 8))),
    ],
)
def test_rules_work_stage_by_stage(layers, expected):
    assert select_layers((3, 9), (2, 4), layers) == expected
    assert select_layers([12], [3], [0, 5, 11]) == ((0, 5, 11),)


@pytest.mark.parametrize("layers", [[0, 1], [2, 1, 0], [0, 1, 12], [[0, 1, 2], [0]], [0, 0, 1]])
def test_impossible_block_numbers_are_refused(layers):
    with pytest.raises(ValueError, match="layers="):
        select_layers([12], [3], layers)


def test_deeper_students_other_stages_and_unknown_rules_are_refused():
    with pytest.raises(ValueError, match=r"deeper than its teacher.* \(\[2, 4\] blocks .* \[3, 3\]\)"):
        select_layers([3, 3], [2, 4])
    with pytest.raises(ValueError, match=r"of another family \(\[2, 2\] blocks in its stages, its teacher \[6\]\)"):
        select_layers([6], [2, 2])
    with pytest.raises(ValueError, match="unknown layers='middle': choose one of first, last, uniform"):
        select_layers([6], [2], "middle")
