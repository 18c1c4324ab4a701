"""Bradley–Terry by maximum likelihood: one study, or thousands of replicates of it, by the same Newton steps.

Condition i beats j with odds exp(θᵢ − θⱼ) (Bradley and Terry 1952, Biometrika 39). A tie is half a win to each, or
an outcome of its own with weight ν √(exp θᵢ exp θⱼ) (Davidson 1970, JASA 65); the first is the second at ν = 0, so
both are one likelihood here. Log strengths θ sum to 0. No replicate's fit depends on the others beside it, and one
without a finite maximum is nan, never a large number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studies.elo.comparison_graph import dominances, has_finite_fit, has_finite_ties, refuse_disconnected
from studies.elo.pair_counts import FIRST, SECOND, TIED, Counts, members

Numbers = NDArray[np.float64]
Ties = Literal["half", "davidson"]

ELO_PER_LOG_STRENGTH = 400 / math.log(10)
MEAN_ELO = 1000.0

_MOST_STEPS = 200
_LONGEST_STEP = 3.0
_TOLERANCE = 1e-9
_CHUNK = 1 << 24
"""Most numbers in one batch of information matrices: 128 MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """Log strengths of one study."""

    log_strength: Numbers
    """(C,), with sum 0."""
    log_tie: float
    """ln ν; −inf where ties are half wins, or where nobody tied."""
    ties: Ties
    prior: float

    @property
    def elo(self) -> Numbers:
        """400 a factor of ten, mean 1000; shape (C,)."""
        return to_elo(self.log_strength)

    @property
    def has_tie_parameter(self) -> bool:
        return math.isfinite(self.log_tie)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """Derivatives of the log-likelihood of each cell by d = θᵢ − θⱼ and by ln ν, all of the counts' shape."""

    gradient: Numbers
    gradient_tie: Numbers
    curvature: Numbers
    """Minus the second derivative by d."""
    curvature_mixed: Numbers
    curvature_tie: Numbers


def to_elo(log_strength: Numbers) -> Numbers:
    """Elo of log strengths (…, C): 400 a factor of ten, mean 1000 over the conditions."""
    centred = log_strength - log_strength.mean(-1, keepdims=True)
    return MEAN_ELO + ELO_PER_LOG_STRENGTH * centred


def fit_counts(counts: Counts, conditions: Sequence[str], *, ties: Ties = "half", prior: float = 0.0) -> Fit:
    """Maximum likelihood of the counts (P, 3) of one study.

    Parameters
    ----------
    prior
        Wins that are added to each side of every compared pair before the fit: 0 for plain maximum likelihood.

    Raises
    ------
    ValueError
        Fewer than two conditions, a comparison graph in parts, or counts without a finite maximum and no prior.
    RuntimeError
        The steps have not converged.
    """
    if len(conditions) < 2:
        raise ValueError(f"two conditions or more are needed, got {len(conditions)}: {', '.join(conditions) or 'none'}")
    check_prior(prior)
    refuse_disconnected(counts, conditions)
    smoothed = with_prior(counts, prior)
    dominant = dominances(smoothed, conditions)
    if dominant:
        raise ValueError(
            f"no finite Elo fits these votes, because they are separable: {'; '.join(dominant)}; collect more votes, "
            "or fit with --prior 0.5, which adds half a win to each side of every compared pair and says so"
        )
    strength, log_tie = fit_replicates(smoothed[None], len(conditions), ties=ties)
    if np.isnan(strength).any():
        raise ValueError(
            "no finite tie parameter fits these votes, because ties are too many among the decided ones; "
            "count ties as half wins with --ties half, or fit with --prior 0.5"
        )
    return Fit(log_strength=strength[0], log_tie=float(log_tie[0]), ties=ties, prior=prior)


def check_prior(prior: float) -> None:
    """Refuse wins that cannot be added to each side of a pair.

    Raises
    ------
    ValueError
        They are less than 0, or not finite.
    """
    if not (math.isfinite(prior) and prior >= 0):
        raise ValueError(f"prior must be a number of wins of 0 or more, got {prior}")


