"""The two levels of the paper's section 4: within each user, and of the images' mean ratings.

    user         a metric within one person's ratings; reports average it over people
    population   the mean rating of each image against one score per image

Users are the independent units at both levels: every interval comes from resampling users.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from predictor.metrics import (
    BY_GROUP,
    UNDEFINED,
    Index,
    Interval,
    Vector,
    means_over_users,
    percentile_interval,
    resampled_means,
    resampled_users,
)

_LOWEST = {"srocc": -1.0, "plcc": -1.0, "pairwise_accuracy": 0.0}
_CELLS = 1 << 20
"""Images times replicates that are ranked at a time, at most."""
_LEAST_REPLICATES, _MOST_REPLICATES = 100, 1000
_RANKED = 6_000_000
"""Images times replicates at most: beyond 6,000 images there are fewer replicates, and from 60,000 on 100."""
_DECIMALS = 12
"""Means are rounded to so many, so that the order of summation does not break ties."""


def user_level(user: Index, rating: Vector, score: Vector) -> dict[str, Vector]:
    """Each metric within each user's ratings.

    Parameters
    ----------
    user, rating, score
        Shape (R,); ratings from 0 to 1, scores in any unit.

    Returns
    -------
    Metric -> values (U,) in the order of the user indices that occur; nan where a user has no such metric:
    equal ratings or scores, fewer than two ratings, or a score that is nan.
    """
    return {name: metric(user, rating, score) for name, metric in BY_GROUP.items()}


def compare(
    values_a: Mapping[str, Vector], values_b: Mapping[str, Vector], *, seed: int = 0, replicates: int = 2000
) -> dict[str, Interval]:
    """Mean over users of a − b, two results of `user_level` for the same ratings, by a paired bootstrap of the users.

    Users without a value in either are left out; the resampled users are the same for all metrics.
    """
    differences = {name: values - values_b[name] for name, values in values_a.items()}
    return means_over_users(differences, seed=seed, replicates=replicates)


def compare_datasets(
    values_a: Sequence[Mapping[str, Vector]],
    values_b: Sequence[Mapping[str, Vector]],
    *,
    seed: int = 0,
    replicates: int = 2000,
) -> dict[str, Interval]:
    """Mean over datasets of each one's mean over users of a − b; as `compare`, with users drawn within their dataset.

    Parameters
    ----------
    values_a, values_b
        Of each dataset two results of `user_level` for the same ratings.
    """
    of_each = [
        resampled_means({name: a[name] - b[name] for name in BY_GROUP}, seed=seed + place, replicates=replicates)
        for place, (a, b) in enumerate(zip(values_a, values_b, strict=True))  # datasets of one size are drawn apart
    ]
    value, means = (np.mean(parts, 0) for parts in zip(*of_each, strict=True))
    return {name: percentile_interval(float(value[n]), means[:, n]) for n, name in enumerate(BY_GROUP)}


def population_level(
    user: Index, image: Index, rating: Vector, consensus: Vector, *, seed: int = 0, replicates: int | None = None
) -> dict[str, Interval]:
    """Metrics of the images' mean ratings against one score per image, with intervals over users.

    In each replicate users are drawn with replacement, and images that none of them rated are left out. Means over
    fewer different users are noisier, which lowers all replicates; so the replicates are shifted until their median is
    the value, and the interval shows their spread without that bias.

    Parameters
    ----------
    user, image, rating
        Shape (R,); ratings from 0 to 1.
    consensus
        Shape (I,), by image index. Images without a rating are ignored; a score of a rated image that is nan
        leaves every metric undefined.
    replicates
        1,000 by default, and fewer where very many images have to be ranked.

    Raises
    ------
    ValueError
        An image index has no score.
    """
    if len(image) and image.max() >= len(consensus):
        raise ValueError(f"{len(consensus)} consensus scores, but a rating of image number {image.max()}")
    if not len(user):
        return dict.fromkeys(BY_GROUP, UNDEFINED)
    people, person = np.unique(user, return_inverse=True)
    images, picture = np.unique(image, return_inverse=True)
    shape = (len(images), len(people))
    totals = sparse.csr_array((rating, (picture, person)), shape)
    counts = sparse.csr_array((np.ones(len(rating)), (picture, person)), shape)
    scores = consensus[images]
    if np.isnan(scores).any():
        return dict.fromkeys(BY_GROUP, UNDEFINED)
    replicates = replicates or max(_LEAST_REPLICATES, min(_MOST_REPLICATES, _RANKED // len(images)))
    value = _of_mean_ratings(np.ones((1, len(people))), totals, counts, scores)
    drawn = resampled_users(len(people), seed=seed, replicates=replicates).astype(float)  # (B, U)
    step = max(1, _CELLS // len(images))
    parts = [_of_mean_ratings(drawn[low : low + step], totals, counts, scores) for low in range(0, replicates, step)]
    spread = {name: np.concatenate([part[name] for part in parts]) for name in BY_GROUP}
    return {name: _centred_interval(name, float(value[name][0]), spread[name]) for name in BY_GROUP}


def _of_mean_ratings(
    weights: NDArray[np.float64], totals: sparse.csr_array, counts: sparse.csr_array, scores: Vector
) -> dict[str, Vector]:
    """Metric -> values (B,) of the mean ratings under B weightings of the users (B, U)."""
    total, count = (totals @ weights.T).T, (counts @ weights.T).T  # (B, I)
    replicate, image = np.nonzero(count)
    mean = np.round(total[replicate, image] / count[replicate, image], _DECIMALS)
    return {name: metric(replicate, mean, scores[image]) for name, metric in BY_GROUP.items()}


def _centred_interval(name: str, value: float, replicates: Vector) -> Interval:
    if np.isnan(replicates).all():
        return Interval(value, np.nan, np.nan)
    shifted = percentile_interval(value, replicates - np.nanmedian(replicates) + value)
    low, high = np.clip([shifted.ci_low, shifted.ci_high], _LOWEST[name], 1)
    return Interval(value, float(low), float(high))
