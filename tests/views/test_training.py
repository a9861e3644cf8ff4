from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dmws_lite.method.distillation import Step, ema, update_auxiliary
from dmws_lite.method.measuring import Measured
from dmws_lite.training.toy import WINDOW, moons
from dmws_lite.views import figures
from dmws_lite.views.style import PALETTE

STUDENT, TARGET = (0.5, 1.0, -1.0), (2.0, 1.5, -1.5)
RISING = np.tile(np.linspace(0, 1, 20), (20, 1))


def run(auxiliary=True):
    rows = [
        {"step": step, "loss": loss, "alpha": 0.1, "momentum": 0.9, "val_accuracy": right, "auxiliary_accuracy": other}
        for step, loss, right, other in ((0, np.nan, 0.3, 0.4), (10, 1.0, 0.6, 0.5), (20, 0.9, 0.55, 0.5))
    ]
    for row in rows:
        row |= {} if auxiliary else {"auxiliary_accuracy": float("nan")}
    return SimpleNamespace(history=rows, best_step=10)


def heights(axes, container):
    return [bar.get_height() for bar in axes.containers[container]]


def test_history_shows_both_students_and_the_kept_step(check_picture):
    figure = check_picture(figures.history({"dual": run(), "single": run(auxiliary=False)}))
    main, auxiliary, *_, star = figure.axes[2].lines
    assert main.get_ydata().tolist() == [0.3, 0.6, 0.55] and star.get_xdata() == [10]
    assert auxiliary.get_color() == PALETTE["auxiliary"] and auxiliary.get_linestyle() == "--"
    assert "single: validation accuracy, auxiliary" not in figure.alt_text
    assert "dual: validation accuracy, auxiliary: 0.40 to 0.50" in figure.alt_text


