"""Few-shot episodes of unseen users: which ratings are the context, and which are the query.

Invariant: no rating is in both. Ratings of images that training knows are context first, because evaluation on unseen
images could not use them anyway.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from predictor.data.dataset import Dataset
from predictor.metrics import group_rows

ImageKind = Literal["unseen", "seen"]

MIN_QUERY = 2
"""Ratings that have to be left to evaluate a user on: fewer have no order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """One unseen user's ratings in a random order; rows of the dataset."""

    user: int
    order: NDArray[np.intp]
    """Ratings that may be context; the first k of them are."""
    query_pool: NDArray[np.intp]
    """Ratings that may be the query, unless they are context."""

    def context(self, k: int) -> NDArray[np.intp]:
        """The first k ratings."""
        return self.order[:k]

    def query(self, k: int) -> NDArray[np.intp]:
        """The ratings to evaluate on when the first k are context."""
        return np.setdiff1d(self.query_pool, self.order[:k])

    def has_enough(self, k: int) -> bool:
        """Whether there are k ratings for the context, and `MIN_QUERY` for the query."""
        return len(self.order) >= k and len(self.query(k)) >= MIN_QUERY


def sample_episodes(dataset: Dataset, split: str, *, images: ImageKind, draw: int, seed: int) -> list[Episode]:
    """One episode of each user of an unseen split.

    Parameters
    ----------
    images
        The query's images: those without a training rating (`unseen`), or those with one (`seen`).
    draw
        Another number gives another random order.
    """
    trained = np.zeros(len(dataset.images), bool)
    trained[dataset.image[dataset.rows("train")]] = True
    rows, user_ids = dataset.rows(split), dataset.user_ids
    episodes = []
    for places in group_rows(dataset.user[rows]):
        own = rows[places]
        user = int(dataset.user[own[0]])
        shuffled = np.random.default_rng([seed, draw, _of_id(user_ids[user])]).permutation(_by_id(dataset, own))
        is_trained = trained[dataset.image[shuffled]]
        first = [shuffled[is_trained], shuffled[~is_trained]]
        query_pool = own[trained[dataset.image[own]] == (images == "seen")]
        order = first[0] if images == "seen" else np.concatenate(first)
        episodes.append(Episode(user=user, order=order, query_pool=query_pool))
    return episodes


def _by_id(dataset: Dataset, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """In the order of image ids, so that the order of the ratings table does not decide the draw."""
    ids = dataset.images["image_id"]
    return rows[np.argsort([ids[int(image)].as_py() for image in dataset.image[rows]], kind="stable")]


def _of_id(user_id: str) -> int:
    return int.from_bytes(user_id.encode()[-8:], "little")
