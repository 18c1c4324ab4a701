"""Diverging preferences (paper, section 7.1): pairs of images that people order in opposite ways.

A pair of images diverges if a ≥ 1 users rate the one strictly higher and b ≥ 1 users the other. That makes a·b
opposed pairs of users. For each of the two users the scores are right (1), equal (½) or wrong (0). Scores that depend
on the image alone are right for one of the two and wrong for the other: their accuracy is exactly one half on any data,
and whatever exceeds it is knowledge of the person.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from predictor.metrics import UNDEFINED, Index, Interval, Vector, percentile_interval, resampled_users

REPLICATES = 400
MAX_CELLS = 200_000_000
"""Limit on pairs of images times users; of a larger set, pairs of images are sampled."""
MAX_CASES = 3

_CHUNK = 1 << 20
_MAX_CANDIDATES = 200
"""Candidates for the cases shown, from which some are chosen that have no image in common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedPair:
    """One user's ratings of the images A and B, and the scores predicted for them."""

    user: str
    rating_a: float
    rating_b: float
    score_a: float
    score_b: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Two users who order a pair of images in opposite ways (paper, figure 10)."""

    image_a: str
    image_b: str
    prefers_a: RatedPair
    prefers_b: RatedPair

    @property
    def contrast(self) -> float:
        """The smaller of the two users' differences of ratings."""
        a, b = self.prefers_a, self.prefers_b
        return min(a.rating_a - a.rating_b, b.rating_b - b.rating_a)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverging:
    """How many preferences diverge, and how many of them the scores predict."""

    accuracy: Interval
    """Mean over the opposed pairs of users; 0.5 for any consensus."""
    n_image_pairs: int
    """Pairs of images that diverge, among those examined."""
    n_image_pairs_common: int
    """Pairs of images that two or more users rated."""
    n_image_pairs_sampled: int | None
    """How many of those were examined; None: all."""
    n_preferences: int
    """Preferences (user × pair of images) in diverging pairs."""
    n_opposed: int
    """Opposed pairs of users, over all pairs of images: the weight of the mean."""
    n_users: int
    replicates: int
    right: tuple[Case, ...]
    """The cases of largest contrast with both preferences predicted; no image is in two of them."""
    wrong: tuple[Case, ...]
    """The same, with neither preference predicted."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"accuracy": self.accuracy.as_dict()}


def diverging_preferences(
    user: Index,
    image: Index,
    rating: Vector,
    score: Vector,
    *,
    user_ids: Sequence[str] | None = None,
    image_ids: Sequence[str] | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
    max_cells: int = MAX_CELLS,
) -> Diverging:
    """Accuracy on diverging preferences, with a bootstrap of the users.

    Parameters
    ----------
    user, image, rating, score
        Shape (R,), at most one rating of an image by a user; ratings from 0 to 1, scores in any unit.
        A score that is nan leaves the accuracy undefined if a diverging preference needs it.
    user_ids, image_ids
        Names by index, for the cases shown; the numbers themselves where there are none.
    max_cells
        Limit on pairs of images times users; above it pairs of images are sampled by the seed.

    Raises
    ------
    ValueError
        A user rated an image twice.
    """
    people, person = np.unique(user, return_inverse=True)
    images, picture = np.unique(image, return_inverse=True)
    if len(np.unique(person * len(images) + picture)) < len(user):
        raise ValueError("a user rated an image twice; preferences need one rating per user and image")
    ratings, scores = (_ByImage.of(picture, person, values, len(people)) for values in (rating, score))
    pairs, common = _common_pairs(ratings, max(1, max_cells // max(1, len(people))), seed)
    drawn = resampled_users(len(people), seed=seed, replicates=replicates)
    weights = np.vstack([np.ones((1, len(people))), drawn]).astype(np.float32)  # the first row is everybody, once
    tally = _Tally(weights)
    step = max(1, _CHUNK // max(1, len(people)))
    for low in range(0, len(pairs), step):
        tally.add(pairs[low : low + step], ratings, scores)

    def case(found: _CaseCandidate) -> Case:
        a, b = found.pair
        rating_a, rating_b, score_a, score_b = (
            of[np.array([row])][0].tolist() for of in (ratings, scores) for row in (a, b)
        )

        def rated_pair(u: int) -> RatedPair:
            return RatedPair(
                user=str(people[u]) if user_ids is None else user_ids[int(people[u])],
                rating_a=rating_a[u],
                rating_b=rating_b[u],
                score_a=score_a[u],
                score_b=score_b[u],
            )

        name_a, name_b = (str(images[i]) if image_ids is None else image_ids[int(images[i])] for i in (a, b))
        return Case(
            image_a=name_a, image_b=name_b, prefers_a=rated_pair(found.users[0]), prefers_b=rated_pair(found.users[1])
        )

    return Diverging(
        accuracy=tally.accuracy(),
        n_image_pairs=tally.n_image_pairs,
        n_image_pairs_common=common,
        n_image_pairs_sampled=len(pairs) if len(pairs) < common else None,
        n_preferences=tally.n_preferences,
        n_opposed=int(tally.opposed[0]),
        n_users=int(tally.with_preference.sum()),
        replicates=replicates,
        right=tuple(case(found) for found in _without_common_images(tally.right)),
        wrong=tuple(case(found) for found in _without_common_images(tally.wrong)),
    )


@dataclass(frozen=True, slots=True)
class _CaseCandidate:
    """A candidate for a case, by rows and columns of the tables."""

    contrast: float
    pair: tuple[int, int]
    users: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _ByImage:
    """Values by image and user, of those pairs that have one; rows (U,) are filled up with nan as they are taken."""

    first: NDArray[np.intp]
    """(I + 1,), where the values of each image begin."""
    user: NDArray[np.intp]  # (R,)
    values: Vector  # (R,)
    users: int

    @classmethod
    def of(cls, image: NDArray[np.intp], user: NDArray[np.intp], values: Vector, users: int) -> "_ByImage":
        """Of values (R,) by index of image and user."""
        order = np.lexsort((user, image))
        first = np.concatenate([[0], np.cumsum(np.bincount(image))]).astype(np.intp)
        return cls(first, user[order], values[order], users)

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, images: NDArray[np.intp]) -> Vector:
        """The rows of some images, (N, U)."""
        rows, counts = np.full((len(images), self.users), np.nan), np.diff(self.first)[images]
        row = np.repeat(np.arange(len(images)), counts)
        place = np.arange(len(row)) + np.repeat(self.first[images] - np.cumsum(counts) + counts, counts)
        rows[row, self.user[place]] = self.values[place]
        return rows

    def counted(self) -> sparse.csr_array:
        """(I, U), one where there is a value."""
        return sparse.csr_array((np.ones(len(self.user), np.int32), self.user, self.first), (len(self), self.users))


class _Tally:
    """Sums over pairs of images for each weighting of the users, chunk by chunk."""

    def __init__(self, weights: NDArray[np.float32]) -> None:
        self._weights = weights  # (B, U)
        self.points = np.zeros(len(weights))
        self.opposed = np.zeros(len(weights))
        self.with_preference = np.zeros(weights.shape[1], bool)
        self.n_image_pairs = 0
        self.n_preferences = 0
        self.right: list[_CaseCandidate] = []
        self.wrong: list[_CaseCandidate] = []

    def add(self, pairs: NDArray[np.intp], ratings: _ByImage, scores: _ByImage) -> None:
        """Add the pairs of images (P, 2)."""
        gap = ratings[pairs[:, 0]] - ratings[pairs[:, 1]]  # (P, U), nan where not both are rated
        diverge = (gap > 0).any(1) & (gap < 0).any(1)
        pairs, gap = pairs[diverge], gap[diverge]
        prefer_a, prefer_b = gap > 0, gap < 0
        right = 0.5 + 0.5 * np.sign(scores[pairs[:, 0]] - scores[pairs[:, 1]]) * np.sign(gap)
        a, b, right_a, right_b = (
            self._weights @ side.T.astype(np.float32)  # (B, P)
            for side in (prefer_a, prefer_b, np.where(prefer_a, right, 0), np.where(prefer_b, right, 0))
        )
        self.points += (0.5 * (right_a * b + right_b * a)).sum(1, dtype=np.float64)
        self.opposed += (a * b).sum(1, dtype=np.float64)
        self.with_preference |= (prefer_a | prefer_b).any(0)
        self.n_image_pairs += len(pairs)
        self.n_preferences += int(prefer_a.sum() + prefer_b.sum())
        self.right = _largest([*self.right, *_candidates(pairs, np.where(right == 1, gap, 0))])
        self.wrong = _largest([*self.wrong, *_candidates(pairs, np.where(right == 0, gap, 0))])

    def accuracy(self) -> Interval:
        if not self.opposed[0]:
            return UNDEFINED
        with np.errstate(invalid="ignore"):  # replicates that drew nobody who disagrees
            shares = self.points / self.opposed
        return percentile_interval(float(shares[0]), shares[1:])


def _candidates(pairs: NDArray[np.intp], gap: Vector) -> Iterator[_CaseCandidate]:
    """The pairs of images (P, 2) of the largest contrast, each with the two users furthest apart.

    Gaps (P, U) that don't count are 0.
    """
    contrast = np.minimum(gap.max(1, initial=0), -gap.min(1, initial=0))
    for row in np.argsort(-contrast, kind="stable")[:_MAX_CANDIDATES]:
        if contrast[row] > 0:
            a, b = pairs[row]
            yield _CaseCandidate(
                float(contrast[row]), (int(a), int(b)), (int(gap[row].argmax()), int(gap[row].argmin()))
            )


def _largest(found: list[_CaseCandidate]) -> list[_CaseCandidate]:
    return sorted(found, key=lambda f: (-f.contrast, f.pair))[:_MAX_CANDIDATES]


def _without_common_images(found: Sequence[_CaseCandidate]) -> Iterator[_CaseCandidate]:
    """The first `MAX_CASES` that share no image."""
    shown: set[int] = set()
    for case in found:
        if len(shown) < 2 * MAX_CASES and shown.isdisjoint(case.pair):
            shown |= {*case.pair}
            yield case


def _common_pairs(rated: _ByImage, most: int, seed: int) -> tuple[NDArray[np.intp], int]:
    """Pairs of images (P, 2) that two or more users rated, `most` of them if there are more; and how many there are.

    Pairs are listed a stripe of images at a time, once to be counted and once to be chosen, so that
    those that are not chosen are never all in memory.
    """
    table = rated.counted()
    transposed = table.T.tocsr()
    stripe = max(1, 4 * _CHUNK // max(1, len(rated)))

    def stripes() -> Iterator[NDArray[np.intp]]:
        for low in range(0, len(rated), stripe):
            both = sparse.coo_array(table[low : low + stripe] @ transposed)
            first, second = both.coords[0] + low, both.coords[1]
            wanted = (both.data >= 2) & (first < second)
            found = np.stack([first[wanted], second[wanted]], 1).astype(np.intp)
            yield found[np.lexsort((found[:, 1], found[:, 0]))]

    total = sum(len(found) for found in stripes())
    chosen = np.arange(total)
    if total > most:
        chosen = np.sort(np.random.default_rng(seed).choice(total, most, replace=False, shuffle=False))
    kept, before = [np.empty((0, 2), np.intp)], 0
    for found in stripes():
        low, high = np.searchsorted(chosen, [before, before + len(found)])
        kept.append(found[chosen[low:high] - before])
        before += len(found)
    return np.concatenate(kept), total
