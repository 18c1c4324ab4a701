"""Pools of Ray actors: the one way in which the driver has something done elsewhere.

A pool keeps N actors of one role. `dispatch` says which call goes to which of them; at most `in_flight` calls
are on an actor at a time. An actor that dies, or whose running call does not end in time, is replaced. Actors hold
weights and nothing else, so any of them may be lost at any time.

    call -> its turn (Dispatch) -> remote call -> answer
                ^                      |
                |                      +-- error: an attempt
                |                      +-- out of time: an attempt, actor replaced; the others on it go again
                +--- second attempt ---+-- death: actor replaced, each call on it goes again, alone

Who was at fault when an actor dies cannot be told from outside: answers that were on their way are lost with it. So a
death is an attempt only of a call that was made alone; any other is no attempt of anybody, but each call that was on
the actor is made alone from then on. Three deaths under one call are its own fault, whatever ended the actors. A call
that is out of time is known: the oldest where an actor does one thing after the other, and on an actor with coroutines,
which begins all at once, the one whose own clock has run out.

Invariants: a call is on one actor at a time, and leaves it in `finally`, whatever happened. Which calls fail depends
on the calls, and neither on timing nor on the number of actors.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

from actors.messages import RefusedError
from actors.pool.accounting import Ledger
from actors.pool.dispatch import Call, Dispatch, Seat
from actors.pool.role import Role

logger = logging.getLogger(__name__)

ATTEMPTS = 2
_FAILED_STARTS = 3
"""So many starts in a row that fail mean that none will succeed."""

_CLOSE_S = 20
"""So long an actor may take to end what it has started."""


class CallFailedError(RuntimeError):
    """A call failed on every attempt; the pool goes on."""


class ArgumentLostError(CallFailedError):
    """What a reference among the arguments stood for was lost with its node: no attempt of the call.

    Whoever made it makes it again, and calls again.
    """


class PoolBrokenError(RuntimeError):
    """No actor of the pool comes up; nothing can go on."""


class _Call(Call):
    """A call with its clock."""

    def __init__(self, *, alone: bool) -> None:
        super().__init__(alone=alone)
        self.turn: asyncio.Future[_Actor] = asyncio.get_running_loop().create_future()
        self.runs_since: float | None = None
        """None while it is only in line on its actor."""

    @property
    def runs_s(self) -> float:
        return 0.0 if self.runs_since is None else time.monotonic() - self.runs_since


class _Actor(Seat[_Call]):
    """A living actor and the calls on it."""

    def __init__(self, handle: Any, slot: "_Slot") -> None:
        super().__init__()
        self.handle = handle
        self.slot = slot
        self.hung = False
        """It was ended because a call on it was out of time; nobody else is to blame."""


class _Slot:
    """One place in a pool. `given_up` says why no actor comes up in it."""

    def __init__(self) -> None:
        self.actor: _Actor | None = None
        self.given_up: str | None = None


class _OutOfTimeError(Exception):
    """The call that runs has run for longer than it may."""


class ActorPool:
    """Actors of one role. Used from one event loop; not thread-safe."""

    def __init__(self, role: Role, refuse: Callable[[Any], str] | None = None) -> None:
        """`refuse` is told each new actor's `identity()`, and says why that cannot take part; "" where it can."""
        self.role = role
        self._refuse = refuse
        self.replaced = 0
        """How many actors were lost and replaced."""
        self.ledger = Ledger(places=role.actors)
        self._slots = [_Slot() for _ in range(role.actors)]
        self._dispatch: Dispatch[_Actor, _Call] = Dispatch(role.in_flight)
        self._all_at_once = _has_coroutines(role.make)
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

    async def call(self, method: str, *arguments: Any, apart: bool = False) -> tuple[Any, Any]:
        """Call a method on some actor; the module's docstring says what counts as an attempt.

        What an actor refuses is not asked for again. With `apart` the method answers a pair, of which only the second
        half comes here: the first may be large.

        Returns
        -------
        A reference to the answer (or its first half), which other actors can be given, and the answer itself.

        Raises
        ------
        CallFailedError
            It failed on both attempts; the message says how.
        ArgumentLostError
            One of the arguments is a reference to what is no longer there.
        PoolBrokenError
            There is no actor left and none comes up.
        """
        import ray.exceptions

        reasons: list[str] = []
        again = alone = False
        while len(reasons) < ATTEMPTS:
            call = _Call(alone=alone)
            actor = await self._turn(call, again=again)
            try:
                remote = getattr(actor.handle, method).options(num_returns=2 if apart else 1)
                answer = remote.remote(*arguments)
                reference, told = answer if apart else (answer, answer)
                result = await self._in_time(call, told)
                self.ledger.answered(call.runs_s)
                return reference, result
            except _OutOfTimeError:
                reasons.append(f"no answer within {self.role.timeout_s:g} s")
                logger.warning("%s.%s: no answer within %g s", self.role.name, method, self.role.timeout_s)
                actor.hung = True
                self._lose(actor)
            except ray.exceptions.RayTaskError as error:
                if _is_lost(error.cause, arguments):
                    logger.warning("%s.%s: an argument was lost with its node", self.role.name, method)
                    raise ArgumentLostError(f"{self.role.name}.{method}: an argument was lost with its node") from None
                reasons.append(_gist(error))
                if isinstance(error.cause, RefusedError):
                    logger.info("%s.%s: refused: %s", self.role.name, method, reasons[-1])
                    break
                logger.warning("%s.%s: failed", self.role.name, method, exc_info=error)
            except _deaths() as error:
                logger.warning("%s.%s: the actor was lost: %s", self.role.name, method, _gist(error))
                self._lose(actor)
                if alone:
                    reasons.append("the actor died")
                alone = alone or not actor.hung
            except ray.exceptions.RayError as error:
                reasons.append(_gist(error))
                logger.warning("%s.%s: failed", self.role.name, method, exc_info=error)
            finally:
                self._leave(actor, call)
            again = True
            if len(reasons) < ATTEMPTS:
                logger.info("%s.%s: the call is retried", self.role.name, method)
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
                self.ledger.change(up=-1, busy=-1 if slot.actor.calls else 0)
                slot.actor = None
        self._dispatch.seats.clear()

    async def _turn(self, call: _Call, *, again: bool) -> _Actor:
        """Wait until the call is on an actor."""
        if self._broken:
            raise PoolBrokenError(self._broken)
        self._dispatch.join(call, again=again)
        self._place()
        try:
            return await call.turn
        except asyncio.CancelledError:
            self._dispatch.leave(call)
            if call.turn.done() and not call.turn.cancelled():
                self._leave(call.turn.result(), call)  # the turn that this caller does not take is the next one's
            raise

    def _place(self) -> None:
        for actor, call in self._dispatch.place():
            if actor.calls[0] is call:
                self.ledger.change(busy=1)
            self._start_clocks(actor)
            if call.turn.done():  # whoever waited has been cancelled
                self._leave(actor, call)
            else:
                call.turn.set_result(actor)

    def _leave(self, actor: _Actor, call: _Call) -> None:
        actor.calls.remove(call)
        if not actor.calls and actor.slot.actor is actor:
            self.ledger.change(busy=-1)
        self._start_clocks(actor)
        self._place()

    def _start_clocks(self, actor: _Actor) -> None:
        """Of the calls that run: all of them, or the oldest."""
        for call in actor.calls if self._all_at_once else actor.calls[:1]:
            if call.runs_since is None:
                call.runs_since = time.monotonic()

    async def _in_time(self, call: _Call, reference: Any) -> Any:
        """Wait for the answer; waiting in line on the actor does not count towards the time limit."""
        answer = asyncio.ensure_future(_answer(reference))
        try:
            while True:
                left_s = self.role.timeout_s - call.runs_s
                if left_s <= 0:
                    raise _OutOfTimeError
                done, _ = await asyncio.wait({answer}, timeout=left_s)
                if done:
                    return answer.result()
        finally:
            answer.cancel()

    def _lose(self, actor: _Actor) -> None:
        """Replace an actor, unless another call has noticed its loss before."""
        import ray

        slot = actor.slot
        if slot.actor is not actor:
            return
        ray.kill(actor.handle)
        slot.actor = None
        self._dispatch.seats.remove(actor)
        self.ledger.change(up=-1, busy=-1 if actor.calls else 0)
        self.replaced += 1
        why = f"had no answer within {self.role.timeout_s:g} s" if actor.hung else "died"
        logger.warning("%s: an actor %s and is replaced (replacement %d)", self.role.name, why, self.replaced)
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
                if self._refuse is not None:
                    identity = await asyncio.wait_for(_answer(handle.identity.remote()), role.timeout_s)
                    if reason := self._refuse(identity):
                        ray.kill(handle)
                        break
            except (ray.exceptions.RayError, TimeoutError) as error:
                ray.kill(handle)
                reason = _gist(error) if str(error) else f"no start within {role.setup_timeout_s:g} s"
                logger.warning("%s: an actor did not come up: %s", role.name, reason, exc_info=error)
                if isinstance(getattr(error, "cause", None), ValueError):
                    break  # what it was given is wrong, and stays so
            else:
                slot.actor = _Actor(handle, slot)
                self._dispatch.seats.append(slot.actor)
                self.ledger.change(up=1)
                self._place()
                logger.info("%s: an actor is up", role.name)
                return
        self._give_up(slot, f"{role.name}: no actor comes up: {reason}")

    def _give_up(self, slot: _Slot, reason: str) -> None:
        slot.given_up = reason
        logger.error("%s", reason)
        self.ledger.change(places=-1)
        if all(other.given_up for other in self._slots):
            self._broken = reason
            for call in self._dispatch.emptied():
                if not call.turn.done():
                    call.turn.set_exception(PoolBrokenError(reason))


def _has_coroutines(make: Any) -> bool:
    """Whether Ray runs all calls of such an actor at once, rather than one after the other."""
    return bool(inspect.getmembers(make, inspect.iscoroutinefunction))


def _deaths() -> tuple[type[Exception], ...]:
    """What Ray says where an actor is gone, or its node, or an answer that was on its way from there."""
    from ray import exceptions

    return (
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
    )


def _is_lost(cause: object, arguments: tuple[Any, ...]) -> bool:
    """Whether an actor could not get at one of its arguments, rather than at something of its own."""
    import ray
    import ray.exceptions

    given = {argument.hex() for argument in arguments if isinstance(argument, ray.ObjectRef)}
    return isinstance(cause, ray.exceptions.ObjectLostError) and cause.object_ref_hex in given


async def _answer(reference: Any) -> Any:
    return await reference


def _gist(error: Exception) -> str:
    """The cause that the remote traceback ends with, in one line."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1] if lines else ''}".rstrip(": ")
