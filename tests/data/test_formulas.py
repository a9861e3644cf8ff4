import numpy as np
import pytest

from dmws_lite.data import formulas


@pytest.mark.parametrize("label", range(len(formulas.CLASSES)), ids=list(formulas.CLASSES))
def test_every_class_draws_an_image_that_its_seed_decides(label):
    image = formulas.draw(label, np.random.default_rng(label))
    assert image.shape == (64, 64) and image.dtype == np.uint8 and image.std() > 4
    assert np.array_equal(image, formulas.draw(label, np.random.default_rng(label)))
    assert not np.array_equal(image, formulas.draw(label, np.random.default_rng(label + 1)))


def test_batches_repeat_by_seed_and_step():
    images, labels = formulas.batch(0, 5, 16)
    again, same = formulas.batch(0, 5, 16)
    assert images.shape == (16, 64, 64) and labels.dtype == np.int64
    assert np.array_equal(images, again) and np.array_equal(labels, same)
    assert not np.array_equal(images, formulas.batch(0, 6, 16)[0])
    assert not np.array_equal(images, formulas.batch(1, 5, 16)[0])


def test_mean_brightness_does_not_tell_the_class():
    labels = np.repeat(np.arange(0, len(formulas.CLASSES), 7), 30)
    rng = np.random.default_rng(0)
    means = np.array([formulas.draw(int(k), rng, 32).mean() for k in labels])
    between = np.array([means[labels == k].mean() for k in np.unique(labels)])
    assert between.std() < 0.5 * means.std()


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_power_noise_has_the_slope_it_was_asked_for(slope):
    size, power = 128, 0
    for seed in range(20):
        noise = formulas.power_noise(np.random.default_rng(seed), size, slope)
        assert abs(noise.mean()) < 1e-4 and abs(noise.std() - 1) < 1e-3
        power = power + np.abs(np.fft.fft2(noise)) ** 2
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    inner = (frequency > 0.03) & (frequency < 0.4)
    fitted = np.polyfit(np.log(frequency[inner]), 0.5 * np.log(power[inner]), 1)[0]
    assert fitted == pytest.approx(-slope, abs=0.05)


@pytest.mark.parametrize("size", [32, 48, 96])
def test_any_size(size):
    assert formulas.batch(0, 0, 4, size)[0].shape == (4, size, size)
