"""Pools of Ray actors: every call to a model goes through one.

A pool keeps a number of replicas of one class running and replaces each actor that dies or hangs. Actors hold weights
and nothing else, so that with an actor only the calls on it are lost, and those are made again:

    call() --> queue (Dispatch) --> actor --> answer --> caller
                 ^                    |
                 |                    +-- raises an error  --> failed attempt
                 |                    +-- exceeds timeout  --> failed attempt; the actor is replaced,
                 |                    |                        other calls on it are made again
                 |                    +-- dies             --> the actor is replaced, all calls on it are made again,
                 |                    |                        each alone on an actor; a failed attempt only of a
                 |                    |                        call that was alone already
                 |                    +-- refuses the call --> CallFailedError, at once
                 |
                 +-- again, ahead of new calls, until ATTEMPTS have failed --> CallFailedError

Which call is to blame for a death? Ray does not say, and answers that were on their way are lost with the actor. So a
death counts against a call only if no other was on the actor, and after a death each call on it is made again alone.
A call that kills whatever actor it is on therefore fails after at most three deaths, and its neighbours are answered.

Which call is to blame for a timeout? An actor with plain methods runs its calls one after the other, so the time of
its oldest call runs. An actor with coroutine methods runs them all at once, and each has a time of its own. Waiting, in
the queue or on an actor, never counts.

An actor that fails to start three times in a row is given up, and one that was given wrong arguments (ValueError) at
once. Its pool goes on with fewer replicas, until none is left: then every call raises PoolBrokenError.

Invariants: a call is on one actor at a time and is taken off it in `finally`. Which calls fail depends on the calls,
neither on timing nor on the number of actors.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any

from actors.messages import RefusedError
from actors.pool.accounting import TimeAccounting
from actors.pool.dispatch import Call, Dispatch, Worker
from actors.pool.role import Role
from predictor.error_messages import type_and_last_line

logger = logging.getLogger(__name__)

ATTEMPTS = 2
_START_ATTEMPTS = 3
_CLOSE_TIMEOUT_S = 20
"""For an actor's `close`, in which it ends processes of its own."""


class CallFailedError(RuntimeError):
    """A call failed on every attempt; the pool goes on."""


class ArgumentLostError(CallFailedError):
    """The object behind an argument was lost with its node; the caller has to make it again, then call again."""


class PoolBrokenError(RuntimeError):
    """No actor of the pool starts, so that no call can ever be answered."""


class _Call(Call):
    """A call, the future of its turn, and the time since which it runs."""

    def __init__(self, *, alone: bool) -> None:
        super().__init__(alone=alone)
        self.turn: asyncio.Future[_Actor] = asyncio.get_running_loop().create_future()
        self.runs_since: float | None = None
        """None while it waits, here or on its actor."""

    @property
    def runs_s(self) -> float:
        return 0.0 if self.runs_since is None else time.monotonic() - self.runs_since


class _Actor(Worker[_Call]):
    """An actor that is up, and the calls on it."""

    def __init__(self, handle: Any, replica: "_Replica") -> None:
        super().__init__()
        self.handle = handle
        self.replica = replica
        self.timed_out = False
        """It was killed because one call exceeded its timeout; the other calls on it are not to blame."""


class _Replica:
    """One of the pool's actors, through all its replacements."""

    def __init__(self) -> None:
        self.actor: _Actor | None = None
        """None while it starts, and once it is given up."""
        self.given_up: str | None = None
        """Why no actor starts here any more."""


class _CallTimeoutError(Exception):
    """The call has run for longer than its role's `timeout_s`."""


