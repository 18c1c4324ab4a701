"""The Elo analysis of a set of votes: from `Votes` to everything that elo.json and the report say.

The estimates are Bradley–Terry's; their intervals are by the method asked for, and those of the other methods stand
beside them. Tests, rank sets and p values always rest on the cluster-robust covariance. Whatever limits what the
votes can show is a warning in plain words, never silence. How it is written down is left to `reporting`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from studies.elo.bradley_terry import ELO_PER_LOG_STRENGTH, Fit, Ties, fit_counts
from studies.elo.diagnostics.alignment import Alignment, alignment
from studies.elo.diagnostics.caveats import Evidence, caveats
from studies.elo.diagnostics.reliability import Agreement, Retest, agreement, retest
from studies.elo.diagnostics.side_bias import SideBias, side_bias
from studies.elo.inference.bootstrap import Replicates, Resampling, bootstrap
from studies.elo.inference.cluster_covariance import Covariance, cluster_covariance
from studies.elo.inference.clustered import t_quantile
from studies.elo.inference.group_elo import GroupElo, elo_by_group
from studies.elo.inference.ranks import RankSet, holm, rank_sets, wald_p_values
from studies.elo.pair_counts import TIED, Counts, PairCounts, members, square
from studies.elo.votes import Votes

Numbers = NDArray[np.float64]
Method = Literal["cluster", "participant", "iid", "two-way"]
METHODS: tuple[Method, ...] = ("cluster", "participant", "iid", "two-way")

MOST_WORK_BESIDE = 1_000_000
"""With more replicates × conditions² than this, bootstraps run only if they are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How votes are analysed."""

    ties: Ties = "half"
    intervals: Method = "cluster"
    prior: float = 0.0
    """Wins added to each side of every pair."""
    replicates: int = 1000
    seed: int = 0
    conditions: tuple[str, ...] | None = None
    """Only votes between these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionElo:
    """One condition's Elo with its 95% interval; ends are nan where there is none, infinite where they are open."""

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
    """Wald test with the cluster-robust covariance, t(G − 1)."""
    p_holm: float


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
    clusters: int
    correction: str
    ranks: tuple[RankSet, ...]
    intervals: Mapping[Method, Mapping[str, tuple[float, float]]]
    """By method and condition, of all methods that were computed."""
    without_fit: Mapping[Method, int]
    """Bootstrap replicates that have no finite fit, by method."""
    wins: Mapping[str, Mapping[str, int]]
    """wins[a][b]: how often a beat b."""
    ties: Mapping[str, Mapping[str, int]]
    tie_parameter: float | None
    """Davidson's ν; None where ties are half wins."""
    side: SideBias
    retest: Retest | None
    agreement: Agreement | None
    alignment: Alignment | None
    by_participant: GroupElo | None
    by_prompt: GroupElo | None
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
    if options.intervals not in METHODS:
        raise ValueError(f"intervals {options.intervals!r}: unknown; use {', '.join(METHODS)}")
    if options.ties not in ("half", "davidson"):
        raise ValueError(f"ties {options.ties!r}: unknown; use half or davidson")
    shown = votes.among(options.conditions) if options.conditions else votes
    counted = shown.counted()
    if not len(counted):
        raise ValueError("there are no votes to analyse; collect some first, or name other --conditions")
    people = PairCounts.of(counted, counted.participant, len(counted.participants))
    total = people.total()
    fit = fit_counts(total, counted.conditions, ties=options.ties, prior=options.prior)
    covariance = cluster_covariance(people, fit)
    replicates = _replicates(counted, fit, options)
    prompts = PairCounts.of(counted, counted.prompt, len(counted.prompts))
    by_participant, by_prompt = elo_by_group(people, fit), elo_by_group(prompts, fit)
    order = sorted(range(len(counted.conditions)), key=lambda n: (-fit.elo[n], n))
    names = counted.conditions
    ranks = rank_sets(names, fit, covariance, seed=options.seed)
    side, retested = side_bias(counted), retest(shown)
    intervals: dict[Method, tuple[Numbers, Numbers]] = {"cluster": _cluster_interval(fit, covariance)}
    intervals.update((method, drawn.interval(drawn.elo)) for method, drawn in replicates.items())
    return Report(
        options=options,
        conditions=_conditions(names, order, fit, intervals[options.intervals], total),
        pairs=_pairs(names, order, fit, covariance, replicates.get(options.intervals)),
        warnings=caveats(
            Evidence(
                votes=counted,
                total=total,
                method=options.intervals,
                prior=options.prior,
                covariance=covariance,
                without_fit={method: (drawn.without_fit, len(drawn.elo)) for method, drawn in replicates.items()},
                side=side,
                retest=retested,
            )
        ),
        votes=len(counted),
        participants=counted.participants,
        prompts=counted.prompts,
        clusters=covariance.clusters,
        correction=covariance.correction,
        ranks=tuple(ranks[n] for n in order),
        intervals={
            method: {names[n]: (float(low[n]), float(high[n])) for n in order}
            for method, (low, high) in intervals.items()
        },
        without_fit={method: drawn.without_fit for method, drawn in replicates.items()},
        wins=_matrix(names, order, square(total, len(names))),
        ties=_matrix(names, order, square(np.repeat(total[:, TIED, None], 2, 1), len(names))),
        tie_parameter=math.exp(fit.log_tie) if options.ties == "davidson" else None,
        side=side,
        retest=retested,
        agreement=agreement(counted),
        alignment=alignment(counted),
        by_participant=by_participant,
        by_prompt=by_prompt,
        names=names,
    )


