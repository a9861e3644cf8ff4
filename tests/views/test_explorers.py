"""Explorers: every control changes the picture, and the picture is that of the static twin."""

import re
from html import unescape

import numpy as np
import pytest

from dmws_lite.data.sets import ImageSet
from dmws_lite.method.distillation import momentum_of
from dmws_lite.method.selection import complementary_plans, plan
from dmws_lite.views import figures, widgets
from dmws_lite.views.plans import summary
from dmws_lite.views.widgets.explorers import PAIRS
from dmws_lite.views.widgets.parts import as_html, explorer, slider

CLASSES, EMBEDDED = ("normal", "nodules", "other"), ("embedded_vit_96", "embedded_vit_48")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 1, 12, 16), dtype=np.uint8)
IMAGES = ImageSet(PIXELS, np.arange(6) % 3, CLASSES, tuple("abcdef"))


def parts(box):
    """An explorer's controls by their label, and its view."""
    return {control.description: control for control in box.children[0].children}, box.children[1]


def alt(view):
    return unescape(re.search(r'alt="([^"]*)"', view.value).group(1))


def answers():
    """Teacher: always right; main: wrong on the last image; auxiliary: always the first class."""
    right = np.eye(3)[IMAGES.labels] * 0.7 + 0.1
    main = right.copy()
    main[-1] = main[-1][::-1]
    probabilities = {"teacher": right, "main": main, "auxiliary": np.tile([0.5, 0.3, 0.2], (6, 1))}
    return probabilities, dict.fromkeys(probabilities, np.eye(3, 4)[None].repeat(6, 0))


@pytest.mark.parametrize(
    ("changes", "twin"),
    [
        ({"layers": "last", "students": 3}, lambda pair: complementary_plans(*pair, n=3, layers="last")),
        ({"students": 1, "phase": 1, "tensor": "norm.bias"}, lambda pair: plan(*pair, phase=1)),
    ],
)
def test_the_selection_is_that_of_its_twin(changes, twin):
    controls, view = parts(widgets.selection_explorer())
    assert controls["phase"].disabled  # which is for a single student
    controls["teacher → student"].value = "embedded ViT, 96 → 48"
    for name, value in changes.items():
        controls[name].value = value
    plans, tensor = twin(EMBEDDED), changes.get("tensor", "blocks.0.attn.qkv.weight")
    assert view.value == as_html(figures.tensor_maps(plans, [tensor]), summary(plans))
    assert controls["phase"].disabled == (changes["students"] > 1)
    controls["students"].value, controls["phase"].value = 1, 3
    assert '<p role="alert">' in view.value and "phase=3 is out of range on an axis of " in view.value


def test_every_pair_offers_its_own_tensors():
    controls, view = parts(widgets.selection_explorer())
    for pair, (_, _, tensor) in PAIRS.items():
        controls["teacher → student"].value = pair
        assert controls["tensor"].value == tensor == controls["tensor"].options[0]
        assert len(set(controls["tensor"].options)) == len(controls["tensor"].options) > 20
        assert tensor in alt(view)


def test_soft_targets_follow_temperature_alpha_and_class():
    logits = (1.0, 2.0, 0.5), (3.0, 0.0, 1.0)
    controls, view = parts(widgets.soft_target_explorer(*logits, label=1, classes=CLASSES))
    assert view.value == as_html(figures.soft_targets(*logits, 1, 2.0, 0.5, CLASSES))
    for name, value in (("temperature T", 4.0), ("weight α", 0.2), ("right class", 0)):
        controls[name].value = value
    assert view.value == as_html(figures.soft_targets(*logits, 0, 4.0, 0.2, CLASSES))


def test_the_ema_follows_half_life_and_steps():
    controls, view = parts(widgets.ema_explorer(steps=200))
    assert view.value == as_html(figures.ema_memory(momentum_of(10), 200))
    controls["half-life (steps)"].value = controls["after step"].value = 100
    assert "50 % its start" in alt(view) and view.value == as_html(figures.ema_memory(momentum_of(100), 100))
    with pytest.raises(ValueError, match="steps=0 must be at least 1"):
        widgets.ema_explorer(steps=0)


def test_results_are_of_the_metric_or_are_differences(table):
    table = table(("default", "weight_selection", "dual_skd"), ("ct", "mri"), (0.1, 1.0), 6)
    controls, view = parts(widgets.results_explorer(table))
    assert view.value == as_html(figures.results(table))
    controls["metric"].value = "ece"
    assert view.value == as_html(figures.results(table, "ece"))
    controls["difference to"].value = "default"
    assert view.value == as_html(figures.paired_differences(table, "default", "ece"))
    with pytest.raises(ValueError, match="the table has no runs"):
        widgets.results_explorer(table.head(0))


def test_the_inspector_steps_through_images():
    probabilities, maps = answers()
    masks = np.zeros((6, 12, 16), bool)
    masks[:, 4:8, 8:12] = True
    controls, view = parts(widgets.image_inspector(IMAGES, probabilities, maps, masks))
    controls["number"].value = 4
    twin = figures.saliency(IMAGES, [4], maps, masks)
    sentence = "Image 4, nodules. teacher: nodules 80%, right; main: nodules 80%, right; auxiliary: normal 50%, wrong."
    assert view.value == as_html(twin, sentence)
    controls["images"].value = "main is wrong"
    assert controls["number"].max == controls["number"].value == 0
    assert "Image 5, other. teacher: other 80%, right; main: normal 80%, wrong" in view.value
    controls["images"].value = "teacher is wrong"
    assert 'role="alert"' in view.value and "no image where teacher is wrong" in view.value
    controls["images"].value = "main and auxiliary disagree"
    assert controls["number"].max == 2 and "Image 1, nodules" in view.value
    for wrong in ({}, maps | {"main": maps["main"][:3]}):
        with pytest.raises(ValueError, match="pass both of the same networks, one row for each of the 6 images"):
            widgets.image_inspector(IMAGES, probabilities, wrong)


def test_values_that_are_refused_show_as_text_other_errors_are_raised_and_one_move_draws_once():
    drawn = []

    def draw(number, follower):
        drawn.append((number, follower))
        if number > 1:
            raise (RuntimeError if number > 2 else ValueError)("<b>number</b>")
        return "fine"

    both = {name: slider(name, 0, 3, 0) for name in ("number", "follower")}
    both["number"].observe(lambda change: setattr(both["follower"], "value", change["new"]), "value")
    controls, view = parts(explorer(both, draw))
    controls["number"].value = 1
    assert view.value == "fine" and drawn == [(0, 0), (1, 1)]
    controls["number"].value = 2
    assert "&lt;b&gt;number&lt;/b&gt;" in view.value
    with pytest.raises(RuntimeError, match="number"):
        controls["number"].value = 3
