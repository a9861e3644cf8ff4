"""What runs a network after `fit`, which leaves it on the GPU if there is one: here on the device "meta".

Images that are not sent there, or results that become arrays without `cpu()`, are other errors than the expected one.
"""

import pytest
import torch

import dmws_lite as dm
from dmws_lite.analysis import representations, robustness, saliency

LOOKS = {
    "predict": dm.predict,
    "class token": lambda model, images: representations.features(model, images, places=False)["blocks.3"],
    "Grad-CAM": lambda model, images: saliency.grad_cam(model, images, targets=images.labels),
    "rollout": saliency.attention_rollout,
    "robustness": lambda model, images: robustness.robustness({"one": model}, images, (2,))["confidence"],
}


def gather(tensor, axis, index, real=torch.Tensor.gather):
    """As on a GPU, which takes no index from elsewhere."""
    assert index.device == tensor.device
    return real(tensor, axis, index)


@pytest.mark.parametrize("look", LOOKS)
def test_the_package_finds_a_network_where_it_is(look, monkeypatch):
    monkeypatch.setattr(torch.Tensor, "gather", gather)
    student, images = dm.build("embedded_vit_48", 3, seed=1).eval(), dm.phantoms("chest_xray", 30, 9, 3).val
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor; no data"):
        LOOKS[look](student.to("meta"), images)
