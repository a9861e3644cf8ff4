"""Running a study: resumed, interrupted, killed, shared, by several processes; on a Ray cluster that loses a node."""

import os
import shutil
import signal
import sys
import tempfile
import threading
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

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False, "include_log_monitor": False}


def wait_for(condition, seconds: float = 300.0) -> bool:
    """Whether it comes true in a time that is generous on a busy machine."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.02)
    return condition()


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture
def stubbed(monkeypatch, outcome):
    """Runs that take no time: the keys of those that were made, in order."""
    keys = []
    monkeypatch.setattr(run, "execute", lambda job: keys.append(job.key) or outcome(job.key))
    return keys


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
    monkeypatch.undo()
    run_study(tiny(seeds=1), tmp_path / "s", progress=False)
    assert store.failures().empty and len(store.table()) == 3


def test_an_interrupt_keeps_what_is_done(tiny, tmp_path, monkeypatch, outcome, capsys):
    answers = iter([outcome, interrupt])
    monkeypatch.setattr(run, "execute", lambda job: next(answers)(job.key))
    with pytest.raises(KeyboardInterrupt):
        run_study(tiny(), tmp_path / "s")
    store = Store(tmp_path / "s")
    assert len(store.table()) == 1 and len(store.missing()) == 5
    assert "stopped: 1 of 6 runs are stored" in capsys.readouterr().out
    assert all(store.claim(key) for key in store.missing()["key"])


def test_two_that_work_on_one_store_share_the_runs(tiny, tmp_path, stubbed, monkeypatch):
    study = tiny(seeds=8)
    jobs, both = plan_jobs(study), threading.Barrier(2)
    monkeypatch.setattr(run, "plan_jobs", lambda *_: [both.wait(300), jobs][1])
    threads = [threading.Thread(target=run_study, args=(study, tmp_path / "s", "local", False)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert sorted(stubbed) == sorted(job.key for job in jobs)  # each once
    assert len(Store(tmp_path / "s").table()) == len(study) == 24


def test_a_killed_process_leaves_no_half_record(tiny, outcome, tmp_path, fork):
    study, folder = tiny(seeds=200), tmp_path / "s"
    (tmp_path / "script.py").write_text("""
from dataclasses import replace
from dmws_lite.studies import engines, run, study

