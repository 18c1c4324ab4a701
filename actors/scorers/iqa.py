"""Scorers that pyiqa (IQA-PyTorch) keeps: LAION-Aesthetics and Q-Align."""

from typing import Any

import numpy as np

from actors.messages import Rendering, ScoreRequest
from actors.scorers.loading import loading
from actors.scorers.picture import rgb


class LaionScorer:
    """LAION-Aesthetics v2: a linear head on CLIP ViT-L/14, trained on people's ratings from 1 to 10.

    About 1 to 10, higher is better; knows neither user nor prompt.
    """

    def setup(self) -> None:
        with loading("laion"):
            self._metric = _metric("laion_aes")

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        return float(self._metric(_pixels(rendering)))


class QAlignScorer:
    """Q-Align (OneAlign): the expected level from "bad" to "excellent" that a 7B model would name.

    1 to 5, higher is better; knows neither user nor prompt. `task` is "aesthetic" (how beautiful) or
    "quality" (how free of faults); `dtype` is "fp16", "8bit" or "4bit".
    """

    def __init__(self, name: str, task: str, dtype: str) -> None:
        self._name = name
        self._task = task
        self._dtype = dtype

    def setup(self) -> None:
        with loading(self._name):
            self._metric = _metric("qalign", dtype=self._dtype)

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        return float(self._metric(_pixels(rendering), task_=self._task))


def _metric(name: str, **options: Any) -> Any:
    import pyiqa

    return pyiqa.create_metric(name, **options)


def _pixels(rendering: Rendering) -> Any:
    """Shape (1, 3, H, W), 0 to 1."""
    import torch

    pixels = np.asarray(rgb(rendering), np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]
