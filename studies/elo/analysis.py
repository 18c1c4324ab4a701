"""The Elo analysis of a set of votes: from `Votes` to everything that elo.json and the report say.

The estimates are Bradley–Terry's. Intervals, tests, rank sets and everything else that has an error hold for whom
`Options.generalise_to` says; the intervals for others stand beside them. Whatever limits what the votes can show is a
warning in plain words, never silence. How it is written down is left to `reporting`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH, Fit, Ties, check_prior, fit_counts, prior_share
from studies.elo.comparison_graph import largest_part
from studies.elo.controls import fit_controlled
from studies.elo.diagnostics.alignment import Alignment, alignment
from studies.elo.diagnostics.caveats import Evidence, caveats
from studies.elo.diagnostics.reliability import Agreement, Retest, agreement, retest
from studies.elo.diagnostics.side_bias import SideBias, side_bias
from studies.elo.inference.covariance import Covariance, controlled_covariance_of, covariance_of
from studies.elo.inference.group_elo import GroupElo, elo_by_group
from studies.elo.inference.intervals import GENERALISATIONS, Errors, Generalisation, Sample
from studies.elo.inference.ranks import RankSet, holm, rank_sets
from studies.elo.inference.stopping import BestClaim, WidthGoal, best_claim, check_looks, check_width, width_goal
from studies.elo.pair_counts import TIED, Counts, PairCounts, members, square
from studies.elo.votes import BOTH_BAD, Votes

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How votes are analysed.

    Raises
    ------
    ValueError
        A value is unknown or out of range; so nothing is read before that is said.
    """

    ties: Ties = "half"
    generalise_to: Generalisation = "people+prompts"
    """For whom intervals and tests hold."""
    prior: float = 0.0
    """Wins added to each side of every compared pair."""
    conditions: tuple[str, ...] | None = None
    """Only votes between these."""
    stop_at_width: float | None = None
    """Report whether every interval is at most this many Elo wide, end to end, and how many more votes that takes."""
    looks: int | None = None
    """How many looks were fixed before the first vote, to say at each whether there is a best."""
    largest_part: bool = False
    """Where no vote connects some conditions with the others: only those of the largest part."""

    def __post_init__(self) -> None:
        if self.generalise_to not in GENERALISATIONS:
            raise ValueError(f"generalise-to {self.generalise_to!r}: unknown; use {', '.join(GENERALISATIONS)}")
        if self.ties not in get_args(Ties):
            raise ValueError(f"ties {self.ties!r}: unknown; use {' or '.join(get_args(Ties))}")
        check_prior(self.prior)
        if self.stop_at_width is not None:
            check_width(self.stop_at_width)
        if self.looks is not None:
            check_looks(self.looks)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionElo:
    """One condition's Elo with its 95% interval; ends are nan where nothing can be said."""

    condition: str
    elo: float
    ci_low: float
    ci_high: float
    wins: int
    losses: int
    ties: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTest:
    """The difference of two conditions, the better one first."""

    a: str
    b: str
    difference: float
    """Elo of a minus Elo of b."""
    ci_low: float
    ci_high: float
    p: float
    """Wald test of no difference, by t."""
    p_holm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEffect:
    """What a covariate is worth, with its 95% interval, in Elo by one standard deviation of its difference."""

    control: str
    sd: float
    """That standard deviation, in the covariate's own unit."""
    elo: float
    ci_low: float
    ci_high: float
    p: float
    """Wald test of no effect, by t."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """All that is known from the votes; conditions and pairs in the order of Elo, best first."""

    options: Options
    conditions: tuple[ConditionElo, ...]
    pairs: tuple[PairTest, ...]
    warnings: tuple[str, ...]
    votes: int
    participants: tuple[str, ...]
    prompts: tuple[str, ...]
    participant_known: bool
    prompt_known: bool
    sample: Sample
    ranks: tuple[RankSet, ...]
    intervals: Mapping[Generalisation, Mapping[str, tuple[float, float]]]
    """By for whom they hold, and condition."""
    wins: Mapping[str, Mapping[str, int]]
    """wins[a][b]: how often a beat b."""
    ties: Mapping[str, Mapping[str, int]]
    tie_parameter: float | None
    """Davidson's ν; None where ties are half wins."""
    both_bad: Mapping[str, int]
    """In how many votes each condition was found as bad as the other; empty where nobody said so."""
    side: SideBias | None
    """None where nobody knows what stood on which side."""
    retest: Retest | None
    agreement: Agreement | None
    alignment: Alignment | None
    controls: tuple[ControlEffect, ...]
    """Of the covariates that are held equal."""
    by_participant: GroupElo | None
    by_prompt: GroupElo | None
    width_goal: WidthGoal | None
    best_claim: BestClaim | None
    prior_share: float
    """Of all that the fit rests on, votes and prior together."""
    names: tuple[str, ...] = field(repr=False)
    """Conditions in the order of the columns of `by_participant` and `by_prompt`."""


