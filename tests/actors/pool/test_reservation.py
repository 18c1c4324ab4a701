"""Places for actors, on a real Ray: nobody else gets them, replacements have them, and at the end all are free."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from actors.pool import reservation as reservations
from actors.pool.actor_pool import ActorPool
from actors.pool.cluster import ClusterError, free_resources
from actors.pool.reservation import Reservation
from actors.pool.role import Role
from tests.actors.worker import Worker

T = TypeVar("T")


def role(log: Path | None = None, **settings: Any) -> Role:
    worker: dict[str, Any] = {"name": "worker", "make": Worker, "arguments": {"log": str(log)} if log else {}}
    return Role(**worker | {"num_gpus": 1} | settings)


def on_reserved(pool_role: Role, use: Callable[[ActorPool, Reservation], Awaitable[T]]) -> T:
    """Reserve, start a pool, use it, end it, release."""

    async def main() -> T:
        reservation, pool = Reservation(), ActorPool(pool_role)
        try:
            await reservation.make([pool_role], 0, print)
            await pool.start(reservation.places(pool_role))
            return await use(pool, reservation)
        finally:
            pool.stop()
            reservation.release()

    return asyncio.run(main())


def comes_to(condition: Callable[[], bool], timeout_s: float = 20) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def gpus_free() -> float:
    return free_resources().get("GPU", 0)


@pytest.mark.usefixtures("ray")
def test_nobody_else_gets_a_gpu_between_check_and_start_and_all_are_free_afterwards() -> None:
    import ray

    wanted = role(actors=2)
    other = ray.remote(lambda: "took it").options(num_cpus=0, num_gpus=1)

    async def main() -> tuple[list[Any], set[str]]:
        reservation, pool = Reservation(), ActorPool(wanted)
        try:
            await reservation.make([wanted], 0, print)
            stranger = other.remote()
            early, _ = ray.wait([stranger], timeout=2)
            await pool.start(reservation.places(wanted))
            seen = {gpu for _, gpu in await asyncio.gather(pool.call("gpu"), pool.call("gpu"))}
        finally:
            pool.stop()
            reservation.release()
        assert ray.get(stranger, timeout=30) == "took it"
        return early, seen

    early, seen = asyncio.run(main())
    assert early == []
    assert seen == {"0", "1"}
    assert comes_to(lambda: gpus_free() == 2)


@pytest.mark.usefixtures("ray")
def test_an_actor_and_the_one_that_replaces_it_run_in_the_same_place(tmp_path: Path) -> None:
    async def use(pool: ActorPool, reservation: Reservation) -> tuple[set[str | None], int, str]:
        before = (await pool.call("place"))[1]
        assert (await pool.call("die", 1))[1] == "done"
        return {before, (await pool.call("place"))[1]}, pool.replaced, reservation.places(pool.role)[0].id.hex()

    places, replaced, reserved = on_reserved(role(tmp_path / "log"), use)
    assert (places, replaced) == ({reserved}, 1)


@pytest.mark.usefixtures("ray")
def test_actors_in_a_place_have_as_many_threads_as_cpus() -> None:
    async def use(pool: ActorPool, _: Reservation) -> str:
        return (await pool.call("threads"))[1]

    assert on_reserved(role(num_gpus=0, num_cpus=1), use) == "1"


@pytest.mark.usefixtures("ray")
def test_what_somebody_else_has_is_said_with_what_is_wanted_there_and_free_and_nothing_stays_reserved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reservations, "_FREE_TIMEOUT_S", 2.0)
    lines: list[str] = []

    async def use(_pool: ActorPool, _reservation: Reservation) -> None:
        mine = Reservation()
        with pytest.raises(ClusterError) as error:
            await mine.make([role(name="renderer", actors=2)], 0, lines.append)
        said = str(error.value)
        assert said.startswith(
            "after 2 s there is room for 1 of 2 renderer (2 GPU wanted, 2 there, 1 free); lower the "
        )
        assert len(said.splitlines()) == 1
        assert not mine.places(role(name="renderer"))

    on_reserved(role(), use)
    assert lines == ["waiting for room: 1 of 2 renderer there"]
    assert comes_to(lambda: gpus_free() == 2)


@pytest.mark.usefixtures("ray")
def test_more_than_there_is_is_said_at_once_and_a_role_that_takes_nothing_needs_no_place() -> None:
    began = time.monotonic()
    with pytest.raises(ClusterError, match="3 GPU wanted, 2 there"):
        asyncio.run(Reservation().make([role(actors=3)], 0, print))
    reservation, proposer = Reservation(), role(name="proposer", num_gpus=0)
    asyncio.run(reservation.make([proposer], 0, print))
    assert not reservation.places(proposer)
    assert time.monotonic() - began < 5


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


@pytest.mark.slow
def test_when_the_time_is_up_the_error_gives_both_numbers(cluster: Any) -> None:
    said = r"^after 2 s there is room for 0 of 2 renderer \(2 GPU wanted, 0 there, 0 free; 2 renderer wanted, 0 there"
    with pytest.raises(ClusterError, match=said):
        asyncio.run(Reservation().make(ROLES[:1], 2, print))


@pytest.mark.slow
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

    reservation = Reservation()
    asyncio.run(reservation.make(ROLES, 60, tell))
    reservation.release()

    assert lines[0] == "waiting for nodes: 0 of 2 renderer, 0 of 1 text_encoder, 0 of 1 scorer there"
    assert len(lines) > 1
    free = ray.remote(lambda: True).options(num_cpus=0, num_gpus=1, resources={"renderer": 1})
    assert ray.get([free.remote() for _ in range(2)], timeout=20) == [True, True]
