from itertools import permutations, product

import numpy as np
import pytest
import torch
from timm.models.convnext import ConvNeXt

import dmws_lite as dm
from dmws_lite.method.alignment import align, axes_of, permuted_plan
from dmws_lite.method.networks import describe


def convnext(**options):
    return ConvNeXt(depths=(1, 2, 1, 1), dims=(8, 12, 16, 24), num_classes=5, **options)


NETWORKS = {
    "vit": lambda: dm.build("embedded_vit_48", 5),
    "convnext": convnext,
    "convnext v2": lambda: convnext(use_grn=True, ls_init_value=None),
    "mobilenetv1": lambda: dm.build("mobilenetv1_050", 5),
}


def scattered(network, seed):
    """A network without two equal channels anywhere: norms, biases, layer scales and BatchNorm statistics too."""
    model, own = NETWORKS[network]().eval(), torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=own) + 0.5)
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=own) / tensor[0].numel() ** 0.5)
    return model


def with_weights(network, state):
    model = NETWORKS[network]().eval()
    model.load_state_dict(state)
    return model


@torch.no_grad()
def logits(model):
    return model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(9)))


def rows(axis, order):
    """Numpy's indices for an axis: q, k and v each in `order` where it is the fused one."""
    index = order.get(axis.split("*")[-1])
    if index is None:
        return slice(None)
    return np.concatenate([index, index + len(index), index + 2 * len(index)]) if "*" in axis else index


def shuffled(model, seed):
    """The model's state with all its axes in random orders, whole heads kept, and these orders."""
    rng, heads, axes = np.random.default_rng(seed), describe(model).heads, axes_of(model)
    _, still = align(model.state_dict(), model.state_dict(), axes, heads, sweeps=0)
    order = {}
    for axis, index in still.items():
        grid = index.reshape(heads if axis.startswith("attn/") else 1, -1)
        order[axis] = np.concatenate([rng.permutation(head) for head in grid[rng.permutation(len(grid))]])
    state = {}
    for name, tensor in model.state_dict().items():
        array = tensor.numpy()
        for position, axis in enumerate(axes[name]):
            array = np.moveaxis(np.moveaxis(array, position, 0)[rows(axis, order)], 0, position)
        state[name] = torch.from_numpy(array.copy())
    return state, order


@pytest.mark.parametrize("network", NETWORKS)
def test_alignment_leaves_what_the_auxiliary_computes_unchanged(network):
    main, auxiliary = scattered(network, 1), scattered(network, 2)
    state, order = align(main.state_dict(), auxiliary.state_dict(), axes_of(main), describe(main).heads)
    moved = with_weights(network, state)
    assert torch.allclose(logits(moved), logits(auxiliary), atol=1e-5, rtol=1e-4)
    assert logits(auxiliary).std() > 1e-3
    assert all((np.sort(index) == np.arange(len(index))).all() for index in order.values())
    assert not any(np.array_equal(index, np.arange(len(index))) for index in order.values())


@pytest.mark.parametrize("network", NETWORKS)
def test_a_shuffled_copy_is_aligned_back(network):
    model = scattered(network, 1)
    state, order = shuffled(model, seed=3)
    assert torch.allclose(logits(with_weights(network, state)), logits(model), atol=1e-5, rtol=1e-4)
    back, found = align(model.state_dict(), state, axes_of(model), describe(model).heads)
    assert all(torch.equal(back[name], tensor) for name, tensor in model.state_dict().items())
    assert found.keys() == order.keys()
    assert all(np.array_equal(order[axis][found[axis]], np.arange(len(found[axis]))) for axis in order)


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def distance(main, auxiliary):
    return float(sum((main[name] - auxiliary[name]).square().sum() for name in main if main[name].ndim > 1))


