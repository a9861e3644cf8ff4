import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
from PIL import Image

import dmws_lite as dm
from dmws_lite.studies import jobs as jobs_module
from dmws_lite.studies import run as run_module
from dmws_lite.studies import running
from dmws_lite.studies.jobs import Job, fingerprint, plan_jobs
from dmws_lite.studies.run import execute
from dmws_lite.studies.running import run_study
from dmws_lite.studies.store import Store
from dmws_lite.training.evaluation import evaluate


def test_a_study_is_a_row_a_run(tiny, tiny_store):
    table = tiny_store.table("tiny")
    assert len(table) == 6 == len(tiny())
    assert set(table["method"]) == {"default", "weight_selection", "dual_skd"} and set(table["seed"]) == {0, 1}
    assert (table["steps"] == 4).all() and table["budget"].nunique() == 1
    assert (table[["seconds", "parameters", "flops_per_step", "latency_ms"]] > 0).all().all()
    both = table["method"] == "dual_skd"
    assert table.loc[both, "auxiliary_accuracy"].notna().all() and table.loc[~both, "auxiliary_accuracy"].isna().all()
    assert tiny_store.missing("tiny") == [] and tiny_store.failures("tiny").empty


def test_its_numbers_are_those_of_fit_and_evaluate(tiny, tiny_store):
    splits = dm.open_data("phantom_lung_ct", 16)
    found = dm.compare(
        splits,
        methods=["dual_skd"],
        seeds=[1],
        share=0.1,
        training=dm.Training(steps=4, batch_size=8, evaluations=2),
        device="cpu",
        progress=False,
    )
    mine = tiny_store.table("tiny").query("method == 'dual_skd' and seed == 1").iloc[0]
    assert mine["accuracy"] == found.table["accuracy"][0] and mine["ece"] == found.table["ece"][0]
    rows = tiny_store.predictions("tiny").query("key == @mine.key and student == 'main'")
    assert np.array_equal(np.stack(rows["probabilities"]), found.probabilities["dual_skd", 1])
    assert rows["image"].tolist() == list(splits.test.names)
    history = tiny_store.history("tiny").query("key == @mine.key")
    assert history["val_accuracy"].tolist() == [row["val_accuracy"] for row in found.runs["dual_skd", 1].history]


def test_metrics_follow_from_the_stored_predictions(tiny_store):
    predictions, classes = tiny_store.predictions("tiny"), ("a", "b", "c")
    for row in tiny_store.table("tiny").itertuples():
        mine = predictions[predictions["key"] == row.key]
        for student, column in (("main", "accuracy"), ("auxiliary", "auxiliary_accuracy")):
            part = mine[mine["student"] == student]
            if len(part):
                values = evaluate(np.stack(part["probabilities"]), part["label"].to_numpy(), classes, resamples=0)
                assert values["value"][0] == getattr(row, column) == (part["label"] == part["predicted"]).mean()


def test_a_record_says_what_made_it(tiny_store):
    for record in tiny_store.records("tiny"):
        assert record["status"] == "done" and record["error"] is None
        assert {"torch", "timm", "numpy", "python", "dmws-lite"} <= set(record["versions"])
        assert record["machine"]["device"] == "cpu" and record["machine"]["threads"] == 1
        assert record["started"] <= record["finished"] and record["started"].endswith("+00:00")
        assert record["config"]["training"]["steps"] == 4 and record["images"]["test"] == 300


def test_what_is_stored_is_not_made_again(tiny, tiny_store, monkeypatch):
    monkeypatch.setitem(running.ENGINES, "local", lambda jobs: (pytest.fail("made again") for _ in jobs))
    run_study(tiny(), tiny_store.folder, progress=False)


def test_only_what_is_missing_is_made(tiny, tmp_path):
    first = run_study(tiny(methods=["weight_selection"], seeds=1), tmp_path / "s", progress=False)
    before = {path: path.stat().st_mtime_ns for path in first.folder.glob("runs/*")}
    said = []
    run_study(tiny(methods=["weight_selection"], seeds=2), tmp_path / "s", say=said.append)
    assert "2 runs, 1 of them stored" in said[0] and sum(line.startswith("done") for line in said) == 1
    assert all(path.stat().st_mtime_ns == changed for path, changed in before.items())
    assert len(first.table("tiny")) == 2


