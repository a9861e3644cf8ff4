import io

import numpy as np
import pytest
import torch
from PIL import Image

from dmws_lite.data.sets import ImageSet
from dmws_lite.method.distillation import Step, ema, update_auxiliary
from dmws_lite.views import figures
from dmws_lite.views.explorer_figures import _outline

STUDENT, TARGET = (0.5, 1.0, -1.0), (2.0, 1.5, -1.5)
IMAGES = ImageSet(np.full((4, 1, 10, 12), 90, np.uint8), np.array([0, 1, 0, 1]), ("none", "finding"), tuple("abcd"))
PROBABILITIES = {"auxiliary": np.tile([0.2, 0.8], (4, 1)), "teacher": np.tile([0.9, 0.1], (4, 1))}


def heights(axes, container):
    return [bar.get_height() for bar in axes.containers[container]]


def maps(row=2, column=1):
    heat = np.zeros((4, 5, 6))
    heat[:, row, column] = 1
    return dict.fromkeys(PROBABILITIES, heat)


def test_figures_say_what_they_show():
    masks = np.ones((4, 10, 12), bool)
    for figure in (
        figures.soft_targets(STUDENT, TARGET, 0),
        figures.ema_memory(0.9, 1),
        figures.inspected(IMAGES, 1, PROBABILITIES, maps(), masks),
    ):
        assert len(figure.alt_text) > 40 and figure.alt_text.endswith(".")
        picture = Image.open(io.BytesIO(figure.png()))
        assert picture.text["Description"] == figure.alt_text and picture.width == 8 * 110


# --- soft targets ----------------------------------------------------------------------------------------------------


def test_bars_are_the_softened_distributions_and_lines_those_at_temperature_one():
    shares = figures.soft_targets(STUDENT, TARGET, 0, temperature=4.0).axes[0]
    for k, logits in enumerate((STUDENT, TARGET)):
        soft, sharp = (np.exp(np.divide(logits, t)) / np.exp(np.divide(logits, t)).sum() for t in (4, 1))
        assert heights(shares, k) == pytest.approx(soft)
        assert [segment[0][1] for segment in shares.collections[k].get_segments()] == pytest.approx(sharp)


@pytest.mark.parametrize(
    ("temperature", "alpha", "label"), [(1.0, 0.3, 0), (4.0, 0.9, 2), (2.0, 0.0, 1), (0.5, 1.0, 1)]
)
def test_loss_and_gradient_are_those_of_the_training_step(temperature, alpha, label):
    _, loss, push = figures.soft_targets(STUDENT, TARGET, label, temperature, alpha).axes
    logits = torch.tensor([STUDENT], requires_grad=True)
    step = Step(
        logits, torch.tensor([label]), torch.tensor([0]), alpha, temperature, targets=lambda: torch.tensor([TARGET])
    )
    whole = ema(step)
    whole.backward()
    assert heights(loss, 2) == pytest.approx([whole.item()], abs=1e-6)
    assert heights(push, 2) == pytest.approx(logits.grad[0].tolist(), abs=1e-6)


def test_gradient_parts_are_those_of_the_formula():
    _, loss, push = figures.soft_targets(STUDENT, TARGET, 0, temperature=3.0, alpha=0.25).axes
    student, target = np.array(STUDENT), np.array(TARGET)
    q1, q, p = (np.exp(z) / np.exp(z).sum() for z in (student, student / 3, target / 3))
    assert heights(push, 0) == pytest.approx(0.75 * (q1 - np.eye(3)[0]))
    assert heights(push, 1) == pytest.approx(0.25 * 3 * (q - p), abs=1e-6)  # T^2 KL, derived: T (q - p)
    assert heights(loss, 0) == pytest.approx([-0.75 * np.log(q1[0])])
    assert heights(loss, 1) == pytest.approx([0.25 * 9 * (p * np.log(p / q)).sum()], abs=1e-6)


def test_soft_targets_name_the_right_class():
    figure = figures.soft_targets(STUDENT, TARGET, 2, 2.0, 0.5, ("normal", "nodules", "other"))
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["normal", "nodules", "other\n(right)"]
    assert "right: other; T = 2, alpha = 0.5" in figure.alt_text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_logits": (1.0, 2.0)}, "3 student_logits, 2 target_logits, 3 classes: pass one of each a class"),
        ({"classes": ("a",)}, "1 classes"),
        ({"label": 3}, "label=3 is out of range: 0 to 2"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"temperature": float("inf")}, "temperature=inf must be above 0"),
        ({"alpha": 1.5}, "alpha=1.5 is out of range"),
    ],
)
def test_soft_targets_refuse(changes, message):
    with pytest.raises(ValueError, match=message):
        figures.soft_targets(**({"student_logits": STUDENT, "target_logits": TARGET, "label": 0} | changes))


