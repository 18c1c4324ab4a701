"""The screen: which of many proposals are rendered, by a prediction of their scores from their prompts.

The prediction is a ridge regression from the words of prompts to each user's scores, fitted anew each round to all
that the cohort has scored. It knows nothing of images, so it only ranks. A proposal too similar to a prompt that was
evaluated, or to one already kept, is not rendered.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.search.ngrams import NgramVocabulary
from pipelines.search.notices import Check, Notice

LEAST_SCORED = 8
"""With fewer scores there is nothing to rank by, and every proposal is rendered."""

_PENALTIES = np.logspace(-3, 3, 13)
"""In units of the mean squared singular value."""

_BLOCK = 1024
"""Prompts that are in double precision at a time."""


@dataclass(frozen=True, slots=True)
class Screened:
    """The places of the proposals that are rendered, in order, and why each of the others is not."""

    kept: list[int]
    rejected: dict[int, Notice]


class ScorePredictor:
    """Ridge regressions from one set of prompts to the scores of many users: factorised once, solved for each.

    A user's penalty is the one with the least generalised cross-validation error (Golub, Heath & Wahba 1979,
    doi:10.1080/00401706.1979.10489751); the intercept is not penalised.

    Parameters
    ----------
    evaluated
        Vectors of the N prompts that have scores, shape (N, d).
    scores
        Of M users, shape (M, N). A score that is missing (nan) counts as the user's mean; a user without any has 0.
    """

    def __init__(self, evaluated: NDArray[np.floating], scores: NDArray[np.floating]) -> None:
        self.evaluated, self._centre = evaluated, evaluated.mean(0, dtype=np.float64)
        known = ~np.isnan(scores)
        self._level = np.sum(scores, 1, dtype=np.float64, where=known) / np.maximum(known.sum(1), 1)  # (M,)
        squares, self._basis, projected, total = self._factorised(scores)  # (r,), (d, r), (r, M), (M,)
        scale = max(float(squares.sum()) / min(evaluated.shape), 1e-12)
        penalties = _PENALTIES * scale
        shrunk = squares / (squares + penalties[:, None])  # (penalties, r)
        unexplained = np.maximum(total - (projected**2).sum(0), 0.0)
        residual = unexplained + (1 - shrunk) ** 2 @ projected**2  # (penalties, M)
        freedom = np.maximum(len(evaluated) - 1 - shrunk.sum(1), 1e-9)
        best = penalties[np.argmin(residual / freedom[:, None] ** 2, 0)]  # (M,)
        self._weights = projected * (np.sqrt(squares)[:, None] / (squares[:, None] + best))  # (r, M)

    def _factorised(
        self, scores: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Squared singular values (r,), right singular vectors (d, r), targets along the left ones (r, M), and squared.

        By the smaller of the two Gram matrices, which costs a fraction of a singular value decomposition. Where that is
        of the columns, it is a sum over blocks of rows: nothing in double precision is as long as the prompts.
        """
        rows, columns = self.evaluated.shape
        if rows < columns:
            features, target = self._centred(scores, slice(None))
            squares, vectors = _eigen(features @ features.T)
            return squares, features.T @ vectors / np.sqrt(squares), vectors.T @ target, (target**2).sum(0)
        gram, cross, total = np.zeros((columns, columns)), np.zeros((columns, len(scores))), np.zeros(len(scores))
        for first in range(0, rows, _BLOCK):
            features, target = self._centred(scores, slice(first, first + _BLOCK))
            gram += features.T @ features
            cross += features.T @ target
            total += (target**2).sum(0)
        squares, vectors = _eigen(gram)
        return squares, vectors, vectors.T @ cross / np.sqrt(squares)[:, None], total

    def _centred(self, scores: NDArray[np.floating], rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Features (n, d) and targets (n, M) of some prompts, without their means; a missing target is 0."""
        target = scores[:, rows].T - self._level
        return self.evaluated[rows] - self._centre, np.where(np.isnan(target), 0.0, target)

    def predict(self, proposals: NDArray[np.floating], user: int) -> NDArray[np.float64]:
        """One user's scores of P proposals, shape (P,)."""
        return self._level[user] + (proposals - self._centre) @ self._basis @ self._weights[:, user]


def _eigen(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (r,) and eigenvectors (n, r), without those that are zero but for rounding."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-12 * max(values[-1], 1e-300)
    return values[kept], vectors[:, kept]


class FittedScreen:
    """A regression on the n-grams of what a cohort has scored, and the choice by it of the proposals to render.

    Parameters
    ----------
    prompts
        The N that have scores.
    scores
        Of M users, shape (M, N), as `ScorePredictor`.
    """

    def __init__(self, prompts: Sequence[str], scores: NDArray[np.floating]) -> None:
        self._vocabulary = NgramVocabulary(prompts)
        self._predictor = ScorePredictor(self._vocabulary.vectors(prompts), scores)

    def screen(self, proposals: Sequence[str], user: int, *, keep: int, novelty: float) -> Screened:
        """What is rendered of the proposals for one user, given by their row; the rest as the function `screen`."""
        vectors = self._vocabulary.vectors(proposals)
        predicted = self._predictor.predict(vectors, user)
        return screen(vectors, self._predictor.evaluated, predicted, keep=keep, novelty=novelty)


def screen(
    proposals: NDArray[np.floating],
    evaluated: NDArray[np.floating],
    predicted: NDArray[np.floating],
    *,
    keep: int,
    novelty: float,
) -> Screened:
    """Keep the novel proposals with the highest predicted scores.

    Parameters
    ----------
    proposals
        Vectors whose inner products are the cosines of prompts, shape (P, d).
    evaluated
        Vectors of the prompts that have scores, shape (N, d).
    predicted
        Of the proposals, shape (P,).
    keep
        How many at most.
    novelty
        Least 1 − cosine to every prompt that was evaluated or is kept.
    """
    order = np.argsort(-predicted, kind="stable")
    nearest = (proposals @ evaluated.T).max(1)  # (P,)
    among = proposals @ proposals.T
    kept: list[int] = []
    rejected: dict[int, Notice] = {}
    for rank, place in enumerate(order.tolist(), start=1):
        if len(kept) == keep:
            rejected[place] = Notice(Check.SCREEN, rank, keep, f"ranked {rank} of {len(order)}")
        elif (distance := 1 - float(max(nearest[place], among[place, kept].max(initial=-1)))) < novelty:
            words = f"{max(0.0, distance):.3f} from a prompt that was evaluated, less than {novelty:g}"
            rejected[place] = Notice(Check.NOVELTY, distance, novelty, words)
        else:
            kept.append(place)
    return Screened(sorted(kept), rejected)
