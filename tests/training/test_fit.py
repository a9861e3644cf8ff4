"""The loop's wiring, its resumption after a kill, and what it refuses."""

import copy
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import dmws_lite as dm
from dmws_lite.data.sets import ImageSet, Splits
from dmws_lite.method.distillation import STRATEGIES
from dmws_lite.method.networks import Teacher, set_input_statistics
from dmws_lite.method.students import Students
from dmws_lite.training import state as training_state
from dmws_lite.training.checkpoints import load_checkpoint
from dmws_lite.training.state import TrainingState, batch_indices

SHORT = dm.Training(steps=8, batch_size=6, evaluations=4, lr=1e-3)
CPU = {"device": "cpu", "progress": False}


def stripes(count: int, seed: int) -> ImageSet:
    """Two classes: stripes across and stripes along."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    wave = 127 + 100 * np.sin(np.arange(16)[None] * 1.5 + rng.uniform(0, 6, (count, 1)))
    images = np.stack(
        [np.tile(w, (16, 1)) if y else np.tile(w[:, None], (1, 16)) for w, y in zip(wave, labels, strict=True)]
    )
    return ImageSet(
        images[:, None].astype(np.uint8), labels.astype(np.int64), ("across", "along"), tuple(map(str, range(count)))
    )


HALF = (0.5,) * 3, (0.5,) * 3
SPLITS = Splits("stripes", stripes(24, 0), stripes(20, 1), stripes(20, 2))


def student(seed: int = 0) -> torch.nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(seed)
    shape = {"embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2}
    return set_input_statistics(VisionTransformer(16, 4, num_classes=2, **shape), *HALF)


def states(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_main_student_learns_and_the_history_tells():
    seen: list[dict] = []
    training = replace(SHORT, steps=150, evaluations=5, batch_size=12, lr=3e-3, label_smoothing=0.0)
    run = dm.fit(Students(student(), student(1)), SPLITS, training=training, on_evaluation=seen.append, **CPU)
    assert [row["step"] for row in run.history] == [0, 30, 60, 90, 120, 150]
    assert seen == run.history
    best = max(run.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert run.best_step == best["step"] and best["val_accuracy"] > 0.9
    found = dm.predict(run.main, SPLITS.val).argmax(1)
    assert (found == SPLITS.val.labels).mean() == best["val_accuracy"]
    assert run.history[-1]["alpha"] == 0.5 and 0 < run.history[-1]["momentum"] < 1


def test_the_bar_tells_of_an_auxiliary_only_where_there_is_one(capfd):
    for auxiliary, strategy in ((student(1), "ema"), (None, "none")):
        distillation = dm.Distillation(strategy=strategy)
        dm.fit(
            Students(student(), auxiliary),
            SPLITS,
            training=SHORT,
            distillation=distillation,
            **CPU | {"progress": True},
        )
        shown = capfd.readouterr().err
        assert "val=" in shown and ("aux=" in shown) == (auxiliary is not None) and "nan" not in shown


def test_the_auxiliary_gets_no_gradient_and_follows_by_ema_only():
    main, auxiliary = student(), student(1)
    start = states(auxiliary)
    dm.fit(
        Students(main, auxiliary),
        SPLITS,
        training=replace(SHORT, steps=1, evaluations=1),
        distillation=dm.Distillation(momentum=0.9),
        **CPU,
    )
    assert all(p.grad is None for p in auxiliary.parameters())
    for name, tensor in states(auxiliary).items():
        expected = 0.9 * start[name].double() + 0.1 * states(main)[name].double()
        assert torch.allclose(tensor.double(), expected, atol=1e-6), name


@pytest.mark.parametrize(("update", "moves"), [("frozen", False), ("trained", True), ("ema", True)])
def test_the_auxiliarys_update_can_be_chosen(update, moves):
    auxiliary = student(1)
    start = states(auxiliary)
    dm.fit(
        Students(student(), auxiliary),
        SPLITS,
        training=SHORT,
        distillation=dm.Distillation(auxiliary_update=update),
        **CPU,
    )
    assert equal(start, states(auxiliary)) is not moves


def conv_teacher(seed: int = 3) -> torch.nn.Module:
    """Another architecture than the student's, with BatchNorm and dropout, which tell evaluation from training mode."""
    torch.manual_seed(seed)
    teacher = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.BatchNorm2d(8),
        torch.nn.Flatten(),
        torch.nn.Dropout(),
        torch.nn.LazyLinear(2),
    )
    return set_input_statistics(teacher, *HALF)


