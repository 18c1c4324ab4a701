"""All answers of the training people, and what they say of each image for everybody.

Ratings are laid out by user and image, whose effects are found by least squares; comparisons of images are added to the
effects as measurements of differences (`pairwise`). What one person likes beyond everybody is left to
`expectation_maximisation`.

Datasets that are learnt from together have no person and no image in common. So each has an offset of its own, which
least squares leave undecided between its images and its people; here it is in the levels of its people: the image
effects of each dataset are zero in the mean over its ratings.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.data.comparisons import Comparisons
from predictor.taste.pairwise import image_effects

MIN_NOISE = 1e-4
"""Lower bound of the noise variance: a standard deviation of a hundredth of the scale, even if all ratings agree."""

COMPARED_NOISE = 0.05
"""Variance with which an image is perceived where nobody rates: it sets the scale, which comparisons do not tell."""

_MIDDLE, _LEVEL_VARIANCE = 0.5, 0.01
"""Mean and variance of people's levels where nobody rates."""

_Array = NDArray[np.float64]

_MAX_SWEEPS = 5000
"""Of two-way means: about ten are enough where images share many raters, hundreds where they share few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """R ratings by index of user and of image, 0 to 1."""

    user: NDArray[np.int64]
    image: NDArray[np.int64]
    rating: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingAnswers:
    """The training answers about I images, and what these say of the images for everybody."""

    rated: NDArray[np.int64]  # (I,), rows of all images
    user: NDArray[np.int64]  # (R,)
    image: NDArray[np.intp]  # (R,), rows of `rated`
    rating: NDArray[np.float64]  # (R,)
    compared_by: NDArray[np.int64]  # (C,)
    better: NDArray[np.intp]  # (C,), rows of `rated`
    worse: NDArray[np.intp]  # (C,)
    weight: NDArray[np.float64]  # (C,)
    level: NDArray[np.float64]  # (U,), nan without ratings
    dataset: NDArray[np.int64]  # (U,), which of the datasets that are learnt from together each person is of
    image_effect: NDArray[np.float64]  # (I,)
    count: NDArray[np.float64]  # (I,), how many ratings each effect is worth
    sampling: float
    """Variance of one rating around level and image effect."""

    @classmethod
    def of(
        cls,
        ratings: Ratings,
        comparisons: Comparisons | None,
        users: int,
        dataset: NDArray[np.int64] | None = None,
    ) -> "TrainingAnswers":
        nobody, nothing = np.empty(0, np.int64), np.empty(0)
        compared = comparisons or Comparisons(user=nobody, better=nobody, worse=nobody, weight=nothing)
        every = np.concatenate([ratings.image, compared.better, compared.worse])
        rated, place = np.unique(every, return_inverse=True)
        image, better, worse = np.split(place, np.cumsum([len(ratings.image), len(compared)]))
        effect, level = two_way_means(ratings, image, users, images=len(rated))
        count = np.bincount(image, minlength=len(rated)).astype(np.float64)
        residual = ratings.rating - level[ratings.user] - effect[image]
        dataset = np.zeros(users, np.int64) if dataset is None else dataset
        rates = ~np.isnan(level)
        free = len(residual) - np.count_nonzero(count) - np.count_nonzero(rates) + len(np.unique(dataset[rates]))
        sampling = float((residual**2).sum()) / free if free > 0 else 0.0
        if len(compared):
            noise = max(sampling, MIN_NOISE) if free > 0 else COMPARED_NOISE
            effect, count = image_effects(better, worse, compared.weight, effect, count, noise=noise)
        return cls(
            rated=rated,
            user=ratings.user,
            image=image,
            rating=ratings.rating,
            compared_by=compared.user,
            better=better,
            worse=worse,
            weight=compared.weight,
            level=level,
            dataset=dataset,
            image_effect=effect,
            count=count,
            sampling=sampling,
        )

    @property
    def mean_level(self) -> float:
        return float(np.nanmean(self.level)) if len(self.rating) else _MIDDLE

    @property
    def level_variance(self) -> float:
        """Between the people of one dataset: where a dataset's ratings lie on their scale is no trait of theirs."""
        if not len(self.rating):
            return _LEVEL_VARIANCE
        rates = ~np.isnan(self.level)
        level, dataset = self.level[rates], self.dataset[rates]
        for number in np.unique(dataset):
            level[dataset == number] -= level[dataset == number].mean()
        return max(float(np.mean(level**2)), 1e-4)


def two_way_means(ratings: Ratings, image: NDArray[np.intp], users: int, *, images: int = 0) -> tuple[_Array, _Array]:
    """Least-squares effects of a two-way layout.

    Parameters
    ----------
    image
        (R,), the image of each rating.
    images
        How many images there are, if there are more than are rated.

    Returns
    -------
    The effect of each image (I,), zero in the mean over ratings, and the level of each user (U,), nan without ratings.
    """
    user, rating = ratings.user, ratings.rating
    per_image, per_user = np.bincount(image, minlength=images), np.bincount(user, minlength=users)
    image_effect = np.zeros(len(per_image))
    level = np.zeros(users)
    if not len(rating):
        return image_effect, np.full(users, np.nan)
    for _ in range(_MAX_SWEEPS):
        before = image_effect
        level = np.bincount(user, rating - image_effect[image], users) / np.maximum(per_user, 1)
        image_effect = np.bincount(image, rating - level[user], len(per_image)) / np.maximum(per_image, 1)
        image_effect -= image_effect[image].mean()
        if np.abs(image_effect - before).max() < 1e-10:
            break
    return image_effect, np.where(per_user > 0, level, np.nan)
