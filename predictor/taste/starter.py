"""The starter set: which images to ask a new person about first, learnt from the people of the training ratings.

Where enough people rated the same images, images are added greedily by what they would have told of these people: the
mean correlation between what is inferred from the ratings of the set and what each person likes beyond everybody, over
the images that are not in the set. Otherwise by the gain of the ranking that is expected before any answer
(`question`). Nothing is left to compute when somebody is asked.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from predictor.taste.hierarchical import ImageFeatures, Taste
from predictor.taste.posterior import covariance_factor, prior
from predictor.taste.question import expected_accuracy, ranked_pairs
from predictor.taste.training_answers import Ratings

SIZE = 25
"""Images in a list."""

_MIN_PEOPLE, _MIN_IMAGES = 10, 40
_ALIKE = 0.9
"""Share of images that two people have to have in common to be in one group."""
_MOST_IMAGES = 600


def learn_starter(
    taste: Taste,
    features: Callable[[Tensor], ImageFeatures],
    ratings: Ratings,
    images: NDArray[np.int64],
    *,
    seed: int = 0,
) -> list[list[int]]:
    """Lists of images in the order to ask about them; the first list is the one that tells most.

    Parameters
    ----------
    features
        Of the images of some rows, as the lists and `ratings` name them.
    ratings
        The training ratings.
    images
        What may be asked about where too few people rated the same images.
    """
    groups = _groups(ratings)
    lists = [_by_correlation(taste, features, table, images) for table, images in groups]
    if lists:
        return [chosen for _, chosen in sorted(lists, key=lambda each: -each[0])]
    return [_by_expectation(taste, features, images, seed)]


def _groups(ratings: Ratings) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Groups of people who rated the same images: their ratings (people, images), nan where there is none."""
    users, user = np.unique(ratings.user, return_inverse=True)
    images, image = np.unique(ratings.image, return_inverse=True)
    shape = (len(users), len(images))
    rated: Any = csr_array((np.ones(len(user)), (user, image)), shape)
    rating: Any = csr_array((ratings.rating, (user, image)), shape)
    left, groups = np.ones(len(users), bool), []
    while left.any():
        seen = rated[[int(np.flatnonzero(left)[0])]].indices
        wanted = np.zeros(len(images))
        wanted[seen] = 1
        together = left & (rated @ wanted > _ALIKE * len(seen))
        left &= ~together
        if together.sum() >= _MIN_PEOPLE and len(seen) >= _MIN_IMAGES:
            seen = np.sort(seen)
            there = rated[together][:, seen].toarray() > 0
            groups.append((np.where(there, rating[together][:, seen].toarray(), np.nan), images[seen]))
    return groups


def _by_correlation(
    taste: Taste,
    features: Callable[[Tensor], ImageFeatures],
    table: NDArray[np.float64],
    images: NDArray[np.int64],
) -> tuple[float, list[int]]:
    """The mean correlation that was reached, and the images."""
    own = features(torch.from_numpy(images))
    noise = taste.config.perceived_noise
    covariance = np.asarray(own.values @ taste.covariance @ own.values.T, np.float64) + 1.0  # a level anywhere
    residual = table - taste.config.level - own.generic.numpy()
    beyond = np.nan_to_num(residual - np.nanmean(residual, 0))
    inferred, chosen = np.zeros_like(beyond), list[int]()
    reached = 0.0
    while len(chosen) < min(SIZE, len(images) // 2):
        gain = covariance / (np.diag(covariance) + noise)  # (images, candidates)
        surprise = np.nan_to_num(residual - inferred)  # who has not rated it has no surprise
        value = _mean_correlation(beyond, inferred, surprise, gain, chosen)
        best = int(np.argmax(value))
        reached = float(value[best])
        inferred = inferred + surprise[:, [best]] * gain[:, best]
        covariance = covariance - gain[:, [best]] * covariance[best]
        chosen.append(best)
    return reached, images[chosen].tolist()


def _mean_correlation(
    target: NDArray[np.float64],
    inferred: NDArray[np.float64],
    surprise: NDArray[np.float64],
    gain: NDArray[np.float64],
    chosen: Sequence[int],
) -> NDArray[np.float64]:
    """Mean over people of the correlation of target and inferred, if each candidate (columns) were added.

    The images of the set and the candidate itself are left out of the correlation.
    """
    kept = np.ones(target.shape[1])
    kept[list(chosen)] = 0
    count = kept.sum() - 1
    own = np.diag(gain)  # of the candidate on itself

    def sums(a: NDArray[np.float64], b: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the kept images of a * (b + surprise gain), without the candidate's own; (people, candidates)."""
        return ((a * b) @ kept)[:, None] + surprise * (a @ (kept[:, None] * gain)) - a * at

    after = inferred + surprise * own  # at the candidate itself
    ones = np.ones_like(target)
    total_target = (target @ kept)[:, None] - target
    square_target = (target**2 @ kept)[:, None] - target**2
    total = sums(ones, inferred, after)
    cross = sums(target, inferred, after)
    square = (
        (inferred**2 @ kept)[:, None]
        + 2 * surprise * (inferred @ (kept[:, None] * gain))
        + surprise**2 * (kept @ gain**2)
        - after**2
    )
    covariance = cross - total * total_target / count
    variance = np.maximum(square - total**2 / count, 1e-15) * np.maximum(square_target - total_target**2 / count, 1e-15)
    value = (covariance / np.sqrt(variance)).mean(0)
    value[list(chosen)] = -np.inf
    return value


def _by_expectation(
    taste: Taste, features: Callable[[Tensor], ImageFeatures], images: NDArray[np.int64], seed: int
) -> list[int]:
    """Greedy by the ranking that is expected before any answer is known."""
    rng = np.random.default_rng([seed, 0x57])
    candidates = rng.permutation(images)[:_MOST_IMAGES]
    own = features(torch.from_numpy(candidates))
    rows = covariance_factor(prior(taste).factor, own)
    first, second = ranked_pairs(len(candidates), rng)
    pairs, mean = rows[first] - rows[second], (own.generic[first] - own.generic[second])
    noise = taste.config.perceived_noise
    chosen: list[int] = []
    told = torch.zeros(len(pairs), dtype=torch.float64)  # variance of each pair's difference that the set tells
    variance = pairs.square().sum(1)
    while len(chosen) < min(SIZE, len(candidates) // 2):
        total = rows.square().sum(1) + noise
        explained: Tensor = (pairs @ rows.T).square() / total
        value = expected_accuracy(mean, variance, told[:, None] + explained)
        value[chosen] = -torch.inf
        best = int(value.argmax())
        told = told + explained[:, best]
        direction = rows[best] / total[best].sqrt()
        shrink = (1 - (1 - direction @ direction).clamp_min(0).sqrt()) / (direction @ direction).clamp_min(1e-30)
        rows = rows - shrink * torch.outer(rows @ direction, direction)
        pairs = pairs - shrink * torch.outer(pairs @ direction, direction)
        chosen.append(best)
    return candidates[chosen].tolist()