def analyse(votes: Votes, options: Options | None = None) -> Report:
    """Fit, intervals, tests and caveats.

    Raises
    ------
    ValueError
        There are no votes, fewer than two conditions, conditions that were never compared, or no finite fit.
    """
    options = options or Options()
    to = options.generalise_to
    shown, left_out = _shown(votes, options)
    counted = shown.counted()
    if not len(counted):
        raise ValueError("there are no votes to analyse; collect some first, or name other --conditions")
    people = PairCounts.of(counted, counted.participant, len(counted.participants))
    prompts = PairCounts.of(counted, counted.prompt, len(counted.prompts))
    total = people.total()
    fit, covariance, controls = _fitted(counted, people, prompts, options)
    by_participant = elo_by_group(people, fit) if counted.participant_known and not controls else None
    by_prompt = elo_by_group(prompts, fit) if counted.prompt_known and not controls else None
    order = sorted(range(len(counted.conditions)), key=lambda n: (-fit.elo[n], n))
    names = counted.conditions
    errors = covariance.of_differences(to)
    p = errors.p_values(_differences(fit))
    ranks = rank_sets(names, fit.log_strength, p)
    side = side_bias(counted, to) if counted.sides_known else None
    bad = shown.outcome == BOTH_BAD
    retested = retest(shown.select(~bad) if bad.any() else shown, to)
    both_bad = shown.select(bad & ~shown.repeat)
    own_errors = covariance.of_conditions(to)
    evidence = Evidence(
        votes=counted,
        total=total,
        to=to,
        fit=fit,
        covariance=covariance,
        people_spread=by_participant.spread if by_participant else None,
        prompt_spread=by_prompt.spread if by_prompt else None,
        left_out=left_out,
        side=side,
        retest=retested,
        both_bad=both_bad,
    )
    return Report(
        options=options,
        conditions=_conditions(names, order, fit, _interval(fit, own_errors), total),
        pairs=_pairs(names, order, fit, errors, p),
        warnings=caveats(evidence),
        votes=len(counted),
        participants=counted.participants,
        prompts=counted.prompts,
        participant_known=counted.participant_known,
        prompt_known=counted.prompt_known,
        sample=covariance.sample,
        ranks=tuple(ranks[n] for n in order),
        intervals=_intervals(covariance, fit, names, order),
        wins=_matrix(names, order, square(total, len(names))),
        ties=_matrix(names, order, square(np.repeat(total[:, TIED, None], 2, 1), len(names))),
        tie_parameter=math.exp(fit.log_tie) if options.ties == "davidson" else None,
        both_bad=_both_bad(both_bad),
        side=side,
        retest=retested,
        agreement=agreement(counted, to),
        alignment=alignment(counted, to),
        controls=controls,
        by_participant=by_participant,
        by_prompt=by_prompt,
        width_goal=_width_goal(names, covariance, own_errors, options),
        best_claim=_best_claim(names, fit, p, options),
        prior_share=prior_share(total, fit.prior),
        names=names,
    )


def _fitted(
    votes: Votes, people: PairCounts, prompts: PairCounts, options: Options
) -> tuple[Fit, Covariance, tuple[ControlEffect, ...]]:
    """The fit with its covariance, and the effects of covariates where the votes have some."""
    if votes.controls is None:
        fit = fit_counts(people.total(), votes.conditions, ties=options.ties, prior=options.prior)
        return fit, covariance_of(votes, fit, people, prompts), ()
    if options.ties != "half":
        raise ValueError(f"--control takes a tie as half a win to each; leave out --ties {options.ties}")
    controlled = fit_controlled(votes, people, prior=options.prior)
    covariance = controlled_covariance_of(votes, controlled, people, prompts)
    errors, elo = covariance.of_controls(options.generalise_to), ELO_PER_LOG_STRENGTH * controlled.coefficient
    half, p = errors.half_width(), errors.p_values(elo)
    effects = tuple(
        ControlEffect(
            control=name,
            sd=float(controlled.scale[n]),
            elo=float(elo[n]),
            ci_low=float(elo[n] - half[n]),
            ci_high=float(elo[n] + half[n]),
            p=float(p[n]),
        )
        for n, name in enumerate(controlled.names)
    )
    return controlled.fit, covariance, effects


