"""Does the reward model agree with the votes? Its score margin against who won.

Every vote is turned so that the image with the higher score comes first; what is asked is how often it won, and
whether more often where the margin is larger. Ties of the voter and equal scores are left out and counted.
"""

from dataclasses import dataclass

import numpy as np

from predictor.metrics import Interval
from studies.elo.inference.clustered import Clusters, Coefficient, clustered_logistic, clustered_share
from studies.elo.inference.intervals import Generalisation
from studies.elo.votes import LEFT, TIE, Votes

_MOST_BINS = 8
_LEAST_IN_BIN = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginBin:
    """Votes whose score margin lies in a range."""

    margin_low: float
    margin_high: float
    margin_mean: float
    votes: int
    higher_won: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """Agreement of a reward model with votes."""

    votes: int
    """Decided votes with two unequal scores."""
    left_out: int
    higher_won: Interval
    """Share of them that the image with the higher score won."""
    slope: Coefficient | None
    """Log odds of winning by one unit of margin, none at margin 0; None without a finite estimate."""
    bins: tuple[MarginBin, ...]
    """About equally many votes each, by ascending margin."""


def alignment(votes: Votes, to: Generalisation) -> Alignment | None:
    """How the scores of the shown images agree with the votes; None where no vote has scores."""
    if votes.left_score is None or votes.right_score is None:
        return None
    margin = votes.left_score - votes.right_score
    usable = np.isfinite(margin) & (margin != 0) & (votes.outcome != TIE)
    if not usable.any():
        return None
    margin, clusters = margin[usable], Clusters.among(votes, usable)
    won = ((votes.outcome[usable] == LEFT) == (margin > 0)).astype(float)
    size = np.abs(margin)
    scale = float(size.max())
    slope = clustered_logistic(np.zeros((len(size), 1), np.int64), size[:, None] / scale, won, clusters, 1, to)
    return Alignment(
        votes=len(won),
        left_out=int(len(votes) - usable.sum()),
        higher_won=clustered_share(clusters, won, to),
        slope=_rescaled(slope[0], scale) if slope else None,
        bins=tuple(_bins(size, clusters, won, to)),
    )


def _rescaled(slope: Coefficient, scale: float) -> Coefficient:
    return Coefficient(value=slope.value / scale, ci_low=slope.ci_low / scale, ci_high=slope.ci_high / scale, p=slope.p)


def _bins(size: np.ndarray, clusters: Clusters, won: np.ndarray, to: Generalisation) -> list[MarginBin]:
    count = int(np.clip(len(size) // _LEAST_IN_BIN, 1, _MOST_BINS))
    edges = np.unique(np.quantile(size, np.linspace(0, 1, count + 1)[1:-1]))
    number = np.searchsorted(edges, size, side="left")
    bins = []
    for n in np.unique(number):
        rows = number == n
        bins.append(
            MarginBin(
                margin_low=float(size[rows].min()),
                margin_high=float(size[rows].max()),
                margin_mean=float(size[rows].mean()),
                votes=int(rows.sum()),
                higher_won=clustered_share(clusters.select(rows), won[rows], to),
            )
        )
    return bins
