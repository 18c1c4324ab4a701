"""Bradley–Terry with covariates: what is left of a preference once length, brightness and their like are held equal.

Condition i on the left beats j on the right with odds exp(θᵢ − θⱼ + β'x), where x are the differences of the covariates
between the sides, each in units of its own standard deviation (Turner and Firth 2012, J. Stat. Softw. 48(9); arenas
call it style control). A tie is half a win to each.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import Fit, fit_counts, fixed
from studies.elo.inference.clustered import Logistic, logistic_rows, win_probability
from studies.elo.inference.sandwich import Rows, information_of
from studies.elo.pair_counts import PairCounts, members
from studies.elo.votes import LEFT, TIE, Votes

Numbers = NDArray[np.float64]

_MOST_STEPS = 100
_LONGEST_STEP = 3.0
_TOLERANCE = 1e-9
_COLLINEAR = 1e-9
"""Share of a covariate's square that must be left once conditions and earlier covariates are taken out."""
_MOST_LOG_ODDS = 30.0
"""By one standard deviation; whatever is beyond is infinite."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ControlledFit:
    """The maximum, with what its errors are made of: parameters are C log strengths and M coefficients."""

    fit: Fit
    names: tuple[str, ...]
    coefficient: Numbers
    """(M,): log odds by one standard deviation of the difference."""
    scale: Numbers
    """(M,): that standard deviation, in the covariate's own unit."""
    rows: Rows
    """One a vote."""
    information: Numbers
    """(C + M, C + M), regular."""


def fit_controlled(votes: Votes, counts: PairCounts, *, prior: float = 0.0) -> ControlledFit:
    """Maximum likelihood of votes with covariates.

    Parameters
    ----------
    counts
        Of the same votes, grouped in any way.
    prior
        Wins that are added to each side of every compared pair, with no difference in any covariate.

    Raises
    ------
    ValueError
        Votes without a finite maximum; a covariate that never differs, or that the conditions or other covariates
        decide.
    RuntimeError
        The steps have not converged.
    """
    if votes.controls is None:
        raise ValueError("these votes have no covariates")
    start = fit_counts(counts.total(), votes.conditions, prior=prior)
    conditions, size = len(votes.conditions), len(votes.conditions) + len(votes.control_names)
    scale = votes.controls.std(0)
    _refuse_constant(votes, scale)
    columns, values = _design(votes.left, votes.right, votes.controls / scale, conditions)
    hit = np.where(votes.outcome == TIE, 0.5, votes.outcome == LEFT)
    _refuse_collinear(votes, columns, values, size)
    every = _with_prior(columns, values, hit, counts, prior)
    parameter = np.concatenate([start.log_strength, np.zeros(size - conditions)])
    for _ in range(_MOST_STEPS):
        gradient, information = _derivatives(*every, parameter, conditions)
        step = np.linalg.solve(information, gradient)
        parameter = parameter + step * min(1, _LONGEST_STEP / max(float(np.abs(step).max()), 1e-300))
        _refuse_infinite(votes, parameter[conditions:])
        if np.abs(step).max() < _TOLERANCE:
            break
    else:
        raise RuntimeError(f"the fit with covariates has not converged in {_MOST_STEPS} steps")
    information = _derivatives(*every, parameter, conditions)[1]
    strength = parameter[:conditions]
    return ControlledFit(
        fit=Fit(log_strength=strength - strength.mean(), log_tie=start.log_tie, ties="half", prior=prior),
        names=votes.control_names,
        coefficient=parameter[conditions:],
        scale=scale,
        rows=logistic_rows(Logistic(coefficient=parameter, information=information), columns, values, hit),
        information=information,
    )


def _design(left: NDArray, right: NDArray, controls: Numbers, conditions: int) -> tuple[NDArray[np.int64], Numbers]:
    """Which parameters a vote touches (n, 2 + M), and by what they are multiplied."""
    own = np.broadcast_to(conditions + np.arange(controls.shape[1]), controls.shape)
    sides = np.broadcast_to([1.0, -1.0], (len(left), 2))
    return np.concatenate([np.stack([left, right], 1), own], 1), np.concatenate([sides, controls], 1)


def _with_prior(
    columns: NDArray[np.int64], values: Numbers, hit: Numbers, counts: PairCounts, prior: float
) -> tuple[NDArray[np.int64], Numbers, Numbers, Numbers]:
    """Columns, values, hits and weights of all votes, and of the prior's."""
    weight = np.ones(len(hit))
    if prior == 0:
        return columns, values, hit, weight
    compared = np.flatnonzero(counts.total().sum(1) > 0)
    first, second = (side[compared] for side in members(counts.conditions))
    more = _design(first, second, np.zeros((len(compared), columns.shape[1] - 2)), counts.conditions)
    half, twice = np.full(len(compared), 0.5), np.full(len(compared), 2 * prior)
    return (
        np.concatenate([columns, more[0]]),
        np.concatenate([values, more[1]]),
        np.concatenate([hit, half]),
        np.concatenate([weight, twice]),
    )


def _derivatives(
    columns: NDArray[np.int64], values: Numbers, hit: Numbers, weight: Numbers, parameter: Numbers, conditions: int
) -> tuple[Numbers, Numbers]:
    """Gradient (K,) and regular information (K, K)."""
    chance = win_probability(columns, values, parameter)
    score = values * (weight * (hit - chance))[:, None]
    gradient = np.bincount(columns.ravel(), score.ravel(), len(parameter))
    root = values * np.sqrt(weight * chance * (1 - chance))[:, None]
    return np.asarray(gradient, np.float64), fixed(information_of(columns, root[:, None], len(parameter)), conditions)


def _refuse_constant(votes: Votes, scale: Numbers) -> None:
    still = [name for name, own in zip(votes.control_names, scale, strict=True) if not own > 0]
    if still:
        raise ValueError(f"--control {still[0]}: differs alike in every vote, so nothing is known of it; leave it out")


def _refuse_collinear(votes: Votes, columns: NDArray[np.int64], values: Numbers, size: int) -> None:
    conditions = len(votes.conditions)
    square = fixed(information_of(columns, values[:, None], size), conditions)
    for n, name in enumerate(votes.control_names, conditions):
        rest = square[n, n] - square[n, :n] @ np.linalg.solve(square[:n, :n], square[:n, n])
        if rest <= _COLLINEAR * square[n, n]:
            others = f" and by {', '.join(votes.control_names[: n - conditions])}" if n > conditions else ""
            raise ValueError(
                f"--control {name}: is decided by which conditions are compared{others}, so its effect can't be told "
                "from theirs; leave it out"
            )


def _refuse_infinite(votes: Votes, coefficient: Numbers) -> None:
    beyond = [n for n, own in zip(votes.control_names, coefficient, strict=True) if abs(own) > _MOST_LOG_ODDS]
    if beyond:
        raise ValueError(
            f"--control {beyond[0]}: decides every vote, so that no finite effect fits; leave it out, or fit with "
            "--prior 0.5"
        )
