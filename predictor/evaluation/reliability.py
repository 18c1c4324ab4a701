"""Whether the model knows what it does not know: predicted probabilities against what people did.

Two questions, both within people: how often a rating falls into its predicted interval, and how often the image that is
predicted to be preferred with probability p is the one that was rated higher. Pairs with equal ratings are ties; they
decide about the tie zone, and the preference is judged among the others (expected calibration error; Guo et al. 2017).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from predictor.taste.preference import preference, without_ties
from predictor.taste.training_answers import MIN_NOISE

LEVELS = (0.8, 0.95)
"""Probabilities of the intervals that are counted."""

_BINS = 10
_MOST_PAIRS = 300
"""Of one person, so that nobody decides the table alone."""
_MOST_RATINGS = 2000
"""Of one person, whose pairs are drawn from: all pairs of somebody who rated everything would not fit into memory."""
_TRAINING_COUNTS_AS = 100
"""Ratings that what training says of the noise is worth: of fewer, their own mean says little."""
_TIE_ZONES = np.linspace(0.005, 0.25, 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedPerson:
    """One person's ratings beside what was predicted of them."""

    rating: NDArray[np.float64]  # (R,)
    score: NDArray[np.float64]  # (R,)
    factor: Tensor  # (R, D), B of the scores' covariance B @ B.T


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPairs:
    """Pairs of images of one person each."""

    difference: NDArray[np.float64]  # (P,), of the scores
    variance: NDArray[np.float64]  # (P,), of the difference as it is perceived
    outcome: NDArray[np.int64]  # (P,), 1 where the first was rated higher, -1 where the second was, 0 for a tie

    @property
    def count(self) -> int:
        return len(self.outcome)


def compared_pairs(people: Iterable[RatedPerson], *, noise: float, seed: int) -> ComparedPairs:
    """Random pairs of each person's images, each pair in a random order.

    Parameters
    ----------
    noise
        Variance with which one image is perceived around what is predicted of image and taste.
    """
    rng = np.random.default_rng([seed, 0x9A])
    parts: list[NDArray[np.float64]] = []
    for person in people:
        rating, score, factor = person.rating, person.score, person.factor
        some = np.arange(len(rating))
        if len(some) > _MOST_RATINGS:
            some = rng.permutation(some)[:_MOST_RATINGS]
        first, second = (some[place] for place in np.triu_indices(len(some), 1))
        kept = rng.permutation(len(first))[:_MOST_PAIRS]
        turned = rng.random(len(kept)) < 0.5
        a = np.where(turned, second[kept], first[kept])
        b = np.where(turned, first[kept], second[kept])
        unknown = (factor[torch.from_numpy(a)] - factor[torch.from_numpy(b)]).square().sum(1).numpy()
        gap = rating[a] - rating[b]
        parts.append(np.stack([score[a] - score[b], unknown + 2 * noise, np.sign(gap) * (np.abs(gap) > 1e-9)]))
    difference, variance, outcome = np.concatenate([np.empty((3, 0)), *parts], 1)
    return ComparedPairs(difference=difference, variance=variance, outcome=outcome.astype(np.int64))


def answer_noise_of(people: Iterable[RatedPerson], *, of_training: float) -> float:
    """Noise variance of one rating with which 80% prediction intervals cover 80% of the ratings of unseen images.

    A prediction's variance is that of the score plus this noise. It is a quantile, not the mean squared residual:
    residuals have longer tails than a normal distribution, so their variance would make the intervals too wide. On
    kinds of images that training did not see, the training noise alone is too small: 80% intervals then covered 75%.

    Parameters
    ----------
    of_training
        Noise variance found in training; it counts as `_TRAINING_COUNTS_AS` ratings.
    """
    from scipy.special import ndtri

    level, width = LEVELS[0], float(ndtri(0.5 + LEVELS[0] / 2))
    least = [((person.rating - person.score) / width) ** 2 - person.factor.square().sum(1).numpy() for person in people]
    known = np.concatenate([np.full(_TRAINING_COUNTS_AS, of_training), *least])
    return max(float(np.quantile(known, level)), MIN_NOISE)


def likeliest_tie_zone(pairs: ComparedPairs) -> float:
    """The tie zone that makes the three outcomes of the pairs likeliest."""
    logs = []
    for zone in _TIE_ZONES:
        first, tie, second = preference(pairs.difference, pairs.variance, zone)
        chosen = np.where(pairs.outcome > 0, first, np.where(pairs.outcome < 0, second, tie))
        logs.append(np.log(np.maximum(chosen, 1e-12)).mean())
    return float(_TIE_ZONES[int(np.argmax(logs))])


def reliability(
    people: Sequence[RatedPerson], *, noise: float, perceived_noise: float, tie_zone: float, seed: int = 0
) -> dict[str, Any]:
    """The reliability of intervals and preferences: coverages, calibration error and its table, share of ties.

    Parameters
    ----------
    noise, perceived_noise
        Variance of one image's rating, and of what is perceived of one that is compared with another, around what is
        predicted of image and taste. What a person rates higher or lower all along is no part of the second.
    """
    pairs = compared_pairs(people, noise=perceived_noise, seed=seed)
    first, tie, second = preference(pairs.difference, pairs.variance, tie_zone)
    decided = pairs.outcome != 0
    chance = without_ties(first, second)[decided]
    confident, right = np.maximum(chance, 1 - chance), (chance >= 0.5) == (pairs.outcome[decided] > 0)
    bins, error = _bins(confident, right)
    return {
        "n_pairs": int(decided.sum()),
        "calibration_error": error,
        "bins": bins,
        "ties": {
            "predicted": float(tie.mean()) if pairs.count else None,
            "observed": float((~decided).mean()) if pairs.count else None,
            "zone": tie_zone,
        },
        "intervals": [{"level": level, "covered": _covered(people, noise, level)} for level in LEVELS],
    }


def _bins(predicted: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[list[dict[str, Any]], float | None]:
    """Rows of the table, and the mean distance of prediction and outcome, weighted by the number of pairs."""
    edges = np.linspace(0.5, 1, _BINS + 1)
    where = np.clip(np.digitize(predicted, edges) - 1, 0, _BINS - 1)
    rows, error = [], 0.0
    for number in range(_BINS):
        inside = where == number
        if inside.any():
            mean, share = float(predicted[inside].mean()), float(right[inside].mean())
            error += abs(mean - share) * float(inside.mean())
            low, high = edges[number], edges[number + 1]
            rows.append(
                {"low": float(low), "high": float(high), "n": int(inside.sum()), "predicted": mean, "observed": share}
            )
    return rows, error if rows else None


def _covered(people: Sequence[RatedPerson], noise: float, level: float) -> float | None:
    """Share of ratings inside their central intervals."""
    from scipy.special import ndtri

    width = float(ndtri(0.5 + level / 2))
    inside = [
        np.abs(person.rating - person.score) <= width * np.sqrt(person.factor.square().sum(1).numpy() + noise)
        for person in people
    ]
    return float(np.concatenate(inside).mean()) if inside else None
