"""Running a study: resumed, interrupted, shared; and on a Ray cluster of two nodes, one of which is killed."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest

from dmws_lite.studies import engines, run
from dmws_lite.studies.engines import estimate, local, ray_cluster, run_study
from dmws_lite.studies.run import Outcome, plan_jobs
from dmws_lite.studies.store import Store

SMALL = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False, "include_log_monitor": False}


def wait_for(what, seconds: float = 40.0) -> bool:
    until = time.monotonic() + seconds
    while not what() and time.monotonic() < until:
        time.sleep(0.05)
    return what()


def test_only_what_is_missing_is_made(tiny, tmp_path, capsys):
    first = run_study(tiny(methods=["weight_selection"], seeds=1), tmp_path / "s", progress=False)
    before = {path: path.stat().st_mtime_ns for path in first.folder.glob("runs/*")}
    store = run_study(tiny(methods=["weight_selection"], seeds=2), tmp_path / "s")
    assert "2 runs, 1 of them stored" in capsys.readouterr().out
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())
    assert len(store.table()) == 2


def test_a_run_that_fails_is_recorded_and_the_rest_goes_on(tiny, tmp_path, monkeypatch, capsys):
    real = run.fit

    def breaks(students, *rest, **options):
        if students.initializer == "default":
            raise FloatingPointError("the loss is no longer finite")
        return real(students, *rest, **options)

    monkeypatch.setattr(run, "fit", breaks)
    store = run_study(tiny(seeds=1), tmp_path / "s")
    failures = store.failures()
    assert failures["method"].tolist() == ["default"] and failures["error"].tolist() == ["FloatingPointError"]
    assert set(store.table()["method"]) == {"weight_selection", "dual_skd"} and store.missing().empty
    assert "default · seed 0: the loss is no longer finite" in "".join(capsys.readouterr())
    (record,) = store.records(folder="failures")
    assert "in breaks" in record["error"]["traceback"]
    monkeypatch.undo()
    run_study(tiny(seeds=1), tmp_path / "s", progress=False)
    assert store.failures().empty and len(store.table()) == 3


def test_an_interrupt_keeps_what_is_done(tiny, tmp_path, monkeypatch, capsys):
    real, made = run.execute, []

    def second_is_stopped(job):
        made.append(job)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(job)

    monkeypatch.setattr(run, "execute", second_is_stopped)
    with pytest.raises(KeyboardInterrupt):
        run_study(tiny(), tmp_path / "s")
    store = Store(tmp_path / "s")
    assert len(store.table()) == 1 and len(store.missing()) == 5
    assert "stopped: 1 of 6 runs are stored" in capsys.readouterr().out
    assert all(store.claim(key) for key in store.missing()["key"])


def _run_in_a_process(study, folder, made):
    real = run.execute
    keys = []
    run.execute = lambda job: keys.append(job.key) or real(job)
    run_study(study, folder, progress=False)
    made.put(keys)


def test_two_processes_share_the_work(tiny, tmp_path):
    context = multiprocessing.get_context("spawn")
    made, study = context.Queue(), tiny(seeds=8, methods=["default", "weight_selection"])
    processes = [context.Process(target=_run_in_a_process, args=(study, tmp_path / "s", made)) for _ in range(2)]
    for process in processes:
        process.start()
    keys = made.get(timeout=300) + made.get(timeout=300)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(keys) == len(set(keys)) == len(Store(tmp_path / "s").table()) == len(study) == 16


def test_a_killed_process_leaves_no_half_record(images, tmp_path):
    study, folder = tmp_path / "long.yaml", tmp_path / "s"
    study.write_text(
        f"data: [{images}]\nmethods: [weight_selection, default]\nseeds: 50\nsize: 16\ndevice: cpu\n"
        "fractions: [0.5]\ntraining: {steps: 2, batch_size: 8, evaluations: 1}\n"
    )
    command = [sys.executable, "-m", "dmws_lite.cli", "study", "run", str(study), "--store", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_for(lambda: len(list(folder.glob("runs/*.json"))) >= 3, 200)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = Store(folder)
    table, predictions = store.table(), store.predictions()
    assert len(table) >= 3 and set(table["key"]) == set(predictions["key"]) == set(store.history()["key"])
    assert (predictions.groupby("key").size() == 24).all()
    assert all(store.claim(key) for key in store.missing()["key"])


def test_an_engine_is_closed_and_locks_are_released_when_the_store_cannot_be_written(tiny, tmp_path, monkeypatch):
    closed = []

    def engine(jobs):
        try:
            yield from (SimpleNamespace(key=job.key) for job in jobs)
        finally:
            closed.append(True)

    monkeypatch.setitem(engines.ENGINES, "local", engine)
    monkeypatch.setattr(Store, "add", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        run_study(tiny(), tmp_path / "s", progress=False)
    assert closed == [True] and Store(tmp_path / "s").claim(plan_jobs(tiny())[0].key) is not None


def test_what_cannot_be_run_makes_no_store(tiny, tmp_path):
    for options, message in (
        ({"gpus": 1}, "gpus is for engine='ray'"),
        ({"engine": "slurm"}, "unknown engine='slurm': choose one of local, ray"),
    ):
        with pytest.raises(ValueError, match=message):
            run_study(tiny(), tmp_path / "s", **options)
    with pytest.raises(ValueError, match="is for a GPU: pass gpus=1"):
        run_study(tiny(device="cuda"), tmp_path / "s", engine="ray")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_study(tiny(data=["nowhere"]), tmp_path / "s")
    assert not list(tmp_path.iterdir())


def test_an_estimate_scales_the_steps_of_one_probe_per_method(tiny, monkeypatch):
    """Steps of 0.5 s after slower first ones, beside 70 s of everything else, in each probe of 8 steps."""
    clock, probed = [0.0], []

    def execute(job):
        probed.append(job)
        history = pd.DataFrame({"seconds": [0.0, 4 * 0.9, 4 * 0.5]})
        clock[0] += 70 + history["seconds"].sum()
        return Outcome({"status": "done"}, history, pd.DataFrame())

    monkeypatch.setattr(run, "execute", execute)
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    text = estimate(plan_jobs(tiny(training={"steps": 1000, "batch_size": 8})))
    assert len(probed) == 3 and {job.training.steps for job in probed} == {8}
    assert text.startswith("6 runs, from probes of 8 steps") and f"about {6 * (75.6 + 0.5 * 992) / 60:.0f} min" in text
    failed = Outcome({"status": "failed", "error": {"message": "no memory"}}, pd.DataFrame(), pd.DataFrame())
    monkeypatch.setattr(run, "execute", lambda job: failed)
    with pytest.raises(RuntimeError, match="the probe of images .* failed: no memory"):
        estimate(plan_jobs(tiny()))


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


def test_without_ray_the_way_out_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"engine 'ray' needs Ray: pip install 'dmws-lite\[ray\]', or use engine 'l"):
        next(ray_cluster(range(1)))


def test_what_no_machine_has_is_said_at_once(cluster):
    machines = r"no machine of the cluster has that \(1 CPU, 0 GPU; 1 CPU, 0 GPU\)"
    with pytest.raises(ValueError, match=rf"a run needs 1 CPU and 0.5 GPU, and {machines}: ask for less"):
        next(ray_cluster(range(1), gpus=0.5))
    with pytest.raises(ValueError, match="a run needs 2 CPU"):
        next(ray_cluster(range(1), cpus=2))
    with pytest.raises(ValueError, match="cpus=0, gpus=0.0: pass cpus above 0"):
        next(ray_cluster(range(1), cpus=0))


def test_a_run_that_raises_or_takes_its_worker_down_is_a_failed_outcome_and_the_rest_goes_on(
    cluster, tiny, monkeypatch
):
    monkeypatch.setattr(engines, "RETRIES", 1)
    jobs = plan_jobs(tiny(seeds=4, methods=["default"]))

    def execute(job):
        if job.seed == 1:
            raise FileNotFoundError("no data here")
        if job.seed == 2:
            os._exit(1)
        return SimpleNamespace(key=job.key, done=True)

    outcomes = {outcome.key: outcome for outcome in ray_cluster(jobs, execute=execute)}
    good, raised, died, last = (outcomes[job.key] for job in jobs)
    assert good.done and last.done and len(outcomes) == 4
    assert raised.record["error"]["type"] == "FileNotFoundError" and raised.record["error"]["message"] == "no data here"
    assert "in execute" in raised.record["error"]["traceback"]
    message = died.record["error"]["message"]
    assert message.startswith("Ray gave this run up (WorkerCrashedError): ") and "\n" not in message


def test_a_study_has_the_same_numbers_on_both_engines(cluster, tiny):
    jobs = plan_jobs(tiny(methods=["dual_skd"], seeds=1, threads=2))  # where Ray would have one: OMP_NUM_THREADS
    (here,), (there,) = (list(engine(jobs)) for engine in (local, ray_cluster))
    assert here.done and there.done, (here.record["error"], there.record["error"])
    for part in ("key", "metrics", "val_accuracy", "best_step", "config", "images", "classes"):
        assert here.record[part] == there.record[part], part
    assert here.record["cost"]["flops_per_step"] == there.record["cost"]["flops_per_step"]
    timings = ["images_per_second", "seconds"]
    assert here.history.drop(columns=timings).equals(there.history.drop(columns=timings))
    a, b = (np.stack(outcome.predictions["probabilities"]) for outcome in (here, there))
    assert np.array_equal(a, b) and a.dtype == np.float32
    assert here.predictions.drop(columns="probabilities").equals(there.predictions.drop(columns="probabilities"))


def test_ctrl_c_cancels_the_runs_and_leaves_the_cluster_that_was_joined(cluster, tmp_path):
    import ray

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
        assert wait_for(lambda: any(tmp_path.iterdir()))
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert out == "stopped False\n" and not errors, errors
        assert wait_for(lambda: ray.available_resources().get("CPU") == 2)
    finally:
        process.kill()
        process.wait()


def test_a_node_that_is_killed_costs_no_run_and_every_run_is_stored_once(cluster, tiny, tmp_path, monkeypatch):
    study = tiny(seeds=4, methods=["default", "weight_selection"])
    keys, doomed, stored = {job.key for job in plan_jobs(study)}, cluster.doomed.node_id, []
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

    add = Store.add

    def add_and_kill(store, outcome):
        if not stored:
            assert wait_for(lambda: any(begun.glob(f"*_{doomed}")))
            cluster.remove_node(cluster.doomed, allow_graceful=False)
        stored.append(outcome.key)
        add(store, outcome)

    monkeypatch.setattr(Store, "add", add_and_kill)
    store = run_study(study, tmp_path / "store", engine="ray", progress=False, execute=execute)
    assert sorted(stored) == sorted(keys) == sorted(store.table()["key"]) and store.failures().empty
    lost = {path.name.split("_")[0] for path in begun.glob(f"*_{doomed}")}
    assert lost and all(len(list(begun.glob(f"{key}_*"))) == 2 for key in lost)  # begun there, made here
