"""The taste model: a hierarchical Bayesian regression on frozen image features.

    rating of image i by user u  =  level + generic(i) + level_u + features(i) . taste_u + noise
    taste_u ~ Normal(0, covariance)

`generic` is what an image gets from everybody: a Gaussian process fitted to the images' mean ratings. A user's taste
weighs the image features: `generic` itself (some people agree with the others more than some do) and the leading
kernel principal components of the training images. The covariance of the tastes is learnt from all users' ratings by
expectation-maximisation (random-effects model, Laird and Ware 1982; as multi-task Gaussian process, Yu, Tresp and
Schwaighofer 2005). It is the prior under which a new user's taste is inferred from a few ratings: the fewer and the
noisier they are, the closer the taste stays to zero, where the prediction is the generic one.

Everything is in closed form and in double precision: no learning rate, and no validation set. How alike two images
are is left to `kernel`, a new user's taste to `posterior`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from predictor.encoders.encoding import Images
from predictor.taste.kernel import fit_kernel, rbf, squared_lengths
from predictor.threads import one_thread

_PRIOR_VARIANCE = (0.003, 0.01)
"""Initial variances of a taste's weight of `generic`, and of its weight of each component; only their ratio matters."""

_PRIOR_USERS = 200
"""Weight of the initial covariance against the estimated one, in users (an inverse Wishart prior)."""

_MIN_NOISE = 1e-4
"""Lower bound of the noise variance: a standard deviation of a hundredth of the scale, even if all ratings agree."""

