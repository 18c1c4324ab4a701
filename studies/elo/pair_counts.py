"""Votes summed up: how often each of two conditions won, by pair and by group of votes.

Everything after this file works on counts, so its cost does not grow with the votes. A pair is an unordered one,
first < second, numbered as `numpy.triu_indices(C, 1)` orders them: P = C(C − 1)/2 of them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from studies.elo.votes import LEFT, TIE, Codes, Votes

Counts = NDArray[np.float64]
"""(…, P, 3): wins of the pair's first condition, wins of its second, ties."""

FIRST, SECOND, TIED = range(3)


@dataclass(frozen=True, slots=True)
class PairCounts:
    """Counts by group and pair, of those M cells alone that hold votes, in the order of the groups.

    Example:

        PairCounts.of(votes, votes.participant, len(votes.participants)).total()
    """

    conditions: int
    groups: int
    group: Codes
    """(M,)"""
    pair: Codes
    """(M,)"""
    count: Counts
    """(M, 3)"""

    @classmethod
    def of(cls, votes: Votes, group: Codes, groups: int) -> "PairCounts":
        """Counts of votes that are grouped by `group` (n,), from 0 to `groups` − 1."""
        conditions = len(votes.conditions)
        pair, side = outcomes_of(votes)
        pairs = pair_count(conditions)
        cell = (group * pairs + pair) * 3 + side
        if groups * pairs * 3 <= 8 * len(votes) + 1024:
            dense = np.bincount(cell, minlength=groups * pairs * 3).reshape(-1, 3)
            cells = np.flatnonzero(dense.any(1))
            count = dense[cells]
        else:
            cell.sort()
            first = np.flatnonzero(np.diff(cell, prepend=-1))
            number, cell = np.diff(first, append=len(cell)), cell[first]
            new = np.diff(cell // 3, prepend=-1) > 0
            cells, count = cell[new] // 3, np.zeros((int(new.sum()), 3))
            count[np.cumsum(new) - 1, cell % 3] = number
        return cls(conditions, groups, cells // max(1, pairs), cells % max(1, pairs), count.astype(float))

    def total(self) -> Counts:
        """Counts over all groups, shape (P, 3)."""
        pairs = pair_count(self.conditions)
        return np.stack([np.bincount(self.pair, self.count[:, n], pairs) for n in range(3)], 1).astype(float)

    def by_group(self) -> Counts:
        """Counts of each group, shape (G, P, 3): dense, for few conditions."""
        dense = np.zeros((self.groups, pair_count(self.conditions), 3))
        dense[self.group, self.pair] = self.count
        return dense


def outcomes_of(votes: Votes) -> tuple[Codes, Codes]:
    """The pair of each vote, none of which found both bad, and its outcome: FIRST, SECOND or TIED; both (n,)."""
    first, second = np.minimum(votes.left, votes.right), np.maximum(votes.left, votes.right)
    pair = first * (2 * len(votes.conditions) - first - 1) // 2 + second - first - 1
    won_by_first = (votes.left == first) == (votes.outcome == LEFT)
    return pair, np.where(votes.outcome == TIE, TIED, np.where(won_by_first, FIRST, SECOND))


def pair_count(conditions: int) -> int:
    """P, the number of unordered pairs."""
    return conditions * (conditions - 1) // 2


@lru_cache(maxsize=8)
def members(conditions: int) -> tuple[Codes, Codes]:
    """First and second condition of each pair, shapes (P,), not to be written to."""
    first, second = np.triu_indices(conditions, 1)
    first.flags.writeable = second.flags.writeable = False
    return first, second


def square(pairs: NDArray[np.float64], conditions: int) -> NDArray[np.float64]:
    """(…, P, 3) as (…, C, C): row beats column, ties not counted."""
    first, second = members(conditions)
    wins = np.zeros((*pairs.shape[:-2], conditions, conditions))
    wins[..., first, second] = pairs[..., FIRST]
    wins[..., second, first] = pairs[..., SECOND]
    return wins
