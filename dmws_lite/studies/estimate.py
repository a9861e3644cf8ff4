"""How long a study will take, from a short measured probe of each method."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from dmws_lite.runtime.progress import tqdm
from dmws_lite.studies.jobs import Job
from dmws_lite.studies.run import execute

STEPS = 4  # of a probe, after as many that warm up


def estimate(jobs: Sequence[Job]) -> str:
    """A sentence: how long these runs take one after the other on this machine, from a probe of each method and pair.

    A probe trains a few steps on the pair's first data set; steps and evaluations are scaled to the whole run.
    """
    known: dict[tuple, float] = {}
    bar = tqdm(jobs, desc="estimating", unit="run", leave=False)
    hours = sum(_seconds(job, known) for job in bar) / 3600
    text = f"{hours:.1f} h" if hours >= 2 else f"{60 * hours:.0f} min"
    unit = "GPU time" if jobs[0].device == "cuda" else f"time on this machine's {jobs[0].device}"
    return f"{len(jobs)} runs, estimated from probes of {2 * STEPS} steps: about {text} of {unit}, one after the other"


def _seconds(job: Job, known: dict[tuple, float]) -> float:
    """Seconds that a run takes, from its pair's and method's probe."""
    what = (job.pair.title, job.method, job.size, job.training.batch_size)
    if what not in known:
        known[what] = _probe(job)
    return known[what]


def _probe(job: Job) -> float:
    """Seconds of a run, from one of a few steps with two evaluations, the second half of which counts."""
    short = replace(job, training=replace(job.training, steps=2 * STEPS, evaluations=2))
    began = time.perf_counter()
    outcome = execute(short)
    wall = time.perf_counter() - began
    if not outcome.done:  # the run itself will say why
        return 0.0
    history = outcome.history
    per_step = history["seconds"].iloc[-1] / STEPS
    other = wall - history["seconds"].sum()  # data, weights, cost measuring, three evaluations and the test images
    images = outcome.record["images"]
    evaluation = other * images["val"] / (3 * images["val"] + images["test"])
    return job.training.steps * per_step + other + (job.training.evaluations - 2) * evaluation
