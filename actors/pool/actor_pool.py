"""Pools of Ray actors: every call to a model goes through one.

A pool keeps a number of replicas of one class running and replaces each actor that dies or hangs. Actors hold weights
and nothing else, so that with an actor only the calls on it are lost, and those are made again:

    call() --> queue (Dispatch) --> actor --> answer --> caller
                 ^                    |
                 |                    +-- refuses the call    --> CallRefusedError, at once
                 |                    +-- raises an error     --> again, on another actor if there is one;
                 |                    |                           the same error again --> CallRefusedError
                 |                    +-- breaks (dies, exceeds its time, is out of memory)
                 |                    |                       --> the actor is replaced; again, alone on an actor;
                 |                    |                           BREAKS times alone --> CallRefusedError
                 |                    +-- is disturbed        --> again after a pause, however often
                 |                    +-- lost an argument    --> ArgumentLostError
                 |                    +-- is denied everything -> RoleUnavailableError
                 |
                 +-- again, ahead of new calls; none answered for `give_up_after_s` --> RoleUnavailableError

Which errors count as which is in `actors.pool.failures`. A call that pauses is neither on an actor nor in the queue, so
that all others go on. Pauses grow, and are never shorter than a service asks for.

Which call is to blame for a death? Ray does not say, and answers that were on their way are lost with the actor. So a
break counts against a call only if no other was on the actor, and after a death each call on it is made again alone.
A call that kills whatever actor it is on is therefore refused after at most four deaths, and its neighbours are
answered. So is a call that exceeds its time limit or an actor's memory: it may be the moment once, but one poisonous
prompt must not hold a run for ever. Memory counts only on a fresh actor. Before a call is refused for its breaks, the
pool sees that another call is answered, so that calls are not refused by a role whose actors break whatever they do.

Which call is to blame for a timeout? An actor with plain methods runs its calls one after the other, so the time of
its oldest call runs. An actor with coroutine methods runs them all at once, and each has a time of its own. Waiting, in
the queue or on an actor, never counts.

A replica that fails to start three times in a row is given up, and one that was given wrong arguments (ValueError) at
once. Its pool goes on with fewer replicas, until none is left: then every call raises PoolBrokenError. A replica that
has been up once is never given up: what is wrong is the moment, and starting it is tried again with growing pauses.

Invariants: a call is on one actor at a time and is taken off it in `finally`. Which calls are refused, and with which
reason, depends on the calls, neither on timing nor on the number of actors.
"""

import asyncio
import inspect
import itertools
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from actors.backoff import backoff_s
from actors.messages import DeniedError, DisturbedError
from actors.pool.accounting import TimeAccounting
from actors.pool.availability import Availability
from actors.pool.dispatch import Call, Dispatch, Worker
from actors.pool.failures import Failure, FailureKind, failure_of, timed_out
from actors.pool.reservation import in_place
from actors.pool.role import Role
from predictor.error_messages import type_and_last_line

logger = logging.getLogger(__name__)

ATTEMPTS = 2
"""So often a call fails in the same way, by an error of the model's code, before it is refused."""
BREAKS = 3
"""So often a call, alone on its actor, breaks it before it is refused."""
LONGEST_PAUSE_S = 60.0
"""Longest pause before a call is made again, where the service asks for none that is longer."""
_START_ATTEMPTS = 3
_CLOSE_TIMEOUT_S = 20
"""For an actor's `close`, in which it ends processes of its own."""
_WATCH_S = 1.0


class CallFailedError(RuntimeError):
    """A call failed; the pool goes on."""


class CallRefusedError(CallFailedError):
    """What was asked cannot be had, whenever it is asked; the message says why."""


class ArgumentLostError(CallFailedError):
    """The object behind an argument was lost with its node; the caller has to make it again, then call again."""

    def __init__(self, message: str, argument: Any = None) -> None:
        super().__init__(message)
        self.argument = argument
        """The reference."""


class RoleUnavailableError(RuntimeError):
    """No call of a role has been answered for so long that the run had better stop, and be resumed later."""


class PoolBrokenError(RuntimeError):
    """No actor of the pool starts, so that no call can ever be answered."""


