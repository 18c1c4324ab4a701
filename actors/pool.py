"""The one file that knows Ray: the cluster, what is asked of it, and pools of actors.

A pool keeps N actors of one role. Each call goes to the least loaded actor that is up; at most
`in_flight` calls are on an actor at a time, the rest wait in order. An actor that dies or does not
answer in time is replaced, and the call goes to whichever actor is free, once more. Actors hold
weights and nothing else, so any of them may be lost at any time.

    call -> wait for an actor below its limit -> remote call -> answer
                 ^                                   |
                 |  second and last attempt          | error, death, or time-out (actor replaced)
                 +-----------------------------------+

Invariant: the load of an actor is the number of calls that wait for its answer; it is given back in
`finally`, whatever happened.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ATTEMPTS = 2
_FAILED_STARTS = 3
"""So many actors in a row that do not come up mean that none will."""


class CallFailedError(RuntimeError):
    """A call failed on every attempt; the pool goes on."""


class PoolBrokenError(RuntimeError):
    """No actor of the pool comes up; nothing can go on."""


class ClusterError(ValueError):
    """The cluster cannot be reached or is too small for what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What to run how often, and on what.

    Example:

        Role(name="renderer", make=Darkroom, arguments={"size": 256}, actors=2, num_gpus=1)
    """

    name: str
    make: Callable[..., Any]
    """A plain class with a cheap constructor and `setup()`; made into an actor here."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    actors: int = 1
    num_cpus: float = 0
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    in_flight: int = 2
    """Calls on one actor at a time: one that runs, and one that is there when it is done."""
    timeout_s: float = 300
    setup_timeout_s: float = 600


def connect(address: str | None) -> None:
    """Join the Ray cluster at `address`, or start one on this machine that ends with this process.

    Raises
    ------
    ClusterError
        There is no cluster at the address.
    """
    local = address in (None, "local")
    if not local:
        _check_reachable(str(address))
    if local:
        # Before the import: keeps every socket of Ray on loopback.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    try:
        ray.init(
            address="local" if local else address,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ClusterError(f"no Ray cluster at {address!r}: {reason}; start one or leave out --address") from error


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes before it gives up on an address where nobody listens."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # a name that Ray resolves itself, such as "auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster at {address!r}: {error.strerror or error}; start one or leave out --address"
        ) from error


def disconnect() -> None:
    """Leave the cluster; one that `connect` started ends with it."""
    import ray

    ray.shutdown()


def put(value: Any) -> Any:
    """A reference to a value, for handing it to several calls."""
    import ray

    return ray.put(value)


def wanted_resources(roles: Sequence[Role]) -> dict[str, float]:
    """What the roles ask for in all: CPU, GPU and custom resources; zeros left out."""
    total: dict[str, float] = {}
    for role in roles:
        for name, amount in {"CPU": role.num_cpus, "GPU": role.num_gpus, **role.resources}.items():
            total[name] = total.get(name, 0) + amount * role.actors
    return {name: amount for name, amount in total.items() if amount}


def cluster_resources() -> dict[str, float]:
    """What the connected cluster has in all."""
    import ray

    return dict(ray.cluster_resources())


def check_resources(roles: Sequence[Role]) -> None:
    """Refuse what the cluster can never place, rather than wait for it.

    Raises
    ------
    ClusterError
        More is asked for than there is; the message gives both numbers.
    """
    import ray

    there = cluster_resources()
    short = [
        f"{amount:g} {name} wanted, {there.get(name, 0):g} there"
        for name, amount in wanted_resources(roles).items()
        if amount > there.get(name, 0)
    ]
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for role in roles if not short else ():
        one = wanted_resources([role])
        share = {name: amount / role.actors for name, amount in one.items()}
        if not any(all(node.get(name, 0) >= amount for name, amount in share.items()) for node in nodes):
            asked = ", ".join(f"{amount:g} {name}" for name, amount in share.items())
            short.append(f"one {role.name} wants {asked} on a single node, no node has that")
    if short:
        raise ClusterError(f"the cluster is too small: {'; '.join(short)}; lower the actors or resources of the preset")


class _Slot:
    """One place in a pool, and the actor that fills it at present."""

    def __init__(self) -> None:
        self.actor: Any = None
        self.load = 0
        self.up = False


