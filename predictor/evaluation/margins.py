"""The effect of near-ties (paper, section 7.2, figure 11): pairwise accuracy of ratings at least a margin apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from predictor.metrics import Index, Interval, Vector, group_rows, means_over_users, pairwise_accuracy_by_margin

MARGINS = tuple(step / 20 for step in range(11))
"""0 to half of the scale; a quarter is one step of a five-point scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearTies:
    """Pairwise accuracy at one margin."""

    margin: float
    """In units of the rating, 0 to 1."""
    n_pairs: int
    n_users: int
    """Users with a pair that is left; the mean is over these."""
    accuracy: Mapping[str, Interval]
    """By the name of the score; undefined where no pair is left or no user's scores are all numbers."""

    def as_dict(self) -> dict[str, object]:
        return {
            "margin": self.margin,
            "n_pairs": self.n_pairs,
            "n_users": self.n_users,
            "accuracy": {name: interval.as_dict() for name, interval in self.accuracy.items()},
        }


def near_tie_curve(
    user: Index,
    rating: Vector,
    scores: Mapping[str, Vector],
    *,
    margins: Sequence[float] = MARGINS,
    seed: int = 0,
    replicates: int = 2000,
) -> list[NearTies]:
    """Mean over users of the pairwise accuracy, margin by margin, with a bootstrap of the users.

    The resampled users are the same for all scores and margins.

    Parameters
    ----------
    user, rating
        Shape (R,); ratings from 0 to 1.
    scores
        Name -> shape (R,). A user one of whose scores is nan has no accuracy by that name.

    Raises
    ------
    ValueError
        The margins are negative or do not ascend.
    """
    groups = list(group_rows(user))
    accuracy = np.full((len(groups), len(scores), len(margins)), np.nan)  # (U, S, M)
    pairs = np.zeros((len(groups), len(margins)), np.int64)  # (U, M)
    for number, rows in enumerate(groups):
        own = [score[rows] for score in scores.values()]
        accuracy[number], pairs[number] = pairwise_accuracy_by_margin(rating[rows], own, margins)
    columns = {(m, name): accuracy[:, s, m] for m in range(len(margins)) for s, name in enumerate(scores)}
    means = means_over_users(columns, seed=seed, replicates=replicates)
    return [
        NearTies(
            margin=float(margin),
            n_pairs=int(pairs[:, m].sum()),
            n_users=int((pairs[:, m] > 0).sum()),
            accuracy={name: means[m, name] for name in scores},
        )
        for m, margin in enumerate(margins)
    ]
