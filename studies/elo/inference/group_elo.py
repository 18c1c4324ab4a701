"""How far participants (or prompts) differ, and the Elo of each one, shrunk towards everybody's.

One participant's few votes would give a wild Elo, or none. The prior is a normal distribution about the common log
strengths, and its spread is what the votes say: the maximum a posteriori estimate lies between both.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import (
    ELO_PER_LOG_STRENGTH,
    Fit,
    as_outcomes,
    gradient_of,
    information_of,
    terms_of,
    to_elo,
)
from studies.elo.pair_counts import PairCounts, members

Numbers = NDArray[np.float64]

MOST_CELLS = 1 << 21
"""More groups × conditions² than this are not fitted one by one."""
_LEAST_SPREAD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupElo:
    """Elo by group."""

    spread: float
    """Standard deviation, over groups, of one condition's true Elo; 0 where groups differ no more than by chance."""
    elo: Numbers
    """(G, C), shrunk."""
    votes: NDArray[np.int64]
    """(G,)"""


def elo_by_group(counts: PairCounts, fit: Fit) -> GroupElo | None:
    """Spread and Elo of every group of the counts; None where that would take too much memory."""
    if counts.groups * (counts.conditions + 1) ** 2 > MOST_CELLS:
        return None
    outcomes = as_outcomes(counts.by_group(), fit.ties)
    first, second = members(counts.conditions)
    centre = fit.log_strength

    def derivatives(strength: Numbers) -> tuple[Numbers, Numbers]:
        terms = terms_of(outcomes, strength[:, first] - strength[:, second], fit.log_tie)
        return (
            gradient_of(terms, counts.conditions, ties=False),
            information_of(terms, counts.conditions, ties=False),
        )

    strength = np.tile(centre, (counts.groups, 1))
    spread = _spread(*derivatives(strength))
    if spread > _LEAST_SPREAD:
        precision = np.eye(counts.conditions) / spread**2
        for _ in range(100):
            gradient, information = derivatives(strength)
            gradient -= (strength - centre) / spread**2
            step = np.linalg.solve(information + precision, gradient[..., None])[..., 0]
            strength += step / np.maximum(1, np.abs(step).max(1, keepdims=True))
            if np.abs(step).max() < 1e-9:
                break
    return GroupElo(
        spread=spread * ELO_PER_LOG_STRENGTH,
        elo=to_elo(strength),
        votes=np.bincount(counts.group, counts.count.sum(1), counts.groups).astype(np.int64),
    )


def _spread(score: Numbers, information: Numbers) -> float:
    """Standard deviation of log strengths by moments: a group's score has variance J + τ² J² (DerSimonian's idea).

    The G groups' own part in the common estimate takes 1/G of it away.
    """
    groups = len(score)
    expected = np.trace(information, axis1=1, axis2=2).sum()
    square = (information**2).sum()
    if groups < 2 or square == 0:
        return 0.0
    excess = (score**2).sum() * groups / (groups - 1) - expected
    return math.sqrt(max(0.0, float(excess / square)))
