import asyncio
from collections.abc import Sequence

import pytest

from actors.pool.single_flight import SingleFlightCache


class Maker:
    """Counts what it is asked for, and gives it after a turn of the loop."""

    def __init__(self, *, fails: int = 0) -> None:
        self.asked: list[str] = []
        self._fails = fails

    async def __call__(self, *keys: str) -> dict[str, int]:
        self.asked += keys
        await asyncio.sleep(0)
        if len(self.asked) <= self._fails:
            raise ValueError("not yet")
        return {key: len(key) for key in keys}

    async def many(self, keys: Sequence[str]) -> dict[str, int]:
        return await self(*keys)

    async def one(self) -> int:
        return (await self("a cat"))["a cat"]


def test_those_who_ask_at_the_same_time_share_one_value() -> None:
    make = Maker()

    async def ask() -> list[int]:
        cache = SingleFlightCache[str, int]()
        return await asyncio.gather(*(cache.get("a cat", make.one) for _ in range(3)))

    assert asyncio.run(ask()) == [5, 5, 5]
    assert make.asked == ["a cat"]


@pytest.mark.parametrize("capacity, made", [(0, 2), (1, 1), (None, 1)])
def test_a_value_is_kept_as_long_as_there_is_room(capacity: int | None, made: int) -> None:
    make = Maker()

    async def ask() -> None:
        cache = SingleFlightCache[str, int](capacity)
        await cache.get("a cat", make.one)
        await cache.get("a cat", make.one)

    asyncio.run(ask())
    assert len(make.asked) == made


def test_without_a_limit_every_value_is_kept() -> None:
    make = Maker()

    async def ask() -> None:
        cache = SingleFlightCache[str, int](None)
        for key in [*"abcdefgh", *"abcdefgh"]:
            await cache.get_many([key], make.many)

    asyncio.run(ask())
    assert make.asked == [*"abcdefgh"]


def test_a_value_that_is_forgotten_is_made_again() -> None:
    make = Maker()

    async def ask() -> None:
        cache = SingleFlightCache[str, int](1)
        cache.forget("a cat")  # nothing to forget
        await cache.get("a cat", make.one)
        cache.forget("a cat")
        await cache.get("a cat", make.one)

    asyncio.run(ask())
    assert make.asked == ["a cat", "a cat"]


def test_the_value_that_was_asked_for_longest_ago_gives_way() -> None:
    make = Maker()

    async def ask() -> None:
        cache = SingleFlightCache[str, int](2)
        for key in ("a", "bb", "a", "ccc", "a", "bb"):
            await cache.get_many([key], make.many)

    asyncio.run(ask())
    assert make.asked == ["a", "bb", "ccc", "bb"]


def test_of_several_only_those_that_nobody_has_or_makes_are_made() -> None:
    make = Maker()

    async def ask() -> tuple[dict[str, int], dict[str, int]]:
        cache = SingleFlightCache[str, int]()
        return await asyncio.gather(cache.get_many(["a", "bb"], make.many), cache.get_many(["bb", "ccc"], make.many))

    assert [*asyncio.run(ask())] == [{"a": 1, "bb": 2}, {"bb": 2, "ccc": 3}]
    assert make.asked == ["a", "bb", "ccc"]


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    make = Maker(fails=1)

    async def ask() -> list[object]:
        cache = SingleFlightCache[str, int](1)
        asked = (cache.get("a cat", make.one), cache.get("a cat", make.one))
        return [*await asyncio.gather(*asked, return_exceptions=True), await cache.get("a cat", make.one)]

    first, second, third = asyncio.run(ask())
    assert isinstance(first, ValueError) and first is second
    assert third == 5


def test_who_is_cancelled_while_waiting_cancels_nobody_else() -> None:
    make = Maker()

    async def ask() -> int:
        cache = SingleFlightCache[str, int]()
        impatient = asyncio.create_task(cache.get("a cat", make.one))
        patient = asyncio.create_task(cache.get("a cat", make.one))
        await asyncio.sleep(0)
        impatient.cancel()
        return await patient

    assert asyncio.run(ask()) == 5
    assert make.asked == ["a cat"]
