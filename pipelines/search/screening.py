"""The screen: which of many proposals are rendered, by a prediction of their scores from their prompts.

The prediction is a ridge regression from prompt embeddings to one user's scores, fitted anew each round to all that the
history holds. It knows nothing of images, so it only ranks. A proposal too similar to a prompt that was evaluated, or
to one already kept, is not rendered.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.search.notices import Check, Notice

LEAST_SCORED = 8
"""With fewer scores there is nothing to rank by, and every proposal is rendered."""

_PENALTIES = np.logspace(-3, 3, 13)
"""In units of the mean squared singular value."""


@dataclass(frozen=True, slots=True)
class Screened:
    """The places of the proposals that are rendered, in order, and why each of the others is not."""

    kept: list[int]
    rejected: dict[int, Notice]


def screen(
    proposals: NDArray[np.floating],
    evaluated: NDArray[np.floating],
    scores: NDArray[np.floating],
    *,
    keep: int,
    novelty: float,
) -> Screened:
    """Keep the novel proposals with the highest predicted scores.

    Parameters
    ----------
    proposals
        Embeddings of unit length, shape (P, d).
    evaluated
        Embeddings of the prompts that have a score, shape (n, d); `scores` has shape (n,).
    keep
        How many at most.
    novelty
        Least 1 − cosine to every prompt that was evaluated or is kept.
    """
    predicted = predict(proposals, evaluated, scores)
    order = np.argsort(-predicted, kind="stable")
    known, kept, rejected = evaluated, [], {}
    for rank, place in enumerate(order.tolist(), start=1):
        if len(kept) == keep:
            rejected[place] = Notice(Check.SCREEN, rank, keep, f"ranked {rank} of {len(order)}")
        elif (distance := 1 - float((known @ proposals[place]).max())) < novelty:
            words = f"{max(0.0, distance):.3f} from a prompt that was evaluated, less than {novelty:g}"
            rejected[place] = Notice(Check.NOVELTY, distance, novelty, words)
        else:
            kept.append(place)
            known = np.vstack([known, proposals[place]])
    return Screened(sorted(kept), rejected)


def predict(
    proposals: NDArray[np.floating], evaluated: NDArray[np.floating], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Scores by ridge regression, shape (P,).

    The penalty is the one with the least generalised cross-validation error (Golub, Heath & Wahba 1979,
    doi:10.1080/00401706.1979.10489751); the intercept is not penalised.
    """
    centre, level = evaluated.mean(0, dtype=np.float64), float(scores.mean())
    features, target = evaluated - centre, np.asarray(scores, np.float64) - level  # (n, d), (n,)
    u, s, vt = np.linalg.svd(features, full_matrices=False)
    projected = u.T @ target
    unexplained = float(target @ target - projected @ projected)
    penalties = _PENALTIES * max(float((s**2).mean()), 1e-12)
    shrunk = s**2 / (s**2 + penalties[:, None])  # (penalties, r)
    residual = unexplained + (((1 - shrunk) * projected) ** 2).sum(1)
    freedom = np.maximum(len(scores) - 1 - shrunk.sum(1), 1e-9)
    best = int(np.argmin(residual / freedom**2))
    weights = vt.T @ (projected * s / (s**2 + penalties[best]))
    return level + (proposals - centre) @ weights
