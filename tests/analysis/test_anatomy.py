import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import dmws_lite as dm
from dmws_lite.analysis.anatomy import KINDS, anatomy

NAMES = ("vit_tiny_patch16_224", "convnext_femto", "mobilenetv1_050", "tf_efficientnet_lite0", "embedded_vit_48")


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_and_flop_is_counted_once(name):
    table, model = anatomy(name), dm.build(name, 1000).eval()
    assert table["parameters"].sum() == sum(weight.numel() for weight in model.parameters())
    image = torch.zeros(1, *model.pretrained_cfg["input_size"])
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(image)
    assert table["flops"].sum() == counter.get_total_flops()
    assert table["module"].is_unique and set(table["kind"]) <= set(KINDS)


def test_stages_and_kinds_of_a_convolutional_network_and_a_family_without():
    table = anatomy("convnext_femto").set_index("module")[["stage", "kind"]]
    expected = {
        "stem.0": ("stem", "patches, stem, downsampling"),
        "stages.0.blocks.0.conv_dw": ("stage 0", "depthwise convolutions"),
        "stages.1.downsample.1": ("stage 1", "patches, stem, downsampling"),
        "stages.3.blocks.1.mlp.fc2": ("stage 3", "MLPs, pointwise convolutions"),
        "head.norm": ("head", "norms, tokens, scales"),
    }
    assert {name: tuple(table.loc[name]) for name in expected} == expected
    with pytest.raises(ValueError, match="matches 'conv1', which computes"):
        anatomy("resnet18")