def _replicates(votes: Votes, fit: Fit, options: Options) -> dict[Method, Replicates]:
    """The bootstrap asked for, and the others beside it where they cost little."""
    little = options.replicates * len(votes.conditions) ** 2 <= MOST_WORK_BESIDE
    resamplings: tuple[Resampling, ...] = ("participant", "iid", "two-way")
    return {
        method: bootstrap(votes, fit, method, replicates=options.replicates, seed=options.seed)
        for method in resamplings
        if little or method == options.intervals
    }


def _cluster_interval(fit: Fit, covariance: Covariance) -> tuple[Numbers, Numbers]:
    half = t_quantile(covariance.clusters) * covariance.standard_error * ELO_PER_LOG_STRENGTH
    return fit.elo - half, fit.elo + half


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


def _pairs(
    names: tuple[str, ...], order: list[int], fit: Fit, covariance: Covariance, drawn: Replicates | None
) -> tuple[PairTest, ...]:
    first, second = members(len(names))
    difference = fit.elo[first] - fit.elo[second]
    if drawn is None:
        half = t_quantile(covariance.clusters) * covariance.standard_error_of_differences * ELO_PER_LOG_STRENGTH
        low, high = difference - half, difference + half
    else:
        low, high = drawn.interval(drawn.elo[:, first] - drawn.elo[:, second])
    p = wald_p_values(fit, covariance)
    adjusted, place = holm(p), np.argsort(order)
    tests = []
    for n in sorted(range(len(first)), key=lambda n: sorted(place[[first[n], second[n]]])):
        a, b, ends = first[n], second[n], (difference[n], low[n], high[n])
        if place[a] > place[b]:
            a, b, ends = b, a, (-difference[n], -high[n], -low[n])
        value, least, most = map(float, ends)
        tests.append(
            PairTest(
                a=names[a], b=names[b], difference=value, ci_low=least, ci_high=most,
                p=float(p[n]), p_holm=float(adjusted[n]),
            )
        )  # fmt: skip
    return tuple(tests)


def _matrix(names: tuple[str, ...], order: list[int], values: Numbers) -> dict[str, dict[str, int]]:
    return {names[a]: {names[b]: int(values[a, b]) for b in order if b != a} for a in order}
