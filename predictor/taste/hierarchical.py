"""What one person likes beyond what everybody likes: a hierarchical Bayesian model on frozen features.

    rating of image i by user u  =  level + generic(i) + level_u + features(i) . taste_u + noise
    taste_u ~ Normal(0, covariance)

`generic` is a Gaussian process fitted to the images' mean ratings; `features` are the generic liking itself
(some people agree with everybody more than others do) and the leading kernel principal components of the
training images. The covariance of tastes is learnt from everybody's ratings by expectation-maximisation
(random-effects model, Laird and Ware 1982; as multi-task Gaussian process, Yu, Tresp and Schwaighofer 2005),
so that a stranger's few ratings are shrunk exactly as much as people's tastes are known to be alike. Without
ratings a taste is zero, and the prediction is the generic one.

Everything is closed form in double precision: there is no learning rate, and no validation set is needed.
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
"""At first, of the generic liking's weight and of the components' together; only their ratio matters."""

_PRIOR_USERS = 200
"""How many people's word the prior covariance is worth against the covariance seen (inverse Wishart)."""

_LEAST_NOISE = 1e-4
"""Nobody's ratings are taken to be exacter than to a hundredth of the scale, even where they all are equal."""

_ROUNDS = 10
_MOST_SWEEPS = 5000
"""Of two-way means: some ten suffice where images share many raters, hundreds where they share few."""
_USERS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TasteConfig:
    """Sizes and scalars; variances are on the 0..1 scale, squared."""

    dimensions: int
    landmarks: int
    rank: int
    level: float = 0.5
    level_variance: float = 0.01
    noise: float = 0.05
    """Of one rating around what the model knows of image and user."""
    generic_error: float = 0.01
    """Of the generic liking of an unseen image, from leaving images out one at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What the model makes of N images before it knows who looks."""

    generic: Tensor  # (N,)
    features: Tensor  # (N, rank)

    def __getitem__(self, rows: Any) -> "Looks":
        return Looks(generic=self.generic[rows], features=self.features[rows])


class Taste(nn.Module):
    """The fitted model; all of it is buffers, nothing is trained by gradients."""

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

    def look(self, images: Images) -> Looks:
        """Generic liking and features of images."""
        with one_thread(), torch.inference_mode():
            x = vectors(images)
            x = (torch.where(torch.isnan(x), self.centre, x) - self.centre) * self.scale
            near = rbf(x, *self._points)
            return Looks(generic=near @ self.generic, features=near @ self.basis - self.offset)

    @cached_property
    def _points(self) -> tuple[Tensor, Tensor]:
        points = self.landmarks.double()
        return points, squared_lengths(points)

    def infer(self, looks: Looks, rating: Tensor) -> tuple[Tensor, float]:
        """A person's taste and level from K ratings (0 to 1) of images that were looked at.

        One rating says where a person's scale lies and nothing of taste: only differences between ratings
        do. The level is therefore free while the taste is inferred (a flat prior), and shrunk afterwards.

        Returns
        -------
        Posterior mean of the taste, shape (rank,), and the level; zeros for K = 0.
        """
        config, k = self.config, len(rating)
        if k == 0:
            return torch.zeros(config.rank, dtype=torch.float64), 0.0
        with one_thread(), torch.inference_mode():
            surprise = rating.double() - config.level - looks.generic
            noise = config.noise + config.generic_error
            gram = looks.features @ self.covariance @ looks.features.T + noise * torch.eye(k, dtype=torch.float64)
            solved = torch.linalg.solve(gram, torch.stack([surprise, torch.ones_like(surprise)], 1))
            free_level = solved[:, 0].sum() / solved[:, 1].sum()
            taste = self.covariance @ looks.features.T @ (solved[:, 0] - free_level * solved[:, 1])
            left = surprise - looks.features @ taste
            level = float(left.mean()) * config.level_variance / (config.level_variance + noise / k)
            return taste, level


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """R ratings by index of user and of image, 0 to 1."""

    user: NDArray[np.int64]
    image: NDArray[np.int64]
    rating: NDArray[np.float64]


