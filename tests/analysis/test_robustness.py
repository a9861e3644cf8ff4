import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import dmws_lite as dm
from dmws_lite.analysis.robustness import CORRUPTIONS, SEVERITIES, corrupt, robustness


@pytest.fixture(scope="module")
def images():
    return dm.phantoms("brain_mri", train=3, val=3, test=24).test


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_images_get_worse_with_severity_and_keep_what_they_are(images, kind):
    spoilt = [corrupt(images, kind, severity) for severity in (0, *SEVERITIES)]
    gone = [np.abs(one.images - images.images.astype(float)).mean() for one in spoilt]
    assert gone[0] == 0 and (np.diff(gone) > 0.5).all()
    assert spoilt[3].images.dtype == np.uint8 and spoilt[3].images.shape == images.images.shape
    assert np.array_equal(spoilt[3].labels, images.labels) and spoilt[3].names == images.names


def test_noise_has_the_stated_strength_and_is_the_same_draw_for_one_seed():
    gray = dm.ImageSet(np.full((20, 1, 32, 32), 128, np.uint8), np.zeros(20, int), ("a", "b"), tuple("x" * 20))
    for severity, amount in zip((1, 2, 3), CORRUPTIONS["noise"], strict=False):
        values = corrupt(gray, "noise", severity).images - 128.0
        assert values.std() == pytest.approx(255 * amount, rel=0.03) and abs(values.mean()) < 1
    weak, strong, other = (corrupt(gray, "noise", *how).images - 128.0 for how in ((1, 4), (3, 4), (1, 5)))
    assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.99
    assert np.array_equal(corrupt(gray, "noise", 1, 4).images - 128.0, weak) and not np.array_equal(weak, other)


def test_blur_is_scipys(images):
    for severity, amount in zip(SEVERITIES, CORRUPTIONS["blur"], strict=True):
        expected = [gaussian_filter(one[0].astype(float), amount * 64, mode="mirror") for one in images.images]
        assert corrupt(images, "blur", severity).images[:, 0] == pytest.approx(np.stack(expected), abs=1.6)


def test_contrast_shrinks_about_the_mean(images):
    pale = corrupt(images, "contrast", 2).images.astype(float)
    mean = images.images.mean((1, 2, 3), keepdims=True)
    assert pale == pytest.approx(mean + 0.5 * (images.images - mean), abs=1.5)


def test_all_networks_see_the_same_spoilt_images(images):
    models = {name: dm.build("embedded_vit_48", 3, seed=seed) for name, seed in (("a", 0), ("b", 1), ("copy of a", 0))}
    table = robustness(models, images, severities=(2, 4), reference="a")
    assert len(table) == 3 * 3 * 3
    rows = table.set_index(["model", "corruption", "severity"]).sort_index()
    assert rows.loc["copy of a"].equals(rows.loc["a"])
    assert (rows.loc["copy of a", ["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    spoilt = corrupt(images, "contrast", 4)
    right = {n: dm.predict(m, spoilt).argmax(1) == images.labels for n, m in models.items()}
    cell = rows.loc[("b", "contrast", 4)]
    assert cell["accuracy"] == pytest.approx(right["b"].mean())
    gaps = right["b"].astype(float) - right["a"]
    assert cell["difference"] == pytest.approx(gaps.mean())
    half = 2.0687 * gaps.std(ddof=1) / 24**0.5  # Student's t with 23 degrees of freedom
    assert cell["difference_high"] - cell["difference"] == pytest.approx(half, rel=1e-3)
    assert rows.loc[("a", "noise", 0)].equals(rows.loc[("a", "blur", 0)])
