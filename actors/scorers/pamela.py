"""Scorers on the PAMELA predictor: one person's taste, or the population's. Both 0 to 1, higher is better."""

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from PIL import Image

from actors.messages import Rendering, ScoreRequest, TasteFeatures
from actors.scorers.picture import rgb

if TYPE_CHECKING:  # PyTorch takes seconds to import, and the driver names this class without using it
    from predictor.encoders.encoding import Images
    from predictor.predictor import PamelaPredictor, Person


class PamelaScorer:
    """Predicted rating of an image by one person, or by the mean of a group."""

    def __init__(self, checkpoint: str) -> None:
        self._checkpoint = checkpoint
        self._person = lru_cache(maxsize=4096)(self._resolve)
        self._seen = lru_cache(maxsize=64)(self._see)

    def setup(self) -> None:
        """Load predictor and image encoder, and run the encoder once, so that a missing file fails before the run."""
        self._predictor.encoders.image.encode([Image.new("RGB", (8, 8))])

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        return self.score_each(request, rendering)[0]

    def score_each(self, request: ScoreRequest, rendering: Rendering) -> list[float]:
        """The scores of one image by every audience, in their order; each is what `score` gives for that audience."""
        images = self._seen(rendering.png, request.base_prompt, tuple(sorted(request.metadata.items())))
        people = [self._person(*users) for users in request.audiences]
        return self._predictor.score_images(images, people)[:, 0].tolist()

    def taste_features(self, request: ScoreRequest, rendering: Rendering) -> TasteFeatures:
        """The taste features of one image and its score for the population."""
        images = self._seen(rendering.png, request.base_prompt, tuple(sorted(request.metadata.items())))
        (seen,) = taste_features_of(self._predictor, images)
        return seen

    def describe(self, known: Mapping[str, str], rendering: Rendering) -> dict[str, str]:
        """Metadata of an image beside what is known, in the categories of the predictor's training data."""
        return self._predictor.describe(rgb(rendering), known)

    def similarity(self, text: str, rendering: Rendering) -> float:
        """Cosine of an image and a text, where the predictor's image encoder has a text half."""
        return self._predictor.similarity(rgb(rendering), text)

    @cached_property
    def _predictor(self) -> "PamelaPredictor":
        from predictor.predictor import PamelaPredictor

        return PamelaPredictor.from_pretrained(self._checkpoint)

    def _see(self, png: bytes, base_prompt: str, metadata: tuple[tuple[str, str], ...]) -> "Images":
        return self._predictor.encode([rgb(Rendering(png=png))], prompts=[base_prompt], metadata=[dict(metadata)])

    def _resolve(self, *users: str) -> "Person":
        if not users:
            return self._predictor.population()
        if len(users) == 1:
            return self._predictor.person(users[0])
        return self._predictor.group("group", users)


def taste_features_of(predictor: "PamelaPredictor", images: "Images") -> list[TasteFeatures]:
    """The taste features of encoded images and their scores for the population, one by one."""
    catalogue = predictor.catalogue(images)
    scores = predictor.score_images(images, [predictor.population()], features=catalogue.features)[0]
    generic, values = catalogue.features.generic.tolist(), catalogue.features.values.tolist()
    return [
        TasteFeatures(id=name, population=float(score), generic=common, values=tuple(own))
        for name, score, common, own in zip(catalogue.ids, scores, generic, values, strict=True)
    ]