def test_a_fixed_teacher_gives_the_soft_targets_and_stays_as_it_is(monkeypatch):
    teacher, seen, soft = conv_teacher(), [], STRATEGIES["kd"]
    teacher(torch.randn(4, 3, 16, 16))
    start = states(teacher)

    def noted(step):
        seen.append((step.indices.clone(), step.targets()))
        return soft(step)

    monkeypatch.setitem(training_state.STRATEGIES, "kd", noted)
    draws, original = [], TrainingState._draw
    monkeypatch.setattr(TrainingState, "_draw", lambda *args: draws.append(original(*args)) or draws[-1])
    dm.fit(Students(student(), teacher), SPLITS, training=SHORT, distillation=dm.Distillation("kd"), **CPU)
    assert equal(start, states(teacher)) and all(p.grad is None for p in teacher.parameters())
    assert len(seen) == len(draws) == SHORT.steps
    for step, (indices, targets) in enumerate(seen):
        assert indices.tolist() == batch_indices(step, 24, 6, SHORT.seed).tolist()
        with torch.no_grad():
            assert torch.allclose(targets, teacher.eval()(draws[step]))


def test_a_teacher_changes_the_main_student_only_with_alpha_and_by_what_it_says():
    def final(alpha, seed=3, strategy="kd"):
        teacher = conv_teacher(seed) if strategy == "kd" else None
        distillation = dm.Distillation(strategy, alpha=alpha, alpha_warmup=0.0)
        if teacher is not None:
            teacher(torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)))
        return states(
            dm.fit(Students(student(), teacher), SPLITS, training=SHORT, distillation=distillation, **CPU).main
        )

    assert equal(final(0.0), final(0.0, strategy="none"))
    assert not equal(final(0.5), final(0.0)) and not equal(final(0.5), final(0.5, seed=4))


def test_a_teacher_is_asked_for_by_kd_alone_and_must_know_the_classes():
    kd = {"training": SHORT, "distillation": dm.Distillation("kd"), **CPU}
    with pytest.raises(ValueError, match=r"'kd' needs a fine-tuned teacher: pass Students\(main, auxiliary=teacher\)"):
        dm.fit(Students(student()), SPLITS, **kd)
    with pytest.raises(ValueError, match="must be of one architecture.*a teacher as auxiliary needs"):
        dm.fit(Students(student(), dm.build("embedded_vit_96", 2)), SPLITS, training=SHORT, **CPU)
    with pytest.raises(ValueError, match="the teacher has 5 outputs, the data 2 classes: fine-tune it"):
        dm.fit(Students(student(), dm.build("embedded_vit_96", 5)), SPLITS, **kd)


def test_students_that_expect_other_input_or_do_not_say_are_refused():
    other = set_input_statistics(student(1), (0.4,) * 3, (0.5,) * 3)
    with pytest.raises(ValueError, match=r"the same images, but expect them with mean and std .*0.5.* and .*0.4"):
        dm.fit(Students(student(), other), SPLITS, training=SHORT, **CPU)
    other.pretrained_cfg = {}
    with pytest.raises(ValueError, match=r"VisionTransformer does not say .*set model.pretrained_cfg = .*dm.build"):
        dm.fit(Students(other), SPLITS, SHORT, dm.Distillation("none"), **CPU)


