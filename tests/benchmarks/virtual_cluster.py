"""The real driver on a cluster that is not there: pools whose calls take the time that they are said to take.

A discrete-event model. The event loop's clock does not run: when nothing is left to do, it jumps to the next moment at
which something is due. Driver, search, render path and dispatch are the project's own code; only Ray, the disk and the
models are replaced. What the driver's own work costs is left out (bench_driver.py measures it), unless `simulate` is
asked to let the clock run while the event loop is at work.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any, TypeVar

from actors.pool.accounting import TimeAccounting
from actors.pool.dispatch import Call, Dispatch, Worker
from actors.pool.role import Role

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Never waits: says how long it would have waited."""

    def __init__(self, *, own_work: bool) -> None:
        super().__init__()
        self._own_work = own_work
        self._since = perf_counter()
        self.passed_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if self._own_work:
            self.passed_s += perf_counter() - self._since
        ready = super().select(0)
        if not ready and timeout:
            self.passed_s += timeout
        self._since = perf_counter()
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own; what is meant for threads is done at once."""

    def __init__(self, *, own_work: bool = False) -> None:
        self._jumping = _Jumping(own_work=own_work)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.passed_s

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        done: asyncio.Future[T] = self.create_future()
        done.set_result(func(*args))
        return done


def simulate(main: Coroutine[Any, Any, T], *, own_work: bool = False) -> tuple[T, float]:
    """What a coroutine returns, and the seconds of virtual time until then.

    With `own_work`, the clock also runs by what the event loop's own work takes on this machine.
    """
    loop = VirtualLoop(own_work=own_work)
    try:
        return loop.run_until_complete(main), loop.time()
    finally:
        loop.close()


class _Call(Call):
    def __init__(self) -> None:
        super().__init__(alone=False)
        self.turn: asyncio.Future[_Actor] = asyncio.get_running_loop().create_future()


class _Actor(Worker[_Call]):
    def __init__(self) -> None:
        super().__init__()
        self.free_at = 0.0


class VirtualPool:
    """An `ActorPool` without actors: `work` gives a call's answer and how many seconds it takes.

    Where `all_at_once`, an actor begins each call at once, as vLLM does; else one after the other.
    """

    def __init__(self, role: Role, work: Callable[..., tuple[Any, float]], *, all_at_once: bool = False) -> None:
        self.role = role
        self.accounting = TimeAccounting(role.actors, lambda: asyncio.get_running_loop().time())
        self._work = work
        self._all_at_once = all_at_once
        self._dispatch: Dispatch[_Actor, _Call] = Dispatch(role.in_flight)
        self._dispatch.workers += [_Actor() for _ in range(role.actors)]
        self.accounting.change(up=role.actors)

    async def call(self, method: str, *arguments: Any, by_reference: bool = False) -> tuple[Any, Any]:
        call = _Call()
        self._dispatch.join(call, is_retry=False)
        self._place()
        actor = await call.turn
        answer, seconds = self._work(method, *arguments)
        now = asyncio.get_running_loop().time()
        ends = now + seconds if self._all_at_once else max(now, actor.free_at) + seconds
        actor.free_at = ends
        await asyncio.sleep(ends - now)
        self.accounting.record_call(seconds)
        actor.calls.remove(call)
        if not actor.calls:
            self.accounting.change(busy=-1)
        self._place()
        return answer, answer

    def _place(self) -> None:
        for actor, call in self._dispatch.place():
            if actor.calls[0] is call:
                self.accounting.change(busy=1)
            call.turn.set_result(actor)
