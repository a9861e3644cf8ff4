"""The scales of the training chapters."""

import warnings

import pytest
import torch
from safetensors.torch import save_file

import dmws_lite as dm
from dmws_lite.studies import scales


@pytest.fixture(scope="module")
def lite0(tmp_path_factory):
    """Weights of a teacher of the scale "imagenet", drawn at random: no weight package and no network is needed."""
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file(dm.build("tf_efficientnet_lite0", 10).state_dict(), path)
    return path


def test_what_is_given_wins_over_the_scale_and_the_embedded_one_says_nothing(lite0, capsys):
    assert dm.scale() == ("embedded_vit_96", "embedded_vit_48", 64, None, None) and not capsys.readouterr().out
    chosen = dm.scale("imagenet", size=32, weights=lite0, data="my_images")
    assert chosen == ("tf_efficientnet_lite0", "efficientnet_lite0_050", 32, lite0, "my_images")


def test_the_time_is_told_before_anything_is_trained(lite0, capsys, monkeypatch):
    monkeypatch.setattr(scales, "seconds_per_step", lambda *_: 1.5)
    with warnings.catch_warnings(action="error"):
        dm.scale("imagenet", weights=lite0, steps=400)
    assert "400 training steps of 32 images take about 10 min" in capsys.readouterr().out
    with pytest.warns(UserWarning, match="1000 training steps .* about 25 min .* fewer steps or seeds"):
        dm.scale("imagenet", weights=lite0, steps=1000)
    if not torch.cuda.is_available():
        with pytest.warns(UserWarning, match="on this cpu.*scale='embedded'"):  # the reference, however short
            dm.scale("reference", "tf_efficientnet_lite0", "efficientnet_lite0_050", weights=lite0, steps=10)


def test_what_cannot_be_is_refused_at_once(lite0, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for change, error, message in (
        ({"name": "imgenet"}, ValueError, r"unknown scale 'imgenet' \(did you mean 'imagenet'\?\): choose from emb"),
        ({"student": "efficientnet_lite0_05"}, ValueError, "did you mean efficientnet_lite0_050"),
        ({"teacher": "embedded_vit_96"}, ValueError, "does not hold a embedded_vit_96"),
        ({"name": "reference", "weights": "no_such.safetensors"}, (ConnectionError, FileNotFoundError), "embedded_vit"),
    ):
        with pytest.raises(error, match=message):
            dm.scale(**{"name": "imagenet", "size": 32, "weights": lite0} | change)
