"""Comparisons as measurements of differences, so that they are learnt from by the same linear algebra as ratings.

A comparison says that the perceived difference of two images is positive (Thurstone 1927). At an expected difference it
is as good as a normal measurement, whose value and precision come from the log likelihood's slope and curvature there
(Laplace's approximation; Rasmussen and Williams 2006, section 3.4). Expected differences are found by Newton's method.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import cg
from scipy.special import log_ndtr

_EFFECT_PRIOR_VARIANCE = 0.1
"""Prior variance of an image's effect on the 0-1 scale: weak, but it keeps the effect of an image that won every
comparison finite."""

_ITERATIONS = 100
_TOLERANCE = 1e-6

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """C normal measurements of the difference of the better and the worse image."""

    value: Array
    precision: Array


def measured(difference: Array, weight: Array, *, noise: float) -> Measurements:
    """What comparisons are worth where so large a difference is expected.

    Parameters
    ----------
    difference
        (C,), better minus worse.
    noise
        Variance with which one image is perceived.
    """
    spread = (2 * noise) ** 0.5
    z = difference / spread
    mills = np.exp(-0.5 * z * z - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
    curvature = np.maximum(mills * (mills + z), 1e-9)
    return Measurements(value=difference + spread * mills / curvature, precision=weight * curvature / spread**2)


def image_effects(
    better: NDArray[np.intp], worse: NDArray[np.intp], weight: Array, mean: Array, count: Array, *, noise: float
) -> tuple[Array, Array]:
    """What all people together think of I images, by ratings and comparisons.

    Parameters
    ----------
    better, worse, weight
        (C,), of the comparisons.
    mean, count
        (I,), of the ratings of each image, and how many they are; without ratings the mean does not matter.
    noise
        Variance of one person's rating of an image around what all think of it; also with which they compare it.

    Returns
    -------
    The effects (I,), and how many ratings each is worth (I,).

    Raises
    ------
    RuntimeError
        Newton's method has not converged.
    """
    images = len(mean)
    at = np.where(count > 0, mean, 0.0)
    given, moved = count / noise, np.inf
    for _ in range(_ITERATIONS):
        sites = measured(at[better] - at[worse], weight, noise=noise)
        told = np.bincount(better, sites.precision, images) + np.bincount(worse, sites.precision, images)
        pulled = sites.precision * sites.value
        pull = np.bincount(better, pulled, images) - np.bincount(worse, pulled, images)
        between = coo_array((sites.precision, (better, worse)), (images, images)).tocsr()
        system = diags_array(given + told + 1 / _EFFECT_PRIOR_VARIANCE) - between - between.T
        aim, failed = cg(system, given * np.where(count > 0, mean, 0.0) + pull, at, rtol=1e-10)
        moved, at = float(np.abs(aim - at).max()), aim
        if moved < _TOLERANCE and not failed:
            return at, count + noise * told
    raise RuntimeError(
        f"what {len(better)} comparisons say of {images} images has not converged; last step {moved:.1e}"
    )