_EM_ITERATIONS = 10
_MAX_SWEEPS = 5000
"""Of two-way means: about ten are enough where images share many raters, hundreds where they share few."""
_USER_BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TasteConfig:
    """Sizes and scalars; ratings are from 0 to 1, so that variances are in units of that scale, squared."""

    dimensions: int
    landmarks: int
    rank: int
    level: float = 0.5
    level_variance: float = 0.01
    noise: float = 0.05
    """Variance of one rating around what the model predicts of image and user."""
    generic_error: float = 0.01
    """Variance of the error of `generic` for an unseen image, by leave-one-out over the training images."""
    tie_zone: float = 0.05
    """Two images whose perceived utilities differ by less are called alike; chosen on validation ratings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFeatures:
    """Features of N images, the same for all users."""

    generic: Tensor  # (N,), the predicted rating beyond the mean level
    values: Tensor  # (N, rank), what a taste weighs

    def __getitem__(self, rows: Any) -> "ImageFeatures":
        return ImageFeatures(generic=self.generic[rows], values=self.values[rows])

    def __len__(self) -> int:
        return len(self.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserTastes:
    """What was learnt of U users; zeros for users without a training rating."""

    tastes: Tensor  # (U, rank), posterior means
    levels: Tensor  # (U,)
    factors: Tensor  # (U, rank + 1, rank + 1), Cholesky factors of the covariance of taste and level, the level last


class Taste(nn.Module):
    """The fitted taste model. All its tensors are buffers: nothing is trained by gradients."""

    def __init__(self, config: TasteConfig) -> None:
        super().__init__()
        self.config = config
        d, m, r = config.dimensions, config.landmarks, config.rank
        self.centre: Tensor
        self.scale: Tensor
        self.landmarks: Tensor
        self.generic: Tensor
        self.basis: Tensor
        self.offset: Tensor
        self.covariance: Tensor
        shapes = {
            **{"centre": (d,), "scale": (d,), "landmarks": (m, d), "generic": (m,), "basis": (m, r)},
            **{"offset": (r,), "covariance": (r, r)},
        }
        for name, shape in shapes.items():
            kind = torch.float32 if name == "landmarks" else torch.float64
            self.register_buffer(name, torch.zeros(shape, dtype=kind))

    def features(self, images: Images) -> ImageFeatures:
        """Features of images."""
        with one_thread(), torch.inference_mode():
            x = vectors(images)
            x = (torch.where(torch.isnan(x), self.centre, x) - self.centre) * self.scale
            near = rbf(x, *self._points)
            return ImageFeatures(generic=near @ self.generic, values=near @ self.basis - self.offset)

    @property
    def typical(self) -> ImageFeatures:
        """Features of the landmarks: a sample of the training images."""
        with one_thread(), torch.inference_mode():
            near = rbf(self._points[0], *self._points)
            return ImageFeatures(generic=near @ self.generic, values=near @ self.basis - self.offset)

    @cached_property
    def _points(self) -> tuple[Tensor, Tensor]:
        points = self.landmarks.double()
        return points, squared_lengths(points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """R ratings by index of user and of image, 0 to 1."""

    user: NDArray[np.int64]
    image: NDArray[np.int64]
    rating: NDArray[np.float64]


def vectors(images: Images) -> Tensor:
    """Image, prompt and metadata vectors, concatenated: (N, D), in double precision; nan where one is missing."""
    return torch.cat([images.image, images.prompt, images.metadata], 1).double()


def fit_taste(
    images: Images,
    ratings: Ratings,
    *,
    users: int,
    parts: Sequence[int],
    seed: int,
    rank: int = 128,
    landmarks: int = 1024,
) -> tuple[Taste, UserTastes]:
    """Fit the taste model to the training ratings.

    Parameters
    ----------
    images
        All images; those without a rating are ignored.
    ratings
        The training ratings.
    users
        How many users there are.
    parts
        Lengths of the parts of the image vectors, each with a weight of its own in the kernel; they sum to the image
        dimensions.
    rank, landmarks
        Upper limits of the number of features, and of the training images that the kernel is evaluated at (Nyström).
    """
    with one_thread():
        rated, image = np.unique(ratings.image, return_inverse=True)
        x = vectors(images)[torch.from_numpy(rated)]
        x = torch.where(torch.isnan(x), torch.nanmean(x, 0).nan_to_num(0.0), x)
        image_effect, level = _two_way_means(ratings, image, users)
        count = np.bincount(image)
        parts = (*parts, images.prompt.shape[1], images.metadata.shape[1])
        mean = torch.from_numpy(image_effect)
        kernel = fit_kernel(x, parts, mean, torch.from_numpy(count).double(), seed=seed)
        x = (x - kernel.centre) * kernel.scale
        chosen = torch.from_numpy(np.random.default_rng([seed, 0x4C]).permutation(len(x))[:landmarks].copy())
        points = x[chosen].float().double()  # as they are kept
        whiten = _whitening(points)
        z = rbf(x, points) @ whiten  # (I, m): the kernel is z z'
        error = kernel.noise / torch.from_numpy(count).double() + kernel.nugget
        weights, left_out_residual = _ridge(z * kernel.variance**0.5, mean, error)
        weights = weights * kernel.variance**0.5
        fitted = z @ weights
        components, offset = _principal_components(z, min(rank - 1, len(x) - 1, z.shape[1]))
        spread = fitted.std(correction=0).clamp_min(1e-6)
        taste = Taste(
            TasteConfig(
                dimensions=x.shape[1],
                landmarks=len(points),
                rank=1 + components.shape[1],
                level=float(np.nanmean(level)),
                level_variance=max(float(np.nanvar(level)), 1e-4),
                generic_error=_generic_error(
                    left_out_residual.numpy(), ratings.rating - level[ratings.user] - image_effect[image], image, users
                ),
            )
        )
        taste.centre.copy_(kernel.centre)
        taste.scale.copy_(kernel.scale)
        taste.landmarks.copy_(points)
        taste.generic.copy_(whiten @ weights)
        taste.basis.copy_(whiten @ torch.cat([(weights / spread)[:, None], components], 1))
        taste.offset.copy_(torch.cat([(fitted.mean() / spread)[None], offset]))
        features = taste.features(images[torch.from_numpy(rated)]).values
        found = _learn_tastes(taste, features, ratings, image, image_effect, level, left_out_residual.numpy())
        return taste, found


def _generic_error(
    left_out: NDArray[np.float64], residual: NDArray[np.float64], image: NDArray[np.intp], users: int
) -> float:
    """Variance of the generic prediction's error, without the sampling noise of the mean ratings it is compared with.

    Parameters
    ----------
    left_out
        (I,), each image's mean rating minus its prediction by a fit without it.
    residual
        (R,), of the ratings in the two-way layout of users and images.
    image
        (R,), the image of each rating.
    """
    count = np.bincount(image)
    free = len(residual) - len(count) - users + 1
    sampling = float((residual**2).sum()) / free if free > 0 else 0.0
    return max(float(np.mean(left_out**2 - sampling / count)), _MIN_NOISE)


def _two_way_means(ratings: Ratings, image: NDArray[np.intp], users: int) -> tuple[NDArray, NDArray]:
    """Least-squares effects of a two-way layout.

    Returns
    -------
    The effect of each image (I,), zero in the mean over ratings, and the level of each user (U,), nan without ratings.
    """
    user, rating = ratings.user, ratings.rating
    per_image, per_user = np.bincount(image), np.bincount(user, minlength=users)
    image_effect = np.zeros(len(per_image))
    level = np.zeros(users)
    for _ in range(_MAX_SWEEPS):
        before = image_effect
        level = np.bincount(user, rating - image_effect[image], users) / np.maximum(per_user, 1)
        image_effect = np.bincount(image, rating - level[user]) / per_image
        image_effect -= image_effect[image].mean()
        if np.abs(image_effect - before).max() < 1e-10:
            break
    return image_effect, np.where(per_user > 0, level, np.nan)


def _whitening(points: Tensor) -> Tensor:
    """A matrix (M, m) that turns kernel columns into coordinates whose inner products are the kernel (Nyström)."""
    values, directions = torch.linalg.eigh(rbf(points, points))
    kept = values > 1e-9 * values[-1]
    return directions[:, kept] / values[kept].sqrt()


def _ridge(z: Tensor, y: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean weights of y = z w + error with w ~ Normal(0, 1), and the leave-one-out residuals."""
    scaled = z / error[:, None]
    inverse = torch.linalg.inv(torch.eye(z.shape[1], dtype=z.dtype) + scaled.T @ z)
    weights = inverse @ (scaled.T @ y)
    leverage = ((z @ inverse) * scaled).sum(1)
    return weights, (y - z @ weights) / (1 - leverage).clamp_min(1e-3)