def test_a_store_is_the_same_made_twice(tiny, tiny_store, tmp_path):
    again = run_study(tiny(methods=["default", "dual_skd"], seeds=[1], reference="default"), tmp_path, progress=False)
    mine, theirs = (
        s.predictions().sort_values(["key", "student", "image"], ignore_index=True) for s in (again, tiny_store)
    )
    theirs = theirs[theirs["key"].isin(set(mine["key"]))].reset_index(drop=True)
    assert len(mine) == len(theirs) == 3 * 300
    assert np.array_equal(np.stack(mine["probabilities"]), np.stack(theirs["probabilities"]))


def test_a_run_that_fails_is_recorded_and_the_rest_goes_on(tiny, tmp_path, monkeypatch):
    real = run_module.train

    def breaks(method, *rest):
        if method.initializer == "default":
            raise FloatingPointError("the loss is no longer finite")
        return real(method, *rest)

    monkeypatch.setattr(run_module, "train", breaks)
    said = []
    store = run_study(tiny(seeds=1), tmp_path / "s", say=said.append)
    failures = store.failures("tiny")
    assert failures["method"].tolist() == ["default"] and failures["error"].tolist() == ["FloatingPointError"]
    assert set(store.table("tiny")["method"]) == {"weight_selection", "dual_skd"} and store.missing("tiny") == []
    assert any(line.startswith("failed") and "no longer finite" in line for line in said)
    (record,) = store.records("tiny", "failures")
    assert "in breaks" in record["error"]["traceback"]
    monkeypatch.setattr(run_module, "train", real)
    run_study(tiny(seeds=1), tmp_path / "s", progress=False)
    assert store.failures("tiny").empty and len(store.table("tiny")) == 3


def test_an_interrupt_keeps_what_is_done(tiny, tmp_path, monkeypatch):
    real, made = run_module.train, []

    def second_is_stopped(*settings):
        made.append(settings)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(*settings)

    monkeypatch.setattr(run_module, "train", second_is_stopped)
    said = []
    with pytest.raises(KeyboardInterrupt):
        run_study(tiny(), tmp_path / "s", say=said.append)
    store = Store(tmp_path / "s")
    assert len(store.table("tiny")) == 1 and len(store.missing("tiny")) == 5
    assert said[-1].startswith("stopped: 1 of 6 runs are stored")
    monkeypatch.setattr(run_module, "train", real)
    run_study(tiny(), tmp_path / "s", progress=False)
    assert len(store.table("tiny")) == 6


def _run_in_a_process(study, folder, mine):
    said = []
    run_study(study, folder, say=said.append)
    mine.put([line for line in said if line.startswith("done")])


