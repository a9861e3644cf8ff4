"""The selection explorer's rules, run in Chromium, equal the package's: index sets, coverage, overlap, refusals."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

import dmws_lite as dm
from dmws_lite.method.elements import phased, spread, subsets, whole_heads

DOCS = Path(__file__).parents[2] / "docs"
SIZES = (1, 2, 3, 5, 6, 7, 8, 12, 16, 20, 31, 48)
CHOICES = [
    *itertools.product(("uniform", "consecutive", "heads", "random"), (2, 4), ("first",)),
    ("uniform", 3, "last"),
    ("consecutive", 2, "uniform"),
]
PACKED = """([pair, choice]) => {
    const made = SelectionRules.plans(SELECTION_DATA.pairs[pair], choice), sets = [], numbers = new Map();
    const number = (index) => {
        const text = JSON.stringify(index);
        if (!numbers.has(text)) { numbers.set(text, sets.length); sets.push(index); }
        return numbers.get(text);
    };
    const groups = SelectionRules.shared(made);
    const total = (tensors) => SelectionRules.total(SELECTION_DATA.pairs[pair], tensors);
    return {
        plans: made.map((plan) => plan.map((a) => [a.student, a.teacher, a.axes, a.indices.map(number)])), sets,
        coverage: made.map((_, k) => total(groups[1 << k])), overlap: made.length > 1 ? total(groups[3]) : null,
        tensors: groups[1], together: SelectionRules.together(groups),
    };
}"""


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))
    import selection_data

    return selection_data.write(tmp_path_factory.mktemp("pairs") / "pairs.js"), selection_data.PAIRS


@pytest.fixture
def rules(page, data):
    """A page that knows the rules and the pairs, and nothing else."""
    page.add_script_tag(path=data[0])
    page.add_script_tag(path=DOCS / "selection_explorer" / "rules.js")
    return page


def test_spread_equals_the_package_s(rules):
    cases = [(size, pick) for size in range(1, 80) for pick in range(1, size + 1)]
    cases += [(size, pick) for size in (384, 768, 1000, 1024, 3072) for pick in (1, 7, 192, 300, 383)]
    found = rules.evaluate("cases => cases.map(([size, pick]) => SelectionRules.spread(size, pick))", cases)
    for (size, pick), indices in zip(cases, found, strict=True):
        assert indices == spread(size, pick).tolist(), (size, pick)


def test_subsets_equal_the_package_s(rules):
    cases = [
        (size, pick, n, strategy)
        for size, n, strategy in itertools.product(SIZES, (1, 2, 3, 4), ("uniform", "consecutive"))
        for pick in range(1, size + 1)
    ]
    found = rules.evaluate("cases => cases.map((case_) => SelectionRules.subsets(...case_))", cases)
    for case, sets in zip(cases, found, strict=True):
        assert sets == [indices.tolist() for indices in subsets(*case)], case


def test_phases_equal_the_package_s_and_are_refused_alike(rules):
    cases = [
        (size, pick, phase, strategy)
        for size, phase, strategy in itertools.product(SIZES, range(5), ("uniform", "consecutive"))
        for pick in range(1, size + 1)
    ]
    attempt = "(case_) => { try { return SelectionRules.phased(...case_); } catch (error) { return error.message; } }"
    refused = 0
    for case, found in zip(cases, rules.evaluate(f"cases => cases.map({attempt})", cases), strict=True):
        try:
            assert found == phased(*case).tolist(), case
        except ValueError:
            refused += 1
            assert f"phase {case[2]} is out of range" in found
    assert 0 < refused < len(cases)


def test_impossible_picks_are_refused(rules):
    for size, pick in ((4, 5), (4, 0)):
        said = rules.evaluate(
            f"() => {{ try {{ SelectionRules.spread({size}, {pick}); }} catch (e) {{ return e.message; }} }}"
        )
        assert said == f"cannot pick {pick} of {size}"


def test_whole_heads_equal_the_package_s(rules):
    cases = [
        ((6, 64), (3, 64), [0, 2, 4]),
        ((6, 16), (3, 16), [1, 3, 5]),
        ((4, 8), (2, 3), [1, 2]),
        ((1, 5), (1, 2), [0]),
    ]
    found = rules.evaluate("cases => cases.map((case_) => SelectionRules.wholeHeads(...case_))", cases)
    for (teacher, student, heads), indices in zip(cases, found, strict=True):
        assert indices == whole_heads(teacher, student, np.array(heads)).tolist()


def union(plans, name):
    """How many elements of a teacher tensor at least one student receives, counted on a mask."""
    mask = np.zeros(plans[0].teacher_shapes[name], bool)
    for a in (a for one in plans for a in one.assignments if a.teacher == name):
        shape = mask.shape[: len(a.axes)]
        mask[np.ix_(*(np.arange(t) if i is None else i for t, i in zip(shape, a.indices, strict=True)))] = True
    return int(mask.sum())


@pytest.mark.parametrize("number", range(5))
def test_plans_equal_the_package_s_for_all_tensors(rules, data, number):
    title, (teacher, student, _) = list(data[1].items())[number]
    for strategy, students, layers in CHOICES:
        choice = {"strategy": strategy, "students": students, "phase": 0, "layers": layers}
        expected = dm.complementary_plans(teacher, student, students, strategy, layers)
        compare(expected, rules.evaluate(PACKED, [title, choice]))


@pytest.mark.parametrize("number", range(5))
def test_single_plans_equal_the_package_s_or_are_refused_alike(rules, data, number):
    title, (teacher, student, _) = list(data[1].items())[number]
    for strategy, phase in itertools.product(("uniform", "heads", "random"), (1, 3)):
        choice = {"strategy": strategy, "students": 1, "phase": phase, "layers": "first"}
        try:
            expected = dm.plan(teacher, student, strategy, phase)
        except ValueError as error:
            axis = str(error).split("'")[1]
            attempt = f"(a) => {{ try {{ ({PACKED})(a); }} catch (error) {{ return error.message; }} }}"
            assert rules.evaluate(attempt, [title, choice]).startswith(f"axis {axis}: phase {phase} is out of range")
        else:
            compare([expected], rules.evaluate(PACKED, [title, choice]))


def compare(expected, found):
    sets = [None if indices is None else np.array(indices) for indices in found["sets"]]
    for one, rows in zip(expected, found["plans"], strict=True):
        assert [row[:2] for row in rows] == [[a.student, a.teacher] for a in one.assignments]
        for a, (_, _, axes, numbers) in zip(one.assignments, rows, strict=True):
            assert tuple(axes) == a.axes
            for index, number in zip(a.indices, numbers, strict=True):
                assert (index is None) == (sets[number] is None), a.student
                assert index is None or np.array_equal(index, sets[number]), a.student
    shares = [one.coverage() for one in expected]
    assert found["coverage"] == [{"used": share.used, "size": share.size} for share in shares]
    for name, count in found["tensors"].items():
        assert count == round(shares[0].tensors[name] * np.prod(expected[0].teacher_shapes[name]))
    if len(expected) > 1:
        share = expected[0].overlap(expected[1])
        assert found["overlap"] == {"used": share.used, "size": share.size}
    for name in list(found["together"])[:20]:
        assert found["together"][name] == union(expected, name), name
