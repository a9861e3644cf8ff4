"""Running a study: what is missing in the store is made, by this process or by Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from filelock import FileLock

from dmws_lite.runtime.progress import tqdm
from dmws_lite.runtime.text import plain
from dmws_lite.studies.engines import ENGINES
from dmws_lite.studies.estimate import estimate
from dmws_lite.studies.jobs import Job, plan_jobs, tuned
from dmws_lite.studies.run import Outcome
from dmws_lite.studies.store import Store
from dmws_lite.studies.study import Study, read_study

TRIAL_SEED = 10_000  # of the tuning runs: none that a study is likely to use
WORTH_ESTIMATING = 5_000  # steps


def run_study(
    study: Study | str | Path,
    folder: str | Path,
    engine: str = "local",
    progress: bool = True,
    say: Callable[[str], None] = print,
    **options: Any,
) -> Store:
    """Make the runs of a study that the store in `folder` does not have; run again, and only what is missing is made.

    study:    a Study, or what read_study takes.
    folder:   of the run store; made when it is not there. Several processes may work on one store at once.
    engine:   "local" (this process), or "ray" with the options cpus, gpus (per run, may be fractions) and address.
    progress: show a bar, and a line as each run ends, through `say`.
    Returns the Store. A run that fails is recorded with its error, and the rest goes on: see `store.failures(name)`.
    Raises ValueError for an unknown engine and for a study that cannot be run, before anything is trained;
    KeyboardInterrupt is let through after what was finished has been kept.

    >>> run_study("smoke", "outputs/studies/smoke").table()  # doctest: +SKIP
    """
    _check_engine(engine, options)
    study = study if isinstance(study, Study) else read_study(study)
    if engine == "ray" and study.device == "cuda" and not options.get("gpus"):
        raise ValueError(f"study {study.name!r} is for a GPU: pass gpus=1, or a fraction to let runs share one")
    jobs = plan_jobs(study, "cuda" if options.get("gpus") else None)
    store = Store(folder, create=True)
    trials = plan_trials(study, jobs)
    store.begin(study, jobs, trials)
    missing = [job for job in (*trials, *jobs) if job.key not in store]
    if progress:
        say(f"{study.name}: {len(jobs)} runs, {sum(job.key in store for job in jobs)} of them stored in {store.folder}")
        if sum(job.training.steps for job in missing) >= WORTH_ESTIMATING:
            say(estimate(missing))

    def make(these: Sequence[Job], what: str) -> None:
        _make(these, store, lambda waiting: ENGINES[engine](waiting, **options), what, progress, say)

    if trials:
        make(trials, "trials")
        jobs = _with_chosen(study, jobs, store)
        store.begin(study, jobs, trials)
    make(jobs, "runs")
    return store


def _check_engine(engine: str, options: dict[str, Any]) -> None:
    if engine not in ENGINES:
        raise ValueError(f"unknown engine={engine!r}: choose one of {', '.join(ENGINES)}")
    if engine == "local" and options:
        raise ValueError(f"{', '.join(options)} is for engine='ray': leave it out, or pass engine='ray'")


def plan_trials(study: Study, jobs: Sequence[Job]) -> list[Job]:
    """The tuning runs of a study: each method's first seed replaced by TRIAL_SEED, with every combination of values."""
    if not study.tuning:
        return []
    values: list[dict[str, Any]] = [
        dict(zip(study.tuning, combination, strict=True)) for combination in product(*study.tuning.values())
    ]
    return [
        replace(job, seed=TRIAL_SEED, training=replace(job.training, **{"seed": TRIAL_SEED, **chosen}), trial=True)
        for job in jobs
        if job.seed == study.seeds[0]
        for chosen in values
    ]


def _with_chosen(study: Study, jobs: Sequence[Job], store: Store) -> list[Job]:
    """The runs with the hyper-parameters that their trials chose; as they were where all trials failed.

    Raises RuntimeError while another process makes one of the trials.
    """
    records = {record["key"]: record for record in store.records()}
    failed = {record["key"] for record in store.records(folder="failures")}
    chosen: dict[tuple, Job] = {}
    for job in (job for job in jobs if job.seed == study.seeds[0]):
        trials = plan_trials(study, [job])
        if left := [trial for trial in trials if trial.key not in records and trial.key not in failed]:
            raise RuntimeError(f"{left[0].title} is being made by another process: run again when that has ended")
        mine = [records[trial.key] for trial in trials if trial.key in records]
        chosen[_cell(job)] = tuned(job, mine) if mine else job
    return [replace(job, training=replace(chosen[_cell(job)].training, seed=job.seed)) for job in jobs]


def _cell(job: Job) -> tuple:
    return job.data.title, job.pair.title, job.fraction, job.method


def _make(
    jobs: Sequence[Job],
    store: Store,
    engine: Callable[[Iterable[Job]], Iterator[Outcome]],
    what: str,
    progress: bool,
    say: Callable[[str], None],
) -> None:
    """Let the engine make the jobs that are missing in the store and that no other process is making."""
    titles = {job.key: job.title for job in jobs}
    locks: dict[str, FileLock] = {}
    bar = tqdm(
        total=len(jobs), initial=sum(job.key in store for job in jobs), desc=what, unit="run", disable=not progress
    )
    try:
        with closing(engine(_claimed(jobs, store, locks, bar))) as outcomes:  # type: ignore[type-var]
            for outcome in outcomes:
                store.add(outcome)
                locks.pop(outcome.key).release()
                bar.update()
                if progress:
                    bar.clear()
                    say(_line(outcome, titles[outcome.key]))
    except KeyboardInterrupt:
        done = sum(job.key in store for job in jobs)
        say(f"stopped: {done} of {len(jobs)} {what} are stored in {store.folder}; run again to make the rest")
        raise
    finally:
        bar.close()
        for lock in locks.values():
            lock.release()


def _claimed(jobs: Sequence[Job], store: Store, locks: dict[str, FileLock], bar: tqdm) -> Iterator[Job]:
    """The jobs that are missing, each claimed when it is asked for; the bar shows how many are, and the last one."""
    for job in jobs:
        if job.key in store or (lock := store.claim(job.key)) is None:
            continue
        if job.key in store:  # another process has just finished it
            lock.release()
            continue
        locks[job.key] = lock
        bar.set_postfix_str(f"{len(locks)} running: {job.title}")
        yield job


def _line(outcome: Outcome, title: str) -> str:
    record = outcome.record
    if not outcome.done:
        return plain(f"failed  {title}: {record['error']['type']}: {record['error']['message']}")
    test = f"test accuracy {record['metrics']['main']['accuracy']:.3f}, " if record["metrics"] else ""
    return plain(f"done  {title}: {test}validation {record['val_accuracy']:.3f}, {record['seconds']:.0f} s")
