"""How alike two images look to people: a kernel over what the frozen encoders see, fitted to mean ratings.

    k(x, x') = exp(-1/2 sum_p w_p |x_p - x'_p|^2)

The sum runs over parts of the vectors – each stage of the image encoder, the prompt, the metadata –, each
brought to unit mean square first. The weights w_p say how much a part matters to people's liking. They are
found by maximising the marginal likelihood of a Gaussian process on the images' mean ratings (Rasmussen and
Williams 2006, section 5.4.1): no validation set is spent on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_MOST_IMAGES = 800
"""The weights are fitted on a seeded sample of this size: its kernel matrix is factorised some fifty times."""

_WEIGHT_PRIOR = 0.02
"""Precision of the log weights: keeps a part that says nothing from running off to zero or infinity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedKernel:
    """Coordinates in which the kernel is exp(-1/2 squared distance), and the process fitted with it.

    `variance` is of the images' mean liking over the kernel, `noise` of one rating around an image's mean,
    `nugget` of what an image has beyond its vectors; all on the 0..1 scale, squared.
    """

    centre: Tensor  # (D,)
    scale: Tensor  # (D,)
    weights: tuple[float, ...]
    variance: float
    noise: float
    nugget: float


def rbf(x: Tensor, landmarks: Tensor, lengths: Tensor | None = None) -> Tensor:
    """The kernel between rows in fitted coordinates: (N, D), (M, D) -> (N, M).

    `lengths` are the landmarks' squared lengths (M,), where they are at hand: for one image they cost as
    much as all the rest.
    """
    lengths = squared_lengths(landmarks) if lengths is None else lengths
    squared = squared_lengths(x)[:, None] + lengths - 2 * x @ landmarks.T
    return torch.exp(-0.5 * squared.clamp_min(0))


def squared_lengths(x: Tensor) -> Tensor:
    """Of rows: (N, D) -> (N,)."""
    return (x * x).sum(1)


def fit_kernel(x: Tensor, parts: Sequence[int], liking: Tensor, ratings: Tensor, *, seed: int) -> FittedKernel:
    """Fit the weights of the parts.

    Parameters
    ----------
    x
        (N, D) vectors of images in double precision, without nan.
    parts
        Lengths of the parts, in order; they sum to D.
    liking
        (N,) mean liking of each image, 0 to 1, centred or not.
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
    chosen = torch.from_numpy(np.random.default_rng([seed, 0x6B]).permutation(len(x))[:_MOST_IMAGES].copy())
    split = torch.split(((x - centre) * scale)[chosen], list(parts), 1)
    squared = torch.stack([_squared_distances(part) for part in split])
    weights, variance, noise, nugget = _most_likely(squared, liking[chosen], ratings[chosen])
    by_dimension = torch.cat([torch.full((n,), w).sqrt() for n, w in zip(parts, weights, strict=True)]).double()
    return FittedKernel(
        centre=centre, scale=scale * by_dimension, weights=weights, variance=variance, noise=noise, nugget=nugget
    )


def _most_likely(squared: Tensor, liking: Tensor, ratings: Tensor) -> tuple[tuple[float, ...], float, float, float]:
    parts = len(squared)
    residual = liking - liking.mean()
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
