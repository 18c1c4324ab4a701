"""What limits the conclusions, in plain words: each caveat is one sentence that a reader without statistics follows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from studies.elo.comparison_graph import dominances
from studies.elo.diagnostics.reliability import Retest
from studies.elo.diagnostics.side_bias import SideBias
from studies.elo.inference.cluster_covariance import Covariance
from studies.elo.pair_counts import Counts
from studies.elo.votes import Votes

LEAST_PARTICIPANTS = 20
LEAST_PROMPTS = 10
LEAST_VOTES = 10
"""Of one participant, or on one prompt."""
MOST_SHARE = 0.25
"""Of all votes by one participant, when there are `LEAST_PARTICIPANTS` or more."""
LEAST_RETEST = 0.7
LEAST_STANDARD_ERROR = 1e-6
"""Of a log strength; below it is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the caveats of an analysis are judged by."""

    votes: Votes
    total: Counts
    """(P, 3)"""
    method: str
    """Of the intervals that lead."""
    prior: float
    covariance: Covariance
    without_fit: Mapping[str, tuple[int, int]]
    """Replicates without a finite fit, and all of them, by bootstrap."""
    side: SideBias
    retest: Retest | None


def caveats(evidence: Evidence) -> tuple[str, ...]:
    """All caveats, the gravest first."""
    return (
        *_of_fit(evidence),
        *_of_people(evidence.votes, evidence.method),
        *_of_balance(evidence.votes, evidence.side),
        *_of_reliability(evidence.votes, evidence.retest),
    )


def _of_fit(evidence: Evidence) -> Iterator[str]:
    dominant = dominances(evidence.total, evidence.votes.conditions)
    if dominant:
        yield (
            f"The votes are separable: {'; '.join(dominant)}. Without the prior no finite Elo would fit them, so how "
            "far these conditions lie from the others is set by the prior and not by the votes."
        )
    if evidence.prior > 0:
        yield f"A prior of {evidence.prior:g} wins to each side of every pair is part of the fit; it evens out all Elo."
    for name, (missing, replicates) in evidence.without_fit.items():
        if missing:
            ends = ", so those have open ends" if missing > 0.025 * replicates else ""
            yield (
                f"{missing:,} of {replicates:,} replicates of the {name} bootstrap have no finite fit, because a "
                f"condition won or lost all its votes in them; they count as beyond both ends of its intervals{ends}."
            )
    if evidence.covariance.clusters > 1 and evidence.covariance.standard_error.max() < LEAST_STANDARD_ERROR:
        yield (
            "All participants voted in the same proportions, so how people differ can't be seen: intervals by "
            "participant have no width, and p values mean nothing."
        )
    if evidence.covariance.correction == "CR1" and evidence.covariance.clusters > 1:
        yield (
            "Without one of the participants some conditions would not be compared at all, so the cluster-robust "
            "intervals use the plain correction (CR1), which is too narrow when people vote unequally often."
        )


def _of_people(votes: Votes, method: str) -> Iterator[str]:
    people, prompts = len(votes.participants), len(votes.prompts)
    if people == 1:
        yield (
            "All votes come from one participant: they say what this person prefers, and nothing about others; "
            "intervals by participant can't be given."
        )
    elif people < LEAST_PARTICIPANTS:
        yield (
            f"Only {people} participants voted, fewer than {LEAST_PARTICIPANTS}: how people differ is hardly known. "
            "The cluster-robust interval still holds about its 95%; the bootstraps' are too narrow, the iid one most."
        )
    if method == "iid":
        yield "The iid intervals take every vote for another person's; they are too narrow if people voted often."
    if method == "two-way":
        yield "The two-way intervals are cautious: where chance in single votes prevails they cover 99%, not 95%."
    if method == "two-way" and prompts < LEAST_PROMPTS:
        yield f"Only {prompts} prompts were shown: intervals over other prompts rest on very few."
    yield from _few(np.bincount(votes.participant), "participant", "gave", votes.participants)
    yield from _few(np.bincount(votes.prompt), "prompt", "got", votes.prompts)
    most = np.bincount(votes.participant)
    if people >= LEAST_PARTICIPANTS and most.max() > MOST_SHARE * len(votes):
        name = votes.participants[int(most.argmax())]
        yield f"Participant {name} alone gave {most.max() / len(votes):.0%} of all votes."


def _few(count: np.ndarray, what: str, verb: str, names: tuple[str, ...]) -> Iterator[str]:
    few = np.flatnonzero(count < LEAST_VOTES)
    if len(few):
        who = ", ".join(names[n] for n in few[:3]) + (", …" if len(few) > 3 else "")
        plural = "" if len(few) == 1 else "s"
        yield (
            f"{len(few):,} of {len(names):,} {what}s {verb} fewer than {LEAST_VOTES} votes ({who}): "
            f"the Elo of {'this' if len(few) == 1 else 'these'} {what}{plural} says little."
        )


def _of_balance(votes: Votes, side: SideBias) -> Iterator[str]:
    count = len(votes.conditions)
    left, both = np.bincount(votes.left, minlength=count), np.bincount(votes.right, minlength=count)
    both = both + left
    uneven = [n for n in range(count) if both[n] >= 20 and not 0.4 <= left[n] / both[n] <= 0.6]
    if uneven:
        told = ", ".join(f"{votes.conditions[n]} {left[n] / both[n]:.0%}" for n in uneven)
        yield (
            f"The sides are not balanced (on the left: {told}): a liking for one side would pass for a liking "
            "for these conditions."
        )
    if side.p is not None and side.p < 0.05:
        share = side.left_share.value
        yield f"People favour a side: the left image won {share:.0%} of the decided votes (p = {side.p:.2g})."


def _of_reliability(votes: Votes, retested: Retest | None) -> Iterator[str]:
    if retested is not None:
        if retested.unmatched:
            yield f"{retested.unmatched:,} repeated trials lack a first vote by the same person; they are left out."
        if retested.repeats and retested.same.value < LEAST_RETEST:
            yield (
                f"People contradicted themselves: only {retested.same.value:.0%} of {retested.repeats:,} repeated "
                "trials got the same answer again."
            )
    if votes.trial is not None:
        key = votes.participant * (int(votes.trial.max(initial=0)) + 1) + votes.trial
        twice = len(key) - len(np.unique(key))
        if twice:
            yield (
                f"{twice:,} votes are a participant's second or later one on the same trial and not marked as repeats; "
                "they count."
            )