def test_confusion_has_counts_and_shares_of_the_true_class():
    figure = figures.confusion(pd.DataFrame([[3, 1], [0, 0]], ["a", "b"], ["a", "b"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["3\n75%", "1\n25%", "0\n0%", "0\n0%"]
    assert figure.alt_text == "Confusion matrix of 4 images. Right answers: a 75%, b 0%."
    for names in (["Adénome hypophysaire", "Gliome de haut grade", "no", ""], [f"class number {k}" for k in "1234567"]):
        labels = figures.confusion(pd.DataFrame(np.eye(len(names), dtype=int), names, names)).axes[0].get_xticklabels()
        ends = [(box.x0, box.x1) for box in (label.get_window_extent() for label in labels)]
        assert len(ends) == len(names) and all(end < start for (_, end), (start, _) in pairwise(ends))


def test_bars_are_the_softened_distributions_and_lines_those_at_temperature_one(check_picture):
    shares = check_picture(figures.soft_targets(STUDENT, TARGET, 0, temperature=4.0)).axes[0]
    for k, logits in enumerate((STUDENT, TARGET)):
        soft, sharp = (np.exp(np.divide(logits, t)) / np.exp(np.divide(logits, t)).sum() for t in (4, 1))
        assert heights(shares, k) == pytest.approx(soft)
        assert [segment[0][1] for segment in shares.collections[k].get_segments()] == pytest.approx(sharp)


@pytest.mark.parametrize(("temperature", "alpha", "label"), [(1.0, 0.3, 0), (4.0, 0.9, 2), (2.0, 0.0, 1)])
def test_loss_and_gradient_are_those_of_the_training_step(temperature, alpha, label):
    _, loss, push = figures.soft_targets(STUDENT, TARGET, label, temperature, alpha).axes
    logits = torch.tensor([STUDENT], requires_grad=True)
    targets = {"targets": lambda: torch.tensor([TARGET])}
    whole = ema(Step(logits, torch.tensor([label]), torch.tensor([0]), alpha, temperature, **targets))
    whole.backward()
    assert heights(loss, 2) == pytest.approx([whole.item()], abs=1e-6)
    assert heights(push, 2) == pytest.approx(logits.grad[0].tolist(), abs=1e-6)


def test_soft_targets_and_the_memory_refuse():
    for changes, message in (
        ({"target_logits": (1.0, 2.0)}, "3 student_logits, 2 target_logits, 3 classes: pass one of each per class"),
        ({"label": 3}, "label=3 is out of range: 0 to 2"),
        ({"temperature": 0.0}, "temperature=0.0 must be above 0"),
        ({"alpha": 1.5}, "alpha=1.5 is out of range"),
    ):
        with pytest.raises(ValueError, match=message):
            figures.soft_targets(**({"student_logits": STUDENT, "target_logits": TARGET, "label": 0} | changes))
    for momentum, steps, message in ((1.0, 5, "momentum=1.0"), (-0.1, 5, "momentum=-0.1"), (0.5, 0, "steps=0")):
        with pytest.raises(ValueError, match=message):
            figures.ema_memory(momentum, steps)


@pytest.mark.parametrize(("momentum", "steps"), [(0.0, 3), (0.9, 7), (0.99, 40)])
def test_shares_are_those_of_the_update_itself(momentum, steps, check_picture):
    """Main students that are unit vectors: after the run the auxiliary holds the weight of each."""
    auxiliary, main = torch.nn.Linear(steps + 1, 1, bias=False), torch.nn.Linear(steps + 1, 1, bias=False)
    with torch.no_grad():
        auxiliary.weight[:] = torch.eye(steps + 1)[0]
        for step in range(1, steps + 1):
            main.weight[:] = torch.eye(steps + 1)[step]
            update_auxiliary(auxiliary, main, momentum)
    start, *weights = auxiliary.weight[0].tolist()
    curve, share = check_picture(figures.ema_memory(momentum, steps)).axes
    assert curve.lines[0].get_ydata() == pytest.approx(100 * np.array(weights) / weights[-1], rel=1e-4, abs=1e-6)
    sums = [start, sum(weights[: steps // 2]), sum(weights[steps // 2 :])]
    widths = [bar.get_width() for group in share.containers for bar in group]
    assert widths == pytest.approx([100 * value for value in sums], rel=1e-4, abs=1e-4)


def test_surfaces_show_the_grids_with_their_line_and_the_points_by_label():
    data = moons(30, 0.2)
    figure = figures.surfaces({"main": {"step 0": np.full((20, 20), 0.6), "step 9": RISING}}, data)
    first, second = figure.axes[:2]
    assert (first.images[0].get_array() == 0.6).all() and np.array_equal(second.images[0].get_array(), RISING)
    zero, one, rings = first.collections  # no place is undecided: no line
    assert len(zero.get_offsets()) == (data.labels == 0).sum() and len(one.get_offsets()) == (data.labels == 1).sum()
    np.testing.assert_allclose(rings.get_offsets(), data.x[data.wrong])
    assert zero.get_paths()[0].vertices.tolist() != one.get_paths()[0].vertices.tolist()  # not by colour alone
    where = np.concatenate([path.vertices for path in second.collections[0].get_paths()])[:, 0]
    assert np.allclose(where, sum(WINDOW[:2]) / 2, atol=0.12)
    assert "main step 0: class 1 on 100% of the plane, mean confidence 0.60" in figure.alt_text


def test_errors_of_layers_are_drawn_before_and_after_for_each_student(check_picture, drawn):
    def errors(*before):
        table = pd.DataFrame({"module": ["qkv", "proj"], "before": before, "after": [0.1, 0.05]})
        return Measured("selection_ls", 8, 1.0, table)

    figure = check_picture(figures.layer_errors([errors(0.5, 0.9), errors(0.6, 0.8)]))
    assert [axes.get_title() for axes in figure.axes] == ["main", "auxiliary"]
    assert drawn(figure, 1)["before"].get_ydata() == pytest.approx([0.6, 0.8])
    assert drawn(figure)["after"].get_ydata() == pytest.approx([0.1, 0.05]) and figure.axes[0].get_yscale() == "log"
    check_picture(figures.layer_errors([errors(np.nan, np.nan)]))  # of a projection, without a before
