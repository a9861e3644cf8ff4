"""Making plans: the three steps in their order, for one student or for several complementary ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dmws_lite.method.components import FIXED, Component, components, depths, family_of, map_tensors, squeeze, unfuse
from dmws_lite.method.elements import phase_subset, spread, subsets, whole_heads
from dmws_lite.method.layers import Layers, select_layers
from dmws_lite.method.networks import Network, describe
from dmws_lite.method.plan import Assignment, SelectionPlan, position_grids, prefix_tokens

Sets = tuple[np.ndarray, ...]  # one index array for each student
Sizes = tuple[int, int]  # of an axis in the teacher and in the student
Choose = Callable[..., Sets]
STEPPED = ("mobilenetv1", "mbconv")  # families whose first block of a stage differs from the others
MIXED_HEADS = "a student's head mixes those of two heads; elements='heads' keeps heads of the same size whole"
WAYS_OUT = {  # of a difference on an axis
    "in_chans": "build the student with the teacher's number of input channels (gray images are repeated to three)",
    "classes": "the classifier can be selected only when both have the same classes: pass classifier=False",
}


def plan(
    teacher: Any,
    student: Any,
    elements: str = "uniform",
    phase: int = 0,
    layers: Layers = "first",
    *,
    seed: int = 0,
    classifier: bool = False,
) -> SelectionPlan:
    """The plan for one student of a teacher.

    teacher, student: timm names, modules, or state dicts of one family (ViT/DeiT, ConvNeXt, MobileNetV1, or inverted
                residuals: EfficientNet-Lite, MobileNetV2); the teacher may also be what load_teacher returns.
    elements:   "uniform", "consecutive", "random", "random_inconsistent" (an ablation: every tensor draws for itself),
                "magnitude" (the teacher must be a module or a state dict with weights) or "heads" (whole attention
                heads are kept, the other axes are uniform; the teacher must be a name or a module).
    phase:      which of the disjoint subsets; 0 is the published rule.
    layers:     "first", "last", "uniform", or the block numbers (see select_layers).
    seed:       of the random strategies.
    classifier: select the classifier too.
    Raises ValueError for an impossible pair, an unknown strategy or a phase for which an axis has no room.
    Source: Xu et al. 2024 (arXiv 2311.18823) for elements="uniform", phase=0, layers="first".

    >>> plan("vit_small_patch16_224", "vit_tiny_patch16_224").coverage()
    25.50% (5,524,416 of 21,665,664 elements)
    """

    def choose(size: int, pick: int, **options: Any) -> Sets:
        return (phase_subset(size, pick, phase, **options),)

    return _make_plans(_match(teacher, student, layers, classifier, elements), elements, seed, [phase], choose)[0]


def complementary_plans(
    teacher: Any,
    student: Any,
    n: int = 2,
    elements: str = "uniform",
    layers: Layers = "first",
    *,
    seed: int = 0,
    classifier: bool = False,
) -> tuple[SelectionPlan, ...]:
    """Plans for n students of one architecture that share as few teacher elements as arithmetic allows, main first.

    On an axis where the teacher has at least n times the student's size the index sets are disjoint; two students on a
    smaller one share 2s - t indices (whole heads may share more); where t = s both take all.
    Parameters and errors as in `plan`.
    Source: the dual-model idea is that of Tsutsumi et al. 2026 (arXiv 2508.20461); the rule is our choice.

    >>> main, auxiliary = complementary_plans("vit_small_patch16_224", "vit_tiny_patch16_224")
    >>> main.overlap(auxiliary)
    0.00% (0 of 21,665,664 elements)
    """
    if n < 1:
        raise ValueError(f"n={n} students: pass n >= 1")
    pair = _match(teacher, student, layers, classifier, elements)
    return _make_plans(pair, elements, seed, [*range(n)], partial(subsets, n=n))


@dataclass(frozen=True)
class _Pair:
    """A teacher and a student after layer selection and component mapping; `plan` has no assignments yet."""

    plan: SelectionPlan
    teacher: Network
    student: Network
    tensors: list[tuple[Component, Component]]  # the student's, and the teacher's that feeds it
    axes: dict[str, Sizes]  # of those that elements are selected along


def _match(teacher: Any, student: Any, layers: Layers, classifier: bool, elements: str) -> _Pair:
    t, s = describe(teacher, "teacher"), describe(student, "student")
    family, other = family_of(t.shapes, t.name), family_of(s.shapes, s.name)
    if other != family:
        raise ValueError(f"teacher {t.name} is a {family}, student {s.name} a {other}: choose both of one family")
    if t.blocks and s.blocks and t.blocks != s.blocks:
        text = f"teacher {t.name} has blocks {t.blocks}, student {s.name} {s.blocks}"
        raise ValueError(f"{text}: tensors of one name do something else in them: choose both with the same blocks")
    chosen = select_layers(depths(t.shapes, family), depths(s.shapes, family), layers)
    if family in STEPPED and any(stage[0] for stage in chosen):
        raise ValueError(
            f"layers={layers!r} drops the first block of a stage, which changes the width and the resolution in a "
            f"{family}: choose 'first', 'uniform', or block numbers that begin with 0 in each stage"
        )
    teacher_tensors, student_tensors = components(t.shapes, family, t.name), components(s.shapes, family, s.name)
    refused = {} if classifier else {"classes": "the classifier is not selected unless classifier=True"}
    head_dims = {n.shapes.get("blocks.0.attn.proj.weight", (0, 0))[1] / (n.heads or 1) for n in (t, s)}
    if len(head_dims) > 1 or (elements != "heads" and t.heads != s.heads):  # no student's head is one of the teacher's
        refused["head_channel"] = f"a norm over a head's channels is not selected: {MIXED_HEADS}"
        if "rotary" in t.blocks:
            raise ValueError(f"{t.name} rotates pairs of a head's channels: {MIXED_HEADS}")
    pairs, skipped, lost = map_tensors(teacher_tensors, student_tensors, chosen, refused)
    shapes = {c.name: c.shape for c in teacher_tensors if c.axes and (classifier or "classes" not in c.axes)}
    plan = SelectionPlan(t.name, s.name, family, "", 0, chosen, (), skipped, shapes, lost)
    return _Pair(plan, t, s, pairs, _measure_axes(pairs, t.name, s.name))


def _measure_axes(pairs: Sequence[tuple[Component, Component]], teacher: str, student: str) -> dict[str, Sizes]:
    """Teacher's and student's size of each axis that is selected along. Raises ValueError for sizes that do not fit."""
    axes: dict[str, Sizes] = {}
    for tensor, source in pairs:
        shapes = [squeeze(c.shape, len(c.axes)) for c in (source, tensor)]
        for axis, t, s in zip(tensor.axes, *shapes, strict=True):
            if axis == "token" or (axis in FIXED and t == s):
                continue
            if axis in FIXED:
                way_out = WAYS_OUT.get(axis, "a kernel is never resampled: choose the same patch and kernel sizes")
                text = f"{tensor.name} {tensor.shape} differs from the teacher's {source.name} {source.shape}"
                raise ValueError(f"{text} on axis {axis!r}: {way_out}")
            name, sizes = unfuse(axis), (t // 3, s // 3) if "*" in axis else (t, s)
            if sizes[1] > sizes[0]:
                raise ValueError(
                    f"the student {student} is wider than its teacher {teacher} on axis {name!r} of {tensor.name} "
                    f"({sizes[1]} > {sizes[0]}): choose a narrower student or a wider teacher"
                )
            if axes.setdefault(name, sizes) != sizes:
                raise ValueError(f"{tensor.name}: axis {name!r} has sizes {sizes} here, {axes[name]} in another tensor")
    return axes


def _make_plans(pair: _Pair, elements: str, seed: int, phases: list[int], choose: Choose) -> tuple[SelectionPlan, ...]:
    """One plan per phase; choose: their index sets on an axis, from the teacher's and the student's size of it."""
    shared_sets = {axis: _choose_indices(pair, axis, elements, seed, choose) for axis in pair.axes}
    assignments: list[list[Assignment]] = [[] for _ in phases]
    for tensor, source in pair.tensors:
        sets = shared_sets
        if elements == "random_inconsistent":
            tensor_seed = _derive_seed(seed, tensor.name)
            axes = {unfuse(axis) for axis in tensor.axes} & set(pair.axes)
            sets = {axis: _choose_indices(pair, axis, elements, tensor_seed, choose) for axis in axes}
        for number, rows in enumerate(assignments):
            rows.append(_assign(pair, tensor, source, {axis: indices[number] for axis, indices in sets.items()}))
    plans = zip(phases, assignments, strict=True)
    return tuple(replace(pair.plan, elements=elements, phase=phase, assignments=tuple(rows)) for phase, rows in plans)


def _derive_seed(seed: int, name: str) -> int:
    """A seed for one named axis or tensor, the same in every process."""
    return zlib.crc32(f"{seed}|{name}".encode())


def _choose_indices(pair: _Pair, axis: str, elements: str, seed: int, choose: Choose) -> Sets:
    """The teacher's indices on a named axis, one int64 array per student."""
    size, pick = pair.axes[axis]
    try:
        if elements == "heads" and axis.startswith("attn/"):
            t, s = _measure_heads(pair, size, pick)
            heads = choose(t[0], s[0])
            apart = t[0] >= max(2, len(heads)) * s[0]  # else students share heads, and take other channels of them
            channels = [spread(t[1], s[1])] * len(heads) if apart else choose(t[1], s[1])
            return tuple(whole_heads(t[1], *taken) for taken in zip(heads, channels, strict=True))
        strategy = {"random_inconsistent": "random", "heads": "uniform"}.get(elements, elements)
        scores = _score_elements(pair, axis) if elements == "magnitude" else None
        return choose(size, pick, strategy=strategy, seed=_derive_seed(seed, axis), scores=scores)
    except ValueError as error:
        raise ValueError(f"axis {axis!r}: {error}") from None