class _Attempt(Call):
    """One attempt of a call: its turn on an actor, and how long it has run."""

    def __init__(self, timeout_s: float, *, alone: bool, avoided: Collection[object] = ()) -> None:
        super().__init__(alone=alone, avoided=avoided)
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._running_since: float | None = None
        """None while it waits, here or on its actor."""
        self._limit: asyncio.Timeout | None = None
        """Of the wait for its answer."""
        self.turn: asyncio.Future[_Actor] = self._loop.create_future()

    @property
    def withdrawn(self) -> bool:
        """Whether its caller was cancelled, and has not been woken yet to leave the queue."""
        return self.turn.done()

    @property
    def running_s(self) -> float:
        return 0.0 if self._running_since is None else self._loop.time() - self._running_since

    def mark_running(self) -> None:
        """It runs on its actor, since now if it did not before."""
        if self._running_since is None:
            self._running_since = self._loop.time()
            if self._limit is not None:
                self._limit.reschedule(self._ends)

    async def answer(self, reference: Any) -> Any:
        """Wait for what a reference will refer to; the timeout begins when the call runs.

        Raises
        ------
        _CallTimeoutError
            It has run for longer than it may.
        """
        limit = self._limit = asyncio.timeout_at(self._ends)
        try:
            async with limit:
                return await reference
        except TimeoutError as error:
            if limit.expired():
                raise _CallTimeoutError from error
            raise  # the actor's own

    @property
    def _ends(self) -> float | None:
        return None if self._running_since is None else self._running_since + self._timeout_s


class _Actor(Worker[_Attempt]):
    """An actor that is up, and the calls on it."""

    def __init__(self, handle: Any, replica: "_Replica") -> None:
        super().__init__()
        self.handle = handle
        self.replica = replica
        self._methods: dict[tuple[str, int], Any] = {}
        self.answered = 0
        """Calls; a fresh actor has answered none."""
        self.known_culprit: _PoolCall | None = None
        """The call that broke it, where that is known: the others on it are not to blame."""

    def method(self, name: str, returns: int) -> Any:
        """A method of so many results, to be called by `remote`."""
        if (name, returns) not in self._methods:
            self._methods[name, returns] = getattr(self.handle, name).options(num_returns=returns)
        return self._methods[name, returns]


class _Replica:
    """One of the pool's actors, through all its replacements."""

    def __init__(self) -> None:
        self.place: Any = None
        """Where its actors run; None: anywhere."""
        self.actor: _Actor | None = None
        """None while it starts, and once it is given up."""
        self.was_up = False
        self.start_failed = False
        """The last attempt to start an actor here."""
        self.given_up: str | None = None
        """Why no actor starts here any more."""


