"""The dashboard of a training run: start, pause, stop early, step back."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets

from dmws_lite.data.sets import Splits
from dmws_lite.method.distillation import Distillation
from dmws_lite.method.students import Students
from dmws_lite.training.fit import Run, fit, load_run
from dmws_lite.training.settings import Training
from dmws_lite.views.training import history
from dmws_lite.views.widgets.parts import alert, as_html, choice, page


class Dashboard(ipywidgets.VBox):
    """Train under your hands: Start, Pause and Continue, Stop early, and Step back to an earlier evaluation.

    Arguments as in `fit`. Pause and Stop act at the next evaluation; on a CPU a run that was paused or stepped back
    goes on bit for bit. Other cells can run meanwhile, but those that draw random numbers with torch, as training does,
    would change the run. The static twin is `figures.history(run)`.

    run:    what `fit` returned, once the run has ended or was stopped; else None.
    rows:   the history so far.
    phase:  "ready", "running", "paused", "stopped" or "ended".
    thread: the one that trains while the phase is "running". Between two such spells the run lives in a checkpoint.
    """

    def __init__(
        self,
        students: Students,
        splits: Splits,
        training: Training = Training(),
        distillation: Distillation = Distillation(),
        device: str | None = None,
    ) -> None:
        self.run: Run | None = None
        self.rows: list[dict[str, float]] = []
        self.thread: threading.Thread | None = None
        self._arguments, self._device = (students, splits, training, distillation), device
        self._next_phase = ""  # the one that a button asked for
        self._last_run: Run | None = None  # the run at its last pause
        self._folder = tempfile.TemporaryDirectory(prefix="dmws-dashboard-")
        self._go = _button("Start", "train; pause at the next evaluation; go on", self._press_go)
        self._go.button_style = "primary"
        self._stop = _button("Stop early", "end at the next evaluation, keep the best so far", self._press_stop)
        self._back = _button("Step back", "to an evaluation's students, forget what followed", self._press_back)
        self._evaluation = choice("evaluation", [])
        self._status, self._view = ipywidgets.HTML(), ipywidgets.HTML()
        super().__init__(page([self._go, self._stop, self._evaluation, self._back], self._status, self._view))
        self._enter("ready")

    def _press_go(self) -> None:
        if self.phase == "running":
            self._next_phase = "paused"
            self._say("pausing at the next evaluation")
            return
        self._next_phase, self._last_run = "", None
        self.thread = threading.Thread(target=self._train, daemon=True)
        self._enter("running")
        self.thread.start()

    def _press_stop(self) -> None:
        if self.phase == "running":
            self._next_phase = "stopped"
            self._say("stopping at the next evaluation")
        else:
            self.run = self._last_run
            self._enter("stopped")

    def _press_back(self) -> None:
        step = self._evaluation.value
        shutil.copy(self._checkpoint(step), self._checkpoint())
        self.rows = [row for row in self.rows if row["step"] <= step]
        self.run, self._last_run = None, load_run(self._checkpoint(step), *self._arguments)
        self._draw()
        self._enter("paused")

    def _train(self) -> None:
        """Train from the checkpoint, or from the start, until the end or a press; runs in the thread."""
        options: dict[str, Any] = {"checkpoint": self._checkpoint(), "device": self._device, "progress": False}
        try:
            self._last_run = fit(*self._arguments, on_evaluation=self._after_evaluation, **options)
        except Exception as error:
            self._enter("paused" if self.rows else "ready")
            self._status.value = alert(error)
            if not isinstance(error, ValueError | FloatingPointError | OSError):
                raise
            return
        phase = "ended" if self.rows[-1]["step"] == self._arguments[2].steps else self._next_phase
        self.run = None if phase == "paused" else self._last_run
        self._enter(phase)

    def _after_evaluation(self, row: dict[str, float]) -> bool:
        self.rows = [*self.rows, row]
        shutil.copy(self._checkpoint(), self._checkpoint(row["step"]))
        self._draw()
        self._say(self._next_phase or "running")
        return bool(self._next_phase)

    def _checkpoint(self, step: float | None = None) -> Path:
        """The run's file, or its copy at an evaluation."""
        return Path(self._folder.name, "run.safetensors" if step is None else f"step_{step}.safetensors")

    def _enter(self, phase: str) -> None:
        self.phase = phase
        running, over = phase == "running", phase in ("stopped", "ended")
        self._go.description = "Pause" if running else "Continue" if self.rows else "Start"
        self._go.disabled = over
        self._stop.disabled = not running and (over or self._last_run is None)
        earlier = [row["step"] for row in self.rows[:-1]]
        self._evaluation.options = [(f"step {step}", step) for step in earlier]
        self._evaluation.disabled = self._back.disabled = running or not earlier
        if earlier:
            self._evaluation.value = earlier[-1]
        self._say(phase)

    def _say(self, words: str) -> None:
        students, _, training, _ = self._arguments
        if self.rows:
            row = self.rows[-1]
            words += f": step {row['step']} of {training.steps}, validation accuracy: main {row['val_accuracy']:.3f}"
            words += f", auxiliary {row['auxiliary_accuracy']:.3f}" if students.auxiliary is not None else ""
        else:
            words += ": nothing is trained yet" + (". Press Start" if self.phase == "ready" else "")
        self._status.value = f'<p role="status" aria-live="polite">{escape(words)}</p>'

    def _draw(self) -> None:
        students = self._arguments[0]
        best = max(self.rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
        self._view.value = as_html(history(Run(students.main, students.auxiliary, self.rows, int(best["step"]))))


def _button(text: str, tooltip: str, press: Callable[[], None]) -> ipywidgets.Button:
    button = ipywidgets.Button(description=text, tooltip=tooltip, layout=ipywidgets.Layout(width="9em"))
    button.on_click(lambda _: press())
    return button
