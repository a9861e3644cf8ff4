"""SelectionPlan: the three steps for one student, as data that can be inspected, drawn, saved and applied.

Layer selection, component mapping and element selection (Tsutsumi et al. 2026, arXiv 2508.20461) are made from shapes
alone: no weights and no download. Applying a plan to the teacher's weights is pure indexing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isqrt, prod
from pathlib import Path

import numpy as np
import torch
from timm.layers import resample_abs_pos_embed

from dmws_lite.method.components import FIXED, Shape, squeeze, unfuse
from dmws_lite.runtime.files import write_atomically

FORMAT = "dmws-plan-1"


@dataclass(frozen=True)
class Assignment:
    """Where one student tensor comes from: a teacher tensor, and the indices taken along each of its named axes."""

    student: str
    teacher: str
    axes: tuple[str, ...]
    indices: tuple[np.ndarray | None, ...]  # one int64 array per axis, or None for all of it
    student_shape: Shape
    teacher_shape: Shape
    note: str = ""  # what is done besides indexing

    @property
    def full_indices(self) -> list[np.ndarray]:
        """The indices taken along each axis, written out where they are all of it."""
        shape = squeeze(self.teacher_shape, len(self.axes))
        return [np.arange(size) if index is None else index for size, index in zip(shape, self.indices, strict=True)]

    @property
    def size(self) -> int:
        """Number of teacher elements read."""
        return prod(map(len, self.full_indices))


@dataclass(frozen=True)
class Share:
    """A share of the teacher's elements: `used` of `size` in all, and the share of each teacher tensor."""

    used: int
    size: int
    tensors: dict[str, float]

    @property
    def total(self) -> float:
        return self.used / self.size if self.size else 0.0

    def __repr__(self) -> str:
        return f"{self.total:.2%} ({self.used:,} of {self.size:,} elements)"


