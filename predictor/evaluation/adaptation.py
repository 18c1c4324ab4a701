"""Adaptation to unseen users: from a few ratings to a `Person` that the predictor can score for.

Owns the three rules of few-shot adaptation. No rule trains anything or changes the predictor.

default   infer the user's taste under the prior that was learnt from all users (`predictor.taste`). No rating gives
          the population's prediction; one rating gives the population's ranking, at the user's own level
paper     equation 1: the mean of the K most similar seen users, weighted by exp(similarity / tau)
none      ignore the ratings

Every rule uses the user's demographics.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from predictor.encoders.encoding import Images
from predictor.people.person import Person, mean_person
from predictor.people.users import profile
from predictor.predictor import PamelaPredictor
from predictor.taste.evidence import Evidence, Rating
from predictor.taste.hierarchical import ImageFeatures
from predictor.taste.posterior import infer

Rule = Literal["default", "paper", "none"]
RULES: tuple[Rule, ...] = get_args(Rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """K ratings by an unseen user, 0 to 1, and the images that were rated."""

    images: Images
    features: ImageFeatures
    rating: NDArray[np.float64]  # (K,)

    @property
    def evidence(self) -> Evidence:
        answers = tuple(Rating(image=row, rating=rating) for row, rating in enumerate(self.rating.tolist()))
        return Evidence(answers=answers, ids=tuple(map(str, range(len(answers)))), features=self.features)


def check_rule(rule: str) -> None:
    """Refuse a rule that is none of `RULES`.

    Raises
    ------
    ValueError
        The rule is unknown.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule for strangers {rule!r}; known are {', '.join(RULES)}")


def check_equation_1(neighbours: int, tau: float) -> None:
    """Refuse parameters that equation 1 is not defined for.

    Raises
    ------
    ValueError
        `neighbours` is below 1, or `tau` is not above 0.
    """
    if neighbours < 1:
        raise ValueError(f"neighbours must be at least 1, got {neighbours}")
    if not tau > 0:
        raise ValueError(f"tau must be above 0, got {tau:g}")


@dataclass(frozen=True)
class Adaptation:
    """One rule of adaptation with its parameters.

    Parameters
    ----------
    predictor
        The predictor to adapt.
    rule
        `default`, `paper` or `none`.
    neighbours, tau
        K and the temperature of equation 1; the other rules ignore them.

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
        check_rule(self.rule)
        check_equation_1(self.neighbours, self.tau)

    def adapt(self, unadapted: Person, context: Context) -> Person:
        """The user after the context's ratings; `unadapted` has their name and demographics."""
        without_ratings = Person(name=unadapted.name, demographics=unadapted.demographics)
        if self.rule == "none" or len(context.rating) == 0:
            return without_ratings
        if self.rule == "paper":
            (person,) = self.by_equation_1(unadapted, context, [(self.neighbours, self.tau)])
            return person
        found = infer(self.predictor.taste, context.evidence)
        return replace(without_ratings, taste=found.taste, level=found.level, factor=found.factor)

    def by_equation_1(self, unadapted: Person, context: Context, settings: Sequence[tuple[int, float]]) -> list[Person]:
        """The user by equation 1, for each of several (neighbours, tau); the context has a rating or more.

        The mean is of all that was learnt of the neighbours: embedding, taste and level.
        """
        people, profiles = self._seen_users
        own = profile(context.images.image.numpy(), context.rating)
        similarity = profiles @ (own / max(float(np.linalg.norm(own)), 1e-12))
        order, found = np.argsort(-similarity, kind="stable"), []
        for neighbours, tau in settings:
            nearest = order[:neighbours]
            weight = np.exp((similarity[nearest] - similarity[nearest[0]]) / tau)
            mean = mean_person("", [people[n] for n in nearest], (weight / weight.sum()).tolist())
            found.append(replace(mean, name=unadapted.name, demographics=unadapted.demographics))
        return found

    @cached_property
    def _seen_users(self) -> tuple[list[Person], NDArray[np.float64]]:
        """The users of the training ratings, and their profiles, scaled to unit length, (U, image dimensions).

        The factors of their posteriors are left out: a mean has none, and they are most of what is kept of a person.
        """
        users = self.predictor.users.slice(0, self.predictor.model.config.users)
        users = users.filter(users["n_ratings"].to_numpy() > 0)
        people = [replace(self.predictor.person(name), factor=None) for name in users["user_id"].to_pylist()]
        profiles = np.array(users["profile"].to_pylist())
        return people, profiles / np.maximum(np.linalg.norm(profiles, axis=1, keepdims=True), 1e-12)
