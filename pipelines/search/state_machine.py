"""The search as a pure state machine (paper, section 5).

A trajectory is one user x prompt x run x scorer. Iteration 0 renders and scores the base prompt; each further iteration
scores variations of the best prompt so far. The next step, and whether to stop, is a pure function of the recorded
history. No counter is kept beside it, so a resumed run and an undisturbed one cannot disagree.

Whatever goes beyond the paper is off unless `SearchSettings` turns it on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipelines.search.trajectory import Candidate, History, walk
from pipelines.settings.search import SearchSettings


class StopReason(StrEnum):
    """Why a trajectory has gone no further."""

    ITERATIONS = "iterations"
    """It has had all its iterations."""
    PATIENCE = "patience"
    """Too many iterations in a row brought no new best."""
    UNFINISHED = "unfinished"
    """The run was interrupted; `--resume` goes on with it."""
    FAILED = "failed"
    """Its base prompt or its proposer failed; `--resume` tries again."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Next: ask for variations of `context` and score them as iteration `number`."""

    number: int
    context: Candidate


@dataclass(frozen=True, slots=True)
class RenderBase:
    """Next: render and score the base prompt as iteration 0."""


@dataclass(frozen=True, slots=True)
class ScorePool:
    """Next: only score the images that the others of the cohort rendered in iteration `number`."""

    number: int


@dataclass(frozen=True, slots=True)
class Reseed:
    """Next: render and score the winner and the base prompt again, with fresh seeds."""

    number: int
    winner: Candidate


@dataclass(frozen=True, slots=True)
class Stop:
    """Next: nothing. The search has come to its end."""

    reason: StopReason


Step = RenderBase | Propose | ScorePool | Reseed | Stop


class BasePromptFailedError(RuntimeError):
    """The base prompt has no score, so there is nothing to improve on."""


def next_step(history: History, protocol: SearchSettings) -> Step:
    """What comes after `history`, by the paper's rule: N iterations, or `patience` in a row without a new best.

    The reseed guard comes last. Where it rejects the winner, the best before it is the winner, and is reseeded too.

    Raises
    ------
    BasePromptFailedError
        Iteration 0 is recorded and holds no score.
    """
    if not history:
        return RenderBase()
    bests = [best for _, best in walk(history)]
    if bests[0] is None:
        raise BasePromptFailedError(history[0].candidates[0].error or "the base prompt has no score")
    best = bests[-1]
    assert best is not None
    reason = _over([b for i, b in zip(history, bests, strict=True) if i.reseeded is None], protocol)
    if reason is None:
        return Propose(len(history), best)
    reseeded = {iteration.reseeded.prompt for iteration in history if iteration.reseeded is not None}
    if protocol.guards.reseed != "off" and best is not bests[0] and best.prompt not in reseeded:
        return Reseed(len(history), best)
    return Stop(reason)


def _over(bests: Sequence[Candidate | None], protocol: SearchSettings) -> StopReason | None:
    """Why the search is over, from the best after each of its iterations; None where it goes on."""
    if len(bests) > protocol.iterations:
        return StopReason.ITERATIONS
    stale = 0
    for earlier, later in zip(bests[-2::-1], bests[:0:-1], strict=True):
        if later is not earlier:
            break
        stale += 1
    return StopReason.PATIENCE if stale >= protocol.patience else None


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
