import copy
import json

import pytest
import torch
from safetensors.torch import save_file

import dmws_lite as dm
from dmws_lite.method.networks import Teacher, set_input_statistics

NAME = "embedded_vit_96"


@pytest.fixture(scope="module")
def state():
    return dm.build(NAME, 5).state_dict()


@pytest.mark.parametrize("as_folder", [False, True])
def test_a_local_file_or_folder_of_the_same_layout_is_read(tmp_path, state, as_folder):
    state = {name: tensor for name, tensor in state.items() if not name.startswith("head.")}  # needs no classifier
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"not this one")
    teacher = dm.load_teacher(NAME, tmp_path if as_folder else tmp_path / "model.safetensors")
    assert all(torch.equal(teacher.state[name], tensor) for name, tensor in state.items())
    assert teacher.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("name", ["", "model-00002-of-00002.safetensors", "model.safetensors.index.json"])
def test_weights_in_several_files_are_read_whole_and_a_missing_one_is_named(tmp_path, state, name):
    files = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for file, names in zip(files, (list(state)[:20], list(state)[20:]), strict=True):
        save_file({key: state[key] for key in names}, tmp_path / file)
    weight_map = {key: files[number >= 20] for number, key in enumerate(state)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    teacher = dm.load_teacher(NAME, tmp_path / name)
    assert all(torch.equal(teacher.state[key], state[key]) for key in state)
    (tmp_path / files[0]).unlink()
    with pytest.raises(FileNotFoundError, match="model-00001-of-00002.safetensors does not exist: .*belong together"):
        dm.load_teacher(NAME, tmp_path / name)


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        (NAME, "cut.safetensors", "cut.safetensors is truncated or no safetensors file .*fetch it again"),
        ("convnext_tiny", "good.safetensors", "has no tensor .*does not hold a convnext_tiny"),
        ("vit_tiny_patch16_224", "good.safetensors", r"is \(1, 1, 96\), a vit_tiny\S+ has \(1, 1, 192\)"),
        (NAME, "prefixed.safetensors", "no tensor cls_token: it has module.cls_token: save it without that prefix"),
        (NAME, "deeper.safetensors", "has a tensor blocks.9.norm1.bias, a embedded_vit_96 has none: pass the name"),
        (NAME, "whole.safetensors", r"norm.bias \(torch.int64\) holds .*no floating-point"),
        (NAME, "endless.safetensors", r"norm.bias \(torch.float32\) holds values that are not finite"),
        (NAME, "flat.safetensors", r"pos_embed is \(65, 96\), a embedded_vit_96 has \(1, 65, 96\)"),
        (NAME, "teacher.pt", "not a .safetensors file, and pickles can run code"),
        (NAME, "empty", "empty/model.safetensors does not exist"),
        ("mobilenetv1_050", None, "No pretrained weights exist for mobilenetv1_050"),  # random ones do not pass for any
    ],
)
def test_bad_or_missing_teacher_files_are_refused_with_the_way_out(tmp_path, state, name, file, message):
    changes = {"good": {}, "deeper": {"blocks.9.norm1.bias": torch.ones(96)}, "flat": {"pos_embed": torch.ones(65, 96)}}
    changes |= {"whole": {"norm.bias": torch.ones(96).long()}, "endless": {"norm.bias": torch.full((96,), torch.nan)}}
    for name_of_file, change in changes.items():
        save_file(state | change, tmp_path / f"{name_of_file}.safetensors")
    save_file({f"module.{key}": tensor for key, tensor in state.items()}, tmp_path / "prefixed.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "good.safetensors").read_bytes()[:-1000])
    (tmp_path / "teacher.pt").write_bytes(b"\x80\x04.")
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, FileNotFoundError, ConnectionError), match=message):
        dm.load_teacher(name, file and tmp_path / file)


def test_a_network_carries_its_input_statistics_or_the_error_says_how_to_give_them():
    deit = dm.build("deit_tiny_patch16_224", 2)
    assert dm.input_statistics(deit) == dm.input_statistics("deit_tiny_patch16_224")
    assert dm.input_statistics(deit) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    changed = copy.deepcopy(set_input_statistics(deit, [0.1] * 3, [0.2] * 3))
    assert dm.input_statistics(changed) == ((0.1,) * 3, (0.2,) * 3)
    assert dm.input_statistics("deit_tiny_patch16_224")[0] == (0.485, 0.456, 0.406), "the name's own stay"
    with pytest.raises(ValueError, match=r"Linear does not say .*set model.pretrained_cfg = .*or use dm.build"):
        dm.input_statistics(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "convnext_atto"])
def test_folded_scales_are_1_and_the_teacher_computes_the_same(name):
    model, size = dm.build(name, 3, 28 if "vit" in name else None).double().eval(), 28 if "vit" in name else 32
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("gamma"):
            torch.nn.init.uniform_(parameter, 0.1, 2)
    teacher = Teacher(name, model.state_dict(), (0.5,) * 3, (0.5,) * 3, "a test")
    images, folded = torch.rand(2, 3, size, size, dtype=torch.float64), copy.deepcopy(model)
    folded.load_state_dict(dm.fold_scales(teacher).state)
    gammas = [tensor for key, tensor in folded.state_dict().items() if key.endswith("gamma")]
    assert gammas and all((gamma == 1).all() for gamma in gammas)
    assert torch.allclose(folded(images), model(images), atol=1e-12)