# --- the EMA's memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("momentum", "steps"), [(0.0, 3), (0.9, 7), (0.99, 40)])
def test_shares_are_those_of_the_update_itself(momentum, steps):
    """Main students that are unit vectors: after the run the auxiliary holds the weight of each."""
    auxiliary, main = torch.nn.Linear(steps + 1, 1, bias=False), torch.nn.Linear(steps + 1, 1, bias=False)
    with torch.no_grad():
        auxiliary.weight[:] = torch.eye(steps + 1)[0]
        for step in range(1, steps + 1):
            main.weight[:] = torch.eye(steps + 1)[step]
            update_auxiliary(auxiliary, main, momentum)
    start, *weights = auxiliary.weight[0].tolist()
    curve, share = figures.ema_memory(momentum, steps).axes
    assert curve.lines[0].get_ydata() == pytest.approx(100 * np.array(weights) / weights[-1], rel=1e-4, abs=1e-6)
    sums = [start, sum(weights[: steps // 2]), sum(weights[steps // 2 :])]
    assert [bar.get_width() for group in share.containers for bar in group] == pytest.approx(
        [100 * value for value in sums], rel=1e-4, abs=1e-4
    )


def test_the_memory_tells_its_half_life():
    assert (
        "half-life 10 steps (momentum 0.933), after 20 steps: 25 % its start"
        in figures.ema_memory(0.5**0.1, 20).alt_text
    )


@pytest.mark.parametrize(
    ("momentum", "steps", "message"), [(1.0, 5, "momentum=1.0"), (-0.1, 5, "momentum=-0.1"), (0.5, 0, "steps=0")]
)
def test_the_memory_refuses(momentum, steps, message):
    with pytest.raises(ValueError, match=message):
        figures.ema_memory(momentum, steps)


# --- one image -------------------------------------------------------------------------------------------------------


def test_an_inspected_image_tells_predictions_and_where_networks_look():
    masks = np.zeros((4, 10, 12), bool)
    masks[1, 3:7, 1:5] = True
    found = figures.inspected(IMAGES, 1, PROBABILITIES, maps(), masks).alt_text
    assert found.startswith("Image 1, finding: teacher predicts none (90 %, wrong) and looks most at row ")
    assert "auxiliary predicts finding (80 %, right)" in found and found.count("inside the finding") == 2
    away = figures.inspected(IMAGES, 1, PROBABILITIES, maps(4, 5), masks).alt_text
    assert away.count("outside the finding") == 2
    assert "the finding" not in figures.inspected(IMAGES, 0, PROBABILITIES, maps(), masks).alt_text


def test_networks_come_in_their_order():
    titles = [axes.get_title() for axes in figures.inspected(IMAGES, 0, PROBABILITIES, maps()).axes]
    assert titles[:3] == ["image 0\nnone", "teacher: right\nnone, 90 %", "auxiliary: wrong\nfinding, 80 %"]


def test_an_image_without_heat_stays_as_it_is():
    cold = {name: np.zeros((4, 5, 6)) for name in PROBABILITIES}
    plain, teacher, *_ = figures.inspected(IMAGES, 0, PROBABILITIES, cold).axes
    assert np.allclose(plain.images[0].get_array(), teacher.images[0].get_array())


def test_the_outline_is_the_border_of_the_mask():
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = True
    corners = [((1.5, 0.5), (1.5, 1.5)), ((2.5, 0.5), (2.5, 1.5)), ((1.5, 0.5), (2.5, 0.5)), ((1.5, 1.5), (2.5, 1.5))]
    assert sorted(tuple(segment) for segment in _outline(mask)) == sorted(corners)
    assert len(_outline(np.ones((3, 4), bool))) == 2 * (3 + 4) and not _outline(np.zeros((3, 4), bool))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"index": 4}, "index=4 is out of range: the image set has images 0 to 3"),
        ({"probabilities": {}}, "pass both of the same networks, out of teacher, main, auxiliary"),
        ({"maps": {}}, "pass both of the same networks"),
        ({"probabilities": {name: p[:3] for name, p in PROBABILITIES.items()}}, "are \\(3, 2\\): pass \\(4, 2\\)"),
        ({"maps": dict.fromkeys(PROBABILITIES, np.zeros((4, 5)))}, "pass \\(4, height, width\\)"),
        ({"masks": np.zeros((4, 5, 6), bool)}, "masks are \\(4, 5, 6\\): pass \\(4, 10, 12\\), or None"),
    ],
)
def test_an_image_that_cannot_be_inspected(changes, message):
    arguments = {"images": IMAGES, "index": 0, "probabilities": PROBABILITIES, "maps": maps()}
    with pytest.raises(ValueError, match=message):
        figures.inspected(**(arguments | changes))