def test_alpha_zero_trains_the_main_student_exactly_as_no_distillation_does():
    runs = {}
    for name, distillation in {
        "zero": dm.Distillation(alpha=0.0),
        "none": dm.Distillation(strategy="none"),
        "some": dm.Distillation(alpha=0.5, alpha_warmup=0.0),
    }.items():
        runs[name] = states(
            dm.fit(Students(student(), student(1)), SPLITS, training=SHORT, distillation=distillation, **CPU).main
        )
    assert equal(runs["zero"], runs["none"])
    assert not equal(runs["zero"], runs["some"])


@pytest.mark.parametrize("strategy", ["ema", "dlb", "ps_kd", "cs_kd", "tf_kd", "none"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(strategy):
    distillation = dm.Distillation(strategy=strategy, alpha_warmup=0.0)

    def final(seed):
        run = dm.fit(
            Students(student(), student(1)),
            SPLITS,
            training=replace(SHORT, seed=seed),
            distillation=distillation,
            **CPU,
        )
        return states(run.main) | {"loss": torch.tensor([row["loss"] for row in run.history[1:]])}

    assert equal(final(0), final(0))
    assert not equal(final(0), final(1))


def test_batches_run_through_the_training_set_and_dlb_repeats_halves():
    seen = np.concatenate([batch_indices(step, 10, 5, seed=3) for step in range(4)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10)) and not np.array_equal(seen[:10], seen[10:])
    first, second = (batch_indices(step, 100, 8, seed=0, overlap=2) for step in (0, 1))
    assert np.array_equal(first[4:], second[:4]) and not set(first[:4]) & set(second[4:])


@pytest.mark.parametrize(
    "options",
    [
        *({"strategy": name, "auxiliary_update": "trained"} for name in ("ema", "dlb", "ps_kd")),
        {},
    ],
)
def test_a_stopped_run_resumes_to_the_same_weights_bit_for_bit(tmp_path, options):
    settings = {
        "training": SHORT,
        "distillation": dm.Distillation(**options),
        **CPU,
    }
    whole = dm.fit(Students(student(), student(1)), SPLITS, **settings)

    class Stop(Exception):
        pass

    def stop(row):
        if row["step"] == 6:
            raise Stop

    with pytest.raises(Stop):
        dm.fit(
            Students(student(), student(1)),
            SPLITS,
            checkpoint=tmp_path / "run.safetensors",
            on_evaluation=stop,
            **settings,
        )
    resumed = dm.fit(Students(student(5), student(6)), SPLITS, checkpoint=tmp_path / "run.safetensors", **settings)
    assert equal(states(whole.main), states(resumed.main)) and equal(states(whole.auxiliary), states(resumed.auxiliary))
    assert [row["val_loss"] for row in whole.history] == [row["val_loss"] for row in resumed.history]
    assert load_checkpoint(tmp_path / "run.safetensors")[1]["history"][-1]["step"] == 8


KILLED = """
import os, pathlib, signal, sys, time
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_fit import *

def start(name):
    if child := os.fork():
        return child
    path = {folder!r} + "/" + name
    long = replace(SHORT, steps=200, evaluations=50)
    run = dm.fit(Students(student(), student(1)), SPLITS, training=long, checkpoint=path, **CPU)
    torch.save(run.auxiliary.state_dict(), path + ".done")
    os._exit(0)

killed = start("killed")
while not pathlib.Path({folder!r}, "killed").exists():
    time.sleep(0.001)
time.sleep({wait})
os.kill(killed, signal.SIGKILL)
os.waitpid(killed, 0)
assert not pathlib.Path({folder!r}, "killed.done").exists(), "the run ended before it was killed"
for name in ("killed", "whole"):
    os.waitpid(start(name), 0)
"""


def test_a_run_killed_at_any_moment_resumes_bit_for_bit(tmp_path):
    wait = np.random.default_rng().uniform(0, 0.3)
    code = KILLED.format(tests=os.path.dirname(__file__), folder=str(tmp_path), wait=wait)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    whole, resumed = (torch.load(tmp_path / f"{name}.done", weights_only=True) for name in ("whole", "killed"))
    assert equal(whole, resumed), f"killed after {wait} s"


@pytest.mark.parametrize("flips", [(), ("horizontal", "vertical")])
def test_images_are_mirrored_only_as_the_data_set_allows(monkeypatch, flips):
    seen, original = set(), training_state.augment

    def noted(images, generator, flips):
        seen.add(flips)
        return original(images, generator, flips)

    monkeypatch.setattr(training_state, "augment", noted)
    dm.fit(Students(student(), student(1)), replace(SPLITS, flips=flips), training=SHORT, **CPU)
    assert seen == {flips}


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    dm.fit(Students(student(), student(1)), SPLITS, training=SHORT, checkpoint=path, **CPU)
    other = set_input_statistics(student(), (0.4,) * 3, (0.5,) * 3)
    others = {
        "lr": {"training": replace(SHORT, lr=0.1)},
        "images": {"splits": Splits("other", stripes(24, 9), SPLITS.val, SPLITS.test)},
        "normalisation": {"main": other, "auxiliary": None, "distillation": dm.Distillation(alpha=0.0)},
        "flips": {"splits": replace(SPLITS, flips=())},
        "teacher": {"distillation": dm.Distillation("kd"), "auxiliary": student(2)},
        "auxiliary": {"auxiliary": None, "distillation": dm.Distillation(strategy="ema", alpha=0.0)},
    }
    for what, change in others.items():
        call = {"main": student(), "auxiliary": student(1), "splits": SPLITS, "training": SHORT, **CPU, **change}
        with pytest.raises(
            ValueError, match=rf"made with other settings \(.*{what}.*\): delete it, or pass another path"
        ):
            dm.fit(Students(call.pop("main"), call.pop("auxiliary")), checkpoint=path, **call)


@pytest.mark.parametrize("step", [3, 4])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, step):
    """Weights that break in the middle of a stretch (3), or in its very last step (4), before the checkpoint."""
    path, advance = tmp_path / "run.safetensors", TrainingState._one_step

    def broken(self):
        losses = advance(self)
        if self.step == step - 1:
            self.main.head.weight.data.fill_(float("nan"))
        return losses

    monkeypatch.setattr(TrainingState, "_one_step", broken)
    with pytest.raises(FloatingPointError, match=r"no longer finite at step 4 .*lower lr"):
        dm.fit(Students(student(), student(1)), SPLITS, training=SHORT, checkpoint=path, **CPU)
    groups, record = load_checkpoint(path)
    assert record["history"][-1]["step"] == 2
    assert all(torch.isfinite(tensor).all() for name in ("main", "best") for tensor in groups[name].values())


def test_batchnorm_statistics_are_measured_on_the_training_images_first():
    state = dm.build("mobilenetv1_100", 3).state_dict()
    students = dm.make_students(
        Teacher("mobilenetv1_100", state, (0.5,) * 3, (0.5,) * 3, "a test"), "mobilenetv1_050", 2
    )
    before = copy.deepcopy(students.main.bn1.running_mean)
    run = dm.fit(
        Students(students.main, students.auxiliary), SPLITS, training=replace(SHORT, steps=1, evaluations=1), **CPU
    )
    assert not torch.equal(run.main.bn1.running_mean, before)
    assert np.isfinite(run.history[0]["val_loss"])


def test_batchnorm_is_measured_whatever_the_number_of_images():
    many = stripes(257, 3)
    students = Students(dm.build("mobilenetv1_050", 2))
    one = replace(SHORT, steps=1, evaluations=1)
    run = dm.fit(
        students,
        Splits("s", many, SPLITS.val, SPLITS.test),
        training=one,
        distillation=dm.Distillation("none"),
        **CPU,
    )
    assert np.isfinite(run.history[0]["val_loss"])


def test_fit_leaves_the_students_trainable_and_the_random_state_alone():
    main, auxiliary = student(), student(1)
    before = torch.get_rng_state()
    dm.fit(Students(main, auxiliary), SPLITS, training=SHORT, **CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.requires_grad for p in (*main.parameters(), *auxiliary.parameters()))


def test_two_processes_share_the_batches_and_end_with_one_network(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        f"""
import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
import torch; torch.set_num_threads(1)
from accelerate import PartialState
from test_fit import *
state = PartialState(cpu=True)
run = dm.fit(Students(student(), student(1)), SPLITS, training=SHORT, **CPU)
torch.save(run.main.state_dict(), {str(tmp_path)!r} + f"/rank{{state.process_index}}of{{state.num_processes}}.pt")
"""
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"rank{r}of2.pt", weights_only=True) for r in (0, 1))
    assert equal(first, second)


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("lr", -1.0), ("batch_size", 0), ("label_smoothing", 1.0), ("warmup", 1.5), ("weight_decay", -1)],
)
def test_settings_outside_their_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}={value}"):
        dm.Training(**{field: value})


