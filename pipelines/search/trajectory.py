"""Trajectories, and what is recorded of each: its iterations, and their candidates.

All are frozen. A history is a list of iterations that only grows at its end.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from pipelines.search.notices import Notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """One search: a user, a prompt, a scorer and a run.

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
    """`--seed`, from which the seeds of the proposals are derived."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the prompts file says of the image beside its prompt."""

    @property
    def id(self) -> str:
        """Unique within a run folder: no part but the last may hold a slash."""
        return f"{self.prompt_id}/{self.scorer}/{self.run}/{self.user}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One prompt of a round. It has an image and a score, or an error, or was rejected before it had them."""

    prompt: str
    image: str | None = None
    """Key of the image in the run folder."""
    score: float | None = None
    error: str | None = None
    preview: str | None = None
    """Key of the preview in the run folder."""
    preview_score: float | None = None
    measured: Mapping[str, float] = field(default_factory=dict)
    """What guards compare, by name; only candidates that would be the best are measured."""
    warnings: tuple[Notice, ...] = ()
    rejected: Notice | None = None
    """Why it was not rendered, or not finished, or cannot be the best, whatever its score."""
    origin: tuple[str, int] | None = None
    """User for whom it was rendered, and its place among that user's candidates; None: the trajectory's own."""

    @property
    def eligible(self) -> bool:
        """Whether it may be the best."""
        return self.score is not None and self.rejected is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reseeded:
    """A winner and its base prompt, each rendered and scored again with fresh seeds."""

    prompt: str
    """The winner's."""
    seeds: tuple[int, ...]
    initial: tuple[Candidate, ...]
    final: tuple[Candidate, ...]
    """One for each seed."""
    warnings: tuple[Notice, ...] = ()
    rejected: Notice | None = None

    @property
    def means(self) -> tuple[float, float]:
        """Mean scores of base prompt and winner over the seeds for which both have a score; nan where there is none."""
        pairs = zip(self.initial, self.final, strict=True)
        both = [(a.score, b.score) for a, b in pairs if a.score is not None and b.score is not None]
        if not both:
            return math.nan, math.nan
        return fmean(before for before, _ in both), fmean(after for _, after in both)


@dataclass(frozen=True, slots=True, kw_only=True)
class Iteration:
    """One finished round. `refused` counts proposals that were dropped, by reason."""

    number: int
    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...] = ()
    """The proposer's seed of each attempt; none in the base prompt's iteration."""
    refused: Mapping[str, int] = field(default_factory=dict)
    pooled: tuple[Candidate, ...] = ()
    """What the others of the cohort rendered in this round, scored for this trajectory."""
    reseeded: Reseeded | None = None
    """Of a round in which nothing was searched, but the winner was rendered with fresh seeds."""

    @property
    def scored(self) -> Iterator[Candidate]:
        """All that have a score for this trajectory: its own, then the others'."""
        return (c for c in (*self.candidates, *self.pooled) if c.score is not None)


History = Sequence[Iteration]


def walk(history: History) -> Iterator[tuple[Iteration, Candidate | None]]:
    """Each iteration with the best candidate after it.

    The best has the highest score; of equal scores the earliest is kept. A best that the reseed guard has rejected
    gives way to the one before it.
    """
    bests: list[Candidate] = []
    for iteration in history:
        if iteration.reseeded is not None and iteration.reseeded.rejected is not None:
            bests.pop()
        best = bests[-1] if bests else None
        for candidate in iteration.scored:
            if candidate.eligible and beats(candidate, best):
                best = candidate
        if best is not None and (not bests or best is not bests[-1]):
            bests.append(best)
        yield iteration, bests[-1] if bests else None


def beats(candidate: Candidate, best: Candidate | None) -> bool:
    """Whether a candidate's score is higher than the best's, or there is none."""
    assert candidate.score is not None
    return best is None or best.score is None or candidate.score > best.score


def best_so_far(history: History) -> Candidate | None:
    """The best of a whole history; None where not even the base prompt has a score."""
    return next(reversed([best for _, best in walk(history)]), None)


def derive_seed(*parts: object) -> int:
    """A 63-bit seed that depends on every part and on nothing else (SHA-256 of their JSON)."""
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def image_seed(seed: int, base_prompt: str) -> int:
    """The one seed of all images of a prompt: the same for every user, run and scorer."""
    return derive_seed("image", seed, base_prompt)


def fresh_seeds(trajectory: Trajectory, count: int) -> list[int]:
    """Further image seeds of a prompt, again the same for every user, run and scorer."""
    return [derive_seed("fresh image", trajectory.image_seed, number) for number in range(count)]


def proposal_seed(trajectory: Trajectory, iteration: int, attempt: int) -> int:
    """The proposer's seed of one attempt. All differ, so that users and runs explore independently."""
    return derive_seed("proposals", trajectory.seed, trajectory.id, iteration, attempt)


def shared_proposal_seed(trajectory: Trajectory, attempt: int) -> int:
    """The proposer's seed in a first round that all users and scorers of a prompt share, in one run."""
    return derive_seed("shared proposals", trajectory.seed, trajectory.prompt_id, trajectory.run, attempt)
