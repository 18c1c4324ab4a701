"""How many people, and on how many prompts, a study needs to tell two conditions apart.

With people who differ by τ in each condition, prompts that differ by σ, G participants with k votes each and P prompts,
the difference of two log strengths varies by 2τ²/G + 2σ²/P + v/(G k), where v is the variance of one vote. Votes of one
person, or on one prompt, are no substitute for further people and prompts: without more prompts no number of people may
do. The test is the report's own (`studies.elo.inference.intervals`), with its degrees of freedom.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH
from studies.elo.inference.intervals import (
    GENERALISATIONS,
    MEANINGS,
    Generalisation,
    Sample,
    Variances,
    errors_for,
)
from studies.elo.pair_counts import members

DEFAULT_SPREAD_ELO = 35.0
"""Between people, in one condition's Elo, as measured on people who rated the same images."""
DEFAULT_PROMPT_SPREAD_ELO = 35.0
"""Between prompts, in one condition's Elo: as much as between people."""

MOST_PARTICIPANTS = 1_000_000
MOST_PROMPTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a study needs.

    Example:

        plan_study(27, conditions=5, votes_each=100, prompts=60).participants
    """

    difference_elo: float
    conditions: int
    votes_each: int
    prompts: int
    generalise_to: Generalisation
    spread_elo: float
    prompt_spread_elo: float
    power: float
    level: float
    participants: int | None
    """The least number; None where no number does with so many prompts."""
    most_power: float
    """What the most participants would reach with so many prompts."""
    prompts_needed: int | None
    """Where no number of participants does: prompts with which twice the least number of participants does."""
    participants_then: int | None
    """As many participants, with `prompts_needed`."""

    @property
    def votes(self) -> int | None:
        """participants × votes_each."""
        return None if self.participants is None else self.participants * self.votes_each

    def __str__(self) -> str:
        aim = (
            f"To tell {self.difference_elo:g} Elo between two of {self.conditions} conditions at {self.power:.0%} "
            f"power for {MEANINGS[self.generalise_to]}"
        )
        spread = (
            f"people differing by {self.spread_elo:g} Elo and prompts by {self.prompt_spread_elo:g}, "
            f"{self.votes_each:,} votes each"
        )
        if self.participants is not None:
            enough = f"{self.participants:,} participants on {self.prompts:,} prompts"
            return f"{aim}: {enough}, {self.votes:,} votes ({spread})"
        without = (
            f"{aim}: no number of participants is enough on {self.prompts:,} prompts, which reach "
            f"{self.most_power:.0%} at most ({spread})"
        )
        if self.prompts_needed is None:
            return f"{without}; plan for a larger difference"
        return f"{without}; {self.participants_then:,} participants on {self.prompts_needed:,} prompts are"


def plan_study(
    difference_elo: float,
    *,
    conditions: int,
    votes_each: int,
    prompts: int,
    generalise_to: Generalisation = "people+prompts",
    spread_elo: float = DEFAULT_SPREAD_ELO,
    prompt_spread_elo: float = DEFAULT_PROMPT_SPREAD_ELO,
    power: float = 0.8,
    level: float = 0.05,
) -> Plan:
    """The least number of participants whose votes tell two conditions apart, and the prompts that takes.

    Parameters
    ----------
    difference_elo
        Between the two; the other conditions lie half-way between them, and all pairs are shown equally often.
    votes_each
        Votes of each participant, repeats and attention checks not counted.
    spread_elo, prompt_spread_elo
        Standard deviation over people, and over prompts, of one condition's Elo, independent between conditions.
    level
        Of the two-sided test of this one pair.

    Raises
    ------
    ValueError
        A number is out of its range.
    """

    def reached(participants: int, on: int) -> float:
        return power_of(
            difference_elo,
            participants=participants,
            prompts=on,
            conditions=conditions,
            votes_each=votes_each,
            generalise_to=generalise_to,
            spread_elo=spread_elo,
            prompt_spread_elo=prompt_spread_elo,
            level=level,
        )

    if not 0 < power < 1:
        raise ValueError(f"power must lie between 0 and 1, got {power}; 0.8 is usual")
    participants = _least(lambda number: reached(number, prompts) >= power, MOST_PARTICIPANTS)
    needed = then = None
    if participants is None and reached(MOST_PARTICIPANTS, MOST_PROMPTS) >= power:
        least = _least(lambda number: reached(number, MOST_PROMPTS) >= power, MOST_PARTICIPANTS)
        then = 2 * (least or MOST_PARTICIPANTS)
        needed = _least(lambda number: reached(then, number) >= power, MOST_PROMPTS)
    return Plan(
        difference_elo=difference_elo,
        conditions=conditions,
        votes_each=votes_each,
        prompts=prompts,
        generalise_to=generalise_to,
        spread_elo=spread_elo,
        prompt_spread_elo=prompt_spread_elo,
        power=power,
        level=level,
        participants=participants,
        most_power=reached(MOST_PARTICIPANTS, prompts),
        prompts_needed=needed,
        participants_then=then,
    )


def power_of(
    difference_elo: float,
    *,
    participants: int,
    conditions: int,
    votes_each: int,
    prompts: int,
    generalise_to: Generalisation = "people+prompts",
    spread_elo: float = DEFAULT_SPREAD_ELO,
    prompt_spread_elo: float = DEFAULT_PROMPT_SPREAD_ELO,
    level: float = 0.05,
) -> float:
    """Chance that a study of so many participants finds the difference; arguments as in `plan_study`.

    Raises
    ------
    ValueError
        A number is out of its range.
    """
    _refuse(difference_elo, conditions, votes_each, prompts, spread_elo, prompt_spread_elo, level, generalise_to)
    if participants < 2:
        raise ValueError(f"participants must be 2 or more, got {participants}")
    difference = difference_elo / ELO_PER_LOG_STRENGTH
    votes = participants * votes_each
    of_votes = _variance_of_one_vote(difference, conditions) / votes
    of_people = 2 * (spread_elo / ELO_PER_LOG_STRENGTH) ** 2 / participants + of_votes
    of_prompts = 2 * (prompt_spread_elo / ELO_PER_LOG_STRENGTH) ** 2 / prompts + of_votes
    found = errors_for(
        Variances(
            people=np.array([of_people]),
            prompts=np.array([of_prompts]),
            cells=np.array([of_votes]),
            votes=np.array([of_votes]),
            sample=Sample(people=participants, prompts=prompts, votes=votes),
        ),
        generalise_to,
    )
    if math.isnan(found.error[0]):
        return 0.0
    return _power(difference / float(found.error[0]), float(found.freedom[0]), level)


def _refuse(
    difference_elo: float,
    conditions: int,
    votes_each: int,
    prompts: int,
    spread_elo: float,
    prompt_spread_elo: float,
    level: float,
    generalise_to: str,
) -> None:
    if not 0 < difference_elo <= 2000:
        raise ValueError(f"the difference must lie between 0 and 2000 Elo, got {difference_elo}; 27 is the paper's")
    if conditions < 2:
        raise ValueError(f"conditions must be 2 or more, got {conditions}")
    if votes_each < 1:
        raise ValueError(f"votes of each participant must be 1 or more, got {votes_each}")
    if prompts < 1:
        raise ValueError(f"prompts must be 1 or more, got {prompts}")
    for what, spread in (("people", spread_elo), ("prompts", prompt_spread_elo)):
        if not (math.isfinite(spread) and spread >= 0):
            raise ValueError(f"the spread between {what} must be 0 Elo or more, got {spread}")
    if generalise_to not in GENERALISATIONS:
        raise ValueError(f"generalise-to {generalise_to!r}: unknown; use {', '.join(GENERALISATIONS)}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}; 0.05 is usual")


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


def _least(enough: Callable[[int], bool], most: int) -> int | None:
    """The least number from 2 to `most` that is enough, if larger ones are, too; None where none is."""
    low, high = 1, 2
    while not enough(high):
        low, high = high, min(2 * high, most)
        if low == most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _power(shift: float, freedom: float, level: float) -> float:
    """Power of the two-sided t test, whose statistic is shifted by so many standard errors."""
    from scipy.special import nctdtr, ndtr, stdtrit

    critical = float(stdtrit(freedom, 1 - level / 2))
    if freedom > 10_000:
        return float(ndtr(shift - critical) + ndtr(-critical - shift))
    return float(1 - nctdtr(freedom, shift, critical) + nctdtr(freedom, shift, -critical))
