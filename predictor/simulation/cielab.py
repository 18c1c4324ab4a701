"""CIELAB of pixels, and pixels of CIELAB.

Both are scikit-image's to the last bit, in the same operations on the same numbers. What is left out is work: powers of
which there are few distinct results come from tables, and planes are worked on whole rather than by masks.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

_STEPS = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_STEPS > 0.04045, ((_STEPS + 0.055) / 1.055) ** 2.4, _STEPS / 12.92)
"""Linear light of each of the 256 steps of sRGB (IEC 61966-2-1)."""

_CELLS = 1 << 16
"""Intervals of linear light, most of which lie within one step of sRGB; a power of two, so that scaling is exact."""
_UNSURE = 256
"""Added to the step of an interval that has more than one, or whose ends are near another."""
_NEAR = 1e-3
"""In steps: far more than by how much a power of single precision is off."""


def cielab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIELAB (D65) of sRGB pixels, shape (H, W, 3): L* from 0 to 100, a*, b*; as `skimage.color.rgb2lab`."""
    from skimage.color import xyz_tristimulus_values
    from skimage.color.colorconv import xyz_from_rgb

    white = xyz_tristimulus_values(illuminant="D65", observer="2", dtype=np.float32)
    light = _LINEAR[pixels] @ xyz_from_rgb.T.astype(np.float32)  # (H, W, 3)
    light /= white
    curved = np.where(light > 0.008856, np.cbrt(light), 7.787 * light + 16.0 / 116.0)
    x, y, z = np.moveaxis(curved, -1, 0)
    lab = np.empty((3, *pixels.shape[:-1]), np.float32)  # planes, which are what everybody works on
    np.subtract(116.0 * y, 16.0, out=lab[0])
    np.multiply(500.0, x - y, out=lab[1])
    np.multiply(200.0, y - z, out=lab[2])
    return np.moveaxis(lab, 0, -1)


def srgb(lightness: Plane, a: Plane, b: Plane) -> NDArray[np.uint8]:
    """The nearest sRGB pixels of CIELAB planes of shape (H, W), those out of gamut clipped; shape (H, W, 3).

    As `skimage.color.lab2rgb`, scaled to 255 and rounded.
    """
    from skimage.color import xyz_tristimulus_values
    from skimage.color.colorconv import rgb_from_xyz

    white = xyz_tristimulus_values(illuminant="D65", observer="2", dtype=np.float64)
    y = (lightness + 16.0) / 116.0
    light = np.empty((*lightness.shape, 3), np.float32)
    for place, curved in enumerate((a / 500.0 + y, y, np.maximum(y - b / 200.0, 0))):
        linear = np.where(curved > 0.2068966, np.power(curved, 3.0), (curved - 16.0 / 116.0) / 7.787)
        np.multiply(linear, white[place], out=light[..., place], casting="same_kind")
    return _steps(light @ rgb_from_xyz.T.astype(np.float32))


def _steps(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The step of sRGB nearest to linear light, by a table where its interval lies within one."""
    light = np.clip(light, 0, 1)
    found = _table()[(light * _CELLS).astype(np.int32)]
    steps = found.astype(np.uint8)
    unsure = found >= _UNSURE
    steps[unsure] = _levels(light[unsure]).astype(np.uint8)
    return steps


def _levels(light: NDArray[np.floating]) -> NDArray[np.floating]:
    """Steps of sRGB, 0 to 255, plus a half."""
    curved = 1.055 * np.power(np.maximum(light, 0.0031308), 1 / 2.4) - 0.055
    return 255 * np.clip(np.where(light > 0.0031308, curved, light * 12.92), 0, 1) + 0.5


@cache
def _table() -> NDArray[np.uint16]:
    """The step of each interval of linear light, and of 1, which ends the last one."""
    ends = _levels((np.arange(_CELLS + 1) / _CELLS).astype(np.float32))
    steps = ends.astype(np.uint16)
    near = np.abs(ends - np.round(ends)) < _NEAR
    unsure = near.copy()
    unsure[:-1] |= near[1:] | (steps[1:] != steps[:-1])
    return steps + np.where(unsure, _UNSURE, 0).astype(np.uint16)
