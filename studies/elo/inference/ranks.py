"""Which conditions differ, and which ranks each can have, from p values of all pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studies.elo.pair_counts import members

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RankSet:
    """The ranks that a condition can have, 1 being the best; both ends belong to it."""

    condition: str
    best: int
    worst: int


def holm(p: Numbers) -> Numbers:
    """Adjusted p values, (P,) -> (P,): below 0.05, the chance of any false claim is below 5%.

    Holm (1979, Scand. J. Stat. 6). nan stays nan, and counts as a test.
    """
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def rank_sets(conditions: Sequence[str], log_strength: Numbers, p: Numbers, level: float = 0.05) -> list[RankSet]:
    """Sets that hold all the true ranks at once with 95% confidence.

    After Mogstad, Romano, Shaikh and Wilhelm (2024, Rev. Econ. Studies 91): a condition's best rank is one more than
    the number of conditions surely above it. A pair is sure where its p value (P,) is below `simultaneous_level`, so
    that each pair keeps degrees of freedom of its own. Where no p value is known every rank is possible.
    """
    count = len(conditions)
    first, second = members(count)
    sure, difference = p < simultaneous_level(count, level), log_strength[first] - log_strength[second]
    better = np.zeros((count, count), bool)
    better[first, second] = sure & (difference > 0)
    better[second, first] = sure & (difference < 0)
    above, below = better.sum(0), better.sum(1)
    return [RankSet(name, 1 + int(above[n]), count - int(below[n])) for n, name in enumerate(conditions)]


@lru_cache
def simultaneous_level(conditions: int, level: float = 0.05) -> float:
    """p below which a difference is sure when all pairs are looked at together.

    2 Φ(−q/√2) with q the upper quantile of the range of so many standard normal values (Tukey 1953).
    """
    from scipy.special import ndtr

    node, weight = np.polynomial.legendre.leggauss(400)
    node, weight = 8 * node, 8 * weight * np.exp(-32 * node**2) / np.sqrt(2 * np.pi)

    low, high = 0.0, 20.0
    while high - low > 1e-10:
        q = (low + high) / 2
        within = conditions * float(weight @ (ndtr(node + q) - ndtr(node)) ** (conditions - 1))
        low, high = (q, high) if within < 1 - level else (low, q)
    return float(2 * ndtr(-high / np.sqrt(2)))
