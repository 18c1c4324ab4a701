"""What is known of one person's taste: their answers as evidence, and the posterior that follows from it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from actors.messages import TasteFeatures
from pipelines.live.people.answers import PersonAnswer, ShownPicture
from predictor.taste.evidence import Answer, Evidence, Like, answer_of
from predictor.taste.hierarchical import ImageFeatures, Taste
from predictor.taste.posterior import Posterior, covariance_factor, infer


class KnownTaste:
    """A person's taste as it stands after each answer. A function of the answers alone."""

    def __init__(self, taste: Taste, answers: Sequence[PersonAnswer] = ()) -> None:
        self._taste = taste
        self._places: dict[str, int] = {}
        self._pictures: list[ShownPicture] = []
        self._said: list[Answer] = []
        for answer in answers:
            self._take(answer)
        self.posterior: Posterior = infer(taste, self.evidence)

    @property
    def evidence(self) -> Evidence:
        return Evidence(
            answers=tuple(self._said),
            ids=tuple(self._places),
            features=features_of([picture.seen for picture in self._pictures], self._taste.config.rank),
        )

    @property
    def answered(self) -> int:
        """Answers that tell something."""
        return len(self._said)

    def take(self, answer: PersonAnswer) -> None:
        """Learn from one more answer; a few milliseconds."""
        before = len(self._said)
        self._take(answer)
        if len(self._said) > before:
            self.posterior = infer(self._taste, self.evidence)

    def utilities(self, seen: Sequence[TasteFeatures]) -> tuple[Tensor, Tensor]:
        """Expected liking of N images (N,), and a factor B (N, rank + 1) of its covariance, B @ B.T."""
        features = features_of(seen, self._taste.config.rank)
        population = torch.tensor([image.population for image in seen], dtype=torch.float64)
        rows = covariance_factor(self.posterior.factor, features)
        return population + features.values @ self.posterior.taste, rows

    @property
    def noise(self) -> float:
        """Variance of what an image has that its features do not tell."""
        return self._taste.config.generic_error

    def _take(self, answer: PersonAnswer) -> None:
        for picture in answer.pictures:
            if picture.seen.id not in self._places:
                self._places[picture.seen.id] = len(self._pictures)
                self._pictures.append(picture)
        if not answer.is_evidence:
            return
        rows = tuple(self._places[name] for name in answer.shown)
        if answer.dislikes_all:
            self._said += [Like(image=row, liked=False) for row in rows]
        else:
            chosen, worst = (None if name is None else self._places[name] for name in (answer.chosen, answer.worst))
            self._said.append(answer_of(rows, chosen, worst))


def features_of(seen: Sequence[TasteFeatures], rank: int) -> ImageFeatures:
    """What a taste weighs of N images."""
    return ImageFeatures(
        generic=torch.tensor([image.generic for image in seen], dtype=torch.float64),
        values=torch.tensor([image.values for image in seen], dtype=torch.float64).reshape(len(seen), rank),
    )
