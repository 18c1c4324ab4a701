"""What a pool on a real Ray logs of calls that go wrong, for whoever has to understand a run afterwards."""

import asyncio
import logging
from pathlib import Path

import pytest

from actors.pool.actor_pool import ActorPool, PoolBrokenError
from actors.pool.role import Role
from tests.actors.worker import Worker

pytestmark = pytest.mark.usefixtures("ray")


def test_errors_are_logged_with_the_actors_own_traceback_and_retries_and_replacements_are_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        pool = ActorPool(Role(name="worker", make=Worker, arguments={"log": str(tmp_path / "log")}))
        try:
            await pool.start()
            await pool.call("err", 1)
            (tmp_path / "log").unlink()
            await pool.call("die", 1)
        finally:
            pool.stop()

    with caplog.at_level(logging.INFO, "actors"):
        asyncio.run(main())

    said = [record.getMessage() for record in caplog.records if record.name == "actors.pool.actor_pool"]
    assert said[:3] == ["worker: an actor is up", "worker.err: failed", "worker.err: the call is retried"]
    assert said[3].startswith("worker.die: the actor was lost: ")
    assert said[4:] == [
        "worker: an actor died and is replaced (replacement 1)",
        "worker.die: the call is retried",
        "worker: an actor is up",
    ]
    assert 'raise ZeroDivisionError("asked to")' in caplog.text  # a line of the actor's source
    assert "ray::Worker.err()" in caplog.text


def test_why_an_actor_does_not_come_up_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = ActorPool(Role(name="worker", make=Worker, arguments={"comes_up": "never"}))
        try:
            await pool.start()
        finally:
            pool.stop()

    with caplog.at_level(logging.INFO, "actors"), pytest.raises(PoolBrokenError):
        asyncio.run(main())

    said = [record.getMessage() for record in caplog.records if record.name == "actors.pool.actor_pool"]
    assert said == [
        "worker: an actor did not come up: ValueError: no weights can be had",
        "worker: no actor comes up: ValueError: no weights can be had",
    ]
    assert 'raise ValueError("no weights can be had")' in caplog.text
