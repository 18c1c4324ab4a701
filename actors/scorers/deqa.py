"""DeQA-Score, whose code comes with its checkpoint."""

from typing import Any

from actors.messages import Rendering, ScoreRequest
from actors.scorers.loading import device, loading
from actors.scorers.picture import rgb

NAME = "deqa"


class DeQAScorer:
    """DeQA-Score: the expected quality of an image by a 7B model that was trained on distributions of ratings.

    1 to 5, higher is better; knows neither user nor prompt.
    """

    def __init__(self, model: str, revision: str | None, dtype: str, trust_remote_code: bool) -> None:
        self._source = model
        self._revision = revision
        self._dtype = dtype
        self._trust_remote_code = trust_remote_code

    def setup(self) -> None:
        if not self._trust_remote_code:
            raise ValueError(
                f"scorer {NAME}: the checkpoint {self._source} brings its own code, which would be run here; "
                f"read it, then allow it by --set generic.{NAME}.trust_remote_code=true"
            )
        with loading(NAME):
            import torch
            from transformers import AutoModelForCausalLM

            model: Any = AutoModelForCausalLM.from_pretrained(
                self._source,
                revision=self._revision,
                trust_remote_code=True,
                attn_implementation="eager",
                torch_dtype=getattr(torch, self._dtype),
            )
            self._model = model.eval().to(device())

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        import torch

        with torch.inference_mode():
            return float(self._model.score([rgb(rendering)])[0])
