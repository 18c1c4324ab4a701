"""Which image, pair or set of images to ask a person about next: the one that should improve their ranking most.

A ranking is right about a pair of images with the probability that their difference has the expected sign. A question
is worth the mean of that over many pairs, in expectation over its answer (for a rating, of a Gaussian posterior, in
closed form; for a choice, over samples of the taste). What is most uncertain is often not what ranks: asking there, as
D- and V-optimal designs do, hardly helped on real people.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from predictor.taste.hierarchical import ImageFeatures, Taste
from predictor.taste.posterior import Posterior, covariance_factor
from predictor.threads import one_thread

_CANDIDATES, _PAIRS, _SETS, _SAMPLES = 256, 300, 160, 256
_NODES, _WEIGHTS = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(9))


def next_question(
    taste: Taste,
    known: Posterior,
    features: ImageFeatures,
    askable: NDArray[np.intp],
    *,
    size: int = 1,
    rng: np.random.Generator,
) -> list[int]:
    """The images of the next question, rows of `features`.

    Of many candidates a sample is compared: the best of 256 is hardly worse than the best of 10,000.

    Parameters
    ----------
    features
        Of the images that are to be ranked, N of them.
    askable
        Rows of those that may be shown.
    size
        1: an image to be rated or liked. 2: a pair. More: a choice of the best.

    Raises
    ------
    ValueError
        There are fewer images to ask about than the question needs.
    """
    if not 1 <= size <= len(askable):
        raise ValueError(f"a question of {size} images needs as many to choose from, got {len(askable)}")
    with one_thread(), torch.inference_mode():
        candidates = rng.permutation(askable)[:_CANDIDATES]
        first, second = ranked_pairs(len(features), rng)
        rows = covariance_factor(known.factor, features[np.concatenate([candidates, first, second])])
        shown, a, b = rows.split([len(candidates), len(first), len(second)])
        utility = features.generic + features.values @ known.taste
        mean, noise = utility[first] - utility[second], taste.config.perceived_noise
        if size == 1:
            explained = ((a - b) @ shown.T).square() / (shown.square().sum(1) + noise)
            best = expected_accuracy(mean, (a - b).square().sum(1), explained).argmax()
            return [int(candidates[int(best)])]
        sets = np.stack([rng.permutation(len(candidates))[:size] for _ in range(_SETS)])
        samples = torch.from_numpy(rng.normal(size=(_SAMPLES, rows.shape[1])))
        liked = utility[candidates] + samples @ shown.T  # (samples, candidates)
        shares = torch.softmax(liked[:, sets] * torch.pi / (6 * noise) ** 0.5, 2)  # (samples, sets, size)
        right = (mean + samples @ (a - b).T > 0).double()  # (samples, pairs)
        return candidates[sets[int(_accuracy_after(shares, right).argmax())]].tolist()


def ranked_pairs(count: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Random pairs of different images, by which a ranking is judged."""
    first, second = rng.integers(0, count, (2, _PAIRS))
    different = first != second
    return first[different], second[different]


def expected_accuracy(mean: Tensor, variance: Tensor, explained: Tensor) -> Tensor:
    """Mean probability that pairs are ordered rightly once an answer has been given; shape (candidates,).

    The mean over z of Phi(|m + c z| / sqrt(v - c²)), by Gauss-Hermite quadrature.

    Parameters
    ----------
    mean, variance
        m and v, (pairs,): of the difference of utility, now.
    explained
        c², (pairs, candidates): the part of the variance that the answer would tell.
    """
    explained = explained.clamp_max(variance[:, None])
    left, moved = (variance[:, None] - explained).clamp_min(1e-15).sqrt(), explained.sqrt()
    accuracy = torch.zeros(explained.shape[1], dtype=torch.float64)
    for node, weight in zip(_NODES.tolist(), (_WEIGHTS / _WEIGHTS.sum()).tolist(), strict=True):
        accuracy += weight * torch.special.ndtr((mean[:, None] + node * moved).abs() / left).mean(0)
    return accuracy


def _accuracy_after(shares: Tensor, right: Tensor) -> Tensor:
    """Mean accuracy over the pairs after each set's answer; (samples, sets, size), (samples, pairs) -> (sets,)."""
    samples, sets, size = shares.shape
    joint = shares.reshape(samples, -1).T @ right / samples  # (sets * size, pairs): this answer, and first over second
    answer = shares.reshape(samples, -1).mean(0)[:, None]
    return torch.maximum(joint, answer - joint).mean(1).reshape(sets, size).sum(1)
