"""The search as a pure state machine (paper, section 5), for a cohort at a time.

Iteration 0 renders and scores the base prompt; each further iteration scores variations of the best prompt so far, of
each user. The next step, and whether to stop, is a pure function of the recorded history. No counter is kept beside it,
so a resumed run and an undisturbed one cannot disagree.

A user who has stopped has nothing proposed any more, but still scores the images of the others of the cohort; where one
of them is a new best, the user searches again.

Whatever goes beyond the paper is off unless `SearchSettings` turns it on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipelines.search.history import NONE, History
from pipelines.settings.search import SearchSettings


class StopReason(StrEnum):
    """Why a trajectory has gone no further."""

    ITERATIONS = "iterations"
    """It has had all its iterations."""
    PATIENCE = "patience"
    """Too many iterations in a row brought no new best."""
    CHOSEN = "chosen"
    """The person keeps an image that they chose themselves, and may yet go on from it."""
    UNFINISHED = "unfinished"
    """The run was interrupted; `--resume` goes on with it."""
    FAILED = "failed"
    """Its base prompt has no score, or nothing that was proposed for it could be rendered."""

    @property
    def is_end(self) -> bool:
        """Whether the search came to its end, so that its final image can be compared with others."""
        return self not in (StopReason.UNFINISHED, StopReason.FAILED)


@dataclass(frozen=True, slots=True)
class RenderBase:
    """Next: render the base prompt and score it for everybody, as round 0."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Next, as round `number`: ask for variations of the best prompts of these users, and score them for everybody."""

    number: int
    users: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reseed:
    """Next: render and score the winners of these users, and the base prompt, again with fresh seeds."""

    number: int
    users: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Stop:
    """Next: nothing. The search has come to its end, for each user for this reason."""

    reasons: tuple[StopReason, ...]


Step = RenderBase | Propose | Reseed | Stop


def next_step(history: History, settings: SearchSettings) -> Step:
    """What comes after `history`, by the paper's rule: N iterations, or `patience` in a row without a new best.

    A user who picks their best themselves goes on until they keep a picture.

    The reseed guard comes last. Where it rejects a winner, the best before it is the winner, and is reseeded too.
    """
    if not history.rounds:
        return RenderBase()
    users = history.cohort.users
    has_score = history.best != NONE
    if history.ends_with_keep:
        return Stop((StopReason.CHOSEN,) * len(users))
    if history.picks.any():
        picking = np.flatnonzero(history.picks)
        return Propose(len(history.rounds), tuple(users[row] for row in picking))
    if history.searched <= settings.iterations:
        searching = np.flatnonzero(has_score & (history.stale < settings.patience))
        if len(searching):
            return Propose(len(history.rounds), tuple(users[row] for row in searching))
    if settings.guards.reseed != "off" and (unsure := _not_reseeded(history)):
        return Reseed(len(history.rounds), unsure)
    over = StopReason.ITERATIONS if history.searched > settings.iterations else StopReason.PATIENCE
    return Stop(tuple(over if scored else StopReason.FAILED for scored in has_score))


def _not_reseeded(history: History) -> tuple[str, ...]:
    """The users whose winner is not the base image, and has not been rendered with fresh seeds."""
    unsure = []
    for user, base, best in zip(history.cohort.users, history.bests[0], history.best, strict=True):
        if best not in (NONE, base):
            prompt = history.images[best].prompt
            if all(again.prompt != prompt for again in history.reseeded(user)):
                unsure.append(user)
    return tuple(unsure)


def admit(proposals: Sequence[str], taken: Sequence[str], room: int) -> tuple[list[str], dict[str, int]]:
    """Keep the proposals that are new, in order, up to `room`.

    Parameters
    ----------
    taken
        Prompts that count as known: the context, and what this iteration has admitted before.

    Returns
    -------
    The admitted prompts, and how many were refused as "empty", "broken" (a lone surrogate, which UTF-8 cannot
    encode), "duplicate" or "surplus".
    """
    seen = {_folded(prompt) for prompt in taken}
    admitted: list[str] = []
    refused: dict[str, int] = {}
    for proposal in proposals:
        folded = _folded(proposal)
        if not folded:
            reason = "empty"
        elif any("\ud800" <= character <= "\udfff" for character in folded):
            reason = "broken"
        elif folded in seen:
            reason = "duplicate"
        elif len(admitted) == room:
            reason = "surplus"
        else:
            admitted.append(" ".join(proposal.split()))
            seen.add(folded)
            continue
        refused[reason] = refused.get(reason, 0) + 1
    return admitted, refused


def _folded(prompt: str) -> str:
    return " ".join(prompt.casefold().split())
