"""Bootstrap replicates of a Bradley–Terry fit, all of them at once from counts.

iid        votes are drawn one by one: right only if no participant gives more than one
participant whole participants are drawn, with all their votes
two-way    participants and prompts are drawn, and a vote counts as often as both of its own together
           (Owen and Eckles 2012, Ann. Appl. Stat. 6): for claims about other people and other prompts. It is
           cautious: chance in single votes counts up to three times, so where that prevails it covers 99%, not 95%

A replicate whose votes have no finite fit is never left out in silence: it counts as −∞ for the lower end and as +∞
for the upper, and the number of such replicates is reported.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import Fit, fit_replicates, to_elo, with_prior
from studies.elo.pair_counts import Counts, PairCounts, pair_count
from studies.elo.votes import Votes

Numbers = NDArray[np.float64]
Resampling = Literal["iid", "participant", "two-way"]

_CHUNK = 1 << 24
"""Most numbers in one array of weights or counts: 128 MB."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Replicates:
    """Elo of bootstrap replicates."""

    elo: Numbers
    """(B, C); nan where a replicate has no finite fit."""

    @property
    def without_fit(self) -> int:
        """How many replicates have no finite fit."""
        return int(np.isnan(self.elo[:, 0]).sum())

    def interval(self, values: Numbers, level: float = 0.95) -> tuple[Numbers, Numbers]:
        """Percentile interval of quantities (B, M) of the replicates; an end that has no finite value is infinite."""
        tail = (1 - level) / 2
        low = np.quantile(np.where(np.isnan(values), -np.inf, values), tail, 0, method="lower")
        high = np.quantile(np.where(np.isnan(values), np.inf, values), 1 - tail, 0, method="higher")
        return low, high


def bootstrap(votes: Votes, fit: Fit, resampling: Resampling, *, replicates: int = 1000, seed: int = 0) -> Replicates:
    """Replicates of the fit (B, C), seeded; the same votes in another order give the same replicates.

    Raises
    ------
    ValueError
        Fewer than two replicates are asked for.
    """
    if replicates < 2:
        raise ValueError(f"replicates must be 2 or more, got {replicates}; 1000 is usual")
    rng = np.random.default_rng(seed)
    draw = {"iid": _by_vote, "participant": _by_participant, "two-way": _by_participant_and_prompt}[resampling]
    cells = PairCounts.of(votes, *_grouping(votes, resampling))
    step = max(1, _CHUNK // max(1, *_widths(cells, votes, resampling)))
    parts = []
    for low in range(0, replicates, step):
        counts = draw(rng, cells, votes, min(step, replicates - low))
        strength, _ = fit_replicates(
            with_prior(counts, fit.prior), cells.conditions, ties=fit.ties, start=fit.log_strength
        )
        parts.append(to_elo(strength))
    return Replicates(elo=np.concatenate(parts))


def _grouping(votes: Votes, resampling: Resampling) -> tuple[NDArray[np.int64], int]:
    if resampling == "participant":
        return votes.participant, len(votes.participants)
    if resampling == "two-way":
        prompts = len(votes.prompts)
        return votes.participant * prompts + votes.prompt, len(votes.participants) * prompts
    return np.zeros(len(votes), np.int64), 1


def _widths(cells: PairCounts, votes: Votes, resampling: Resampling) -> tuple[int, ...]:
    return (
        3 * pair_count(cells.conditions),
        len(votes.participants) if resampling != "iid" else 1,
        len(cells.group) if resampling == "two-way" else 1,
    )


def _by_vote(rng: np.random.Generator, cells: PairCounts, votes: Votes, replicates: int) -> Counts:
    total = cells.total()
    drawn = rng.multinomial(len(votes), total.ravel() / total.sum(), size=replicates)
    return drawn.reshape(replicates, *total.shape).astype(float)


def _by_participant(rng: np.random.Generator, cells: PairCounts, votes: Votes, replicates: int) -> Counts:
    weight = _drawn(rng, len(votes.participants), replicates)
    table = _table(cells, cells.group, cells.groups)
    return np.ascontiguousarray((table.T @ weight.T).T).reshape(replicates, -1, 3)


def _by_participant_and_prompt(rng: np.random.Generator, cells: PairCounts, votes: Votes, replicates: int) -> Counts:
    person, prompt = np.divmod(cells.group, len(votes.prompts))
    people, prompts = (_drawn(rng, len(names), replicates) for names in (votes.participants, votes.prompts))
    weight = people[:, person] * prompts[:, prompt]
    table = _table(cells, np.arange(len(cells.group)), len(cells.group))
    return np.ascontiguousarray((table.T @ weight.T).T).reshape(replicates, -1, 3)


def _table(cells: PairCounts, row: NDArray[np.int64], rows: int):
    """Counts as a sparse matrix: rows by the P × 3 outcomes."""
    from scipy.sparse import csr_array

    columns = (cells.pair[:, None] * 3 + np.arange(3)).ravel()
    shape = rows, 3 * pair_count(cells.conditions)
    return csr_array((cells.count.ravel(), (np.repeat(row, 3), columns)), shape=shape)


def _drawn(rng: np.random.Generator, count: int, replicates: int) -> Numbers:
    """How often each of `count` is drawn in each replicate, (replicates, count)."""
    return rng.multinomial(count, np.full(count, 1 / count), size=replicates).astype(float)
