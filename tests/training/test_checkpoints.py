import resource
import signal

import pytest
import torch

from dmws_lite.training.checkpoints import load_checkpoint, load_optimizer, optimizer_tensors, save_checkpoint


def test_what_is_saved_is_loaded(tmp_path):
    groups = {"main": {"a.b": torch.randn(2, 3), "n": torch.tensor(7)}, "memory": {"x": torch.tensor([float("nan")])}}
    save_checkpoint(tmp_path / "c", groups, {"step": 3, "history": [{"loss": float("nan")}]})
    again, record = load_checkpoint(tmp_path / "c")
    assert record["step"] == 3 and again["main"]["n"] == 7
    assert torch.equal(again["main"]["a.b"], groups["main"]["a.b"]) and again["memory"]["x"].isnan().all()
    assert list(tmp_path.iterdir()) == [tmp_path / "c"]


def test_an_optimizer_goes_on_as_if_nothing_had_happened():
    def make():
        torch.manual_seed(0)
        layer = torch.nn.Linear(3, 2)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)

    def step(layer, optimizer):
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    a, first = make()
    step(a, first)
    b, second = make()
    b.load_state_dict(a.state_dict())
    load_optimizer(second, {name: tensor.clone() for name, tensor in optimizer_tensors(first).items()})
    step(a, first)
    step(b, second)
    assert torch.equal(a.weight, b.weight)


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\x00" * 64])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(ValueError, match="is not a checkpoint of this project.*delete it, or pass another path"):
        load_checkpoint(tmp_path / "c")


def test_a_full_disk_keeps_the_checkpoint_that_was_there(tmp_path):
    path = tmp_path / "c"
    save_checkpoint(path, {"main": {"w": torch.ones(4)}}, {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OSError, match=rf"{path} could not be written .*nothing was lost"):
            save_checkpoint(path, {"main": {"w": torch.ones(100_000)}}, {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert load_checkpoint(path)[1]["step"] == 1
    assert list(tmp_path.iterdir()) == [path]
