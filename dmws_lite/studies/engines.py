"""Engines: where the runs of a study are executed. Both take jobs one by one and give outcomes as they are ready."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dmws_lite.studies.jobs import Job
    from dmws_lite.studies.run import Outcome

RETRIES = 3  # of a run whose worker or node died
PATIENCE = 60.0  # seconds without a node that could take a run, after which we give up
ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_task_oom_retries": "1"}  # Ray's own: no word home; not for ever


def local(jobs: Iterable[Job], execute: Callable[[Job], Outcome] | None = None) -> Iterator[Outcome]:
    """Runs one after the other in this process; an outcome before the next job is taken.

    execute: what makes an Outcome of a Job; None is run.execute.
    """
    execute = execute or _execute()
    for job in jobs:
        yield execute(job)


def ray_cluster(
    jobs: Iterable[Job],
    cpus: float = 1,
    gpus: float = 0.0,
    address: str | None = None,
    execute: Callable[[Job], Outcome] | None = None,
) -> Iterator[Outcome]:
    """Runs as tasks of Ray on the GPUs and machines of a cluster; outcomes come as they end, each job's once.

    jobs:    taken from the iterator when there is room for them, at most two more than can run at once.
    cpus:    CPUs that Ray reserves for a run. How many threads it uses is the job's own affair.
    gpus:    GPUs for a run: 0.25 lets four runs share one, 0 hides them. Above 1 it must be a whole number.
    address: of a running cluster; None is the environment's RAY_ADDRESS, or else a cluster on this machine, which ends
             with the engine. Where Ray is running in this process already, that is used and left running.
    execute: what makes an Outcome of a Job; None is run.execute.
    A run whose worker or node died is tried again, up to 3 times; what Ray gives up, and what raises in spite of
    execute, is a failed Outcome. Closing the generator, or Ctrl-C, cancels the runs under way.
    Outcomes travel through Ray: no shared disk is needed, but each machine needs this package and the data.
    Raises ImportError without Ray, ValueError for a share of GPUs that Ray does not know and when no machine of the
    cluster can take a run, RuntimeError when there is none any more for a minute.

    >>> list(ray_cluster(jobs, gpus=0.25))  # doctest: +SKIP
    """
    ray = _ray()
    if not cpus > 0:
        raise ValueError(f"cpus={cpus} must be above 0: the number of CPUs that Ray reserves for a run")
    if gpus < 0 or (gpus > 1 and gpus != int(gpus)):
        raise ValueError(f"gpus={gpus} must be 0 to 1 (0.25 lets four runs share a GPU), or a whole number")
    with _connected(ray, address):
        if not _slots(ray.nodes(), cpus, gpus):
            raise ValueError(
                f"a run needs {_text(cpus, gpus)}, and no machine of the cluster has that "
                f"({_found(ray.nodes())}): ask for less, or join another cluster"
            )
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=RETRIES, max_calls=0)(execute or _execute())
        yield from _tasks(ray, task, iter(jobs), cpus, gpus)


def _tasks(ray: Any, task: Any, jobs: Iterator[Job], cpus: float, gpus: float) -> Iterator[Outcome]:
    pending: dict[Any, Job] = {}
    seen, job = time.monotonic(), next(jobs, None)
    try:
        while job is not None or pending:
            slots = _slots(ray.nodes(), cpus, gpus)
            if slots:
                seen = time.monotonic()
            elif time.monotonic() - seen > PATIENCE:
                raise RuntimeError(
                    f"a run needs {_text(cpus, gpus)}, and for {PATIENCE:.0f} s no machine of the cluster had that "
                    f"({_found(ray.nodes())}): {len(pending)} runs were given up; start again to make what is missing"
                )
            while job is not None and slots and len(pending) <= slots:
                pending[task.remote(job)] = job
                job = next(jobs, None)
            if not pending:
                time.sleep(1)
                continue
            for reference in ray.wait(list(pending), timeout=2.0)[0]:
                outcome = _outcome(ray, reference, pending[reference])
                del pending[reference]
                yield outcome
    finally:
        for reference in pending if ray.is_initialized() else ():
            ray.cancel(reference, force=True)


def _outcome(ray: Any, reference: Any, job: Job) -> Outcome:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        why = error.cause
        why.__cause__ = error  # which has the worker's traceback
    except ray.exceptions.RayError as error:
        reason = str(error).strip().split("\n")[0]
        why = RuntimeError(f"Ray gave this run up ({type(error).__name__}): {reason}")
        why.__cause__ = error
    from dmws_lite.studies.run import failed

    return failed(job, why)


def _slots(nodes: list[dict[str, Any]], cpus: float, gpus: float) -> int:
    """How many runs fit into the cluster at once; a share of a GPU must fit into one GPU."""
    return sum(
        min(
            math.floor(node["Resources"].get("CPU", 0) / cpus),
            _shares(node["Resources"].get("GPU", 0), gpus) if gpus else math.inf,
        )
        for node in nodes
        if node["Alive"]
    )


def _shares(there: float, gpus: float) -> int:
    return int(there) * math.floor(1 / gpus + 1e-9) if gpus < 1 else math.floor(there / gpus)


def _text(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU" + (f" and {gpus:g} GPU" if gpus else "")


def _found(nodes: list[dict[str, Any]]) -> str:
    has = [_text(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in nodes if node["Alive"]]
    return "; ".join(has) or "no machine at all"


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Ray as it is in this process, or the cluster at `address`, or one of our own that ends with the block."""
    if ray.is_initialized():
        yield
        return
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options = {"include_dashboard": False} if address == "local" else {}
    try:
        _start(ray, address, options)
        yield
    finally:
        ray.shutdown()


def _start(ray: Any, address: str, options: dict[str, Any]) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **options)
    except Exception as error:  # Ray raises a bare one when its own processes are too slow to start
        text = "; ".join(str(error).split("\n")[:2])
        raise RuntimeError(
            f"Ray could not be started or joined at {address!r} ({text}): try again when the machine is less busy, "
            "check the address, or use engine 'local'"
        ) from error


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ImportError("engine 'ray' needs Ray: pip install 'dmws-lite[ray]', or use engine 'local'") from None
    return ray


def _execute() -> Callable[[Job], Outcome]:
    from dmws_lite.studies.run import execute

    return execute


ENGINES: dict[str, Callable[..., Iterator[Outcome]]] = {"local": local, "ray": ray_cluster}
