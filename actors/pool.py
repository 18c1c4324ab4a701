"""Pools of Ray actors: the one way in which the driver has something done elsewhere.

A pool keeps N actors of one role. Each call goes to the least loaded actor that is up; at most
`in_flight` calls are on an actor at a time, the rest wait in order. An actor that dies, or whose running
call does not end in time, is replaced. Actors hold weights and nothing else, so any of them may be lost
at any time.

    call -> wait for an actor below its limit -> remote call -> answer
                 ^                                   |
                 |  second and last attempt          | error, death, or time-out (actor replaced)
                 +-----------------------------------+

Invariant: a call is on one actor at a time, and leaves it in `finally`, whatever happened.
"""

import asyncio
import time
from collections import deque
from typing import Any

from actors.messages import RefusedError
from actors.role import Role

ATTEMPTS = 2
_FAILED_STARTS = 3
"""So many starts in a row that fail mean that none will succeed."""

_CLOSE_S = 20
"""So long an actor may take to end what it has started."""


class CallFailedError(RuntimeError):
    """A call failed on every attempt; the pool goes on."""


class PoolBrokenError(RuntimeError):
    """No actor of the pool comes up; nothing can go on."""


class _Actor:
    """A living actor and the calls on it, oldest first: Ray runs them in that order."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.calls: deque[object] = deque()
        self.head_since = time.monotonic()
        """Since when the oldest call is the one that runs."""
        self.lost_by: object | None = None
        """The call that ran when the actor was lost; the others on it were only in line."""


class _Slot:
    """One place in a pool. `given_up` says why no actor comes up in it."""

    def __init__(self) -> None:
        self.actor: _Actor | None = None
        self.given_up: str | None = None

    @property
    def load(self) -> int:
        return len(self.actor.calls) if self.actor else 0


class _OutOfTimeError(Exception):
    """The call that runs has run for longer than it may."""


class ActorPool:
    """Actors of one role. Used from one event loop; not thread-safe."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.replaced = 0
        """How many actors were lost and replaced."""
        self._slots = [_Slot() for _ in range(role.actors)]
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._broken: str | None = None
        self._starting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Spawn all actors and wait until each has loaded.

        Raises
        ------
        PoolBrokenError
            An actor does not come up.
        """
        await asyncio.gather(*(self._fill(slot) for slot in self._slots))
        if reasons := self.lost:
            raise PoolBrokenError(reasons[0])

    @property
    def lost(self) -> list[str]:
        """Why some places of the pool stay empty, a line each."""
        return [slot.given_up for slot in self._slots if slot.given_up]

    async def ask_all(self, method: str) -> list[Any]:
        """The answer of each actor that is up."""
        actors = [slot.actor for slot in self._slots if slot.actor]
        return await asyncio.gather(*(_answer(getattr(actor.handle, method).remote()) for actor in actors))

    async def call(self, method: str, *arguments: Any, apart: bool = False) -> tuple[Any, Any]:
        """Call a method on some actor.

        An attempt counts when this call erred, ran out of time or was running when its actor died; a call
        that was only in line behind such a one is made again at once, and free of charge. So what fails
        does not depend on how many actors there are. What an actor refuses is not asked for again.

        With `apart` the method answers a pair, of which only the second half comes here: the first may be large.

        Returns
        -------
        A reference to the answer (or its first half), which other actors can be given, and the answer itself.

        Raises
        ------
        CallFailedError
            It failed on both attempts; the message says how.
        PoolBrokenError
            There is no actor left and none comes up.
        """
        import ray.exceptions

        reasons: list[str] = []
        ahead = False
        while len(reasons) < ATTEMPTS:
            call = object()
            slot, actor = await self._acquire(call, ahead=ahead)
            try:
                remote = getattr(actor.handle, method).options(num_returns=2 if apart else 1)
                answer = remote.remote(*arguments)
                reference, told = answer if apart else (answer, answer)
                return reference, await self._in_time(actor, call, told)
            except _OutOfTimeError:
                reasons.append(f"no answer within {self.role.timeout_s:g} s")
                self._lose(slot, actor)
            except ray.exceptions.RayTaskError as error:
                reasons.append(_gist(error))
                if isinstance(error.cause, RefusedError):
                    break
            except ray.exceptions.RayActorError as error:
                self._lose(slot, actor)
                if actor.lost_by is call:
                    reasons.append(f"the actor died ({type(error).__name__})")
            except ray.exceptions.RayError as error:
                reasons.append(_gist(error))
            finally:
                self._finish(actor, call)
            ahead = True
        raise CallFailedError(f"{self.role.name}.{method}: " + "; again: ".join(reasons))

    def stop(self) -> None:
        """End all actors; those that hold processes of their own are asked to end them first."""
        import ray

        for task in self._starting:
            task.cancel()
        if hasattr(self.role.make, "close"):
            closing = [slot.actor.handle.close.remote() for slot in self._slots if slot.actor]
            if closing:
                ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S)
        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor.handle)
                slot.actor = None

    async def _acquire(self, call: object, *, ahead: bool) -> tuple[_Slot, _Actor]:
        """Put the call on the least loaded actor below its limit; callers are served in the order they came."""
        while True:
            if self._broken:
                raise PoolBrokenError(self._broken)
            free = [(slot, slot.actor) for slot in self._slots if slot.actor and slot.load < self.role.in_flight]
            if free and (ahead or not self._waiting):
                slot, actor = min(free, key=lambda pair: pair[0].load)
                if not actor.calls:
                    actor.head_since = time.monotonic()
                actor.calls.append(call)
                return slot, actor
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.appendleft(waiter) if ahead else self._waiting.append(waiter)
            ahead = True
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake()  # the turn that this caller does not take is the next one's
                raise

    async def _in_time(self, actor: _Actor, call: object, reference: Any) -> Any:
        """Wait for the answer; the clock of a call runs only while it is the oldest on its actor."""
        answer = asyncio.ensure_future(_answer(reference))
        try:
            while True:
                ran = time.monotonic() - actor.head_since if actor.calls[0] is call else 0.0
                if ran >= self.role.timeout_s:
                    raise _OutOfTimeError
                done, _ = await asyncio.wait({answer}, timeout=self.role.timeout_s - ran)
                if done:
                    return answer.result()
        finally:
            answer.cancel()

    def _finish(self, actor: _Actor, call: object) -> None:
        if actor.calls[0] is call:
            actor.head_since = time.monotonic()
        actor.calls.remove(call)
        self._wake()

    def _wake(self) -> None:
        """Let the first in line try again; all of them where the pool is broken."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                if not self._broken:
                    break

    def _lose(self, slot: _Slot, actor: _Actor) -> None:
        """Replace an actor, unless another call has noticed its loss before."""
        import ray

        if slot.actor is not actor:
            return
        actor.lost_by = actor.calls[0]
        ray.kill(actor.handle)
        slot.actor = None
        self.replaced += 1
        task = asyncio.create_task(self._fill(slot))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _fill(self, slot: _Slot) -> None:
        """Bring up an actor; a place where it fails again and again is given up, and with the last one the pool."""
        import ray
        import ray.exceptions

        role = self.role
        options: dict[str, Any] = {key: getattr(role, key) for key in ("num_cpus", "num_gpus", "resources")}
        if role.python is not None:
            options["runtime_env"] = {"py_executable": role.python}
        reason = ""
        for _ in range(_FAILED_STARTS):
            handle: Any = ray.remote(role.make).options(**options).remote(**role.arguments)
            try:
                await asyncio.wait_for(_answer(handle.setup.remote()), role.setup_timeout_s)
            except (ray.exceptions.RayError, TimeoutError) as error:
                ray.kill(handle)
                reason = _gist(error) if str(error) else f"no start within {role.setup_timeout_s:g} s"
                if isinstance(getattr(error, "cause", None), ValueError):
                    break  # what it was given is wrong, and stays so
            else:
                slot.actor = _Actor(handle)
                break
        if slot.actor is None:
            slot.given_up = f"{role.name}: no actor comes up: {reason}"
            if all(other.given_up for other in self._slots):
                self._broken = slot.given_up
        for _ in range(role.in_flight):
            self._wake()


async def _answer(reference: Any) -> Any:
    return await reference


def _gist(error: Exception) -> str:
    """The cause that the remote traceback ends with, in one line."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1] if lines else ''}".rstrip(": ")
