"""How many votes, and by how many people, a study needs to tell two conditions apart.

A participant's answers share that participant's taste, so their votes say less than as many people's would: the
variance of a difference is 2τ²/G for people who differ by τ in each condition, plus that of G·k single votes. The
test is the report's own, Wald with t(G − 1), so few participants cost more than the normal approximation says.
"""

import math
from dataclasses import dataclass

import numpy as np

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH
from studies.elo.pair_counts import members

DEFAULT_SPREAD_ELO = 35.0
"""Between people, in one condition's Elo, as measured on people who rated the same images."""

MOST_PARTICIPANTS = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a study needs.

    Example:

        plan_study(27, conditions=5, votes_each=100).participants
    """

    difference_elo: float
    conditions: int
    votes_each: int
    spread_elo: float
    power: float
    level: float
    participants: int
    votes: int
    """participants × votes_each."""
    independent_votes: int
    """Votes that would do if each came from another person (normal approximation)."""
    design_effect: float
    """How many votes of this study are worth one independent vote."""

    def __str__(self) -> str:
        return (
            f"To tell {self.difference_elo:g} Elo between two of {self.conditions} conditions at {self.power:.0%} "
            f"power: {self.participants:,} participants with {self.votes_each:,} votes each, {self.votes:,} votes "
            f"({self.independent_votes:,} if independent; people differing by {self.spread_elo:g} Elo make that "
            f"{self.design_effect:.1f} times as many)"
        )


def plan_study(
    difference_elo: float,
    *,
    conditions: int,
    votes_each: int,
    spread_elo: float = DEFAULT_SPREAD_ELO,
    power: float = 0.8,
    level: float = 0.05,
) -> Plan:
    """The least number of participants whose votes tell two conditions apart.

    Parameters
    ----------
    difference_elo
        Between the two; the other conditions lie half-way between them, and all pairs are shown equally often.
    votes_each
        Votes of each participant, repeats and attention checks not counted.
    spread_elo
        Standard deviation over people of one condition's Elo, independent between conditions.
    level
        Of the two-sided test of this one pair.

    Raises
    ------
    ValueError
        A number is out of its range, or more than `MOST_PARTICIPANTS` would be needed.
    """
    _refuse(difference_elo, conditions, votes_each, spread_elo, power, level)
    difference = difference_elo / ELO_PER_LOG_STRENGTH
    of_people = 2 * (spread_elo / ELO_PER_LOG_STRENGTH) ** 2
    of_vote = _variance_of_one_vote(difference, conditions)
    of_one = of_people + of_vote / votes_each
    participants = _least_participants(difference**2 / of_one, power, level)
    return Plan(
        difference_elo=difference_elo,
        conditions=conditions,
        votes_each=votes_each,
        spread_elo=spread_elo,
        power=power,
        level=level,
        participants=participants,
        votes=participants * votes_each,
        independent_votes=math.ceil((_normal(1 - level / 2) + _normal(power)) ** 2 * of_vote / difference**2),
        design_effect=1 + votes_each * of_people / of_vote,
    )


def power_of(
    difference_elo: float,
    *,
    participants: int,
    conditions: int,
    votes_each: int,
    spread_elo: float = DEFAULT_SPREAD_ELO,
    level: float = 0.05,
) -> float:
    """Chance that a study of so many participants finds the difference; arguments as in `plan_study`.

    Raises
    ------
    ValueError
        A number is out of its range.
    """
    _refuse(difference_elo, conditions, votes_each, spread_elo, 0.5, level)
    if participants < 2:
        raise ValueError(f"participants must be 2 or more, got {participants}")
    difference = difference_elo / ELO_PER_LOG_STRENGTH
    of_people = 2 * (spread_elo / ELO_PER_LOG_STRENGTH) ** 2
    of_one = of_people + _variance_of_one_vote(difference, conditions) / votes_each
    return _power(participants, difference**2 / of_one, level)


def _refuse(
    difference_elo: float, conditions: int, votes_each: int, spread_elo: float, power: float, level: float
) -> None:
    if not 0 < difference_elo <= 2000:
        raise ValueError(f"the difference must lie between 0 and 2000 Elo, got {difference_elo}; 27 is the paper's")
    if conditions < 2:
        raise ValueError(f"conditions must be 2 or more, got {conditions}")
    if votes_each < 1:
        raise ValueError(f"votes of each participant must be 1 or more, got {votes_each}")
    if not (math.isfinite(spread_elo) and spread_elo >= 0):
        raise ValueError(f"the spread between people must be 0 Elo or more, got {spread_elo}")
    if not (0 < power < 1 and 0 < level < 1):
        raise ValueError(f"power and level must lie between 0 and 1, got {power} and {level}")


def _variance_of_one_vote(difference: float, conditions: int) -> float:
    """Variance of the estimated difference of two log strengths, times the votes, which are spread over all pairs."""
    strength = np.zeros(conditions)
    strength[:2] = difference / 2, -difference / 2
    first, second = members(conditions)
    chance = 1 / (1 + np.exp(strength[second] - strength[first]))
    information = np.zeros((conditions, conditions))
    information[first, second] = information[second, first] = -chance * (1 - chance) / len(first)
    information -= np.diag(information.sum(1))
    covariance = np.linalg.pinv(information, hermitian=True)
    return float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


def _least_participants(effect: float, power: float, level: float) -> int:
    low, high = 1, 2
    while _power(high, effect, level) < power:
        low, high = high, 2 * high
        if low > MOST_PARTICIPANTS:
            raise ValueError(
                f"more than {MOST_PARTICIPANTS:,} participants would be needed; plan for a larger difference in Elo"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, effect, level) >= power else (middle, high)
    return high


def _power(participants: int, effect: float, level: float) -> float:
    """Power of the two-sided t test; `effect` is the squared difference by one participant's variance."""
    from scipy.stats import norm, t

    freedom, shift = participants - 1, math.sqrt(participants * effect)
    critical = float(t.ppf(1 - level / 2, freedom))
    if freedom > 10_000:
        return float(norm.sf(critical - shift) + norm.cdf(-critical - shift))
    from scipy.special import nctdtr

    return float(1 - nctdtr(freedom, shift, critical) + nctdtr(freedom, shift, -critical))


def _normal(share: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(share))
