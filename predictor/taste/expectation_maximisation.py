"""Expectation-maximisation: the covariance of tastes, the noise, and everybody's taste, from ratings and comparisons.

Given covariance and noise, each user's taste is a Gaussian in closed form (the E step); given these, the covariance is
their mean second moment and the noise the mean squared residual (the M step). Comparisons enter as measurements of
differences at the taste of the step before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from predictor.taste.pairwise import measured
from predictor.taste.training_answers import COMPARED_NOISE, MIN_NOISE, TrainingAnswers

_PRIOR_VARIANCE = (0.003, 0.01)
"""Initial variances of a taste's weight of `generic`, and of its weight of each component; only their ratio matters."""

_PRIOR_USERS = 200
"""Weight of the initial covariance against the estimated one, in users (an inverse Wishart prior)."""

_EM_ITERATIONS = 10
_USER_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTastes:
    """What was learnt of U users; zeros for users without a training rating."""

    tastes: Tensor  # (U, rank), posterior means
    levels: Tensor  # (U,)
    factors: Tensor  # (U, rank + 1, rank + 1), Cholesky factors of the covariance of taste and level, the level last


def learn_tastes(
    features: Tensor, answers: TrainingAnswers, left_out: NDArray[np.float64], *, device: str = "cpu"
) -> tuple[Tensor, float, UserTastes]:
    """Fit the tastes' covariance (rank, rank) and the noise by expectation-maximisation; all users' posteriors.

    The residual of a rating is its difference to what the image is expected to get from somebody else: the mean of
    the image's other ratings and its leave-one-out prediction, weighted by their precisions. So no rating is compared
    with itself. Of a comparison, the expected difference is left out in the same way.

    Parameters
    ----------
    features
        (I, rank), of the rated images.
    left_out
        (I,), each image's effect minus its prediction by a fit without its answers.
    device
        Where the users' matrices are inverted.
    """
    answering = np.union1d(answers.user, answers.compared_by)
    design = torch.cat([torch.ones(len(features), 1, dtype=torch.float64), features], 1)
    residual, noise, precision_ratio = _rating_residuals(answers, left_out)
    rated_by = _rows_by_user(answering, answers.user)
    rating_gram, rating_moment = _statistics(
        rated_by, lambda own: design[torch.from_numpy(answers.image[own])], residual
    )
    compared = _ComparedResiduals.of(answers, design, answers.image_effect - left_out, precision_ratio, answering)
    covariance, noise, mean = _fit_covariance(rating_gram, rating_moment, residual, compared, noise, device=device)
    comparison_gram, _ = compared.statistics(mean, noise)
    found = _user_tastes(answers, answering, mean, covariance, noise, rating_gram, comparison_gram)
    return covariance[1:, 1:], noise, found


def _rating_residuals(
    answers: TrainingAnswers, left_out: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, float]:
    """The ratings' residuals (R,), the noise to begin with, and that noise over the leave-one-out error."""
    image, effect, count = answers.image, answers.image_effect, answers.count
    centred = answers.rating - answers.level[answers.user]
    # Sampling noise is not subtracted on purpose: with a smaller error the leave-one-out prediction would outweigh the
    # other raters' mean, and more of what everybody likes would be learnt as personal taste.
    error = max(float(np.mean(left_out**2)), 1e-6)
    default = error if len(answers.user) else COMPARED_NOISE
    noise = _noise(centred - effect[image], count[image], default=default)
    precision_ratio, leave_one_out = noise / error, effect - left_out
    others = _rating_totals(answers) - centred
    residual = centred - (others + precision_ratio * leave_one_out[image]) / (count[image] - 1 + precision_ratio)
    return residual, noise, precision_ratio


