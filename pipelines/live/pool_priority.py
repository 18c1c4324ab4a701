"""Who goes first on the pools: rounds that somebody waits for, before those that are prepared.

    foreground  somebody waits: nothing more is begun in the background, for anybody, until they have what they wait for
    background  rounds that are prepared, one at a time, those first that will most probably be asked for

Pools serve calls in the order in which they are made. Without a priority, what is prepared for some people, most of
which nobody will see, would stand before what another one waits for.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count


class PoolPriority:
    """Of all people of a studio. Used from one event loop."""

    def __init__(self) -> None:
        self._foreground = 0
        self._busy = False
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = count()

    @contextmanager
    def foreground(self) -> Iterator[None]:
        """While somebody waits for what is done inside."""
        self._foreground += 1
        try:
            yield
        finally:
            self._foreground -= 1
            self._call_next()

    @asynccontextmanager
    async def background(self, probability: float) -> AsyncIterator[None]:
        """Wait for the turn of a round that will be asked for with this probability, and have it inside."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (-probability, next(self._arrivals), turn))
        self._call_next()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the turn came in the same moment
                self._leave()
            raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._busy = False
        self._call_next()

    def _call_next(self) -> None:
        while self._queue and not self._busy and not self._foreground:
            _, _, turn = heapq.heappop(self._queue)
            if not turn.cancelled():
                self._busy = True
                turn.set_result(None)
