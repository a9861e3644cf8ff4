"""What runs a network after `fit`, which leaves it on the GPU if there is one: on a second device, played on the CPU.

Tensors "elsewhere" compute as usual, and refuse what a GPU's refuse.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import dmws_lite as dm
from dmws_lite.analysis import representations, robustness, saliency

HERE, THERE = torch.device("cpu"), torch.device("meta", 7)


class Elsewhere(torch.Tensor):
    """A tensor on THERE; what is computed from it is one, too."""


def sent(tensor):
    return tensor if isinstance(tensor, Elsewhere) else tensor.as_subclass(Elsewhere)


def moved(model):
    """The network, its weights and buffers elsewhere, as `fit` leaves it on a machine with a GPU."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(sent(weight.detach()), weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = sent(buffer)
    return model


class SecondDevice(TorchFunctionMode):
    """Where tensors of both devices meet, or one elsewhere is to become an array: the errors that CUDA raises."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, first = kwargs or {}, args[0] if args else None
        if func == torch.Tensor.device.__get__:
            return THERE if isinstance(first, Elsewhere) else HERE
        if func is torch.Tensor.cpu:
            return first.as_subclass(torch.Tensor)
        if func is torch.Tensor.to and (device := self._device(args[1:], kwargs)):
            return sent(first) if device == THERE else first.as_subclass(torch.Tensor)
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and isinstance(first, Elsewhere):
            raise TypeError("can't convert a tensor that is elsewhere to numpy: use Tensor.cpu() first")
        if kwargs.get("device") == THERE:
            return sent(func(*args, **kwargs | {"device": HERE}))
        flat = [x for arg in (*args, *kwargs.values()) for x in (arg if isinstance(arg, list | tuple) else [arg])]
        tensors = [x for x in flat if isinstance(x, torch.Tensor) and x.ndim]
        copies = func is torch.Tensor.copy_ or "set" in getattr(func, "__name__", "")
        if len({isinstance(x, Elsewhere) for x in tensors}) > 1 and not copies:
            if func is torch._has_compatible_shallow_copy_type:  # Module.cpu asks whether it may keep the Parameter
                return False
            raise RuntimeError(f"Expected all tensors to be on the same device: {func}")
        return func(*args, **kwargs)

    @staticmethod
    def _device(args, kwargs):
        devices = [x.device if isinstance(x, torch.Tensor) else x for x in (*args, *kwargs.values())]
        return next((torch.device(x) for x in devices if isinstance(x, torch.device | str)), None)


LOOKS = {
    "predict": dm.predict,
    "class token": lambda model, images: representations.features(model, images, places=False)["blocks.3"],
    "Grad-CAM": lambda model, images: saliency.grad_cam(model, images, targets=images.labels),
    "rollout": saliency.attention_rollout,
    "robustness": lambda model, images: robustness.robustness({"one": model}, images, (2,))["confidence"],
}


@pytest.mark.parametrize("look", LOOKS)
def test_the_package_finds_a_network_where_it_is(look):
    student, images = dm.build("embedded_vit_48", 3, seed=1).eval(), dm.phantoms("chest_xray", 30, 9, 3).val
    expected = LOOKS[look](student, images)
    with SecondDevice():
        moved(student)
        result = LOOKS[look](student, images)
        assert next(student.parameters()).device == THERE  # and leaves it there
    assert np.allclose(result, expected, atol=1e-6)
