"""Scores of one dataset split, by the predictor and by the baselines.

Seen users are scored as they were learnt in training, unseen users after adaptation to a few of their ratings. What is
made of the scores is left to `protocol`. The baselines:

population            the predictor itself, without user and demographics
generic_head          the generic part of the taste model alone: kernel ridge on the same features, without any user
equation_1            unseen users adapted by the paper's rule, where another rule is measured
matrix_factorisation  for images with training ratings
population_mean       the mean rating of the same image by its other raters. It uses held-out ratings, and is the
                      upper bound of all scores that are the same for everybody
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar, cast, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from predictor.data.dataset import Dataset
from predictor.data.splits import SPLITS
from predictor.encoders.encoding import Images
from predictor.evaluation.adaptation import RULES, Adaptation, Context, Rule, check_equation_1, check_rule
from predictor.evaluation.episodes import Episode, ImageKind, sample_episodes
from predictor.evaluation.factorisation import Factorisation, factorise
from predictor.evaluation.levels import user_level
from predictor.evaluation.reliability import RatedPerson
from predictor.metrics import Vector, group_rows
from predictor.people.person import Person
from predictor.predictor import PamelaPredictor
from predictor.progress import Progress
from predictor.taste.hierarchical import ImageFeatures
from predictor.taste.training_answers import Ratings
from predictor.threads import thread_map

Result = TypeVar("Result")

POPULATION = Person(name="*")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """What is measured, and how unseen users are adapted to."""

    split: str = "test_seen"
    context: int = 15
    neighbours: int = 5
    tau: float = 0.1
    rule: Rule = "default"
    images: ImageKind = "unseen"
    """Which images of unseen users are evaluated on: those without a training rating, or those with one."""
    draws: int = 4
    """Episodes of each unseen user, with different contexts."""
    seed: int = 0
    details: bool = True
    """Also near-ties, diverging preferences, curves and the grid, not only the two levels and the baselines."""

    @classmethod
    def parse(cls, *, rule: str, images: str, **rest: Any) -> "EvaluationConfig":
        """Of strings from the command line.

        Raises
        ------
        ValueError
            A value is out of range, or there is no such rule or kind of images.
        """
        check_rule(rule)
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
        check_equation_1(self.neighbours, self.tau)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredRatings:
    """The ratings that are evaluated on, and the scores of each by the model and by the baselines."""

    rows: NDArray[np.intp]  # (R,), of the dataset
    scores: dict[str, Vector]  # name -> (R,)
    people: tuple[tuple[Person, NDArray[np.intp]], ...]
    """Whom the model scored for, and the positions of their ratings in `rows`."""


@dataclass(frozen=True)
class Evaluator:
    """One predictor on one dataset; what several measures need is computed once."""

    predictor: PamelaPredictor
    dataset: Dataset
    images: Images
    config: EvaluationConfig
    progress: Progress = lambda what, done, total: None

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """The ratings of the split, as rows of the dataset."""
        return self.dataset.rows(self.config.split)

    def score_seen(self, warnings: list[str]) -> ScoredRatings:
        """Scores of a seen split; users without a training rating are left out, with a warning."""
        rows = self.rows
        people = {number: self._trained(number) for number in np.unique(self.dataset.user[rows]).tolist()}
        unknown = [number for number, person in people.items() if person is None]
        if len(unknown) == len(people):
            raise ValueError(
                f"{self.dataset.name}: the checkpoint has learnt of none of the {len(people)} users of split "
                f"{self.config.split!r}; evaluate it on the data that it was trained on, or on an unseen split"
            )
        if unknown:
            names = ", ".join(self.dataset.user_ids[number] for number in unknown[:5])
            warnings.append(
                f"{len(unknown)} of {len(people)} users had no training rating and are left out: {names}"
                + (", …" if len(unknown) > 5 else "")
            )
        rows = rows[~np.isin(self.dataset.user[rows], unknown)]
        user = self.dataset.user[rows]
        own, factors, scored = np.empty(len(rows)), np.empty(len(rows)), []
        for done, at in enumerate(group_rows(user), start=1):
            number = int(user[at[0]])
            person = people[number]
            assert person is not None  # the others' rows are left out
            scored.append((person, at))
            own[at] = self.score(person, rows[at])
            factors[at] = self.factors.scores(self.factors.user[number], self.dataset.image[rows[at]])
            self.progress("scoring", done, len(people) - len(unknown))
        return ScoredRatings(
            rows=rows,
            scores={"model": own, **self._user_independent(rows), "matrix_factorisation": factors},
            people=tuple(scored),
        )

    def score_unseen(self, warnings: list[str]) -> list[ScoredRatings]:
        """Scores of an unseen split's query ratings, once for each draw of contexts."""
        config = self.config
        adaptations: dict[str, Adaptation] = {"model": self.adaptation(config.rule)}
        if config.rule != "paper":
            adaptations["equation_1"] = self.adaptation("paper")
        users = self._users_with_context(config.context)
        left_out = len(np.unique(self.dataset.user[self.rows])) - len(users)
        if left_out:
            warnings.append(
                f"{left_out} users have fewer than {config.context} context ratings with two more to evaluate on, "
                "and are left out"
            )

        def of_episode(episode: Episode) -> tuple[NDArray[np.intp], Person, NDArray[np.float64]]:
            """The query's rows, the adapted user, and the scores (adaptations + 1, rows)."""
            query, given = episode.query(config.context), episode.context(config.context)
            unadapted, context = self._unadapted[episode.user], self._context(given)
            people = [adaptation.adapt(unadapted, context) for adaptation in adaptations.values()]
            factors = self.factors.fold_in(self.dataset.image[given], self.dataset.rating[given])
            by_factors = self.factors.scores(factors, self.dataset.image[query])
            return query, people[0], np.vstack([self.scores(people, query), by_factors])

        scored = []
        for found in self._by_episode("adapting to unseen users", of_episode, users, config.draws):
            rows, adapted, scores = zip(*found, strict=True)
            ends = np.cumsum([len(query) for query in rows])
            together, personal = np.concatenate(rows), np.concatenate(scores, 1)
            scored.append(
                ScoredRatings(
                    rows=together,
                    scores={
                        **dict(zip((*adaptations, "matrix_factorisation"), personal, strict=True)),
                        **self._user_independent(together),
                    },
                    people=tuple(zip(adapted, np.split(np.arange(ends[-1]), ends[:-1]), strict=True)),
                )
            )
        return scored

    def score(self, person: Person, rows: NDArray[np.intp]) -> Vector:
        """One person's scores of the images of some ratings."""
        return self.scores([person], rows)[0]

    def scores(self, people: Sequence[Person], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """Several people's scores of the images of some ratings, (people, rows)."""
        image = self.dataset.image[rows]
        return self.predictor.score_images(self.images[image], people, features=self.features(image))

    def score_by_user(self) -> Vector:
        """The score of each rating of the split for the user who gave it, by what training learnt of them; (R,)."""
        user, scores = self.dataset.user[self.rows], np.empty(len(self.rows))
        for own in group_rows(user):
            person = self.predictor.person(self._user_ids[user[own[0]]])
            scores[own] = self.score(person, self.rows[own])
        return scores

    def covariance_factor(self, person: Person, rows: NDArray[np.intp]) -> Tensor:
        """Factor B (N, rank + 1) of the covariance of N predicted scores: cov = B @ B.T.

        Parameters
        ----------
        rows
            N ratings, whose images are scored.
        """
        image = self.dataset.image[rows]
        return self.predictor.covariance_factor(self.images[image], person, features=self.features(image))

    def rated_people(self, scored: ScoredRatings) -> list[RatedPerson]:
        """Each person's ratings, scores and covariance factor.

        People whose covariance is unknown (a mean of others, by equation 1) are left out.
        """
        return [
            self.rated(person, scored.rows[at], scored.scores["model"][at])
            for person, at in scored.people
            if person.taste is None or person.factor is not None
        ]

    def rated(self, person: Person, rows: NDArray[np.intp], score: Vector) -> RatedPerson:
        """One person's ratings (R,) beside their scores (R,)."""
        factor = self.covariance_factor(person, rows)
        return RatedPerson(rating=self.dataset.rating[rows], score=score, factor=factor)

    def consensus(self, name: str) -> Vector:
        """One score per image (I,), the same for everybody; nan where the baseline has none, and beyond the split."""
        scores = np.full(len(self.images), np.nan)
        if name in ("model", "population"):
            scores[self._used] = self._population_scores
        elif name == "generic_head":
            scores[self._used] = self._features.generic.numpy()
        elif name == "matrix_factorisation":
            scores = self.factors.consensus()
        return scores

    def features(self, image: NDArray[np.int64]) -> ImageFeatures:
        """Features of images of the split."""
        return self._features[np.searchsorted(self._used, image)]

    @cached_property
    def _used(self) -> NDArray[np.int64]:
        """The images of the split, in order: nothing is computed of the others."""
        return np.unique(self.dataset.image[self.rows])

    @cached_property
    def _features(self) -> ImageFeatures:
        return self.predictor.taste.features(self.images[self._used])

    @cached_property
    def factors(self) -> Factorisation:
        """The factorisation of the training ratings; of nothing where images are judged that these are not about."""
        rows, config = self.dataset.rows("train"), self.config
        judges_trained = config.split == "train" or (config.split.endswith("unseen") and config.images == "seen")
        if not len(rows) or not judges_trained:
            unknown = np.full((len(self.dataset.images), 1), np.nan)
            return Factorisation(mean=0.0, image=unknown, user=np.zeros((len(self.dataset.users), 1)))
        ratings = Ratings(
            user=self.dataset.user[rows], image=self.dataset.image[rows], rating=self.dataset.rating[rows]
        )
        return factorise(ratings, users=len(self.dataset.users), images=len(self.dataset.images))

    @cached_property
    def _population_scores(self) -> Vector:
        """Of the images of the split."""
        return self.predictor.score_images(self.images[self._used], [POPULATION], features=self._features)[0]

    def _user_independent(self, rows: NDArray[np.intp]) -> dict[str, Vector]:
        """Scores that are the same for everybody."""
        image = self.dataset.image[rows]
        count = np.bincount(self.dataset.image, minlength=len(self.images))[image] - 1
        total = (
            np.bincount(self.dataset.image, self.dataset.rating, len(self.images))[image] - self.dataset.rating[rows]
        )
        others = np.divide(total, count, out=np.full(len(rows), np.nan), where=count > 0)
        return {
            "population": self.consensus("population")[image],
            "generic_head": self.consensus("generic_head")[image],
            "population_mean": others,
        }

    def _trained(self, number: int) -> Person | None:
        """A user as learnt in training, by id or by `dataset/id`; None without a training rating."""
        user_id = self._user_ids[number]
        for name in (user_id, f"{self.dataset.name}/{user_id}"):
            if name in self._ratings_of:
                return self.predictor.person(name) if self._ratings_of[name] > 0 else None
        return None

    @cached_property
    def _user_ids(self) -> list[str]:
        return self.dataset.user_ids

    @cached_property
    def _ratings_of(self) -> dict[str, int]:
        """Of the people of training: what enrolled people answered may be what is evaluated on."""
        users = self.predictor.users.slice(0, self.predictor.model.config.users)
        return dict(zip(users["user_id"].to_pylist(), users["n_ratings"].to_pylist(), strict=True))

    def adaptation(self, rule: Rule) -> Adaptation:
        """The rule, with the configuration's neighbours and temperature."""
        return self._adaptations[rule]

    @cached_property
    def _adaptations(self) -> dict[str, Adaptation]:
        config = self.config
        return {rule: Adaptation(self.predictor, rule, config.neighbours, config.tau) for rule in RULES}

    def _context(self, rows: NDArray[np.intp]) -> Context:
        image = self.dataset.image[rows]
        return Context(images=self.images[image], features=self.features(image), rating=self.dataset.rating[rows])

    @cached_property
    def _unadapted(self) -> list[Person]:
        """The dataset's users with their demographics, before any rating."""
        vectors = self.predictor.encoders.encode_people(self.dataset.users.to_pylist())
        return [
            Person(name=name, demographics=None if bool(vector.isnan().any()) else vector)
            for name, vector in zip(self.dataset.user_ids, vectors, strict=True)
        ]

    def episodes(self, draw: int) -> list[Episode]:
        """One episode of each user of the split."""
        return self._episodes[draw]

    @cached_property
    def _episodes(self) -> list[list[Episode]]:
        """By draw."""
        config = self.config
        return [
            sample_episodes(self.dataset, config.split, images=config.images, draw=draw, seed=config.seed)
            for draw in range(config.draws)
        ]

    def _users_with_context(self, k: int) -> set[int]:
        """Users with k context ratings and enough left for the query, in every draw."""
        enough = set.intersection(
            *({e.user for e in self.episodes(draw) if e.has_enough(k)} for draw in range(self.config.draws))
        )
        if not enough:
            most = max((len(episode.order) for episode in self.episodes(0)), default=0)
            raise ValueError(
                f"{self.dataset.name}: nobody in {self.config.split!r} has {k} context ratings and two more "
                f"on {self.config.images} images to evaluate on (at most {most} ratings a user); give a smaller "
                "--context"
            )
        return enough

    def largest_context(self, wanted: int) -> tuple[int, set[int]]:
        """The largest number of context ratings, up to `wanted`, that half of the users have, and those users."""
        episodes = self.episodes(0)
        for k in range(wanted, self.config.context, -1):
            if sum(episode.has_enough(k) for episode in episodes) * 2 >= len(episodes):
                return k, self._users_with_context(k)
        return self.config.context, self._users_with_context(self.config.context)

    def metrics_by_context(
        self,
        what: str,
        adapt: Callable[[Person, Callable[[int], Context]], list[Person]],
        most: int,
        users: set[int],
        *,
        draws: int | None = None,
    ) -> list[dict[str, Vector]]:
        """Each user's metrics after several adaptations, means over draws.

        Evaluated on what is left by a context of `most` ratings, so that all are measured on the same ratings.

        Parameters
        ----------
        what
            For the progress.
        adapt
            The adapted users of an unadapted one and the context of their first k ratings.
        """

        def of_episode(episode: Episode) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
            query = episode.query(most)
            people = adapt(self._unadapted[episode.user], lambda k: self._context(episode.context(k)))
            return query, self.scores(people, query)

        by_draw = []
        for found in self._by_episode(what, of_episode, users, draws or self.config.draws):
            rows, scores = zip(*found, strict=True)
            together = np.concatenate(rows)
            user, rating = self.dataset.user[together], self.dataset.rating[together]
            by_draw.append([user_level(user, rating, own) for own in np.concatenate(scores, 1)])
        return [mean_of_draws(of_adaptation) for of_adaptation in zip(*by_draw, strict=True)]

    def _by_episode(
        self, what: str, function: Callable[[Episode], Result], users: set[int], draws: int
    ) -> Iterator[list[Result]]:
        """Of each draw the results in the order of these users' episodes, which are independent: on all cores."""
        for draw in range(draws):
            first, *rest = (episode for episode in self.episodes(draw) if episode.user in users)
            results: list[Result] = []
            for result in chain([function(first)], thread_map(function, rest)):  # the first computes what all need
                results.append(result)
                self.progress(what, draw * len(users) + len(results), draws * len(users))
            yield results


def mean_of_draws(by_draw: Sequence[dict[str, Vector]]) -> dict[str, Vector]:
    """The mean of each user's values over the draws in which there is one."""
    means = {}
    for name in by_draw[0]:
        values = np.stack([draw[name] for draw in by_draw])
        defined = ~np.isnan(values)
        total = np.where(defined, values, 0).sum(0)
        means[name] = np.divide(total, defined.sum(0), out=np.full(len(total), np.nan), where=defined.any(0))
    return means