def fit_replicates(
    counts: Counts, conditions: int, *, ties: Ties = "half", start: Numbers | None = None
) -> tuple[Numbers, Numbers]:
    """Log strengths of many replicates at once.

    Parameters
    ----------
    counts
        (B, P, 3)
    start
        (C,) log strengths to start from; the maximum is the same.

    Returns
    -------
    Log strengths (B, C) with sum 0 and ln ν (B,); nan where a replicate has no finite maximum. ln ν is −inf where
    ties are half wins, or where there are none.

    Raises
    ------
    RuntimeError
        The steps have not converged.
    """
    strength = np.full((len(counts), conditions), np.nan)
    log_tie = np.full(len(counts), np.nan)
    step = max(1, _CHUNK // (conditions + 1) ** 2)
    for low in range(0, len(counts), step):
        part = counts[low : low + step]
        finite = has_finite_fit(part, conditions)
        if ties == "davidson":
            finite[finite] = has_finite_ties(part[finite], conditions)
        rows = low + np.flatnonzero(finite)
        strength[rows], log_tie[rows] = _maximise(as_outcomes(part[finite], ties), conditions, start)
    return strength, log_tie


def with_prior(counts: Counts, prior: float) -> Counts:
    """Counts (…, P, 3) with `prior` wins more to each side of every pair that was compared."""
    return counts + (counts.sum(-1, keepdims=True) > 0) * np.array([prior, prior, 0.0])


def prior_share(counts: Counts, prior: float) -> float:
    """Share of the prior in all that a fit to counts (P, 3) rests on."""
    added = 2 * prior * float((counts.sum(-1) > 0).sum())
    return added / (added + float(counts.sum())) if added else 0.0


def as_outcomes(counts: Counts, ties: Ties) -> Counts:
    """Counts as the likelihood takes them: ties stay, or become half a win to each side."""
    if ties == "davidson":
        return counts
    half = counts[..., TIED, None] / 2
    return np.concatenate([counts[..., :TIED] + half, np.zeros_like(half)], -1)


def log_likelihood(outcomes: Counts, difference: Numbers, log_tie: Numbers | float) -> Numbers:
    """Log-likelihood (…,) of the cells' outcomes (…, P, 3), given θᵢ − θⱼ (…, P) and ln ν (…,)."""
    size, log_tie = np.abs(difference) / 2, np.asarray(log_tie)[..., None]
    tie = np.exp(log_tie - size)
    log_total = size + np.log1p(np.exp(-2 * size) + tie)
    decided = (outcomes[..., FIRST] - outcomes[..., SECOND]) * difference / 2
    tied = outcomes[..., TIED] * np.where(np.isneginf(log_tie), 0, log_tie)  # where ν is 0 nobody tied
    return (decided + tied - outcomes.sum(-1) * log_total).sum(-1)


def terms_of(outcomes: Counts, difference: Numbers, log_tie: Numbers | float) -> Terms:
    """Derivatives for each cell of outcomes (…, 3), given its θᵢ − θⱼ (…,) and ln ν."""
    half = np.exp(-np.abs(difference))
    tie = np.exp(log_tie - np.abs(difference) / 2)
    total = 1 + half + tie
    lead = np.sign(difference) * (1 - half) / total
    tied = tie / total
    votes = outcomes.sum(-1)
    return Terms(
        gradient=(outcomes[..., FIRST] - outcomes[..., SECOND] - votes * lead) / 2,
        gradient_tie=outcomes[..., TIED] - votes * tied,
        curvature=votes * (half + (1 + half) * tie / 4) / total**2,
        curvature_mixed=-votes * tied * lead / 2,
        curvature_tie=votes * tied * (1 - tied),
    )


def gradient_of(terms: Terms, conditions: int, *, ties: bool) -> Numbers:
    """Gradient (B, K) from terms (B, P); K is C, and one more for ln ν with `ties`."""
    first, second = members(conditions)
    upper = np.zeros((*terms.gradient.shape[:-1], conditions, conditions))
    upper[..., first, second] = terms.gradient
    gradient = upper.sum(-1) - upper.sum(-2)
    return np.concatenate([gradient, terms.gradient_tie.sum(-1, keepdims=True)], -1) if ties else gradient


def information_of(terms: Terms, conditions: int, *, ties: bool) -> Numbers:
    """Observed information (B, K, K) from terms (B, P); singular along a shift of all strengths."""
    first, second = members(conditions)
    size = conditions + ties
    information = np.zeros((*terms.curvature.shape[:-1], size, size))
    information[..., first, second] = information[..., second, first] = -terms.curvature
    diagonal = np.arange(conditions)
    information[..., diagonal, diagonal] = -information[..., :conditions, :conditions].sum(-1)
    if ties:
        mixed = np.zeros((*terms.curvature.shape[:-1], conditions, conditions))
        mixed[..., first, second], mixed[..., second, first] = terms.curvature_mixed, -terms.curvature_mixed
        information[..., :conditions, -1] = information[..., -1, :conditions] = mixed.sum(-1)
        information[..., -1, -1] = terms.curvature_tie.sum(-1)
    return information


def fixed(information: Numbers, conditions: int) -> Numbers:
    """Information (…, K, K) made regular: shifting all strengths alike is barred, their sum stays 0."""
    scale = np.trace(information[..., :conditions, :conditions], axis1=-2, axis2=-1) / conditions**2
    regular = information.copy()
    regular[..., :conditions, :conditions] += scale[..., None, None]
    return regular


def _maximise(outcomes: Counts, conditions: int, start: Numbers | None) -> tuple[Numbers, Numbers]:
    """Newton's method with steps cut in half where the likelihood falls; outcomes (B, P, 3), all with a maximum."""
    first, second = members(conditions)
    votes, tied = outcomes.sum((1, 2)), outcomes[..., TIED].sum(1)
    strength = np.tile(np.zeros(conditions) if start is None else start - start.mean(), (len(outcomes), 1))
    with np.errstate(divide="ignore"):
        log_tie = np.log(2 * tied / (votes - tied))
    with_ties = bool(tied.any())
    open_, best = np.arange(len(outcomes)), np.full(len(outcomes), -np.inf)
    move = np.zeros((len(outcomes), conditions + with_ties))
    for _ in range(_MOST_STEPS):
        if not len(open_):
            return strength, log_tie
        own, difference = outcomes[open_], strength[open_][:, first] - strength[open_][:, second]
        value = log_likelihood(own, difference, log_tie[open_])
        worse = value < best[open_] - 1e-10 * np.abs(best[open_])
        newton = _newton_step(own, difference, log_tie[open_], conditions, ties=with_ties)
        back = move[open_] / 2
        change = np.where(worse[:, None], -back, newton)
        move[open_] = np.where(worse[:, None], back, newton)
        best[open_] = np.where(worse, best[open_], value)
        strength[open_] += change[:, :conditions]
        if with_ties:
            log_tie[open_] += change[:, -1]
        open_ = open_[worse | (np.abs(change).max(1) > _TOLERANCE)]
    if len(open_):
        raise RuntimeError(
            f"{len(open_)} of {len(outcomes)} Bradley–Terry fits have not converged in {_MOST_STEPS} steps"
        )
    return strength, log_tie


def _newton_step(outcomes: Counts, difference: Numbers, log_tie: Numbers, conditions: int, *, ties: bool) -> Numbers:
    """Newton's step (B, K), no entry of it longer than `_LONGEST_STEP`."""
    terms = terms_of(outcomes, difference, log_tie[:, None])
    information = fixed(information_of(terms, conditions, ties=ties), conditions)
    if ties:  # a replicate where nobody tied has no tie parameter to move
        information[np.isneginf(log_tie), -1, -1] = 1
    step = np.linalg.solve(information, gradient_of(terms, conditions, ties=ties)[..., None])[..., 0]
    longest = np.abs(step).max(1, keepdims=True)
    return step * np.minimum(1, _LONGEST_STEP / np.maximum(longest, 1e-300))
