import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dmws_lite.method.distillation import STRATEGIES, Distillation, Step, half_life_of, soft_loss, update_auxiliary

BATCH, CLASSES, IMAGES = 6, 4, 20


def draw(*shape, seed=0, scale=2.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def step_of(strategy, alpha=0.3, temperature=3.0, smoothing=0.0, seed=0):
    """A step with everything that any strategy asks for: two images of the last mini-batch, four seen by PS-KD."""
    indices = torch.tensor([11, 3, 7, 0, 19, 5])
    memory = {}
    if strategy == "dlb":
        memory = {"indices": torch.tensor([8, 0, 3, 14]), "logits": draw(4, CLASSES, seed=seed + 3)}
    if strategy == "ps_kd":
        memory = {"probabilities": torch.full((IMAGES, CLASSES), float("nan"))}
        memory["probabilities"][indices[:4]] = draw(4, CLASSES, seed=seed + 4).softmax(1)
    return Step(
        logits=draw(BATCH, CLASSES, seed=seed).requires_grad_(),
        labels=torch.tensor([0, 3, 1, 1, 2, 0]),
        indices=indices,
        alpha=alpha,
        temperature=temperature,
        smoothing=smoothing,
        targets=lambda: draw(BATCH, CLASSES, seed=seed + 1),
        partner=lambda: draw(BATCH, CLASSES, seed=seed + 2),
        memory=memory,
    )


def array(tensor):
    return tensor.detach().double().numpy()


def log_softmax(z):
    return z - np.log(np.exp(z).sum(1, keepdims=True))


def cross_entropy(z, target):
    """Mean over the batch of -sum_k target_k log softmax(z)_k; target (batch, class) or class numbers."""
    target = np.eye(CLASSES)[target] if target.ndim == 1 else target
    return -(target * log_softmax(z)).sum(1).mean()


def divergence(target, z, temperature):
    """T^2 KL(softmax(target / T) || softmax(z / T)), mean over the batch."""
    p, q = log_softmax(target / temperature), log_softmax(z / temperature)
    return temperature**2 * (np.exp(p) * (p - q)).sum(1).mean()


def by_hand(strategy, step):
    """The papers' losses in float64; step is as before the strategy saw it."""
    z, y, a, t = array(step.logits), step.labels.numpy(), step.alpha, step.temperature
    smooth = np.eye(CLASSES)[y] * (1 - step.smoothing) + step.smoothing / CLASSES
    hard = cross_entropy(z, smooth)
    if strategy == "none":
        return hard
    if strategy in ("ema", "kd"):
        return (1 - a) * hard + a * divergence(array(step.targets()), z, t)
    if strategy == "dlb":  # images 3 and 0 are rows 1 and 3 now, and were rows 2 and 1 of the last mini-batch
        return hard + a * divergence(array(step.memory["logits"])[[2, 1]], z[[1, 3]], t)
    if strategy == "ps_kd":
        past = array(step.memory["probabilities"])[step.indices.numpy()]
        return cross_entropy(z, np.where(np.isnan(past), smooth, (1 - a) * smooth + a * past))
    if strategy == "cs_kd":
        return hard + a * divergence(array(step.partner()), z, t)
    virtual = np.where(np.eye(CLASSES)[y] == 1, 0.9, 0.1 / (CLASSES - 1))
    return (1 - a) * hard + a * divergence(np.log(virtual), z, t)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("alpha, temperature", [(0.0, 1.0), (0.3, 1.0), (0.3, 3.0), (1.0, 4.0)])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_loss_is_the_papers_formula(strategy, alpha, temperature, smoothing):
    step = step_of(strategy, alpha, temperature, smoothing)
    expected = by_hand(strategy, step)
    assert abs(STRATEGIES[strategy](step).item() - expected) < 1e-5 * max(1, abs(expected))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_without_alpha_the_gradient_is_that_of_cross_entropy_and_with_alpha_another(strategy):
    step = step_of(strategy)
    plain = torch.autograd.grad(F.cross_entropy(step.logits, step.labels), step.logits)[0]
    steps = step_of(strategy, alpha=0.0), step
    without, with_alpha = (torch.autograd.grad(STRATEGIES[strategy](one), one.logits)[0] for one in steps)
    assert torch.equal(without, plain) or (strategy == "ps_kd" and torch.allclose(without, plain, atol=1e-7))
    assert torch.allclose(with_alpha, plain, atol=1e-3) == (strategy == "none")


def test_soft_loss_is_computed_in_float32_whatever_comes_in():
    a, b = draw(BATCH, CLASSES, seed=1).bfloat16(), draw(BATCH, CLASSES, seed=2).bfloat16()
    assert abs(soft_loss(a, b, 2.0).item() - divergence(array(b), array(a), 2.0)) < 1e-5


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize(("strategy", "source"), [("ema", "targets"), ("kd", "targets"), ("cs_kd", "partner")])
def test_the_other_network_gets_no_gradient_and_without_alpha_is_not_run(strategy, source, alpha):
    images, labels, runs = draw(BATCH, 5), torch.tensor([0, 3, 1, 1, 2, 0]), []
    main, other = nn.Linear(5, CLASSES), nn.Linear(5, CLASSES)
    giver = {source: lambda: (runs.append(1), other(images))[1]}
    STRATEGIES[strategy](Step(main(images), labels, torch.arange(BATCH), alpha, 2.0, **giver)).backward()
    assert all(p.grad is None for p in other.parameters())
    assert all(p.grad.abs().sum() > 0 for p in main.parameters())
    assert len(runs) == (alpha > 0 or strategy == "cs_kd")


def test_dlb_remembers_each_mini_batch_and_starts_with_the_labels_alone():
    step = step_of("dlb")
    step.memory = {}
    assert abs(STRATEGIES["dlb"](step).item() - by_hand("none", step)) < 1e-5
    assert torch.equal(step.memory["indices"], step.indices)
    assert torch.equal(step.memory["logits"], step.logits.detach()) and not step.memory["logits"].requires_grad


def test_ps_kd_remembers_what_the_main_student_says_of_these_images_only():
    step = step_of("ps_kd")
    expected = array(step.memory["probabilities"])
    expected[step.indices] = np.exp(log_softmax(array(step.logits)))
    STRATEGIES["ps_kd"](step)
    assert np.allclose(array(step.memory["probabilities"]), expected, atol=1e-6, equal_nan=True)
    assert not step.memory["probabilities"].requires_grad


def student(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LazyLinear(3))
    for batch in draw(seed + 2, 5, 3, 6, 6, seed=seed):
        model(batch)
    return model


@pytest.mark.parametrize("momentum", [0.0, 0.9, 1.0])
def test_ema_of_parameters_and_buffers_in_float64_by_hand(momentum):
    main, auxiliary = student(1), student(2)
    new = {k: v.double().numpy().copy() for k, v in main.state_dict().items()}
    old = {k: v.double().numpy().copy() for k, v in auxiliary.state_dict().items()}
    for _ in range(3):
        update_auxiliary(auxiliary, main, momentum)
        old = {k: momentum * old[k] + (1 - momentum) * v for k, v in new.items()}
    for name, tensor in auxiliary.state_dict().items():
        expected = old[name] if tensor.is_floating_point() else new[name]
        assert np.allclose(tensor.double().numpy(), expected, rtol=1e-6, atol=1e-7), name
    assert all(np.array_equal(v.double().numpy(), new[k]) for k, v in main.state_dict().items())


def test_alpha_and_momentum_through_a_run():
    for warmup, expected in ((1.0, [0, 0.1, 0.2, 0.3, 0.396]), (0.5, [0, 0.2, 0.4, 0.4, 0.4]), (0.0, [0.4] * 5)):
        settings = Distillation(alpha=0.4, alpha_warmup=warmup)
        assert np.allclose([settings.alpha_at(step, 100) for step in (0, 25, 50, 75, 99)], expected)
    for step, steps in ((0, 50), (2500, 5000)):
        assert half_life_of(Distillation(half_life=0.1).momentum_at(step, steps)) == pytest.approx(0.1 * steps)
    assert Distillation(momentum=0.7, half_life=0.3).momentum_at(7, 10) == 0.7
    assert abs(Distillation(half_life_epochs=2).momentum_at(7, 10, epoch=3) ** 6 - 0.5) < 1e-9
    rising = Distillation(momentum=0.9, momentum_schedule="cosine")
    expected = [0.9, 1 - 0.1 * (np.sqrt(0.5) + 1) / 2, 0.95, 1.0]
    assert np.allclose([rising.momentum_at(step, 100) for step in (0, 25, 50, 100)], expected)
    assert (half_life_of(0.0), half_life_of(1.0)) == (0, float("inf"))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"strategy": "skd"}, "unknown strategy 'skd'.*choose from ema, dlb, ps_kd, cs_kd, tf_kd, kd, none"),
        ({"auxiliary_update": "copy"}, "unknown auxiliary_update 'copy'.*ema, frozen, trained"),
        ({"alpha": -0.1}, "alpha=-0.1 is out of range: 0 <= alpha <= 1"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"temperature": float("inf")}, "temperature=inf"),
        ({"half_life": 0.0}, "half_life=0.0 must be above 0"),
    ],
)
def test_settings_outside_their_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**settings)
