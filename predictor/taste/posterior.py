"""A person's taste as a Gaussian: what their answers leave open under the prior that was learnt from everybody.

    utility of image i  =  generic(i) + features(i) . taste + own(i),   taste ~ Normal(0, covariance)

`own` is what an image has that its features do not tell (variance `generic_error`), the same whenever it is shown. The
posterior is found by Laplace's approximation in the space of the utilities (Rasmussen and Williams 2006, section 3.4),
and is exact where all answers are ratings. No rating scale has to be known for likes and choices: the level of ratings
has a flat prior while the taste is inferred (section 2.7 there; Henderson's mixed model equations), and the threshold
of likes a wide one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from predictor.taste.evidence import Answer, Evidence, Rating
from predictor.taste.expectation_maximisation import cholesky_factor
from predictor.taste.hierarchical import ImageFeatures, Taste
from predictor.taste.likelihood import LEVEL, Likelihood, Terms
from predictor.threads import one_thread

_THRESHOLD_VARIANCE = 0.1
"""Of how much somebody has to like an image to say so: a standard deviation of a third of the scale."""

_ITERATIONS = 100
_TOLERANCE = 1e-7
"""Newton stops when no utility and no offset changes by more than this; convergence is quadratic, so the remaining
error is about its square."""
_SMALLEST_STEP = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """Taste and level of one person."""

    taste: Tensor  # (rank,), the mean
    level: float
    """How much higher than the mean person this one rates."""
    factor: Tensor
    """Cholesky factor L (rank + 1, rank + 1): L @ L.T is the joint covariance of taste and level, the level last."""


def prior(taste: Taste) -> Posterior:
    """What is known of somebody who answered nothing."""
    rank = taste.config.rank
    nothing = ImageFeatures(
        generic=torch.zeros(0, dtype=torch.float64), values=torch.zeros(0, rank, dtype=torch.float64)
    )
    return infer(taste, Evidence(answers=(), ids=(), features=nothing))


def infer(taste: Taste, evidence: Evidence) -> Posterior:
    """A person's posterior from all that they answered.

    A single rating tells the level, but nothing about taste: only differences between ratings do. The level is shrunk
    after the taste is inferred.

    Raises
    ------
    RuntimeError
        Newton's method has not converged, which does not happen with finite features.
    """
    answers, features = evidence.answers, evidence.features
    with one_thread(), torch.inference_mode():
        weighed = features.values @ taste.covariance  # (N, rank)
        weights, weight_curvature = _laplace(taste, features, weighed @ features.values.T, answers)
        mean = weighed.T @ weights
        covariance = taste.covariance - weighed.T @ weight_curvature @ weighed
        level, joint = _with_level(taste, features, answers, mean, covariance)
        return Posterior(taste=mean, level=level, factor=cholesky_factor(joint))


def covariance_factor(factor: Tensor, features: ImageFeatures) -> Tensor:
    """Factor B (N, rank + 1) of the covariance of N predicted scores: cov = B @ B.T."""
    return torch.cat([features.values, torch.ones(len(features.values), 1, dtype=torch.float64)], 1) @ factor


def _laplace(taste: Taste, features: ImageFeatures, gram: Tensor, answers: Sequence[Answer]) -> tuple[Tensor, Tensor]:
    """Newton's method on utilities and offsets.

    Returns
    -------
    The weights (N,) by which the mode of the utilities is generic + covariance @ weights, and the matrix (N, N) by
    which the answers lower the covariance: prior - prior @ matrix @ prior.
    """
    config, n = taste.config, len(features.generic)
    if not answers:
        return torch.zeros(n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
    covariance = gram + config.generic_error * torch.eye(n, dtype=torch.float64)
    start = features.generic
    likelihood = Likelihood(answers, n, noise=config.noise, tie_zone=config.tie_zone)
    rated = any(isinstance(answer, Rating) for answer in answers)
    offset_precision = torch.tensor([0.0 if rated else 1.0, 1 / _THRESHOLD_VARIANCE], dtype=torch.float64)
    at = torch.zeros(n + 2, dtype=torch.float64)  # weights and offsets
    at[n + LEVEL] = config.level if rated else 0.0

    def unknowns(point: Tensor) -> Tensor:
        return torch.cat([start + covariance @ point[:n], point[n:]])

    def objective(point: Tensor, terms: Terms) -> float:
        quadratic = point[:n] @ covariance @ point[:n] + (offset_precision * point[n:].square()).sum()
        return terms.value - 0.5 * float(quadratic)

    terms, moved = likelihood(unknowns(at)), float("inf")
    for _ in range(_ITERATIONS):
        aim = _newton(covariance, offset_precision, at, terms)
        step, reached = 1.0, objective(at, terms)
        while True:
            point = at + step * (aim - at)
            new = likelihood(unknowns(point))
            if objective(point, new) >= reached - 1e-9 * (1 + abs(reached)) or step < _SMALLEST_STEP:
                break
            step /= 2
        moved = float((unknowns(point) - unknowns(at)).abs().max())
        at, terms = point, new
        if moved < _TOLERANCE:
            lowered = _without_offsets(terms.curvature, offset_precision)
            matrix = torch.linalg.solve(torch.eye(n, dtype=torch.float64) + lowered @ covariance, lowered)
            return at[:n], 0.5 * (matrix + matrix.T)
    raise RuntimeError(f"a posterior of {len(answers)} answers has not converged; last step {moved:.1e}")


def _newton(covariance: Tensor, offset_precision: Tensor, at: Tensor, terms: Terms) -> Tensor:
    """The maximum of the quadratic approximation at a point; weights and offsets."""
    n = len(covariance)
    curved, crossed, offsets = terms.curvature[:n, :n], terms.curvature[:n, n:], terms.curvature[n:, n:]
    system = torch.cat(
        [
            torch.cat([torch.eye(n, dtype=torch.float64) + curved @ covariance, crossed], 1),
            torch.cat([crossed.T @ covariance, offsets + torch.diag(offset_precision)], 1),
        ]
    )
    return torch.linalg.solve(system, terms.gradient + terms.curvature @ torch.cat([covariance @ at[:n], at[n:]]))


def _without_offsets(curvature: Tensor, offset_precision: Tensor) -> Tensor:
    """The curvature by the utilities alone, the offsets integrated out (a Schur complement)."""
    n = len(curvature) - len(offset_precision)
    crossed, offsets = curvature[:n, n:], curvature[n:, n:] + torch.diag(offset_precision)
    return curvature[:n, :n] - crossed @ torch.linalg.solve(offsets, crossed.T)


def _with_level(
    taste: Taste, features: ImageFeatures, answers: Sequence[Answer], mean: Tensor, covariance: Tensor
) -> tuple[float, Tensor]:
    """The level given the taste, shrunk towards the mean person's, and the covariance of both."""
    config = taste.config
    ratings = [answer for answer in answers if isinstance(answer, Rating)]
    joint = torch.zeros(len(covariance) + 1, len(covariance) + 1, dtype=torch.float64)
    joint[:-1, :-1] = covariance
    joint[-1, -1] = config.level_variance
    if not ratings:
        return 0.0, joint
    rows = torch.tensor([answer.image for answer in ratings])
    given = torch.tensor([answer.rating for answer in ratings], dtype=torch.float64)
    remainder = given - config.level - features.generic[rows] - features.values[rows] @ mean
    error = config.perceived_noise / len(ratings)
    share = config.level_variance / (config.level_variance + error)
    centre = features.values[rows].mean(0)
    joint[-1, :-1] = joint[:-1, -1] = -share * covariance @ centre
    joint[-1, -1] = share**2 * centre @ covariance @ centre + share * error
    return share * float(remainder.mean()), joint
