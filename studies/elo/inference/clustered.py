"""Estimates from votes that come in clusters: what one participant answers is not independent of their other answers.

Every spread here is that of whole participants, with t quantiles on G − 1 degrees of freedom for G of them; with one
participant there is no spread, and ends are nan.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.metrics import Interval

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """A coefficient of a regression with its 95% interval and two-sided p value."""

    value: float
    ci_low: float
    ci_high: float
    p: float


def t_quantile(clusters: int, level: float = 0.95) -> float:
    """Two-sided t quantile for this many clusters; nan for fewer than two."""
    from scipy.special import stdtrit

    return float(stdtrit(clusters - 1, (1 + level) / 2)) if clusters > 1 else math.nan


def t_p_value(statistic: Numbers, clusters: int) -> Numbers:
    """Two-sided p values of t statistics; nan for fewer than two clusters."""
    from scipy.special import stdtr

    statistic = np.asarray(statistic, float)
    return 2 * stdtr(clusters - 1, -np.abs(statistic)) if clusters > 1 else np.full_like(statistic, np.nan)


def clustered_share(cluster: Codes, hit: Numbers) -> Interval:
    """Mean of `hit` (n,) over all votes, as a ratio of cluster totals (Cochran 1977, section 6.3; linearised).

    The interval is t(G − 1), within 0 and 1; nan where there are no votes.
    """
    if not len(hit):
        return Interval(math.nan, math.nan, math.nan)
    size, share = np.bincount(cluster), float(np.mean(hit))
    residual = np.bincount(cluster, hit) - share * size
    groups = int(np.count_nonzero(size))
    if groups < 2:
        return Interval(share, math.nan, math.nan)
    half = t_quantile(groups) * math.sqrt(groups / (groups - 1) * float(residual @ residual)) / len(hit)
    return Interval(share, max(0.0, share - half), min(1.0, share + half))


def clustered_logistic(
    design: Numbers, cluster: Codes, hit: Numbers, weight: Numbers | None = None
) -> list[Coefficient] | None:
    """Logistic regression by Newton's method, with a cluster-robust covariance (CR1; Liang and Zeger 1986).

    Parameters
    ----------
    design, cluster, hit, weight
        Shapes (n, K), (n,), (n,), (n,). `hit` lies in 0 to 1, `weight` counts votes.

    Returns
    -------
    One coefficient a column, in log odds; None where no finite maximum is found.
    """
    weight = np.ones(len(hit)) if weight is None else weight
    coefficient = np.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ coefficient, -40, 40)))
        curvature = design.T @ (design * (weight * chance * (1 - chance))[:, None])
        if np.linalg.cond(curvature) > 1e12:
            return None
        step = np.linalg.solve(curvature, design.T @ (weight * (hit - chance)))
        coefficient = coefficient + step * min(1, 3 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-9:
            break
    else:
        return None
    groups = int(np.count_nonzero(np.bincount(cluster)))
    residual = weight * (hit - chance)
    score = np.stack([np.bincount(cluster, residual * column) for column in design.T], 1)
    influence = np.linalg.solve(curvature, score.T)
    error = np.sqrt(groups / (groups - 1) * (influence**2).sum(1)) if groups > 1 else np.full(len(coefficient), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = t_p_value(coefficient / error, groups)
    half = t_quantile(groups) * error
    return [
        Coefficient(value=float(b), ci_low=float(b - h), ci_high=float(b + h), p=float(q))
        for b, h, q in zip(coefficient, half, p, strict=True)
    ]