def vectors(images: Images) -> Tensor:
    """(N, D): image, prompt and metadata side by side, in double precision; nan where nothing is known."""
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
) -> tuple[Taste, Tensor, Tensor]:
    """Fit the model.

    Returns
    -------
    The model, everybody's taste, shape (users, rank), and everybody's level, shape (users,); zero for those
    without a training rating.

    Parameters
    ----------
    images
        All images; those without a rating are not looked at.
    ratings
        The training ratings.
    users
        How many users there are.
    parts
        Lengths of the parts of the image vectors, which the kernel weighs by their own; they sum to the
        image dimensions.
    """
    with one_thread():
        rated, image = np.unique(ratings.image, return_inverse=True)
        x = vectors(images)[torch.from_numpy(rated)]
        x = torch.where(torch.isnan(x), torch.nanmean(x, 0).nan_to_num(0.0), x)
        liking, level = _two_way_means(ratings, image, users)
        count = np.bincount(image)
        parts = (*parts, images.prompt.shape[1], images.metadata.shape[1])
        mean = torch.from_numpy(liking)
        kernel = fit_kernel(x, parts, mean, torch.from_numpy(count).double(), seed=seed)
        x = (x - kernel.centre) * kernel.scale
        chosen = torch.from_numpy(np.random.default_rng([seed, 0x4C]).permutation(len(x))[:landmarks].copy())
        points = x[chosen].float().double()  # as they are kept
        whiten = _whitening(points)
        z = rbf(x, points) @ whiten  # (I, m): the kernel is z z'
        error = kernel.noise / torch.from_numpy(count).double() + kernel.nugget
        weights, left_out = _ridge(z * kernel.variance**0.5, mean, error)
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
                generic_error=float(left_out.square().mean()),
            )
        )
        taste.centre.copy_(kernel.centre)
        taste.scale.copy_(kernel.scale)
        taste.landmarks.copy_(points)
        taste.generic.copy_(whiten @ weights)
        taste.basis.copy_(whiten @ torch.cat([(weights / spread)[:, None], components], 1))
        taste.offset.copy_(torch.cat([(fitted.mean() / spread)[None], offset]))
        features = taste.look(images[torch.from_numpy(rated)]).features
        tastes, levels = _learn_tastes(taste, features, ratings, image, liking, level, (mean - left_out).numpy())
        return taste, tastes, levels


def _two_way_means(ratings: Ratings, image: NDArray[np.intp], users: int) -> tuple[NDArray, NDArray]:
    """Liking of each image, mean zero over ratings, and level of each user (nan without ratings): least squares."""
    user, rating = ratings.user, ratings.rating
    per_image, per_user = np.bincount(image), np.bincount(user, minlength=users)
    liking = np.zeros(len(per_image))
    level = np.zeros(users)
    for _ in range(_MOST_SWEEPS):
        before = liking
        level = np.bincount(user, rating - liking[image], users) / np.maximum(per_user, 1)
        liking = np.bincount(image, rating - level[user]) / per_image
        liking -= liking[image].mean()
        if np.abs(liking - before).max() < 1e-10:
            break
    return liking, np.where(per_user > 0, level, np.nan)


def _whitening(points: Tensor) -> Tensor:
    """(M, m) such that kernel columns times it are coordinates whose products are the kernel (Nyström)."""
    values, directions = torch.linalg.eigh(rbf(points, points))
    kept = values > 1e-9 * values[-1]
    return directions[:, kept] / values[kept].sqrt()