def test_a_hidden_layers_order_is_the_best_of_all():
    axes = {"in": ("mlp/0", "in_chans"), "bias": ("mlp/0",), "out": ("classes", "mlp/0")}
    main, auxiliary = (
        {"in": draw(5, 3, seed=s), "bias": draw(5, seed=s + 10), "out": draw(2, 5, seed=s + 20)} for s in (0, 1)
    )
    state, order = align(main, auxiliary, axes)
    every = [
        distance(main, {"in": auxiliary["in"][list(p)], "out": auxiliary["out"][:, list(p)]} | {"bias": main["bias"]})
        for p in permutations(range(5))
    ]
    assert abs(distance(main, state) - min(every)) < 1e-5 and max(every) > min(every) + 1
    assert torch.equal(state["bias"], auxiliary["bias"][order["mlp/0"]])


@pytest.mark.parametrize("seed", range(4))
def test_whole_heads_are_placed_in_the_best_of_all_ways(seed):
    axes = {"qkv": ("qkv*attn/0", "in_chans"), "proj": ("classes", "attn/0")}
    main, auxiliary = (
        {"qkv": draw(18, 4, seed=2 * seed + s), "proj": draw(4, 6, seed=2 * seed + s + 10)} for s in (0, 1)
    )
    every = {}
    for heads, *inside in product(permutations(range(2)), permutations(range(3)), permutations(range(3))):
        p = [3 * head + channel for head, channels in zip(heads, inside, strict=True) for channel in channels]
        fused = p + [6 + i for i in p] + [12 + i for i in p]
        every[tuple(p)] = distance(main, {"qkv": auxiliary["qkv"][fused], "proj": auxiliary["proj"][:, p]})
    state, order = align(main, auxiliary, axes, heads=2)
    assert tuple(order["attn/0"]) == min(every, key=every.get)
    assert abs(distance(main, state) - min(every.values())) < 1e-4


def test_the_distance_never_grows_and_nothing_is_changed_in_place():
    main, auxiliary = scattered("vit", 1).state_dict(), scattered("vit", 2).state_dict()
    before = {name: tensor.clone() for name, tensor in auxiliary.items()}
    found = [distance(main, align(main, auxiliary, axes_of(main), 3, sweeps=n)[0]) for n in range(4)]
    assert found[0] == distance(main, auxiliary)
    assert found == sorted(found, reverse=True) and found[1] < found[0]
    state, _ = align(main, auxiliary, axes_of(main), 3)
    state["pos_embed"].zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in auxiliary.items())


def test_tensors_that_are_not_named_are_returned_as_they_are():
    main, auxiliary = scattered("vit", 1).state_dict(), scattered("vit", 2).state_dict()
    body = axes_of(main, classifier=False)
    assert set(main) - set(body) == {"head.weight", "head.bias"}
    state, _ = align(main, auxiliary, body, 3)
    assert torch.equal(state["head.weight"], auxiliary["head.weight"])
    assert not torch.equal(state["norm.weight"], auxiliary["norm.weight"])


def test_a_permuted_plan_selects_the_same_elements_in_the_new_order():
    """Also where the student takes all of an axis."""
    teacher = dm.build("embedded_vit_96", 5).state_dict()
    for student in ("embedded_vit_48", "embedded_vit_96"):
        chosen = dm.plan("embedded_vit_96", student)
        order = {axis: np.random.default_rng(0).permutation(48) for axis in ("embed", "attn/1")}
        if student == "embedded_vit_96":
            order = {axis: np.random.default_rng(0).permutation(96) for axis in order}
        moved = permuted_plan(chosen, order)
        before, after = chosen.apply(teacher), moved.apply(teacher)
        weight = before["blocks.1.attn.qkv.weight"][rows("qkv*attn/1", order)][:, order["embed"]]
        assert torch.equal(after["blocks.1.attn.qkv.weight"], weight)
        assert torch.equal(after["blocks.0.mlp.fc1.weight"], before["blocks.0.mlp.fc1.weight"][:, order["embed"]])
        assert moved.consistency() == chosen.consistency() and all(moved.consistency().values())
        assert moved.coverage().used == chosen.coverage().used == moved.overlap(chosen).used


def test_attention_without_its_number_of_heads_is_refused():
    state = scattered("vit", 1).state_dict()
    with pytest.raises(ValueError, match="permuted by whole heads: pass heads="):
        align(state, state, axes_of(state))
