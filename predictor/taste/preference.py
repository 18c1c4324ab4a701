"""Which of two images a person prefers, with the probability of each answer (Thurstone 1927; Glenn and David 1960)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """The probabilities of a person's three answers; they sum to 1."""

    first: float
    tie: float
    second: float


def preference(
    difference: NDArray[np.float64], variance: NDArray[np.float64], tie_zone: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Probabilities that the first image is preferred, that neither is, and that the second is.

    Parameters
    ----------
    difference
        (N,), expected utility of the first image minus that of the second, in units of the 0..1 scale.
    variance
        (N,), of that difference as the person perceives it: what is not known of the taste, and the noise of both
        images.
    tie_zone
        h: the images are called alike where the perceived difference is below it.

    Returns
    -------
    The three probabilities, (N,) each.
    """
    from scipy.special import ndtr

    spread = np.sqrt(variance)
    first, second = ndtr((difference - tie_zone) / spread), ndtr((-difference - tie_zone) / spread)
    return first, np.maximum(1 - first - second, 0), second


def without_ties(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of the first image, given that one is preferred."""
    return first / np.maximum(first + second, 1e-300)
