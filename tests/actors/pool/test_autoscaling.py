"""Waiting for nodes, on a real cluster that gets them while it is waited for."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from actors.pool.autoscaling import wait_for_nodes
from actors.pool.cluster import ClusterError
from actors.pool.role import Role

pytestmark = pytest.mark.slow

ROLES = [
    Role(name="renderer", make=object, actors=2, num_gpus=1, resources={"renderer": 1}),
    Role(name="text_encoder", make=object, num_gpus=0.6, resources={"services": 0.6}),
    Role(name="scorer", make=object, num_gpus=0.4, resources={"services": 0.4}),
    Role(name="proposer", make=object),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head, and no node that has a GPU yet."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_with_no_time_to_wait_nothing_is_asked_for() -> None:
    asyncio.run(wait_for_nodes(ROLES, 0, pytest.fail))  # there is no cluster yet that could be asked


def test_when_the_time_is_up_the_error_gives_both_numbers(cluster: Any) -> None:
    with pytest.raises(ClusterError, match=r"^after 2 s there are nodes for 0 of 2 renderer; lower the actors"):
        asyncio.run(wait_for_nodes(ROLES[:1], 2, print))


def test_a_run_waits_for_nodes_as_they_come_and_leaves_them_free(cluster: Any) -> None:
    import ray

    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        if len(lines) == 1:
            cluster.add_node(num_cpus=1, num_gpus=1, resources={"renderer": 1})
        if len(lines) == 2:
            cluster.add_node(num_cpus=1, num_gpus=1, resources={"services": 1})
            cluster.add_node(num_cpus=1, num_gpus=1, resources={"renderer": 1})

    asyncio.run(wait_for_nodes(ROLES, 60, tell))

    assert lines[0] == "waiting for nodes: 0 of 2 renderer, 0 of 1 text_encoder, 0 of 1 scorer there"
    assert len(lines) > 1
    free = ray.remote(lambda: True).options(num_cpus=0, num_gpus=1, resources={"renderer": 1})
    assert ray.get([free.remote() for _ in range(2)], timeout=20) == [True, True]
