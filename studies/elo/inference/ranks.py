"""Which conditions differ, and which ranks each can have, from estimates and their cluster-robust covariance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import Fit
from studies.elo.inference.cluster_covariance import Covariance
from studies.elo.inference.clustered import t_p_value
from studies.elo.pair_counts import members

Numbers = NDArray[np.float64]

_DRAWS = 10_000
_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class RankSet:
    """The ranks that a condition can have, 1 being the best; both ends belong to it."""

    condition: str
    best: int
    worst: int


def wald_p_values(fit: Fit, covariance: Covariance) -> Numbers:
    """Two-sided p values (P,) of equal strength of each pair, t(G − 1); nan with one cluster."""
    first, second = members(len(fit.log_strength))
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = (fit.log_strength[first] - fit.log_strength[second]) / covariance.standard_error_of_differences
    return t_p_value(statistic, covariance.clusters)


def holm(p: Numbers) -> Numbers:
    """Adjusted p values (Holm 1979, Scand. J. Stat. 6): below 0.05, the chance of any false claim is below 5%.

    nan stays nan, and counts as a test.
    """
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def rank_sets(conditions: tuple[str, ...], fit: Fit, covariance: Covariance, *, seed: int = 0) -> list[RankSet]:
    """Sets that hold all the true ranks at once with 95% confidence.

    After Mogstad, Romano, Shaikh and Wilhelm (2024, Rev. Econ. Studies 91): a condition's best rank is one more than
    the number of conditions surely above it, by simultaneous intervals for all differences; the critical value is the
    95% quantile of the largest |t|, simulated from the multivariate t distribution with the estimates' covariance and
    G − 1 degrees of freedom. With one cluster every rank is possible.
    """
    count = len(conditions)
    first, second = members(count)
    error = covariance.standard_error_of_differences
    better = np.zeros((count, count), bool)
    if covariance.clusters > 1:
        difference = fit.log_strength[first] - fit.log_strength[second]
        sure = np.abs(difference) > critical_value(covariance, seed=seed) * error
        better[first, second] = sure & (difference > 0)
        better[second, first] = sure & (difference < 0)
    above, below = better.sum(0), better.sum(1)
    return [RankSet(name, 1 + int(above[n]), count - int(below[n])) for n, name in enumerate(conditions)]


def critical_value(covariance: Covariance, *, seed: int = 0, level: float = 0.95) -> float:
    """The value that the largest |t| of all pairwise differences stays below with this chance."""
    rng = np.random.default_rng(seed)
    first, second = members(len(covariance.matrix))
    error = covariance.standard_error_of_differences
    values, vectors = np.linalg.eigh(covariance.matrix)
    root = vectors * np.sqrt(values.clip(0))
    freedom = covariance.clusters - 1
    step = max(1, min(_DRAWS, _CHUNK // max(1, len(first))))
    largest = []
    for low in range(0, _DRAWS, step):
        draws = min(step, _DRAWS - low)
        normal = rng.standard_normal((draws, len(values))) @ root.T
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.abs(normal[:, first] - normal[:, second]) / error
        statistic[:, error == 0] = 0
        largest.append(statistic.max(1, initial=0) / np.sqrt(rng.chisquare(freedom, draws) / freedom))
    return float(np.quantile(np.concatenate(largest), level))