def _principal_components(z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Directions (m, count) and offset (count,) of the centred components, whose mean squared length is scaled to 1."""
    centred = z - z.mean(0)
    directions = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :count]
    largest = directions.abs().argmax(0)  # eigenvectors come with either sign
    directions = directions * directions[largest, torch.arange(count)].sign()
    directions = directions / (centred @ directions).square().sum(1).mean().sqrt().clamp_min(1e-12)
    return directions, z.mean(0) @ directions


def _learn_tastes(
    taste: Taste,
    features: Tensor,
    ratings: Ratings,
    image: NDArray[np.intp],
    image_effect: NDArray[np.float64],
    level: NDArray[np.float64],
    left_out: NDArray[np.float64],
) -> UserTastes:
    """Fit the tastes' covariance and the noise by expectation-maximisation; all users' posteriors.

    The residual of a rating is its difference to what the image is expected to get from somebody else: the mean of
    the image's other ratings and its leave-one-out prediction, weighted by their precisions. So no rating is compared
    with itself.

    Parameters
    ----------
    features
        (I, rank), of the rated images.
    image
        (R,), the row in `features` of each rating.
    image_effect, level
        (I,) and (U,), by `_two_way_means`.
    left_out
        (I,), each image's effect minus its prediction by a fit without its ratings.
    """
    user, rating = ratings.user, ratings.rating
    centred = rating - level[user]
    count = np.bincount(image)
    # With the sampling noise in it: a prediction that is trusted more leaves more of what all like to the tastes.
    error = max(float(np.mean(left_out**2)), 1e-6)
    noise = _noise(centred - image_effect[image], count[image], otherwise=error)
    precision_ratio, leave_one_out = noise / error, image_effect - left_out
    others = np.bincount(image, centred)[image] - centred
    residual = centred - (others + precision_ratio * leave_one_out[image]) / (count[image] - 1 + precision_ratio)
    raters = np.unique(user)
    design = torch.cat([torch.ones(len(features), 1, dtype=torch.float64), features], 1)
    statistics = [_sufficient_statistics(design, image[user == u], residual[user == u]) for u in raters]
    gram, moment = torch.stack([s[0] for s in statistics]), torch.stack([s[1] for s in statistics])
    squared_residuals = float((residual**2).sum())
    generic, components = _PRIOR_VARIANCE
    rank = features.shape[1]
    prior = torch.tensor([components, generic, *[components] * (rank - 1)], dtype=torch.float64)
    covariance, mean = torch.diag(prior), moment
    for _ in range(_EM_ITERATIONS):
        second, mean, explained = _expectation(covariance, noise, gram, moment)
        size = float((second.diagonal() / prior).mean()) / len(raters)
        covariance = (second + _PRIOR_USERS * size * torch.diag(prior)) / (len(raters) + _PRIOR_USERS)
        noise = max((squared_residuals - explained) / len(user), _MIN_NOISE)
    taste.covariance.copy_(covariance[1:, 1:])
    taste.config = replace(taste.config, noise=noise)
    users, rows = len(level), torch.from_numpy(raters)
    found = UserTastes(
        tastes=torch.zeros(users, rank, dtype=torch.float64),
        levels=torch.zeros(users, dtype=torch.float64),
        factors=torch.zeros(users, rank + 1, rank + 1, dtype=torch.float64),
    )
    found.tastes[rows] = mean[:, 1:]
    found.levels[rows] = mean[:, 0] + torch.from_numpy(level[raters]) - taste.config.level
    precision = torch.linalg.inv(covariance)
    for row, own in zip(raters.tolist(), gram, strict=True):
        found.factors[row] = factor(torch.linalg.inv(precision + own / noise).roll((-1, -1), (0, 1)))
    return found


def factor(covariance: Tensor) -> Tensor:
    """The Cholesky factor of a covariance that may be singular to the last digits."""
    size = float(covariance.diagonal().max())
    return torch.linalg.cholesky(covariance + (1e-12 * size + 1e-18) * torch.eye(len(covariance), dtype=torch.float64))


def _noise(residual: NDArray[np.float64], count: NDArray[np.intp], *, otherwise: float) -> float:
    """Variance of ratings around their image's mean; images with one rating, which is its own mean, are left out."""
    shared = count > 1
    squared = residual[shared] ** 2 * count[shared] / (count[shared] - 1)
    return max(float(squared.mean()) if len(squared) else otherwise, _MIN_NOISE)


def _sufficient_statistics(
    design: Tensor, image: NDArray[np.intp], residual: NDArray[np.float64]
) -> tuple[Tensor, Tensor]:
    """Of one user's ratings: the Gram matrix (r, r) and the moment vector (r,)."""
    rated = design[torch.from_numpy(image)]
    return rated.T @ rated, rated.T @ torch.from_numpy(residual)


def _expectation(covariance: Tensor, noise: float, gram: Tensor, moment: Tensor) -> tuple[Tensor, Tensor, float]:
    """The E step: sum of the posterior second moments (r, r), posterior means (U, r), explained squared residual."""
    precision = torch.linalg.inv(covariance)
    second, means, explained = torch.zeros_like(covariance), [], 0.0
    for g, b in zip(gram.split(_USER_BATCH), moment.split(_USER_BATCH), strict=True):
        posterior = torch.linalg.inv(precision + g / noise)
        mean = (posterior @ b[:, :, None])[:, :, 0] / noise
        second += posterior.sum(0) + mean.T @ mean
        explained += float((2 * b * mean).sum() - torch.einsum("ui,uij,uj->", mean, g, mean) - (posterior * g).sum())
        means.append(mean)
    return second, torch.cat(means), explained
