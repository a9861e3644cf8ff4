"""The toy: wrong labels, the average's gap, and that its parts do what the chapter says."""

import itertools

import numpy as np
import pytest
import torch

from dmws_lite.method.distillation import STRATEGIES, Distillation, Step, update_auxiliary
from dmws_lite.training.toy import WINDOW, judge, moons, small_network, surface, watch

STEPS, SETTINGS = 40, Distillation(alpha=0.5)


def test_the_share_of_wrong_labels_the_seed_and_mates_of_the_same_label():
    data, again, other = moons(50, 0.3, seed=1), moons(50, 0.3, seed=1), moons(50, 0.3, seed=2)
    assert data.wrong.sum() == 15 and set(data.labels.tolist()) == {0, 1} and not moons(50, 0.0).wrong.any()
    assert torch.equal(data.x, again.x) and torch.equal(data.labels, again.labels)
    assert not torch.equal(data.x, other.x)
    assert torch.equal(data.labels[data.mates], data.labels) and not (data.mates == torch.arange(50)).any()
    assert sorted(data.mates.tolist()) == list(range(50))
    with pytest.raises(ValueError, match=r"wrong=20 .* 0 <= wrong <= 1"):
        moons(50, 20)


def test_the_surface_is_the_probability_of_class_1_over_the_window():
    grid = surface(lambda x: torch.stack([torch.zeros(len(x)), x[:, 0]], 1), 21)  # logits (0, x)
    x = np.linspace(WINDOW[0], WINDOW[1], 21)
    np.testing.assert_allclose(grid, np.broadcast_to(1 / (1 + np.exp(-x)), (21, 21)), rtol=1e-5)


def run(data, trains_auxiliary=False):
    """A run as the chapter's loop; without the stop-gradient the auxiliary is trained, too."""
    main, auxiliary = small_network(0), small_network(1)
    optimizer = torch.optim.Adam(itertools.chain(main.parameters(), auxiliary.parameters()), lr=0.01)
    for step in range(STEPS):
        yield step, main, auxiliary
        targets = auxiliary(data.x)
        batch = Step(main(data.x), data.labels, torch.arange(len(data.x)), 0.5, 2.0, targets=lambda t=targets: t)
        loss = STRATEGIES["ema"](batch)
        if trains_auxiliary:
            loss = loss + (targets.log_softmax(1) - batch.logits.log_softmax(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        update_auxiliary(auxiliary, main, SETTINGS.momentum_at(step, STEPS))
    yield STEPS, main, auxiliary


def test_what_is_watched_of_a_run_and_that_the_auxiliary_is_the_average_unless_it_is_trained():
    data, clean = moons(20, 0.2), moons(100, 0.0, seed=9)
    watched = watch(run(data), data, clean, SETTINGS, STEPS)
    assert watched.result["gap"] == 0.0
    assert watch(run(data, trains_auxiliary=True), data, clean, SETTINGS, STEPS).result["gap"] > 0.001
    assert list(watched.surfaces) == ["step 0", "step 1", "step 4", "step 10", "step 40"]
    assert list(watched.course["step"].unique()) == list(range(0, STEPS + 1, 2))
    start = watched.course.query("step == 0").set_index("student")
    assert start.loc["main", "accuracy"] == judge(small_network(0), clean)["accuracy"]
    *_, (_, main, _) = run(data)
    assert watched.result["accuracy"] == judge(main, clean)["accuracy"]
    answers = np.array([int(main(x[None]).argmax()) for x in data.x[data.wrong]])
    assert watched.result["by heart"] == pytest.approx(np.mean(answers == data.labels[data.wrong].numpy()))
