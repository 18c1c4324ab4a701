"""Embeddings of texts, each made once by the feature extractor, whoever asks: the guards or the renderer.

Invariant: while a text is being embedded, nobody else has it embedded; those of recent texts are kept.
"""

import asyncio
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from actors.pool.actor_pool import ActorPool
from actors.pool.single_flight import SingleFlightCache

Vector = NDArray[np.float32]

_KEPT = 50_000
"""77 MB of 384 dimensions."""

_AT_ONCE = 256
"""Texts in a call: a few seconds, well within the time limit of one."""


class TextEmbeddings:
    """Asks a pool of feature extractors. Used from one event loop."""

    def __init__(self, feature_extractor: ActorPool) -> None:
        self._pool = feature_extractor
        self._vectors = SingleFlightCache[str, Vector](capacity=_KEPT)

    async def of(self, texts: Sequence[str]) -> Vector:
        """Vectors of unit length, shape (len(texts), d).

        Raises
        ------
        CallRefusedError, RoleUnavailableError, PoolBrokenError
            As `ActorPool.call`.
        """
        found = await self._vectors.get_many(texts, self._embed)
        return np.stack([found[text] for text in texts])

    async def _embed(self, texts: Sequence[str]) -> Mapping[str, Vector]:
        parts = [texts[at : at + _AT_ONCE] for at in range(0, len(texts), _AT_ONCE)]
        answers = await asyncio.gather(*(self._pool.call("embed", part) for part in parts))
        return {
            text: vector
            for part, (_, vectors) in zip(parts, answers, strict=True)
            for text, vector in zip(part, vectors, strict=True)
        }
