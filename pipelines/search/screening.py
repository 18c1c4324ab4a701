"""Which of many proposals are worth drawing, by what this user's scorer said of the prompts that were drawn before.

A ridge regression from the embeddings of prompts to scores, fitted anew each time to all that a history holds. It knows
nothing of images, so it only ranks; what is too like a prompt that was tried, or chosen before it, is not drawn at all.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SCORED = 8
"""With fewer scores there is nothing to rank by, and every proposal is drawn."""

_PENALTIES = np.logspace(-3, 3, 13)
"""In units of the mean squared singular value."""


@dataclass(frozen=True, slots=True)
class Screened:
    """The places of the proposals that are drawn, in order, and why each of the others is not."""

    drawn: list[int]
    rejected: dict[int, str]


def screen(
    proposals: NDArray[np.floating],
    tried: NDArray[np.floating],
    scores: NDArray[np.floating],
    *,
    keep: int,
    novelty: float,
) -> Screened:
    """Keep the proposals that promise most, each of them new.

    Parameters
    ----------
    proposals
        Embeddings of unit length, shape (P, d).
    tried
        Of the prompts that have a score, shape (n, d); `scores` has shape (n,).
    keep
        How many at most.
    novelty
        Least of 1 − cosine to every prompt that was tried or is kept.
    """
    promise = predict(proposals, tried, scores)
    order = np.argsort(-promise, kind="stable")
    known, drawn, rejected = tried, [], {}
    for rank, place in enumerate(order.tolist(), start=1):
        if len(drawn) == keep:
            rejected[place] = f"screen: ranked {rank} of {len(order)}"
        elif (new := 1 - float((known @ proposals[place]).max())) < novelty:
            rejected[place] = f"novelty: {max(0.0, new):.3f} from a prompt that was tried, less than {novelty:g}"
        else:
            drawn.append(place)
            known = np.vstack([known, proposals[place]])
    return Screened(sorted(drawn), rejected)


def predict(
    proposals: NDArray[np.floating], tried: NDArray[np.floating], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Scores by ridge regression, shape (P,).

    The penalty is the one with the least generalised cross-validation error (Golub, Heath & Wahba 1979,
    doi:10.1080/00401706.1979.10489751); the intercept is not penalised.
    """
    centre, level = tried.mean(0, dtype=np.float64), float(scores.mean())
    features, target = tried - centre, np.asarray(scores, np.float64) - level  # (n, d), (n,)
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
