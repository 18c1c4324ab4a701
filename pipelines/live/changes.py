"""ChangeFeed: how those who look at a page learn that there is something new on it."""

import asyncio
from collections.abc import AsyncIterator


class ChangeFeed:
    """A version that rises, and waiters for it. Used from one event loop."""

    def __init__(self) -> None:
        self.version = 0
        self._waiting = asyncio.Event()
        self._ended = False

    def notify(self) -> None:
        """Something has changed."""
        self.version += 1
        self._waiting.set()
        self._waiting = asyncio.Event()

    def end(self) -> None:
        """Nothing changes any more: whoever listens is let go."""
        self._ended = True
        self.notify()

    async def since(self, version: int, quiet_s: float) -> AsyncIterator[int | None]:
        """Each later version, until the end; None after so many seconds without one."""
        while not self._ended:
            if self.version != version:  # or of a server that was started again
                version = self.version
                yield version
                continue
            try:
                await asyncio.wait_for(self._waiting.wait(), quiet_s)
            except TimeoutError:
                yield None
