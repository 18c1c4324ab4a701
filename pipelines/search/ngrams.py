"""Prompts as the words and pairs of neighbouring words in them (n-grams): what the screen ranks proposals by."""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import numpy as np
from numpy.typing import NDArray

MOST = 512
"""N-grams in a vocabulary. The lexicon's prompts for twelve users have fewer; a regression takes time by its cube."""

_UNSPACED = "\u3040-\u30ff\u3400-\u9fff"
"""Kana and Han characters: written without spaces, so each counts as a word."""
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


class NgramVocabulary:
    """The most frequent n-grams of some prompts, of which other prompts are described by those that they share.

    Example:

        NgramVocabulary(["a red cat", "a red dog"]).vectors(["red cat"])  # "red" and "cat" and "red cat" are known
    """

    def __init__(self, prompts: Sequence[str]) -> None:
        counts = Counter(ngram for prompt in prompts for ngram in _ngrams(prompt))
        frequent = sorted(counts, key=lambda ngram: (-counts[ngram], ngram))[:MOST]
        self._columns = {ngram: column for column, ngram in enumerate(frequent)}

    def vectors(self, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (len(prompts), size of the vocabulary).

        The cosine of two prompts is the inner product of their vectors. A vector is of unit length where all n-grams
        of its prompt are in the vocabulary, and shorter by those that are not.
        """
        found = np.zeros((len(prompts), len(self._columns)), np.float32)
        for row, prompt in enumerate(prompts):
            ngrams = _ngrams(prompt)
            known = [self._columns[ngram] for ngram in ngrams if ngram in self._columns]
            found[row, known] = 1 / sqrt(max(len(ngrams), 1))
        return found


def _ngrams(prompt: str) -> set[str]:
    words = _WORD.findall(prompt.casefold())
    return {*words, *(f"{word} {following}" for word, following in pairwise(words))}
