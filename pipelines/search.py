"""The search as a pure state machine (paper, section 5).

A trajectory is one user x prompt x run x scorer. Iteration 0 renders and scores the base prompt;
each further one scores variations of the best prompt so far. What comes next, and whether to stop,
is a function of what is recorded and of nothing else: there is no counter beside the history, so a
resumed run and an unbroken one cannot disagree.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """What one search is for.

    Example:

        Trajectory(user="u01", members=("u01",), prompt_id="p1", base_prompt="a cat", scorer="pamela", run=1,
                   image_seed=41, seed=0)
    """

    user: str
    """User id, a `group:` predicate, or "*" for a scorer that knows no user."""
    members: tuple[str, ...]
    """The ids behind `user`: one, those of a group, or none."""
    prompt_id: str
    base_prompt: str
    scorer: str
    run: int
    """1-based; runs of one user and prompt share the image seed and differ in their proposals."""
    image_seed: int
    seed: int
    """The seed of the whole run, from which the proposals' seeds are derived."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the prompts file says of the image beside its prompt."""

    @property
    def id(self) -> str:
        """Unique within a run folder: no part but the last may hold a slash."""
        return f"{self.prompt_id}/{self.scorer}/{self.run}/{self.user}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One prompt that was tried: either it has an image and a score, or an error."""

    prompt: str
    image: str | None = None
    """Key of the image in the run folder."""
    score: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """One finished round. `refused` counts proposals that were dropped, by reason."""

    number: int
    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...] = ()
    """Of each time the proposer was asked; none for the base prompt's iteration."""
    refused: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The limits of the search. Defaults are the paper's: T = 20, 5 iterations, patience 2."""

    candidates: int = 20
    iterations: int = 5
    patience: int = 2
    asks: int = 3
    """How often the proposer is asked in one iteration before it goes on with too few."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Next: ask for variations of `context` and score them as iteration `number`."""

    number: int
    context: Candidate


@dataclass(frozen=True, slots=True)
class RenderBase:
    """Next: render and score the base prompt as iteration 0."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Next: nothing. `reason` is "iterations" or "patience"."""

    reason: str


Step = RenderBase | Propose | Stop


class BasePromptFailedError(RuntimeError):
    """The base prompt has no score, so that there is nothing to improve on."""


def best_so_far(history: Sequence[Iteration]) -> Candidate | None:
    """The highest score; the earliest of equals, so that a best is only ever replaced by a better one."""
    return next(reversed([best for _, best in walk(history)]), None)


def walk(history: Sequence[Iteration]) -> Iterator[tuple[Iteration, Candidate | None]]:
    """Each iteration with the best candidate of the search once it was finished."""
    best: Candidate | None = None
    for iteration in history:
        for candidate in iteration.candidates:
            if candidate.score is not None and (best is None or best.score is None or candidate.score > best.score):
                best = candidate
        yield iteration, best


def next_step(history: Sequence[Iteration], protocol: Protocol) -> Step:
    """What comes after `history`, by the paper's rule: N iterations, or `patience` in a row without a new best.

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
    if len(history) > protocol.iterations:
        return Stop("iterations")
    stale = 0
    for earlier, later in zip(bests[-2::-1], bests[:0:-1], strict=True):
        if later is not earlier:
            break
        stale += 1
    if stale >= protocol.patience:
        return Stop("patience")
    assert bests[-1] is not None
    return Propose(len(history), bests[-1])


def admit(proposals: Sequence[str], taken: Sequence[str], room: int) -> tuple[list[str], dict[str, int]]:
    """Keep the proposals that are new, in order, up to `room`.

    Parameters
    ----------
    taken
        Prompts that count as seen: the context, and what this iteration has admitted before.

    Returns
    -------
    The admitted prompts, and how many were refused as "empty", "broken" (halves of characters, which no file
    can hold), "duplicate" or "surplus".
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


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else (SHA-256 of their JSON)."""
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def image_seed(seed: int, base_prompt: str) -> int:
    """The one seed of all images of a prompt: the same for every user, run and scorer."""
    return derive_seed("image", seed, base_prompt)


def proposal_seed(trajectory: Trajectory, iteration: int, ask: int) -> int:
    """A fresh seed for each time the proposer is asked, so that users and runs explore independently."""
    return derive_seed("proposals", trajectory.seed, trajectory.id, iteration, ask)


def _folded(prompt: str) -> str:
    return " ".join(prompt.casefold().split())
