"""When to stop a study: as soon as every interval is narrow enough, or at looks that were fixed before the first vote.

Whether an interval is narrow says nothing of where it lies, so stopping on width leaves coverage as it is. Stopping as
soon as the leader is significantly better does not: looked at after every fifth of 100 people, 13 to 15% of studies in
which two lead alike call one the best (docs/study.md has the table). With as many looks as were planned, each at the
level of Pocock (1977, Biometrika 64), the chance of any false claim over all of them stays at 5%.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studies.elo.inference.intervals import Errors, Generalisation, Sample, Variances, errors_for

Numbers = NDArray[np.float64]

MOST_LOOKS = 100
MOST_TIMES = 1000.0
"""A study that had to be more than so many times as large is not planned."""
_NODES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthGoal:
    """Whether every interval is as narrow as was asked for, and what else it takes."""

    width: float
    """In Elo, from end to end."""
    widest: float
    """nan where some interval can't be given."""
    condition: str
    """Whose interval is the widest."""
    reached: bool
    times_people: float | None
    """How many times as many participants, with as many votes each, would do; None where no number is known to."""
    times_prompts: float | None
    """How many times as many prompts they have to be on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BestClaim:
    """Whether the leader may be called the best at one of the planned looks."""

    looks: int
    level: float
    """p below which a difference counts at each look."""
    leader: str
    p: float
    """Largest p value of the leader against any other."""
    claimed: bool
    rivals: tuple[str, ...]
    """Conditions from which the leader is not told yet."""


def check_width(width: float) -> None:
    """
    Raises
    ------
    ValueError
        The width is no positive number.
    """
    if not (math.isfinite(width) and width > 0):
        raise ValueError(f"--stop-at-width {width:g}: must be a number of Elo above 0")


def check_looks(looks: int) -> None:
    """
    Raises
    ------
    ValueError
        There are no looks, or too many.
    """
    if not 1 <= looks <= MOST_LOOKS:
        raise ValueError(
            f"--looks {looks}: must lie between 1 and {MOST_LOOKS}; fix their number before the first vote"
        )


def width_goal(
    names: Sequence[str], variances: Variances, errors: Errors, to: Generalisation, width: float
) -> WidthGoal:
    """Judge intervals against a width, and foretell how much larger the study has to be.

    More participants who vote as often make the part of people, and of chance, smaller; more prompts that of prompts.

    Parameters
    ----------
    variances, errors
        Of each condition's Elo (C,).
    """
    own = 2 * errors.half_width()
    widest = math.nan if np.isnan(own).any() else float(own.max())
    at = int(np.nanargmax(own)) if np.isfinite(own).any() else 0

    def reaches(people: float, prompts: float) -> bool:
        return bool((2 * errors_for(_scaled(variances, people, prompts), to).half_width() <= width).all())

    people, prompts = (None, None) if math.isnan(widest) else _least_growth(reaches, to)
    return WidthGoal(
        width=width, widest=widest, condition=names[at], reached=widest <= width, times_people=people,
        times_prompts=prompts,
    )  # fmt: skip


def best_claim(names: Sequence[str], strength: Numbers, p: Numbers, looks: int) -> BestClaim:
    """Whether the leader beats each other at the level of each look.

    To be called the best it has to beat all of them, so that no correction for their number is due (intersection of
    hypotheses; Berger 1982, Technometrics 24).

    Parameters
    ----------
    strength, p
        Log strengths (C,), and p values of all pairs (C, C), of which the diagonal is not read.
    """
    level = pocock_level(looks)
    leader = int(strength.argmax())
    others = [n for n in range(len(names)) if n != leader]
    worst = float(np.max(p[leader, others]))
    rivals = tuple(names[n] for n in others if not p[leader, n] < level)
    return BestClaim(looks=looks, level=level, leader=names[leader], p=worst, claimed=not rivals, rivals=rivals)


@lru_cache
def pocock_level(looks: int, level: float = 0.05) -> float:
    """p below which a difference counts at each of so many looks, equally far apart, for `level` over all of them.

    Raises
    ------
    ValueError
        There are no looks, or too many.
    """
    check_looks(looks)
    from scipy.special import ndtr

    low, high = 1.0, 6.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if _crossed(middle, looks) <= level else (middle, high)
    return float(2 * ndtr(-high))


def _crossed(bound: float, looks: int) -> float:
    """Chance that a standard normal mean is beyond ± `bound` at some look (Armitage, McPherson and Rowe 1969)."""
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    at, mass = bound * node, bound * weight * _normal(bound * node)
    for look in range(2, looks + 1):
        following = bound * math.sqrt(look) * node
        mass = bound * math.sqrt(look) * weight * (_normal(following[:, None] - at) @ mass)
        at = following
    return 1 - float(mass.sum())


def _normal(value: Numbers) -> Numbers:
    return np.exp(-(value**2) / 2) / math.sqrt(2 * math.pi)


def _scaled(variances: Variances, people: float, prompts: float) -> Variances:
    """Variances with so many times as many participants, each voting as often, on so many times as many prompts."""
    cells, sample = variances.cells, variances.sample
    of_people, of_prompts = (np.maximum(own, cells) - cells for own in (variances.people, variances.prompts))
    chance = cells / people
    return Variances(
        people=of_people / people + chance,
        prompts=of_prompts / prompts + chance,
        cells=chance,
        votes=variances.votes / people,
        sample=Sample(
            people=sample.people * people,
            prompts=sample.prompts * prompts if sample.prompts > 1 + 1e-9 else sample.prompts,
            votes=round(sample.votes * people),
        ),
    )


def _least_growth(reaches: Callable[[float, float], bool], to: Generalisation) -> tuple[float | None, float | None]:
    """The least factor of participants on the same prompts; else twice the least on any prompts, and prompts for it."""
    if to == "prompts":
        both = _least(lambda times: reaches(times, times))
        return both, both
    people = _least(lambda times: reaches(times, 1))
    if people is not None:
        return people, 1.0
    least = _least(lambda times: reaches(times, MOST_TIMES))
    if least is None:
        return None, None
    people = min(2 * least, MOST_TIMES)
    return people, _least(lambda times: reaches(people, times))


def _least(enough: Callable[[float], bool]) -> float | None:
    low, high = 1.0, MOST_TIMES
    if enough(low):
        return low
    if not enough(high):
        return None
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
