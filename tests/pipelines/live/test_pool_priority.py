"""What is prepared ahead waits for whoever waits."""

import asyncio
from collections.abc import Callable, Coroutine

from pipelines.live.pool_priority import PoolPriority


def run(scene: Callable[[PoolPriority, list[str]], Coroutine[None, None, None]]) -> list[str]:
    """What was done, in order."""
    done: list[str] = []

    async def play() -> None:
        await asyncio.wait_for(scene(PoolPriority(), done), 10)

    asyncio.run(play())
    return done


async def prepare(priority: PoolPriority, done: list[str], name: str, probability: float) -> None:
    async with priority.background(probability):
        done.append(f"{name} begins")
        await asyncio.sleep(0)
        done.append(f"{name} ends")


def test_rounds_are_prepared_one_at_a_time_the_likeliest_first() -> None:
    async def scene(priority: PoolPriority, done: list[str]) -> None:
        with priority.foreground():
            tasks = [asyncio.create_task(prepare(priority, done, f"{p}", p)) for p in (0.2, 0.5, 0.3)]
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    assert run(scene) == [f"{p} {what}" for p in (0.5, 0.3, 0.2) for what in ("begins", "ends")]


def test_nothing_is_begun_while_anybody_waits() -> None:
    async def scene(priority: PoolPriority, done: list[str]) -> None:
        with priority.foreground():
            with priority.foreground():
                task = asyncio.create_task(prepare(priority, done, "a", 1.0))
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)
            done.append("nobody waits")
        await task

    assert run(scene) == ["nobody waits", "a begins", "a ends"]


def test_what_is_dropped_before_or_in_its_turn_lets_the_others_on() -> None:
    async def scene(priority: PoolPriority, done: list[str]) -> None:
        for steps in range(4):
            first, second = (
                asyncio.create_task(prepare(priority, done, name, p)) for name, p in (("a", 0.9), ("b", 0.1))
            )
            for _ in range(steps):
                await asyncio.sleep(0)
            first.cancel()
            await second
            assert done[-1] == "b ends"

    run(scene)
