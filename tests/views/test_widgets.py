import time

import pytest

from dmws_lite.method.selection import complementary_plans
from dmws_lite.views import widgets
from dmws_lite.views.plan_tables import summary


@pytest.fixture
def explorer():
    """The explorer's controls by name and its view."""
    widgets._page.cache_clear()
    box = widgets.selection_explorer()
    return {control.description: control for control in box.children[0].children}, box.children[1]


def test_the_first_view_is_the_reference_pair(explorer):
    _, view = explorer
    pair = complementary_plans("vit_small_patch16_224", "vit_tiny_patch16_224")
    assert summary(pair) in view.value
    assert '<img alt="coverage' in view.value and "data:image/png;base64" in view.value


def test_every_choice_redraws(explorer):
    controls, view = explorer
    controls["teacher → student"].value = "embedded ViT, 96 → 48"
    seen = {view.value}
    changes = {"elements": "random_inconsistent", "layers": "last", "tensor": "norm.bias", "students": "one, phase 1"}
    for name, value in changes.items():
        controls[name].value = value
        seen.add(view.value)
    assert len(seen) == 1 + len(changes)
    assert "0 of 9 axes consistent" in view.value and "overlap" not in view.value


def test_every_pair_has_its_tensors(explorer):
    controls, view = explorer
    for pair, (_, _, tensor) in widgets.PAIRS.items():
        controls["teacher → student"].value = pair
        assert controls["tensor"].value == tensor and tensor in controls["tensor"].options
        assert tensor in view.value


def test_a_refused_choice_is_explained(explorer):
    controls, view = explorer
    controls["students"].value = "one, phase 2"
    assert "not possible" in view.value and "phase=2 is out of range on an axis of 384 elements" in view.value
    controls["students"].value = "one, phase 0"
    assert "not possible" not in view.value


def test_other_errors_are_not_swallowed(explorer, monkeypatch):
    controls, _ = explorer

    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(widgets, "selection", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        controls["elements"].value = "consecutive"


def test_a_choice_seen_before_comes_at_once(explorer):
    controls, _ = explorer
    controls["elements"].value = "consecutive"
    start = time.process_time()
    controls["elements"].value = "uniform"
    assert time.process_time() - start < 0.1
