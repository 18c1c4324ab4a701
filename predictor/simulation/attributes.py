"""Attributes of an image, measured from its pixels: what simulated raters judge by.

Neither the prompt nor a learnt encoder is used, so that a model which recovers a simulated rater's taste has learnt it
from ratings.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from predictor.data.image_files import as_shown
from predictor.simulation.cielab import cielab

ATTRIBUTES = ("luminance", "contrast", "saturation", "warmth", "sharpness", "vignetting", "subject_scale")
"""The order of the columns of every attribute array."""

_SIDE = 256
"""Side in pixels at which every image is measured, so that sharpness and scale are comparable."""

_WINDOW = np.outer(np.hanning(_SIDE), np.hanning(_SIDE))
_FREQUENCY = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None, :]) * _SIDE
"""Of each coefficient of `rfft2`, in cycles per side."""


def measure(image: Image.Image) -> NDArray[np.float64]:
    """Measure the seven attributes of one image.

    Parameters
    ----------
    image
        Any mode and size; resized to 256 x 256.

    Returns
    -------
    Array of shape (7,), in the order of `ATTRIBUTES`:
    mean CIELAB lightness L* (0 to 100); standard deviation of L*; mean chroma C*; mean b* (yellow
    positive, blue negative); log10 of the variance of the Laplacian of L*; mean L* of the central
    half minus mean L* of the border (positive: darkened corners); mean wavelength of the structure
    of L*, as a fraction of the image's side (large: few big shapes).
    """
    from skimage.filters import laplace

    lab = cielab(np.asarray(as_shown(image).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)))  # (256, 256, 3)
    lightness = lab[..., 0]
    quarter = _SIDE // 4
    central = np.zeros(lightness.shape, bool)
    central[quarter:-quarter, quarter:-quarter] = True
    return np.array(
        [
            lightness.mean(),
            lightness.std(),
            np.hypot(lab[..., 1], lab[..., 2]).mean(),
            lab[..., 2].mean(),
            np.log10(laplace(lightness).var() + 1e-2),
            lightness[central].mean() - lightness[~central].mean(),
            _mean_wavelength(lightness),
        ],
        np.float64,
    )


def _mean_wavelength(lightness: NDArray[np.floating]) -> float:
    """Inverse of the amplitude-weighted mean spatial frequency, in fractions of the side."""
    amplitude = np.abs(np.fft.rfft2((lightness - lightness.mean()) * _WINDOW))
    total = amplitude.sum()
    return float(total / (amplitude * _FREQUENCY).sum()) if total > 0 else 1.0