def _measure_heads(pair: _Pair, size: int, pick: int) -> list[tuple[int, int]]:
    """(heads, head_dim) of teacher and student."""
    t, s = pair.teacher.heads, pair.student.heads
    if t is None or s is None:
        raise ValueError("elements='heads' needs the number of heads: pass teacher and student as names or modules")
    if s > t or pick // s > size // t:
        text = f"the student's {s} heads of {pick // s} do not fit into the teacher's {t} heads of {size // t}"
        raise ValueError(f"elements='heads': {text}: use elements='uniform'")
    return [(t, size // t), (s, pick // s)]


def _score_elements(pair: _Pair, axis: str) -> np.ndarray:
    """Mean absolute weight of each element of an axis, averaged over the matrices that have it (our choice)."""
    teacher, scores = pair.teacher, []
    if teacher.weights is None:
        raise ValueError(f"elements='magnitude' needs the weights of {teacher.name}: pass its module or state dict")
    for tensor, source in pair.tensors:
        for position, name in enumerate(tensor.axes):
            if unfuse(name) == axis and len(tensor.axes) > 1:
                weight = teacher.weights[source.name].detach().float().abs()
                score = weight.mean(dim=[d for d in range(weight.ndim) if d != position]).cpu().numpy()
                scores.append(score.reshape(3, -1).mean(0) if "*" in name else score)
    return np.mean(scores, axis=0)


def _assign(pair: _Pair, tensor: Component, source: Component, sets: dict[str, np.ndarray]) -> Assignment:
    """Where one student tensor comes from; sets: the student's indices on each named axis."""
    indices: list[np.ndarray | None] = []
    for axis, size in zip(tensor.axes, squeeze(source.shape, len(source.axes)), strict=True):
        index = sets.get(unfuse(axis))
        if index is not None and "*" in axis:
            index = np.concatenate([index + part * (size // 3) for part in range(3)])
        indices.append(None if index is None or len(index) == size else index)
    note = ""
    if "token" in tensor.axes and source.shape[1] != tensor.shape[1]:
        indices[tensor.axes.index("token")], note = _match_tokens(pair, tensor, source)
    return Assignment(tensor.name, source.name, tensor.axes, tuple(indices), tensor.shape, source.shape, note)


def _match_tokens(pair: _Pair, tensor: Component, source: Component) -> tuple[np.ndarray | None, str]:
    """The teacher's tokens that a tensor with another number of them takes (None: all), and a note of what is done."""
    index, notes = None, []
    count, target = source.shape[1], tensor.shape[1]
    before_patches, kept = count, target
    if tensor.name == "pos_embed":
        before_patches, kept = prefix_tokens(pair.teacher.shapes), prefix_tokens(pair.student.shapes)
    if before_patches > kept:
        index = np.r_[:kept, before_patches:count]
        count -= before_patches - kept
        notes.append(f"the first {kept} of {before_patches} tokens before the patches")
    if count != target:
        prefix, old_side, new_side = position_grids(count, target)
        grids = f"a {old_side} x {old_side} to a {new_side} x {new_side} grid"
        notes.append(f"interpolated from {grids}, {prefix} prefix token(s) kept")
    return index, "; ".join(notes)