def test_settings_that_do_not_fit_the_data_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"batch_size=32 is larger than the training set \(24 images\): pass batch_size <= 24"
    ):
        dm.fit(Students(student(), student(1)), SPLITS, **CPU)
    with pytest.raises(ValueError, match="strategy='ema' needs an auxiliary student"):
        dm.fit(Students(student(), None), SPLITS, training=SHORT, **CPU)
    with pytest.raises(ValueError, match="the main student has 5 outputs, the data 2 classes"):
        dm.fit(Students(dm.build("embedded_vit_48", 5), None), SPLITS, training=SHORT, **CPU)
    with pytest.raises(ValueError, match="must be of one architecture"):
        dm.fit(Students(student(), dm.build("embedded_vit_48", 2)), SPLITS, training=SHORT, **CPU)
    with pytest.raises(ValueError, match="device='tpu' is not available"):
        dm.fit(Students(student(), student(1)), SPLITS, training=SHORT, **{**CPU, "device": "tpu"})
    with pytest.raises(ValueError, match="batch_size=5 must be even for strategy='dlb'"):
        dm.fit(
            Students(student(), None),
            SPLITS,
            training=replace(SHORT, batch_size=5),
            distillation=dm.Distillation("dlb"),
            **CPU,
        )
    empty = SPLITS.val.take(np.arange(0))
    with pytest.raises(ValueError, match="the validation set is empty"):
        dm.fit(Students(student(), student(1)), Splits("s", SPLITS.train, empty, SPLITS.test), training=SHORT, **CPU)
    (tmp_path / "file").touch()
    with pytest.raises(PermissionError, match="cannot be written to"):
        dm.fit(Students(student(), student(1)), SPLITS, training=SHORT, checkpoint=tmp_path / "file" / "run", **CPU)


