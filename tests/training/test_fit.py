import os
import signal
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch.distributed.elastic.utils.distributed import get_free_port

import dmws_lite as dm
from dmws_lite.data.sets import ImageSet, Splits
from dmws_lite.method.distillation import STRATEGIES
from dmws_lite.method.networks import Teacher, set_input_statistics
from dmws_lite.method.students import Students
from dmws_lite.training.export import Run
from dmws_lite.training.fit import Trainer, batch_indices, load_run

SHORT = dm.Training(steps=8, batch_size=6, evaluations=4, lr=1e-3)
ONE = replace(SHORT, steps=1, evaluations=1)
HALF = (0.5,) * 3, (0.5,) * 3


def stripes(count: int, seed: int) -> ImageSet:
    """Two classes: stripes across and stripes along."""
    labels, across = np.arange(count) % 2, np.random.default_rng(seed).uniform(0, 6, (count, 1))
    wave = (127 + 100 * np.sin(np.arange(16)[None] * 1.5 + across)).astype(np.uint8)
    images = [np.tile(w, (16, 1)) if y else np.tile(w[:, None], (1, 16)) for w, y in zip(wave, labels, strict=True)]
    return ImageSet(np.stack(images)[:, None], labels, ("across", "along"), tuple(map(str, range(count))))


SPLITS = Splits("stripes", stripes(24, 0), stripes(20, 1), stripes(20, 2))


