"""Whom to score for: one person, a group, or the population."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user, a group or the population; None is what is not known."""

    name: str
    user: Tensor | None = None  # (width,), the transformer's user embedding
    demographics: Tensor | None = None  # (profile dimensions,)
    taste: Tensor | None = None  # (rank,), weights of the image features
    level: float = 0.0
    """How much higher than the mean user this one rates; only with a taste."""
    factor: Tensor | None = None  # (rank + 1, rank + 1)
    """Its square is the covariance of taste and level, the level last; None with a taste: not known, as of a group."""


def mean_person(name: str, people: Sequence[Person], weights: Sequence[float] | None = None) -> Person:
    """The weighted mean of people, each part over those of whom it is known; None where it is known of none."""
    weight = [1 / len(people)] * len(people) if weights is None else weights

    def mean(vectors: list[Tensor | None]) -> Tensor | None:
        known = [(w, vector) for w, vector in zip(weight, vectors, strict=True) if vector is not None]
        if not known:
            return None
        return torch.stack([w * vector for w, vector in known]).sum(0) / sum(w for w, _ in known)

    return Person(
        name=name,
        user=mean([person.user for person in people]),
        demographics=mean([person.demographics for person in people]),
        taste=mean([person.taste for person in people]),
        level=sum(w * person.level for w, person in zip(weight, people, strict=True)),
    )
