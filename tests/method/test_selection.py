"""Plans against an independent statement of the published rule, and what they refuse."""

import json

import numpy as np
import pytest
import timm
import torch
from timm.layers import SwiGLU
from timm.models.vision_transformer import ResPostBlock, VisionTransformer

import dmws_lite as dm

VIT = ("vit_small_patch16_224", "vit_tiny_patch16_224")
CONVNEXT = ("convnext_tiny", "convnext_femto")
EMBEDDED = ("embedded_vit_96", "embedded_vit_48")
LITE = ("tf_efficientnet_lite2", "tf_efficientnet_lite0")
HALVED = [VIT, CONVNEXT, ("mobilenetv1_100", "mobilenetv1_050"), EMBEDDED]
HALF_LITE = ("tf_efficientnet_lite0", "efficientnet_lite0_050")
NO_PLANS = ["", "{}", '{"format": "other"}', "[1, 2]", "[" * 200_000]


def vit(width: int, heads: int, depth: int = 2, img: int = 64, patch: int = 8, **options) -> VisionTransformer:
    shape = {"embed_dim": width, "depth": depth, "num_heads": heads, "mlp_ratio": 2, "num_classes": 3}
    return VisionTransformer(img, patch, **{**shape, **options})


def of(plan, name):
    return next(a for a in plan.assignments if a.student == name)


def same(plan, other):
    pairs = list(zip(plan.assignments, other.assignments, strict=True))
    facts = all((a.teacher, a.axes, a.note) == (b.teacher, b.axes, b.note) for a, b in pairs)
    return facts and all(all(map(np.array_equal, a.full_indices, b.full_indices)) for a, b in pairs)