def _ridge(z: Tensor, y: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior mean weights of y = z w + error with w ~ Normal(0, 1), and residuals with each row left out."""
    scaled = z / error[:, None]
    inverse = torch.linalg.inv(torch.eye(z.shape[1], dtype=z.dtype) + scaled.T @ z)
    weights = inverse @ (scaled.T @ y)
    leverage = ((z @ inverse) * scaled).sum(1)
    return weights, (y - z @ weights) / (1 - leverage).clamp_min(1e-3)


def _principal_components(z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Directions (m, count) and offset (count,) of centred components, of unit mean square length together."""
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
    liking: NDArray[np.float64],
    level: NDArray[np.float64],
    foretold: NDArray[np.float64],
) -> tuple[Tensor, Tensor]:
    """Expectation-maximisation of the tastes' covariance and of the noise, and everybody's posterior mean.

    What a rating says of a person is measured against what the others gave that image, and against what was
    `foretold` of it without any of its ratings, each as far as it can be trusted: so nobody's rating is
    compared with itself.
    """
    user, rating = ratings.user, ratings.rating
    centred = rating - level[user]
    count = np.bincount(image)
    noise = _noise(centred - liking[image], count[image], otherwise=taste.config.generic_error)
    trust = noise / max(taste.config.generic_error, 1e-6)
    others = np.bincount(image, centred)[image] - centred
    surprise = centred - (others + trust * foretold[image]) / (count[image] - 1 + trust)
    raters = np.unique(user)
    design = torch.cat([torch.ones(len(features), 1, dtype=torch.float64), features], 1)
    evidence = [_evidence(design, image[user == u], surprise[user == u]) for u in raters]
    gram, moment = torch.stack([e[0] for e in evidence]), torch.stack([e[1] for e in evidence])
    square = float((surprise**2).sum())
    generic, components = _PRIOR_VARIANCE
    rank = features.shape[1]
    prior = torch.tensor([components, generic, *[components] * (rank - 1)], dtype=torch.float64)
    covariance, mean = torch.diag(prior), moment
    for _ in range(_ROUNDS):
        second, mean, explained = _expectation(covariance, noise, gram, moment)
        size = float((second.diagonal() / prior).mean()) / len(raters)
        covariance = (second + _PRIOR_USERS * size * torch.diag(prior)) / (len(raters) + _PRIOR_USERS)
        noise = max((square - explained) / len(user), _LEAST_NOISE)
    taste.covariance.copy_(covariance[1:, 1:])
    taste.config = replace(taste.config, noise=noise)
    tastes, levels = torch.zeros(len(level), rank, dtype=torch.float64), torch.zeros(len(level), dtype=torch.float64)
    rows = torch.from_numpy(raters)
    tastes[rows] = mean[:, 1:]
    levels[rows] = mean[:, 0] + torch.from_numpy(level[raters]) - taste.config.level
    return tastes, levels


def _noise(residual: NDArray[np.float64], count: NDArray[np.intp], *, otherwise: float) -> float:
    """Variance of ratings around their image's mean; an image rated once fits its own mean, and says nothing of it."""
    shared = count > 1
    squared = residual[shared] ** 2 * count[shared] / (count[shared] - 1)
    return max(float(squared.mean()) if len(squared) else otherwise, _LEAST_NOISE)


def _evidence(design: Tensor, image: NDArray[np.intp], surprise: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    seen = design[torch.from_numpy(image)]
    return seen.T @ seen, seen.T @ torch.from_numpy(surprise)


def _expectation(covariance: Tensor, noise: float, gram: Tensor, moment: Tensor) -> tuple[Tensor, Tensor, float]:
    """Sum of the tastes' second moments (r, r), their means (U, r), and what they explain of the squared surprise."""
    precision = torch.linalg.inv(covariance)
    second, means, explained = torch.zeros_like(covariance), [], 0.0
    for g, b in zip(gram.split(_USERS_AT_ONCE), moment.split(_USERS_AT_ONCE), strict=True):
        posterior = torch.linalg.inv(precision + g / noise)
        mean = (posterior @ b[:, :, None])[:, :, 0] / noise
        second += posterior.sum(0) + mean.T @ mean
        explained += float((2 * b * mean).sum() - torch.einsum("ui,uij,uj->", mean, g, mean) - (posterior * g).sum())
        means.append(mean)
    return second, torch.cat(means), explained