@dataclass(frozen=True)
class SelectionPlan:
    """Which teacher elements one student receives.

    layers:         the teacher block of each student block, stage by stage.
    assignments:    one for each student tensor that the teacher feeds.
    skipped:        student tensors that keep their initial values, with the reason.
    lost:           tensors of the teacher's chosen blocks that the student has no place for, with what that means.
    teacher_shapes: every teacher tensor (of its classifier where that is planned); coverage is a share of these.
    """

    teacher: str
    student: str
    family: str
    elements: str
    phase: int
    layers: tuple[tuple[int, ...], ...]
    assignments: tuple[Assignment, ...]
    skipped: dict[str, str]
    teacher_shapes: dict[str, Shape]
    lost: dict[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"SelectionPlan({self.teacher} -> {self.student}, elements={self.elements!r}, phase={self.phase}, "
            f"layers={self.layers}, {len(self.assignments)} tensors, coverage {self.coverage().total:.1%})"
        )

    def apply(self, teacher_state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The student's tensors, cut out of the teacher's state dict: values are copied, never rescaled.

        Returns a new state dict that holds the fed tensors only (see `skipped`), with the teacher's dtypes.
        Raises ValueError when a tensor is missing or has another shape than the plan was made for.
        """
        state = {}
        for a in self.assignments:
            if a.teacher not in teacher_state:
                raise ValueError(f"the state dict has no tensor {a.teacher}: is it this plan's teacher {self.teacher}?")
            tensor = teacher_state[a.teacher].detach()
            if (shape := tuple(tensor.shape)) != a.teacher_shape:
                raise ValueError(f"{a.teacher} has shape {shape}, not {a.teacher_shape}: make a plan for these weights")
            for axis, index in enumerate(a.indices):
                if index is not None:
                    tensor = tensor.index_select(axis, torch.from_numpy(index).to(tensor.device))
            if "token" in a.axes and tensor.shape[1] != a.student_shape[1]:
                tensor = interpolate(tensor, a.student_shape[1])
            state[a.student] = tensor.reshape(a.student_shape).clone(memory_format=torch.contiguous_format)
        return state

    def coverage(self) -> Share:
        """The share of the teacher's elements that this student receives (of the classifier where it is planned)."""
        return self._share({a.teacher: a.size for a in self.assignments})

    def overlap(self, other: SelectionPlan) -> Share:
        """The share of the teacher's elements that this student and another one both receive."""
        if other.teacher_shapes != self.teacher_shapes:
            text = f"two plans of one teacher, both with its classifier or neither, not of {self.teacher} and"
            raise ValueError(f"overlap needs {text} {other.teacher}")
        others, used = {a.teacher: a for a in other.assignments}, {}
        for a in self.assignments:
            if a.teacher in others:
                pairs = zip(a.full_indices, others[a.teacher].full_indices, strict=True)
                used[a.teacher] = prod(len(np.intersect1d(*pair)) for pair in pairs)
        return self._share(used)

    def _share(self, used: dict[str, int]) -> Share:
        """The share of the teacher, from the number of elements that are used of each of its tensors."""
        sizes = {name: prod(shape) for name, shape in self.teacher_shapes.items()}
        tensors = {name: used.get(name, 0) / size for name, size in sizes.items()}
        return Share(sum(used.get(name, 0) for name in sizes), sum(sizes.values()), tensors)

    def consistency(self) -> dict[str, bool]:
        """For each named axis: do all tensors that have it use the same teacher indices? Selection depends on it."""
        by_axis: dict[str, list[np.ndarray]] = {}
        for a in self.assignments:
            sizes = squeeze(a.teacher_shape, len(a.axes))
            for axis, index, size in zip(a.axes, a.full_indices, sizes, strict=True):
                if axis in FIXED:
                    continue
                parts = np.split(index, 3) if "*" in axis else [index]  # of q, k and v
                by_axis.setdefault(unfuse(axis), []).extend(part - k * (size // 3) for k, part in enumerate(parts))
        return {axis: all(np.array_equal(index, sets[0]) for index in sets) for axis, sets in by_axis.items()}

    def losses(self) -> dict[str, list[str]]:
        """The teacher's tensors that the student has no place for, by what that means."""
        by_meaning: dict[str, list[str]] = {}
        for name, meaning in self.lost.items():
            by_meaning.setdefault(meaning, []).append(name)
        return by_meaning

    def save(self, path: str | Path) -> Path:
        """Write the plan as JSON, to be read by `load_plan`; where that fails, what `path` held is kept."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, **asdict(self)}, default=lambda array: array.tolist())
        return write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def load_plan(path: str | Path) -> SelectionPlan:
    """Read a plan that `SelectionPlan.save` wrote. Raises ValueError for a file that is not such a plan."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        if record.pop("format") != FORMAT:
            raise KeyError("format")
        for a in record["assignments"]:
            a["axes"], count = tuple(a["axes"]), len(a["axes"])
            a |= {key: tuple(_whole_numbers(a[key], 1).tolist()) for key in ("student_shape", "teacher_shape")}
            a["indices"] = tuple(None if i is None else _whole_numbers(i, 0) for i in a["indices"])
            shapes = squeeze(a["teacher_shape"], count), squeeze(a["student_shape"], count)
            for axis, index, size, target in zip(a["axes"], a["indices"], *shapes, strict=True):
                taken = size if index is None else len(index)
                if (index is not None and index.max() >= size) or (taken != target and axis != "token"):
                    raise ValueError("an index is outside the teacher's tensor, or the student's has another shape")
        record["assignments"] = tuple(Assignment(**a) for a in record["assignments"])
        record["layers"] = tuple(tuple(stage) for stage in record["layers"])
        sizes = record["teacher_shapes"].items()
        record["teacher_shapes"] = {name: tuple(_whole_numbers(shape, 1).tolist()) for name, shape in sizes}
        plan = SelectionPlan(**record)
        for question in (plan.coverage, plan.consistency, plan.losses, plan.skipped.items):
            question()
        return plan
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is not a saved plan ({FORMAT}): make one with plan(...).save(path)") from error


def _whole_numbers(values: list[int], least: int) -> np.ndarray:
    """A list of JSON as int64; ValueError unless all are whole numbers from `least` on."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype != np.int64 or array.min() < least:
        raise ValueError(f"not whole numbers of at least {least}")
    return array


def prefix_tokens(shapes: Mapping[str, Shape]) -> int:
    """How many tokens (class, distillation, register) a ViT's position embedding has before the patches."""
    tokens = sum(shapes.get(name, (0, 0))[1] for name in ("cls_token", "dist_token", "reg_token"))
    patches = shapes.get("pos_embed", (0, 0))[1] - tokens
    return tokens if patches > 0 and isqrt(patches) ** 2 == patches else 0


def position_grids(old: int, new: int) -> tuple[int, int, int]:
    """(prefix tokens, old grid side, new grid side) of two position embeddings with as many prefix tokens each."""
    for prefix in range(8):
        before, after = (isqrt(max(tokens - prefix, 0)) for tokens in (old, new))
        if before and after and before**2 + prefix == old and after**2 + prefix == new:
            return prefix, before, after
    text = f"pos_embed: {old} teacher and {new} student tokens are not two square grids with the same prefix tokens"
    raise ValueError(f"{text}: build the student with the teacher's image size, patch size and class token")


def interpolate(pos_embed: torch.Tensor, tokens: int) -> torch.Tensor:
    """Position embeddings (1, tokens, embed) for another grid of patches, bicubic; those of prefix tokens are kept."""
    prefix, before, after = position_grids(pos_embed.shape[1], tokens)
    return resample_abs_pos_embed(pos_embed, [after, after], [before, before], num_prefix_tokens=prefix)
