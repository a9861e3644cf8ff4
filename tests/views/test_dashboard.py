"""The dashboard trains as `fit` does, and can be held, ended and taken back."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

import dmws_lite as dm
from dmws_lite.data.sets import ImageSet, Splits
from dmws_lite.method.networks import set_input_statistics
from dmws_lite.method.students import Students
from dmws_lite.views import figures
from dmws_lite.views.widgets.parts import as_html

TRAINING = dm.Training(steps=12, batch_size=6, evaluations=4)
DISTILLATION = dm.Distillation(alpha_warmup=0.0, half_life=0.2)


def image_set(count, seed):
    labels = np.arange(count) % 2
    images = np.random.default_rng(seed).integers(0, 128, (count, 1, 16, 16)) + 100 * labels[:, None, None, None]
    return ImageSet(images.astype(np.uint8), labels, ("dark", "light"), tuple(map(str, range(count))))


SPLITS = Splits("shades", image_set(24, 0), image_set(20, 1), image_set(4, 2))


def student(seed):
    """With dropout, so that a run also depends on torch's random numbers."""
    torch.manual_seed(seed)
    size = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 2}
    return set_input_statistics(VisionTransformer(**size, proj_drop_rate=0.1), (0.5,) * 3, (0.5,) * 3)


@pytest.fixture
def board(monkeypatch):
    """A dashboard on which a test can act at an evaluation: `board.at[step] = action`."""
    board = dm.widgets.training_dashboard(Students(student(0), student(1)), SPLITS, TRAINING, DISTILLATION, "cpu")
    board.at, note = {}, board._after_evaluation
    monkeypatch.setattr(board, "_after_evaluation", lambda row: board.at.pop(row["step"], lambda: None)() or note(row))
    return board


@pytest.fixture(scope="module")
def whole():
    """The same run without a dashboard."""
    return dm.fit(Students(student(0), student(1)), SPLITS, TRAINING, DISTILLATION, device="cpu", progress=False)


def go(board):
    """Press Start or Continue, and wait until the run is held or over."""
    board._go.click()
    board.thread.join(60)
    assert not board.thread.is_alive()
    return board.phase, [row["step"] for row in board.rows]


def go_back(board, step):
    board._evaluation.value = step
    board._back.click()


def assert_equal(run, other):
    """The same history but for times, and the same weights of both students, bit for bit."""
    timed = ("seconds", "images_per_second")
    histories = [[{k: v for k, v in row.items() if k not in timed} for row in one.history] for one in (run, other)]
    assert repr(histories[0]) == repr(histories[1]) and run.best_step == other.best_step
    for student, other_student in ((run.main, other.main), (run.auxiliary, other.auxiliary)):
        state = other_student.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in student.state_dict().items())


def test_a_whole_run_equals_fit_and_so_does_going_on_after_a_step_back(board, whole):
    assert board.phase == "ready" and board.run is None and "nothing is trained yet" in board._status.value
    assert [b.disabled for b in (board._go, board._stop, board._evaluation, board._back)] == [False, True, True, True]
    assert go(board)[0] == "ended" and board._go.disabled and board._stop.disabled
    assert_equal(board.run, whole)
    assert board._view.value == as_html(figures.history(board.run))
    assert "ended: step 12 of 12, validation accuracy: main" in board._status.value
    assert [value for _, value in board._evaluation.options] == [0, 3, 6, 9]
    go_back(board, 3)
    assert board.phase == "paused" and board.run is None and "paused: step 3 of 12" in board._status.value
    assert go(board) == ("ended", [0, 3, 6, 9, 12])
    assert_equal(board.run, whole)


def test_pause_stops_progress_and_continue_goes_on_bit_for_bit(board, whole):
    board.at[3] = board._go.click
    assert go(board) == ("paused", [0, 3]) and board.run is None and board._go.description == "Continue"
    assert go(board)[0] == "ended"
    assert_equal(board.run, whole)


def test_stop_early_keeps_the_best_student_and_the_history(board, whole):
    board.at[6] = board._stop.click
    assert go(board) == ("stopped", [0, 3, 6]) and board._go.disabled
    assert repr([row["loss"] for row in board.run.history]) == repr([row["loss"] for row in whole.history[:3]])
    best = max(board.run.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    right = dm.predict(board.run.main, SPLITS.val).argmax(1) == SPLITS.val.labels
    assert board.run.best_step == best["step"] and right.mean() == best["val_accuracy"]
    go_back(board, 0)
    go(board)
    assert_equal(board.run, whole)  # a start anew


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_other_errors_are_told_and_raised(board, monkeypatch):
    raised = []
    monkeypatch.setattr(threading, "excepthook", lambda hooked: raised.append(hooked.exc_value))

    def fail():
        raise RuntimeError("a bug")

    board.at[3] = fail
    assert go(board) == ("paused", [0]) and [str(error) for error in raised] == ["a bug"]
    assert "a bug" in board._status.value and 'alt="Loss, validation accuracy' in board._view.value


def test_a_run_without_auxiliary_and_what_fit_refuses():
    alone = dm.Distillation(strategy="none", auxiliary_update="frozen")
    short = replace(TRAINING, steps=2, evaluations=1)
    board = dm.widgets.training_dashboard(Students(student(0)), SPLITS, short, alone, device="cpu")
    assert go(board)[0] == "ended" and "auxiliary" not in board._status.value
    large = replace(TRAINING, batch_size=100)
    board = dm.widgets.training_dashboard(Students(student(0)), SPLITS, large, alone, device="cpu")
    assert go(board) == ("ready", []) and not board._go.disabled
    assert 'role="alert"' in board._status.value and "batch_size=100 is larger than" in board._status.value
