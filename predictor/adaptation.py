"""People whom training has not seen, from a few of their ratings: three rules.

default   their taste is inferred under the prior that was learnt from everybody's ratings (`taste`);
          with no rating they are predicted as anybody is; with one they are ranked so, at their own level
paper     equation 1: the mean of the K most similar seen users, weighted by exp(similarity / tau)
none      their ratings are not used; their demographics are, as under the other rules
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from predictor.encoders.encoding import Images
from predictor.predictor import PamelaPredictor, Person, mean_person
from predictor.taste.hierarchical import Looks

Rule = Literal["default", "paper", "none"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """K ratings that a stranger gave, 0 to 1, and the images they were given to."""

    images: Images
    looks: Looks
    rating: NDArray[np.float64]  # (K,)


@dataclass(frozen=True)
class Strangers:
    """Makes a person of a stranger's ratings.

    Raises
    ------
    ValueError
        The rule is unknown, or `neighbours` or `tau` is out of range.
    """

    predictor: PamelaPredictor
    rule: Rule = "default"
    neighbours: int = 5
    tau: float = 0.1

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"unknown rule for strangers {self.rule!r}; known are {', '.join(RULES)}")
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {self.neighbours}")
        if not self.tau > 0:
            raise ValueError(f"tau must be above 0, got {self.tau:g}")

    def meet(self, known: Person, context: Context) -> Person:
        """A stranger, of whom `known` says the name and the demographics, after the context's ratings."""
        alone = Person(name=known.name, demographics=known.demographics)
        if self.rule == "none" or len(context.rating) == 0:
            return alone
        if self.rule == "paper":
            like = self._interpolated(profile(context.images.image.numpy(), context.rating))
            return replace(like, name=known.name, demographics=known.demographics)
        inferred, level = self.predictor.taste.infer(context.looks, torch.from_numpy(context.rating))
        return replace(alone, taste=inferred, level=level)

    def _interpolated(self, of_stranger: NDArray[np.float64]) -> Person:
        """Equation 1 on all that was learnt of the neighbours: embedding, taste and level."""
        people, profiles = self._seen
        similarity = profiles @ (of_stranger / max(float(np.linalg.norm(of_stranger)), 1e-12))
        nearest = np.argsort(-similarity, kind="stable")[: self.neighbours]
        weight = np.exp((similarity[nearest] - similarity[nearest[0]]) / self.tau)
        return mean_person("", [people[n] for n in nearest], (weight / weight.sum()).tolist())

    @cached_property
    def _seen(self) -> tuple[list[Person], NDArray[np.float64]]:
        """The users that training has seen, and their profiles, of unit length, (U, image dimensions)."""
        users = self.predictor.users
        trained = [
            n > 0 and row < self.predictor.model.config.users for row, n in enumerate(users["n_ratings"].to_pylist())
        ]
        names = [user for user, seen in zip(users["user_id"].to_pylist(), trained, strict=True) if seen]
        profiles = np.array([p for p, seen in zip(users["profile"].to_pylist(), trained, strict=True) if seen])
        length = np.linalg.norm(profiles, axis=1, keepdims=True)
        return [self.predictor.person(name) for name in names], profiles / np.maximum(length, 1e-12)


def profile(images: NDArray[np.float32], rating: NDArray[np.float64]) -> NDArray[np.float64]:
    """What a person looks for: the mean of image vectors (K, D), weighted by ratings (K,) (paper, section 3.2).

    Zeros where there is no rating above the lowest.
    """
    total = rating.sum()
    return rating @ images.astype(np.float64) / total if total > 0 else np.zeros(images.shape[1])
