"""Who is scored on what: seen users as learnt, unseen ones after a few of their ratings, and the baselines.

population            the predictor itself, for nobody in particular
generic_head          the generic liking alone, a kernel ridge on the same features, without any user
equation_1            unseen users by the paper's rule, where another is measured
matrix_factorisation  for images that training has seen
population_mean       the mean of the other raters of the very image: it knows held-out ratings, and is the
                      most that anything could reach that says the same to everybody
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from predictor.adaptation import Context, Rule, Strangers
from predictor.data.dataset import Dataset
from predictor.data.splits import SPLITS
from predictor.encoders.encoding import Images, Progress
from predictor.evaluation.episodes import ImageKind, Meeting, meetings
from predictor.evaluation.factorisation import Factorisation, factorise
from predictor.evaluation.levels import user_level
from predictor.metrics import Vector
from predictor.predictor import PamelaPredictor, Person
from predictor.taste.hierarchical import Looks, Ratings

NOBODY = Person(name="*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is to be measured."""

    split: str = "test_seen"
    context: int = 15
    neighbours: int = 5
    tau: float = 0.1
    rule: Rule = "default"
    images: ImageKind = "unseen"
    """Of unseen users: which of their images count."""
    draws: int = 4
    seed: int = 0
    details: bool = True
    """Near-ties, diverging preferences, curves and the grid; without, only the two levels and the baselines."""

    @classmethod
    def parsed(cls, *, rule: str, images: str, **rest: Any) -> "Question":
        """From what was typed.

        Raises
        ------
        ValueError
            Something is out of range, or no such rule or kind of images.
        """
        if rule not in get_args(Rule):
            raise ValueError(f"unknown rule for strangers {rule!r}; known are {', '.join(get_args(Rule))}")
        if images not in get_args(ImageKind):
            raise ValueError(f"unknown kind of images {images!r}; known are {', '.join(get_args(ImageKind))}")
        return cls(rule=cast("Rule", rule), images=cast("ImageKind", images), **rest)

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}; the splits are {', '.join(SPLITS)}")
        if self.context < 0:
            raise ValueError(f"context must be at least 0, got {self.context}")
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1, got {self.draws}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Ratings that count, and what was predicted for each by the model and by the baselines."""

    rows: NDArray[np.intp]
    scores: dict[str, Vector]


@dataclass(frozen=True)
class Bench:
    """One predictor, one dataset, one question."""

    predictor: PamelaPredictor
    dataset: Dataset
    images: Images
    question: Question
    progress: Progress

    def seen(self, warnings: list[str]) -> Scored:
        """The ratings of a seen split."""
        rows = self.dataset.rows(self.question.split)
        people = {number: self._trained(number) for number in np.unique(self.dataset.user[rows]).tolist()}
        strangers = [number for number, person in people.items() if person is None]
        if len(strangers) == len(people):
            raise ValueError(
                f"{self.dataset.name}: the checkpoint has learnt of none of the {len(people)} users of split "
                f"{self.question.split!r}; evaluate it on the data that it was trained on, or on an unseen split"
            )
        if strangers:
            names = ", ".join(self.dataset.user_ids[number] for number in strangers[:5])
            warnings.append(
                f"{len(strangers)} of {len(people)} users had no training rating and are left out: {names}"
                + (", …" if len(strangers) > 5 else "")
            )
        rows = rows[~np.isin(self.dataset.user[rows], strangers)]
        user = self.dataset.user[rows]
        own = np.empty(len(rows))
        for done, (number, person) in enumerate(people.items(), start=1):
            if person is not None:
                own[user == number] = self.score(person, rows[user == number])
            self.progress("scoring", done, len(people))
        factors = np.empty(len(rows))
        for number in np.unique(user):
            at = user == number
            factors[at] = self.factors.scores(self.factors.user[number], self.dataset.image[rows[at]])
        return Scored(rows=rows, scores={"model": own, **self._impersonal(rows), "matrix_factorisation": factors})

    def strangers(self, warnings: list[str]) -> list[Scored]:
        """The ratings of an unseen split that are not context, once for each draw of contexts."""
        question = self.question
        rules: dict[str, Strangers] = {"model": self.rule(question.rule)}
        if question.rule != "paper":
            rules["equation_1"] = self.rule("paper")
        users = self._with_enough(question.context)
        left_out = len(np.unique(self.dataset.user[self.dataset.rows(question.split)])) - len(users)
        if left_out:
            warnings.append(
                f"{left_out} users have fewer than {question.context} context ratings with two more to evaluate on, "
                "and are left out"
            )
        scored = []
        for draw in range(question.draws):
            parts: dict[str, list[Vector]] = {name: [] for name in (*rules, "matrix_factorisation")}
            rows = []
            for met in self.met(draw):
                if met.user not in users:
                    continue
                counted, context = met.evaluated(question.context), met.context(question.context)
                for name, rule in rules.items():
                    parts[name].append(self.score(self._stranger(rule, met.user, context), counted))
                factors = self.factors.meet(self.dataset.image[context], self.dataset.rating[context])
                parts["matrix_factorisation"].append(self.factors.scores(factors, self.dataset.image[counted]))
                rows.append(counted)
            together = np.concatenate(rows)
            of_people = {name: np.concatenate(vectors) for name, vectors in parts.items()}
            scored.append(Scored(rows=together, scores={**of_people, **self._impersonal(together)}))
            self.progress("meeting strangers", draw + 1, question.draws)
        return scored

    def score(self, person: Person, rows: NDArray[np.intp]) -> Vector:
        """One person's scores of the images of some ratings."""
        image = self.dataset.image[rows]
        return self.predictor.score_images(self.images[image], [person], looks=self.looks[image])[0]

    def consensus(self, name: str) -> Vector:
        """One score per image at the population level; nan for what has none."""
        if name in ("model", "population"):
            return self._of_nobody
        if name == "generic_head":
            return self.looks.generic.numpy()
        if name == "matrix_factorisation":
            return self.factors.consensus()
        return np.full(len(self.images), np.nan)

    @cached_property
    def looks(self) -> Looks:
        return self.predictor.taste.look(self.images)

    @cached_property
    def factors(self) -> Factorisation:
        rows = self.dataset.rows("train")
        if not len(rows):
            nothing = np.full((len(self.dataset.images), 1), np.nan)
            return Factorisation(mean=0.0, image=nothing, user=np.zeros((len(self.dataset.users), 1)))
        ratings = Ratings(
            user=self.dataset.user[rows], image=self.dataset.image[rows], rating=self.dataset.rating[rows]
        )
        return factorise(ratings, users=len(self.dataset.users), images=len(self.dataset.images))

    @cached_property
    def _of_nobody(self) -> Vector:
        return self.predictor.score_images(self.images, [NOBODY], looks=self.looks)[0]

    def _impersonal(self, rows: NDArray[np.intp]) -> dict[str, Vector]:
        """Scores that are the same for everybody."""
        image = self.dataset.image[rows]
        count = np.bincount(self.dataset.image, minlength=len(self.images))[image] - 1
        total = (
            np.bincount(self.dataset.image, self.dataset.rating, len(self.images))[image] - self.dataset.rating[rows]
        )
        others = np.divide(total, count, out=np.full(len(rows), np.nan), where=count > 0)
        return {
            "population": self._of_nobody[image],
            "generic_head": self.consensus("generic_head")[image],
            "population_mean": others,
        }

    def _trained(self, number: int) -> Person | None:
        """A user as learnt in training, under the name alone or after the dataset's; None if not learnt."""
        user_id = self.dataset.user_ids[number]
        for name in (user_id, f"{self.dataset.name}/{user_id}"):
            if name in self.predictor.user_ids:
                person = self.predictor.person(name)
                trained = self.predictor.users["n_ratings"][self.predictor.user_ids.index(name)].as_py() > 0
                return person if trained else None
        return None

    def rule(self, rule: Rule) -> Strangers:
        return self._rules[rule]

    @cached_property
    def _rules(self) -> dict[str, Strangers]:
        question = self.question
        rules: Sequence[Rule] = ("default", "paper", "none")
        return {r: Strangers(self.predictor, r, question.neighbours, question.tau) for r in rules}

    def _stranger(self, rule: Strangers, user: int, context: NDArray[np.intp]) -> Person:
        image = self.dataset.image[context]
        met = Context(images=self.images[image], looks=self.looks[image], rating=self.dataset.rating[context])
        return rule.meet(self._demographics[user], met)

    @cached_property
    def _demographics(self) -> list[Person]:
        vectors = self.predictor.encoders.of_people(self.dataset.users.to_pylist())
        return [
            Person(name=name, demographics=None if bool(vector.isnan().any()) else vector)
            for name, vector in zip(self.dataset.user_ids, vectors, strict=True)
        ]

    def met(self, draw: int) -> list[Meeting]:
        question = self.question
        return meetings(self.dataset, question.split, images=question.images, draw=draw, seed=question.seed)

    def _with_enough(self, k: int) -> set[int]:
        """Users with k context ratings and something left, whatever the draw."""
        enough = set.intersection(
            *({met.user for met in self.met(draw) if met.has_enough(k)} for draw in range(self.question.draws))
        )
        if not enough:
            most = max((len(met.order) for met in self.met(0)), default=0)
            raise ValueError(
                f"{self.dataset.name}: nobody in {self.question.split!r} has {k} context ratings and two more "
                f"on {self.question.images} images to evaluate on (at most {most} ratings a user); give a smaller "
                "--context"
            )
        return enough

    def largest_context(self, wanted: int) -> tuple[int, set[int]]:
        """The largest number of context ratings, up to `wanted`, that half of the users have, and those users."""
        met = self.met(0)
        for k in range(wanted, self.question.context, -1):
            if sum(m.has_enough(k) for m in met) * 2 >= len(met):
                return k, self._with_enough(k)
        return self.question.context, self._with_enough(self.question.context)

    def by_context(
        self, rule: Strangers, k: int, most: int, users: set[int], *, draws: int | None = None
    ) -> dict[str, Vector]:
        """Each user's metrics after k ratings, evaluated on what is no context even for `most`; means over draws."""
        by_draw: list[dict[str, Vector]] = []
        for draw in range(draws or self.question.draws):
            met = [m for m in self.met(draw) if m.user in users]
            rows = [m.evaluated(most) for m in met]
            scores = [self.score(self._stranger(rule, m.user, m.context(k)), r) for m, r in zip(met, rows, strict=True)]
            together = np.concatenate(rows)
            by_draw.append(
                user_level(self.dataset.user[together], self.dataset.rating[together], np.concatenate(scores))
            )
        return mean_of_draws(by_draw)


def mean_of_draws(by_draw: Sequence[dict[str, Vector]]) -> dict[str, Vector]:
    """The mean of each user's values over the draws in which there is one."""
    means = {}
    for name in by_draw[0]:
        values = np.stack([draw[name] for draw in by_draw])
        defined = ~np.isnan(values)
        total = np.where(defined, values, 0).sum(0)
        means[name] = np.divide(total, defined.sum(0), out=np.full(len(total), np.nan), where=defined.any(0))
    return means
