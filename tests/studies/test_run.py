import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import log_loss

import dmws_lite as dm
from dmws_lite.method.networks import Teacher
from dmws_lite.studies import run as run_module
from dmws_lite.studies.engines import run_study
from dmws_lite.studies.run import execute, plan_jobs, train
from dmws_lite.studies.statistics import check_comparable
from dmws_lite.training.calibration import at, fit_temperature
from dmws_lite.training.evaluation import calibration_error, evaluate

SHORT = dm.Training(steps=4, batch_size=8, evaluations=2)


def test_a_study_is_one_row_per_run_and_a_record_says_what_made_it(tiny_store):
    table = tiny_store.table()
    assert len(table) == 6 and (table["steps"] == 4).all() and table["budget"].nunique() == 1
    assert (table[["seconds", "parameters", "flops_per_step", "latency_ms"]] > 0).all().all()
    both = table["method"] == "dual_skd"
    assert table.loc[both, "auxiliary_accuracy"].notna().all() and table.loc[~both, "auxiliary_accuracy"].isna().all()
    assert tiny_store.missing().empty and tiny_store.failures().empty
    for record in tiny_store.records():
        assert {"torch", "timm", "numpy", "python", "dmws-lite"} <= set(record["versions"])
        assert record["machine"]["device"] == "cpu" and record["machine"]["threads"] == 1
        assert record["started"] <= record["finished"] and record["images"]["test"] == 24


def test_its_numbers_are_those_of_fit_and_evaluate(images, tiny_store):
    splits, training = dm.open_data(images, 16).part(0.5, 1), replace(SHORT, seed=1)
    students = dm.make_students(dm.load_teacher(), "embedded_vit_48", 3, seed=1, image_size=16)
    by_hand = dm.fit(students, splits, training, device="cpu", progress=False)
    probabilities, labels = dm.predict(by_hand.main, splits.test), splits.test.labels
    again = train("dual_skd", splits, dm.load_teacher(), "embedded_vit_48", training, device="cpu")
    assert np.array_equal(dm.predict(again.main, splits.test), probabilities)
    run = "method == 'dual_skd' and seed == 1"
    rows = tiny_store.predictions().query(f"{run} and student == 'main'")
    assert np.array_equal(np.stack(rows["probabilities"]), probabilities)
    assert rows["image"].tolist() == list(splits.test.names)
    row = tiny_store.table().query(run).iloc[0]
    metrics = evaluate(probabilities, labels, splits.classes, resamples=0).set_index("metric")["value"]
    assert all(row[name] == metrics[name] for name in run_module.METRICS if name in metrics)
    scaled = at(probabilities, fit_temperature(dm.predict(by_hand.main, splits.val), splits.val.labels))
    assert [row["nll"], row["nll_scaled"]] == pytest.approx([log_loss(labels, p) for p in (probabilities, scaled)])
    assert row["ece_scaled"] == calibration_error(scaled, labels)
    history = tiny_store.history().query(run)
    assert history["val_accuracy"].tolist() == [row["val_accuracy"] for row in by_hand.history]
    assert row["val_loss"] in history[history["step"] == by_hand.best_step]["val_loss"].tolist()


def test_classic_distillation_costs_the_teachers_passes_and_its_tuning(tiny, monkeypatch):
    def timed(*args, real=run_module.fit, **kwargs):
        runs.append(real(*args, **kwargs))
        return runs[-1]

    runs: list = []
    monkeypatch.setattr(run_module, "fit", timed)
    record, other = (execute(*plan_jobs(tiny(methods=[name], seeds=1))).record for name in ("kd", "default"))
    assert record["cost"]["flops_per_step"] > other["cost"]["flops_per_step"] and set(record["metrics"]) == {"main"}
    assert record["seconds"] == pytest.approx(runs[0].seconds + runs[1].seconds)
    assert other["seconds"] == pytest.approx(runs[2].seconds)


def test_the_key_is_what_determines_the_result(tiny):
    def key(**changes):
        return plan_jobs(tiny(**{"methods": ["default"], "seeds": [3]} | changes))[0].key

    assert key() == key(name="other", question="why?") == key(distillation={"alpha": 0.9})  # labels only: no α
    training = tiny().definition()["training"]
    changes = [
        {"seeds": [4]}, {"fractions": [0.2]}, {"size": 32}, {"training": training | {"lr": 0.1}}, {"threads": 2},
        {"methods": ["xavier"]}, {"methods": ["dual_skd"]}, {"methods": ["dual_skd"], "distillation": {"alpha": 0.9}},
    ]  # fmt: skip
    job = plan_jobs(tiny())[0]
    others = [replace(job, data_id="x"), replace(job, weights_id="x"), replace(job, device="cuda")]
    keys = [key(), *(key(**change) for change in changes), job.key, *(other.key for other in others)]
    assert len(set(keys)) == len(keys)