def test_two_processes_share_the_work(tiny, tmp_path):
    context = multiprocessing.get_context("spawn")
    made, study = context.Queue(), tiny(seeds=8)
    args = (study, tmp_path / "s", made)
    processes = [context.Process(target=_run_in_a_process, args=args) for _ in range(2)]
    for process in processes:
        process.start()
    lines = [made.get(timeout=300) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(lines[0]) + len(lines[1]) == len(set(lines[0] + lines[1])) == len(study)
    assert len(Store(tmp_path / "s").table("tiny")) == len(study)


def test_a_killed_process_leaves_no_half_record(tmp_path):
    study = tmp_path / "long.yaml"
    study.write_text(
        "data: [phantom_lung_ct]\nmethods: [weight_selection, default]\nseeds: 50\nsize: 16\ndevice: cpu\n"
        "training: {steps: 2, batch_size: 8, evaluations: 1}\n"
    )
    command = [sys.executable, "-m", "dmws_lite.cli", "study", "run", str(study), "--store", str(tmp_path / "s")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and len(list((tmp_path / "s").glob("runs/*.json"))) < 3:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = Store(tmp_path / "s")
    table, predictions = store.table("long"), store.predictions("long")
    assert len(table) >= 3 and set(table["key"]) == set(predictions["key"]) == set(store.history("long")["key"])
    assert (predictions.groupby("key").size() == 300).all()
    assert all(store.claim(key) for key in store.missing("long"))


def test_tuning_chooses_on_validation_for_every_method_alike(tiny, tmp_path):
    study = tiny(seeds=2, tuning={"lr": [1e-9, 1e-2]}, methods=["default", "weight_selection"])
    store = run_study(study, tmp_path / "s", progress=False)
    kept = store.study("tiny")
    trials = [record for record in store.records() if record["key"] in kept["trials"]]
    assert len(trials) == 2 * 2 and all(record["metrics"] is None for record in trials)
    assert not set(store.predictions()["key"]) & set(kept["trials"])
    for name, rows in store.table("tiny").groupby("method"):
        mine = [record for record in trials if record["names"]["method"] == name]
        best = max(mine, key=lambda record: (record["val_accuracy"], -record["val_loss"]))
        assert set(rows["lr"]) == {best["config"]["training"]["lr"]} and len(rows) == 2


def test_a_failed_trial_is_told_and_the_rest_goes_on(tiny, tmp_path, monkeypatch):
    real = run_module.train

    def breaks(method, part, teacher, student, training, *rest):
        if training.lr == 0.01 or (method.initializer == "default" and training.seed == running.TRIAL_SEED):
            raise FloatingPointError("the loss is no longer finite")
        return real(method, part, teacher, student, training, *rest)

    monkeypatch.setattr(run_module, "train", breaks)
    study = tiny(seeds=1, tuning={"lr": [0.01, 0.002]}, methods=["default", "weight_selection"])
    store = run_study(study, tmp_path / "s", progress=False)
    assert len(store.failures("tiny")) == 3
    lr = store.table("tiny").set_index("method")["lr"]
    assert lr["weight_selection"] == 0.002 and lr["default"] == dm.Training.lr


def test_a_trial_that_another_process_makes_is_waited_for(tiny, tmp_path):
    study = tiny(seeds=1, tuning={"lr": [1e-9, 1e-2]}, methods=["weight_selection"])
    store = Store(tmp_path / "s", create=True)
    trials = running.plan_trials(study, plan_jobs(study))
    lock = store.claim(trials[1].key)
    with pytest.raises(RuntimeError, match="is being made by another process: run again when that has ended"):
        run_study(study, tmp_path / "s", progress=False)
    lock.release()
    assert len(run_study(study, tmp_path / "s", progress=False).table("tiny")) == 1


def test_an_engine_is_closed_when_the_store_cannot_be_written(tiny, tmp_path, monkeypatch):
    closed = []

    def engine(jobs):
        try:
            yield from (execute(job) for job in jobs)
        finally:
            closed.append(True)

    monkeypatch.setitem(running.ENGINES, "local", engine)
    monkeypatch.setattr(Store, "add", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        run_study(tiny(), tmp_path / "s", progress=False)
    assert closed == [True] and Store(tmp_path / "s").claim(plan_jobs(tiny())[0].key) is not None


def test_data_that_changed_are_other_data(tmp_path, tiny, monkeypatch):
    rng = np.random.default_rng(0)

    def draw(folder):
        for split, label in product(("train", "val", "test"), "ab"):
            for number in range(4):
                path = folder / "imgs" / split / label / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(path)

    def key(folder):
        monkeypatch.chdir(folder)
        (job,) = plan_jobs(tiny(data=["imgs"], seeds=1, methods=["weight_selection"], fractions=[1.0]))
        assert job.data.title == "imgs" and job.data.source == str(folder / "imgs")
        return job.key

    one, two = tmp_path / "one", tmp_path / "two"
    draw(one), draw(two)
    first = key(one)
    assert first != key(two) and first == key(one)
    draw(one)
    assert first != key(one)


def test_settings_at_their_defaults_are_not_in_the_key():
    """A new setting leaves the keys of old runs as they are; a new default does not: raise RECIPE with it."""
    assert (jobs_module.RECIPE, asdict(dm.Training()), asdict(dm.Distillation())) == (
        1,
        {
            "steps": 300,
            "batch_size": 32,
            "lr": 1e-3,
            "weight_decay": 0.05,
            "warmup": 0.1,
            "label_smoothing": 0.1,
            "clip": 1.0,
            "evaluations": 10,
            "seed": 0,
        },
        {
            "strategy": "ema",
            "alpha": 0.5,
            "alpha_warmup": 1.0,
            "temperature": 2.0,
            "half_life": 0.05,
            "momentum": None,
            "momentum_schedule": "constant",
            "auxiliary_update": "ema",
        },
    )


def test_the_key_is_what_determines_the_result(tiny):
    job = plan_jobs(tiny())[0]
    assert job.key == plan_jobs(tiny(name="other", question="why?"))[0].key
    changed = [
        replace(job, seed=7, training=replace(job.training, seed=7)),
        replace(job, fraction=0.2),
        replace(job, data_id="x"),
        replace(job, pair_id="x"),
        replace(job, size=32),
        replace(job, training=replace(job.training, lr=0.1)),
        replace(job, device="cuda"),
        replace(job, threads=2),
    ]
    assert len({job.key, *(other.key for other in changed)}) == len(changed) + 1
    same = replace(job, distillation=replace(job.distillation, alpha=0.9))
    assert same.key == job.key  # labels only: no soft targets


def test_fingerprints_tell_sets_apart():
    first, again = (dm.phantoms("lung_ct", train=6, val=3, test=3) for _ in range(2))
    assert (
        fingerprint(first) == fingerprint(again) != fingerprint(dm.phantoms("lung_ct", train=6, val=3, test=3, seed=1))
    )
    assert fingerprint(first) != fingerprint(replace(first, flips=()))


def test_a_worker_without_the_data_says_so(tiny, tmp_path):
    job = plan_jobs(tiny())[0]
    gone = replace(job, data=job.data.model_copy(update={"source": str(tmp_path / "gone")}))
    record = execute(gone).record
    assert record["status"] == "failed" and "gone" in record["error"]["message"]
    other = replace(job, data_id="0" * 16)
    assert "holds other images here than where the study was planned" in execute(other).record["error"]["message"]
    weights = replace(job, pair_id="0" * 16)
    assert "has other weights here" in execute(weights).record["error"]["message"]


def test_a_pair_that_does_not_fit_is_refused_before_anything_runs(tiny, tmp_path):
    pair = {"teacher": "embedded_vit_96", "student": "mobilenetv1_050"}
    with pytest.raises(ValueError, match="does not fit the pair embedded_vit_96 → mobilenetv1_050"):
        run_study(tiny(pairs=[pair]), tmp_path / "s", progress=False)
    assert not (tmp_path / "s").exists()


def test_one_run_under_two_names_is_refused(tiny):
    twin = {"name": "twin", "of": "weight_selection"}
    with pytest.raises(ValueError, match="one and the same run"):
        plan_jobs(tiny(methods=["weight_selection", twin]))


def test_a_method_without_the_auxiliary_that_it_needs_is_refused(tiny):
    alone = {"name": "alone", "of": "dual_skd", "students": {"auxiliary": None}}
    with pytest.raises(ValueError, match="'alone' has strategy 'ema' and no auxiliary"):
        plan_jobs(tiny(methods=["weight_selection", alone]))


def test_options_that_do_not_fit_the_engine(tiny, tmp_path):
    with pytest.raises(ValueError, match="gpus is for engine='ray'"):
        run_study(tiny(), tmp_path / "s", gpus=1)
    with pytest.raises(ValueError, match="is for a GPU: pass gpus=1"):
        run_study(tiny(device="cuda"), tmp_path / "s", engine="ray")


def test_unknown_engines_and_missing_data(tiny, tmp_path):
    with pytest.raises(ValueError, match="unknown engine='slurm': choose one of local, ray"):
        run_study(tiny(), tmp_path / "s", engine="slurm")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_study(tiny(data=["nowhere"]), tmp_path / "s")


def test_a_job_is_plain_data(tiny):
    job = plan_jobs(tiny())[0]
    assert isinstance(job, Job) and json.loads(json.dumps(job.config())) == job.config()
    assert job.title == "phantom_lung_ct · 10% · embedded_vit_48 · default · seed 0"


def test_one_per_cent_of_a_small_set_still_runs(tiny, tmp_path):
    store = run_study(tiny(fractions=[0.01], seeds=1, methods=["weight_selection"]), tmp_path / "s", progress=False)
    (record,) = store.records("tiny")
    assert record["images"]["train"] < 8 and record["status"] == "done"
