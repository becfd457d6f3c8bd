"""A head that nobody owns: drawn slices with CT numbers, MR intensities and a PET-like uptake.

The pictures stand in for patients' in the demo, the documentation and the tests. Every seed draws another
head.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scalefuse.errors import InputError

_Array = NDArray[np.float64]

# Per tissue: CT number in HU, brightness in the T2-like MR picture, and uptake of the PET-like tracer, the
# latter two in [0, 1]. Compact bone has no MR signal; most lesions are clear in one modality only.
TISSUES: dict[str, tuple[float, float, float]] = {
    "air": (-1000.0, 0.0, 0.0),
    "skin": (30.0, 0.34, 0.10),
    "fat": (-90.0, 0.62, 0.06),
    "bone": (1250.0, 0.02, 0.02),
    "marrow": (480.0, 0.42, 0.05),
    "csf": (8.0, 0.95, 0.04),
    "grey matter": (38.0, 0.56, 0.85),
    "white matter": (28.0, 0.36, 0.40),
    "deep grey": (40.0, 0.46, 0.80),
    "muscle": (55.0, 0.22, 0.12),
    "calcification": (240.0, 0.30, 0.45),
    "haemorrhage": (70.0, 0.16, 0.10),
    "oedema": (22.0, 0.80, 0.25),
    "plaque": (29.0, 0.78, 0.35),
    "tumour": (36.0, 0.68, 1.00),
}


_CODE = {name: code for code, name in enumerate(TISSUES)}
_Canvas = NDArray[np.uint8]


class HeadPhantom(NamedTuple):
    """One drawn head in the two modalities of the main job.

    Attributes:
        ct_hu: ``(H, W)`` float32, CT numbers in HU, air at -1000.
        mri: ``(H, W)`` float32, T2-like brightness in [0, 1].
    """

    ct_hu: NDArray[np.float32]
    mri: NDArray[np.float32]


@dataclass(frozen=True)
class _Anatomy:
    """How much of each tissue a pixel holds; the parts of a pixel add up to 1."""

    parts: dict[str, _Array]
    texture: _Array
    shading: _Array
    left: _Array

    def mix(self, column: int) -> _Array:
        total = np.zeros_like(self.texture)
        for name, part in self.parts.items():
            total += TISSUES[name][column] * part
        return total


def head_phantom(size: int = 256, seed: int = 0) -> HeadPhantom:
    """Draw an axial slice of a head as CT and as MR picture, registered to the pixel.

    Bone is bright in CT only; cortex, ventricles, oedema and plaques show in MR; a calcification and a
    haemorrhage show in CT. Pixels at borders hold several tissues; noise and a slow MR shading are added.

    Args:
        size: height and width in pixels, at least 32.
        seed: another seed gives another head: shape, folds, ventricles, lesions and noise differ.

    Returns:
        CT numbers in HU and MR brightness in [0, 1].

    Raises:
        InputError: the size is below 32.

    Example:
        >>> ct, mri = head_phantom(64, seed=3)
        >>> ct.shape, bool(ct.max() > 700), bool(ct.min() < -950), bool(0 <= mri.min() and mri.max() <= 1)
        ((64, 64), True, True, True)
    """
    anatomy, generator = _draw(size, seed)
    ct = anatomy.mix(0)
    # Quantum noise is spread over a few pixels by the reconstruction.
    ct += _smooth(generator.standard_normal(ct.shape), 0.7) * 9.0 + anatomy.texture * 2.0
    mri = anatomy.mix(1)
    signal = mri > 0.01
    mri = mri * anatomy.shading * (1 + 0.05 * anatomy.texture * signal)
    # The magnitude of a complex signal: noise is Rician, and never below 0.
    noise = generator.standard_normal((2, *mri.shape)) * 0.012
    mri = np.hypot(mri + noise[0], noise[1])
    ct = np.maximum(ct, -1024.0)
    return HeadPhantom(ct.astype(np.float32), np.clip(mri, 0.0, 1.0).astype(np.float32))


def pet_phantom(size: int = 256, seed: int = 0) -> NDArray[np.float32]:
    """Draw the same head's uptake of a PET-like tracer, in pseudo-colour.

    Grey matter takes up more than white, the tumour most, the oedema little; the picture is blurred as a PET
    scanner blurs.

    Args:
        size: height and width in pixels, at least 32.
        seed: as for :func:`head_phantom`; the same seed is the same head.

    Returns:
        ``(H, W, 3)`` in [0, 1].

    Raises:
        InputError: the size is below 32.

    Example:
        >>> pet_phantom(64).shape
        (64, 64, 3)
    """
    anatomy, generator = _draw(size, seed)
    uptake = anatomy.mix(2) * (1 + 0.08 * anatomy.left)
    uptake = _smooth(uptake, size / 110)
    uptake *= 1 + 0.35 * _smooth(generator.standard_normal(uptake.shape), size / 130)
    return hot_colours(uptake / 0.95)


def hot_colours(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """A black, red, yellow, white colour map.

    Args:
        values: ``(H, W)``; clipped to [0, 1].

    Returns:
        ``(H, W, 3)`` in [0, 1].

    Example:
        >>> hot_colours(np.array([[0.0, 0.5, 1.0]])).round(2).tolist()[0][::2]
        [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """
    heat = np.clip(values.astype(np.float64), 0.0, 1.0)[..., None]
    return np.clip((heat - [0.0, 0.36, 0.74]) / [0.42, 0.40, 0.26], 0.0, 1.0).astype(np.float32)


def _smooth(values: _Array, sigma: float) -> _Array:
    from scipy.ndimage import gaussian_filter

    smoothed = gaussian_filter(values, sigma, mode="nearest")
    return np.asarray(smoothed, dtype=np.float64)


def _field(generator: np.random.Generator, size: int, sigma: float) -> _Array:
    """Smooth random field, mean 0, standard deviation 1; ``sigma`` as a part of the picture's width.

    Drawn on a grid of fixed size and interpolated, so that a seed gives the same head at every size.
    """
    from scipy.ndimage import zoom

    grid = 192
    field = _smooth(generator.standard_normal((grid, grid)), sigma * grid)
    field = (field - field.mean()) / field.std()
    return np.asarray(zoom(field, size / grid, order=3, mode="nearest", grid_mode=True), dtype=np.float64)


def _draw(size: int, seed: int) -> tuple[_Anatomy, np.random.Generator]:
    if size < 32:
        raise InputError(f"A head phantom of {size} pixels was asked for, but it takes at least 32.")
    # Drawn at twice the size and averaged: pixels at borders then hold parts of several tissues.
    fine = _labels(2 * size, np.random.default_rng([seed, 1]))
    generator = np.random.default_rng([seed, 2])
    parts = {}
    for name, mask in fine.items():
        part = mask.reshape(size, 2, size, 2).mean(axis=(1, 3))
        parts[name] = _smooth(part, 0.45 * max(size / 256, 0.5))
    total = sum(parts.values(), np.zeros((size, size)))
    parts = {name: part / total for name, part in parts.items()}
    texture = _field(generator, size, 0.008)
    shading = 1 + 0.05 * _field(generator, size, 0.25)
    left = np.broadcast_to(np.linspace(1, -1, size)[None, :], (size, size))
    return _Anatomy(parts, texture, shading, left), generator


def _labels(size: int, generator: np.random.Generator) -> dict[str, _Array]:
    """Which tissue each fine pixel is; later tissues are painted over earlier ones."""
    canvas = np.full((size, size), _CODE["air"], dtype=np.uint8)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    tilt = generator.uniform(-0.07, 0.07)
    x, y = x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)
    # Bends the whole head a little, so that no line in it is an exact ellipse.
    bend = 0.012
    x = x + bend * _field(generator, size, 0.12)
    y = y + bend * _field(generator, size, 0.12)

    width, height = generator.uniform(0.66, 0.72), generator.uniform(0.84, 0.89)
    # The back of the head is broader than the forehead.
    breadth = width * (1 + 0.10 * y)
    radius = np.sqrt((x / breadth) ** 2 + (y / height) ** 2)
    thickness = generator.uniform(0.085, 0.11)
    scalp = thickness * (0.62 + 0.16 * np.abs(x) / width)
    skull = thickness * (1 + 0.20 * np.cos(2 * np.arctan2(y, x)) ** 2 + 0.06 * _field(generator, size, 0.06))
    inner = 1 - scalp - skull
    canvas[radius < 1] = _CODE["skin"]
    canvas[radius < 1 - 0.022] = _CODE["fat"]
    # The temporal muscle is a lens between fat and bone.
    lens = 0.75 * scalp * np.clip(1 - ((y + 0.02) / 0.42) ** 2, 0.0, 1.0)
    canvas[(radius < 1 - 0.03) & (radius < 1 - scalp + lens)] = _CODE["muscle"]
    canvas[radius < 1 - scalp] = _CODE["bone"]
    middle = inner + 0.5 * skull
    spongy = skull * np.clip(0.17 + 0.11 * _field(generator, size, 0.05), 0.0, 0.32)
    canvas[np.abs(radius - middle) < spongy] = _CODE["marrow"]
    canvas[radius < inner] = _CODE["csf"]
    depth = (inner - 0.02 - radius) * min(width, height)
    _paint_brain(canvas, x, y, depth, generator)
    _paint_lesions(canvas, x, y, depth, generator)
    return {
        name: (canvas == code).astype(np.float64) for name, code in _CODE.items() if (canvas == code).any()
    }


def _paint_brain(
    canvas: _Canvas, x: _Array, y: _Array, depth: _Array, generator: np.random.Generator
) -> None:
    size = len(canvas)
    # Sulci: lines where a smooth random field passes zero, deepest at the surface and gone inside.
    folds = np.abs(_field(generator, size, 0.021))
    reach = generator.uniform(0.17, 0.21) + 0.05 * _field(generator, size, 0.07)
    fade = np.clip(1 - depth / reach, 0.0, 1.0)
    fissure = np.abs(x + 0.012 * np.sin(7 * y + generator.uniform(0, 6)))
    outer_midline = np.abs(y) > 0.26
    is_fissure = (fissure < 0.013) & outer_midline
    sylvian = np.abs(y + 0.02 - 0.35 * (np.abs(x) - 0.3) + 0.03 * np.sin(14 * np.abs(x)))
    is_sylvian = (sylvian < 0.014) & (depth < 0.22) & (np.abs(x) > 0.28)

    sulcus = (folds < 0.26 * fade) | is_fissure | is_sylvian
    # The grey matter is the band of even width along every sulcus and along the surface.
    from scipy.ndimage import distance_transform_edt

    outside = (depth < 0) | sulcus
    distance = np.asarray(distance_transform_edt(~outside), dtype=np.float64) * 2 / size
    cortex = generator.uniform(0.034, 0.040)
    brain = ~outside
    canvas[brain] = _CODE["grey matter"]
    canvas[brain & (distance > cortex)] = _CODE["white matter"]

    _paint_deep_parts(canvas, x, y, generator)


def _paint_deep_parts(canvas: _Canvas, x: _Array, y: _Array, generator: np.random.Generator) -> None:
    side = np.abs(x)
    # Thalamus and, before it, putamen and head of the caudate.
    for cx, cy, rx, ry, turn in (
        (0.115, 0.10, 0.075, 0.115, -0.5),
        (0.255, -0.04, 0.052, 0.135, 0.25),
        (0.115, -0.20, 0.042, 0.075, 0.35),
    ):
        canvas[_ellipse(side, y, cx, cy, rx, ry, turn) < 1] = _CODE["deep grey"]
    # Lateral ventricles: a front horn and a back horn on each side, never quite alike.
    wide = generator.uniform(0.85, 1.35)
    for sign in (-1, 1):
        near = np.where(np.sign(x) == sign, side, np.inf)
        grow = wide * generator.uniform(0.88, 1.12)
        front = _ellipse(near, y, 0.075, -0.205, 0.034 * grow, 0.125 * grow, 0.42)
        body = _ellipse(near, y, 0.042, -0.08, 0.024 * grow, 0.12, -0.12)
        back = _ellipse(near, y, 0.165, 0.27, 0.042 * grow, 0.155 * grow, -0.55)
        canvas[(front < 1) | (body < 1) | (back < 1)] = _CODE["csf"]
    canvas[_ellipse(x, y, 0.0, 0.08, 0.013 * wide, 0.085, 0.0) < 1] = _CODE["csf"]
    # Corpus callosum before and behind the ventricles.
    arc = _ellipse(side, y, 0.0, -0.335, 0.13, 0.035, 0.0)
    canvas[(arc < 1) & (canvas != _CODE["csf"])] = _CODE["white matter"]
    # The plexus in the back horns is calcified in most adults.
    for sign in (-1, 1):
        if generator.random() < 0.8:
            plexus = _ellipse(x, y, sign * generator.uniform(0.13, 0.16), 0.27, 0.016, 0.026, 0.0)
            canvas[(plexus < 1) & (canvas == _CODE["csf"])] = _CODE["calcification"]


def _paint_lesions(
    canvas: _Canvas, x: _Array, y: _Array, depth: _Array, generator: np.random.Generator
) -> None:
    size = len(canvas)
    rough = 0.16 * _field(generator, size, 0.02)
    solid = np.isin(canvas, [_CODE[name] for name in ("white matter", "grey matter", "deep grey")])
    sides = generator.permutation([-1.0, 1.0])

    # A tumour with oedema around it: oedema and tumour in MR and PET, hardly in CT.
    cx, cy = sides[0] * generator.uniform(0.27, 0.36), generator.uniform(0.10, 0.36)
    swelling = (
        _ellipse(x, y, cx, cy, generator.uniform(0.10, 0.15), generator.uniform(0.11, 0.16), 0.3) + rough
    )
    canvas[(swelling < 1) & (canvas == _CODE["white matter"])] = _CODE["oedema"]
    core = _ellipse(x, y, cx, cy, generator.uniform(0.045, 0.07), generator.uniform(0.045, 0.07), 0.0) + rough
    canvas[(core < 1) & solid] = _CODE["tumour"]

    # A fresh haemorrhage: bright in CT, dark in MR.
    cx, cy = sides[1] * generator.uniform(0.24, 0.33), generator.uniform(-0.32, -0.08)
    clot = _ellipse(x, y, cx, cy, generator.uniform(0.05, 0.09), generator.uniform(0.05, 0.08), 0.5) + rough
    canvas[(clot < 1) & (depth > 0.03)] = _CODE["haemorrhage"]

    # Small plaques near the ventricles, seen in MR only, and a few specks of calcium, seen in CT only.
    for _ in range(generator.integers(3, 8)):
        cx, cy = generator.uniform(-0.33, 0.33), generator.uniform(-0.42, 0.5)
        plaque = (
            _ellipse(x, y, cx, cy, generator.uniform(0.012, 0.026), generator.uniform(0.012, 0.026), 0.0)
            + rough
        )
        canvas[(plaque < 1) & (canvas == _CODE["white matter"])] = _CODE["plaque"]
    for _ in range(generator.integers(2, 5)):
        cx, cy = generator.uniform(-0.4, 0.4), generator.uniform(-0.5, 0.5)
        speck = _ellipse(x, y, cx, cy, generator.uniform(0.008, 0.016), generator.uniform(0.008, 0.016), 0.0)
        canvas[(speck < 1) & solid & (depth > 0.03)] = _CODE["calcification"]


def _ellipse(x: _Array, y: _Array, cx: float, cy: float, rx: float, ry: float, turn: float) -> _Array:
    """Distance from the centre in units of the radii: 1 on the outline."""
    dx, dy = x - cx, y - cy
    along, across = dx * np.cos(turn) + dy * np.sin(turn), -dx * np.sin(turn) + dy * np.cos(turn)
    return np.asarray(np.hypot(along / rx, across / ry), dtype=np.float64)