class ActorPool:
    """Actors of one role. Used from one event loop; not thread-safe."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self.replaced = 0
        """How many actors were lost and replaced."""
        self._slots = [_Slot() for _ in range(role.actors)]
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._broken: str | None = None
        self._failed_starts = 0
        self._starting: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Spawn all actors and wait until each has loaded.

        Raises
        ------
        PoolBrokenError
            An actor does not come up.
        """
        await asyncio.gather(*(self._fill(slot) for slot in self._slots))
        if self._broken or not all(slot.up for slot in self._slots):
            raise PoolBrokenError(self._broken or f"{self.role.name}: an actor did not start")

    async def call(self, method: str, *arguments: Any) -> tuple[Any, Any]:
        """Call a method on some actor.

        Returns
        -------
        A reference to the answer, which other actors can be given, and the answer itself.

        Raises
        ------
        CallFailedError
            It failed on both attempts; the message says how.
        PoolBrokenError
            There is no actor left and none comes up.
        """
        import ray.exceptions

        reasons = []
        for _ in range(ATTEMPTS):
            slot = await self._acquire()
            actor = slot.actor
            try:
                reference = getattr(actor, method).remote(*arguments)
                answer = await asyncio.wait_for(_answer(reference), self.role.timeout_s)
            except TimeoutError:
                reasons.append(f"no answer within {self.role.timeout_s:g} s")
                self._replace(slot, actor)
            except ray.exceptions.RayActorError as error:
                reasons.append(f"the actor died ({type(error).__name__})")
                self._replace(slot, actor)
            except ray.exceptions.RayTaskError as error:
                reasons.append(_gist(error))
            else:
                return reference, answer
            finally:
                self._release(slot)
        raise CallFailedError(f"{self.role.name}.{method}: " + "; again: ".join(reasons))

    def stop(self) -> None:
        """End all actors."""
        import ray

        for task in self._starting:
            task.cancel()
        for slot in self._slots:
            slot.up = False
            if slot.actor is not None:
                ray.kill(slot.actor)
                slot.actor = None

    async def _acquire(self) -> _Slot:
        """The least loaded actor below its limit; callers are served in the order in which they came."""
        turn = None
        while True:
            if self._broken:
                raise PoolBrokenError(self._broken)
            free = [slot for slot in self._slots if slot.up and slot.load < self.role.in_flight]
            if free and (turn is not None or not self._waiting):
                slot = min(free, key=lambda slot: slot.load)
                slot.load += 1
                return slot
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter) if turn is None else self._waiting.appendleft(waiter)
            turn = waiter
            try:
                await waiter
            except asyncio.CancelledError:
                self._wake()  # the turn that this caller does not take is the next one's
                raise

    def _release(self, slot: _Slot) -> None:
        slot.load -= 1
        self._wake()

    def _wake(self) -> None:
        """Let the first in line try again; all of them where the pool is broken."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                if not self._broken:
                    break

    def _replace(self, slot: _Slot, actor: Any) -> None:
        """Fill the slot anew, unless another call has noticed the loss before."""
        import ray

        if slot.actor is not actor:
            return
        ray.kill(actor)
        slot.actor, slot.up = None, False
        self.replaced += 1
        task = asyncio.create_task(self._fill(slot))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _fill(self, slot: _Slot) -> None:
        import ray
        import ray.exceptions

        role = self.role
        while not self._broken:
            options = {"num_cpus": role.num_cpus, "num_gpus": role.num_gpus, "resources": dict(role.resources)}
            slot.actor = ray.remote(role.make).options(**options).remote(**role.arguments)
            try:
                await asyncio.wait_for(_answer(slot.actor.setup.remote()), role.setup_timeout_s)
            except (ray.exceptions.RayError, TimeoutError) as error:
                ray.kill(slot.actor)
                slot.actor = None
                self._failed_starts += 1
                if self._failed_starts >= _FAILED_STARTS:
                    reason = _gist(error) if str(error) else f"no start within {role.setup_timeout_s:g} s"
                    self._broken = f"{role.name}: no actor comes up: {reason}"
            else:
                slot.up = True
                self._failed_starts = 0
                break
        for _ in range(role.in_flight):
            self._wake()


async def _answer(reference: Any) -> Any:
    return await reference


def _gist(error: Exception) -> str:
    """The cause that the remote traceback ends with, in one line."""
    cause = getattr(error, "cause", None) or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[-1] if lines else ''}".rstrip(": ")
