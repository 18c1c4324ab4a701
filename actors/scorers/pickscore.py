"""PickScore by transformers alone."""

from typing import Any

from actors.messages import Rendering, ScoreRequest
from actors.scorers.loading import device, loading
from actors.scorers.picture import rgb

NAME = "pickscore"
_LONGEST = 77


class PickScoreScorer:
    """PickScore v1: CLIP-H, trained on which of two images people picked for a prompt.

    The cosine of image and prompt times the model's temperature, about 15 to 25; higher is better.
    Sees the base prompt; knows no user.
    """

    def __init__(self, model: str, revision: str | None, processor: str) -> None:
        self._source = model
        self._revision = revision
        self._processor_source = processor

    def setup(self) -> None:
        with loading(NAME):
            from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

            # Pillow's resizing, on which the model was trained; torchvision's gives other pixels.
            self._images = AutoImageProcessor.from_pretrained(self._processor_source, backend="pil")
            self._tokens: Any = AutoTokenizer.from_pretrained(self._processor_source)
            model: Any = CLIPModel.from_pretrained(self._source, revision=self._revision or "main")
            self._model = model.eval().to(device())

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        import torch

        pixels = self._images(images=[rgb(rendering)], return_tensors="pt").to(self._model.device)
        tokens = self._tokens([request.base_prompt], truncation=True, max_length=_LONGEST, return_tensors="pt")
        with torch.inference_mode():
            logits = self._model(**pixels, **tokens.to(self._model.device)).logits_per_image
        return float(logits[0, 0])
