"""How the phantoms' anatomies and lesions are drawn: the formulas behind `phantoms`, all our choice."""

from __future__ import annotations

import numpy as np

Array = np.ndarray

# --- strokes of the brush: x and y run from -1 (left, top) to 1 (right, bottom) ---------------------------------------


def _pose(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Coordinates x and y of the pixels, float32 (H, W), after a random small rotation, shift and zoom."""
    axis = ((np.arange(size) + 0.5) / size * 2 - 1).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    turn, zoom, (dx, dy) = rng.uniform(-0.1, 0.1), rng.uniform(0.94, 1.06), rng.uniform(-0.05, 0.05, 2)
    cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
    return cos * x - sin * y + dx, sin * x + cos * y + dy


def _soft(distance: Array, width: float = 0.05) -> Array:
    """A soft step: 1 where the signed distance is negative, 0 where it is positive."""
    return np.clip(0.5 - distance / width, 0, 1)


def _line(distance: Array, width: float | Array) -> Array:
    """A soft line where `distance` is zero."""
    return np.exp(-np.square(distance / width))


def _ellipse(x: Array, y: Array, cx: float, cy: float, a: float, b: float) -> Array:
    """About the signed distance to an ellipse with half axes a and b."""
    return (np.hypot((x - cx) / a, (y - cy) / b) - 1) * min(a, b)


def _ragged(x: Array, y: Array, rng: np.random.Generator, cx: float, cy: float, r: float, wobble: float) -> Array:
    """Signed distance to a closed contour whose radius is a sum of sinusoids."""
    angle = np.arctan2(y - cy, x - cx)
    radius = np.full_like(x, r)
    for k in (2, 3, 5):
        radius += r * wobble * rng.standard_normal() / k**0.5 * np.cos(k * angle + rng.uniform(0, 6.28))
    return np.hypot(x - cx, y - cy) - radius


def _across(dx: Array, dy: Array, rng: np.random.Generator) -> Array:
    """The signed distance to a line through (0, 0) in a random direction."""
    turn = rng.uniform(0, 3.14)
    return np.cos(turn) * dx + np.sin(turn) * dy


def field(rng: np.random.Generator, size: int, knots: int) -> Array:
    """Smooth noise (H, W) of mean 0 and variance 1: Gaussian bumps of random heights, `knots` a side."""
    at = (np.arange(size) + 0.5) / size * 2 - 1
    bumps = np.exp(-np.square((at[:, None] - np.linspace(-1, 1, knots)) * (knots - 1) / 2))
    basis = (bumps / np.linalg.norm(bumps, axis=1, keepdims=True)).astype(np.float32)
    return basis @ rng.standard_normal((knots, knots), dtype=np.float32) @ basis.T


# --- chest X-ray: attenuations add up along the beam ------------------------------------------------------------------


def chest_xray(name: str, rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """A frontal chest X-ray of a class in `phantoms.CLASSES`: grey values (H, W) and lesion weight 0 to 1 (H, W)."""
    x, y = _pose(rng, size)
    cy, dome, base = rng.uniform(-0.08, 0.02), rng.uniform(0.12, 0.22), rng.uniform(0.5, 0.64)
    half, offset, heart = rng.uniform(0.31, 0.37), rng.uniform(0.4, 0.45), rng.uniform(0.24, 0.38)
    lungs = np.zeros_like(x)
    for side in (-1, 1):
        u = (x - side * (offset + 0.06 * y)) / (half * (1.02 + 0.22 * y))
        outline = np.square(u) * np.abs(u) + np.square(np.square((y - cy) / 0.78)) - 1
        floor = y - base - 0.05 * (side > 0) + dome * (1.2 - np.square(u + 0.25 * side))
        lungs = np.maximum(lungs, _soft(outline, 0.4) * _soft(floor, 0.06))
    body = _soft(np.abs(x) - rng.uniform(0.88, 1.0) - 0.35 * np.minimum(y + 0.6, 0), 0.25)
    shadow = 1.25 * body - (0.85 + 0.12 * field(rng, size, 4)) * lungs
    shadow += 0.5 * _line(x, 0.11) * (1 + 0.12 * np.sin(rng.uniform(20, 26) * y)) * body
    outline = _ellipse(x - 0.3 * (y - 0.3), y, 0.13, 0.3, heart, rng.uniform(0.26, 0.33))
    shadow += 0.7 * _soft(outline, 0.1) * _soft(y - 0.5, 0.3)
    shadow += 0.35 * _line(np.hypot((x - 0.13) / 0.9, y + 0.3), 0.12)
    spacing, phase, slope = rng.uniform(21, 27), rng.uniform(0, 6.28), rng.uniform(0.3, 0.6)
    ribs = np.clip(np.sin(spacing * (y - slope * np.square(np.abs(x) - 0.35)) + phase), 0, 1)
    front = np.clip(np.sin(0.7 * spacing * (y + 0.55 * np.abs(x)) + phase), 0, 1)
    shadow += (rng.uniform(0.12, 0.24) * ribs + 0.07 * front) * _soft(np.abs(x) - 0.82, 0.1) * body
    for side in (-1, 1):
        clavicle = _line(y + rng.uniform(0.6, 0.68) + 0.2 * (side * x - 0.4), 0.04) * _soft(0.1 - side * x, 0.1)
        shadow += 0.4 * clavicle * body
        hilum = np.hypot(x - side * 0.2, y - rng.uniform(-0.05, 0.08))
        shadow += lungs * (0.35 * _line(hilum, 0.13) + 0.2 * np.clip(field(rng, size, 20), 0, 2) * _line(hilum, 0.35))

    def spot() -> tuple[float, float]:
        return rng.choice([-1, 1]) * (offset + half * rng.uniform(-0.5, 0.6)), rng.uniform(-0.55, 0.3)

    for finding in rng.choice(["electrode", "scar", "soft_tissue", "vessel", "vessel"], rng.integers(0, 3)):
        cx, cy = spot()
        away = np.hypot(x - cx, y - cy)
        if finding == "electrode":
            shadow += rng.uniform(0.3, 0.5) * _line(away - rng.uniform(0.09, 0.13), 0.035)
        elif finding == "scar":
            across = _across(x - cx, y - cy, rng)
            shadow += rng.uniform(0.3, 0.5) * _line(across, 0.03) * _line(away, 0.28) * lungs
        elif finding == "soft_tissue":
            shadow += rng.uniform(0.2, 0.4) * _line(away, rng.uniform(0.3, 0.4))
        else:
            shadow += rng.uniform(0.3, 0.5) * _line(away, rng.uniform(0.035, 0.05)) * lungs

    lesion = np.zeros_like(x)
    if name == "nodules":
        for _ in range(rng.integers(3, 7)):
            cx, cy = spot()
            lesion = np.maximum(lesion, _soft(_ragged(x, y, rng, cx, cy, rng.uniform(0.1, 0.15), 0.05), 0.07))
        lesion = lesion * (lungs > 0.3)
        shadow += rng.uniform(0.6, 0.85) * lesion
    elif name == "consolidation":
        cx, cy = spot()
        lesion = _soft(_ragged(x, y, rng, cx, cy, rng.uniform(0.28, 0.4), 0.12), 0.16) * lungs
        shadow += rng.uniform(0.5, 0.75) * lesion * np.clip(0.9 + 0.6 * field(rng, size, 18), 0, 2.2)
    return 1 - np.exp(-0.9 * np.maximum(shadow, 0)), lesion


# --- lung CT: each tissue has its own grey value ----------------------------------------------------------------------


def lung_ct(name: str, rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """An axial lung CT, as `chest_xray`."""
    x, y = _pose(rng, size)
    a, b = rng.uniform(0.9, 0.97), rng.uniform(0.7, 0.78)
    body = _ellipse(x, y, 0, 0, a, b)
    image = 0.42 * _soft(body) + 0.2 * _soft(body + rng.uniform(0.05, 0.1))
    image += 0.35 * _line(y - b - 0.1 + 0.12 * np.square(x), 0.025)
    heart_x, lung_a, lung_b = rng.uniform(0.08, 0.16), rng.uniform(0.35, 0.4), rng.uniform(0.5, 0.57)
    chest = np.minimum(*(_ellipse(x, y, s * rng.uniform(0.43, 0.47), 0.02, lung_a, lung_b) for s in (-1, 1)))
    heart = np.minimum(_ellipse(x, y, heart_x, -0.2, rng.uniform(0.2, 0.3), 0.24), _ellipse(x, y, 0, 0.3, 0.15, 0.25))
    lung = _soft(chest, 0.04) * _soft(-heart, 0.04)
    gaps = np.sin(rng.uniform(9, 12) * np.arctan2(y, np.abs(x)) + rng.uniform(0, 6)) > 0.1
    image += 0.2 * _line(chest - 0.05, 0.035) * gaps * _soft(body + 0.1) * _soft(0.32 - np.abs(x), 0.2)
    image += 0.25 * _soft(_ellipse(x, y, 0, 0.36, 0.12, 0.1)) - 0.3 * _soft(_ellipse(x, y, 0, 0.5, 0.045, 0.045))
    image += 0.16 * _soft(_ellipse(x, y, 0.13, 0.22, 0.08, 0.08)) + 0.12 * _soft(_ellipse(x, y, 0.03, -0.24, 0.1, 0.1))
    image = image * (1 - lung) + (0.05 + rng.uniform(0, 0.22) * _soft(-field(rng, size, 3), 3)) * lung
    vessels = np.zeros_like(x)
    for side in (-1, 1):
        dx, dy = side * x - 0.17, y - rng.uniform(-0.02, 0.1)
        away, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
        for turn in np.linspace(-1.25, 1.25, 5) + rng.uniform(-0.25, 0.25, 5):
            across = away * np.sin(np.clip(angle - turn - rng.uniform(-0.5, 0.5) * away, -1.5, 1.5))
            branch = _line(across, 0.02 + 0.02 * (away < 0.2)) * _soft(away - rng.uniform(0.3, 0.5), 0.2)
            vessels = np.maximum(vessels, branch)
    dots = np.clip(field(rng, size, 26) - 1.2, 0, 1)
    tissue = rng.uniform(0.25, 0.4) * vessels + 0.25 * dots
    tissue += rng.uniform(0, 0.22) * _soft(-(y - rng.uniform(0.2, 0.35)), 0.3)

    def spot(reach: float) -> tuple[float, float]:
        turn = rng.uniform(-1.1, 1.4)
        return rng.choice([-1, 1]) * (0.45 + reach * lung_a * np.cos(turn)), reach * lung_b * np.sin(turn)

    for finding in rng.choice(["granuloma", "bronchus", "band", "bulla"], rng.integers(0, 3)):
        cx, cy = spot(rng.uniform(0.2, 0.8))
        away = np.hypot(x - cx, y - cy)
        if finding == "granuloma":
            tissue += 0.5 * _soft(away - rng.uniform(0.04, 0.07))
        elif finding == "bronchus":
            tissue += 0.45 * _line(away - rng.uniform(0.07, 0.1), 0.03)
        elif finding == "band":
            tissue += 0.4 * _line(_across(x - cx, y - cy, rng), 0.025) * _line(away, 0.25)
        else:
            tissue = tissue * (1 - _soft(away - 0.14)) + 0.2 * _line(away - 0.15, 0.025)

    lesion = np.zeros_like(x)
    if name != "normal":
        for _ in range(rng.integers(2, 5)):
            cx, cy = spot(0.85)
            lesion = np.maximum(lesion, _soft(_ragged(x, y, rng, cx, cy, rng.uniform(0.17, 0.27), 0.12), 0.12))
        lesion = lesion * lung
    if name == "ground_glass":
        tissue += rng.uniform(0.26, 0.36) * lesion * np.clip(1 + 0.15 * field(rng, size, 24), 0.2, 2)
    elif name == "honeycombing":
        wave, turn = rng.uniform(32, 40), rng.uniform(0, 1.05)
        bend_x, bend_y = x + 0.04 * field(rng, size, 8), y + 0.04 * field(rng, size, 8)
        cysts = sum(np.cos(wave * (np.cos(turn + k) * bend_x + np.sin(turn + k) * bend_y)) for k in (0.0, 2.094, 4.189))
        tissue = tissue * (1 - 0.8 * lesion) + rng.uniform(0.45, 0.6) * lesion * _soft(cysts, 0.8)
    return image + lung * np.clip(tissue, 0, 0.7), lesion


# --- brain MRI: T1-weighted after contrast agent ----------------------------------------------------------------------


def brain_mri(name: str, rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """An axial T1-weighted brain MRI after contrast agent, as `chest_xray`."""
    x, y = _pose(rng, size)
    a, b = rng.uniform(0.64, 0.74), rng.uniform(0.8, 0.88)
    head = _ellipse(x * (1 - rng.uniform(0, 0.12) * y), y, 0, 0, a, b)
    skull = rng.uniform(0.1, 0.14)
    depth = -(head + skull)
    brain = _soft(-depth, 0.04)
    folds, cortex = field(rng, size, 14), rng.uniform(0.1, 0.15)
    image = 0.7 * _soft(head) * _soft(-(head + 0.06)) + 0.08 * _soft(head + 0.05)
    image += brain * (0.27 + 0.15 * _soft(cortex + 0.05 * folds - depth, 0.06))
    image -= brain * 0.18 * _line(folds, 0.16) * _soft(depth - rng.uniform(0.12, 0.22), 0.1)
    image -= 0.18 * brain * _line(x + 0.01 * folds, 0.025) * _soft(0.25 - np.abs(y), 0.1)
    wide, long, mid = rng.uniform(0.04, 0.085), rng.uniform(0.18, 0.28), rng.uniform(-0.1, 0.05)
    for side in (-1, 1):
        u = side * x - 0.05 - wide * rng.uniform(0.9, 1.3) - 0.45 * np.square(y - mid)
        image -= 0.08 * brain * _soft(_ellipse(x, y, side * 0.2, mid + 0.08, 0.1, 0.15))
        ventricle = _soft(_ellipse(u, y, 0, mid, wide, long))
        image = image * (1 - 0.8 * ventricle) + 0.25 * ventricle * _line(np.hypot(u, y - mid - 0.12), 0.05)
    image += 0.45 * _line(np.hypot(x, y - (b - skull - 0.02)), 0.06)

    def place(reach: float) -> tuple[float, float]:
        turn = rng.uniform(0, 6.28)
        return reach * (a - skull) * np.cos(turn), reach * (b - skull) * np.sin(turn)

    for finding in rng.choice(["vessel", "cyst", "gliosis", "vein"], rng.integers(0, 3)):
        cx, cy = place(rng.uniform(0.3, 0.9))
        away = np.hypot(x - cx, y - cy)
        if finding == "vessel":
            image += brain * 0.35 * _soft(away - rng.uniform(0.03, 0.06))
        elif finding == "cyst":
            image -= brain * 0.25 * _soft(away - rng.uniform(0.09, 0.16))
        elif finding == "gliosis":
            image += brain * rng.uniform(-0.18, 0.22) * _line(away, rng.uniform(0.12, 0.22))
        else:
            across = _across(x - cx, y - cy, rng) + 0.3 * np.square(away)
            image += brain * 0.3 * _line(across, 0.025) * _line(away, 0.2)

    lesion = np.zeros_like(x)
    if name == "glioma":
        cx, cy = place(rng.uniform(0.3, 0.75))
        r = rng.uniform(0.19, 0.28)
        distance = _ragged(x, y, rng, cx, cy, r, 0.14)
        lesion = _soft(distance - 0.03) * brain
        swelling = _soft(_ragged(x, y, rng, cx, cy, 1.7 * r, 0.15), 0.2) * brain
        image = image - 0.08 * swelling - 0.14 * _soft(distance) * brain
        image += brain * rng.uniform(0.32, 0.45) * _line(distance, rng.uniform(0.035, 0.055)) * (1 + 0.25 * folds)
    elif name == "meningioma":
        r = rng.uniform(0.24, 0.33)
        cx, cy = place(1 - 0.6 * r / (a - skull))
        lesion = _soft(_ragged(x, y, rng, cx, cy, r, 0.04)) * brain
        tail = _line(depth - 0.02, 0.03) * _line(np.hypot(x - cx, y - cy), 1.6 * r) * brain
        image += lesion * (rng.uniform(0.62, 0.74) - image) + 0.25 * tail * (1 - lesion)
    mean = rng.uniform(0.33, 0.4)  # of the brain, with and without a lesion
    return np.maximum(image + brain * (mean - (image * brain).sum() / brain.sum()), 0), lesion