def published_rule(teacher: dict, student: dict) -> dict:
    """Weight selection as released with Xu et al. 2024, stated in numpy: by equal names, axis by axis."""

    def indices(t, s):
        return np.arange(s) * (t // s) if t % s == 0 else np.round(np.linspace(0, t - 1, s)).astype(int)

    selected = {}
    for name, target in student.items():
        if name.startswith(("head", "classifier")) or not target.ndim:
            continue
        source = teacher[name]
        if source.ndim == 2 and target.ndim == 4:
            source = source[:, :, None, None]
        for axis, size in enumerate(target.shape):
            source = np.take(source, indices(source.shape[axis], size), axis=axis)
        selected[name] = source
    return selected


def random_state(name: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    state = timm.create_model(name, num_classes=7).state_dict()
    return {n: torch.randn(t.shape, generator=generator) for n, t in state.items()}


@pytest.mark.parametrize("pair", [*HALVED, LITE, HALF_LITE, ("mobilenetv2_100", "mobilenetv2_050")])
def test_phase_0_with_first_layers_equals_the_published_rule_bit_for_bit(pair):
    teacher, student = (random_state(name) for name in pair)
    plan = dm.plan(*pair)
    ours = plan.apply(teacher)
    assert {*plan.skipped} == {*student} - {*ours} and all(ours[name].shape == student[name].shape for name in ours)
    expected = published_rule({n: t.numpy() for n, t in teacher.items()}, {n: t.numpy() for n, t in student.items()})
    assert set(ours) - set(expected) == ({"head.norm.weight", "head.norm.bias"} if pair is CONVNEXT else set())
    for name, values in expected.items():
        assert np.array_equal(ours[name].numpy(), values), name


@pytest.mark.parametrize("pair", [*HALVED, (vit(16, 2), vit(8, 2))])
@pytest.mark.parametrize("elements", ["uniform", "consecutive", "random", "heads"])
def test_complementary_plans_share_nothing_and_are_consistent(pair, elements):
    main, auxiliary = dm.complementary_plans(*pair, elements=elements, seed=5)
    assert main.overlap(auxiliary).used == 0
    assert main.coverage().used == auxiliary.coverage().used > 0
    assert all(main.consistency().values()) and all(auxiliary.consistency().values())
    with pytest.raises(ValueError, match="n=0 students"):
        dm.complementary_plans(*pair, n=0)


def test_overlap_and_coverage_against_masks_counted_element_by_element():
    main, other = (dm.plan(*EMBEDDED, elements="random", seed=seed) for seed in (1, 2))
    used = shared = 0
    for pair in zip(main.assignments, other.assignments, strict=True):
        masks = [np.zeros(a.teacher_shape, dtype=bool) for a in pair]
        for mask, a in zip(masks, pair, strict=True):
            mask[np.ix_(*a.full_indices)] = True
        used, shared = used + masks[0].sum(), shared + (masks[0] & masks[1]).sum()
    assert main.coverage().used == used and main.overlap(other).used == shared > 0
    with pytest.raises(ValueError, match="overlap needs two plans of one teacher"):
        main.overlap(dm.plan(*VIT))


def test_heads_keeps_heads_whole_head_1_of_the_keys_is_the_teachers_head_2():
    rows = of(dm.plan(*VIT, elements="heads"), "blocks.0.attn.qkv.weight").indices[0]
    assert rows[192 + 64 : 192 + 128].tolist() == list(range(384 + 128, 384 + 192))


def test_magnitude_keeps_the_largest_channels_of_the_weights():
    teacher = {name: torch.zeros_like(t) for name, t in vit(16, 2).state_dict().items()}
    big = [1, 4, 5, 6, 9, 12, 13, 15]
    teacher["patch_embed.proj.weight"][big] = 1.0
    main, auxiliary = dm.complementary_plans(teacher, vit(8, 2), elements="magnitude")
    assert of(main, "norm.weight").indices[0].tolist() == big
    assert main.overlap(auxiliary).used == 0


def test_names_modules_and_state_dicts_give_the_same_plan():
    by_name, modules = dm.plan(*EMBEDDED), [dm.build(name, 1000) for name in EMBEDDED]
    for pair in (modules, [m.state_dict() for m in modules]):
        assert same(by_name, dm.plan(*pair))


def test_a_position_embedding_of_another_grid_is_interpolated_and_the_plan_says_so():
    teacher = vit(16, 2, img=64)
    plan = dm.plan(teacher, vit(8, 2, img=32))
    assert of(plan, "pos_embed").note == "interpolated from a 8 x 8 to a 4 x 4 grid, 1 prefix token(s) kept"
    made = plan.apply(teacher.state_dict())["pos_embed"]
    assert made.shape == (1, 17, 8)
    assert torch.equal(made[:, 0], teacher.pos_embed[:, 0, ::2])
    constant = {**teacher.state_dict(), "pos_embed": torch.full((1, 65, 16), 3.0)}
    assert torch.allclose(plan.apply(constant)["pos_embed"], torch.tensor(3.0))


def test_layer_scale_distillation_token_and_pooled_norm_are_mapped_and_qk_norms_and_the_classifier_are_not():
    teacher, student = vit(16, 2, init_values=1e-2, global_pool="avg"), vit(8, 2, init_values=1e-2)
    plan = dm.plan(teacher, student)
    assert of(plan, "norm.weight").teacher == "fc_norm.weight" and of(plan, "blocks.1.ls2.gamma")
    assert dm.plan(vit(16, 2), student).skipped["blocks.0.ls1.gamma"] == "the teacher has no such tensor"
    deit = dm.plan("deit_small_distilled_patch16_224", "deit_tiny_distilled_patch16_224")
    assert of(deit, "dist_token") and "head_dist.weight" in deit.skipped
    plan = dm.plan(vit(16, 2, qk_norm=True), vit(8, 2, qk_norm=True))
    assert "norm over a head's channels" in plan.skipped["blocks.0.attn.q_norm.weight"] and not plan.lost
    assert of(dm.plan(vit(16, 4, qk_norm=True), vit(8, 2, qk_norm=True), "heads"), "blocks.0.attn.q_norm.weight")
    assert "stage-1" not in dm.plan(*[timm.create_model("convnext_atto", patch_size=2)] * 2).consistency()
    assert "head.weight" in dm.plan(*EMBEDDED).skipped and of(dm.plan(*EMBEDDED, classifier=True), "head.weight")


@pytest.mark.parametrize(("old", "new"), [(4, 1), (9, 4), (4, 2), (1, 4), (3, 0)])
@pytest.mark.parametrize("embedded", [True, False])
def test_register_tokens_are_taken_by_position_or_left_unfed_and_never_interpolated(old, new, embedded):
    teacher, student = (vit(w, 2, reg_tokens=n, no_embed_class=not embedded) for w, n in ((16, old), (8, new)))
    if embedded and new > old:
        with pytest.raises(ValueError, match="not two square grids with the same prefix tokens"):
            dm.plan(teacher, student)
        return
    plan = dm.plan(teacher, student)
    made, state = plan.apply(teacher.state_dict()), teacher.state_dict()
    patches = state["pos_embed"][:, -64:, ::2]
    prefix = state["pos_embed"][:, : 1 + new, ::2] if embedded else patches[:, :0]
    assert torch.equal(made["pos_embed"], torch.cat([prefix, patches], dim=1))
    if old >= new > 0:
        assert torch.equal(made["reg_token"], state["reg_token"][:, :new, ::2])
    elif new:
        assert plan.skipped["reg_token"] == "the teacher has only 1 register token(s)"
    else:
        assert list(plan.lost) == ["reg_token"]


@pytest.mark.parametrize(
    ("teacher", "student", "lost", "meaning"),
    [
        ("vit_base_patch16_clip_224", VIT[0], {2: "norm_pre.bias"}, "no norm before its blocks"),
        (vit(16, 2, init_values=0.1, depth=3), vit(8, 2), {4: "blocks.1.ls2.gamma"}, "as if the scale were 1"),
        ("convnext_tiny", "convnextv2_atto", {12: "stages.2.blocks.5.gamma"}, "as if the scale were 1"),
        (vit(16, 2, qk_norm=True), vit(8, 2), {8: "blocks.1.attn.k_norm.bias"}, "are not normalised as the teacher's"),
    ],
)
def test_a_plan_lists_what_the_student_has_no_place_for_and_what_that_means(tmp_path, teacher, student, lost, meaning):
    plan = dm.plan(teacher, student)
    ((count, name),) = lost.items()
    assert len(plan.lost) == count and name in plan.lost and all(meaning in text for text in plan.lost.values())
    assert sum(map(len, plan.losses().values())) == count
    assert dm.load_plan(plan.save(tmp_path / "plan.json")).lost == plan.lost


def test_apply_never_shares_memory_and_refuses_other_weights():
    model = vit(16, 2)
    state, plan = model.state_dict(), dm.plan(model, vit(8, 2))
    before = state["norm.weight"].clone()
    plan.apply(state)["norm.weight"].add_(1)
    assert torch.equal(state["norm.weight"], before)
    with pytest.raises(ValueError, match="blocks.0.attn.qkv.weight has shape"):
        plan.apply({**state, "blocks.0.attn.qkv.weight": torch.zeros(3, 3)})
    state.pop("norm.weight")
    with pytest.raises(ValueError, match="no tensor norm.weight: is it .* teacher VisionTransformer"):
        plan.apply(state)


def test_an_inconsistent_draw_is_seen_on_every_shared_axis_and_a_saved_plan_is_the_same_plan(tmp_path):
    plan = dm.plan(*EMBEDDED, elements="random_inconsistent", layers="uniform")
    assert not plan.consistency()["embed"] and not plan.consistency()["mlp/0"]
    assert plan.coverage().used == dm.plan(*EMBEDDED).coverage().used
    again = dm.load_plan(plan.save(tmp_path / "deep" / "plan.json"))
    assert same(plan, again) and repr(again) == repr(plan) and again.skipped == plan.skipped
    assert again.overlap(plan).used == plan.coverage().used


@pytest.mark.parametrize("content", [*NO_PLANS, [96], [-1], [1e999], [0.5], []])
def test_a_file_that_is_no_plan_or_a_damaged_one_is_refused(tmp_path, content):
    path = dm.plan(*EMBEDDED).save(tmp_path / "plan.json")
    record = json.loads(path.read_text())
    record["assignments"][0]["indices"][2][:1] = content  # of the class token
    path.write_text(json.dumps(record) if isinstance(content, list) else content)
    with pytest.raises(ValueError, match="is not a saved plan"):
        dm.load_plan(path)


@pytest.mark.parametrize(
    ("teacher", "student", "options", "message"),
    [
        (*VIT[::-1], {}, r"wider than its teacher .* on axis 'embed'.*choose a narrower student"),
        (vit(96, 6), vit(48, 3, depth=12), {}, r"deeper than its teacher.*\[12\].*\[2\]"),
        ("vit_smal_patch16_224", VIT[1], {}, "unknown model 'vit_smal_patch16_224': did you mean vit_small"),
        (*EMBEDDED, {"layers": [[0, 1.9, 2, 3]]}, r"layers=\[\[0, 1.9, 2, 3\]\]: give a list"),
        (*VIT, {"elements": "best"}, "unknown elements='best': choose one of uniform"),
        (*VIT, {"phase": 2}, "axis 'embed': phase=2 is out of range.*0 <= phase < 2"),
        (vit(16, 2, patch=8), vit(8, 2, patch=16), {}, "on axis 'kernel_h'.*patch and kernel sizes"),
        (vit(16, 2, num_classes=4), vit(8, 2), {"classifier": True}, "on axis 'classes'.*pass classifier=False"),
        (VIT[0], "convnext_femto", {}, "is a vit, student convnext_femto a convnext: choose both of one family"),
        (*LITE, {"layers": "last"}, "drops the first block of a stage.*begin with 0 in each stage"),
        ("efficientnet_b0", "efficientnet_b0", {}, r"blocks.0.0.se.conv_reduce.weight .*add a Rule"),
        ("resnet18", "resnet18", {}, r"resnet18: no known family .*FAMILIES"),
        (vit(16, 2, mlp_layer=SwiGLU), vit(8, 2), {}, r"mlp.fc1_g.weight is a gated MLP \(SwiGLU\)"),
        (vit(16, 2, block_fn=ResPostBlock), vit(8, 2), {}, "has blocks ResPostBlock, student VisionTransformer Block"),
        ("vit_pe_spatial_small_patch16_512", "vit_pe_spatial_tiny_patch16_512", {}, "rotates pairs.* elements='heads'"),
        (3, VIT[1], {}, "teacher=int: pass a timm name, a module, or a state dict"),
        (f"{VIT[0]}.nope", VIT[1], {}, "unknown pretrained weights 'nope' of vit_small.*timm knows augreg_in1k"),
        (*VIT, {"elements": "magnitude"}, "magnitude' needs the weights of vit_small"),
        (vit(16, 2).state_dict(), vit(8, 2), {"elements": "heads"}, "needs the number of heads"),
        (vit(16, 2), vit(8, 4), {"elements": "heads"}, "do not fit into"),
        ({}, VIT[1], {}, "teacher's state dict must map names to tensors"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_way_out(teacher, student, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        dm.plan(teacher, student, **options)
