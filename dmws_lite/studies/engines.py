"""Running a study: what its store lacks is made, on this machine's cores ("local") or on a Ray cluster ("ray").

An engine takes jobs one by one and yields their outcomes as they are ready.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import FileLock

from dmws_lite.runtime.progress import tqdm
from dmws_lite.runtime.text import plain, require
from dmws_lite.studies import run
from dmws_lite.studies.run import Job, Outcome
from dmws_lite.studies.store import Store
from dmws_lite.studies.study import Study, read_study

SHORT = 20.0  # seconds of work that are not worth the start of other processes, each of which imports torch
RETRIES = 3  # by Ray, of a run whose worker or node died
CANCELS = 5  # times that a run is asked to stop
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": "1"}  # Ray's: no telemetry, one retry
OPTIONS = {"local": ("workers",), "ray": ("cpus", "gpus", "address")}  # of `run_study`, by engine
PROBE = 8  # steps of a probe, the second half of which is timed


def run_study(
    study: Study | str | Path, folder: str | Path, engine: str = "local", progress: bool = True, **options: Any
) -> Store:
    """Make the runs of a study that the store in `folder` does not have; run again, and only what is missing is made.

    folder: of the run store; made when it is not there. Several processes may work on one store at once.
    engine: "local", with the option workers, the number of processes (by default one per core; this one alone on a
            GPU, and where there is little to do); or "ray", with cpus, gpus (per run, may be fractions) and address.
            What a notebook adds to INITIALIZERS or STRATEGIES is known to its own process only: pass workers=1.
    Returns the Store. A run that fails is recorded with its error, and the rest goes on: see `store.failures()`.
    Raises ValueError for an unknown engine and for a study that cannot be run, before anything is trained.

    >>> run_study("smoke", "outputs/studies/smoke").table()  # doctest: +SKIP
    """
    require("engine", engine, ENGINES)
    for option in options:
        require(f"option of engine={engine!r}", option, OPTIONS[engine])
    study = study if isinstance(study, Study) else read_study(study)
    if engine == "ray" and study.device == "cuda" and not options.get("gpus"):
        raise ValueError(f"study {study.name!r} is for a GPU: pass gpus=1, or a fraction to let runs share one")
    jobs = run.plan_jobs(study, "cuda" if options.get("gpus") else None)
    store, titles = Store(folder, create=True), {job.key: job.title for job in jobs}
    store.begin(study, jobs)
    missing = [job for job in jobs if job.key not in store]
    stored = len(jobs) - len(missing)
    if engine == "local":
        options["workers"] = options.get("workers") or _choose_workers(missing)
    if progress:
        print(f"{study.name}: {len(jobs)} runs, {stored} of them stored in {store.folder}")
    bar = tqdm(desc="runs", unit="run", total=len(jobs), initial=stored, disable=not progress)
    locks: dict[str, FileLock] = {}
    outcomes: Any = ENGINES[engine](_claim_jobs(missing, store, locks, bar), **options)
    try:
        with bar, closing(outcomes):
            for outcome in outcomes:
                store.add(outcome)
                locks.pop(outcome.key).release()
                bar.update()
                if progress and not outcome.done:
                    bar.write(plain(f"failed: {titles[outcome.key]}: {outcome.record['error']['message']}"))
    except KeyboardInterrupt:
        done = sum(job.key in store for job in jobs)
        print(f"stopped: {done} of {len(jobs)} runs are stored in {store.folder}; run again to make the rest")
        raise
    finally:
        for lock in locks.values():
            lock.release()
    return store


def _claim_jobs(jobs: Sequence[Job], store: Store, locks: dict[str, FileLock], bar: tqdm) -> Iterator[Job]:
    """The jobs that no other process makes or has just made, each claimed when it is asked for."""
    for job in jobs:
        lock = store.claim(job.key)
        if lock and job.key in store:
            lock.release()
        elif lock:
            locks[job.key] = lock
            bar.set_postfix_str(job.title)
            yield job


def _choose_workers(jobs: Sequence[Job]) -> int:
    """One process per core, or one in all: on a GPU, and where these runs are short even with the smallest networks."""
    from joblib import cpu_count

    images = sum(job.training.steps * job.training.batch_size * (job.study.size / 64) ** 2 for job in jobs)
    if not jobs or jobs[0].device != "cpu" or images / 1000 + len(jobs) / 2 < SHORT:
        return 1
    return max(1, min(len(jobs), cpu_count() // jobs[0].study.threads))


def estimate(jobs: Sequence[Job]) -> str:
    """A sentence: how long these runs take, from a probe of a few steps of each method and pair."""
    kinds, seconds = Counter((job.pair.title, job.name) for job in jobs), 0.0
    examples = {(job.pair.title, job.name): job for job in reversed(jobs)}
    for kind, job in tqdm(examples.items(), desc="probes", unit="run", leave=False):
        began = time.perf_counter()
        training = job.method.training | {"steps": PROBE, "evaluations": 2}
        methods = {job.name: replace(job.method, training=training)}
        outcome = run.execute(replace(job, study=job.study.model_copy(update={"resolved": methods})))
        if not outcome.done:
            raise RuntimeError(f"the probe of {job.title} failed: {outcome.record['error']['message']}")
        per_step = outcome.history["seconds"].iloc[-1] / (PROBE / 2)
        seconds += kinds[kind] * (time.perf_counter() - began + per_step * (job.training.steps - PROBE))
    workers = _choose_workers(jobs)
    hours = seconds / 3600 / workers
    duration = f"{hours:.1f} h" if hours >= 2 else f"{60 * hours:.0f} min"
    return f"{len(jobs)} runs, from probes of {PROBE} steps: about {duration} on this machine, {workers} at a time"


def local(jobs: Iterable[Job], workers: int = 1) -> Iterator[Outcome]:
    """Runs one after the other in this process, or in several at once; each outcome before the next job is taken."""
    if workers == 1:
        yield from map(run.execute, jobs)
        return
    from joblib.externals.loky import ProcessPoolExecutor  # the standard one would run a user's script again

    quiet: Any = {"initializer": warnings.simplefilter, "initargs": ("ignore",)}  # planning has warned of the data
    jobs, pool = iter(jobs), ProcessPoolExecutor(workers, **quiet)
    try:
        pending = {pool.submit(run.execute, job) for job in islice(jobs, workers)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
            pending |= {pool.submit(run.execute, job) for job in islice(jobs, workers - len(pending))}
    except BrokenProcessPool as error:
        raise RuntimeError("a process died, perhaps out of memory: run again with fewer workers") from error
    finally:
        pool.shutdown(kill_workers=True)


def ray_cluster(
    jobs: Iterable[Job],
    cpus: float = 1,
    gpus: float = 0.0,
    address: str | None = None,
    execute: Callable[[Job], Outcome] | None = None,
) -> Iterator[Outcome]:
    """Runs as tasks of Ray on the GPUs and machines of a cluster; an outcome comes as soon as its run ends.

    cpus, gpus: that Ray reserves for a run: 0.25 GPUs let four runs share one.
    address:    of a running cluster; None is RAY_ADDRESS, or else a cluster of this machine that ends with the run.
    No shared disk is needed, but each machine needs this package and the data.
    """
    try:
        import ray
    except ImportError:
        raise ImportError("engine 'ray' needs Ray: pip install 'dmws-lite[ray]', or use engine 'local'") from None
    if not cpus > 0 or gpus < 0:
        raise ValueError(f"cpus={cpus}, gpus={gpus}: pass cpus above 0, and gpus of 0 or above")
    jobs, was_connected = iter(jobs), ray.is_initialized()
    pending: dict[Any, Job] = {}
    try:
        if not was_connected:
            _connect(ray, address or os.environ.get("RAY_ADDRESS") or "local")
        if not _count_slots(ray, cpus, gpus):
            needs = f"a run needs {cpus:g} CPU and {gpus:g} GPU, and no machine of the cluster has that"
            raise ValueError(f"{needs}: ask for less, or join another cluster")
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, max_calls=0)(execute or run.execute)
        while True:
            free_slots = max(0, _count_slots(ray, cpus, gpus) + 1 - len(pending))  # machines come and go
            pending |= {task.remote(job): job for job in islice(jobs, free_slots)}
            if not pending:
                return
            for reference in ray.wait(list(pending), timeout=2.0)[0]:
                yield _fetch_outcome(ray, reference, pending.pop(reference))
    finally:
        if ray.is_initialized():
            _cancel(ray, list(pending))
        if not was_connected:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Join the cluster at `address`, or start one of our own ("local")."""
    os.environ |= {name: value for name, value in ENVIRONMENT.items() if name not in os.environ}
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **options)
    except ConnectionError as error:
        raise RuntimeError(f"no Ray cluster answers at {address!r}: check it, or use engine 'local'") from error


def _count_slots(ray: Any, cpus: float, gpus: float) -> int:
    """How many runs fit into the cluster at once."""
    needs = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(int(min(machine.get(kind, 0) / need for kind, need in needs.items()) + 1e-9) for machine in machines)


def _cancel(ray: Any, references: list[Any]) -> None:
    """Stop these runs; asked again, as Ray forgets to stop one that is on its way to a worker."""
    for _ in range(CANCELS):
        for reference in references:
            ray.cancel(reference, force=True)
        if not references:
            return
        references = ray.wait(references, num_returns=len(references), timeout=2.0)[1]


def _fetch_outcome(ray: Any, reference: Any, job: Job) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        error.cause.__cause__ = error  # which has the worker's traceback
        return run.failed_outcome(job, error.cause)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().split("\n")[0]
        return run.failed_outcome(job, RuntimeError(f"Ray gave this run up ({type(error).__name__}): {reason}"))


ENGINES: dict[str, Callable[..., Iterator[Outcome]]] = {"local": local, "ray": ray_cluster}
