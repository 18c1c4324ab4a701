"""Which four pictures to show next: the last favourite, and the three with which the best of the four is best.

The expected utility of the best option (EUBO; Lin et al. 2022, "Preference exploration for efficient Bayesian
optimization with multiple outcomes"), over samples of the person's posterior. The favourite stays among the four:
with real people's ratings that mattered more than the rule by which the others were taken, and taking them by a sample
of the posterior (Thompson) was worse than either.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SIZE = 4
_SAMPLES = 512


def next_four(
    mean: Tensor, rows: Tensor, *, favourite: int, unseen: Sequence[int], noise: float, seed: int
) -> list[int]:
    """Images of the next choice, the favourite first, then greedily by what each adds; fewer where there are fewer.

    Parameters
    ----------
    mean
        Expected utilities of N images, (N,).
    rows
        Factor B of their covariance, (N, r): B @ B.T.
    noise
        Variance of each image's own part, which is independent of the others'.
    """
    utility = samples(mean, rows, noise=noise, seed=seed)
    chosen, best = [favourite], utility[:, favourite]
    left = [image for image in unseen if image != favourite]
    while left and len(chosen) < SIZE:
        gains = np.maximum(utility[:, left] - best[:, None], 0).mean(0)
        image = left.pop(int(gains.argmax()))
        chosen.append(image)
        best = np.maximum(best, utility[:, image])
    return chosen


def chances(mean: Tensor, rows: Tensor, *, noise: float, seed: int) -> NDArray[np.float64]:
    """How probable it is of each of N images that it is the best of them, (N,)."""
    utility = samples(mean, rows, noise=noise, seed=seed)
    return np.bincount(utility.argmax(1), minlength=utility.shape[1]) / len(utility)


def samples(mean: Tensor, rows: Tensor, *, noise: float, seed: int) -> NDArray[np.float64]:
    """Utilities of the N images, sampled from the posterior: (samples, N)."""
    rng = np.random.default_rng(seed)
    shared = torch.from_numpy(rng.normal(size=(_SAMPLES, rows.shape[1]))) @ rows.T
    own = rng.normal(scale=noise**0.5, size=(_SAMPLES, len(mean)))
    return (mean + shared).numpy() + own