class _PoolCall:
    """One call of `ActorPool.call` through all its attempts."""

    def __init__(self, method: str, arguments: tuple[Any, ...], *, by_reference: bool, alone: bool = False) -> None:
        self.method = method
        self.arguments = arguments
        self.by_reference = by_reference
        self.alone = alone
        """It broke an actor, or was on one that broke: from now on it is alone on its actor."""
        self.is_retry = False
        """It was made before, so that it goes ahead of new ones."""
        self.disturbances = 0
        self.breaks = 0
        self.faults: list[Failure] = []
        self.failed_on: set[_Actor] = set()
        """The actors of the faults."""
        self.first_break = 0.0


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
        self.availability = Availability(role.give_up_after_s)
        self._replicas = [_Replica() for _ in range(role.actors)]
        self._dispatch: Dispatch[_Actor, _Attempt] = Dispatch(role.in_flight)
        self._concurrent = _has_coroutines(role.make)
        self._broken: str | None = None
        self._unavailable: str | None = None
        self._unavailable_event = asyncio.Event()
        """The role is unavailable: nobody pauses any longer."""
        self._last_answered: _PoolCall | None = None
        self._starting: set[asyncio.Task[None]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def start(self, places: Sequence[Any] = ()) -> None:
        """Start all actors and wait until each has loaded its weights.

        Parameters
        ----------
        places
            One for each actor, in which it and all its replacements run; see `actors.pool.reservation`. None: they run
            wherever there is room at the moment.

        Raises
        ------
        PoolBrokenError
            One does not start.
        """
        for replica, place in zip(self._replicas, places, strict=False):
            replica.place = place
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
        CallRefusedError
            What was asked cannot be had, whenever it is asked; the message says why.
        ArgumentLostError
            What one of the arguments refers to is lost.
        RoleUnavailableError
            No call of the role has been answered for `give_up_after_s`, or none will be.
        PoolBrokenError
            No actor has ever come up.
        """
        call = _PoolCall(method, arguments, by_reference=by_reference)
        try:
            while True:
                answer = await self._attempt(call)
                if not isinstance(answer, Failure):
                    return answer
        finally:
            self.availability.forget(call)

    async def _attempt(self, call: _PoolCall) -> tuple[Any, Any] | Failure:
        """Make a call once, and on failure wait until it may be made again; errors are those of `call`."""
        import ray.exceptions

        attempt = _Attempt(self.role.timeout_s, alone=call.alone, avoided=call.failed_on)
        actor = await self._acquire(attempt, is_retry=call.is_retry)
        try:
            returned = actor.method(call.method, 2 if call.by_reference else 1).remote(*call.arguments)
            reference, wanted = returned if call.by_reference else (returned, returned)
            result = await attempt.answer(wanted)
            self.accounting.record_call(attempt.running_s)
            self.availability.answered()
            self._last_answered = call
            actor.answered += 1
            return reference, result
        except (_CallTimeoutError, ray.exceptions.RayError) as error:
            if isinstance(error, _CallTimeoutError):
                failure = timed_out(self.role.timeout_s)
            else:
                failure = failure_of(error, call.arguments)
            self._log(call.method, failure, error)
            if failure.known_culprit and actor.known_culprit is None:
                actor.known_culprit = call
            if failure.actor_gone:
                self._replace(actor, failure.reason)
        finally:
            self._release(actor, attempt)
        await self._handle_failure(failure, call, actor)
        call.is_retry = True
        return failure

    async def _handle_failure(self, failure: Failure, call: _PoolCall, actor: _Actor) -> None:
        """Raise what ends the call, or pause."""
        name = f"{self.role.name}.{call.method}"
        match failure.kind:
            case FailureKind.REFUSED:
                self.availability.answered()
                raise CallRefusedError(f"{name}: {failure.reason}")
            case FailureKind.ARGUMENT_LOST:
                raise ArgumentLostError(f"{name}: {failure.reason}", failure.argument)
            case FailureKind.DENIED:
                self.availability.failed(call, failure.reason, disturbed=True)
                raise self._mark_unavailable()
            case FailureKind.FAULT:
                call.faults.append(failure)
                call.failed_on.add(actor)
                same = [fault.reason for fault in call.faults if fault.error_type == failure.error_type]
                if len(same) == ATTEMPTS:
                    raise CallRefusedError(f"{name}: " + "; again: ".join(same))
            case FailureKind.DISTURBED:
                self._note_failure(call, failure.reason, disturbed=True)
                if not failure.actor_gone:  # else its replacement is what the call waits for
                    await self._pause(call, failure.retry_after_s)
            case FailureKind.BROKEN:
                await self._handle_break(failure, call, actor)
        logger.info("%s: the call is retried", name)

    async def _handle_break(self, failure: Failure, call: _PoolCall, actor: _Actor) -> None:
        if actor.known_culprit not in (None, call):
            return  # another call broke it
        if not call.alone:
            call.alone, call.first_break = True, time.monotonic()
        elif not (failure.out_of_memory and actor.answered):
            call.breaks += 1
        if call.breaks >= BREAKS and await self._answers_others(since=call.first_break):
            raise CallRefusedError(
                f"{self.role.name}.{call.method}: {failure.reason}, {BREAKS} times, alone on another actor each time"
            )
        self._note_failure(call, failure.reason, disturbed=False)
        if call.breaks >= BREAKS:
            await self._pause(call, None)

    async def _answers_others(self, *, since: float) -> bool:
        """Whether another call has been answered since, or is now; True where there has never been one."""
        if self.availability.last_answer > since or self._last_answered is None:
            return True
        known = self._last_answered
        probe = _PoolCall(known.method, known.arguments, by_reference=known.by_reference, alone=True)
        probe.is_retry, probe.breaks = True, -1  # a break of its own says enough
        try:
            return not isinstance(failure := await self._attempt(probe), Failure) or failure.kind is FailureKind.FAULT
        except CallFailedError:
            return True  # an actor has answered, if only by an error

    def _note_failure(self, call: object, reason: str, *, disturbed: bool) -> None:
        """Note a failure; where there have been nothing but failures for too long, the run had better stop.

        Raises
        ------
        RoleUnavailableError
            They last for `give_up_after_s`.
        """
        self.availability.failed(call, reason, disturbed=disturbed)
        if self.availability.overdue:
            raise self._mark_unavailable()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """While there is trouble, see whether it is too old, although nobody works who could fail once more."""
        while self.availability.troubled and self._unavailable is None:
            await asyncio.sleep(min(_WATCH_S, self.role.give_up_after_s / 4))
            up = self._dispatch.workers
            idle = up and not any(actor.calls for actor in up)
            grounded = not up and any(replica.start_failed for replica in self._replicas)
            if self.availability.overdue and (idle or grounded):
                self._mark_unavailable()

    def _mark_unavailable(self) -> RoleUnavailableError:
        """The error with which every call ends from now on."""
        if self._unavailable is None:
            self._unavailable = f"{self.role.name}: {self.availability.description}"
            logger.error("%s", self._unavailable)
            self._unavailable_event.set()
            self._tell_those_who_wait(RoleUnavailableError, self._unavailable)
        return RoleUnavailableError(self._unavailable)

    async def _pause(self, call: _PoolCall, asked_s: float | None) -> None:
        call.disturbances += 1
        seconds = self._backoff_s(call.disturbances, asked_s)
        logger.info("%s.%s: paused for %.1f s", self.role.name, call.method, seconds)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._unavailable_event.wait(), seconds)

    def _backoff_s(self, failures: int, asked_s: float | None) -> float:
        return backoff_s(failures, first_s=self.role.first_pause_s, longest_s=LONGEST_PAUSE_S, asked_s=asked_s)

    def _log(self, method: str, failure: Failure, error: Exception) -> None:
        name = f"{self.role.name}.{method}"
        match failure.kind:
            case FailureKind.REFUSED:
                logger.info("%s: refused: %s", name, failure.reason)
            case FailureKind.FAULT:
                logger.warning("%s: failed", name, exc_info=error)
            case FailureKind.BROKEN | FailureKind.DISTURBED if failure.actor_gone and not failure.known_culprit:
                logger.warning("%s: the actor was lost: %s", name, type_and_last_line(error))
            case _:
                logger.warning("%s: %s: %s", name, failure.kind.value, failure.reason)

    def stop(self) -> None:
        """Kill all actors, after `close` on those that have it."""
        import ray

        for task in (*self._starting, *([self._watching] if self._watching else [])):
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

    async def _acquire(self, attempt: _Attempt, *, is_retry: bool) -> _Actor:
        """Queue the call and wait for its actor."""
        if self._unavailable:
            raise RoleUnavailableError(self._unavailable)
        if self._broken:
            raise PoolBrokenError(self._broken)
        self._dispatch.join(attempt, is_retry=is_retry)
        self._place()
        try:
            return await attempt.turn
        except asyncio.CancelledError:
            self._dispatch.leave(attempt)
            if attempt.turn.done() and not attempt.turn.cancelled():
                self._release(attempt.turn.result(), attempt)  # it got its turn as its caller was cancelled
            raise

    def _place(self) -> None:
        for actor, attempt in self._dispatch.place():
            if actor.calls[0] is attempt:
                self.accounting.change(busy=1)
            self._start_clocks(actor)
            attempt.turn.set_result(actor)

    def _release(self, actor: _Actor, attempt: _Attempt) -> None:
        actor.calls.remove(attempt)
        if not actor.calls and actor.replica.actor is actor:
            self.accounting.change(busy=-1)
        self._start_clocks(actor)
        self._place()

    def _start_clocks(self, actor: _Actor) -> None:
        """Of the calls that run on the actor: all of them, or the oldest."""
        for attempt in actor.calls if self._concurrent else actor.calls[:1]:
            attempt.mark_running()

    def _replace(self, actor: _Actor, reason: str) -> None:
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
        why = f"is replaced: {reason}" if actor.known_culprit else "died and is replaced"
        logger.warning("%s: an actor %s (replacement %d)", self.role.name, why, self.replaced)
        task = asyncio.create_task(self._start_actor(replica))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start_actor(self, replica: _Replica) -> None:
        """Start the replica's actor, or give up a replica that has never been up."""
        role = self.role
        for attempt in itertools.count(1):
            started = await self._attempt_start(replica)
            replica.start_failed = isinstance(started, _NotUp)
            if not isinstance(started, _NotUp):
                replica.was_up = True
                replica.actor = _Actor(started, replica)
                self._dispatch.workers.append(replica.actor)
                self.accounting.change(up=1)
                self._place()
                logger.info("%s: an actor is up", role.name)
                return
            if not replica.was_up and (started.hopeless or attempt == _START_ATTEMPTS):
                self._give_up(replica, f"{role.name}: no actor comes up: {started.reason}")
                return
            if replica.was_up:
                with suppress(RoleUnavailableError):  # whoever waits for an actor is told
                    self._note_failure(replica, f"no actor comes up again: {started.reason}", disturbed=True)
            if replica.was_up or started.disturbed:
                await asyncio.sleep(self._backoff_s(attempt, started.retry_after_s))

    async def _attempt_start(self, replica: _Replica) -> "Any | _NotUp":
        """A handle of an actor that has loaded its weights, or why there is none."""
        import ray
        import ray.exceptions

        role = self.role
        options: dict[str, Any] = {key: getattr(role, key) for key in ("num_cpus", "num_gpus", "resources")}
        options["enable_task_events"] = False  # Ray's own record of each call costs as much as a tenth of the driver
        if role.python is not None:
            options["runtime_env"] = {"py_executable": role.python}
        if replica.place is not None:
            options |= in_place(replica.place)
        handle: Any = ray.remote(role.make).options(**options).remote(**role.arguments)
        try:
            await asyncio.wait_for(_answer(handle.setup.remote()), role.setup_timeout_s)
            if self._refuse is None:
                return handle
            identity = await asyncio.wait_for(_answer(handle.identity.remote()), role.timeout_s)
        except (ray.exceptions.RayError, TimeoutError) as error:
            ray.kill(handle)
            reason = _one_line(error) if str(error) else f"no start within {role.setup_timeout_s:g} s"
            logger.warning("%s: an actor did not come up: %s", role.name, reason, exc_info=error)
            return _NotUp(reason, getattr(error, "cause", None))
        if reason := self._refuse(identity):
            ray.kill(handle)
            return _NotUp(reason, ValueError(reason))
        return handle

    def _give_up(self, replica: _Replica, reason: str) -> None:
        replica.given_up = reason
        logger.error("%s", reason)
        self.accounting.change(replicas=-1)
        if all(other.given_up for other in self._replicas):
            self._broken = reason
            self._tell_those_who_wait(PoolBrokenError, reason)

    def _tell_those_who_wait(self, kind: type[Exception], reason: str) -> None:
        for attempt in self._dispatch.drain():
            if not attempt.turn.done():
                attempt.turn.set_exception(kind(reason))


class _NotUp:
    """Why an actor did not come up."""

    def __init__(self, reason: str, cause: object) -> None:
        self.reason = reason
        self.hopeless = isinstance(cause, ValueError | DeniedError)
        """Its arguments are wrong, and would be again."""
        self.disturbed = isinstance(cause, DisturbedError)
        self.retry_after_s = cause.retry_after_s if isinstance(cause, DisturbedError) else None


def _has_coroutines(make: Any) -> bool:
    """Whether Ray makes it an asyncio actor, which runs all its calls at once, rather than one after the other."""
    return bool(inspect.getmembers(make, inspect.iscoroutinefunction))


async def _answer(reference: Any) -> Any:
    return await reference


def _one_line(error: Exception) -> str:
    """Of the error that the actor raised, where Ray's wraps one."""
    return type_and_last_line(getattr(error, "cause", None) or error)
