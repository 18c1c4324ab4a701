"""The feature extractor: embeddings of prompts, and attributes of images, for the guards and the darkroom.

It knows no user and no scorer, so that neither can influence what it measures.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from actors.messages import Rendering
from actors.scorers.picture import rgb
from predictor.encoders.minilm import MiniLM
from predictor.simulation.attributes import ATTRIBUTES, measure

_DRIFTING = ("saturation", "sharpness")


class FeatureExtractor:
    """Embeds prompts, and measures saturation and sharpness of images. Needs no download and no GPU."""

    def setup(self) -> None:
        """Load the text encoder, and run it once: what is missing shows here."""
        self.embed(["a cat"])

    def embed(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of unit length, shape (len(prompts), 384)."""
        return self._texts.encode(prompts)

    def measure(self, rendering: Rendering) -> Mapping[str, float]:
        """The attributes in which images drift: those of `predictor.simulation.attributes`, by name."""
        values = dict(zip(ATTRIBUTES, measure(rgb(rendering)), strict=True))
        return {name: round(float(values[name]), 6) for name in _DRIFTING}

    @cached_property
    def _texts(self) -> MiniLM:
        return MiniLM()
