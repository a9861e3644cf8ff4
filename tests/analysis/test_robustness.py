import numpy as np
import pytest

import dmws_lite as dm
from dmws_lite.analysis.robustness import CORRUPTIONS, SEVERITIES, corrupt, robustness


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_images_get_worse_with_severity(images, kind):
    spoilt = [corrupt(images, kind, severity).images for severity in (0, *SEVERITIES)]
    gone = [np.abs(one - images.images.astype(float)).mean() for one in spoilt]
    assert gone[0] == 0 and (np.diff(gone) > 0.5).all()


def test_noise_is_the_same_draw_at_every_severity_for_one_seed(images):
    spoilt = (corrupt(images, "noise", *how).images for how in ((1, 4), (3, 4), (1, 5)))
    changes = [(each - images.images.astype(float)).ravel() for each in spoilt]
    assert np.corrcoef(*changes[:2])[0, 1] > 0.5 > np.corrcoef(*changes[::2])[0, 1]


def test_all_networks_see_the_same_spoilt_images(images):
    models = {name: dm.build("embedded_vit_48", 3, seed=seed) for name, seed in (("a", 0), ("b", 1), ("copy of a", 0))}
    table = robustness(models, images, severities=(2, 4), reference="a")
    assert len(table) == 3 * 3 * 3
    rows = table.set_index(["model", "corruption", "severity"]).sort_index()
    assert rows.loc["copy of a"].equals(rows.loc["a"])
    spoilt = corrupt(images, "contrast", 4)
    right = {n: dm.predict(m, spoilt).argmax(1) == images.labels for n, m in models.items()}
    cell, gaps = rows.loc[("b", "contrast", 4)], right["b"].astype(float) - right["a"]
    half = 2.2010 * gaps.std(ddof=1) / 12**0.5  # Student's t with 11 degrees of freedom
    expected = [right["b"].mean(), gaps.mean(), gaps.mean() + half]
    assert cell[["accuracy", "difference", "difference_high"]].to_list() == pytest.approx(expected, rel=1e-3)
