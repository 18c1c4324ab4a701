"""What limits the conclusions, in plain words: each caveat is one sentence that a reader without statistics follows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from studies.elo.bradley_terry import Fit, prior_share
from studies.elo.comparison_graph import dominances
from studies.elo.diagnostics.reliability import Retest
from studies.elo.diagnostics.side_bias import SideBias
from studies.elo.inference.covariance import Covariance
from studies.elo.inference.intervals import MEANINGS, Errors, Generalisation
from studies.elo.pair_counts import Counts
from studies.elo.votes import Votes

LEAST_PARTICIPANTS = 20
LEAST_PROMPTS = 10
ENOUGH_PROMPTS = 18
LEAST_COVERAGE = 0.93
"""Of an interval that is called 95%."""
LEAST_VOTES = 10
"""Of one participant, or on one prompt."""
MOST_SHARE = 0.25
"""Of all votes by one participant, when there are `LEAST_PARTICIPANTS` or more."""
LEAST_RETEST = 0.7
LEAST_ERROR_ELO = 1e-4
"""Below it is rounding."""
_MOST_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the caveats of an analysis are judged by."""

    votes: Votes
    total: Counts
    """(P, 3)"""
    to: Generalisation
    fit: Fit
    covariance: Covariance
    people_spread: float | None
    """Standard deviation over people of a condition's Elo beyond chance; None where it was not estimated."""
    prompt_spread: float | None
    left_out: tuple[str, ...]
    """Conditions that no chain of votes joins with those that are reported."""
    side: SideBias | None
    retest: Retest | None
    both_bad: Votes
    """Votes that found both bad, which are not among `votes`."""


