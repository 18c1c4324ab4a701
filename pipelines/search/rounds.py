"""What is recorded of a cohort: its rounds, with what was proposed for whom, and everybody's scores of every image.

All are frozen. An image has one score for each user of the cohort, whoever it was proposed for; so the scores of a
round are an array, and nothing is an object for each user and image.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from pipelines.search.notices import Notice

Scores = NDArray[np.float32]
"""Single precision: predictions are not better than that, and 45 million of them are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One proposed prompt. It has an image, or an error, or was rejected before it had either."""

    prompt: str
    image: str | None = None
    """Key of the image in the run folder."""
    error: str | None = None
    """Why it has no image, or its image no scores."""
    preview: str | None = None
    """Key of the preview in the run folder."""
    preview_score: float | None = None
    warnings: tuple[Notice, ...] = ()
    """Those that the prompt has had, before anything was rendered."""
    rejected: Notice | None = None
    """Why it was not rendered, or not finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What was proposed in one round, for one user or for all of a cohort."""

    users: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    shared: bool = False
    """Whether all users of the prompt have the same, in other cohorts too: base prompt, shared first round."""
    seeds: tuple[int, ...] = ()
    """The proposer's seed of each attempt; none for the base prompt."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Proposals that were dropped, by reason."""


@dataclass(frozen=True, slots=True)
class Refusals:
    """What was refused, counted by reason."""

    proposals: Counter[str] = field(default_factory=Counter)
    """Of the proposer's answers."""
    images: Counter[str] = field(default_factory=Counter)
    """Of the candidates that could not be rendered or scored."""

    @classmethod
    def of(cls, proposed: Sequence[Proposed]) -> "Refusals":
        """Of one round."""
        counts = cls()
        for each in proposed:
            counts.proposals.update(each.refused)
            counts.images.update(c.error for c in each.candidates if c.error is not None)
        return counts

    def __add__(self, other: "Refusals") -> "Refusals":
        return Refusals(self.proposals + other.proposals, self.images + other.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardVerdict:
    """What the guards measured of an image, and say of it. It holds for all users, who share the base image."""

    measured: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[Notice, ...] = ()
    rejected: Notice | None = None
    error: str | None = None
    """Why it could not be measured; it cannot be anybody's best then."""

    @property
    def passed(self) -> bool:
        return self.rejected is None and self.error is None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshImage:
    """An image with a fresh seed, and its score for one user; or the error."""

    image: str | None = None
    score: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reseeded:
    """A winner and its base prompt, each rendered and scored again with fresh seeds."""

    prompt: str
    """The winner's."""
    seeds: tuple[int, ...]
    initial: tuple[FreshImage, ...]
    final: tuple[FreshImage, ...]
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Round:
    """One finished round of a cohort."""

    number: int
    proposed: tuple[Proposed, ...] = ()
    scores: Scores = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """Shape (users, new images); the images in the order of `new_images`; nan where a user has no score."""
    verdicts: Mapping[str, GuardVerdict] = field(default_factory=dict)
    """By image: those that would have been somebody's best."""
    reseeded: Mapping[str, Reseeded] = field(default_factory=dict)
    """By user, in a round in which nothing is searched, but winners are rendered with fresh seeds."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """By user, the image of an earlier round that the person chose themselves before this one. It is their best from
    then on, whatever its score. A round in which nothing else is recorded ends the search: they keep it."""

    @property
    def searches(self) -> bool:
        return not self.reseeded and not self.keeps

    @property
    def keeps(self) -> bool:
        """Whether it records a choice and nothing else."""
        return bool(self.chosen) and not self.proposed


def new_images(proposed: Sequence[Proposed], known: AbstractSet[str]) -> Iterator[tuple[Candidate, Proposed]]:
    """The candidates whose images are scored in a round, in the order of the proposals.

    Each image comes once, by the candidate that had it first; none that an earlier round has scored, nor one that can
    have no scores.
    """
    seen = set(known)
    for proposals in proposed:
        for candidate in proposals.candidates:
            if candidate.image is not None and candidate.error is None and candidate.image not in seen:
                seen.add(candidate.image)
                yield candidate, proposals
