"""Waiting for a cluster that starts its nodes on demand.

A place is asked for every actor that is to run: a placement group of one bundle, which is what Ray's autoscalers
start nodes for. A place that is there is held until all are, so that no node is taken down as idle while the others
still come.

Invariant: no place outlives the waiting. They are given back in `finally`, and Ray itself drops them with the driver,
so nothing keeps a node busy, and paid for, after a run was killed.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from actors.pool.cluster import ClusterError, share_of
from actors.pool.role import Role

_POLL_S = 0.5


async def wait_for_nodes(roles: Sequence[Role], timeout_s: float, tell: Callable[[str], None]) -> None:
    """Wait until the cluster has a place for each actor of the roles; `tell` is called whenever there are more.

    With no time to wait nothing is asked for: the cluster is taken as it is.

    Raises
    ------
    ClusterError
        Places are missing when the time is up; the message says how many of how many.
    """
    if not timeout_s:
        return
    from ray.util.placement_group import remove_placement_group

    places = {role.name: _ask(role) for role in roles}
    deadline = time.monotonic() + timeout_s
    told = ""
    try:
        while missing := _missing(places):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"after {timeout_s:g} s there are nodes for {missing}; lower the actors, raise nodes_timeout_s, "
                    "or see by `ray status` why no more start"
                )
            if missing != told:
                tell(f"waiting for nodes: {missing} there")
                told = missing
            await asyncio.sleep(_POLL_S)
    finally:
        for groups in places.values():
            for group in groups:
                remove_placement_group(group)


def _ask(role: Role) -> list[Any]:
    """A place for each actor; none for a role that asks for nothing, which runs anywhere."""
    from ray.util.placement_group import placement_group

    share = share_of(role)
    return [placement_group([share]) for _ in range(role.actors if share else 0)]


def _missing(places: dict[str, list[Any]]) -> str:
    """The roles that lack places: `3 of 8 renderer, 0 of 1 proposer`."""
    from ray.util.placement_group import placement_group_table

    lines = []
    for name, groups in places.items():
        there = sum(placement_group_table(group)["state"] == "CREATED" for group in groups)
        if there < len(groups):
            lines.append(f"{there} of {len(groups)} {name}")
    return ", ".join(lines)
