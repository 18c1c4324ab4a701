"""How well scores rank one person's ratings, and how sure one can be of a mean over people.

Correlations are scipy's. Users whose ratings (or scores) are constant have no correlation: they are
left out of the mean; whoever reports a mean reports how many.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    ci_low: float
    ci_high: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no nan."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, float | None]) -> "Interval":
        """What `as_dict` gave."""
        return cls(**{name: math.nan if value is None else value for name, value in values.items()})

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.ci_low:+.3f}, {self.ci_high:+.3f}]"


def srocc(rating: Vector, score: Vector) -> float:
    """Spearman's rank correlation; nan where either side is constant."""
    return _correlation(stats.spearmanr, rating, score)


def plcc(rating: Vector, score: Vector) -> float:
    """Pearson's linear correlation; nan where either side is constant."""
    return _correlation(stats.pearsonr, rating, score)


def pairwise_accuracy(rating: Vector, score: Vector) -> float:
    """Share of pairs that the scores order as the ratings do.

    Pairs with equal ratings are left out, equal scores count half; nan where no pair is left.
    """
    rated = np.sign(rating[:, None] - rating[None, :])
    scored = np.sign(score[:, None] - score[None, :])
    upper = np.triu(rated != 0, k=1)
    if not upper.any():
        return float("nan")
    return float((0.5 + 0.5 * (rated * scored)[upper]).mean())


METRICS: Mapping[str, Callable[[Vector, Vector], float]] = {
    "srocc": srocc,
    "plcc": plcc,
    "pairwise_accuracy": pairwise_accuracy,
}


def per_user(
    metric: Callable[[Vector, Vector], float], user: NDArray[np.int64], rating: Vector, score: Vector
) -> Vector:
    """The metric within each user's ratings, in the order of the user indices; nan where it is undefined."""
    return np.array([metric(rating[user == u], score[user == u]) for u in np.unique(user)], np.float64)


def mean_over_users(values: Vector, *, seed: int = 0, replicates: int = 2000) -> Interval:
    """Mean over users with a percentile bootstrap of the users; users without a value (nan) are left out."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return Interval(float("nan"), float("nan"), float("nan"))
    return bootstrap_mean(defined, seed=seed, replicates=replicates)


def bootstrap_mean(values: Vector, *, seed: int = 0, replicates: int = 10_000) -> Interval:
    """Mean of independent units with its 95% percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13)."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(values), (replicates, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def _correlation(statistic: Callable[..., object], rating: Vector, score: Vector) -> float:
    if len(rating) < 2 or np.ptp(rating) == 0 or np.ptp(score) == 0:
        return float("nan")
    return float(statistic(rating, score)[0])  # pyright: ignore[reportIndexIssue]
