"""Joining a cluster, and whether it is enough, on a real Ray."""

import time
from typing import Any

import pytest

from actors.pool.cluster import ClusterError, check_resources, connect, required_resources
from actors.pool.role import Role
from tests.actors.worker import Worker

pytestmark = pytest.mark.usefixtures("ray")


def role(**settings: Any) -> Role:
    worker: dict[str, Any] = {"name": "worker", "make": Worker}
    return Role(**worker | settings)


def test_asking_for_more_than_there_is_fails_at_once_with_both_numbers() -> None:
    with pytest.raises(ClusterError, match="6 GPU wanted, 2 there"):
        check_resources([role(actors=3, num_gpus=2)])
    with pytest.raises(ClusterError, match="1 renderer wanted, 0 there"):
        check_resources([role(resources={"renderer": 1})])
    check_resources([role(actors=2, num_gpus=1)])


def test_parts_of_gpus_that_fit_no_device_are_refused_at_once() -> None:
    check_resources([role(actors=2, num_gpus=0.6), role(name="other", actors=4, num_gpus=0.2)])
    check_resources([role(actors=20, num_gpus=0.1)])
    with pytest.raises(ClusterError, match=r"3 worker wanted with 0\.6 GPU each, room for 2; lower the actors"):
        check_resources([role(actors=3, num_gpus=0.6)])


def test_rays_client_is_refused() -> None:
    with pytest.raises(ClusterError, match=r"no Ray client here, got 'ray://127.0.0.1:10001'; run steer-batch on the"):
        connect("ray://127.0.0.1:10001")


def test_resources_are_added_up_over_roles() -> None:
    roles = [role(actors=2, num_gpus=0.5, num_cpus=1), role(actors=3, num_gpus=1, resources={"big": 1})]
    assert required_resources(roles) == {"CPU": 2, "GPU": 4, "big": 3}


def test_an_address_where_nobody_listens_is_refused_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError, match=r"no Ray cluster at '127.0.0.1:1'"):
        connect("127.0.0.1:1")
    assert time.monotonic() - began < 15
