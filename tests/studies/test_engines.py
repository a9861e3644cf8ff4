"""Both engines; the Ray one on a cluster of two nodes, one of which is killed while runs are under way."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing, suppress
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

import dmws_lite as dm
from dmws_lite.studies import engines, run
from dmws_lite.studies.engines import local, ray_cluster
from dmws_lite.studies.jobs import Job, plan_jobs
from dmws_lite.studies.methods import METHODS
from dmws_lite.studies.running import run_study
from dmws_lite.studies.study import Data, Pair, Study

SMALL = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False, "include_log_monitor": False}


def a_job() -> Job:
    settings = (dm.Training(), dm.Distillation(strategy="none"))
    method = ("default", METHODS["default"], 0)
    return Job(
        Data(source="nowhere"), "0" * 16, Pair(), "1" * 16, 0.1, *method, *settings, size=64, threads=1, device="cpu"
    )


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one CPU each, with this process joined to them; in a folder of their own."""
    ray = pytest.importorskip("ray", reason="the engine 'ray' is an extra: pip install 'dmws-lite[ray]'")
    from ray.cluster_utils import Cluster

    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: socket paths have at most 107 bytes
    nodes, started = Cluster(), []
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**engines.ENVIRONMENT, "RAY_TMPDIR": folder, "RAY_worker_niceness": "0"}.items():
            patch.setenv(name, value)
        try:
            nodes.add_node(**SMALL, no_monitor=True)
            nodes.doomed = nodes.add_node(**SMALL)
            started += psutil.Process().children(recursive=True)
            ray.init(address=nodes.address, log_to_driver=False, logging_level="error")
            yield nodes
        finally:
            ray.shutdown()
            nodes.shutdown()
            for helper in started:  # those of the node that is killed would live on for a while
                with suppress(psutil.NoSuchProcess):
                    helper.kill()
            shutil.rmtree(folder, ignore_errors=True)


def wait_for(what, seconds: float = 40.0) -> bool:
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.05)
    return what()


def free_cpus() -> float:
    import ray

    return ray.available_resources().get("CPU", 0)


def test_the_local_engine_makes_one_run_after_the_other_and_takes_no_job_early():
    said: list[str] = []

    def jobs():
        for name in "abc":
            said.append(f"take {name}")
            yield name

    for outcome in local(jobs(), execute=str.upper):
        said.append(f"keep {outcome}")
    assert said == ["take a", "keep A", "take b", "keep B", "take c", "keep C"]


def test_without_ray_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"engine 'ray' needs Ray: pip install 'dmws-lite\[ray\]', or use engine 'l"):
        next(ray_cluster(range(1)))


@pytest.mark.parametrize(
    ("options", "text"),
    [({"cpus": 0}, "cpus=0 must be above 0"), ({"gpus": -1}, "gpus=-1"), ({"gpus": 1.5}, "gpus=1.5 must be 0 to 1")],
)
def test_shares_that_ray_does_not_know_are_refused(monkeypatch, options, text):
    monkeypatch.setattr(engines, "_ray", lambda: None)
    with pytest.raises(ValueError, match=text):
        next(ray_cluster(range(1), **options))


def test_without_a_cluster_a_quiet_one_is_started_and_ended(monkeypatch):
    said = []
    fake = SimpleNamespace(
        is_initialized=lambda: False,
        init=lambda **options: said.append(options),
        shutdown=lambda: said.append("shutdown"),
        nodes=lambda: [],
    )
    monkeypatch.setattr(engines, "_ray", lambda: fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for name in engines.ENVIRONMENT:
        monkeypatch.setenv(name, "")
    with pytest.raises(ValueError, match="no machine at all"):
        next(ray_cluster(range(1)))
    quiet = {"log_to_driver": False, "logging_level": "error"}
    assert said == [{"address": "local", "include_dashboard": False, **quiet}, "shutdown"]
    with pytest.raises(ValueError, match="no machine at all"):
        next(ray_cluster(range(1), address="10.0.0.1:6379"))
    assert said[2:] == [{"address": "10.0.0.1:6379", **quiet}, "shutdown"]


@pytest.mark.parametrize(
    ("cpus", "gpus", "slots"),
    [(1, 0, 12), (3, 0, 3), (0.5, 0, 24), (1, 1, 2), (1, 0.25, 8), (1, 0.3, 6), (1, 0.1, 8), (1, 2, 1), (1, 4, 0)],
)
def test_slots_are_counted_machine_by_machine_and_gpu_by_gpu(cpus, gpus, slots):
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 4.0}},
        {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}},
    ]
    assert engines._slots(nodes, cpus, gpus) == slots


def test_jobs_are_taken_when_there_is_room_and_outcomes_come_as_they_end(cluster, tmp_path):
    taken = []

    def jobs():
        for job in range(6):
            taken.append(job)
            yield job

    def execute(job):
        while job == 0 and not (tmp_path / "go").exists():
            time.sleep(0.05)
        return job

    order, most = [], 0
    for outcome in ray_cluster(jobs(), execute=execute):
        order.append(outcome)
        most = max(most, len(taken) - len(order))
        if len(order) == 5:
            (tmp_path / "go").touch()
    assert order[-1] == 0 and sorted(order) == list(range(6))  # the first was the last to end, and kept nobody waiting
    assert most <= 3  # besides the one just given: two slots, one that waits, and the next


def test_what_no_machine_has_is_said_at_once(cluster):
    with pytest.raises(ValueError, match=r"1 CPU and 0.5 GPU, and no machine of the cluster has that \(1 CPU; 1 CPU\)"):
        next(ray_cluster(range(1), gpus=0.5))
    with pytest.raises(ValueError, match="a run needs 2 CPU"):
        next(ray_cluster(range(1), cpus=2))


