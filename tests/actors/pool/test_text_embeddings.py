"""Texts are embedded once, on a real Ray, by a toy that logs what it is asked for."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from actors.pool.actor_pool import ActorPool
from actors.pool.role import Role
from actors.pool.text_embeddings import TextEmbeddings
from tests.pipelines.toys import ToyFeatureExtractor

pytestmark = pytest.mark.usefixtures("ray")


def test_each_text_is_embedded_once_however_many_ask(tmp_path: Path) -> None:
    log = tmp_path / "log"

    async def main() -> list[np.ndarray]:
        pool = ActorPool(Role(name="feature_extractor", make=ToyFeatureExtractor, arguments={"log": str(log)}))
        try:
            await pool.start()
            embeddings = TextEmbeddings(pool)
            many = [f"text {number}" for number in range(300)]
            return [
                *await asyncio.gather(embeddings.of(["a cat", "fog"]), embeddings.of(["fog", "a cat", "fog"])),
                await embeddings.of(["a cat"]),
                await embeddings.of(many),
            ]
        finally:
            pool.stop()

    first, second, again, many = asyncio.run(main())
    assert first.tolist() == [[5], [3]]
    assert second.tolist() == [[3], [5], [3]]
    assert again.tolist() == [[5]]
    assert many.shape == (300, 1)
    asked = log.read_text().splitlines()
    assert len(asked) == len(set(asked)) == 302
