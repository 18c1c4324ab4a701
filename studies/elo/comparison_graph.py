"""Whether counts have a finite maximum of the likelihood at all, for one study or many replicates at once.

Conditions are the nodes. Plain Bradley–Terry has a unique finite maximum if and only if every condition is
reached from every other by edges "was not beaten by" (Ford 1957, "Solution of a ranking problem from binary
comparisons", Am. Math. Monthly 64): if not, some conditions always won against all the others. Davidson's tie
parameter asks for more; see `has_finite_ties`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from studies.elo.pair_counts import FIRST, SECOND, TIED, Counts, PairCounts, members

Mask = NDArray[np.bool_]


def refuse_disconnected(counts: Counts, conditions: Sequence[str]) -> None:
    """Counts (P, 3) of conditions that no chain of comparisons joins.

    Raises
    ------
    ValueError
        There are several parts; the message names them.
    """
    compared = _compared(counts.sum(-1)[None], len(conditions))
    parts = _parts(_reachable(compared)[0])
    if len(parts) > 1:
        names = "; ".join(f"({number}) {_listed(conditions, part)}" for number, part in enumerate(parts, 1))
        raise ValueError(
            f"the comparisons fall into {len(parts)} parts that nobody compared with each other: {names}; "
            "collect votes between the parts, or report one part with --conditions, the largest with --largest-part"
        )


def largest_part(counts: Counts, conditions: int) -> list[int]:
    """Of counts (P, 3), the most conditions that a chain of comparisons joins; of equally many, those of most votes."""
    votes, (first, second) = counts.sum(-1), members(conditions)
    parts = _parts(_reachable(_compared(votes[None], conditions))[0])

    def size(part: list[int]) -> tuple[int, float]:
        return len(part), float(votes[np.isin(first, part) & np.isin(second, part)].sum())

    return max(parts, key=size)


def dominances(counts: Counts, conditions: Sequence[str]) -> list[str]:
    """In words, which conditions always won against which; empty if every maximum is finite. Counts (P, 3)."""
    reach = _reachable(_not_lost(counts[None], len(conditions)))[0]
    parts = _parts(reach & reach.T)
    if len(parts) == 1:
        return []
    told = []
    for part in parts:
        outside = [n for n in range(len(conditions)) if n not in part]
        always = not reach[np.ix_(outside, part)].any()
        never = not reach[np.ix_(part, outside)].any()
        if always or never:
            told.append(f"{_listed(conditions, part)} {'never lost' if always else 'never won'} against any other")
    return told


def has_finite_fit(counts: Counts, conditions: int) -> Mask:
    """Which replicates (B, P, 3) have a finite Bradley–Terry fit; shape (B,)."""
    return _all_true(_reachable(_not_lost(counts, conditions)))


def has_finite_ties(counts: Counts, conditions: int) -> Mask:
    """Which replicates (B, P, 3), of those with a finite Bradley–Terry fit, have finite log ties ν, too; shape (B,).

    The likelihood rises for ever along ln ν → ∞ if strengths exist that lie 2 or more apart, in the right order,
    wherever a vote was decided, and 2 or less wherever it was a tie. Such differences exist if and only if the graph
    with weight −2 for a win and +2 for a tie has no negative cycle. Replicates without ties count as finite: ν is 0.
    """
    first, second = members(conditions)
    both_won = (counts[..., FIRST] > 0) & (counts[..., SECOND] > 0)
    finite = np.asarray(both_won.any(-1) | ~(counts[..., TIED] > 0).any(-1))
    rest = np.flatnonzero(~finite)
    if len(rest):
        least = np.full((len(rest), conditions, conditions), np.inf)
        for winner, loser, outcome in ((first, second, FIRST), (second, first, SECOND)):
            tie = np.where(counts[rest][..., TIED] > 0, 2.0, np.inf)
            least[:, winner, loser] = np.where(counts[rest][..., outcome] > 0, -2.0, tie)
        for via in range(conditions):
            least = np.minimum(least, least[:, :, via, None] + least[:, via, None, :])
        finite[rest] = (np.diagonal(least, axis1=1, axis2=2) < 0).any(1)
    return finite


def _not_lost(counts: Counts, conditions: int) -> Mask:
    """(B, C, C): the row beat the column, or tied with it, at least once."""
    first, second = members(conditions)
    edges = np.zeros((len(counts), conditions, conditions), bool)
    tied = counts[..., TIED] > 0
    edges[:, first, second] = (counts[..., FIRST] > 0) | tied
    edges[:, second, first] = (counts[..., SECOND] > 0) | tied
    return edges


def _compared(votes: NDArray[np.float64], conditions: int) -> Mask:
    """(B, C, C), symmetric: there is a vote (B, P) between the two."""
    first, second = members(conditions)
    edges = np.zeros((len(votes), conditions, conditions), bool)
    edges[:, first, second] = edges[:, second, first] = votes > 0
    return edges


def groups_that_join(counts: PairCounts, prior: float = 0.0) -> tuple[int, ...]:
    """Groups of votes without which the comparisons would fall into parts; none with a prior, which joins them."""
    own, total = counts.count.sum(1), counts.total().sum(1)
    only = np.flatnonzero(own == total[counts.pair])
    if prior > 0 or counts.groups < 2 or not len(only):
        return ()
    first, second = members(counts.conditions)
    adjacent = _compared(total[None], counts.conditions)[0].astype(np.float32)
    found = []
    for rows in np.split(only, np.flatnonzero(np.diff(counts.group[only])) + 1):
        a, b = (side[counts.pair[rows]] for side in (first, second))
        adjacent[a, b] = adjacent[b, a] = 0
        reached, before = np.eye(1, counts.conditions, dtype=bool)[0], 0
        while reached.sum() > before:
            before = reached.sum()
            reached |= reached.astype(np.float32) @ adjacent > 0
        if not reached.all():
            found.append(int(counts.group[rows[0]]))
        adjacent[a, b] = adjacent[b, a] = 1
    return tuple(found)


def _reachable(edges: Mask) -> Mask:
    """(B, C, C): there is a path from row to column; every node reaches itself."""
    reach = edges | np.eye(edges.shape[-1], dtype=bool)
    undecided = np.flatnonzero(~_all_true(reach))
    for _ in range(max(1, edges.shape[-1] - 1).bit_length()):
        if not len(undecided):
            break
        step = reach[undecided].astype(np.float32)
        reach[undecided] = step @ step > 0
        undecided = undecided[~_all_true(reach[undecided])]
    return reach


def _all_true(matrices: Mask) -> Mask:
    return np.asarray(matrices.all((1, 2)))


def _parts(mutual: Mask) -> list[list[int]]:
    """Classes of an equivalence relation (C, C), in the order of their first members."""
    return [np.flatnonzero(row).tolist() for n, row in enumerate(mutual) if np.argmax(row) == n]


def _listed(conditions: Sequence[str], part: Sequence[int]) -> str:
    return ", ".join(conditions[n] for n in part)
