"""Choices as comparisons of two images each, for training on those of many people at once.

    a pair, A chosen              A over B
    a tie                         half A over B, half B over A
    best of K, worst of K         over each of the others, under each of the others: K - 1 comparisons of weight 2 / K
    likes and dislikes            each is put beside one of the other kind by the same person, at random

One choice among K tells more than one pair and less than K - 1 independent ones, hence the weight (rank breaking;
Soufiani et al. 2013). People of whom there are only likes, or only dislikes, compared nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.data.dataset import DatasetChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """C comparisons by index of user and of image."""

    user: NDArray[np.int64]
    better: NDArray[np.int64]
    worse: NDArray[np.int64]
    weight: NDArray[np.float64]
    """How many pairs it is worth."""

    def __len__(self) -> int:
        return len(self.user)


def comparisons_of(choices: Iterable[DatasetChoice], *, seed: int = 0) -> Comparisons:
    """All that people's choices say of two images each; the seed is of the matches of likes with dislikes."""
    rows: list[tuple[int, int, int, float]] = []
    singles: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for choice in choices:
        if len(choice.shown) == 1:
            singles[choice.user][choice.chosen is None].append(choice.shown[0])
        else:
            rows += [(choice.user, better, worse, weight) for better, worse, weight in _compared(choice)]
    for user, (liked, disliked) in singles.items():
        rows += [(user, better, worse, 1.0) for better, worse in _matched(liked, disliked, (seed, user))]
    table = np.array(rows, np.float64).reshape(-1, 4)
    user, better, worse = table[:, :3].astype(np.int64).T
    return Comparisons(user=user, better=better, worse=worse, weight=table[:, 3].copy())


def _compared(choice: DatasetChoice) -> Iterator[tuple[int, int, float]]:
    shown, best, worst = choice.shown, choice.chosen, choice.worst
    if best is None and worst is None:
        a, b = shown  # nothing chosen of two; of more there is something
        yield a, b, 0.5
        yield b, a, 0.5
        return
    left = list(shown)
    if best is not None:
        left.remove(best)
        yield from ((best, other, 2 / len(shown)) for other in left)
    if worst is not None and len(left) > 1:
        yield from ((other, worst, 2 / len(left)) for other in left if other != worst)


def _matched(liked: list[int], disliked: list[int], seed: tuple[int, int]) -> Iterator[tuple[int, int]]:
    if not liked or not disliked:
        return
    rng = np.random.default_rng([*seed, 0x11])
    count = max(len(liked), len(disliked))
    sides = [np.resize(rng.permutation(side), count).tolist() for side in (liked, disliked)]
    yield from ((a, b) for a, b in zip(*sides, strict=True) if a != b)
