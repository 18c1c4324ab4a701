"""The places of a run's actors in the cluster: reserved before the first actor starts, kept until the run ends.

Each actor that takes something of the cluster has a placement group of one bundle of its own, in which it is started,
and in which the actor that replaces it is started again. So nobody else's job can take a GPU between the check and the
start, or between a death and the replacement. Where a node dies, Ray reserves the bundle on another.

Unmet placement groups are also what makes Ray's autoscaler start nodes. Groups that are met are held until all are, so
that no node is taken down as idle while others are still starting.

Invariant: no place outlives the run. `release` gives back all, and Ray those of a driver that was killed, so that no
node stays reserved, and paid for, after it.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from actors.pool.cluster import (
    ROUNDING,
    ClusterError,
    check_resources,
    cluster_resources,
    free_resources,
    required_resources,
)
from actors.pool.role import Role

_POLL_S = 0.2
_FREE_TIMEOUT_S = 30.0
"""For what is there to become free, where nobody waits for more nodes: the actors of a run that has just ended."""


class Reservation:
    """Placement groups by role, one for each of its actors.

    Example:

        reservation = Reservation()
        try:
            await reservation.make(roles, timeout_s=0, tell=print)
            await pool.start(reservation.places(role))
        finally:
            reservation.release()
    """

    def __init__(self) -> None:
        self._groups: dict[str, list[Any]] = {}

    async def make(self, roles: Sequence[Role], timeout_s: float, tell: Callable[[str], None]) -> None:
        """Reserve a place for every actor of the roles, and wait until all are there.

        Parameters
        ----------
        timeout_s : float
            How long the cluster may take to start nodes; 0: they have to be there, and free within half a minute.
        tell : callable
            Called with one line whenever the number of places changes.

        Raises
        ------
        ClusterError
            The cluster is too small, or does not have room in time; the message says what is wanted, there and free.
        """
        if not timeout_s:
            check_resources(roles)
        began, shown = time.monotonic(), ""
        for role in sorted(roles, key=lambda role: -sum(role.required_resources.values())):
            self._groups[role.name] = _request(role)
        limit_s = timeout_s or _FREE_TIMEOUT_S
        while unmet := self._unmet():
            if time.monotonic() - began > limit_s:
                numbers = _numbers(roles, held=self._held())
                self.release()
                raise ClusterError(
                    f"after {limit_s:g} s there is room for {unmet}{numbers}; lower the actors, wait for whoever has "
                    "the rest (`ray status` shows who), or for nodes that start on demand by a larger nodes_timeout_s"
                )
            if unmet != shown and time.monotonic() - began > 2 * _POLL_S:
                tell(f"waiting for {'nodes' if timeout_s else 'room'}: {unmet} there")
                shown = unmet
            await asyncio.sleep(_POLL_S)

    def places(self, role: Role) -> Sequence[Any]:
        """One for each actor of a role; none for a role that reserves nothing, whose actors run anywhere."""
        return self._groups.get(role.name, ())

    def release(self) -> None:
        """Give back all places, and with them end whatever still runs there."""
        if not self._groups:
            return
        import ray.exceptions
        from ray.util.placement_group import remove_placement_group

        with suppress(ray.exceptions.RayError, RuntimeError):  # the cluster is gone, and its groups with it
            for groups in self._groups.values():
                for group in groups:
                    remove_placement_group(group)
        self._groups = {}

    def _unmet(self) -> str:
        """The roles that lack places: `3 of 8 renderer, 0 of 1 proposer`."""
        lines = []
        for name, groups in self._groups.items():
            met = sum(_is_met(group) for group in groups)
            if met < len(groups):
                lines.append(f"{met} of {len(groups)} {name}")
        return ", ".join(lines)

    def _held(self) -> dict[str, float]:
        held: dict[str, float] = {}
        for groups in self._groups.values():
            for bundle in (group.bundle_specs[0] for group in groups if _is_met(group)):
                for name, amount in bundle.items():
                    held[name] = held.get(name, 0) + amount
        return held


def in_place(place: Any) -> dict[str, Any]:
    """Ray's options of an actor that is to start in a place."""
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    return {
        "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=place, placement_group_bundle_index=0)
    }


def _request(role: Role) -> list[Any]:
    from ray.util.placement_group import placement_group

    required = role.required_resources
    return [placement_group([required]) for _ in range(role.actors if required else 0)]


def _is_met(group: Any) -> bool:
    from ray.util.placement_group import placement_group_table

    return placement_group_table(group)["state"] == "CREATED"


def _numbers(roles: Sequence[Role], held: Mapping[str, float]) -> str:
    """What is short: ` (4 GPU wanted, 4 there, 1 free)`; nothing where the amounts are there, on the wrong nodes."""
    there, left = cluster_resources(), free_resources()
    lines = []
    for name, wanted in required_resources(roles).items():
        free = left.get(name, 0) + held.get(name, 0)
        if wanted > free + ROUNDING:
            lines.append(f"{wanted:g} {name} wanted, {there.get(name, 0):g} there, {free:g} free")
    return f" ({'; '.join(lines)})" if lines else ""
