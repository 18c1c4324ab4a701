"""Cluster-robust covariance of log strengths: how they would vary if other people had voted.

A participant's votes go together, so whole participants are what varies. `CR3` takes each participant's influence
with their own leverage taken out, which is one step of a jackknife over participants (Bell and McCaffrey 2002, Survey
Methodology 28; MacKinnon, Nielsen and Webb 2023, J. Appl. Econometrics 38); it holds its coverage where some people
vote far more than others. `CR1` is the plain sandwich times G/(G − 1) (Liang and Zeger 1986, Biometrika 73). If all
people vote equally often on every pair, the two are the same.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import (
    Fit,
    Terms,
    as_outcomes,
    fixed,
    information_of,
    terms_of,
    with_prior,
)
from studies.elo.comparison_graph import connected_without
from studies.elo.pair_counts import PairCounts, members, pair_count

Numbers = NDArray[np.float64]
Correction = Literal["CR1", "CR3"]

_CHUNK = 1 << 22
"""Most numbers in one batch of leave-one-out matrices: 32 MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Covariance:
    """Of log strengths that sum to 0."""

    matrix: Numbers
    """(C, C)"""
    log_tie_variance: float
    """Variance of ln ν; nan where there is no such parameter."""
    clusters: int
    correction: Correction

    @property
    def standard_error(self) -> Numbers:
        """(C,)"""
        return np.sqrt(np.diagonal(self.matrix).clip(0))

    @property
    def standard_error_of_differences(self) -> Numbers:
        """(P,), of each pair's first strength minus its second."""
        first, second = members(len(self.matrix))
        variance = np.diagonal(self.matrix)
        return np.sqrt((variance[first] + variance[second] - 2 * self.matrix[first, second]).clip(0))


def cluster_covariance(counts: PairCounts, fit: Fit, *, correction: Correction = "CR3") -> Covariance:
    """Covariance of a fit to the sum of the counts, whose groups are the clusters.

    `CR3` falls back to `CR1` where the comparisons fall apart without one of the clusters; the result says which it
    is. With a single cluster all is nan.
    """
    influence, used = _influence(counts, fit, correction)
    clusters, conditions = counts.groups, counts.conditions
    if clusters < 2:
        matrix = np.full((conditions, conditions), np.nan)
        return Covariance(matrix=matrix, log_tie_variance=np.nan, clusters=clusters, correction=used)
    factor = (clusters - 1) / clusters if used == "CR3" else clusters / (clusters - 1)
    matrix = factor * influence.T @ influence
    return Covariance(
        matrix=matrix[:conditions, :conditions],
        log_tie_variance=float(matrix[-1, -1]) if fit.has_tie_parameter else np.nan,
        clusters=clusters,
        correction=used,
    )


def _influence(counts: PairCounts, fit: Fit, correction: Correction) -> tuple[Numbers, Correction]:
    """How far each cluster moves the parameters (G, K), and by which correction."""
    first, second = members(counts.conditions)
    difference, ties = fit.log_strength[first] - fit.log_strength[second], fit.has_tie_parameter
    total = as_outcomes(with_prior(counts.total(), fit.prior), fit.ties)
    whole = fixed(
        information_of(terms_of(total[None], difference, fit.log_tie), counts.conditions, ties=ties), counts.conditions
    )[0]
    score = np.zeros((counts.groups, counts.conditions + ties))
    terms = terms_of(as_outcomes(counts.count, fit.ties), difference[counts.pair], fit.log_tie)
    for condition, sign in ((first[counts.pair], 1), (second[counts.pair], -1)):
        np.add.at(score, (counts.group, condition), sign * terms.gradient)
    if ties:
        np.add.at(score[:, -1], counts.group, terms.gradient_tie)
    if correction == "CR1" or counts.groups < 2 or not _stays_connected(counts, fit.prior):
        return np.linalg.solve(whole, score.T).T, "CR1"
    influence = np.empty_like(score)
    step = max(1, _CHUNK // max(pair_count(counts.conditions), whole.size))
    for low in range(0, counts.groups, step):
        groups = slice(low, min(low + step, counts.groups))
        own = information_of(_dense(terms, counts, groups), counts.conditions, ties=ties)
        influence[groups] = np.linalg.solve(whole - own, score[groups][..., None])[..., 0]
    return influence, "CR3"


def _dense(terms: Terms, counts: PairCounts, groups: slice) -> Terms:
    """Curvatures of the cells (M,) as those of some groups and all pairs (G, P); gradients are left at 0."""
    shape = groups.stop - groups.start, pair_count(counts.conditions)
    rows = slice(*np.searchsorted(counts.group, [groups.start, groups.stop]))
    at = counts.group[rows] - groups.start, counts.pair[rows]

    def spread(values: Numbers) -> Numbers:
        dense = np.zeros(shape)
        dense[at] = values[rows]
        return dense

    none = np.broadcast_to(0.0, shape)
    return Terms(none, none, *map(spread, (terms.curvature, terms.curvature_mixed, terms.curvature_tie)))


def _stays_connected(counts: PairCounts, prior: float) -> bool:
    """Whether the comparisons hang together without any one of the groups."""
    if prior > 0:
        return True
    own, total = counts.count.sum(1), counts.total().sum(1)
    alone = np.unique(counts.group[own == total[counts.pair]])
    if not len(alone):
        return True
    rest = np.stack([total - np.bincount(counts.pair, own * (counts.group == g), len(total)) for g in alone])
    return bool(connected_without(rest, counts.conditions).all())
