"""CIELAB of pixels."""

import numpy as np
from numpy.typing import NDArray

_STEPS = np.arange(256, dtype=np.float32) / 255
_LINEAR = np.where(_STEPS > 0.04045, ((_STEPS + 0.055) / 1.055) ** 2.4, _STEPS / 12.92)
"""Linear light of each of the 256 steps of sRGB (IEC 61966-2-1)."""


def cielab(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIELAB (D65) of sRGB pixels, shape (H, W, 3): L* from 0 to 100, a*, b*.

    It is `skimage.color.rgb2lab` to the last bit, with a table in place of a power a pixel.
    """
    from skimage.color import xyz2lab
    from skimage.color.colorconv import xyz_from_rgb

    return xyz2lab(_LINEAR[pixels] @ xyz_from_rgb.T.astype(np.float32))
