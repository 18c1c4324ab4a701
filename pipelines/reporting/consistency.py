"""Consistency: do independent runs agree on what a person likes? (paper, section 6.2)

The final candidates of one prompt are compared between runs: two runs for the same user should agree more than two
runs for different users. The p-value is of a permutation test that shuffles users within each prompt and run.

Every pair of finals counts, as an entry of a matrix of users by users for each two runs of a prompt, of which one is in
memory at a time. A shuffle never changes how many pairs are of one user, so that its statistic needs only the sum over
these pairs: a look-up a user, in place of all pairs. Time grows with prompts × users × (users + shuffles).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby, permutations
from math import factorial, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from pipelines.records.outcomes import Outcome

PERMUTATIONS = 2000
"""Shuffles that are drawn; where there are no more in all, each is taken once, and the p-value is exact."""
MOST_USERS = 2000
"""Of more users, so many are drawn and compared, which bounds a matrix to 32 MB; consistency.json says of how many."""

Array = NDArray[np.float64]
Index = NDArray[np.intp]


def consistency(
    outcomes: Sequence[Outcome], attributes: Mapping[str, Array], *, seed: int = 0
) -> dict[str, Any] | None:
    """Agreement within users against between users, for prompts and for images.

    Prompts agree by the Jaccard index of the words added to the base prompt; images by minus the
    distance between their measured attributes (`predictor.simulation.attributes`), in standard deviations.

    Returns
    -------
    For "prompts" and "images": within, between, their difference, and the one-sided permutation p-value. Beside them
    the runs, the users that were compared and of how many, the shuffles, and whether these are all that there are.
    None where no prompt was steered in two runs for one user, and for another user too.
    """
    rng = np.random.default_rng(seed)
    finals = [_Final.of(outcome) for outcome in outcomes if outcome.bests]
    users = sorted({final.user for group in _comparable(finals) for final in group})
    if len(users) > MOST_USERS:
        drawn = set(rng.choice(users, MOST_USERS, replace=False).tolist())
        finals = [final for final in finals if final.user in drawn]
    comparable = _comparable(finals)
    if not comparable:
        return None
    every = [final for group in comparable for final in group]
    spread = np.std([attributes[final.image] for final in every], axis=0) + 1e-9
    sizes = [len(rows) for group in comparable for rows in _rows_by_run(group)]
    exact = prod(map(factorial, sizes)) <= PERMUTATIONS
    shuffles = _all_shuffles(sizes) if exact else _drawn_shuffles(sizes, rng)
    prompts, images = _Pairs(), _Pairs()
    for group in comparable:
        words: Any = _added_words(group)
        looks = np.array([attributes[final.image] for final in group]) / spread
        runs = [(rows, next(shuffles)) for rows in _rows_by_run(group)]
        for (a, shuffles_a), (b, shuffles_b) in combinations(runs, 2):
            _, same_a, same_b = np.intersect1d(
                [group[row].user for row in a], [group[row].user for row in b], return_indices=True
            )
            same, shuffled = (same_a, same_b), (shuffles_a[:, same_a], shuffles_b[:, same_b])
            prompts.add(_jaccard(words[a], words[b]), same, shuffled)
            images.add(_minus_distance(looks[a], looks[b]), same, shuffled)
    return {
        "runs": len({final.run for final in every}),
        "users": len({final.user for final in every}),
        "of_users": len(users),
        "shuffles": len(prompts.shuffled),
        "exact": exact,
        "prompts": prompts.agreement(exact=exact),
        "images": images.agreement(exact=exact),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Final:
    """The final candidate of a trajectory."""

    prompt_id: str
    scorer: str
    run: int
    user: str
    image: str
    added: frozenset[str]
    """The words that it adds to the base prompt."""

    @classmethod
    def of(cls, outcome: Outcome) -> "_Final":
        t, best = outcome.trajectory, outcome.bests[-1]
        return cls(
            prompt_id=t.prompt_id,
            scorer=t.scorer,
            run=t.run,
            user=t.user,
            image=best.image,
            added=_word_set(best.prompt) - _word_set(t.base_prompt),
        )


def _word_set(prompt: str) -> frozenset[str]:
    return frozenset(prompt.casefold().replace(",", " ").split())


def _comparable(finals: Iterable[_Final]) -> list[list[_Final]]:
    """The finals of each prompt and scorer that has two runs of one user, and another user; by run, then by user."""
    groups: dict[tuple[str, str], list[_Final]] = defaultdict(list)
    for final in sorted(finals, key=lambda f: (f.prompt_id, f.scorer, f.run, f.user)):
        groups[final.prompt_id, final.scorer].append(final)
    return [group for group in groups.values() if 1 < len({final.user for final in group}) < len(group)]


def _rows_by_run(group: Sequence[_Final]) -> list[Index]:
    """The rows of each run of a group, in which every user has one at most."""
    return [np.array(list(rows)) for _, rows in groupby(range(len(group)), lambda row: group[row].run)]


def _all_shuffles(sizes: Iterable[int]) -> Iterator[Index]:
    """For each block of n finals, in turn, the place of the final that each place gets: every combination, (P, n)."""
    sizes = list(sizes)
    number = np.arange(prod(map(factorial, sizes)))
    for size in sizes:
        number, digit = np.divmod(number, factorial(size))
        yield np.array(list(permutations(range(size))))[digit]


def _drawn_shuffles(sizes: Iterable[int], rng: np.random.Generator) -> Iterator[Index]:
    """For each block of n finals, in turn, the place of the final that each place gets: at random, (P, n)."""
    for size in sizes:
        yield rng.permuted(np.tile(np.arange(size), (PERMUTATIONS, 1)), axis=1)


@dataclass(slots=True)
class _Pairs:
    """Sums of the similarity of pairs: of one user, of different users, and of one user after each shuffle (P,)."""

    same: float = 0.0
    different: float = 0.0
    same_count: int = 0
    different_count: int = 0
    shuffled: Array = field(default_factory=lambda: np.zeros(1))

    def add(self, similarity: Array, same: tuple[Index, Index], shuffled: tuple[Index, Index]) -> None:
        """Add the pairs of two runs.

        Parameters
        ----------
        similarity
            Shape (A, B), of A finals of one run and B of the other; it is overwritten.
        same
            Rows and columns of the pairs of one user, shape (U,) each.
        shuffled
            The same after each shuffle, shape (P, U) each.
        """
        self.shuffled = self.shuffled + similarity[shuffled].sum(1)
        self.same += float(similarity[same].sum())
        self.same_count += len(same[0])
        similarity[same] = 0
        self.different += float(similarity.sum())
        self.different_count += similarity.size - len(same[0])

    def agreement(self, *, exact: bool) -> dict[str, float]:
        within, between = self.same / self.same_count, self.different / self.different_count
        different = self.same + self.different - self.shuffled
        reached = self.shuffled / self.same_count - different / self.different_count >= within - between - 1e-12
        return {
            "within": within,
            "between": between,
            "difference": within - between,
            "p": float(reached.mean()) if exact else (1 + int(reached.sum())) / (1 + len(reached)),
        }


def _added_words(group: Sequence[_Final]) -> csr_array:
    """Which final (row) adds which word (column): 1.0 where it does."""
    columns: dict[str, int] = {}
    indices = [columns.setdefault(word, len(columns)) for final in group for word in sorted(final.added)]
    starts = np.cumsum([0, *(len(final.added) for final in group)])
    return csr_array((np.ones(len(indices)), indices, starts), shape=(len(group), len(columns) or 1))


def _jaccard(a: csr_array, b: csr_array) -> Array:
    """Jaccard index of every row of one with every row of the other (A, B); 1 where both are empty."""
    common = (a @ b.T).toarray()
    union = a.sum(1)[:, None] + b.sum(1)[None, :] - common
    return np.divide(common, union, out=np.ones_like(common), where=union > 0)


def _minus_distance(a: Array, b: Array) -> Array:
    """Minus the Euclidean distance of every row of one from every row of the other (A, B)."""
    return np.asarray(-cdist(a, b), np.float64)