def _fit_covariance(
    rating_gram: Tensor,
    rating_moment: Tensor,
    residual: NDArray[np.float64],
    compared: "_ComparedResiduals",
    noise: float,
    *,
    device: str,
) -> tuple[Tensor, float, Tensor]:
    """The covariance of level and taste (r, r), the level first; the noise; and the users' posterior means (U, r)."""
    (users, width), squared_residuals = rating_moment.shape, float((residual**2).sum())
    generic, components = _PRIOR_VARIANCE
    prior = torch.tensor([components, generic, *[components] * (width - 2)], dtype=torch.float64)
    covariance, mean = torch.diag(prior), torch.zeros_like(rating_moment)
    for _ in range(_EM_ITERATIONS):
        comparison_gram, comparison_moment = compared.statistics(mean, noise)
        second_moment, mean, explained = _expectation(
            covariance, noise, rating_gram, rating_moment, comparison_gram, comparison_moment, device=device
        )
        scale = float((second_moment.diagonal() / prior).mean()) / users
        covariance = (second_moment + _PRIOR_USERS * scale * torch.diag(prior)) / (users + _PRIOR_USERS)
        if len(residual):
            noise = max((squared_residuals - explained) / len(residual), MIN_NOISE)
    return covariance, noise, mean


def _user_tastes(
    answers: TrainingAnswers,
    answering: NDArray[np.int64],
    mean: Tensor,
    covariance: Tensor,
    noise: float,
    rating_gram: Tensor,
    comparison_gram: Tensor | None,
) -> UserTastes:
    """The posteriors of all users: the means as they were found, and factors of their covariances."""
    users, rank, rows = len(answers.level), mean.shape[1] - 1, torch.from_numpy(answering)
    found = UserTastes(
        tastes=torch.zeros(users, rank, dtype=torch.float64),
        levels=torch.zeros(users, dtype=torch.float64),
        factors=torch.zeros(users, rank + 1, rank + 1, dtype=torch.float64),
    )
    found.tastes[rows] = mean[:, 1:]
    found.levels[rows] = mean[:, 0] + torch.from_numpy(answers.level[answering]) - answers.mean_level
    found.levels.nan_to_num_(0.0)  # of those who compare and do not rate
    precision = torch.linalg.inv(covariance)
    for number, row in enumerate(answering.tolist()):
        own = rating_gram[number] / noise
        if comparison_gram is not None:
            own = own + comparison_gram[number]
        found.factors[row] = cholesky_factor(torch.linalg.inv(precision + own).roll((-1, -1), (0, 1)))
    return found


def _rating_totals(answers: TrainingAnswers) -> NDArray[np.float64]:
    """(R,), for each rating the sum of its image's centred ratings.

    With comparisons, the image's effect times the ratings it is worth.
    """
    if len(answers.better):
        return (answers.count * answers.image_effect)[answers.image]
    centred = answers.rating - answers.level[answers.user]
    return np.bincount(answers.image, centred).astype(np.float64)[answers.image]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ComparedResiduals:
    """Comparisons beside what is expected of the two images by everybody else."""

    answers: TrainingAnswers
    design: Tensor  # (I, r)
    expected: NDArray[np.float64]  # (C,), of the better image minus that of the worse
    compared_by: Sequence[NDArray[np.intp]]
    """Rows of the comparisons of each of U users."""

    @classmethod
    def of(
        cls,
        answers: TrainingAnswers,
        design: Tensor,
        leave_one_out: NDArray[np.float64],
        precision_ratio: float,
        answering: NDArray[np.int64],
    ) -> "_ComparedResiduals":
        """Each comparison's own part is taken out of the effects of its two images."""
        better, worse, effect, count = answers.better, answers.worse, answers.image_effect, answers.count
        noise = max(answers.sampling, MIN_NOISE) if answers.sampling else COMPARED_NOISE
        own = measured(effect[better] - effect[worse], answers.weight, noise=noise)
        share = own.precision * noise

        def without(image: NDArray[np.intp], said: NDArray[np.float64]) -> NDArray[np.float64]:
            left = np.maximum(count[image] - share, 0.0)
            total = count[image] * effect[image] - share * said
            total = np.where(left > 0, total, 0.0)
            return (total + precision_ratio * leave_one_out[image]) / (left + precision_ratio)

        expected = without(better, effect[worse] + own.value) - without(worse, effect[better] - own.value)
        compared_by = _rows_by_user(answering, answers.compared_by)
        return cls(answers=answers, design=design, expected=expected, compared_by=compared_by)

    def statistics(self, mean: Tensor, noise: float) -> tuple[Tensor | None, Tensor | None]:
        """Gram matrices (U, r, r) and moments (U, r) in units of precision, at the users' mean tastes (U, r)."""
        if not len(self.expected):
            return None, None
        difference = self.expected.copy()
        for own, taste in zip(self.compared_by, mean, strict=True):
            difference[own] += (self._differences(own) @ taste).numpy()
        sites = measured(difference, self.answers.weight, noise=noise)
        root = np.sqrt(sites.precision)

        def rows(own: NDArray[np.intp]) -> Tensor:
            return self._differences(own) * torch.from_numpy(root[own])[:, None]

        return _statistics(self.compared_by, rows, root * (sites.value - self.expected))

    def _differences(self, own: NDArray[np.intp]) -> Tensor:
        better, worse = (torch.from_numpy(image[own]) for image in (self.answers.better, self.answers.worse))
        return self.design[better] - self.design[worse]


