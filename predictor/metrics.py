"""Metrics of one person's scores, and intervals of their means over people.

Every metric comes in two forms: of one pair of vectors, and of many groups at once (`BY_GROUP`; a group is a user, or
a replicate of a bootstrap), which gives the same numbers as scipy at the cost of a sort. A correlation is nan where a
user's ratings or scores are constant, every metric is nan where a score is. Means leave such users out; whoever reports
a mean also reports how many.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Index = NDArray[np.int64]
Name = TypeVar("Name")

MARGIN_TOLERANCE = 1e-9
"""Rounding error that is allowed when a difference of ratings is compared with a margin: 0.3 − 0.2 < 0.1."""

_CELLS = 1 << 20
"""Pairs of ratings that are compared at a time, at most."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95% interval."""

    value: float
    ci_low: float
    ci_high: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON, which has no nan."""
        return {name: None if math.isnan(value) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, float | None]) -> "Interval":
        """What `as_dict` gave."""
        return cls(**{name: math.nan if value is None else value for name, value in values.items()})

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.ci_low:+.3f}, {self.ci_high:+.3f}]"


UNDEFINED = Interval(math.nan, math.nan, math.nan)


def as_dicts(intervals: Mapping[str, Interval]) -> dict[str, dict[str, float | None]]:
    """Several intervals by name, each for JSON."""
    return {name: interval.as_dict() for name, interval in intervals.items()}


def srocc(rating: Vector, score: Vector) -> float:
    """Spearman's rank correlation; nan where either side is constant."""
    return _single_group(srocc_by_group, rating, score)


def plcc(rating: Vector, score: Vector) -> float:
    """Pearson's linear correlation; nan where either side is constant."""
    return _single_group(plcc_by_group, rating, score)


def pairwise_accuracy(rating: Vector, score: Vector) -> float:
    """Share of pairs that the scores order as the ratings do.

    Pairs with equal ratings are left out, equal scores count half; nan where no pair is left.
    """
    return _single_group(pairwise_accuracy_by_group, rating, score)


def srocc_by_group(group: Index, rating: Vector, score: Vector) -> Vector:
    """`srocc` within each group, in the order of the group numbers; shapes (R,), result (G,)."""
    correlation = plcc_by_group(group, _average_ranks(group, rating), _average_ranks(group, score))
    return _nan_where_missing(group, rating, score, correlation)


def plcc_by_group(group: Index, rating: Vector, score: Vector) -> Vector:
    """`plcc` within each group, in the order of the group numbers; shapes (R,), result (G,)."""
    order = np.argsort(group, kind="stable")
    starts = _starts(group[order])
    counts = np.diff(starts, append=len(group))
    with np.errstate(invalid="ignore", divide="ignore"):  # constant groups, and scores that are not numbers
        x, y = (_centred(values[order], starts, counts) for values in (rating, score))
        norm = np.sqrt(_sums(x * x, starts)) * np.sqrt(_sums(y * y, starts))
        return np.clip(_sums(x * y, starts) / norm, -1, 1)


def pairwise_accuracy_by_group(group: Index, rating: Vector, score: Vector) -> Vector:
    """`pairwise_accuracy` within each group, in the order of the group numbers; shapes (R,), result (G,).

    Counts are exact. Sorted by rating, and by score where ratings are equal, each pair that the scores order wrongly
    is one inversion of the scores (Knight 1966). Time O(R log² n) for groups of n, memory O(R).
    """
    order = np.lexsort((score, rating, group))
    group, rating, score = group[order], rating[order], score[order]
    starts = _starts(group)
    label = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(group)))
    by_score = np.lexsort((score, label))
    rank = np.empty(len(group), np.int64)
    rank[by_score] = np.cumsum(_changes(score[by_score]))
    rank -= np.minimum.reduceat(rank, starts)[label] if len(starts) else 0
    pairs = _pairs(label) - _pairs(label, rating)
    tied = _pairs(label[by_score], score[by_score]) - _pairs(label, rating, score)
    with np.errstate(invalid="ignore"):
        accuracy = (2 * (pairs - _inversions(label, rank)) - tied) / (2 * pairs)
    return _nan_where_missing(group, rating, score, accuracy)


METRICS: Mapping[str, Callable[[Vector, Vector], float]] = {
    "srocc": srocc,
    "plcc": plcc,
    "pairwise_accuracy": pairwise_accuracy,
}

