"""Formula-drawn images: the task the embedded teacher is pretrained on.

Every class is a formula (a warped grating, a petal curve, a spiral, a cell pattern, ...) drawn with random position,
scale, contrast and background, so that only the formula tells the class. No photograph and no medical image is
involved. In the spirit of formula-driven supervised learning (Kataoka et al., ACCV 2020, arXiv 2101.08515); the
formulas themselves are our choice.
"""

from __future__ import annotations

from functools import partial

import numpy as np

Array = np.ndarray
DEGREES, SIDES = (0, 45, 90, 135), {"left": -1, "right": 1}


class Canvas:
    """A randomly placed coordinate frame of `size` x `size` pixels with the random generator that placed it."""

    def __init__(self, rng: np.random.Generator, size: int):
        self.rng, self.size = rng, size
        axis = np.linspace(-1, 1, size, dtype=np.float32)
        self.x, self.y = np.meshgrid(axis, axis)
        self.centre = rng.uniform(-0.35, 0.35, 2)
        dx, dy = self.x - self.centre[0], self.y - self.centre[1]
        self.radius, self.angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        self.turn = rng.uniform(0, 2 * np.pi)
        self.scale = rng.uniform(0.35, 0.7)

    def edge(self, signed_distance: Array, width: float = 0.05) -> Array:
        """A soft step: 1 inside (negative distance), 0 outside."""
        return 1 / (1 + np.exp(np.clip(signed_distance / width * 4, -30, 30)))

    def line(self, distance: Array, width: float = 0.07) -> Array:
        """A soft line where `distance` is zero."""
        return np.exp(-((distance / width) ** 2))


