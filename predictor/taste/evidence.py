"""What a person answered about images: a rating, a like, a pair, a choice among several, an order.

Images are rows of whatever features the answers come with. An answer is valid once it exists: it names different
images, and its choice is among those that were shown. What answers say of a taste is left to `likelihood`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch

from predictor.taste.hierarchical import ImageFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """One image rated from 0 to 1."""

    image: int
    rating: float

    def __post_init__(self) -> None:
        if not 0 <= self.rating <= 1:
            raise ValueError(f"a rating must be from 0 to 1, got {self.rating:g}; scale it first")

    @property
    def shown(self) -> tuple[int, ...]:
        return (self.image,)

    def relabelled(self, rows: Sequence[int]) -> Self:
        return replace(self, image=rows[self.image])


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """One image that was liked, or not."""

    image: int
    liked: bool

    @property
    def shown(self) -> tuple[int, ...]:
        return (self.image,)

    def relabelled(self, rows: Sequence[int]) -> Self:
        return replace(self, image=rows[self.image])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two images, and which of them is preferred; None where neither is: a tie."""

    first: int
    second: int
    preferred: int | None

    def __post_init__(self) -> None:
        _check_different(self.shown)
        _check_among("preferred", self.preferred, self.shown)

    @property
    def shown(self) -> tuple[int, ...]:
        return (self.first, self.second)

    def relabelled(self, rows: Sequence[int]) -> Self:
        preferred = None if self.preferred is None else rows[self.preferred]
        return replace(self, first=rows[self.first], second=rows[self.second], preferred=preferred)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Two images or more, and which is the best, the worst, or both.

    Example:

        Choice(shown=(4, 9, 2, 7), best=9, worst=4)
    """

    shown: tuple[int, ...]
    best: int | None = None
    worst: int | None = None

    def __post_init__(self) -> None:
        _check_different(self.shown)
        _check_among("best", self.best, self.shown)
        _check_among("worst", self.worst, self.shown)
        if self.best is None and self.worst is None:
            raise ValueError(f"a choice among {len(self.shown)} images needs a best or a worst one; leave it out")
        if self.best == self.worst:
            raise ValueError("the best image of a choice cannot be its worst; name two, or one of them")

    def relabelled(self, rows: Sequence[int]) -> Self:
        best, worst = (None if row is None else rows[row] for row in (self.best, self.worst))
        return replace(self, shown=tuple(rows[row] for row in self.shown), best=best, worst=worst)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Two images or more, the best first."""

    shown: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_different(self.shown)

    def relabelled(self, rows: Sequence[int]) -> Self:
        return replace(self, shown=tuple(rows[row] for row in self.shown))


Answer = Rating | Like | Pair | Choice | Order


def answer_of(shown: tuple[int, ...], chosen: int | None, worst: int | None = None) -> Answer:
    """The answer that a row of a table of choices is: shown images, the chosen one, and maybe the worst.

    One image is a like or a dislike, two are a pair, where nothing chosen is a tie, and more are a choice.

    Raises
    ------
    ValueError
        Images are there twice or none are, or what was chosen was not shown; of three images or more nothing was.
    """
    if len(shown) == 1:
        _check_among("chosen", chosen, shown)
        if worst is not None:
            raise ValueError("a single image has no worst; leave both empty for a dislike")
        return Like(image=shown[0], liked=chosen is not None)
    if len(shown) == 2:
        if chosen is not None and chosen == worst:
            raise ValueError("the chosen image cannot be the worst as well; name two, or one of them")
        _check_among("worst", worst, shown)
        better = next(image for image in shown if image != worst) if worst is not None else None
        return Pair(first=shown[0], second=shown[1], preferred=chosen if chosen is not None else better)
    return Choice(shown=shown, best=chosen, worst=worst)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that one person answered, with what a taste weighs of the images, each there once, under an id of its own."""

    answers: tuple[Answer, ...]
    ids: tuple[str, ...]
    features: ImageFeatures

    def joined(self, other: "Evidence") -> "Evidence":
        """Both together; an image of both is there once, so that it stays one image to the posterior."""
        rows = {name: row for row, name in enumerate(self.ids)}
        new = [row for row, name in enumerate(other.ids) if name not in rows]
        rows |= {other.ids[row]: len(self.ids) + place for place, row in enumerate(new)}
        moved = [rows[name] for name in other.ids]
        return Evidence(
            answers=(*self.answers, *(answer.relabelled(moved) for answer in other.answers)),
            ids=(*self.ids, *(other.ids[row] for row in new)),
            features=ImageFeatures(
                generic=torch.cat([self.features.generic, other.features.generic[new]]),
                values=torch.cat([self.features.values, other.features.values[new]]),
            ),
        )


def _check_different(shown: Sequence[int]) -> None:
    if len(shown) < 2:
        raise ValueError(f"at least two images must be shown to choose between, got {len(shown)}")
    if len(set(shown)) < len(shown):
        raise ValueError(f"the images of one question must be different, got {', '.join(map(str, shown))}")


def _check_among(what: str, image: int | None, shown: Sequence[int]) -> None:
    if image is not None and image not in shown:
        raise ValueError(f"{what} must be one of the images shown, {', '.join(map(str, shown))}, got {image}")