BY_GROUP: Mapping[str, Callable[[Index, Vector, Vector], Vector]] = {
    "srocc": srocc_by_group,
    "plcc": plcc_by_group,
    "pairwise_accuracy": pairwise_accuracy_by_group,
}


def pairwise_accuracy_by_margin(
    rating: Vector, scores: Sequence[Vector], margins: Sequence[float]
) -> tuple[Vector, NDArray[np.int64]]:
    """Pairwise accuracy of several scores of one person, without near-ties (paper, section 7.2).

    Time O(n²), memory of `_CELLS` pairs: every pair is visited once for all scores and margins.

    Parameters
    ----------
    rating, scores
        Shape (n,) and S times shape (n,).
    margins
        In units of the rating, ascending. A pair counts if its ratings differ, and by the margin or more.

    Returns
    -------
    Accuracies (S, M), nan where no pair is left or a score is nan, and the number of pairs left (M,).

    Raises
    ------
    ValueError
        The margins are negative or do not ascend.
    """
    least = np.asarray(margins, float) - MARGIN_TOLERANCE
    if np.any(np.diff(least) <= 0) or np.any(least < -MARGIN_TOLERANCE):
        raise ValueError(f"margins must ascend from 0 or more, got {list(margins)}")
    order = np.argsort(rating, kind="stable")
    rating, ordered = rating[order], [score[order] for score in scores]
    counts, points = np.zeros(len(least) + 1), np.zeros((len(ordered), len(least) + 1))
    step = max(1, _CELLS // max(1, len(rating)))
    for low in range(0, len(rating), step):
        rows, columns = slice(low, low + step), slice(low, None)
        gap = rating[columns] - rating[rows, None]
        counted = gap > 0
        margin = np.searchsorted(least, gap[counted], side="right")
        counts += np.bincount(margin, minlength=len(counts))
        for number, score in enumerate(ordered):
            right = 0.5 + 0.5 * np.sign(score[columns] - score[rows, None])[counted]
            points[number] += np.bincount(margin, right, len(counts))
    pairs = counts[:0:-1].cumsum()[::-1]
    with np.errstate(invalid="ignore"):
        accuracy = points[:, :0:-1].cumsum(1)[:, ::-1] / pairs
    accuracy[[bool(np.isnan(score).any()) for score in ordered]] = np.nan
    return accuracy, pairs.astype(np.int64)


def per_user(metric: Callable[[Vector, Vector], float], user: Index, rating: Vector, score: Vector) -> Vector:
    """The metric within each user's ratings, nan where it is undefined: (R,) each -> (U,), by ascending user index."""
    return np.array([metric(rating[rows], score[rows]) for rows in group_rows(user)], np.float64)


def group_rows(group: Index) -> Iterator[NDArray[np.intp]]:
    """The rows of each group, in the order of the group numbers."""
    order = np.argsort(group, kind="stable")
    yield from np.split(order, _starts(group[order])[1:]) if len(group) else ()


def mean_over_users(values: Vector, *, seed: int = 0, replicates: int = 2000) -> Interval:
    """Mean over users with a percentile bootstrap of the users; users without a value (nan) are left out."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return UNDEFINED
    return bootstrap_mean(defined, seed=seed, replicates=replicates)


def means_over_users(values: Mapping[Name, Vector], *, seed: int = 0, replicates: int = 2000) -> dict[Name, Interval]:
    """`mean_over_users` of several quantities of the same users (U,), by the same resampled users for all.

    A user without a value (nan) of one quantity is left out of that quantity alone.
    """
    if not values:
        return {}
    value, means = resampled_means(values, seed=seed, replicates=replicates)
    return {name: percentile_interval(float(value[n]), means[:, n]) for n, name in enumerate(values)}


def resampled_means(values: Mapping[Name, Vector], *, seed: int, replicates: int) -> tuple[Vector, Vector]:
    """Means over users of Q quantities (Q,), and of resampled users (replicates, Q); nan where nobody has one."""
    table = np.stack(list(values.values()), 1)
    known = ~np.isnan(table)
    drawn = resampled_users(len(table), seed=seed, replicates=replicates).astype(float)
    with np.errstate(invalid="ignore"):
        means = (drawn @ np.where(known, table, 0)) / (drawn @ known)
        value = np.where(known, table, 0).sum(0) / known.sum(0)
    return value, means


def bootstrap_mean(values: Vector, *, seed: int = 0, replicates: int = 10_000) -> Interval:
    """Mean of independent units with its 95% percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    Parameters
    ----------
    values
        (N,), N >= 1.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(values), (replicates, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def resampled_users(count: int, *, seed: int, replicates: int) -> Index:
    """How often each of `count` users is drawn in each replicate of `bootstrap_mean`; shape (replicates, count)."""
    drawn = np.random.default_rng(seed).integers(0, max(1, count), (replicates, count))
    cells = drawn + np.arange(replicates)[:, None] * count
    return np.bincount(cells.ravel(), minlength=replicates * count).reshape(replicates, count)


def percentile_interval(value: float, replicates: Vector) -> Interval:
    """A value with the central 95% of its replicates; undefined replicates (nan) are left out."""
    defined = replicates[~np.isnan(replicates)]
    if math.isnan(value) or not len(defined):
        return Interval(value, math.nan, math.nan)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def _single_group(by_group: Callable[[Index, Vector, Vector], Vector], rating: Vector, score: Vector) -> float:
    if not len(rating):
        return math.nan
    return float(by_group(np.zeros(len(rating), np.int64), np.asarray(rating, float), np.asarray(score, float))[0])


def _changes(*sorted_columns: NDArray[np.int64] | Vector) -> NDArray[np.bool_]:
    """Where a row differs from the one before it; the first one does."""
    change = np.zeros(len(sorted_columns[0]), bool)
    change[:1] = True
    for column in sorted_columns:
        change[1:] |= column[1:] != column[:-1]
    return change


def _starts(*sorted_columns: NDArray[np.int64] | Vector) -> NDArray[np.intp]:
    return np.flatnonzero(_changes(*sorted_columns))


def _sums(values: Vector, starts: NDArray[np.intp]) -> Vector:
    return np.add.reduceat(values, starts) if len(starts) else np.empty(0)


def _nan_where_missing(group: Index, rating: Vector, score: Vector, values: Vector) -> Vector:
    """The groups' values, but nan for groups with a nan in them."""
    order = np.argsort(group, kind="stable")
    missing = (np.isnan(rating) | np.isnan(score))[order].astype(float)
    return np.where(_sums(missing, _starts(group[order])) > 0, np.nan, values)


def _centred(values: Vector, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> Vector:
    """Each group minus its mean, scaled to a maximum of 1, so that squares do not underflow; nan if it is constant."""
    if not len(starts):
        return values
    constant = np.maximum.reduceat(values, starts) == np.minimum.reduceat(values, starts)
    centred = values - np.repeat(_sums(values, starts) / counts, counts)
    size = np.where(constant, np.nan, np.maximum.reduceat(np.abs(centred), starts))
    return centred / np.repeat(size, counts)


def _average_ranks(group: Index, values: Vector) -> Vector:
    """Ranks within each group from 0; equal values share the mean of their ranks."""
    order = np.lexsort((values, group))
    bounds = np.append(_starts(group[order], values[order]), len(values))
    starts = _starts(group[order])
    first = np.repeat(starts, np.diff(starts, append=len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((bounds[:-1] + bounds[1:] - 1) / 2, np.diff(bounds)) - first
    return ranks


def _pairs(label: Index, *sorted_columns: Vector) -> Index:
    """Pairs of rows of each group that are equal in all the columns, which sort the group."""
    starts = _starts(label, *sorted_columns)
    sizes = np.diff(starts, append=len(label))
    pairs = np.zeros(label[-1] + 1 if len(label) else 0, np.int64)
    np.add.at(pairs, label[starts], sizes * (sizes - 1) // 2)
    return pairs


def _inversions(label: Index, rank: Index) -> Index:
    """Pairs of rows of each group of which the earlier one has the higher rank; labels are sorted.

    From the highest bit of the rank to the lowest: of two rows that agree in the bits above, the pair is
    an inversion if the earlier one has a 1 and the later a 0. Rows that agree are kept side by side, in order.
    """
    inversions = np.zeros(label[-1] + 1 if len(label) else 0, np.int64)
    block = label.copy()
    for bit in reversed(range(int(rank.max(initial=0)).bit_length())):
        one = (rank >> bit) & 1
        starts = _starts(block)
        before = np.cumsum(one) - one
        before -= np.repeat(before[starts], np.diff(starts, append=len(block)))
        np.add.at(inversions, label, np.where(one, 0, before))
        order = np.argsort(2 * block + one, kind="stable")
        label, rank, block = label[order], rank[order], (2 * block + one)[order]
    return inversions