def _shown(votes: Votes, options: Options) -> tuple[Votes, tuple[str, ...]]:
    """The votes that were asked for, and the conditions that are in no vote of the largest part."""
    shown = votes.among(options.conditions) if options.conditions else votes
    if not options.largest_part or not len(shown):
        return shown, ()
    total = PairCounts.of(shown, np.zeros(len(shown), np.int64), 1).total()
    kept = {shown.conditions[n] for n in largest_part(total, len(shown.conditions))}
    left_out = tuple(name for name in shown.conditions if name not in kept)
    return (shown.among(sorted(kept)) if left_out else shown), left_out


def _width_goal(names: tuple[str, ...], covariance: Covariance, errors: Errors, options: Options) -> WidthGoal | None:
    if options.stop_at_width is None:
        return None
    variances, to = covariance.variances_of_conditions(), options.generalise_to
    return width_goal(names, variances, errors, to, options.stop_at_width)


def _best_claim(names: tuple[str, ...], fit: Fit, p: Numbers, options: Options) -> BestClaim | None:
    if options.looks is None:
        return None
    return best_claim(names, fit.log_strength, _square(p, len(names)), options.looks)


def _square(pairs: Numbers, conditions: int) -> Numbers:
    """Values of pairs (P,) as (C, C)."""
    first, second = members(conditions)
    found = np.full((conditions, conditions), math.nan)
    found[first, second] = found[second, first] = pairs
    return found


def _both_bad(votes: Votes) -> dict[str, int]:
    sides = np.concatenate([votes.left, votes.right])
    return {name: int(number) for name, number in zip(votes.conditions, np.bincount(sides), strict=True)}


def _intervals(
    covariance: Covariance, fit: Fit, names: tuple[str, ...], order: list[int]
) -> dict[Generalisation, dict[str, tuple[float, float]]]:
    """Both ends of each condition's interval, by for whom it holds."""
    found: dict[Generalisation, dict[str, tuple[float, float]]] = {}
    for each in GENERALISATIONS:
        low, high = _interval(fit, covariance.of_conditions(each))
        found[each] = {names[n]: (float(low[n]), float(high[n])) for n in order}
    return found


def _interval(fit: Fit, errors: Errors) -> tuple[Numbers, Numbers]:
    half = errors.half_width()
    return fit.elo - half, fit.elo + half


def _differences(fit: Fit) -> Numbers:
    first, second = members(len(fit.log_strength))
    return fit.elo[first] - fit.elo[second]


def _conditions(
    names: tuple[str, ...], order: list[int], fit: Fit, interval: tuple[Numbers, Numbers], total: Counts
) -> tuple[ConditionElo, ...]:
    wins, low, high = square(total, len(names)), *interval
    first, second = members(len(names))
    ties = np.bincount(first, total[:, TIED], len(names)) + np.bincount(second, total[:, TIED], len(names))
    return tuple(
        ConditionElo(
            condition=names[n],
            elo=float(fit.elo[n]),
            ci_low=float(low[n]),
            ci_high=float(high[n]),
            wins=int(wins[n].sum()),
            losses=int(wins[:, n].sum()),
            ties=int(ties[n]),
            n=int(wins[n].sum() + wins[:, n].sum() + ties[n]),
        )
        for n in order
    )


def _pairs(names: tuple[str, ...], order: list[int], fit: Fit, errors: Errors, p: Numbers) -> tuple[PairTest, ...]:
    first, second = members(len(names))
    difference, half = _differences(fit), errors.half_width()
    low, high = difference - half, difference + half
    adjusted, place = holm(p), np.argsort(order)
    turned = place[first] > place[second]
    sign = np.where(turned, -1.0, 1.0)
    low, high = np.where(turned, -high, low), np.where(turned, -low, high)
    a, b = np.where(turned, second, first), np.where(turned, first, second)
    rows = np.lexsort((place[b], place[a]))
    numbers = (values[rows].tolist() for values in (sign * difference, low, high, p, adjusted))
    return tuple(
        PairTest(a=names[better], b=names[worse], difference=gap, ci_low=below, ci_high=above, p=alone, p_holm=of_all)
        for better, worse, gap, below, above, alone, of_all in zip(
            a[rows].tolist(), b[rows].tolist(), *numbers, strict=True
        )
    )


def _matrix(names: tuple[str, ...], order: list[int], values: Numbers) -> dict[str, dict[str, int]]:
    ordered, numbers = [names[n] for n in order], values[np.ix_(order, order)].astype(np.int64).tolist()
    return {
        a: {b: number for b, number in zip(ordered, row, strict=True) if b != a}
        for a, row in zip(ordered, numbers, strict=True)
    }
