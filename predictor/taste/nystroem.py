"""The Nyström approximation of the Gaussian process, for more training images than a full covariance has room for.

Landmarks are images drawn at random (Williams and Seeger 2001). Vectors are read a block at a time, so memory holds one
block in double precision, whatever the number of images; means and variances are estimated on a sample of that size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from predictor.encoders.encoding import Images
from predictor.taste.kernel import FittedKernel, fit_kernel, rbf
from predictor.taste.training_answers import TrainingAnswers

BLOCK = 8192
"""Images in a block, and in the sample."""

_MIN_ONE_MINUS_LEVERAGE = 1e-3
"""Lower bound of 1 - leverage, so that leave-one-out residuals stay finite."""


def landmark_count(images: int) -> int:
    """The most landmarks for so many training images: 1,024, and beyond 65,536 images four times their square root.

    Of the order of the square root are enough for the rate of the exact regression (Rudi, Camoriano and Rosasco 2015).
    """
    return max(1024, int(4 * images**0.5))


def vectors(images: Images, device: str = "cpu") -> Tensor:
    """Image, prompt and metadata vectors, concatenated: (N, D), in double precision; nan where one is missing."""
    return torch.cat([images.image, images.prompt, images.metadata], 1).to(device).double()


class Ridge:
    """Regression y = z w + error with w ~ Normal(0, 1), whose rows are added a block at a time."""

    def __init__(self, dimensions: int, device: str = "cpu") -> None:
        self._gram = torch.eye(dimensions, dtype=torch.float64, device=device)
        self._moment = torch.zeros(dimensions, dtype=torch.float64, device=device)

    def add(self, z: Tensor, y: Tensor, error: Tensor) -> None:
        """Add rows z (N, m) with y and the variance of the error, (N,) each."""
        scaled = z / error[:, None]
        self._gram += scaled.T @ z
        self._moment += scaled.T @ y

    def left_out(self, z: Tensor, y: Tensor, error: Tensor) -> Tensor:
        """Residuals (N,) of rows that were added, each by a fit without it."""
        leverage = ((z @ self._inverse) * (z / error[:, None])).sum(1)
        return (y - z @ self.weights) / (1 - leverage).clamp_min(_MIN_ONE_MINUS_LEVERAGE)

    def left_out_together(self, z: Tensor, y: Tensor, error: Tensor, groups: Sequence[Tensor]) -> Tensor:
        """Residuals (N,) of rows that were added, each by a fit without its group; `groups` are places in the rows.

        (I - S)^-1 r for each group, with its block S of the hat matrix (Cook and Weisberg 1982, section 3.6).
        """
        root = error.sqrt()
        scaled, residual = z / root[:, None], (y - z @ self.weights) / root
        seen, found = scaled @ self._inverse, torch.empty_like(residual)
        for rows in groups:
            values, directions = torch.linalg.eigh(seen[rows] @ scaled[rows].T)
            left = (1 - values).clamp_min(_MIN_ONE_MINUS_LEVERAGE)
            found[rows] = directions @ ((directions.T @ residual[rows]) / left)
        return found * root

    @cached_property
    def weights(self) -> Tensor:
        """The posterior mean (m,), once all rows are added."""
        return self._inverse @ self._moment

    @cached_property
    def _inverse(self) -> Tensor:
        return torch.linalg.inv(self._gram)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedImages:
    """The I images of the training answers, as the kernel sees them from its landmarks.

    Rows are on the CPU, where the images are; all else is on `device`, to which vectors come a block at a time.
    """

    images: Images
    """All images."""
    device: str
    rated: Tensor  # (I,), rows of `images`
    effect: Tensor  # (I,), what all people say of each
    error: Tensor  # (I,), the variance of its error
    kernel: FittedKernel
    points: Tensor  # (M, D), the landmarks in the kernel's coordinates
    whiten: Tensor  # (M, m), turns kernel columns into coordinates z whose inner products are the kernel
    sample: Tensor  # (S,), places in `rated`

    @classmethod
    def of(
        cls,
        images: Images,
        answers: TrainingAnswers,
        parts: Sequence[int],
        *,
        seed: int,
        landmarks: int,
        device: str = "cpu",
    ) -> "RatedImages":
        """Fit the kernel, and draw so many landmarks, or as many as there are images."""
        rated, sample = torch.from_numpy(answers.rated), _sample(len(answers.rated), seed)
        effect, count = torch.from_numpy(answers.image_effect), torch.from_numpy(answers.count).double()
        x = vectors(images[rated[sample]])
        x = torch.where(torch.isnan(x), torch.nanmean(x, 0).nan_to_num(0.0), x)
        kernel = fit_kernel(x, parts, effect[sample], count[sample], seed=seed).to(device)
        chosen = torch.from_numpy(np.random.default_rng([seed, 0x4C]).permutation(len(rated))[:landmarks].copy())
        points = kernel.coordinates(vectors(images[rated[chosen]], device))
        points = points.float().double()  # as a checkpoint keeps them
        return cls(
            images=images,
            device=device,
            rated=rated,
            effect=effect.to(device),
            error=(kernel.noise / count + kernel.nugget).to(device),
            kernel=kernel,
            points=points,
            whiten=_whitening(points),
            sample=sample,
        )

    def near(self, rows: Tensor) -> Tensor:
        """The kernel between some of these images and the landmarks, (N, M)."""
        return rbf(self.kernel.coordinates(vectors(self.images[self.rated[rows]], self.device)), self.points)

    def ridge(self) -> Ridge:
        """The regression of the effects on the coordinates."""
        ridge = Ridge(self.whiten.shape[1], self.device)
        for rows in self._blocks:
            ridge.add(self._z(self.near(rows)), self.effect[rows], self.error[rows])
        return ridge

    def features_and_residuals(
        self, basis: Tensor, offset: Tensor, ridge: Ridge, group: NDArray[np.int64] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features (I, r) by a basis (M, r), and residuals of the regression, each without the image or its group.

        All of them are on the CPU.

        Parameters
        ----------
        group
            Of each of all images, by number; None: each is its own, and both kinds of residuals are the same.
        """
        basis, offset = basis.to(self.device), offset.to(self.device)
        features = torch.empty(len(self.rated), len(offset), dtype=torch.float64)
        without_image, without_group = torch.empty(2, len(self.rated), dtype=torch.float64)
        groups = None if group is None else _places(group[self.rated.numpy()])
        for rows, together in [(rows, ()) for rows in self._blocks] if groups is None else _in_blocks(groups):
            near, y, error = self.near(rows), self.effect[rows], self.error[rows]
            z = self._z(near)
            features[rows] = (near @ basis - offset).cpu()
            without_image[rows] = ridge.left_out(z, y, error).cpu()
            without_group[rows] = without_image[rows]
            if together:
                without_group[rows] = ridge.left_out_together(z, y, error, together).cpu()
        return features, without_image, without_group

    def _z(self, near: Tensor) -> Tensor:
        """Coordinates in units of the process's variance."""
        return near @ self.whiten * self.kernel.variance**0.5

    @property
    def _blocks(self) -> Sequence[Tensor]:
        return torch.arange(len(self.rated)).split(BLOCK)


