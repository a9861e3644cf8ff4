import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dmws_lite as dm
from dmws_lite.analysis import starts
from dmws_lite.data.augmentation import normalise
from dmws_lite.method.networks import Teacher

MOBILE = ("mobilenetv1_100", "mobilenetv1_050")
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def inputs():
    return normalise(torch.from_numpy(dm.phantoms("lung_ct", train=3, val=9, test=3).val.images), HALF, HALF)


def test_spectra_of_known_matrices():
    network = dm.build("embedded_vit_48", 3)
    with torch.no_grad():
        network.blocks[0].attn.proj.weight.copy_(torch.eye(48))
        network.blocks[1].attn.proj.weight.copy_(torch.outer(torch.arange(1.0, 49), torch.ones(48)))
    rows = starts.matrices({"default": network}).set_index("tensor")
    identity, rank_one = (rows.loc[f"blocks.{block}.attn.proj.weight"] for block in (0, 1))
    assert (identity["stable_rank"], identity["rank_share"], identity["gain"]) == pytest.approx((48, 1, 1))
    assert rank_one["stable_rank"] == pytest.approx(1)
    assert np.allclose(rank_one["singular"][1:], 0, atol=1e-6) and identity["singular"] == pytest.approx(np.ones(48))


def test_spectra_are_divided_by_the_largest_singular_value():
    weights = pd.DataFrame({"method": "xavier", "label": "Xavier", "kind": ["qkv", "proj"]})
    weights["singular"] = [np.ones(5), np.array([4.0, 2.0, 1.0])]
    shares = starts.spectra(weights).query("kind == 'proj'").set_index("place")["share"]
    assert len(shares) == 61 and shares[[0, 0.5, 1]].tolist() == [1, 0.5, 0.25]


def test_signals_are_those_of_a_forward_pass_by_hand(inputs):
    network = dm.build("embedded_vit_48", 3).eval()
    tokens = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(inputs))))
    rows = starts.signals({"default": network}, inputs)
    for row, block in zip(rows.itertuples(), [None, *network.blocks], strict=True):
        tokens = tokens if block is None else block(tokens)
        summaries = tokens[:, 0].detach().double()
        pairs = [(i, j) for i in range(9) for j in range(i)]
        cosines = [nn.functional.cosine_similarity(summaries[i], summaries[j], dim=0).item() for i, j in pairs]
        assert row.spread == pytest.approx(tokens.std().item(), rel=1e-5)
        assert row.similarity == pytest.approx(np.mean(cosines), abs=1e-6)
    assert rows["block"].tolist() == [0, 1, 2, 3, 4] and rows["similarity"][0] == pytest.approx(1)


def test_attention_without_weights_is_uniform(inputs):
    network = dm.build("embedded_vit_48", 3)
    nn.init.zeros_(network.blocks[2].attn.qkv.weight)
    rows = starts.attention({"default": network.eval()}, inputs).set_index("block")
    assert rows.loc[3, ["entropy", "distance"]].to_list() == pytest.approx([1, 1], abs=1e-6)


def test_networks_without_attention_are_measured_without_it(inputs):
    teacher = Teacher(MOBILE[0], dm.build(MOBILE[0], 3, seed=1).state_dict(), HALF, HALF, "a test")
    convolutions = starts.untrained(teacher, MOBILE[1], 3, inputs, ("kaiming", "weight_selection"))
    kernels = starts.matrices(convolutions)
    assert starts.attention(convolutions, inputs).empty
    assert set(kernels["kind"]) == {"conv_pw"} and kernels["block"].max() == 13
    assert kernels.groupby("method")["gain"].mean()["kaiming"] == pytest.approx(math.sqrt(2), rel=0.02)
