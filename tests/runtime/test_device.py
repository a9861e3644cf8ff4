from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dmws_lite.runtime.device import few_threads, pick_device, pick_precision


@pytest.mark.parametrize(
    ("cuda", "mps", "best"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")]
)
def test_the_best_device_is_taken_and_an_absent_or_unknown_one_refused(monkeypatch, cuda, mps, best):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends, "mps", SimpleNamespace(is_available=lambda: mps))
    assert pick_device() == torch.device(best) and pick_device("cpu") == torch.device("cpu")
    for name in ("tpu", "") if cuda else ("cuda", "tpu"):
        with pytest.raises(ValueError, match=f"device={name!r} is not available: this machine has {best}"):
            pick_device(name)


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")])
def test_bf16_needs_compute_capability_8(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)  # as a T4 claims
    name, reason = pick_precision(torch.device("cuda"))
    assert name == precision and f"compute capability {capability[0]}.{capability[1]}" in reason
    assert pick_precision(torch.device("mps")) == ("no", "float32 on mps")


@pytest.mark.parametrize(("side", "threads"), [(99, 1), (101, 3)])
def test_a_small_network_gets_one_thread_and_the_rest_of_the_process_keeps_its_own(side, threads):
    """A million weights, which is small for images below 100 x 100 pixels."""
    network, before = torch.nn.Linear(1000, 1000, bias=False), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError), few_threads(network, np.empty((0, 1, side, side))):
            assert torch.get_num_threads() == threads
            raise ZeroDivisionError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
