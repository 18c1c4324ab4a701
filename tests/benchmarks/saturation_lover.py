"""A reward model that can be hacked on purpose: it adores saturation, whoever looks and whatever is shown."""

from collections.abc import Mapping

from actors.messages import Rendering, ScoreRequest
from actors.scorers.pamela import PamelaScorer
from actors.scorers.picture import rgb
from predictor.simulation.attributes import ATTRIBUTES, measure

SATURATION = ATTRIBUTES.index("saturation")


class SaturationLover(PamelaScorer):
    """Scores a person's images by their mean chroma alone; nobody's in particular, as the predictor does."""

    def score_each(self, request: ScoreRequest, rendering: Rendering) -> list[float]:
        if not all(request.audiences):
            return super().score_each(request, rendering)
        chroma = float(measure(rgb(rendering))[SATURATION])
        return [round(chroma / 100, 9)] * len(request.audiences)

    def describe(self, known: Mapping[str, str], rendering: Rendering) -> dict[str, str]:
        return {}
