"""How long a study will take, from a short measured probe of each method."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from dmws_lite.runtime.progress import tqdm
from dmws_lite.studies.jobs import Job
from dmws_lite.studies.run import execute

STEPS = 4  # of a probe, after as many that warm up


def estimate(jobs: Sequence[Job]) -> str:
    """A sentence: how long these runs take one after the other on this machine, from a probe of each method and pair.

    A probe trains a few steps on the pair's first data set; steps and evaluations are scaled to the whole run. For
    classic distillation the teacher's fine-tuning is counted in every run, though runs that follow each other share it.
    """
    known: dict[tuple, float] = {}
    seconds = [_seconds(job, known) for job in tqdm(jobs, desc="estimating", unit="run", leave=False)]
    hours = sum(s for s in seconds if not math.isnan(s)) / 3600
    text = f"about {hours:.1f} h" if hours >= 2 else f"about {60 * hours:.0f} min"
    unit = "GPU time" if jobs[0].device == "cuda" else f"time on this machine's {jobs[0].device}"
    unknown = sum(math.isnan(s) for s in seconds)
    rest = f"; unknown for {unknown} of them, whose probes failed" if unknown else ""
    return f"{len(jobs)} runs, from probes of {2 * STEPS} steps: {text} of {unit}, one after the other{rest}"


def _seconds(job: Job, known: dict[tuple, float]) -> float:
    """Seconds that a run takes, from its pair's and method's probe."""
    what = (job.pair.title, job.method, job.size, job.training.batch_size)
    if what not in known:
        known[what] = _probe(job)
    return known[what]


def _probe(job: Job) -> float:
    """Seconds of a run, from one of a few steps whose second half counts; nan if it fails."""
    short = replace(job, training=replace(job.training, steps=2 * STEPS, evaluations=2))
    began = time.perf_counter()
    outcome = execute(short)
    wall = time.perf_counter() - began
    if not outcome.done:
        return math.nan
    history, teacher = outcome.history, outcome.record["teacher_seconds"]
    steps = history["seconds"].iloc[-1] / STEPS * job.training.steps + teacher / (2 * STEPS) * job.training.steps
    other = wall - history["seconds"].sum() - teacher  # data, weights, costs, three evaluations and the test images
    images = outcome.record["images"]
    evaluation = other * images["val"] / (3 * images["val"] + images["test"])
    return steps + other + (job.training.evaluations - 2) * evaluation