def power_noise(rng: np.random.Generator, size: int, slope: float) -> Array:
    """Gaussian noise whose amplitude spectrum falls as frequency ** -slope, scaled to zero mean, unit variance."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1 / size
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(size, size)).astype(np.float32)
    return noise / (noise.std() + 1e-6)


def grating(c: Canvas, orientation: float, cycles: float) -> Array:
    theta = orientation + c.rng.uniform(-0.15, 0.15)
    across, along = c.x * np.cos(theta) + c.y * np.sin(theta), c.y * np.cos(theta) - c.x * np.sin(theta)
    bend = c.rng.uniform(0, 0.12) * np.sin(np.pi * along * c.rng.uniform(0.5, 1.5) + c.turn)
    wave = np.sin(np.pi * cycles * c.rng.uniform(0.9, 1.1) * (across + bend) + c.turn)
    return wave * c.line(c.radius, c.rng.uniform(0.6, 1.2))


def petals(c: Canvas, count: int) -> Array:
    curve = c.scale * (1 + c.rng.uniform(0.25, 0.4) * np.cos(count * (c.angle + c.turn)))
    return c.edge(c.radius - curve) if c.rng.random() < 0.5 else c.line(c.radius - curve)


def polygon(c: Canvas, corners: int) -> Array:
    sector = 2 * np.pi / corners
    folded = (c.angle + c.turn) % sector - sector / 2
    distance = c.radius * np.cos(folded) - c.scale * np.cos(sector / 2)
    return c.edge(distance) if c.rng.random() < 0.5 else c.line(distance)


def rings(c: Canvas, count: int) -> Array:
    radii = c.scale * 1.3 * (np.arange(count) + 1) / count
    return np.max([c.line(c.radius - r, 0.06) for r in radii], axis=0)


def blobs(c: Canvas, count: int, sharp: bool) -> Array:
    image, placed = np.zeros_like(c.x), np.empty((0, 2))
    while len(placed) < count:
        spot = c.rng.uniform(-0.85, 0.85, 2)
        if len(placed) and np.hypot(*(placed - spot).T).min() < 0.36:
            continue
        placed = np.vstack([placed, spot])
        distance, r = np.hypot(c.x - spot[0], c.y - spot[1]), c.rng.uniform(0.1, 0.17)
        image = np.maximum(image, c.edge(distance - r, 0.04) if sharp else c.line(distance, r))
    return image


def spiral(c: Canvas, arms: int, hand: int) -> Array:
    phase = arms * c.angle + hand * c.rng.uniform(7, 11) * c.radius + c.turn
    return np.cos(phase) * c.line(c.radius, c.scale * 1.6)


def star(c: Canvas, rays: int) -> Array:
    return np.cos(rays * (c.angle + c.turn)) * c.line(c.radius, c.scale * 1.5)


def checks(c: Canvas, cycles: float) -> Array:
    u, v = c.x * np.cos(c.turn) + c.y * np.sin(c.turn), c.y * np.cos(c.turn) - c.x * np.sin(c.turn)
    return np.tanh(4 * np.sin(np.pi * cycles * u) * np.sin(np.pi * cycles * v)) * c.line(c.radius, c.scale * 1.8)


def cells(c: Canvas, count: int, walls: bool) -> Array:
    seeds = c.rng.uniform(-1.2, 1.2, (count, 2)).astype(np.float32)
    distance = np.sort(np.hypot(c.x[..., None] - seeds[:, 0], c.y[..., None] - seeds[:, 1]), axis=-1)
    return c.line(distance[..., 1] - distance[..., 0], 0.06) if walls else 1 - distance[..., 0] * count**0.5


def texture(c: Canvas, slope: float) -> Array:
    return power_noise(c.rng, c.size, slope) * 0.5


def patch(c: Canvas, slope: float) -> Array:
    """A round patch of fine or coarse noise on the background: texture inside, no outline."""
    return power_noise(c.rng, c.size, slope) * c.edge(c.radius - c.scale * 0.8, 0.25)


def strokes(c: Canvas, count: int, bend: float) -> Array:
    image = np.zeros_like(c.x)
    for _ in range(count):
        theta, offset = c.rng.uniform(0, np.pi), c.rng.uniform(-0.6, 0.6)
        across, along = c.x * np.cos(theta) + c.y * np.sin(theta), c.y * np.cos(theta) - c.x * np.sin(theta)
        image = np.maximum(image, c.line(across - offset - bend * np.sin(np.pi * along + c.turn), 0.05))
    return image


def contour(c: Canvas, harmonics: int) -> Array:
    """A closed contour whose radius is a random sum of sinusoids: smooth with few harmonics, ragged with many."""
    k = np.arange(1, harmonics + 1)
    height, phase = c.rng.standard_normal(harmonics) / harmonics**0.5, c.rng.uniform(0, 2 * np.pi, harmonics)
    wobble = (height * np.cos(k * c.angle[..., None] + phase)).sum(-1)
    distance = c.radius - c.scale * (0.8 + 0.16 * wobble)
    return c.edge(distance) if c.rng.random() < 0.6 else c.line(distance, 0.06)


# Name of a class, with its numbers: the function that draws it, and their meaning there
CLASSES = {
    **{f"grating_{d}_{n}": partial(grating, orientation=np.pi * d / 180, cycles=n) for d in DEGREES for n in (4, 9)},
    **{f"petals_{n}": partial(petals, count=n) for n in (3, 5, 8)},
    **{f"polygon_{n}": partial(polygon, corners=n) for n in (3, 4, 6)},
    **{f"rings_{n}": partial(rings, count=n) for n in (1, 2, 4)},
    **{f"blobs_{n}": partial(blobs, count=n, sharp=False) for n in (1, 2, 4, 8)},
    **{f"discs_{n}": partial(blobs, count=n, sharp=True) for n in (1, 3, 7)},
    **{f"spiral_{n}_{side}": partial(spiral, arms=n, hand=h) for n in (1, 3) for side, h in SIDES.items()},
    **{f"star_{n}": partial(star, rays=n) for n in (3, 7)},
    **{f"checks_{n}": partial(checks, cycles=n) for n in (3, 6)},
    **{f"cells_{n}": partial(cells, count=n, walls=True) for n in (12, 45)},
    **{f"cones_{n}": partial(cells, count=n, walls=False) for n in (12, 45)},
    **{f"texture_{s}": partial(texture, slope=s) for s in (0.0, 0.8, 1.6)},
    **{f"patch_{s}": partial(patch, slope=s) for s in (0.0, 0.9, 1.8)},
    **{f"strokes_{n}": partial(strokes, count=n, bend=0.0) for n in (1, 3, 6)},
    **{f"curves_{n}": partial(strokes, count=n, bend=0.35) for n in (1, 4)},
    **{f"contour_{n}": partial(contour, harmonics=n) for n in (2, 5, 12)},
}


def draw(label: int, rng: np.random.Generator, size: int = 64, difficulty: float = 1.0) -> Array:
    """One image of class number `label`.

    size:       pixels per side.
    difficulty: 0 (clean, strong contrast) to 1 (noise, uneven background, weak contrast).
    Returns uint8 (size, size).

    >>> draw(0, np.random.default_rng(0)).shape
    (64, 64)
    """
    figure = list(CLASSES.values())[label](Canvas(rng, size))
    figure = (figure - figure.mean()) / (figure.std() + 1e-3)
    contrast = rng.choice([-1, 1]) * rng.uniform(1 - 0.65 * difficulty, 1)
    background = power_noise(rng, size, rng.uniform(0.0, 2.0)) * rng.uniform(0.0, 0.6) * difficulty
    ramp = np.linspace(-1, 1, size, dtype=np.float32) * rng.uniform(-0.5, 0.5) * difficulty
    grain = rng.standard_normal((size, size), dtype=np.float32) * rng.uniform(0.02, 0.3) * difficulty
    image = 128 + rng.uniform(-30, 30) * difficulty + 42 * (contrast * figure + background + ramp[:, None] + grain)
    return np.clip(image, 0, 255).astype(np.uint8)


def batch(seed: int, step: int, count: int, size: int = 64, difficulty: float = 1.0) -> tuple[Array, Array]:
    """Batch number `step` of an endless stream: the same seed and step always give the same images.

    Returns images uint8 (N, H, W) and labels int64 (N,).
    """
    rng = np.random.default_rng([seed, step])
    labels = rng.integers(0, len(CLASSES), count)
    return np.stack([draw(int(label), rng, size, difficulty) for label in labels]), labels
