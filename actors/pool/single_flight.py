"""A cache for one event loop: each value is made once, however many ask for it at the same time.

Invariant: while a value is being made, nobody else makes it; whoever asks meanwhile gets the same value, or the same
error. An error is not kept: the next to ask makes the value again. A caller that is cancelled while waiting cancels
nobody else.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class SingleFlightCache(Generic[Key, Value]):
    """The values that were asked for most recently, and those that are being made.

    Parameters
    ----------
    capacity
        How much of finished values is kept; 0: nothing, so that only calls at the same time share one; None: all.
    size
        Of a value, in the unit of the capacity; by default the capacity is a number of values.

    Example:

        vectors = SingleFlightCache[str, NDArray](capacity=50_000)
        vector = await vectors.get("a cat", lambda: embed("a cat"))
    """

    def __init__(self, capacity: int | None = 0, size: Callable[[Value], int] = lambda value: 1) -> None:
        self._capacity = capacity
        self._size = size
        self._held = 0
        self._kept: OrderedDict[Key, Value] = OrderedDict()
        self._making: dict[Key, asyncio.Task[Mapping[Key, Value]]] = {}

    async def get(self, key: Key, make: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """The value of a key; raises what `make` raises."""

        async def alone(keys: Sequence[Key]) -> Mapping[Key, Value]:
            return {key: await make()}

        return (await self.get_many([key], alone))[key]

    async def get_many(
        self, keys: Sequence[Key], make: Callable[[Sequence[Key]], Coroutine[Any, Any, Mapping[Key, Value]]]
    ) -> dict[Key, Value]:
        """The values of several keys; `make` is called once, with the keys that nobody has or makes."""
        found: dict[Key, Value] = {}
        for key in keys:
            if key in self._kept:
                self._kept.move_to_end(key)
                found[key] = self._kept[key]
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        if new := [key for key in missing if key not in self._making]:
            self._making |= dict.fromkeys(new, asyncio.create_task(self._make(new, make)))
        tasks = {key: self._making[key] for key in missing}
        for key, task in tasks.items():
            found[key] = (await asyncio.shield(task))[key]
        return found

    def forget(self, key: Key) -> None:
        """Do not keep the value of a key any longer, where it is kept."""
        if key in self._kept:
            self._held -= self._size(self._kept.pop(key))

    async def _make(
        self, keys: Sequence[Key], make: Callable[[Sequence[Key]], Coroutine[Any, Any, Mapping[Key, Value]]]
    ) -> Mapping[Key, Value]:
        try:
            made = await make(keys)
        finally:
            for key in keys:
                del self._making[key]
        if self._capacity != 0:
            for key, value in made.items():
                self.forget(key)
                self._kept[key] = value
                self._held += self._size(value)
            while self._capacity is not None and self._held > self._capacity:
                self.forget(next(iter(self._kept)))
        return made
