from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from dmws_lite.method.distillation import Step, ema, update_auxiliary
from dmws_lite.views import figures

STUDENT, TARGET = (0.5, 1.0, -1.0), (2.0, 1.5, -1.5)


def run(auxiliary=True):
    rows = [
        {"step": step, "loss": loss, "alpha": 0.1, "momentum": 0.9, "val_accuracy": right, "auxiliary_accuracy": other}
        for step, loss, right, other in ((0, np.nan, 0.3, 0.4), (10, 1.0, 0.6, 0.5), (20, 0.9, 0.55, 0.5))
    ]
    for row in rows:
        row |= {"both_right": 0.25} if auxiliary else {"auxiliary_accuracy": float("nan")}
    return SimpleNamespace(history=rows, best_step=10)


def heights(axes, container):
    return [bar.get_height() for bar in axes.containers[container]]


FIGURES = {
    "history": lambda: figures.history(run()),
    "history, several": lambda: figures.history({"dual": run(), "single": run(auxiliary=False)}),
    "disagreement": lambda: figures.disagreement(run()),
    "confusion": lambda: figures.confusion(pd.DataFrame([[3, 1], [0, 4]], ["a", "b"], ["a", "b"])),
    "half_life": lambda: figures.half_life(300, [6, 30, 693.1]),
    "similarity": lambda: figures.similarity({"a": [0.9, 0.5], "b": [0.1, 0.0]}),
    "soft_targets": lambda: figures.soft_targets(STUDENT, TARGET, 0),
    "ema_memory": lambda: figures.ema_memory(0.9, 1),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_and_says_what_it_shows(name, check_picture):
    check_picture(FIGURES[name]())


def test_history_shows_both_students_and_the_kept_step(drawn):
    figure = figures.history(run())
    main, auxiliary = (drawn(figure, 1)[name] for name in ("kept: best on validation", "auxiliary"))
    assert main.get_ydata().tolist() == [0.3, 0.6, 0.55] and figure.axes[1].lines[-1].get_xdata() == [10]
    assert auxiliary.get_color() == figures.PALETTE["auxiliary"] and auxiliary.get_linestyle() == "--"
    assert "auxiliary" not in drawn(figures.history(run(auxiliary=False)), 1)


def test_disagreement_stacks_to_one():
    axes = figures.disagreement(run()).axes[0]
    shares = np.array([bar.get_height() for bar in axes.patches]).reshape(4, 3)
    assert shares[:, 1] == pytest.approx([0.25, 0.35, 0.25, 0.15])
    with pytest.raises(ValueError, match="needs a run with an auxiliary"):
        figures.disagreement(run(auxiliary=False))


def test_confusion_has_counts_and_shares_of_the_true_class():
    figure = figures.confusion(pd.DataFrame([[3, 1], [0, 0]], ["a", "b"], ["a", "b"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["3\n75%", "1\n25%", "0\n0%", "0\n0%"]
    assert figure.alt_text == "Confusion matrix of 4 images. Right answers: a 75%, b 0%."


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
    targets = {"targets": lambda: torch.tensor([TARGET])}
    whole = ema(Step(logits, torch.tensor([label]), torch.tensor([0]), alpha, temperature, **targets))
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target_logits": (1.0, 2.0)}, "3 student_logits, 2 target_logits, 3 classes: pass one of each per class"),
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


# --- the auxiliary's memory ------------------------------------------------------------------------------------------


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
    widths = [bar.get_width() for group in share.containers for bar in group]
    assert widths == pytest.approx([100 * value for value in sums], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("momentum", "steps", "message"), [(1.0, 5, "momentum=1.0"), (-0.1, 5, "momentum=-0.1"), (0.5, 0, "steps=0")]
)
def test_the_memory_refuses(momentum, steps, message):
    with pytest.raises(ValueError, match=message):
        figures.ema_memory(momentum, steps)
