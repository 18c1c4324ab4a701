"""The kernel of the taste model: how alike two images are to people, on the vectors of frozen encoders.

    k(x, x') = exp(-1/2 sum_p w_p |x_p - x'_p|^2)

The sum runs over the parts of the vectors – each stage of the image encoder, the prompt, the metadata –, each scaled
to unit mean square first. The weights w_p say how much a part matters to ratings. They maximise the marginal
likelihood of a Gaussian process on the images' mean ratings (Rasmussen and Williams 2006, section 5.4.1), so that no
validation set is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

_MAX_IMAGES = 800
"""The weights are fitted on a seeded sample of this size: its kernel matrix is factorised some fifty times."""

_WEIGHT_PRIOR = 0.02
"""Prior precision of the log weights: keeps the weight of an uninformative part from going to zero or infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedKernel:
    """Coordinates in which the kernel is exp(-1/2 squared distance), and the process fitted with it.

    Variances, in units of the 0..1 scale, squared: `variance` of the process, `noise` of one rating around its image's
    mean, `nugget` of what an image's mean has that its vectors do not tell.
    """

    centre: Tensor  # (D,)
    scale: Tensor  # (D,)
    weights: tuple[float, ...]
    variance: float
    noise: float
    nugget: float

    def to(self, device: str) -> "FittedKernel":
        """The same, for vectors on a device."""
        return replace(self, centre=self.centre.to(device), scale=self.scale.to(device))

    def coordinates(self, x: Tensor) -> Tensor:
        """Vectors (N, D) in these coordinates; what is missing, nan, is taken for the centre."""
        return coordinates(x, self.centre, self.scale)


def coordinates(x: Tensor, centre: Tensor, scale: Tensor) -> Tensor:
    """Vectors (N, D), nan where something is missing, in coordinates whose origin is the centre: (N, D)."""
    return (torch.where(torch.isnan(x), centre, x) - centre) * scale


def rbf(x: Tensor, landmarks: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The kernel between rows in fitted coordinates: (N, D), (M, D) -> (N, M).

    `lengths` are the landmarks' squared lengths (M,), if they are known: to compute them costs as much as all the
    rest for one image.
    """
    lengths = squared_lengths(landmarks) if lengths is None else lengths
    squared = squared_lengths(x)[:, None] + lengths - 2 * x @ landmarks.T
    return torch.exp(-0.5 * squared.clamp_min(0))


def squared_lengths(x: Tensor) -> Tensor:
    """Squared lengths of rows: (N, D) -> (N,)."""
    return (x * x).sum(1)


def fit_kernel(x: Tensor, parts: Sequence[int], mean_rating: Tensor, ratings: Tensor, *, seed: int) -> FittedKernel:
    """Fit the weights of the parts, and the process's variances.

    Parameters
    ----------
    x
        (N, D) vectors of images in double precision, without nan; of many images a sample is enough.
    parts
        Lengths of the parts, in order; they sum to D.
    mean_rating
        (N,) mean rating of each image, in units of the 0..1 scale, centred or not.
    ratings
        (N,) number of ratings behind each mean.
    """
    centre = x.mean(0)
    spread = x.std(0, correction=0) if len(x) > 1 else torch.ones_like(centre)
    units = []
    for part in torch.split(spread, list(parts)):
        typical = part.mean()  # dimensions that hardly vary are noise: they are not blown up to unit variance
        units.append(1 / (part + 1e-3 * typical) if typical > 0 else torch.zeros_like(part))
    normed = [
        (unit / _root_mean_square(values * unit))
        for unit, values in zip(units, torch.split(x - centre, list(parts), 1), strict=True)
    ]
    scale = torch.cat(normed)
    chosen = torch.from_numpy(np.random.default_rng([seed, 0x6B]).permutation(len(x))[:_MAX_IMAGES].copy())
    split = torch.split(((x - centre) * scale)[chosen], list(parts), 1)
    squared = torch.stack([_squared_distances(part) for part in split])
    weights, variance, noise, nugget = _most_likely(squared, mean_rating[chosen], ratings[chosen])
    by_dimension = torch.cat([torch.full((n,), w).sqrt() for n, w in zip(parts, weights, strict=True)]).double()
    return FittedKernel(
        centre=centre, scale=scale * by_dimension, weights=weights, variance=variance, noise=noise, nugget=nugget
    )


def _most_likely(
    squared: Tensor, mean_rating: Tensor, ratings: Tensor
) -> tuple[tuple[float, ...], float, float, float]:
    parts = len(squared)
    residual = mean_rating - mean_rating.mean()
    total = float(residual.square().mean().clamp_min(1e-6))

    def cost(values: np.ndarray) -> tuple[float, np.ndarray]:
        logs = torch.tensor(values, dtype=torch.float64, requires_grad=True)
        weights, (variance, noise, nugget) = logs[:parts].exp(), logs[parts:].exp()
        covariance = variance * torch.exp(-0.5 * (weights[:, None, None] * squared).sum(0))
        factor = torch.linalg.cholesky(covariance + torch.diag(noise / ratings + nugget))
        solved = torch.cholesky_solve(residual[:, None], factor)[:, 0]
        likelihood = -0.5 * residual @ solved - factor.diagonal().log().sum()
        loss = -likelihood + _WEIGHT_PRIOR * logs[:parts].square().sum()
        loss.backward()
        assert logs.grad is not None
        return loss.item(), logs.grad.numpy()

    start = np.log([*[0.3] * parts, total, 2 * total, 0.2 * total])
    bounds = [*[(-6.0, 3.0)] * parts, *[(np.log(total) - 5, np.log(total) + 5)] * 3]
    from scipy.optimize import minimize  # half a second, of which a scorer has no need

    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    values = np.exp(found.x)
    return tuple(values[:parts].tolist()), float(values[parts]), float(values[parts + 1]), float(values[parts + 2])


def _root_mean_square(values: Tensor) -> Tensor:
    length = values.square().sum(1).mean().sqrt()
    return length if length > 0 else torch.ones_like(length)


def _squared_distances(x: Tensor) -> Tensor:
    lengths = squared_lengths(x)
    return (lengths[:, None] + lengths - 2 * x @ x.T).clamp_min(0)