class ActorPool:
    """The actors of one role. Used from one event loop; not thread-safe.

    Parameters
    ----------
    role : Role
        What to run, how often, and on which resources.
    refuse : callable or None
        From a new actor's `identity()` to the reason why the actor must not be used; "" where it may.

    Example:

        pool = ActorPool(Role(name="renderer", make=Darkroom, actors=2))
        await pool.start()
        reference, rendering = await pool.call("render", request)
        pool.stop()
    """

    def __init__(self, role: Role, refuse: Callable[[Any], str] | None = None) -> None:
        self.role = role
        self._refuse = refuse
        self.replaced = 0
        """Number of actors that were replaced."""
        self.accounting = TimeAccounting(replicas=role.actors)
        self._replicas = [_Replica() for _ in range(role.actors)]
        self._dispatch: Dispatch[_Actor, _Call] = Dispatch(role.in_flight)
        self._concurrent = _has_coroutines(role.make)
        self._broken: str | None = None
        self._starting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start all actors and wait until each has loaded its weights.

        Raises
        ------
        PoolBrokenError
            One does not start.
        """
        await asyncio.gather(*(self._start_actor(replica) for replica in self._replicas))
        if failures := self.start_failures:
            raise PoolBrokenError(failures[0])

    @property
    def start_failures(self) -> list[str]:
        """Why replicas were given up, a line each."""
        return [replica.given_up for replica in self._replicas if replica.given_up]

    async def call(self, method: str, *arguments: Any, by_reference: bool = False) -> tuple[Any, Any]:
        """Call a method of some actor, and call it again as the module's docstring says.

        Parameters
        ----------
        arguments
            References among them reach the actor as what they refer to.
        by_reference : bool
            The method returns a pair: something large, which stays in Ray's object store, and something small.

        Returns
        -------
        A reference to the result, which may be an argument of other calls, and the result. With `by_reference`, a
        reference to the large half, and the small half.

        Raises
        ------
        CallFailedError
            The actor refused the call, or all attempts failed; the message says why.
        ArgumentLostError
            What one of the arguments refers to is lost.
        PoolBrokenError
            No actor is left and none starts.
        """
        import ray.exceptions

        reasons: list[str] = []
        again = alone = False
        while len(reasons) < ATTEMPTS:
            call = _Call(alone=alone)
            actor = await self._acquire(call, again=again)
            try:
                remote = getattr(actor.handle, method).options(num_returns=2 if by_reference else 1)
                returned = remote.remote(*arguments)
                reference, wanted = returned if by_reference else (returned, returned)
                result = await self._within_timeout(call, wanted)
                self.accounting.record_call(call.runs_s)
                return reference, result
            except _CallTimeoutError:
                reasons.append(f"no answer within {self.role.timeout_s:g} s")
                logger.warning("%s.%s: no answer within %g s", self.role.name, method, self.role.timeout_s)
                actor.timed_out = True
                self._replace(actor)
            except ray.exceptions.RayTaskError as error:
                if _is_lost(error.cause, arguments):
                    logger.warning("%s.%s: an argument was lost with its node", self.role.name, method)
                    raise ArgumentLostError(f"{self.role.name}.{method}: an argument was lost with its node") from None
                reasons.append(_one_line(error))
                if isinstance(error.cause, RefusedError):
                    logger.info("%s.%s: refused: %s", self.role.name, method, reasons[-1])
                    break
                logger.warning("%s.%s: failed", self.role.name, method, exc_info=error)
            except _death_errors() as error:
                logger.warning("%s.%s: the actor was lost: %s", self.role.name, method, _one_line(error))
                self._replace(actor)
                if alone:
                    reasons.append("the actor died")
                alone = alone or not actor.timed_out
            except ray.exceptions.RayError as error:
                reasons.append(_one_line(error))
                logger.warning("%s.%s: failed", self.role.name, method, exc_info=error)
            finally:
                self._release(actor, call)
            again = True
            if len(reasons) < ATTEMPTS:
                logger.info("%s.%s: the call is retried", self.role.name, method)
        raise CallFailedError(f"{self.role.name}.{method}: " + "; again: ".join(reasons))

    def stop(self) -> None:
        """Kill all actors, after `close` on those that have it."""
        import ray

        for task in self._starting:
            task.cancel()
        if hasattr(self.role.make, "close"):
            closing = [replica.actor.handle.close.remote() for replica in self._replicas if replica.actor]
            if closing:
                ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_TIMEOUT_S)
        for replica in self._replicas:
            if replica.actor is not None:
                ray.kill(replica.actor.handle)
                self.accounting.change(up=-1, busy=-1 if replica.actor.calls else 0)
                replica.actor = None
        self._dispatch.workers.clear()

    async def _acquire(self, call: _Call, *, again: bool) -> _Actor:
        """Queue the call and wait for its actor."""
        if self._broken:
            raise PoolBrokenError(self._broken)
        self._dispatch.join(call, again=again)
        self._place()
        try:
            return await call.turn
        except asyncio.CancelledError:
            self._dispatch.leave(call)
            if call.turn.done() and not call.turn.cancelled():
                self._release(call.turn.result(), call)  # it got its turn as its caller was cancelled
            raise

    def _place(self) -> None:
        for actor, call in self._dispatch.place():
            if actor.calls[0] is call:
                self.accounting.change(busy=1)
            self._start_clocks(actor)
            if call.turn.done():  # its caller was cancelled
                self._release(actor, call)
            else:
                call.turn.set_result(actor)

    def _release(self, actor: _Actor, call: _Call) -> None:
        actor.calls.remove(call)
        if not actor.calls and actor.replica.actor is actor:
            self.accounting.change(busy=-1)
        self._start_clocks(actor)
        self._place()

    def _start_clocks(self, actor: _Actor) -> None:
        """Of the calls that run on the actor: all of them, or the oldest."""
        for call in actor.calls if self._concurrent else actor.calls[:1]:
            if call.runs_since is None:
                call.runs_since = time.monotonic()

    async def _within_timeout(self, call: _Call, reference: Any) -> Any:
        """The answer; the timeout begins when the call runs on its actor."""
        answer = asyncio.ensure_future(_answer(reference))
        try:
            while True:
                left_s = self.role.timeout_s - call.runs_s
                if left_s <= 0:
                    raise _CallTimeoutError
                done, _ = await asyncio.wait({answer}, timeout=left_s)
                if done:
                    return answer.result()
        finally:
            answer.cancel()

    def _replace(self, actor: _Actor) -> None:
        """Kill the actor and start another, unless another call on it has done so."""
        import ray

        replica = actor.replica
        if replica.actor is not actor:
            return
        ray.kill(actor.handle)
        replica.actor = None
        self._dispatch.workers.remove(actor)
        self.accounting.change(up=-1, busy=-1 if actor.calls else 0)
        self.replaced += 1
        why = f"had no answer within {self.role.timeout_s:g} s" if actor.timed_out else "died"
        logger.warning("%s: an actor %s and is replaced (replacement %d)", self.role.name, why, self.replaced)
        task = asyncio.create_task(self._start_actor(replica))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start_actor(self, replica: _Replica) -> None:
        """Start the replica's actor, or give the replica up."""
        import ray
        import ray.exceptions

        role = self.role
        options: dict[str, Any] = {key: getattr(role, key) for key in ("num_cpus", "num_gpus", "resources")}
        if role.python is not None:
            options["runtime_env"] = {"py_executable": role.python}
        reason = ""
        for _ in range(_START_ATTEMPTS):
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
                reason = _one_line(error) if str(error) else f"no start within {role.setup_timeout_s:g} s"
                logger.warning("%s: an actor did not come up: %s", role.name, reason, exc_info=error)
                if isinstance(getattr(error, "cause", None), ValueError):
                    break  # its arguments are wrong, and would be again
            else:
                replica.actor = _Actor(handle, replica)
                self._dispatch.workers.append(replica.actor)
                self.accounting.change(up=1)
                self._place()
                logger.info("%s: an actor is up", role.name)
                return
        self._give_up(replica, f"{role.name}: no actor comes up: {reason}")

    def _give_up(self, replica: _Replica, reason: str) -> None:
        replica.given_up = reason
        logger.error("%s", reason)
        self.accounting.change(replicas=-1)
        if all(other.given_up for other in self._replicas):
            self._broken = reason
            for call in self._dispatch.drain():
                if not call.turn.done():
                    call.turn.set_exception(PoolBrokenError(reason))


def _has_coroutines(make: Any) -> bool:
    """Whether Ray makes it an asyncio actor, which runs all its calls at once, rather than one after the other."""
    return bool(inspect.getmembers(make, inspect.iscoroutinefunction))


def _death_errors() -> tuple[type[Exception], ...]:
    """Ray's errors where the actor died, or its node, or an answer was lost on the way."""
    from ray import exceptions

    return (
        exceptions.RayActorError,
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
    )


def _is_lost(cause: object, arguments: tuple[Any, ...]) -> bool:
    """Whether the lost object is one of the call's arguments, rather than one that the actor itself had asked for."""
    import ray
    import ray.exceptions

    references = {argument.hex() for argument in arguments if isinstance(argument, ray.ObjectRef)}
    return isinstance(cause, ray.exceptions.ObjectLostError) and cause.object_ref_hex in references


async def _answer(reference: Any) -> Any:
    return await reference


def _one_line(error: Exception) -> str:
    """Of the error that the actor raised, where Ray's wraps one."""
    return type_and_last_line(getattr(error, "cause", None) or error)
