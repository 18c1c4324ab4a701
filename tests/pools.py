"""Pools for tests of what uses them: `ActorPool` itself, and one whose actors are objects of this process.

Each of these has a thread of its own. What a driver can see is as on Ray: how many calls an actor takes, in which
order, what is refused, what is a disturbance and asked again, and that answers and arguments are copies. An actor that
dies or hangs needs a real process, so those tests are on a real Ray.
"""

import asyncio
import inspect
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from actors.backoff import backoff_s
from actors.pool.accounting import TimeAccounting
from actors.pool.actor_pool import (
    ATTEMPTS,
    LONGEST_PAUSE_S,
    ActorPool,
    CallRefusedError,
    PoolBrokenError,
    RoleUnavailableError,
    _one_line,
)
from actors.pool.availability import Availability
from actors.pool.dispatch import Call, Dispatch, Worker
from actors.pool.failures import FailureKind, failure_of
from actors.pool.role import Role


class Reference:
    """Stands for a value, as Ray's do."""

    def __init__(self, value: Any) -> None:
        self._pickled = pickle.dumps(value)

    def get(self) -> Any:
        return pickle.loads(self._pickled)  # noqa: S301


class _Call(Call):
    def __init__(self) -> None:
        super().__init__(alone=False)
        self.turn: asyncio.Future[_Actor] = asyncio.get_running_loop().create_future()

    @property
    def withdrawn(self) -> bool:
        return self.turn.done()


class _Actor(Worker[_Call]):
    def __init__(self, role: Role) -> None:
        super().__init__()
        self._model = role.make(**role.arguments)
        self._thread = ThreadPoolExecutor(1)

    async def do(self, method: str, *arguments: Any) -> Any:
        given = [argument.get() if isinstance(argument, Reference) else _copy(argument) for argument in arguments]
        bound = getattr(self._model, method)
        if inspect.iscoroutinefunction(bound):
            return _copy(await bound(*given))
        return _copy(await asyncio.get_running_loop().run_in_executor(self._thread, bound, *given))

    def end(self) -> None:
        if close := getattr(self._model, "close", None):
            if inspect.iscoroutinefunction(close):
                self._closing = asyncio.get_running_loop().create_task(close())
            else:
                self._thread.submit(close)
        self._thread.shutdown(wait=True, cancel_futures=True)


class InProcessPool:
    """Actors of one role. Used from one event loop."""

    def __init__(self, role: Role, refuse: Callable[[Any], str] | None = None) -> None:
        self.role = role
        self.replaced = 0
        self.start_failures: list[str] = []
        self.accounting = TimeAccounting(replicas=role.actors)
        self.availability = Availability(role.give_up_after_s)
        self._refuse = refuse
        self._dispatch: Dispatch[_Actor, _Call] = Dispatch(role.in_flight)

    async def start(self, places: Sequence[Any] = ()) -> None:
        assert not places, "there is no cluster to have places in"
        await asyncio.gather(*(self._start_actor() for _ in range(self.role.actors)))

    async def call(self, method: str, *arguments: Any, by_reference: bool = False) -> tuple[Any, Any]:
        reasons: list[str] = []
        disturbances = 0
        while len(reasons) < ATTEMPTS:
            call = _Call()
            self._dispatch.join(call, is_retry=bool(reasons or disturbances))
            self._place()
            try:
                actor = await call.turn
            except asyncio.CancelledError:
                self._dispatch.leave(call)
                raise
            began = asyncio.get_running_loop().time()
            try:
                answer = await actor.do(method, *arguments)
                self.accounting.record_call(asyncio.get_running_loop().time() - began)
                self.availability.answered()
                kept, told = answer if by_reference else (answer, answer)
                return Reference(kept), told
            except Exception as error:  # noqa: BLE001
                failure = failure_of(error)
            finally:
                self._release(actor, call)
            if failure.kind in (FailureKind.DISTURBED, FailureKind.DENIED):
                self.availability.failed(self, failure.reason, disturbed=True)
                if failure.kind is FailureKind.DENIED or self.availability.overdue:
                    raise RoleUnavailableError(f"{self.role.name}: {self.availability.description}")
                disturbances += 1
                pause = {"first_s": self.role.first_pause_s, "longest_s": LONGEST_PAUSE_S}
                await asyncio.sleep(backoff_s(disturbances, **pause, asked_s=failure.retry_after_s))
                continue
            reasons.append(failure.reason)
            if failure.kind is FailureKind.REFUSED:
                self.availability.answered()
                break
        raise CallRefusedError(f"{self.role.name}.{method}: " + "; again: ".join(reasons))

    def stop(self) -> None:
        for actor in self._dispatch.workers:
            actor.end()
            self.accounting.change(up=-1, busy=-1 if actor.calls else 0)
        self._dispatch.workers.clear()

    async def _start_actor(self) -> None:
        actor = _Actor(self.role)
        try:
            await actor.do("setup")
            reason = self._refuse(await actor.do("identity")) if self._refuse else ""
        except Exception as error:  # noqa: BLE001
            reason = _one_line(error)
        if reason:
            actor.end()
            raise PoolBrokenError(f"{self.role.name}: no actor comes up: {reason}")
        self._dispatch.workers.append(actor)
        self.accounting.change(up=1)
        self._place()

    def _place(self) -> None:
        for actor, call in self._dispatch.place():
            if actor.calls[0] is call:
                self.accounting.change(busy=1)
            call.turn.set_result(actor)

    def _release(self, actor: _Actor, call: _Call) -> None:
        actor.calls.remove(call)
        if not actor.calls and actor in self._dispatch.workers:
            self.accounting.change(busy=-1)
        self._place()


def _copy(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))  # noqa: S301


@contextmanager
def put_in_process() -> Iterator[None]:
    """What the driver hands to several calls is a reference of this process too."""
    with patch("pipelines.execution.render_cache.put", Reference):
        yield


@dataclass(frozen=True)
class Pools:
    """What a driver's test runs on."""

    name: str
    make: Callable[..., Any]

    def __str__(self) -> str:
        return self.name

    def used(self) -> Any:
        """While this lasts, references are those of these pools."""
        return nullcontext() if self.make is ActorPool else put_in_process()


IN_PROCESS = Pools("in this process", InProcessPool)
ON_RAY = Pools("on Ray", ActorPool)
