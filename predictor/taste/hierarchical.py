"""The taste model: a hierarchical Bayesian regression on frozen image features.

    rating of image i by user u  =  level + generic(i) + level_u + features(i) . taste_u + noise
    taste_u ~ Normal(0, covariance)

`generic` is what an image gets from everybody: a Gaussian process fitted to the images' mean ratings. A user's taste
weighs the image features: `generic` itself (some people agree with the others more than some do) and the leading
kernel principal components of the training images. The covariance of the tastes is learnt from all users' ratings by
expectation-maximisation (random-effects model, Laird and Ware 1982; as multi-task Gaussian process, Yu, Tresp and
Schwaighofer 2005), and from their comparisons of images, which are taken for measurements of differences (`pairwise`).
It is the prior under which a new user's taste is inferred from a few ratings: the fewer and the
noisier they are, the closer the taste stays to zero, where the prediction is the generic one.

Everything is in closed form and in double precision: no learning rate. How alike two images
are is left to `kernel`, the Gaussian process on many images to `nystroem`, the tastes and their covariance to
`expectation_maximisation`, a new user's taste to `posterior`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from predictor.data.comparisons import Comparisons
from predictor.encoders.encoding import Images
from predictor.taste.expectation_maximisation import UserTastes, learn_tastes
from predictor.taste.kernel import coordinates, rbf, squared_lengths
from predictor.taste.nystroem import RatedImages, Ridge, landmark_count, principal_components, vectors
from predictor.taste.training_answers import MIN_NOISE, Ratings, TrainingAnswers
from predictor.threads import one_thread, thread_map

_AT_ONCE = 2048
"""Images of which a thread computes the features: with 2,000 landmarks, some 100 MB."""


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
    """Variance of the error of `generic` for an unseen image, by leaving out each training image with its group."""
    answer_noise: float | None = None
    """Noise variance of one rating of an unseen image around its predicted score, calibrated on validation ratings;
    None: `perceived_noise`. It is larger on images unlike those of training, whose features explain less of a person's
    liking."""
    tie_zone: float = 0.05
    """Two images whose perceived utilities differ by less are called alike; chosen on validation ratings."""

    @property
    def perceived_noise(self) -> float:
        """Variance with which an unseen image is perceived where it is compared with others."""
        return self.noise + self.generic_error


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFeatures:
    """Features of N images, the same for all users."""

    generic: Tensor  # (N,), the predicted rating beyond the mean level
    values: Tensor  # (N, rank), what a taste weighs

    def __getitem__(self, rows: Any) -> "ImageFeatures":
        return ImageFeatures(generic=self.generic[rows], values=self.values[rows])

    def __len__(self) -> int:
        return len(self.generic)


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
        """Features of images; many of them a block a core."""
        generic = torch.empty(len(images), dtype=torch.float64)
        values = torch.empty(len(images), self.config.rank, dtype=torch.float64)
        points = self._points

        def compute(first: int) -> None:
            block = slice(first, first + _AT_ONCE)
            with torch.inference_mode():  # which is a thread's own
                near = rbf(coordinates(vectors(images[block]), self.centre, self.scale), *points)
                generic[block] = near @ self.generic
                values[block] = near @ self.basis - self.offset

        blocks = range(0, len(images), _AT_ONCE)
        with one_thread():
            for _ in thread_map(compute, blocks) if len(blocks) > 1 else map(compute, blocks):  # a scorer has one image
                pass
        return ImageFeatures(generic=generic, values=values)

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


def fit_taste(
    images: Images,
    ratings: Ratings,
    *,
    users: int,
    parts: Sequence[int],
    seed: int,
    comparisons: Comparisons | None = None,
    dataset: NDArray[np.int64] | None = None,
    group: NDArray[np.int64] | None = None,
    rank: int = 128,
    landmarks: int | None = None,
    device: str = "cpu",
) -> tuple[Taste, UserTastes]:
    """Fit the taste model to the training ratings, and to comparisons of images by the same people.

    Of all images only the features are in memory at once; vectors are read in blocks, twice.

    Parameters
    ----------
    images
        All images; those without an answer are ignored.
    ratings
        The training ratings.
    users
        How many users there are.
    parts
        Lengths of the parts of the image vectors, each with a weight of its own in the kernel; they sum to the image
        dimensions.
    dataset
        (users,), which of several datasets each user is of; None: all are of one.
    group
        (images,), by number what each image belongs to: the generic error is that of images of other groups; None: each
        image is its own.
    rank, landmarks
        Upper limits of the number of features, and of the training images that the kernel is evaluated at (Nyström);
        by default as `landmark_count` says.
    device
        Where the products and factorisations of large matrices are computed; what comes of it is on the CPU.
    """
    with one_thread():
        answers = TrainingAnswers.of(ratings, comparisons, users, dataset)
        parts = (*parts, images.prompt.shape[1], images.metadata.shape[1])
        most = landmark_count(len(answers.rated)) if landmarks is None else landmarks
        rated = RatedImages.of(images, answers, parts, seed=seed, landmarks=most, device=device)
        ridge = rated.ridge()
        taste = _taste_of(rated, ridge, answers, rank)
        features, left_out, of_others = rated.features_and_residuals(taste.basis, taste.offset, ridge, group)
        covariance, noise, found = learn_tastes(features, answers, left_out.numpy(), device=device)
        taste.covariance.copy_(covariance)
        generic_error = _generic_error(of_others.numpy(), answers.count, answers.sampling)
        taste.config = replace(taste.config, noise=noise, generic_error=generic_error)
        return taste, found


def _taste_of(rated: RatedImages, ridge: Ridge, answers: TrainingAnswers, rank: int) -> Taste:
    """The model as far as it is the same for everybody; what tastes weigh is scaled over the sample of images."""
    weights, z = ridge.weights * rated.kernel.variance**0.5, rated.near(rated.sample) @ rated.whiten
    fitted = z @ weights
    components, offset = principal_components(z, min(rank - 1, len(z) - 1, z.shape[1]))
    spread = fitted.std(correction=0).clamp_min(1e-6)
    taste = Taste(
        TasteConfig(
            dimensions=rated.points.shape[1],
            landmarks=len(rated.points),
            rank=1 + components.shape[1],
            level=answers.mean_level,
            level_variance=answers.level_variance,
        )
    )
    taste.centre.copy_(rated.kernel.centre)
    taste.scale.copy_(rated.kernel.scale)
    taste.landmarks.copy_(rated.points)
    taste.generic.copy_(rated.whiten @ weights)
    taste.basis.copy_(rated.whiten @ torch.cat([(weights / spread)[:, None], components], 1))
    taste.offset.copy_(torch.cat([(fitted.mean() / spread)[None], offset]))
    return taste


def _generic_error(left_out: NDArray[np.float64], count: NDArray[np.float64], sampling: float) -> float:
    """Variance of the generic prediction's error, without the sampling noise of the mean ratings it is compared with.

    Parameters
    ----------
    left_out
        (I,), each image's mean rating minus its prediction by a fit without it and what it belongs to.
    count
        (I,), how many ratings that mean is worth.
    sampling
        Variance of one rating around it.
    """
    return max(float(np.mean(left_out**2 - sampling / count)), MIN_NOISE)
