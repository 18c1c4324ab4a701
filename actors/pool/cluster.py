"""The Ray cluster: joining it, what it has, and whether that is enough for the roles.

Invariant: what the cluster can never place is refused with both numbers, and an address where nobody answers at once;
neither is waited for. A cluster that is gone is noticed: Ray itself would have the driver wait for it, or end it.
"""

import logging
import math
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.pool.role import Role


class ClusterError(ValueError):
    """The cluster cannot be reached or is too small for what is asked."""


_ROUNDING = 1e-6
_LOOK_S = 2.0
_LOOKS = 5
"""So many looks in a row that find nobody mean that the head is gone, not busy."""

_watching = threading.Event()
"""Set where nobody is to look any more."""

_own_node: list[str] = []
"""Where the raylet of this process listens, while it is watched."""

_LOOKS_HERE = 2
"""On this machine nobody is only ever busy: the system takes calls for a process until it ends."""


def connect(address: str | None) -> None:
    """Join the Ray cluster at `address`, or start one on this machine that ends with this process.

    Raises
    ------
    ClusterError
        There is no cluster at the address.
    """
    local = address in (None, "local")
    if not local:
        if str(address).startswith("ray://"):
            raise ClusterError(f"no Ray client here, got {address!r}; run steer-batch on the head (docs/cluster.md)")
        _check_reachable(str(address))
    if local:
        # Before the import: every socket of Ray stays on loopback, and it reports to nobody.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # a name that Ray resolves itself, such as "auto"
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"no Ray cluster at {address!r}: {error.strerror or error}; start one or leave out --address"
        ) from error


def watch(on_lost: Callable[[str], None]) -> None:
    """Look after the head of the connected cluster, and the node that this process is on, until `disconnect`.

    Without them a driver can neither place an actor nor get an answer, and Ray does not tell it so: its calls block
    for a minute, and then it ends the process without a word. So a thread of its own looks. It tells `on_lost` once,
    after some ten seconds in which nobody has listened, or four where it is this machine.
    """
    import ray

    context = ray.get_runtime_context()
    own = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    raylet = f"{own['NodeManagerAddress']}:{own['NodeManagerPort']}"
    _own_node.append(raylet)
    _watching.clear()
    arguments = (context.gcs_address, raylet, on_lost)
    threading.Thread(target=_look_after, args=arguments, name="watch", daemon=True).start()


def _look_after(head: str, raylet: str, on_lost: Callable[[str], None]) -> None:
    missed = {head: 0, raylet: 0}
    while not _watching.wait(_LOOK_S):
        for address in missed:
            missed[address] = 0 if _listens(address) else missed[address] + 1
        if missed[raylet] == _LOOKS_HERE:
            return on_lost(f"the Ray node of this process, {raylet}, has died")
        if missed[head] == _LOOKS:
            return on_lost(f"the Ray cluster at {head} does not answer any more")
    return None


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK_S).close()
    except OSError:  # refused, unreachable or out of time
        return False
    return True


def disconnect() -> None:
    """Leave the cluster; one that `connect` started ends with it."""
    import ray

    _watching.set()
    _own_node.clear()
    ray.shutdown()


def put(value: Any) -> Any:
    """A reference to a value, for handing it to several calls.

    On a node that has died Ray would end the process without a word, so that `watch` is left the time to say so.
    """
    import ray

    if _own_node and not _listens(_own_node[-1]):
        _watching.wait(_LOOK_S * 2 * _LOOKS_HERE)
    return ray.put(value)


def wanted_resources(roles: Sequence[Role]) -> dict[str, float]:
    """What the roles ask for in all: CPU, GPU and custom resources; zeros left out."""
    total: dict[str, float] = {}
    for role in roles:
        for name, amount in share_of(role).items():
            total[name] = total.get(name, 0) + amount * role.actors
    return total


def share_of(role: Role) -> dict[str, float]:
    """What one actor of the role asks for; zeros left out."""
    asked = {"CPU": role.num_cpus, "GPU": role.num_gpus, **role.resources}
    return {name: amount for name, amount in asked.items() if amount}


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
        if amount > there.get(name, 0) + _ROUNDING
    ]
    short += [] if short else _unplaced(roles, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    if short:
        raise ClusterError(
            f"the cluster is too small: {'; '.join(short)}; lower the actors or resources of the preset, "
            "or wait for nodes that start on demand by --set nodes_timeout_s=1800"
        )


def _unplaced(roles: Sequence[Role], nodes: Sequence[Mapping[str, float]]) -> list[str]:
    """A line for each role whose actors do not all find a place, the largest first, each on the first that has room."""
    free = [_Node(node) for node in nodes]
    lines = []
    for role in sorted(roles, key=lambda role: -sum(share_of(role).values())):
        share = share_of(role)
        placed = sum(any(node.take(share) for node in free) for _ in range(role.actors))
        if placed < role.actors:
            asked = ", ".join(f"{amount:g} {name}" for name, amount in share.items())
            lines.append(f"{role.actors} {role.name} wanted with {asked} each, room for {placed}")
    return lines


class _Node:
    """What is free on a node. Part of a GPU is part of one device, and several are whole ones."""

    def __init__(self, resources: Mapping[str, float]) -> None:
        self._devices = [1.0] * int(resources.get("GPU", 0))
        self._free = {name: amount for name, amount in resources.items() if name != "GPU"}

    def take(self, share: Mapping[str, float]) -> bool:
        """Reserve it, if all of it is there."""
        gpus = share.get("GPU", 0.0)
        wanted, of_each = math.ceil(gpus), min(gpus, 1.0)
        devices = [n for n, left in enumerate(self._devices) if left + _ROUNDING >= of_each][:wanted]
        others = {name: amount for name, amount in share.items() if name != "GPU"}
        if len(devices) < wanted:
            return False
        if any(self._free.get(name, 0) + _ROUNDING < amount for name, amount in others.items()):
            return False
        for device in devices:
            self._devices[device] -= of_each
        for name, amount in others.items():
            self._free[name] -= amount
        return True
