"""Do people favour a side of the screen, whatever stands there?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.metrics import Interval
from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH
from studies.elo.inference.clustered import Clusters, Coefficient, clustered_share, fit_logistic, logistic_rows
from studies.elo.inference.intervals import Generalisation, errors_for
from studies.elo.inference.sandwich import Rows
from studies.elo.votes import LEFT, TIE, Codes, Votes

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBias:
    """How often the left image won, and what standing on the left is worth."""

    decided: int
    """Votes that were not ties."""
    left_share: Interval
    """Share of them that the left image won."""
    left_elo: Interval | None
    """What the left side adds, in Elo, with the conditions' strengths in the model; None without a finite estimate."""
    p: float | None
    """Wald test of no side effect."""


def side_bias(votes: Votes, to: Generalisation) -> SideBias:
    """Share of left wins with its interval, and Bradley–Terry with a term for the left side."""
    tied = votes.outcome == TIE
    decided = votes.select(~tied) if tied.any() else votes
    left_won = (decided.outcome == LEFT).astype(float)
    clusters = Clusters.among(decided, np.arange(len(decided)))
    term = _left_term(decided, left_won, clusters, to)
    return SideBias(
        decided=len(decided),
        left_share=clustered_share(clusters, left_won, to),
        left_elo=_in_elo(term) if term else None,
        p=term.p if term else None,
    )


def _in_elo(term: Coefficient) -> Interval:
    return Interval(*(ELO_PER_LOG_STRENGTH * value for value in (term.value, term.ci_low, term.ci_high)))


def _left_term(votes: Votes, left_won: Numbers, clusters: Clusters, to: Generalisation) -> Coefficient | None:
    conditions = len(votes.conditions)
    if conditions < 2 or not 0 < left_won.mean() < 1:
        return None
    cell = votes.left * conditions + votes.right
    weight, wins = np.bincount(cell), np.bincount(cell, left_won)
    cells = np.flatnonzero(weight)
    weight, wins = weight[cells], wins[cells]
    fit = fit_logistic(
        *_design(*np.divmod(cells, conditions), conditions), wins / weight, weight.astype(float), conditions
    )
    if fit is None:
        return None

    def rows_of(rows: slice | Codes) -> Rows:
        return logistic_rows(fit, *_design(votes.left[rows], votes.right[rows], conditions), left_won[rows])

    return fit.tested(errors_for(clusters.variances(rows_of, fit.information, to), to))[0]


def _design(left: Codes, right: Codes, conditions: int) -> tuple[Codes, Numbers]:
    """Columns and values of the left side's term and both conditions' strengths; the last condition's is 0."""
    columns = np.stack([np.zeros_like(left), 1 + left, 1 + right], 1)
    values = np.where(columns < conditions, [1.0, 1.0, -1.0], 0.0)
    return np.minimum(columns, conditions - 1), values
