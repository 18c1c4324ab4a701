"""Which ratings of an unseen user are the context, and which count: never the same."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from predictor.data.dataset import Dataset

ImageKind = Literal["unseen", "seen"]

FEWEST = 2
"""Ratings that have to be left to evaluate a user on: fewer have no order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """One unseen user and one order in which the system comes to know their ratings; rows of the dataset."""

    user: int
    order: NDArray[np.intp]
    """Ratings that may be context, the first k of them are."""
    counted: NDArray[np.intp]
    """Ratings that may be evaluated on, if they are not context."""

    def context(self, k: int) -> NDArray[np.intp]:
        return self.order[:k]

    def evaluated(self, k: int) -> NDArray[np.intp]:
        """What is left to evaluate on when the first k are context."""
        return np.setdiff1d(self.counted, self.order[:k])

    def has_enough(self, k: int) -> bool:
        return len(self.order) >= k and len(self.evaluated(k)) >= FEWEST


def meetings(dataset: Dataset, split: str, *, images: ImageKind, draw: int, seed: int) -> list[Meeting]:
    """One meeting with each user of an unseen split.

    Parameters
    ----------
    images
        Which images count: those that no training rating touches, or those that training knows.
    draw
        Another number gives another random order.
    """
    known = np.zeros(len(dataset.images), bool)
    known[dataset.image[dataset.rows("train")]] = True
    rows = dataset.rows(split)
    met = []
    for user in np.unique(dataset.user[rows]):
        own = rows[dataset.user[rows] == user]
        shuffled = np.random.default_rng([seed, draw, _of_id(dataset.user_ids[user])]).permutation(_by_id(dataset, own))
        is_known = known[dataset.image[shuffled]]
        first = [shuffled[is_known], shuffled[~is_known]]
        counted = own[known[dataset.image[own]] == (images == "seen")]
        met.append(
            Meeting(user=int(user), order=first[0] if images == "seen" else np.concatenate(first), counted=counted)
        )
    return met


def _by_id(dataset: Dataset, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """In the order of image ids, so that the order of the ratings table does not decide the draw."""
    ids = dataset.images["image_id"]
    return rows[np.argsort([ids[int(image)].as_py() for image in dataset.image[rows]], kind="stable")]


def _of_id(user_id: str) -> int:
    return int.from_bytes(user_id.encode()[-8:], "little")