run.execute = lambda job: replace(outcome, record=outcome.record | {"key": job.key})
engines.run_study(study.make_study(**definition), folder, progress=False, workers=1)
""")
    process = fork(tmp_path / "script.py", definition=study.definition(), outcome=outcome(""), folder=folder)
    assert wait_for(lambda: len(list(folder.glob("runs/*.json"))) >= 10)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    store = Store(folder)
    table, predictions = store.table(), store.predictions()
    assert 10 <= len(table) < 600 and set(table["key"]) == set(predictions["key"]) == set(store.history()["key"])
    assert (predictions.groupby("key").size() == 2).all()
    assert all(store.claim(key) for key in store.missing()["key"])


def test_what_cannot_be_run_makes_no_store(tiny, tmp_path):
    for study, options, message in (
        (tiny(), {"gpus": 1}, "unknown option of engine='local' 'gpus': choose from workers"),
        (tiny(), {"engine": "slurm"}, "unknown engine 'slurm': choose from local, ray"),
        (tiny(device="cuda"), {"engine": "ray"}, "is for a GPU: pass gpus=1"),
    ):
        with pytest.raises(ValueError, match=message):
            run_study(study, tmp_path / "s", **options)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_study(tiny(data=["nowhere"]), tmp_path / "s")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "device", "workers"),
    [
        ({}, "cpu", 4),
        ({"threads": 2}, "cpu", 2),
        ({"seeds": 1}, "cpu", 3),  # no more than there are runs
        ({}, "cuda", 1),
        ({"training": {"steps": 10}, "size": 16}, "cpu", 1),  # not worth the start of other processes
    ],
)
def test_long_studies_use_every_core(monkeypatch, tiny, changes, device, workers):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    study = tiny(**{"training": {"steps": 300}, "size": 64} | changes)
    jobs = [SimpleNamespace(training=study.training, study=study, device=device) for _ in range(len(study))]
    assert engines._choose_workers(jobs) == workers and engines._choose_workers([]) == 1


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
    longer = {"name": "longer", "of": "default", "training": {"steps": 2000}}
    text = estimate(plan_jobs(tiny(methods=["default", "dual_skd", longer], training={"steps": 1000, "batch_size": 8})))
    assert len(probed) == 3 and {job.training.steps for job in probed} == {8}
    minutes = (4 * (75.6 + 0.5 * 992) + 2 * (75.6 + 0.5 * 1992)) / 60
    assert text.startswith("6 runs, from probes of 8 steps") and f"about {minutes:.0f} min" in text
    failed = Outcome({"status": "failed", "error": {"message": "no memory"}}, pd.DataFrame(), pd.DataFrame())
    monkeypatch.setattr(run, "execute", lambda job: failed)
    with pytest.raises(RuntimeError, match="the probe of images .* failed: no memory"):
        estimate(plan_jobs(tiny()))


def test_a_process_that_dies_and_a_missing_ray_are_told_with_the_way_out(monkeypatch):
    monkeypatch.setattr(run, "execute", os._exit)
    with pytest.raises(RuntimeError, match="a process died, perhaps out of memory: run again with fewer workers"):
        list(local([1, 1], workers=2))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"engine 'ray' needs Ray: pip install 'dmws-lite\[ray\]', or use engine 'l"):
        next(ray_cluster(range(1)))


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
            nodes.add_node(**NODE, no_monitor=True)
            nodes.doomed = nodes.add_node(**NODE)
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


def test_what_no_machine_has_is_said_at_once(cluster):
    for options, message in (
        ({"gpus": 0.5}, "a run needs 1 CPU and 0.5 GPU, and no machine of the cluster has that: ask for less"),
        ({"cpus": 2}, "a run needs 2 CPU"),
        ({"cpus": 0}, "cpus=0, gpus=0.0: pass cpus above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            next(ray_cluster(range(1), **options))


@pytest.mark.parametrize("engine", ["processes", "ray"])
def test_a_run_has_the_same_numbers_elsewhere(request, tiny, engine):
    """With two threads: Ray would have one (OMP_NUM_THREADS)."""
    jobs = plan_jobs(tiny(methods=["dual_skd"], seeds=1, threads=2))
    if engine == "ray":
        request.getfixturevalue("cluster")
    (serial,), (elsewhere,) = local(jobs), local(jobs, workers=2) if engine == "processes" else ray_cluster(jobs)
    assert serial.done and elsewhere.done
    for field in ("key", "metrics", "val_accuracy", "best_step", "config", "images", "classes"):
        assert serial.record[field] == elsewhere.record[field], field
    assert serial.record["cost"]["flops_per_step"] == elsewhere.record["cost"]["flops_per_step"]
    timings = ["images_per_second", "seconds"]
    assert serial.history.drop(columns=timings).equals(elsewhere.history.drop(columns=timings))
    a, b = (np.stack(outcome.predictions["probabilities"]) for outcome in (serial, elsewhere))
    assert np.array_equal(a, b) and a.dtype == np.float32


def test_a_run_that_takes_its_worker_down_is_a_failed_outcome(cluster, monkeypatch):
    monkeypatch.setattr(engines, "RETRIES", 0)
    monkeypatch.setattr(run, "failed_outcome", lambda job, error: (job, str(error)))
    ((job, message),) = ray_cluster([7], execute=lambda job: os._exit(1))
    assert job == 7 and message.startswith("Ray gave this run up (WorkerCrashedError): ") and "\n" not in message


def test_ctrl_c_cancels_the_runs_and_leaves_the_cluster_that_was_joined(cluster, tmp_path):
    import ray

    def execute(seed):
        (tmp_path / str(seed)).touch()
        time.sleep(600 if seed else 0)
        return seed

    outcomes = ray_cluster(iter(range(5)), execute=execute)
    assert next(outcomes) == 0 and wait_for(lambda: len(list(tmp_path.iterdir())) > 1)
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt)
    assert ray.is_initialized() and wait_for(lambda: ray.available_resources().get("CPU") == 2)


def test_a_run_that_ray_forgets_to_stop_is_asked_again():
    asked, left = [], [[2], [2], []]
    ray = SimpleNamespace(cancel=lambda run, force: asked.append(run), wait=lambda *_, **__: ([], left.pop(0)))
    engines._cancel(ray, [1, 2])
    assert asked == [1, 2, 2, 2]


def test_a_node_that_is_killed_costs_no_run_and_each_run_comes_once(cluster, tmp_path):
    """No run ends before one has begun on the node that is to be killed: a quick node would else make them all."""
    doomed = cluster.doomed.node_id

    def execute(key):
        import ray

        node = ray.get_runtime_context().get_node_id()
        (tmp_path / f"{key}_{node}").touch()
        while node == doomed or not any(tmp_path.glob(f"*_{doomed}")):
            time.sleep(0.02)
        return key

    outcomes = ray_cluster(iter(range(6)), execute=execute)
    keys = [next(outcomes)]
    cluster.remove_node(cluster.doomed, allow_graceful=False)
    assert sorted([*keys, *outcomes]) == list(range(6))
    lost = {path.name.split("_")[0] for path in tmp_path.glob(f"*_{doomed}")}
    assert lost and all(len(list(tmp_path.glob(f"{key}_*"))) == 2 for key in lost)  # begun there, made here
