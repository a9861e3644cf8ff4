import copy
import json

import pytest
import timm
import torch
from safetensors.torch import save_file

import dmws_lite as dm
from dmws_lite.method.networks import Teacher, describe, set_input_statistics


def test_build_is_seeded_and_leaves_the_global_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    a, b, c = (dm.build("embedded_vit_48", 3, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(a.pos_embed, b.pos_embed) and not torch.equal(a.pos_embed, c.pos_embed)


def test_image_size_sets_the_grid_of_networks_that_have_one():
    assert dm.build("embedded_vit_48", 3, image_size=96).pos_embed.shape == (1, 145, 48)
    assert dm.build("mobilenetv1_050", 3, image_size=80)(torch.zeros(1, 3, 80, 80)).shape == (1, 3)


def test_describe_refuses_an_empty_state_dict():
    with pytest.raises(ValueError, match="teacher's state dict must map names to tensors"):
        describe({}, "teacher")


def _state(name: str, classes: int = 5) -> dict[str, torch.Tensor]:
    return dm.build(name, classes).state_dict()


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_local_file_or_folder_of_the_same_layout_is_read(tmp_path, as_folder):
    state = _state("vit_tiny_patch16_224")
    state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}  # needs no classifier
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"not this one")
    teacher = dm.load_teacher("vit_tiny_patch16_224", tmp_path if as_folder else tmp_path / "model.safetensors")
    assert all(torch.equal(teacher.state[name], tensor) for name, tensor in state.items())
    assert teacher.mean == (0.5, 0.5, 0.5)


def test_bad_teacher_files_are_refused_with_the_way_out(tmp_path):
    good = tmp_path / "teacher.safetensors"
    save_file(_state("embedded_vit_96"), good)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cut.safetensors is truncated or no safetensors file .*fetch it again"):
        dm.load_teacher("embedded_vit_96", cut)
    with pytest.raises(ValueError, match="has no tensor .*does not hold a convnext_tiny"):
        dm.load_teacher("convnext_tiny", good)
    with pytest.raises(ValueError, match=r"is \(1, 1, 96\), a vit_tiny_patch16_224 has \(1, 1, 192\)"):
        dm.load_teacher("vit_tiny_patch16_224", good)
    torch.save({"a": torch.ones(1)}, cut)
    with pytest.raises(ValueError, match="truncated or no safetensors file"):
        dm.load_teacher("embedded_vit_96", cut)
    pickle = tmp_path / "teacher.pt"
    pickle.write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match="not a .safetensors file, and pickles can run code"):
        dm.load_teacher("embedded_vit_96", pickle)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        dm.load_teacher("embedded_vit_96", tmp_path / "absent.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty/model.safetensors does not exist"):
        dm.load_teacher("embedded_vit_96", tmp_path / "empty")


def test_without_a_network_the_embedded_teacher_is_offered(monkeypatch):
    def offline(name, pretrained=False, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ConnectionError, match=r"no route to host.*weights='file.safetensors'.*embedded_vit_96"):
        dm.load_teacher("vit_small_patch16_224")


def test_a_network_without_pretrained_weights_never_passes_for_pretrained():
    with pytest.raises(ConnectionError, match="timm has no weights of mobilenetv1_050"):
        dm.load_teacher("mobilenetv1_050")


def test_a_network_carries_its_input_statistics_or_the_error_says_how_to_give_them():
    deit = dm.build("deit_tiny_patch16_224", 2)
    assert dm.input_statistics(deit) == dm.input_statistics("deit_tiny_patch16_224")
    assert dm.input_statistics(deit) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    changed = copy.deepcopy(set_input_statistics(deit, [0.1] * 3, [0.2] * 3))
    assert dm.input_statistics(changed) == ((0.1,) * 3, (0.2,) * 3)
    assert dm.input_statistics("deit_tiny_patch16_224")[0] == (0.485, 0.456, 0.406), "the name's own stay"
    with pytest.raises(ValueError, match=r"Linear does not say .*set model.pretrained_cfg = .*or use dm.build"):
        dm.input_statistics(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("given", ["", "model-00002-of-00002.safetensors", "model.safetensors.index.json"])
def test_weights_in_several_files_are_read_whole_and_a_missing_one_is_named(tmp_path, given):
    state = dm.build("embedded_vit_96", 3).state_dict()
    files = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for file, names in zip(files, (list(state)[:20], list(state)[20:]), strict=True):
        save_file({name: state[name] for name in names}, tmp_path / file)
    weight_map = {name: files[number >= 20] for number, name in enumerate(state)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    teacher = dm.load_teacher("embedded_vit_96", tmp_path / given)
    assert all(torch.equal(teacher.state[name], state[name]) for name in state)
    (tmp_path / files[0]).unlink()
    with pytest.raises(FileNotFoundError, match="model-00001-of-00002.safetensors does not exist: .*belong together"):
        dm.load_teacher("embedded_vit_96", tmp_path / given)


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "convnext_atto"])
def test_folded_scales_are_1_and_the_teacher_computes_the_same(name):
    model, size = dm.build(name, 3, 28 if "vit" in name else None).double().eval(), 28 if "vit" in name else 32
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("gamma"):
            torch.nn.init.uniform_(parameter, 0.1, 2)
    teacher = Teacher(name, model.state_dict(), (0.5,) * 3, (0.5,) * 3, "a test")
    images = torch.rand(2, 3, size, size, dtype=torch.float64)
    folded = copy.deepcopy(model)
    folded.load_state_dict(dm.fold_scales(teacher).state)
    gammas = [tensor for key, tensor in folded.state_dict().items() if key.endswith("gamma")]
    assert gammas and all((gamma == 1).all() for gamma in gammas)
    assert torch.allclose(folded(images), model(images), atol=1e-12)