def test_a_run_that_is_stopped_early_ends_as_a_whole_one_and_can_go_on(tmp_path):
    whole = dm.fit(Students(student(), student(1)), SPLITS, training=SHORT, **CPU)
    path = tmp_path / "run.safetensors"
    early = dm.fit(
        Students(student(), student(1)),
        SPLITS,
        training=SHORT,
        checkpoint=path,
        on_evaluation=lambda row: row["step"] == 4,
        **CPU,
    )
    assert [row["step"] for row in early.history] == [0, 2, 4]
    best = max(early.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert early.best_step == best["step"]
    assert early.images_per_second == pytest.approx(4 * SHORT.batch_size / early.seconds)
    later = dm.fit(Students(student(2), student(3)), SPLITS, training=SHORT, checkpoint=path, **CPU)
    assert equal(states(later.main), states(whole.main)) and equal(states(later.auxiliary), states(whole.auxiliary))


def test_an_error_from_on_evaluation_leaves_random_numbers_and_students_as_they_should_be():
    def fail(row):
        raise RuntimeError("a bug")

    main, auxiliary = student(), student(1)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="a bug"):
        dm.fit(Students(main, auxiliary), SPLITS, training=SHORT, on_evaluation=fail, **CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.requires_grad for p in auxiliary.parameters())
