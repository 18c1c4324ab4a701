"""HPSv3 by its authors' package."""

from actors.messages import Rendering, ScoreRequest
from actors.scorers.loading import device, loading
from actors.scorers.picture import rgb

NAME = "hpsv3"


class HPSv3Scorer:
    """Human Preference Score v3: the mean preference for an image given its prompt, by Qwen2-VL-7B with a head.

    Without limits, about -5 to 15; higher is better. The model gives a mean and a spread; the mean is the
    score, as its authors have it. Sees the base prompt; knows no user.
    """

    def __init__(self, checkpoint: str | None, config: str | None) -> None:
        self._checkpoint = checkpoint
        self._config = config

    def setup(self) -> None:
        with loading(NAME):
            from hpsv3 import HPSv3RewardInferencer

            self._model = HPSv3RewardInferencer(
                config_path=self._config, checkpoint_path=self._checkpoint, device=device()
            )

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        import torch

        with torch.inference_mode():
            # By name: the package and its repository have the two in another order.
            rewards = self._model.reward(image_paths=[rgb(rendering)], prompts=[request.base_prompt])
        return float(rewards[0][0])
