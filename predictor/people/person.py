"""Whom to score for: one person, a group, or the population."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from predictor.data.profiles import as_text


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A user, a group or the population; None is what is not known."""

    name: str
    user_embedding: Tensor | None = None  # (width,), the transformer's
    demographics: Tensor | None = None  # (profile dimensions,)
    taste: Tensor | None = None  # (rank,), weights of the image features
    level: float = 0.0
    """How much higher than the mean user this one rates; only with a taste."""
    factor: Tensor | None = None
    """Cholesky factor L (rank + 1, rank + 1): L @ L.T is the joint covariance of taste and level, the level last.

    None with a taste: unknown, as of a group.
    """


def common_profile(rows: Sequence[Mapping[str, Any]], everybody: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The profile that a group is picked by: what its people have in common.

    Values that all of them share; of numbers also their range, where not everybody is in it.

    Parameters
    ----------
    rows, everybody
        Demographics by column, of the group and of all whom the checkpoint knows.

    Example:

        common_profile([{"age": 19, "sex": "f"}, {"age": 27, "sex": "m"}], everybody)  # -> {"age": "19 to 27"}
    """
    found: dict[str, Any] = {}
    for name in rows[0]:
        values, others = [row[name] for row in rows], [row[name] for row in everybody if row[name] is not None]
        if any(value is None for value in values):
            continue
        if all(value == values[0] for value in values):
            found[name] = values[0]
        elif all(isinstance(value, int | float) and not isinstance(value, bool) for value in others):
            low, high = min(values), max(values)
            if min(others) < low or high < max(others):
                found[name] = f"{as_text(low)} to {as_text(high)}"
    return found


def mean_person(name: str, people: Sequence[Person], weights: Sequence[float] | None = None) -> Person:
    """The weighted mean of people, each part over those of whom it is known; None where it is known of none.

    `weights` (P,) sum to 1; the level is averaged over all, 0 where unknown.
    """
    weight = [1 / len(people)] * len(people) if weights is None else weights

    def mean(vectors: list[Tensor | None]) -> Tensor | None:
        known = [(w, vector) for w, vector in zip(weight, vectors, strict=True) if vector is not None]
        if not known:
            return None
        return torch.stack([w * vector for w, vector in known]).sum(0) / sum(w for w, _ in known)

    return Person(
        name=name,
        user_embedding=mean([person.user_embedding for person in people]),
        demographics=mean([person.demographics for person in people]),
        taste=mean([person.taste for person in people]),
        level=sum(w * person.level for w, person in zip(weight, people, strict=True)),
    )
