"""Matrix factorisation with biases of users and images, the baseline for images that training has seen.

    rating of image i by user u  =  mean + b_u + b_i + p_u . q_i

Fitted by alternating ridge regressions (Koren, Bell and Volinsky 2009). It uses no content of the images, so that its
score of an image without a training rating is nan.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.taste.training_answers import Ratings

_RANK = 8
_PENALTY = 8.0
"""Ridge penalty of factors and biases, in ratings: a bias estimated from n ratings is shrunk by n / (n + 8)."""
_ROUNDS = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Factorisation:
    """Fitted factors; a row of `image` is [b_i, q_i], nan for an image without a training rating."""

    mean: float
    image: NDArray[np.float64]  # (I, 1 + rank)
    user: NDArray[np.float64]  # (U, 1 + rank)

    def scores(self, user: NDArray[np.float64], images: NDArray[np.int64]) -> NDArray[np.float64]:
        """Predicted ratings by a user [b_u, p_u], nan for images without a training rating.

        user (1 + rank,), images (N,) -> (N,)
        """
        return self.mean + user[0] + self.image[images, 0] + self.image[images, 1:] @ user[1:]

    def consensus(self) -> NDArray[np.float64]:
        """One score per image, the same for everybody."""
        return self.mean + self.image[:, 0]

    def fold_in(self, images: NDArray[np.int64], rating: NDArray[np.float64]) -> NDArray[np.float64]:
        """The row [b_u, p_u] of an unseen user with some ratings; images without a training rating are ignored."""
        seen = ~np.isnan(self.image[images, 0])
        factors = self.image[images[seen]]
        return _ridge(factors[:, 1:], rating[seen] - self.mean - factors[:, 0])


def factorise(ratings: Ratings, *, users: int, images: int, seed: int = 0) -> Factorisation:
    """Fit to training ratings; users without one have a row of zeros."""
    rng = np.random.default_rng([seed, 0x3F])
    mean = float(ratings.rating.mean())
    user, image = np.zeros((users, 1 + _RANK)), np.zeros((images, 1 + _RANK))
    image[:, 1:] = rng.normal(0, 0.1, (images, _RANK))
    centred = ratings.rating - mean
    by_user, by_image = _grouped(ratings.user), _grouped(ratings.image)
    for _ in range(_ROUNDS):
        for number, rows in by_user:
            seen = image[ratings.image[rows]]
            user[number] = _ridge(seen[:, 1:], centred[rows] - seen[:, 0])
        for number, rows in by_image:
            seen = user[ratings.user[rows]]
            image[number] = _ridge(seen[:, 1:], centred[rows] - seen[:, 0])
    unseen = np.setdiff1d(np.arange(images), ratings.image)
    image[unseen] = np.nan
    return Factorisation(mean=mean, image=image, user=user)


def _ridge(factors: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    design = np.column_stack([np.ones(len(target)), factors])
    gram = design.T @ design + np.diag([_PENALTY, *[_PENALTY * _FACTOR_VARIANCE] * factors.shape[1]])
    return np.asarray(np.linalg.solve(gram, design.T @ target), np.float64)


_FACTOR_VARIANCE = 0.02
"""Scales the penalty of the factors, which are multiplied by other factors, against that of the biases."""


def _grouped(index: NDArray[np.int64]) -> list[tuple[int, NDArray[np.intp]]]:
    order = np.argsort(index, kind="stable")
    numbers, starts = np.unique(index[order], return_index=True)
    return list(zip(numbers.tolist(), np.split(order, starts[1:]), strict=True))