def test_keys_of_runs_that_are_stored_stay(tiny):
    """A new setting leaves the keys of old runs as they are; a new default does not: raise RECIPE with it."""
    assert run_module.RECIPE == 1
    assert asdict(dm.Training()) == {
        "steps": 300, "batch_size": 32, "lr": 1e-3, "weight_decay": 0.05, "warmup": 0.1, "label_smoothing": 0.1,
        "clip": 1.0, "evaluations": 10, "seed": 0,
    }  # fmt: skip
    assert asdict(dm.Distillation()) == {
        "strategy": "ema", "alpha": 0.5, "alpha_warmup": 1.0, "temperature": 2.0, "half_life": 0.05, "momentum": None,
        "momentum_schedule": "constant", "auxiliary_update": "ema", "auxiliary_norm": "ema", "alpha_until": 1.0,
        "alpha_anneal": 0.0, "half_life_epochs": None,
    }  # fmt: skip
    ids = {"data_id": "a" * 16, "weights_id": "b" * 16, "device": "cpu"}
    jobs = [replace(job, **ids) for job in plan_jobs(tiny(seeds=[1], fractions=[0.1]))]
    assert [job.key for job in jobs] == ["0115c0af9d1345d2", "315f340a999232a1", "63dcef10cb5e8fd0"]


def test_data_that_changed_are_other_data(tmp_path, tiny, images, monkeypatch):
    def key(folder):
        monkeypatch.chdir(folder)
        (job,) = plan_jobs(tiny(data=["imgs"], seeds=1, methods=["weight_selection"], fractions=[1.0]))
        assert job.data.title == "imgs" and job.data.source == str(folder / "imgs")
        return job.key

    one, two = (shutil.copytree(images, tmp_path / name / "imgs").parent for name in ("one", "two"))
    first = key(one)
    assert first == key(two) == key(one)
    path = next((two / "imgs" / "test").rglob("*.png"))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)).save(path)
    assert first != key(two)


def test_what_does_not_fit_is_refused_before_a_run_is_and_by_a_worker_with_other_data_or_weights(tiny, monkeypatch):
    job = plan_jobs(tiny())[0]
    for other in (replace(job, data_id="0" * 16), replace(job, weights_id="0" * 16)):
        record = execute(other).record
        assert record["status"] == "failed" and "other images or weights than where" in record["error"]["message"]
    with pytest.raises(ValueError, match="method 'native' does not fit .*: method 'native' needs native=load_teacher"):
        plan_jobs(tiny(methods=["native"]))
    with pytest.raises(ValueError, match="seed 1 and .* seed 1 are one and the same run: leave one of them out"):
        plan_jobs(tiny(seeds=[1, 1]))
    teacher = Teacher("mobilenetv1_100", dm.build("mobilenetv1_100", 5).state_dict(), (0.5,) * 3, (0.5,) * 3, "")
    monkeypatch.setattr(run_module, "load_teacher", lambda name, weights: teacher)
    with pytest.raises(ValueError, match="method 'mimetic' does not fit the pair mobilenetv1_100 → mobilenetv1_050"):
        plan_jobs(tiny(pairs=[{"teacher": "mobilenetv1_100", "student": "mobilenetv1_050"}], methods=["mimetic"]))


def test_a_method_may_test_the_moving_average_and_have_steps_of_its_own(tiny, images, tmp_path):
    longer = {"name": "longer", "of": "weight_selection", "training": {"steps": 6, "label_smoothing": 0.3}}
    study = tiny(methods=["weight_selection", "ema_of_main", longer], seeds=1)
    store = run_study(study, tmp_path / "s", progress=False)
    rows = store.table().set_index("method")
    assert rows["steps"].to_dict() == {"weight_selection": 4, "ema_of_main": 4, "longer": 6}
    check_comparable(store.table())
    splits = dm.open_data(images, 16).part(0.5, 0)
    students = dm.make_students(dm.load_teacher(), "embedded_vit_48", 3, "same", image_size=16)
    run = dm.fit(students, splits, SHORT, dm.Distillation(alpha=0.0), device="cpu", progress=False)
    average = np.stack(store.predictions().query("method == 'ema_of_main'")["probabilities"])
    assert np.array_equal(average, dm.predict(run.auxiliary, splits.test))
    assert rows.loc["ema_of_main", "val_accuracy"] == run.history[-1]["auxiliary_accuracy"]
