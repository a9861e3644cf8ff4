import time
from dataclasses import replace

import pandas as pd
import pytest

from dmws_lite.studies import estimate as module
from dmws_lite.studies.estimate import STEPS, estimate
from dmws_lite.studies.jobs import plan_jobs
from dmws_lite.studies.run import Outcome
from dmws_lite.training.settings import Training


@pytest.fixture
def jobs(tiny):
    long = Training(steps=1000, batch_size=8, evaluations=12)
    return [replace(job, training=long) for job in plan_jobs(tiny())]


def test_steps_and_evaluations_are_scaled_to_the_run(jobs, monkeypatch):
    """Steps of 0.5 s, and an evaluation of 10 s beside 70 s of everything else in each probe."""
    probed = []

    def execute(job):
        probed.append(job)
        history = pd.DataFrame({"seconds": [0.0, STEPS * 0.9, STEPS * 0.5]})
        record = {"status": "done", "images": {"val": 100, "test": 400}, "teacher_seconds": 0.0}
        clock.now += history["seconds"].sum() + 70
        return Outcome(record, history, pd.DataFrame())

    class clock:
        now = 0.0

    monkeypatch.setattr(module, "execute", execute)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    text = estimate(jobs)
    one = 1000 * 0.5 + 70 + 10 * (70 * 100 / 700)
    assert len(probed) == 3 and {job.training.steps for job in probed} == {2 * STEPS}
    assert text.startswith("6 runs") and f"about {6 * one / 60:.0f} min" in text


def test_a_probe_that_fails_is_said(jobs, monkeypatch):
    record = {"status": "failed", "error": {"message": "no"}}
    monkeypatch.setattr(module, "execute", lambda job: Outcome(record, pd.DataFrame(), pd.DataFrame()))
    assert "unknown for 6 of them, whose probes failed" in estimate(jobs)


def test_it_is_about_right_for_a_real_run(tiny):
    (job,) = plan_jobs(tiny(seeds=1, methods=["weight_selection"], training={"steps": 150, "batch_size": 8}))
    module.execute(job)  # warms up
    began = time.perf_counter()
    module.execute(job)
    real, guess = time.perf_counter() - began, module._probe(job)
    assert real / 4 < guess < 4 * real