def _rows_by_user(users: NDArray[np.int64], user: NDArray[np.int64]) -> Sequence[NDArray[np.intp]]:
    """The rows of each of some users, in their order."""
    order = np.argsort(user, kind="stable")
    return np.split(order, np.searchsorted(user[order], users[1:]))


def cholesky_factor(covariance: Tensor) -> Tensor:
    """The Cholesky factor of a covariance that may be singular to the last digits."""
    largest = float(covariance.diagonal().max())
    jitter = 1e-12 * largest + 1e-18
    return torch.linalg.cholesky(covariance + jitter * torch.eye(len(covariance), dtype=torch.float64))


def _noise(residual: NDArray[np.float64], count: NDArray[np.float64], *, default: float) -> float:
    """Variance of ratings around their image's mean; images with one rating, which is its own mean, are left out."""
    shared = count > 1
    squared = residual[shared] ** 2 * count[shared] / (count[shared] - 1)
    return max(float(squared.mean()) if len(squared) else default, MIN_NOISE)


def _statistics(
    answers: Sequence[NDArray[np.intp]], design: Callable[[NDArray[np.intp]], Tensor], residual: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """Sufficient statistics of each of U users: the Gram matrices (U, r, r) and the moment vectors (U, r).

    Parameters
    ----------
    answers
        The rows of each user's answers.
    design
        The design (n, r) of n answers; it is never there for all at once.
    residual
        (R,), of all answers.
    """
    width = design(np.empty(0, np.intp)).shape[1]
    gram = torch.empty(len(answers), width, width, dtype=torch.float64)
    moment = torch.empty(len(answers), width, dtype=torch.float64)
    for user, own in enumerate(answers):
        rows = design(own)
        gram[user] = rows.T @ rows
        moment[user] = rows.T @ torch.from_numpy(residual[own])
    return gram, moment


def _expectation(
    covariance: Tensor,
    noise: float,
    rating_gram: Tensor,
    rating_moment: Tensor,
    comparison_gram: Tensor | None,
    comparison_moment: Tensor | None,
    *,
    device: str,
) -> tuple[Tensor, Tensor, float]:
    """The E step: sum of the posterior second moments (r, r), posterior means (U, r), explained squared residual.

    Parameters
    ----------
    rating_gram, rating_moment
        Of the ratings, whose residuals are explained.
    comparison_gram, comparison_moment
        Of the comparisons, in units of precision; None where there are none.
    """
    precision = torch.linalg.inv(covariance).to(device)
    second_moment, means, explained = torch.zeros_like(precision), [], 0.0
    for first in range(0, len(rating_gram), _USER_BATCH):
        batch = slice(first, first + _USER_BATCH)
        g, b = rating_gram[batch].to(device), rating_moment[batch].to(device)
        system, pull = precision + g / noise, b
        if comparison_gram is not None and comparison_moment is not None:
            system = system + comparison_gram[batch].to(device)
            pull = b + noise * comparison_moment[batch].to(device)
        posterior = torch.linalg.inv(system)
        mean = (posterior @ pull[:, :, None])[:, :, 0] / noise
        second_moment += posterior.sum(0) + mean.T @ mean
        explained += float((2 * b * mean).sum() - torch.einsum("ui,uij,uj->", mean, g, mean) - (posterior * g).sum())
        means.append(mean.cpu())
    return second_moment.cpu(), torch.cat(means), explained
