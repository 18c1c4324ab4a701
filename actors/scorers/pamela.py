"""Scorers on the PAMELA predictor: one person's taste, or the population's. Both 0 to 1, higher is better."""

from collections.abc import Mapping
from functools import cached_property, lru_cache

from PIL import Image

from actors.messages import Rendering, ScoreRequest
from actors.scorers.picture import rgb
from predictor.predictor import PamelaPredictor, Person


class PamelaScorer:
    """Predicted rating of an image by one person, or by the mean of a group."""

    def __init__(self, checkpoint: str) -> None:
        self._checkpoint = checkpoint
        self._person = lru_cache(maxsize=4096)(self._resolve)

    def setup(self) -> None:
        """Load predictor and image encoder, and run the encoder once: what is missing shows here."""
        self._predictor.encoders.image.encode([Image.new("RGB", (8, 8))])

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        scores = self._predictor.score(
            [rgb(rendering)],
            self._person(*request.users),
            prompts=[request.base_prompt],
            metadata=[request.metadata],
        )
        return float(scores[0])

    def describe(self, known: Mapping[str, str], rendering: Rendering) -> dict[str, str]:
        """Metadata of an image beside what is known, in the categories of the predictor's training data."""
        return self._predictor.describe(rgb(rendering), known)

    @cached_property
    def _predictor(self) -> PamelaPredictor:
        return PamelaPredictor.from_pretrained(self._checkpoint)

    def _resolve(self, *users: str) -> Person:
        if not users:
            return self._predictor.population()
        if len(users) == 1:
            return self._predictor.person(users[0])
        return self._predictor.group("group", users)