def caveats(evidence: Evidence) -> tuple[str, ...]:
    """All caveats, the gravest first."""
    return (
        *evidence.votes.notes,
        *_of_both_bad(evidence),
        *_of_fit(evidence),
        *_of_generalisation(evidence),
        *_of_votes(evidence.votes),
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
    prior = evidence.fit.prior
    if prior > 0:
        compared = int((evidence.total.sum(-1) > 0).sum())
        yield (
            f"A prior of {prior:g} wins to each side of each of {compared:,} compared pairs is part of the fit, "
            f"{prior_share(evidence.total, prior):.1%} of all it rests on; it evens out all Elo."
        )
    if evidence.left_out:
        yield (
            f"Left out, because no vote connects them with the rest: {_named(evidence.left_out)}. "
            "Their Elo cannot be compared with these."
        )
    names = evidence.votes.participants, evidence.votes.prompts
    for what, who, alone in zip(("participant", "prompt"), names, evidence.covariance.alone, strict=True):
        if alone:
            yield (
                f"Without {_plural(len(alone), what)} ({_named([who[n] for n in alone])}) some conditions would not be "
                f"compared at all: how {what}s differ there cannot be seen, and intervals of these conditions are too "
                "narrow."
            )


def _of_generalisation(evidence: Evidence) -> Iterator[str]:
    """For whom the intervals hold, and what that rests on."""
    votes, to = evidence.votes, evidence.to
    people, prompts = len(votes.participants), len(votes.prompts)
    errors = evidence.covariance.of_conditions(to)
    if not votes.participant_known:
        each = "vote" if votes.ballot is None else "answer"
        yield (
            f"The table does not say who voted, so every {each} counts as another person's: the intervals are too "
            "narrow if people voted more than once."
        )
    elif people == 1:
        yield (
            "All votes come from one participant: they say what this person prefers, and nothing about others; "
            + (
                "intervals for other people can't be given, those with --generalise-to prompts or these can."
                if "people" in to
                else f"the intervals are for {MEANINGS[to]}."
            )
        )
    elif people < LEAST_PARTICIPANTS:
        known = f"Only {people} participants voted, fewer than {LEAST_PARTICIPANTS}: how people differ is hardly known"
        yield f"{known}, which is why the intervals are so wide." if "people" in to else f"{known}."
    if not votes.prompt_known:
        yield (
            "The table does not say on which prompt a vote was, so nothing is known about how prompts differ: the "
            "intervals hold for other people on these prompts at best."
        )
    elif prompts == 1:
        yield (
            "All votes are on one prompt: nothing is known about other prompts"
            + (", and the intervals are for other people on this very prompt." if to == "people+prompts" else "")
            + ("; intervals for other prompts can't be given." if to == "prompts" else "")
            + ("." if to in ("people", "these") else "")
        )
    elif prompts < LEAST_PROMPTS:
        yield _few_prompts(evidence, prompts)
    cells = evidence.covariance.cell_count
    if votes.participant_known and people > 1 and prompts > 1 and cells in (people, prompts):
        who = "Every prompt was shown to one participant" if cells == prompts else "Every participant saw one prompt"
        yield (
            f"{who} only: how prompts differ cannot be told from how people differ"
            + ("; the intervals count both together." if to == "people+prompts" else ".")
        )
    if np.nanmax(errors.error, initial=0) < LEAST_ERROR_ELO and np.isfinite(errors.error).all():
        what = "prompts were answered" if to == "prompts" else "participants voted"
        yield (
            f"All {what} in the same proportions, so how they differ can't be seen: the intervals have no width, and "
            "p values mean nothing."
        )
    elif to != "people+prompts" and people > 1 and prompts > 1:
        yield from _too_narrow(evidence, errors)


def _few_prompts(evidence: Evidence, prompts: int) -> str:
    both, fixed = (
        float(np.mean(evidence.covariance.of_conditions(to).half_width())) for to in ("people+prompts", "people")
    )
    told = f"Only {prompts} prompts were shown"
    if np.isfinite([both, fixed]).all():
        told += (
            f": for these very prompts the intervals are ±{fixed:.0f} Elo, for prompts like them ±{both:.0f} "
            "(mean over the conditions)"
        )
    return f"{told}. Show {ENOUGH_PROMPTS} or more to say something about other prompts."


def _too_narrow(evidence: Evidence, errors: Errors) -> Iterator[str]:
    """How often an interval that is not for other people and other prompts would hold the truth for them."""
    from scipy.special import stdtr

    both = evidence.covariance.of_conditions("people+prompts")
    with np.errstate(divide="ignore", invalid="ignore"):
        held = float(np.nanmean(1 - 2 * stdtr(both.freedom, -errors.half_width() / both.error)))
    spreads = [
        f"{what} differ by {spread:.0f} Elo"
        for what, spread in (("people", evidence.people_spread), ("prompts", evidence.prompt_spread))
        if spread is not None
    ]
    if held < LEAST_COVERAGE:
        yield (
            f"The intervals are for {MEANINGS[evidence.to]}. For other people and other prompts they are too narrow: "
            f"they would hold the truth in {held:.0%} of such studies, not in 95%"
            + (f", because {' and '.join(spreads)} beyond chance" if spreads else "")
            + "; --generalise-to people+prompts gives those that hold."
        )


def _of_votes(votes: Votes) -> Iterator[str]:
    people = len(votes.participants)
    if votes.participant_known:
        yield from _few(np.bincount(votes.participant), "participant", "gave", votes.participants)
    if votes.prompt_known:
        yield from _few(np.bincount(votes.prompt), "prompt", "got", votes.prompts)
    most = np.bincount(votes.participant)
    if people >= LEAST_PARTICIPANTS and most.max() > MOST_SHARE * len(votes):
        name = votes.participants[int(most.argmax())]
        yield f"Participant {name} alone gave {most.max() / len(votes):.0%} of all votes."


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _plural(count: int, what: str) -> str:
    return f"one {what}" if count == 1 else f"any of {count:,} {what}s"


def _few(count: np.ndarray, what: str, verb: str, names: tuple[str, ...]) -> Iterator[str]:
    few = np.flatnonzero(count < LEAST_VOTES)
    if len(few):
        who = ", ".join(names[n] for n in few[:3]) + (", …" if len(few) > 3 else "")
        plural = "" if len(few) == 1 else "s"
        yield (
            f"{len(few):,} of {len(names):,} {what}s {verb} fewer than {LEAST_VOTES} votes ({who}): "
            f"the Elo of {'this' if len(few) == 1 else 'these'} {what}{plural} says little."
        )


def _of_both_bad(evidence: Evidence) -> Iterator[str]:
    votes = evidence.both_bad
    if not len(votes):
        return
    share = len(votes) / (len(votes) + len(evidence.votes))
    yield (
        f"{len(votes):,} votes ({share:.1%}) found both bad: that is no tie, so they are counted apart and are not in "
        "the Elo; --values 'tie (bothbad)'=tie, or whatever the table writes for it, counts them as ties."
    )
    only = [name for name in votes.conditions if name not in evidence.votes.conditions]
    if only:
        yield f"Only in votes that found both bad, and therefore without an Elo: {_named(only)}."


def _of_balance(votes: Votes, side: SideBias | None) -> Iterator[str]:
    if side is None:
        return
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
        key.sort()
        twice = int((key[1:] == key[:-1]).sum())
        if twice:
            yield (
                f"{twice:,} votes are a participant's second or later one on the same trial and not marked as repeats; "
                "they count."
            )
