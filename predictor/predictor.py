"""The predictor: a trained model with its users and encoders, as a checkpoint folder, as scores and as questions.

    config.json  model.safetensors  users.parquet  evidence.parquet  starter.parquet  metrics.json  README.md

A score is the weighted mean of two models: the paper's transformer (`model`), of weight w, and the hierarchical taste
model (`taste`). The checkpoint keeps w; the recipe `paper` has w = 1.

    users of the training ratings     w * transformer(user) + (1 - w) * (generic + taste of the user)
    enrolled users, the population    w * transformer(no user) + (1 - w) * generic + taste of the user, if there is one

How a checkpoint folder is read and written is left to `checkpoint_content`, training to `fitting`, the evaluation's
ways of meeting new users to `evaluation.adaptation`, and how answers are read to `enrolment`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from predictor.checkpoint import LEARNT_COLUMNS
from predictor.checkpoint_content import CheckpointContent
from predictor.encoders.encoding import Images
from predictor.encoders.siglip import SiglipImages, SiglipTexts
from predictor.encoders.zero_shot import classify, text_half
from predictor.people import evidence_table
from predictor.people.catalogue import Catalogue
from predictor.people.enrolled import People
from predictor.people.person import Person, common_profile, mean_person
from predictor.people.users import unpacked
from predictor.taste.evidence import Answer, Evidence
from predictor.taste.hierarchical import ImageFeatures
from predictor.taste.posterior import Posterior, covariance_factor, prior
from predictor.taste.preference import Preference, preference
from predictor.taste.question import next_question
from predictor.transformer.scoring import PairScorer


@dataclass(kw_only=True, eq=False, repr=False)
class PamelaPredictor(CheckpointContent):
    """Predicts how a person would rate an image, on the 0-1 scale; higher is better. Loaded by `from_pretrained`."""

    def __post_init__(self) -> None:
        self.model.eval()
        self._row = {user: row for row, user in enumerate(self.users["user_id"].to_pylist())}
        self._pair_scorer = PairScorer(self.model)

    def with_users(self, users: pa.Table, evidence: pa.Table | None = None) -> "PamelaPredictor":
        """The same predictor with other users; those of the training ratings come first, in their order."""
        return replace(self, users=users, evidence=self.evidence if evidence is None else evidence)

    @property
    def user_ids(self) -> list[str]:
        return list(self._row)

    def person(self, user_id: str) -> Person:
        """A user: what was learnt from ratings, if there were any, and demographics.

        Raises
        ------
        ValueError
            The checkpoint does not know this user.
        """
        row = self._row[user_id] if user_id in self._row else self.people.row(user_id)
        taste = self.users["taste"][row].as_py()
        factor = self.users["factor"][row]
        return Person(
            name=user_id,
            user_embedding=self._user_embedding(row),
            demographics=self._demographics[row],
            taste=None if taste is None else torch.tensor(taste, dtype=torch.float64),
            level=self.users["level"][row].as_py(),
            factor=unpacked(factor.values.to_numpy(), self.taste.config.rank) if factor.is_valid else None,
        )

    def group(self, name: str, user_ids: Sequence[str]) -> Person:
        """The mean embedding and taste of several users, with the profile that they have in common (paper, section 5).

        Raises
        ------
        ValueError
            The checkpoint does not know one of the users, or there is none.
        """
        if not user_ids:
            raise ValueError(f"group {name!r} has nobody in it; name one user at least")
        people = [self.person(user_id) for user_id in user_ids]
        described = self._described_users
        profile = common_profile([described[self._row[user_id]] for user_id in user_ids], described)
        (vector,) = self.encoders.encode_people([profile])
        return replace(mean_person(name, people), demographics=None if bool(vector.isnan().any()) else vector)

    def population(self) -> Person:
        """The population: neither user nor demographics (paper, section 4)."""
        return Person(name="*")

    def describe(self, image: Image.Image, known: Mapping[str, str]) -> dict[str, str]:
        """The metadata that an image lacks, classified zero-shot into the categories of the training data.

        Empty where the image encoder has no text half.

        Raises
        ------
        ValueError
            The encoder's halves cannot be compared.
        """
        encoder = self.encoders.image
        unknown = {name: values for name, values in self.categories.items() if name not in known}
        return classify(encoder, image, unknown) if unknown and isinstance(encoder, SiglipImages) else {}

    def similarity(self, image: Image.Image, text: str) -> float:
        """Cosine of an image and a text, by the image encoder and its text half.

        Raises
        ------
        ValueError
            The image encoder has no text half, or its halves cannot be compared.
        """
        (image_vector,), (text_vector,) = self.encoders.image.encode([image]), self._text_encoder.encode([text])
        return float(image_vector @ text_vector)

    def score(
        self,
        images: Sequence[Image.Image],
        user: str | Person = "*",
        *,
        prompts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> NDArray[np.float64]:
        """Predicted ratings of N images for one person.

        Parameters
        ----------
        user
            A user id, `*` for nobody in particular, or what `person` or `group` gave.
        prompts
            (N,), the prompt each image was made for; None: unknown.
        metadata
            (N,), metadata columns of each image.

        Returns
        -------
        (N,), on the 0-1 scale, higher is better; not clipped, so extremes may lie slightly outside.

        Raises
        ------
        ValueError
            The user is unknown, or `prompts` or `metadata` is not of the images' length.
        """
        return self.score_images(self.encode(images, prompts=prompts, metadata=metadata), [self._who(user)])[0]

    def interval(
        self, images: Images, user: str | Person = "*", *, probability: float = 0.8
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where a person's own ratings of images fall with a probability: lower and upper ends, (len(images),) each.

        Parameters
        ----------
        images
            As returned by `encode`.

        Raises
        ------
        ValueError
            The user is unknown or a group, or the probability is not between 0 and 1.
        """
        if not 0 < probability < 1:
            raise ValueError(f"the probability of an interval must be between 0 and 1, got {probability:g}")
        from scipy.special import ndtri

        person = self._who(user)
        score = self.score_images(images, [person])[0]
        variance = self.covariance_factor(images, person).square().sum(1).numpy() + self.answer_noise
        width = float(ndtri(0.5 + probability / 2)) * np.sqrt(variance)
        return np.clip(score - width, 0, 1), np.clip(score + width, 0, 1)

    def prefer(
        self,
        first: Image.Image,
        second: Image.Image,
        user: str | Person = "*",
        *,
        prompts: tuple[str | None, str | None] = (None, None),
    ) -> Preference:
        """How probable it is that a person prefers the first image, finds both alike, or prefers the second.

        Raises
        ------
        ValueError
            The user is unknown, or a group.
        """
        images, person = self.encode([first, second], prompts=prompts), self._who(user)
        score, rows = self.score_images(images, [person])[0], self.covariance_factor(images, person)
        variance = (rows[:1] - rows[1:]).square().sum(1).numpy() + 2 * self.taste.config.perceived_noise
        ends = preference(score[:1] - score[1:], variance, self.taste.config.tie_zone)
        one, tie, other = (float(part[0]) for part in ends)
        return Preference(first=one, tie=tie, second=other)

    def catalogue(self, images: Images) -> Catalogue:
        """Images to ask about, as returned by `encode`."""
        return Catalogue(ids=evidence_table.image_ids(images), features=self.taste.features(images))

    def ask(
        self, candidates: Catalogue | None = None, user: str | Person = "*", *, size: int = 1, seed: int = 0
    ) -> list[int]:
        """Which image, pair or set of images to show a person next: rows of the candidates.

        The question is the one that should improve the person's ranking of the candidates most; among 10,000 it is
        found in milliseconds. Without candidates it is the next images of the starter set, which training found to tell
        most of its people; rows are then those of `starter`, which names their files.

        Parameters
        ----------
        candidates
            The images that may be shown and are to be ranked, as returned by `catalogue`.
        size
            1 for an image to rate or to like, 2 for a pair, more for a choice among so many.
        seed
            Of the sample of candidates and pairs of images that is compared.

        Raises
        ------
        ValueError
            The user is unknown or a group, or fewer candidates than `size` are left.
        """
        person = self._who(user)
        known = self.people.said_by(person.name, rank=self.taste.config.rank)
        ids = self.starter["id"].to_pylist() if candidates is None else candidates.ids
        answered = set(known.ids)
        askable = np.array([row for row, name in enumerate(ids) if name not in answered], np.intp)
        if len(askable) < size:
            raise ValueError(f"{len(askable)} images are left to ask {person.name!r} about; give {size} or more")
        if candidates is None:
            return askable[:size].tolist()
        rng = np.random.default_rng([seed, len(known.answers), 0xA5])
        return next_question(self.taste, self._posterior(person), candidates.features, askable, size=size, rng=rng)

    def enroll(
        self,
        user: str,
        images: Images,
        answers: Sequence[Answer],
        *,
        demographics: Mapping[str, Any] | None = None,
        update: bool = False,
    ) -> "PamelaPredictor":
        """The predictor with a new person, or with more answers of one who was enrolled before.

        Parameters
        ----------
        images
            As returned by `encode`; the answers name their rows.
        update
            Add the answers to what the person said before.

        Raises
        ------
        ValueError
            The name is empty, taken or (with `update`) unknown or of training; there is no answer; or a demographic
            column is not one of the checkpoint's.
        """
        if not answers:
            raise ValueError(f"no answer to enrol {user!r} by; give at least one")
        ids = evidence_table.image_ids(images)
        used = list(dict.fromkeys(ids[image] for answer in answers for image in answer.shown))
        rows = [used.index(name) if name in used else -1 for name in ids]
        seen = images[[ids.index(name) for name in used]]
        said = Evidence(
            answers=tuple(answer.relabelled(rows) for answer in answers),
            ids=tuple(used),
            features=self.taste.features(seen),
        )
        vectors = seen.image.numpy()
        return self._of(self.people.with_answers(user, said, vectors, self.taste, demographics or {}, update=update))

    def forget(self, user: str) -> "PamelaPredictor":
        """The predictor without an enrolled person: neither what they answered nor what was inferred of it is left.

        Raises
        ------
        ValueError
            The user is unknown, or of the training ratings, which also shaped the weights.
        """
        return self._of(self.people.without(user))

    def covariance_factor(self, images: Images, person: Person, *, features: ImageFeatures | None = None) -> Tensor:
        """Factor B (N, rank + 1) of the covariance of N predicted scores: cov = B @ B.T.

        Parameters
        ----------
        features
            Of the images, if they are computed already.

        Raises
        ------
        ValueError
            The person is a group, of which no covariance is known.
        """
        features = self.taste.features(images) if features is None else features
        return covariance_factor(self._posterior(person).factor, features)

    @property
    def answer_noise(self) -> float:
        """Variance of a rating around what is predicted of image and taste."""
        config = self.taste.config
        return config.perceived_noise if config.answer_noise is None else config.answer_noise

    def encode(
        self,
        images: Sequence[Image.Image],
        *,
        prompts: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> Images:
        """Encode images once, by the feature cache where it holds them, to score them for any number of people.

        Raises
        ------
        ValueError
            What is given is no list of Pillow's images, or `prompts` or `metadata` is not of the images' length.
        """
        if isinstance(images, Image.Image):
            raise ValueError("images must be a list of images, got one; put it into a list")
        if unlike := [image for image in images if not isinstance(image, Image.Image)]:
            raise ValueError(f"images must be Pillow's, got {unlike[0]!r:.60}; open files by PIL.Image.open")
        count = len(images)
        for name, values in (("prompts", prompts), ("metadata", metadata)):
            if values is not None and len(values) != count:
                raise ValueError(f"{name} must be one for each image, got {len(values)} for {count} images")
        return self.encoders.encode_images(images, prompts or [None] * count, metadata or [{}] * count)

    def score_images(
        self, images: Images, people: Sequence[Person], *, features: ImageFeatures | None = None
    ) -> NDArray[np.float64]:
        """Predicted ratings, shape (len(people), len(images)); `features` if they are computed already.

        Computed in double precision and rounded to nine digits, so that a score does not depend on what other images
        and people are in the call.
        """
        features = self.taste.features(images) if features is None else features
        generic = self.taste.config.level + features.generic
        weight = [1.0 if person.user_embedding is None else 1 - self.transformer_weight for person in people]
        taste = [torch.zeros(features.values.shape[1]) if p.taste is None else p.taste for p in people]
        level = [0.0 if person.taste is None else person.level for person in people]
        scores = (1 - self.transformer_weight) * generic.expand(len(people), -1)
        if people:
            personal = (
                torch.stack(taste).double() @ features.values.T + torch.tensor(level, dtype=torch.float64)[:, None]
            )
            scores = scores + torch.tensor(weight, dtype=torch.float64)[:, None] * personal
        if self.transformer_weight > 0 and len(people) and len(images):
            scores = scores + self.transformer_weight * self._transformer_scores(images, people)
        return scores.numpy().round(9)

    def _transformer_scores(self, images: Images, people: Sequence[Person]) -> Tensor:
        """The transformer's predictions, shape (len(people), len(images))."""
        config = self.model.config
        user = torch.stack([_or_nan(person.user_embedding, config.width) for person in people])
        demographics = torch.stack([_or_nan(person.demographics, config.profile_dimensions) for person in people])
        return self._pair_scorer.scores(images.image, images.prompt, images.metadata, demographics, user)

    def _who(self, user: str | Person) -> Person:
        if isinstance(user, Person):
            return user
        return self.population() if user == "*" else self.person(user)

    def _posterior(self, person: Person) -> Posterior:
        """A person's taste with its covariance; the prior where nothing is known of it."""
        if person.taste is None:
            return prior(self.taste)
        if person.factor is None:
            raise ValueError(f"{person.name!r} is a mean of people, whose uncertainty is not known; name a person")
        return Posterior(taste=person.taste.double(), level=person.level, factor=person.factor)

    @property
    def people(self) -> People:
        """Everybody the checkpoint knows, and what the enrolled ones said."""
        return People(users=self.users, evidence=self.evidence, trained=self.model.config.users)

    def _of(self, people: People) -> "PamelaPredictor":
        return self.with_users(people.users, people.evidence)

    def _user_embedding(self, row: int) -> Tensor | None:
        rated = row < self.model.config.users and self.users["n_ratings"][row].as_py() > 0
        return self.model.users.weight[row].detach() if rated and "user" not in self.model.config.without else None

    @cached_property
    def _text_encoder(self) -> SiglipTexts:
        encoder = self.encoders.image
        if not isinstance(encoder, SiglipImages):
            raise ValueError(f"{encoder.name} has no text half to compare images with; only SigLIP has one")
        return text_half(encoder)

    @cached_property
    def _described_users(self) -> list[dict[str, Any]]:
        return self.users.drop_columns(list(LEARNT_COLUMNS)).to_pylist()

    @cached_property
    def _demographics(self) -> list[Tensor | None]:
        vectors = self.encoders.encode_people(self._described_users)
        return [None if bool(vector.isnan().any()) else vector for vector in vectors]


def _or_nan(vector: Tensor | None, dimensions: int) -> Tensor:
    return torch.full((dimensions,), torch.nan, dtype=torch.float64) if vector is None else vector.double()
