"""The covariance of a Bradley–Terry fit by participant, by prompt, by both and by single votes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import (
    ELO_PER_LOG_STRENGTH,
    Fit,
    as_outcomes,
    fixed,
    information_of,
    terms_of,
    with_prior,
)
from studies.elo.comparison_graph import groups_that_join
from studies.elo.controls import ControlledFit
from studies.elo.inference.intervals import Errors, Generalisation, Sample, Variances, errors_for, without_gaps
from studies.elo.inference.sandwich import Block, Rows, blocks_of, jackknife, plain, plain_of
from studies.elo.pair_counts import Counts, PairCounts, members
from studies.elo.votes import Votes

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Covariance:
    """Covariances (K, K) of log strengths that sum to 0, and last of ln ν, or of covariates, where these are fitted."""

    conditions: int
    people: Numbers
    prompts: Numbers
    cells: Numbers
    votes: Numbers
    sample: Sample
    cell_count: int = 0
    """Participants × prompts that hold a vote."""
    alone: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    """Participants, and prompts, without which the comparisons would fall apart."""

    def variances_of_conditions(self) -> Variances:
        """Of each condition's Elo (C,)."""
        return self._variances(lambda matrix: np.diagonal(matrix)[: self.conditions])

    def of_conditions(self, to: Generalisation) -> Errors:
        """Of each condition's Elo (C,)."""
        return errors_for(self.variances_of_conditions(), to)

    def of_differences(self, to: Generalisation) -> Errors:
        """Of each pair's first Elo minus its second (P,)."""
        first, second = members(self.conditions)

        def difference(matrix: Numbers) -> Numbers:
            variance = np.diagonal(matrix)
            return variance[first] + variance[second] - 2 * matrix[first, second]

        return errors_for(self._variances(difference), to)

    def of_controls(self, to: Generalisation) -> Errors:
        """Of what each covariate adds by one standard deviation, in Elo (M,)."""
        return errors_for(self._variances(lambda matrix: np.diagonal(matrix)[self.conditions :]), to)

    def _variances(self, variance: Callable[[Numbers], Numbers]) -> Variances:
        people, prompts, cells, votes = (
            ELO_PER_LOG_STRENGTH**2 * variance(matrix).clip(0)
            for matrix in (self.people, self.prompts, self.cells, self.votes)
        )
        return Variances(people=people, prompts=prompts, cells=cells, votes=votes, sample=self.sample)


def covariance_of(votes: Votes, fit: Fit, people: PairCounts, prompts: PairCounts) -> Covariance:
    """Covariance of a fit to votes, given their counts by participant and by prompt."""
    total = people.total()
    information = information_at(total, fit)
    by_people, by_prompts = (
        jackknife(rows_of(counts, fit), counts.group, counts.groups, information) for counts in (people, prompts)
    )
    cells: list[int] = []
    return Covariance(
        conditions=people.conditions,
        people=by_people,
        prompts=by_prompts,
        cells=plain_of(_by_cell(votes, fit, cells), information),
        votes=_by_vote(total, fit, information) if votes.ballot is None else _by_ballot(votes, fit, information),
        sample=Sample.of(votes.participant, votes.prompt, votes.ballot),
        cell_count=sum(cells),
        alone=_alone(people, prompts, fit),
    )


def controlled_covariance_of(
    votes: Votes, controlled: ControlledFit, people: PairCounts, prompts: PairCounts
) -> Covariance:
    """Covariance of a fit with covariates."""
    rows, information = controlled.rows, controlled.information
    cell = without_gaps(votes.participant * len(votes.prompts) + votes.prompt)
    answer = np.arange(len(votes)) if votes.ballot is None else without_gaps(votes.ballot)
    cells, answers = (int(group.max()) + 1 for group in (cell, answer))
    return Covariance(
        conditions=people.conditions,
        people=jackknife(rows, votes.participant, people.groups, information),
        prompts=jackknife(rows, votes.prompt, prompts.groups, information),
        cells=plain(rows, cell, cells, information),
        votes=plain(rows, answer, answers, information),
        sample=Sample.of(votes.participant, votes.prompt, votes.ballot),
        cell_count=cells,
        alone=_alone(people, prompts, controlled.fit),
    )


