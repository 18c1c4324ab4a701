"""The Ray cluster: joining it, checking that it is large enough for the roles, and noticing when it is lost.

Invariants: roles that the cluster can never place, and an address where nobody listens, are errors at once and never
waited for. The loss of the cluster is reported: Ray itself would let the driver wait for a minute and then exit.
"""

import logging
import math
import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from actors.pool.role import Role
from predictor.error_messages import first_line


class ClusterError(ValueError):
    """The cluster cannot be reached, or is too small for the roles."""


ROUNDING = 1e-6
"""Of amounts of resources, which Ray adds up in floating point."""
_CONNECT_TIMEOUT_S = 10.0
_PROBE_S = 2.0
"""Time between two probes, and timeout of each."""
_HEAD_FAILURES = 5
"""Failed probes in a row that mean that the head is lost rather than busy."""
_RAYLET_FAILURES = 2
"""Fewer, because the raylet is on this machine, whose kernel accepts connections for a process as long as it lives."""

LOCAL_CLUSTER_ENVIRONMENT = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every socket stays on loopback
    "RAY_USAGE_STATS_ENABLED": "0",  # it reports to nobody
    # It would look for new logs of its processes ten times a second, to tell drivers of them; this one does not listen.
    "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    "LOG_NAME_UPDATE_INTERVAL_S": "86400",
    # By its 15, two other busy processes leave an actor 3% of its core: its first answer took ten seconds.
    "RAY_worker_niceness": "0",
}
"""Settings of a Ray that `connect` starts, unless the environment has others. Ray reads them at its import."""

_watch_ended = threading.Event()
_watched_raylet: list[str] = []
"""Address of this process's raylet, while it is watched."""


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
        for name, value in LOCAL_CLUSTER_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    import ray

    try:
        ray.init(
            address="local" if local else address,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"no Ray cluster at {address!r}: {first_line(error)}; start one or leave out --address"
        ) from error


def _check_reachable(address: str) -> None:
    """Raise ClusterError where nobody listens: Ray itself would try for minutes."""
    _, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # a name that Ray resolves itself, such as "auto"
    if error := _connection_error(address, _CONNECT_TIMEOUT_S):
        raise ClusterError(
            f"no Ray cluster at {address!r}: {error.strerror or error}; start one or leave out --address"
        ) from error


def _connection_error(address: str, timeout_s: float) -> OSError | None:
    """Why no TCP connection to "host:port" comes about: refused, unreachable, or out of time; None if one does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
    except OSError as error:
        return error
    return None


def watch(on_lost: Callable[[str], None]) -> None:
    """Watch the head of the connected cluster and the raylet of this node, from a thread, until `disconnect`.

    Without either, Ray's calls block for a minute, and then Ray exits the process without a message. The thread calls
    `on_lost` once, with the reason: after ten seconds in which the head, or four in which the raylet, did not accept a
    connection.
    """
    import ray

    context = ray.get_runtime_context()
    own = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    raylet = f"{own['NodeManagerAddress']}:{own['NodeManagerPort']}"
    _watched_raylet.append(raylet)
    _watch_ended.clear()
    arguments = (context.gcs_address, raylet, on_lost)
    threading.Thread(target=_probe, args=arguments, name="watch", daemon=True).start()


def _probe(head: str, raylet: str, on_lost: Callable[[str], None]) -> None:
    failures = {head: 0, raylet: 0}
    while not _watch_ended.wait(_PROBE_S):
        for address in failures:
            failures[address] = failures[address] + 1 if _connection_error(address, _PROBE_S) else 0
        if failures[raylet] == _RAYLET_FAILURES:
            return on_lost(f"the Ray node of this process, {raylet}, has died")
        if failures[head] == _HEAD_FAILURES:
            return on_lost(f"the Ray cluster at {head} does not answer any more")
    return None


def disconnect() -> None:
    """Leave the cluster, and end it if `connect` started it."""
    import ray

    _watch_ended.set()
    _watched_raylet.clear()
    ray.shutdown()


def put(value: Any) -> Any:
    """A reference to a value, to be an argument of several calls.

    Without a raylet `ray.put` exits the process without a message; so `watch` is first given the time to report.
    """
    import ray

    if _watched_raylet and _connection_error(_watched_raylet[-1], _PROBE_S):
        _watch_ended.wait(_PROBE_S * 2 * _RAYLET_FAILURES)
    return ray.put(value)


def required_resources(roles: Sequence[Role]) -> dict[str, float]:
    """What all actors of the roles reserve together, by Ray's names; zeros left out."""
    total: dict[str, float] = {}
    for role in roles:
        for name, amount in role.required_resources.items():
            total[name] = total.get(name, 0) + amount * role.actors
    return total


def cluster_resources() -> dict[str, float]:
    """What all nodes of the connected cluster have together."""
    import ray

    return dict(ray.cluster_resources())


def free_resources() -> dict[str, float]:
    """What of it nobody has reserved."""
    import ray

    return dict(ray.available_resources())


def check_resources(roles: Sequence[Role]) -> None:
    """See that the cluster can place all actors at once.

    Raises
    ------
    ClusterError
        It cannot, in total or because nothing fits a node; the message says what is wanted and what is there.
    """
    import ray

    there = cluster_resources()
    short = [
        f"{amount:g} {name} wanted, {there.get(name, 0):g} there"
        for name, amount in required_resources(roles).items()
        if amount > there.get(name, 0) + ROUNDING
    ]
    short += [] if short else _unplaced(roles, [node["Resources"] for node in ray.nodes() if node["Alive"]])
    if short:
        raise ClusterError(
            f"the cluster is too small: {'; '.join(short)}; lower the actors or resources of the preset, "
            "or wait for nodes that start on demand by --set nodes_timeout_s=1800"
        )


def _unplaced(roles: Sequence[Role], nodes: Sequence[Mapping[str, float]]) -> list[str]:
    """A line for each role of which not all actors fit. First fit, decreasing: the largest role first."""
    free = [_Node(node) for node in nodes]
    lines = []
    for role in sorted(roles, key=lambda role: -sum(role.required_resources.values())):
        required = role.required_resources
        placed = sum(any(node.reserve(required) for node in free) for _ in range(role.actors))
        if placed < role.actors:
            each = ", ".join(f"{amount:g} {name}" for name, amount in required.items())
            lines.append(f"{role.actors} {role.name} wanted with {each} each, room for {placed}")
    return lines


class _Node:
    """What is free on a node. A fraction of a GPU is of one device; several GPUs are whole devices."""

    def __init__(self, resources: Mapping[str, float]) -> None:
        self._devices = [1.0] * int(resources.get("GPU", 0))
        self._free = {name: amount for name, amount in resources.items() if name != "GPU"}

    def reserve(self, required: Mapping[str, float]) -> bool:
        """Take all that is required, if all of it is free."""
        gpus = required.get("GPU", 0.0)
        count, of_each = math.ceil(gpus), min(gpus, 1.0)
        devices = [n for n, free in enumerate(self._devices) if free + ROUNDING >= of_each][:count]
        others = {name: amount for name, amount in required.items() if name != "GPU"}
        if len(devices) < count:
            return False
        if any(self._free.get(name, 0) + ROUNDING < amount for name, amount in others.items()):
            return False
        for device in devices:
            self._devices[device] -= of_each
        for name, amount in others.items():
            self._free[name] -= amount
        return True
