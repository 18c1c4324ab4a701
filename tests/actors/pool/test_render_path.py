"""From a prompt by a text encoder's actor to a renderer's, on a real Ray, with toy roles."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from actors.messages import RenderRequest
from actors.pool.actor_pool import ActorPool, CallFailedError, PoolBrokenError
from actors.pool.render_path import RenderPath
from actors.pool.role import Role
from tests.actors.worker import Worker
from tests.pipelines.toys import ToyPainter, ToyTextEncoder

T = TypeVar("T")

pytestmark = pytest.mark.usefixtures("ray")


def with_path(log: Path, use: Callable[[RenderPath], Awaitable[T]]) -> T:
    async def main() -> T:
        log.touch()
        pools = [
            ActorPool(Role(name="renderer", make=ToyPainter, actors=2, in_flight=3)),
            ActorPool(Role(name="text_encoder", make=ToyTextEncoder, arguments={"log": str(log)})),
        ]
        try:
            await asyncio.gather(*(pool.start() for pool in pools))
            return await use(RenderPath(pools[0], pools[1]))
        finally:
            for pool in pools:
                pool.stop()

    return asyncio.run(main())


def request(prompt: str, seed: int = 0) -> RenderRequest:
    return RenderRequest(prompt=prompt, seed=seed)


def test_each_prompt_is_drawn_from_its_embedding_and_encoded_once(tmp_path: Path) -> None:
    async def use(path: RenderPath) -> list[bytes]:
        assert path.renderers.role.actors == 2
        asked = [request(prompt, seed) for prompt in ("a cat", "fog") for seed in (1, 2)]
        return [rendering.png for _, rendering in await asyncio.gather(*map(path.render, asked))]

    assert with_path(tmp_path / "log", use) == [b"A CAT1", b"A CAT2", b"FOG1", b"FOG2"]
    assert sorted((tmp_path / "log").read_text().splitlines()) == ["a cat", "fog"]


def test_what_cannot_be_encoded_fails_alone_and_is_tried_again_when_asked_again(tmp_path: Path) -> None:
    async def use(path: RenderPath) -> list[str]:
        failed = await asyncio.gather(path.render(request("unutterable")), return_exceptions=True)
        again = await asyncio.gather(path.render(request("unutterable")), return_exceptions=True)
        assert (await path.render(request("a cat")))[1].png == b"A CAT0"
        return [str(error) for error in (*failed, *again) if isinstance(error, CallFailedError)]

    reason = "text_encoder.encode: ValueError: no words for that; again: ValueError: no words for that"
    assert with_path(tmp_path / "log", use) == [reason, reason]
    assert (tmp_path / "log").read_text().count("unutterable") == 4


def test_what_is_refused_is_asked_for_once(tmp_path: Path) -> None:
    async def use(path: RenderPath) -> str:
        with pytest.raises(CallFailedError) as failed:
            await path.render(request("forbidden"))
        return str(failed.value)

    assert with_path(tmp_path / "log", use) == "renderer.render: RefusedError: will not draw that"


def test_a_role_that_was_given_what_it_cannot_use_is_not_started_again(tmp_path: Path) -> None:
    log = tmp_path / "starts"
    log.touch()

    async def main() -> None:
        pool = ActorPool(Role(name="worker", make=Worker, arguments={"log": str(log), "comes_up": "never"}))
        try:
            await pool.start()
        finally:
            pool.stop()

    with pytest.raises(PoolBrokenError, match="worker: no actor comes up: ValueError: no weights can be had"):
        asyncio.run(main())
    assert len(log.read_text().splitlines()) == 1
