"""Random changes to whole batches of images, on whatever device the batch is on."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch.nn import functional as F

from dmws_lite.data.sets import ImageSet


def augment(
    images: torch.Tensor,
    generator: torch.Generator,
    flips: Collection[str] = ("horizontal",),
    degrees: float = 10,
    shift: float = 0.08,
    zoom: float = 0.1,
    contrast: float = 0.2,
    noise: float = 0.03,
) -> torch.Tensor:
    """Flip, rotate, shift, zoom, change contrast and brightness and add noise: one draw per image.

    images:    uint8 or float (N, C, H, W), values 0 to 255, on any device.
    generator: on the CPU. The same seed gives the same result on every device, but for the noise, which a GPU draws
               from a seed that comes from the generator.
    flips:     mirror half of the images left to right ("horizontal"), top to bottom ("vertical"), both or neither.
    degrees, shift, zoom: largest rotation, largest shift along each axis as a share of the side, largest change of
               scale (0.1 is 1/1.1 to 1.1). What comes in repeats the border.
    contrast:  largest change of contrast (about the image's mean) and of brightness: 0.2 is a factor of 0.8 to 1.2
               and 10 % of the range. noise: largest standard deviation of white noise, as a share of the range.
    Returns float32 (N, C, H, W), 0 to 255, on the device of `images`. With no flips and all else 0 nothing changes.
    Raises ValueError for another shape or an unknown flip. Source: our choice.
    """
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}: pass (N, C, H, W)")
    if wrong := set(flips) - {"horizontal", "vertical"}:
        raise ValueError(f"flips={tuple(flips)} has {wrong.pop()!r}: pass 'horizontal', 'vertical', both or neither")
    n, device = len(images), images.device

    def draw(largest: float, *shape: int) -> torch.Tensor:
        return (2 * torch.rand(n, *shape, generator=generator) - 1) * largest

    def send(values: torch.Tensor) -> torch.Tensor:
        return values.to(device, non_blocking=True)  # without waiting for a GPU

    def mirror(direction: str) -> torch.Tensor:
        return 1 - 2 * (torch.rand(n, generator=generator) < 0.5).float() * (direction in flips)

    across = mirror("horizontal")
    turn, scale, move = draw(math.radians(degrees)), torch.exp(draw(math.log1p(zoom))), draw(2 * shift, 2)
    gain, offset, strength = 1 + draw(contrast, 1, 1, 1), draw(contrast / 2 * 255, 1, 1, 1), draw(noise * 255, 1, 1, 1)
    down = mirror("vertical") if "vertical" in flips else torch.ones(n)

    result = images.to(torch.float32, copy=True)
    if flips or degrees or shift or zoom:
        aspect = images.shape[2] / images.shape[3]
        cos, sin = torch.cos(turn) / scale, torch.sin(turn) / scale
        along_x, along_y = (across * cos, -down * sin * aspect), (across * sin / aspect, down * cos)
        rows = torch.stack([*along_x, move[:, 0], *along_y, move[:, 1]], dim=1)
        grid = _grid(send(rows.view(n, 2, 3)), *result.shape[2:])
        if device.type == "mps":  # has no border padding before torch 2.13: the same by hand
            edge = 1 - 1 / torch.tensor([images.shape[3], images.shape[2]], dtype=grid.dtype, device=device)
            grid = grid.clamp(-edge, edge)
        padding = "zeros" if device.type == "mps" else "border"
        result = F.grid_sample(result, grid, padding_mode=padding, align_corners=False)
    if contrast:
        middle = result.mean(dim=(1, 2, 3), keepdim=True)
        result.sub_(middle).mul_(send(gain)).add_(middle).add_(send(offset))
    if noise:
        if device.type != "cpu":
            seed = torch.randint(2**62, (1,), generator=generator).item()
            generator = torch.Generator(device).manual_seed(int(seed))
        result.add_(torch.randn(result.shape, generator=generator, device=device).mul_(send(strength)))
    return result.clamp_(0, 255)


def _grid(rows: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Where each pixel comes from, (N, H, W, 2), as F.affine_grid(align_corners=False) does it in twice the time.

    rows: (N, 2, 3), the affine map of (x, y, 1), in units of half a side.
    """
    x, y = (torch.linspace(-1, 1, side, device=rows.device) * ((side - 1) / side) for side in (width, height))
    grid = rows.new_empty(len(rows), height, width, 2)
    for k, (along_x, along_y, shift) in enumerate(rows.permute(1, 2, 0)[..., None, None]):
        grid[..., k] = along_x * x + along_y * y[:, None] + shift
    return grid


def normalise(images: torch.Tensor, mean: float | Sequence[float], std: float | Sequence[float]) -> torch.Tensor:
    """Images as a network takes them: three channels, (value / 255 - mean) / std, float32 (N, 3, H, W).

    images:    uint8 or float (N, C, H, W), values 0 to 255, C = 1 (repeated) or 3.
    mean, std: one number, or one per channel, of values scaled to 0 to 1: those the teacher was trained with.
    Raises ValueError for another C, another number of values, or a std that is not positive.

    >>> normalise(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), 0.5, 0.5).unique()
    tensor([1.])
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images have shape {tuple(images.shape)}: pass (N, 1, H, W) or (N, 3, H, W)")
    centre, spread = (torch.as_tensor(value, dtype=torch.float32).flatten() for value in (mean, std))
    if not {len(centre), len(spread)} <= {1, 3} or spread.min() <= 0:
        raise ValueError(f"mean={mean}, std={std}: pass one number for each, or one per channel; std must be positive")
    shift, scale = (v.expand(3).view(1, 3, 1, 1).to(images.device, non_blocking=True) for v in (centre, spread))
    return (images.float() / 255 - shift).div_(scale)  # in place: new memory costs more than the arithmetic


def to_device(image_set: ImageSet, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """The images, uint8 (N, C, H, W), and labels, int64 (N,), as tensors on a device."""
    return torch.from_numpy(image_set.images).to(device), torch.from_numpy(image_set.labels).long().to(device)
