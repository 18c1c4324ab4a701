"""Do people favour a side of the screen, whatever stands there?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.metrics import Interval
from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH
from studies.elo.inference.clustered import Coefficient, clustered_logistic, clustered_share
from studies.elo.votes import LEFT, TIE, Votes

_MOST_NUMBERS = 1 << 24
"""A design with more numbers than this is not made."""


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
    """Of no side effect; Wald test by participant."""


def side_bias(votes: Votes) -> SideBias:
    """Share of left wins with its interval by participant, and Bradley–Terry with a term for the left side."""
    decided = votes.select(votes.outcome != TIE)
    left_won = (decided.outcome == LEFT).astype(float)
    term = _left_term(decided, left_won)
    return SideBias(
        decided=len(decided),
        left_share=clustered_share(decided.participant, left_won),
        left_elo=_in_elo(term) if term else None,
        p=term.p if term else None,
    )


def _in_elo(term: Coefficient) -> Interval:
    return Interval(*(ELO_PER_LOG_STRENGTH * value for value in (term.value, term.ci_low, term.ci_high)))


def _left_term(votes: Votes, left_won: NDArray[np.float64]) -> Coefficient | None:
    conditions = len(votes.conditions)
    if conditions < 2 or not 0 < left_won.mean() < 1:
        return None
    cell = (votes.participant * conditions + votes.left) * conditions + votes.right
    cells, inverse = np.unique(cell, return_inverse=True)
    weight, wins = np.bincount(inverse), np.bincount(inverse, left_won)
    participant, rest = np.divmod(cells, conditions**2)
    left, right = np.divmod(rest, conditions)
    if len(cells) * conditions > _MOST_NUMBERS:
        return None
    design = np.zeros((len(cells), conditions + 1))
    rows = np.arange(len(cells))
    design[rows, 0] = 1
    design[rows, 1 + left] = 1
    design[rows, 1 + right] -= 1
    found = clustered_logistic(design[:, :-1], participant, wins / weight, weight.astype(float))
    return found[0] if found else None
