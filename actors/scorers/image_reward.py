"""ImageReward by its authors' package."""

from actors.messages import Rendering, ScoreRequest
from actors.scorers.loading import device, loading
from actors.scorers.picture import rgb

NAME = "imagereward"


class ImageRewardScorer:
    """ImageReward: how well people find that an image fits its prompt, by BLIP with a head trained on rankings.

    Standardised, so that 0 is the mean of the authors' images and 1 a standard deviation, about -2 to 2;
    higher is better. Sees the base prompt; knows no user.
    """

    def __init__(self, model: str, med_config: str | None) -> None:
        self._source = model
        self._med_config = med_config

    def setup(self) -> None:
        with loading(NAME):
            import ImageReward

            self._model = ImageReward.load(self._source, device=device(), med_config=self._med_config)

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        import torch

        with torch.inference_mode():
            return float(self._model.score(request.base_prompt, rgb(rendering)))
