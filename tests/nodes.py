"""A Ray cluster of several raylets on this machine, whose nodes can be lost like machines."""

import logging
from collections.abc import Mapping
from typing import Any

STORE = 100 * 2**20
QUICK_TO_NOTICE = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 2,
}
"""A node that is gone is noticed within a second or so, not after a quarter of a minute."""


class Nodes:
    """One node for each custom resource that was asked for, and a head that has none."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster: Any = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 1,
                "include_dashboard": False,
                "object_store_memory": STORE,
                "_system_config": QUICK_TO_NOTICE,
            },
        )
        self._nodes: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return self._cluster.address

    @property
    def by_name(self) -> Mapping[str, Any]:
        return self._nodes

    def join(self) -> None:
        import ray

        ray.init(address=self.address, log_to_driver=False, logging_level=logging.ERROR)

    def need(self, **resources: int) -> None:
        """Add the nodes that are not there (any more), each with so much of the resource of its name."""
        for name, amount in resources.items():
            if name not in self._nodes:
                self._nodes[name] = self._cluster.add_node(
                    num_cpus=1, resources={name.partition("_")[0]: amount}, object_store_memory=STORE
                )

    def lose(self, name: str) -> None:
        """As if its power had failed."""
        self._cluster.remove_node(self._nodes.pop(name), allow_graceful=False)

    def lose_all(self) -> None:
        """As if the power had failed everywhere: nobody is left who could tell anybody that a node is gone."""
        head = self._cluster.head_node
        head.kill_gcs_server(check_alive=False)
        head.kill_raylet(check_alive=False)

    def shutdown(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()