def student(seed: int = 0, statistics=HALF, **shape) -> torch.nn.Module:
    torch.manual_seed(seed)
    shape = {"embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "num_classes": 2} | shape
    return set_input_statistics(VisionTransformer(16, 4, **shape), *statistics)


def pair(main: int = 0, auxiliary: int = 1) -> Students:
    return Students(student(main), student(auxiliary))


def taught(seed: int = 3) -> Students:
    """With a teacher of another width, whose dropout tells evaluation from training mode."""
    return Students(student(), student(seed, embed_dim=32, drop_rate=0.5))


def fit(students: Students | None = None, *, splits: Splits = SPLITS, training=SHORT, device="cpu", **options) -> Run:
    """A short run on a CPU. Other options: skd (settings of Distillation), and what dm.fit takes."""
    skd = dm.Distillation(**options.pop("skd", {}))
    return dm.fit(students or pair(), splits, training, skd, **{"device": device, "progress": False, **options})


def states(*models: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.clone() for model in models for tensor in model.state_dict().values()]


def equal(a: list, b: list) -> bool:
    return len(a) == len(b) and all(map(torch.equal, a, b))


def test_the_main_student_learns_and_the_run_tells():
    seen: list[dict] = []
    training = replace(SHORT, steps=150, evaluations=5, batch_size=12, lr=3e-3, label_smoothing=0.0)
    students = replace(pair(), name="a name", teacher="a teacher", initializer="mimetic")
    run = fit(students, training=training, on_evaluation=seen.append)
    assert [row["step"] for row in run.history] == [0, 30, 60, 90, 120, 150] and seen == run.history
    best = max(run.history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert run.best_step == best["step"] and best["val_accuracy"] > 0.9
    assert (dm.predict(run.main, SPLITS.val).argmax(1) == SPLITS.val.labels).mean() == best["val_accuracy"]
    assert run.history[-1]["alpha"] == 0.5 and 0 < run.history[-1]["momentum"] < 1
    assert (run.name, run.teacher, run.initializer, run.data) == ("a name", "a teacher", "mimetic", "stripes")
    assert (run.classes, run.image_size, run.training_images, run.fit) == (("across", "along"), 16, 24, "crop")
    assert run.training == training and run.main is students.main and run.auxiliary is students.auxiliary


@pytest.mark.parametrize(("update", "moves"), [("frozen", False), ("trained", True), ("ema", True)])
def test_the_auxiliary_gets_no_gradient_and_follows_as_it_is_told(update, moves):
    students, before, threads = pair(), torch.get_rng_state(), []
    start = states(students.auxiliary)
    skd = {"momentum": 0.9, "auxiliary_update": update}
    fit(students, training=ONE, skd=skd, on_evaluation=lambda row: threads.append(torch.get_num_threads()))
    assert threads == [1, 1] and torch.equal(torch.get_rng_state(), before)
    assert equal(start, states(students.auxiliary)) is not moves
    assert all(p.requires_grad for p in students.auxiliary.parameters())
    if update == "ema":
        assert all(p.grad is None for p in students.auxiliary.parameters())
        for old, new, main in zip(start, states(students.auxiliary), states(students.main), strict=True):
            assert torch.allclose(new.double(), 0.9 * old.double() + 0.1 * main.double(), atol=1e-6)


def test_a_step_that_the_gradient_scaler_skips_moves_no_student_and_is_counted(monkeypatch):
    module, strategy, moved = sys.modules[Trainer.__module__], STRATEGIES["ema"], []
    make_accelerator = module._make_accelerator

    def scaled(*arguments):
        accelerator = make_accelerator(*arguments)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        return accelerator

    monkeypatch.setattr(module, "_make_accelerator", scaled)
    monkeypatch.setitem(STRATEGIES, "ema", lambda step: strategy(step) * (float("inf") if len(moved) in (1, 2) else 1))
    trainer = Trainer(pair(), SPLITS, replace(SHORT, warmup=0), dm.Distillation(alpha_warmup=0.0), "cpu")
    for _ in range(4):
        before = [states(trainer.main), states(trainer.auxiliary)]
        trainer.train_step()
        after = [states(trainer.main), states(trainer.auxiliary)]
        moved.append([not equal(*both) for both in zip(before, after, strict=True)])
    assert moved == [[True, True], [False, False], [False, False], [True, True]]
    assert trainer.record["skipped_steps"] == 2 and trainer.accelerator.scaler.get_scale() == 256


def test_a_fixed_teacher_sees_the_augmented_batch_in_evaluation_mode_and_stays_as_it_is(monkeypatch):
    students, seen, draws = taught(), [], []
    teacher, loss, augmented = students.auxiliary, STRATEGIES["kd"], Trainer.augmented
    start = states(teacher)
    monkeypatch.setitem(STRATEGIES, "kd", lambda step: seen.append(step.targets()) or loss(step))
    monkeypatch.setattr(Trainer, "augmented", lambda *args: draws.append(augmented(*args)) or draws[-1])
    run = fit(students, skd={"strategy": "kd"})
    assert equal(start, states(teacher)) and all(p.grad is None for p in teacher.parameters())
    assert run.auxiliary is None and np.isnan(run.history[-1]["auxiliary_accuracy"])
    with torch.no_grad():
        assert all(torch.allclose(one, teacher.eval()(draw)) for one, draw in zip(seen, draws, strict=True))


def test_soft_targets_change_the_main_student_only_with_alpha_and_by_what_the_teacher_says():
    def final(students, strategy="none", alpha=0.5):
        return states(fit(students, skd={"strategy": strategy, "alpha": alpha, "alpha_warmup": 0.0}).main)

    none = final(pair())
    assert equal(final(pair(), "ema", 0.0), none) and equal(final(taught(3), "kd", 0.0), none)
    ema, kd, other = final(pair(), "ema"), final(taught(3), "kd"), final(taught(4), "kd")
    assert not any(equal(a, b) for a, b in ((ema, none), (kd, none), (kd, other)))


def test_what_a_second_core_makes_is_what_one_core_would_make(monkeypatch):
    threads, augmented = set(), Trainer.augmented
    monkeypatch.setattr(Trainer, "augmented", lambda *args: threads.add(threading.get_ident()) or augmented(*args))
    two = fit()
    assert threads - {threading.get_ident()}
    monkeypatch.setattr("dmws_lite.training.fit.ThreadPoolExecutor", lambda _: None)
    assert equal(states(fit().main), states(two.main))


def test_dlb_repeats_half_of_each_batch():
    first, second = (batch_indices(step, 100, 8, seed=0, overlap=2) for step in (0, 1))
    assert np.array_equal(first[4:], second[:4]) and not set(first[:4]) & set(second[4:])


@pytest.mark.parametrize("update", ["ema", "trained"])
@pytest.mark.parametrize("strategy", ["ema", "dlb", "ps_kd", "cs_kd", "tf_kd"])
def test_a_run_that_breaks_resumes_to_the_same_weights_bit_for_bit(tmp_path, strategy, update):
    skd = {"strategy": strategy, "auxiliary_update": update, "alpha_warmup": 0.0}
    path, whole = tmp_path / "run", fit(skd=skd)

    def fail(row):
        if row["step"] == 6:
            raise RuntimeError("a bug")

    students, before = pair(), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="a bug"):
        fit(students, skd=skd, checkpoint=path, on_evaluation=fail)
    assert torch.equal(torch.get_rng_state(), before) and all(p.requires_grad for p in students.auxiliary.parameters())
    resumed = fit(pair(5, 6), skd=skd, checkpoint=path)
    assert equal(states(whole.main, whole.auxiliary), states(resumed.main, resumed.auxiliary))
    assert [row["val_loss"] for row in whole.history] == [row["val_loss"] for row in resumed.history]
    assert not equal(states(whole.main), states(fit(training=replace(SHORT, seed=1), skd=skd).main))


def test_a_run_that_is_stopped_early_ends_as_a_whole_one_can_be_loaded_and_can_go_on(tmp_path):
    whole, path = fit(), tmp_path / "run"
    early = fit(checkpoint=path, on_evaluation=lambda row: row["step"] == 4)
    assert [row["step"] for row in early.history] == [0, 2, 4]
    assert early.images_per_second == pytest.approx(4 * SHORT.batch_size / early.seconds)
    loaded = load_run(path, pair(7, 8), SPLITS, SHORT, dm.Distillation())
    assert equal(states(loaded.main, loaded.auxiliary), states(early.main, early.auxiliary))
    assert repr(loaded.history) == repr(early.history) and loaded.data == "stripes"
    later = fit(pair(2, 3), checkpoint=path)
    assert equal(states(later.main, later.auxiliary), states(whole.main, whole.auxiliary))


LONG = replace(SHORT, steps=120, evaluations=30)


def child(tmp_path, code):
    """A script that runs `code` with all that this file has."""
    start = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\nfrom test_fit import *\n"
    (tmp_path / "child.py").write_text(f"{start}torch.set_num_threads(1)\n{code}")
    return tmp_path / "child.py"


def test_a_run_killed_at_any_moment_resumes_bit_for_bit(tmp_path, fork):
    path, wait = tmp_path / "run", np.random.default_rng().uniform(0, 0.3)
    run = fork(child(tmp_path, f"fit(training=LONG, checkpoint={str(path)!r})"))
    while not path.exists() and run.exitcode is None:
        time.sleep(0.001)
    time.sleep(wait)
    run.kill()
    run.join()
    assert run.exitcode == -signal.SIGKILL, "the run ended before it was killed"
    resumed, whole = fit(pair(5, 6), training=LONG, checkpoint=path), fit(training=LONG)
    assert equal(states(whole.main, whole.auxiliary), states(resumed.main, resumed.auxiliary)), f"killed after {wait} s"


def test_two_processes_share_the_batches_and_end_with_one_network(tmp_path, fork):
    """Each is told of the other by the environment, as torchrun and `accelerate launch` do it."""
    code = "os.environ |= environment\nimport accelerate\nassert accelerate.PartialState(cpu=True).num_processes == 2"
    script, port = child(tmp_path, f"{code}\ntorch.save(states(fit().main), file)"), str(get_free_port())
    both = {"ACCELERATE_USE_CPU": "true", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = {rank: both | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"}
    for process in [fork(script, file=tmp_path / rank, environment=own) for rank, own in ranks.items()]:
        process.join()
    assert equal(*(torch.load(tmp_path / rank, weights_only=True) for rank in "01"))


def test_images_are_mirrored_only_as_the_data_set_allows(monkeypatch):
    seen, module = [], sys.modules[Trainer.__module__]  # `dm.fit` is the function of this name
    monkeypatch.setattr(module, "augment", lambda images, rng, flips: seen.append(flips) or images)
    for flips in ((), ("horizontal", "vertical")):
        fit(splits=replace(SPLITS, flips=flips), training=ONE)
    assert seen == [(), ("horizontal", "vertical")]


def test_a_checkpoint_of_other_settings_is_refused_and_they_are_named(tmp_path):
    path = tmp_path / "run"
    fit(training=ONE, checkpoint=path)
    others = {
        "lr": {"training": replace(ONE, lr=0.1)},
        "images": {"splits": replace(SPLITS, train=stripes(24, 9))},
        "normalisation": {"students": Students(MOVED.auxiliary), "skd": {"alpha": 0.0}},
        "flips": {"splits": replace(SPLITS, flips=())},
        "teacher": {"students": pair(0, 2), "skd": {"strategy": "kd"}},
        "auxiliary": {"students": Students(student()), "skd": {"alpha": 0.0}},
        "start": {"students": replace(pair(), initializer="xavier")},
    }
    for key, change in others.items():
        with pytest.raises(ValueError, match=rf"made with other settings \(.*{key}.*\): delete it, or pass another"):
            fit(checkpoint=path, **{"training": ONE, **change})
    assert all(weight.requires_grad for weight in others["start"]["students"].auxiliary.parameters())  # given back


@pytest.mark.parametrize("step", [3, 4])  # in the middle of a stretch, and in its very last step
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch, step):
    path, train_step = tmp_path / "run", Trainer.train_step

    def broken(self):
        losses = train_step(self)
        if self.step == step:
            self.main.head.weight.data.fill_(float("nan"))
        return losses

    monkeypatch.setattr(Trainer, "train_step", broken)
    with pytest.raises(FloatingPointError, match=r"no longer finite at step 4 .*lower lr"):
        fit(checkpoint=path)
    loaded = load_run(path, pair(), SPLITS, SHORT, dm.Distillation())
    assert loaded.history[-1]["step"] == 2 and all(torch.isfinite(tensor).all() for tensor in states(loaded.main))


def test_batchnorm_statistics_are_measured_first_and_weights_come_back_contiguous_from_the_faster_layout():
    teacher = Teacher("mobilenetv1_100", dm.build("mobilenetv1_100", 3).state_dict(), *HALF, "a test")
    students = dm.make_students(teacher, "mobilenetv1_050", 2)
    before, layouts = students.main.bn1.running_mean.clone(), set()
    students.main.bn1.register_forward_hook(lambda *given: layouts.add(given[-1].is_contiguous()))
    run = fit(students, splits=replace(SPLITS, train=stripes(257, 3)), training=ONE)  # more than a batch of it
    assert not torch.equal(run.main.bn1.running_mean, before) and np.isfinite(run.history[0]["val_loss"])
    assert layouts == {False} and all(weight.is_contiguous() for weight in run.main.state_dict().values())


@pytest.mark.parametrize("norm", ["ema", "batch"])
def test_the_auxiliarys_batchnorm_is_averaged_or_measured_on_the_batch_that_it_teaches(monkeypatch, norm):
    draws, augmented, auxiliary = [], Trainer.augmented, dm.build("mobilenetv1_050", 2, seed=1)
    monkeypatch.setattr(Trainer, "augmented", lambda *args: draws.append(augmented(*args)) or draws[-1])
    skd = {"alpha_warmup": 0.0, "auxiliary_norm": norm, "auxiliary_update": "frozen"}
    fit(Students(dm.build("mobilenetv1_050", 2), auxiliary), training=ONE, skd=skd)
    mean = auxiliary.conv_stem(draws[0]).mean((0, 2, 3))
    assert torch.allclose(auxiliary.bn1.running_mean, mean, atol=1e-6) is (norm == "batch")


@pytest.mark.parametrize("key, value", {"steps": 2.5, "lr": -1.0, "warmup": 1.0, "seed": -1, "clip": 0}.items())
def test_settings_outside_their_range_are_refused(key, value):
    with pytest.raises(ValueError, match=f"{key}={value}"):
        dm.Training(**{key: value})


KD = {"strategy": "kd"}
ALONE, MOVED = Students(student()), Students(student(), student(1, ((0.4,) * 3, (0.5,) * 3)))
SILENT = Students(student(0, ((), ())))
SILENT.main.pretrained_cfg = {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"training": dm.Training()}, "batch_size=32 is larger than .*: pass batch_size <= 24"),
        ({"students": ALONE}, "strategy='ema' needs an auxiliary student"),
        ({"students": Students(dm.build("embedded_vit_48", 5))}, "main student has 5 outputs, the data 2 classes"),
        ({"students": Students(student(), dm.build("embedded_vit_96", 2))}, "one architecture.*as auxiliary needs"),
        ({"students": MOVED}, r"the same images, but expect them with mean and std .*0.5.* and .*0.4"),
        ({"students": SILENT, "skd": {"strategy": "none"}}, r"does not say .*set model.pretrained_cfg = .*dm.build"),
        ({"students": ALONE, "skd": KD}, r"needs a fine-tuned teacher: pass Students\(main, auxiliary=teacher\)"),
        ({"students": Students(student(), dm.build("embedded_vit_96", 5)), "skd": KD}, "the teacher has 5 outputs"),
        ({"device": "tpu"}, "device='tpu' is not available"),
        ({"training": replace(SHORT, batch_size=5), "skd": {"strategy": "dlb"}}, "batch_size=5 must be even for"),
        ({"splits": replace(SPLITS, val=SPLITS.val.take(np.arange(0)))}, "the validation set is empty"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit(**options)


def test_files_that_are_no_checkpoint_or_cannot_be_one_are_refused(tmp_path):
    path = tmp_path / "run"
    fit(training=ONE, checkpoint=path)
    for content in (b"no checkpoint", path.read_bytes()[:-500]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is not a checkpoint of this project: delete it, or pass another path"):
            fit(training=ONE, checkpoint=path)
    with pytest.raises(PermissionError, match="cannot be written to"):
        fit(checkpoint=path / "below a file")