def _alone(people: PairCounts, prompts: PairCounts, fit: Fit) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return groups_that_join(people, fit.prior), groups_that_join(prompts, fit.prior)


def information_at(total: Counts, fit: Fit) -> Numbers:
    """Observed information (K, K) of all votes (P, 3) and the prior, regular."""
    first, second = members(len(fit.log_strength))
    outcomes = as_outcomes(with_prior(total, fit.prior), fit.ties)
    terms = terms_of(outcomes[None], fit.log_strength[first] - fit.log_strength[second], fit.log_tie)
    conditions = len(fit.log_strength)
    return fixed(information_of(terms, conditions, ties=fit.has_tie_parameter), conditions)[0]


def rows_of(counts: PairCounts, fit: Fit) -> Rows:
    """The likelihood's rows, one a cell of the counts."""
    first, second = (side[counts.pair] for side in members(counts.conditions))
    difference = fit.log_strength[first] - fit.log_strength[second]
    terms = terms_of(as_outcomes(counts.count, fit.ties), difference, fit.log_tie)
    root, none = np.sqrt(terms.curvature), np.zeros(len(first))
    if not fit.has_tie_parameter:
        return Rows(
            columns=np.stack([first, second], 1),
            score=np.stack([terms.gradient, -terms.gradient], 1),
            root=np.stack([root, -root], 1)[:, None],
        )
    mixed = terms.curvature_mixed / root
    rest = np.sqrt((terms.curvature_tie - mixed**2).clip(0))
    return Rows(
        columns=np.stack([first, second, np.full_like(first, counts.conditions)], 1),
        score=np.stack([terms.gradient, -terms.gradient, terms.gradient_tie], 1),
        root=np.stack([np.stack([root, -root, mixed], 1), np.stack([none, none, rest], 1)], 1),
    )


def _by_cell(votes: Votes, fit: Fit, cells: list[int]) -> Iterator[Block]:
    """The likelihood's rows by participant and prompt; how many of these each block has is put down in `cells`."""
    for rows in blocks_of(votes.participant):
        part = votes.part(rows)
        cell = without_gaps((part.participant - part.participant.min()) * len(votes.prompts) + part.prompt)
        counts = PairCounts.of(part, cell, int(cell.max()) + 1)
        cells.append(counts.groups)
        yield Block(rows=rows_of(counts, fit), group=counts.group, groups=counts.groups)


def _by_ballot(votes: Votes, fit: Fit, information: Numbers) -> Numbers:
    """Covariance CR1 (K, K) by answers that are several votes each."""
    ballot = np.arange(len(votes)) if votes.ballot is None else without_gaps(votes.ballot)
    counts = PairCounts.of(votes, ballot, int(ballot.max()) + 1)
    return plain(rows_of(counts, fit), counts.group, counts.groups, information)


def _by_vote(total: Counts, fit: Fit, information: Numbers) -> Numbers:
    """Covariance CR1 (K, K) by single votes, from their counts: equal votes have equal scores."""
    pair, outcome = np.nonzero(total)
    times = total[pair, outcome]
    one = np.zeros((len(pair), 3))
    one[np.arange(len(pair)), outcome] = 1
    rows = rows_of(PairCounts(len(fit.log_strength), len(pair), np.arange(len(pair)), pair, one), fit)
    rows = Rows(columns=rows.columns, score=rows.score * np.sqrt(times)[:, None], root=rows.root)
    votes, kinds = float(times.sum()), len(pair)
    if votes < 2 or kinds < 2:
        return np.full_like(information, np.nan)
    return votes / (votes - 1) * (kinds - 1) / kinds * plain(rows, np.arange(kinds), kinds, information)
