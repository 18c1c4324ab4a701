"""Estimates from votes that come in clusters: one participant's answers go together, and so do those on one prompt.

Shares and logistic regressions, with the errors that `studies.elo.inference.intervals` defines.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.metrics import Interval
from studies.elo.inference.intervals import Errors, Generalisation, Sample, Variances, errors_for, without_gaps
from studies.elo.inference.sandwich import Block, Rows, blocks_of, information_of, jackknife_of, plain_of
from studies.elo.votes import Votes

Numbers = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """A coefficient of a regression with its 95% interval and two-sided p value."""

    value: float
    ci_low: float
    ci_high: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clusters:
    """Whose answer each of n votes is, and on which prompt.

    Example:

        Clusters.among(votes, votes.outcome != TIE)
    """

    participant: Codes
    prompt: Codes
    ballot: Codes | None
    """Which votes are one answer; None where each is one of its own."""

    @classmethod
    def of(cls, participant: Codes, prompt: Codes, ballot: Codes | None = None) -> "Clusters":
        """Of codes (n,) that may leave out numbers; without ballots every vote is an answer of its own."""
        answer = None if ballot is None else without_gaps(ballot)
        return cls(participant=without_gaps(participant), prompt=without_gaps(prompt), ballot=answer)

    @classmethod
    def among(cls, votes: Votes, rows: NDArray[np.bool_] | Codes) -> "Clusters":
        """Of some of the votes."""
        return cls.of(votes.participant[rows], votes.prompt[rows], None if votes.ballot is None else votes.ballot[rows])

    def select(self, rows: NDArray[np.bool_]) -> "Clusters":
        """Those of some of the votes."""
        ballot = None if self.ballot is None else self.ballot[rows]
        return Clusters.of(self.participant[rows], self.prompt[rows], ballot)

    def variances(self, make: Callable[[slice | Codes], Rows], information: Numbers, to: Generalisation) -> Variances:
        """Of all K parameters, as far as `to` needs them.

        Parameters
        ----------
        make
            The rows of some of the votes, one a vote.
        information
            (K, K)
        """
        nothing = np.full(len(information), math.nan)

        def blocks(group: Codes, whole: Codes) -> Iterator[Block]:
            for rows in blocks_of(whole):
                own = without_gaps(group[rows] - group[rows].min(initial=0))
                yield Block(rows=make(rows), group=own, groups=int(own.max(initial=-1)) + 1)

        def clustered(group: Codes, *needed: Generalisation) -> Numbers:
            if to not in needed or group.max(initial=0) == 0:
                return nothing
            return np.diagonal(jackknife_of(blocks(group, group), information)).clip(0)

        def alone(group: Codes, whole: Codes, *needed: Generalisation) -> Numbers:
            return np.diagonal(plain_of(blocks(group, whole), information)).clip(0) if to in needed else nothing

        cell = self.participant * (int(self.prompt.max(initial=0)) + 1) + self.prompt
        answer = np.arange(len(self.participant)) if self.ballot is None else self.ballot
        return Variances(
            people=clustered(self.participant, "people+prompts", "people"),
            prompts=clustered(self.prompt, "people+prompts", "prompts"),
            cells=alone(cell, self.participant, "people+prompts"),
            votes=alone(answer, answer, "these"),
            sample=Sample.of(self.participant, self.prompt, self.ballot),
        )


def clustered_share(clusters: Clusters, hit: Numbers, to: Generalisation) -> Interval:
    """Mean of `hit` (n,) over all votes with its 95% interval, within 0 and 1; nan where there are no votes."""
    return clustered_ratio(clusters, hit, np.ones(len(hit)), to)


def clustered_ratio(
    clusters: Clusters, above: Numbers, below: Numbers, to: Generalisation, *, twice: bool = False
) -> Interval:
    """Ratio of two totals over votes with its 95% interval, within 0 and 1 (Cochran 1977, section 6.3; linearised).

    Parameters
    ----------
    above, below
        Shapes (n,); what each vote adds to both totals.
    twice
        Every vote is in the totals with another participant's once more, as where pairs of votes on one prompt are
        counted: without a participant both are gone.
    """
    if not below.sum() > 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(above.sum() / below.sum())
    weight = np.sqrt(below)
    rows = Rows(
        columns=np.zeros((len(below), 1), np.int64),
        score=(above - value * below)[:, None],
        root=weight[:, None, None],
    )
    found = clusters.variances(rows.select, np.array([[below.sum()]]), to)
    if twice:
        found = Variances(
            people=4 * found.people, prompts=found.prompts, cells=4 * found.cells, votes=4 * found.votes,
            sample=found.sample,
        )  # fmt: skip
    half = float(errors_for(found, to).half_width()[0])
    if math.isnan(half):
        return Interval(value, math.nan, math.nan)
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logistic:
    """A logistic regression at its maximum."""

    coefficient: Numbers
    """(K,)"""
    information: Numbers
    """(K, K)"""

    def tested(self, errors: Errors) -> list[Coefficient]:
        """Every coefficient with its interval."""
        half, p = errors.half_width(), errors.p_values(self.coefficient)
        return [
            Coefficient(value=float(b), ci_low=float(b - h), ci_high=float(b + h), p=float(q))
            for b, h, q in zip(self.coefficient, half, p, strict=True)
        ]


def win_probability(columns: Codes, values: Numbers, coefficient: Numbers) -> Numbers:
    """What a regression expects of each row (R,), from 0 to 1.

    Parameters
    ----------
    columns, values
        (R, W): the coefficients that a row touches, and by what they are multiplied.
    coefficient
        (K,): log odds.
    """
    log_odds = (values * coefficient[columns]).sum(1)
    return 1 / (1 + np.exp(-np.clip(log_odds, -40, 40)))  # clipped, so that no exponential overflows


def fit_logistic(columns: Codes, values: Numbers, hit: Numbers, weight: Numbers, size: int) -> Logistic | None:
    """Logistic regression by Newton's method; None where no finite maximum is found.

    Parameters
    ----------
    columns, values
        (R, W): the coefficients that a row touches, and by what they are multiplied.
    hit, weight
        (R,): from 0 to 1, and how many votes a row is.
    size
        K
    """
    coefficient = np.zeros(size)
    for _ in range(50):
        chance = win_probability(columns, values, coefficient)
        root = values * np.sqrt(weight * chance * (1 - chance))[:, None]
        information = information_of(columns, root[:, None], size)
        if np.linalg.cond(information) > 1e12:
            return None
        gradient = np.bincount(columns.ravel(), (values * (weight * (hit - chance))[:, None]).ravel(), size)
        step = np.linalg.solve(information, gradient)
        coefficient = coefficient + step * min(1, 3 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-9:
            return Logistic(coefficient=coefficient, information=information)
    return None


def logistic_rows(fit: Logistic, columns: Codes, values: Numbers, hit: Numbers) -> Rows:
    """The rows of a regression, one a vote; arguments as those of `fit_logistic`."""
    chance = win_probability(columns, values, fit.coefficient)
    return Rows(
        columns=columns,
        score=values * (hit - chance)[:, None],
        root=(values * np.sqrt(chance * (1 - chance))[:, None])[:, None],
    )


def clustered_logistic(
    columns: Codes, values: Numbers, hit: Numbers, clusters: Clusters, size: int, to: Generalisation
) -> list[Coefficient] | None:
    """Logistic regression of votes, one a row, with clustered errors; arguments as those of `fit_logistic`."""
    fit = fit_logistic(columns, values, hit, np.ones(len(hit)), size)
    if fit is None:
        return None
    rows = logistic_rows(fit, columns, values, hit)
    return fit.tested(errors_for(clusters.variances(rows.select, fit.information, to), to))
