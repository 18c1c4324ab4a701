"""Which call goes to which actor next: pure bookkeeping, without Ray and without a clock.

Calls are taken in the order in which they came, those that are made again before all others, each by the least loaded
actor below the limit. A call that is made *alone* waits for an actor with nothing else on it. While there is none, the
least loaded one is kept from taking more, for this call's sake; the others go on with those behind it.

Invariant: no actor has more calls than the limit; a call that is made alone shares its actor with no other; and as
long as calls are answered, each call in line gets its turn.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar


class Call:
    """One thing asked of some actor. Two calls are never equal."""

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        """Made where it cannot be taken for another's fault, nor another for its."""


C = TypeVar("C", bound=Call)


class Seat(Generic[C]):
    """An actor as far as it matters here: the calls on it, oldest first."""

    def __init__(self) -> None:
        self.calls: list[C] = []


S = TypeVar("S", bound=Seat[Any])


class Dispatch(Generic[S, C]):
    """The actors of a pool that are up, and the calls that wait for one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.seats: list[S] = []
        self._again: deque[C] = deque()
        self._line: deque[C] = deque()

    def join(self, call: C, *, again: bool) -> None:
        (self._again if again else self._line).append(call)

    def leave(self, call: C) -> None:
        """Give up waiting."""
        for line in (self._again, self._line):
            if call in line:
                line.remove(call)

    def place(self) -> list[tuple[S, C]]:
        """Put on actors whatever can be put there now."""
        placed: list[tuple[S, C]] = []
        kept: list[S] = []
        for call in self._waiting():
            open_to_some = [s for s in self.seats if s not in kept and not any(c.alone for c in s.calls)]
            free = [s for s in open_to_some if len(s.calls) < (1 if call.alone else self._limit)]
            if free:
                seat = min(free, key=lambda s: len(s.calls))
                seat.calls.append(call)
                placed.append((seat, call))
            elif call.alone and open_to_some:
                kept.append(min(open_to_some, key=lambda s: len(s.calls)))
            else:
                break
        for _, call in placed:
            self.leave(call)
        return placed

    def emptied(self) -> list[C]:
        """All that wait, none of whom waits any longer."""
        waiting = list(self._waiting())
        self._again.clear()
        self._line.clear()
        return waiting

    def _waiting(self) -> Iterator[C]:
        yield from self._again
        yield from self._line
