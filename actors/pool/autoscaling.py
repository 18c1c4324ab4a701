"""Waits for a cluster that starts nodes on demand.

Each actor that is to run is requested as a placement group of one bundle: unmet placement groups are what makes Ray's
autoscaler start nodes. Groups that are met are held until all are, so that no node is taken down as idle while others
are still starting.

Invariant: no placement group outlives the wait. All are removed in `finally`, and Ray drops those of a driver that was
killed, so that no node stays reserved, and paid for, after the run.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

from actors.pool.cluster import ClusterError
from actors.pool.role import Role

_POLL_S = 0.5


async def wait_for_nodes(roles: Sequence[Role], timeout_s: float, tell: Callable[[str], None]) -> None:
    """Wait until the cluster has room for every actor of the roles.

    Parameters
    ----------
    timeout_s : float
        0: request nothing, and take the cluster as it is.
    tell : callable
        Called with one line whenever the number of met requests changes.

    Raises
    ------
    ClusterError
        The time is up and some requests are unmet; the message says how many of how many.
    """
    if not timeout_s:
        return
    from ray.util.placement_group import remove_placement_group

    groups = {role.name: _request(role) for role in roles}
    deadline = time.monotonic() + timeout_s
    shown = ""
    try:
        while unmet := _unmet(groups):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"after {timeout_s:g} s there are nodes for {unmet}; lower the actors, raise nodes_timeout_s, "
                    "or see by `ray status` why no more start"
                )
            if unmet != shown:
                tell(f"waiting for nodes: {unmet} there")
                shown = unmet
            await asyncio.sleep(_POLL_S)
    finally:
        for group in itertools.chain.from_iterable(groups.values()):
            remove_placement_group(group)


def _request(role: Role) -> list[Any]:
    """A placement group for each actor; none for a role that reserves nothing, whose actors run anywhere."""
    from ray.util.placement_group import placement_group

    required = role.required_resources
    return [placement_group([required]) for _ in range(role.actors if required else 0)]


def _unmet(groups: dict[str, list[Any]]) -> str:
    """The roles with unmet requests: `3 of 8 renderer, 0 of 1 proposer`."""
    from ray.util.placement_group import placement_group_table

    lines = []
    for name, requested in groups.items():
        met = sum(placement_group_table(group)["state"] == "CREATED" for group in requested)
        if met < len(requested):
            lines.append(f"{met} of {len(requested)} {name}")
    return ", ".join(lines)