def principal_components(z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Directions (m, count) and offset (count,) of the centred components, whose mean squared length is scaled to 1."""
    centred = z - z.mean(0)
    directions = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :count]
    largest = directions.abs().argmax(0)  # eigenvectors come with either sign
    directions = directions * directions[largest, torch.arange(count, device=z.device)].sign()
    directions = directions / (centred @ directions).square().sum(1).mean().sqrt().clamp_min(1e-12)
    return directions, z.mean(0) @ directions


def _places(group: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """The places of each group, in parts of a block at most."""
    order = np.argsort(group, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return [own[first : first + BLOCK] for own in groups for first in range(0, len(own), BLOCK)]


def _in_blocks(groups: Sequence[NDArray[np.intp]]) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Rows of a block of whole groups, and where in it each group is."""
    block: list[NDArray[np.intp]] = []
    for number, own in enumerate(groups, start=1):
        block.append(own)
        if number == len(groups) or sum(map(len, block)) + len(groups[number]) > BLOCK:
            rows = torch.from_numpy(np.concatenate(block))
            yield rows, list(torch.arange(len(rows)).split([len(each) for each in block]))
            block = []


def _sample(count: int, seed: int) -> Tensor:
    """Rows, in order, over which moments are taken: all, or a block of many."""
    if count <= BLOCK:
        return torch.arange(count)
    return torch.from_numpy(np.sort(np.random.default_rng([seed, 0x53]).permutation(count)[:BLOCK]))


def _whitening(points: Tensor) -> Tensor:
    """A matrix (M, m) that turns kernel columns into coordinates whose inner products are the kernel (Nyström)."""
    values, directions = torch.linalg.eigh(rbf(points, points))
    kept = values > 1e-9 * values[-1]
    return directions[:, kept] / values[kept].sqrt()
