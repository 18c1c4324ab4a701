"""Which call goes to which worker next: bookkeeping without Ray and without a clock.

Calls wait in a queue; those that are made again go first. Each goes to the least loaded worker below the limit. A call
that has to be *alone* needs an empty worker. While none is empty, the least loaded one takes no further calls until it
is; the other workers take the calls queued behind. A call may *avoid* workers on which it has failed: as long as there
are others it waits for one of those, and the calls behind it go on.

Invariants: no worker has more calls than the limit. A call that has to be alone shares its worker with no other. As
long as workers answer, every queued call gets its turn.
"""

from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, Generic, TypeVar


class Call:
    """One method call on some worker. Two calls are never equal."""

    def __init__(self, *, alone: bool, avoided: Collection[object] = ()) -> None:
        self.alone = alone
        """Needs a worker of its own, so that if the worker dies it is clear which call was on it."""
        self.avoided = avoided
        """Workers on which it is not placed while there are others."""

    @property
    def withdrawn(self) -> bool:
        """Whether nobody waits for its turn any more, though it is queued still."""
        return False


C = TypeVar("C", bound=Call)


class Worker(Generic[C]):
    """What dispatch knows of an actor: the calls on it, oldest first."""

    def __init__(self) -> None:
        self.calls: list[C] = []


W = TypeVar("W", bound=Worker[Any])


class Dispatch(Generic[W, C]):
    """The workers that are up, and the queue of calls.

    Parameters
    ----------
    limit : int
        Calls on one worker at a time.

    Example:

        dispatch = Dispatch(limit=2)
        dispatch.workers.append(Worker())
        dispatch.join(Call(alone=False), is_retry=False)
        [(worker, call)] = dispatch.place()
        worker.calls.remove(call)
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.workers: list[W] = []
        self._again: deque[C] = deque()
        self._new: deque[C] = deque()

    def join(self, call: C, *, is_retry: bool) -> None:
        """Queue a call, `is_retry` if it was made before."""
        (self._again if is_retry else self._new).append(call)

    def leave(self, call: C) -> None:
        """Take a call out of the queue, if it is there."""
        for queue in (self._again, self._new):
            if call in queue:
                queue.remove(call)

    def place(self) -> list[tuple[W, C]]:
        """Move every call that can run now from the queue to its worker; calls that were withdrawn are dropped."""
        placed: list[tuple[W, C]] = []
        withdrawn: list[C] = []
        reserved: list[W] = []
        for call in self._queued():
            if call.withdrawn:
                withdrawn.append(call)
                continue
            others = [w for w in self.workers if w not in call.avoided]
            candidates = [w for w in others or self.workers if w not in reserved and not any(c.alone for c in w.calls)]
            free = [w for w in candidates if len(w.calls) < (1 if call.alone else self._limit)]
            if free:
                worker = min(free, key=lambda w: len(w.calls))
                worker.calls.append(call)
                placed.append((worker, call))
            elif call.alone and candidates:
                reserved.append(min(candidates, key=lambda w: len(w.calls)))
            elif len(others) in (0, len(self.workers)):
                break
        for call in (*withdrawn, *(call for _, call in placed)):
            self.leave(call)
        return placed

    def drain(self) -> list[C]:
        """Empty the queue and return what was in it."""
        calls = list(self._queued())
        self._again.clear()
        self._new.clear()
        return calls

    def _queued(self) -> Iterator[C]:
        yield from self._again
        yield from self._new
