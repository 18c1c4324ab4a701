"""Intervals for other people *and* other images: both are samples, and images are often the smaller one.

The variance of a mean over people is that over people, plus that over images by a delete-a-group jackknife (Quenouille
1956; Kott 2001): the mean is taken again without each of some groups of images. What is a person's own about one image
is in both parts, so that the intervals are wide rather than narrow. Degrees of freedom after Satterthwaite (1946).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import t

from predictor.evaluation.levels import user_level
from predictor.metrics import BY_GROUP, UNDEFINED, Index, Interval, Vector

MOST_GROUPS = 20
_LEAST_GROUPS = 5
"""With fewer the variance over images is anybody's guess."""


def image_folds(image: Index, group: Sequence[object] | None, *, seed: int = 0) -> Index:
    """The fold of each rating (R,): images of one group are in the same, of which there are 20 at most.

    Parameters
    ----------
    image
        (R,), by index.
    group
        Of each image by index, or None: each is its own.
    """
    named = [image_number if group is None else str(group[image_number]) for image_number in image.tolist()]
    _, place = np.unique(named, return_inverse=True)
    count = int(place.max(initial=-1)) + 1
    order = np.random.default_rng([seed, 0x2A]).permutation(count)
    return (order % min(MOST_GROUPS, max(count, 1)))[place]


def left_out_values(user: Index, rating: Vector, score: Vector, fold: Index) -> list[dict[str, Vector]]:
    """`user_level` without each fold, for the same users (U,); nan where a user has nothing left."""
    people, found = np.unique(user), []
    for number in np.unique(fold):
        kept = fold != number
        values = user_level(user[kept], rating[kept], score[kept])
        there = np.searchsorted(people, np.unique(user[kept]))
        spread = {name: np.full(len(people), np.nan) for name in values}
        for name, own in values.items():
            spread[name][there] = own
        found.append(spread)
    return found


def over_people_and_images(
    values: Mapping[str, Vector], left_out: Sequence[Mapping[str, Vector]]
) -> dict[str, Interval]:
    """Means over people with 95% intervals for other people and other images.

    Parameters
    ----------
    values
        Metric -> (U,), as returned by `user_level`, or differences of two such.
    left_out
        The same without each fold of images.
    """
    if len(left_out) < _LEAST_GROUPS:
        return dict.fromkeys(BY_GROUP, UNDEFINED)
    return {name: _interval(own, [each[name] for each in left_out]) for name, own in values.items()}


def _interval(values: Vector, left_out: Sequence[Vector]) -> Interval:
    known = values[~np.isnan(values)]
    means = np.array([np.nanmean(each) if not np.isnan(each).all() else np.nan for each in left_out])
    if len(known) < 2 or np.isnan(means).any():
        return UNDEFINED
    people, folds = len(known), len(means)
    of_people = float(known.var(ddof=1)) / people
    of_images = (folds - 1) / folds * float(((means - means.mean()) ** 2).sum())
    total = of_people + of_images
    if total == 0:
        return Interval(float(known.mean()), float(known.mean()), float(known.mean()))
    freedom = total**2 / (of_people**2 / (people - 1) + of_images**2 / (folds - 1))
    value, width = float(known.mean()), float(t.ppf(0.975, freedom)) * total**0.5
    return Interval(value, value - width, value + width)
