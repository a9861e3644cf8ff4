import hashlib

import numpy as np
import pytest
import torch

from dmws_lite.data.augmentation import augment, normalise

OFF = {"flips": (), "degrees": 0, "shift": 0, "zoom": 0, "contrast": 0, "noise": 0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n=8, channels=1):
    return torch.randint(0, 256, (n, channels, 16, 16), dtype=torch.uint8, generator=generator())


def test_a_seed_gives_the_draws_that_it_always_gave():
    images = (torch.arange(4 * 3 * 20 * 24) % 251).view(4, 3, 20, 24).to(torch.uint8)
    digest = hashlib.sha256()
    for flips in ((), ("horizontal",), ("horizontal", "vertical")):
        out = augment(images, generator(1), flips)
        assert out.dtype == torch.float32 and out.min() >= 0 and out.max() <= 255
        digest.update(out.numpy().tobytes())
    digest.update(normalise(images, (0.1, 0.2, 0.3), 0.5).numpy().tobytes())
    assert digest.hexdigest()[:16] == "ecab6e8e53d6e578"


def test_flips_are_those_that_anatomy_allows():
    images = batch(n=400)
    axes_of = {(): [()], ("vertical",): [(), (-2,)], ("horizontal", "vertical"): [(), (-1,), (-2,), (-1, -2)]}
    for flips, allowed in axes_of.items():
        out = augment(images, generator(), **(OFF | {"flips": flips}))
        flipped = [images.float().flip(axes) for axes in allowed]
        shares = [((out - each).abs().amax((1, 2, 3)) < 0.05).float().mean().item() for each in flipped]
        assert sum(shares) == pytest.approx(1) and all(abs(share - 1 / len(allowed)) < 0.1 for share in shares)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalise_equals_numpy(channels):
    images, mean, std = batch(channels=channels), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    wide = np.broadcast_to(images.numpy() / 255, (8, 3, 16, 16))
    expected = (wide - np.reshape(mean, (1, 3, 1, 1))) / np.reshape(std, (1, 3, 1, 1))
    for kind in (images, images.float()):
        np.testing.assert_allclose(normalise(kind, mean, std).numpy(), expected, atol=1e-5)


def test_wrong_arguments_are_named():
    for images, mean, std, text in (
        (batch(channels=2), 0.5, 0.5, r"\(8, 2, 16, 16\)"),
        (batch(), (0.5, 0.5), 0.5, r"mean=\(0.5, 0.5\), std=0.5: pass one number"),
        (batch(), 0.5, 0, "std=0"),
    ):
        with pytest.raises(ValueError, match=text):
            normalise(images, mean, std)
    with pytest.raises(ValueError, match="'sideways': pass 'horizontal'"):
        augment(batch(), generator(), flips=("sideways",))