def test_closing_cancels_the_runs_under_way_and_leaves_ray_running(cluster, tmp_path):
    import ray

    def execute(job):
        if job:
            (tmp_path / f"{job}").touch()
            time.sleep(600)
        return job

    with closing(ray_cluster(range(5), execute=execute)) as outcomes:
        assert next(outcomes) == 0
        assert wait_for(lambda: any(tmp_path.iterdir()))
        assert free_cpus() < 2
    assert wait_for(lambda: free_cpus() == 2)
    assert ray.is_initialized()


def test_a_run_that_raises_or_takes_its_worker_down_is_a_failed_outcome_and_the_rest_goes_on(cluster, monkeypatch):
    monkeypatch.setattr(engines, "RETRIES", 1)
    monkeypatch.setattr(run, "failed", lambda job, error: (job, error))

    def execute(job):
        if job == 1:
            raise FileNotFoundError("no data here")
        if job == 2:
            os._exit(1)
        return job, "done"

    found = dict(ray_cluster(range(4), execute=execute))
    assert found.keys() == {0, 1, 2, 3} and found[0] == found[3] == "done"
    monkeypatch.undo()
    raised, died = (run.failed(a_job(), found[seed]).record["error"] for seed in (1, 2))
    assert raised["type"] == "FileNotFoundError" and raised["message"] == "no data here"
    assert "in execute" in raised["traceback"]
    assert died["message"].startswith("Ray gave this run up (WorkerCrashedError): ") and "\n" not in died["message"]


def test_when_every_machine_is_gone_we_give_up(cluster, monkeypatch):
    slots = iter([2, 2])
    monkeypatch.setattr(engines, "_slots", lambda *_: next(slots, 0))
    monkeypatch.setattr(engines, "PATIENCE", 0.5)
    with pytest.raises(RuntimeError, match=r"no machine of the cluster had that .* 3 runs were given up; start again"):
        list(ray_cluster(range(5), execute=lambda job: time.sleep(600)))
    assert wait_for(lambda: free_cpus() == 2)


def test_a_study_has_the_same_numbers_on_both_engines(cluster, tmp_path):
    study = Study(
        name="tiny",
        data=["phantom_lung_ct"],
        methods=["dual_skd"],
        reference="dual_skd",
        seeds=[0],
        fractions=[0.1],
        size=32,
        training={"steps": 4, "batch_size": 8, "evaluations": 2},
        threads=2,  # where Ray would have one: OMP_NUM_THREADS
        device="cpu",
    )
    jobs = plan_jobs(study)
    here, there = ({o.key: o for o in engine(jobs)} for engine in (local, ray_cluster))
    assert here.keys() == there.keys() == {job.key for job in jobs}
    timings = ["images_per_second", "seconds"]
    for key, outcome in here.items():
        other = there[key]
        assert outcome.done and other.done, (outcome.record["error"], other.record["error"])
        for part in ("metrics", "val_accuracy", "best_step", "config", "images", "classes"):
            assert outcome.record[part] == other.record[part], part
        for cost in ("flops_per_step", "step_memory_mb", "parameters"):
            assert outcome.record["cost"][cost] == other.record["cost"][cost]
        assert outcome.history.drop(columns=timings).equals(other.history.drop(columns=timings))
        a, b = (np.stack(o.predictions["probabilities"]) for o in (outcome, other))
        assert np.array_equal(a, b) and a.dtype == np.float32
        assert outcome.predictions.drop(columns="probabilities").equals(other.predictions.drop(columns="probabilities"))


def test_ctrl_c_cancels_the_runs_and_leaves_the_cluster_that_was_joined(cluster, tmp_path):
    program = """
import signal, sys, time
from pathlib import Path
from dmws_lite.studies.engines import ray_cluster

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C, and so its children
folder = sys.argv[1]

def execute(seed):
    if seed:
        Path(folder, str(seed)).touch()
    time.sleep(600 if seed else 0)
    return seed

try:
    for outcome in ray_cluster(iter(range(5)), execute=execute):
        print("outcome", outcome, flush=True)
except KeyboardInterrupt:
    import ray
    print("stopped", ray.is_initialized(), flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "outcome 0\n", process.stderr.read()
        assert wait_for(lambda: any(tmp_path.iterdir())) and free_cpus() < 2
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert out == "stopped False\n" and not errors, errors
        assert wait_for(lambda: free_cpus() == 2)
    finally:
        process.kill()
        process.wait()


def test_a_node_that_is_killed_costs_no_run_and_every_run_is_stored_once(cluster, tiny, tmp_path):
    study = tiny(seeds=4, methods=["default", "weight_selection"])
    keys, doomed, said = {job.key for job in plan_jobs(study)}, cluster.doomed.node_id, []
    begun = tmp_path / "begun"
    begun.mkdir()

    def execute(job):
        import ray

        from dmws_lite.studies import run

        node = ray.get_runtime_context().get_node_id()
        (begun / f"{job.key}_{node}").touch()
        if node == doomed:
            time.sleep(600)
        return run.execute(job)

    def say(line):
        if line.startswith("done") and not said:
            assert wait_for(lambda: any(begun.glob(f"*_{doomed}")))
            cluster.remove_node(cluster.doomed, allow_graceful=False)
        said.extend([line] * line.startswith("done"))

    store = run_study(study, tmp_path / "store", engine="ray", say=say, execute=execute)
    assert len(keys) == len(said) == len(set(said)) == 8
    assert sorted(record["key"] for record in store.records("tiny")) == sorted(keys) and store.failures().empty
    lost = {path.name.split("_")[0] for path in begun.glob(f"*_{doomed}")}
    assert lost and all(len(list(begun.glob(f"{key}_*"))) == 2 for key in lost)  # begun there, made here
