"""Whatever dies, nothing is lost, nothing is recorded twice, and nothing hangs."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from actors.messages import RenderRequest
from actors.pool.actor_pool import ActorPool
from actors.pool.render_path import RenderPath
from actors.pool.reservation import Reservation
from actors.pool.role import Role
from tests.actors.worker import Worker
from tests.faults.toy_run import LARGE, Run, steer
from tests.nodes import STORE, Nodes
from tests.pipelines.console import journal_lines, wait_for
from tests.pipelines.toys import ToyPainter, ToyTextEncoder

pytestmark = pytest.mark.slow


def trouble(folder: Path, kind: str, after: int) -> dict[str, Any]:
    return {"trouble": {"kind": kind, "after": after, "mark": str(folder / kind)}}


def drawn(run: Run) -> list[str]:
    """What errs is kept nowhere, so it depends on timing how many of those who want it share an attempt."""
    return [prompt for prompt in run.renders if "unrenderable" not in prompt]


def after_renders(folder: Path, number: int, happens: Callable[[], None]) -> Callable[[], Coroutine[Any, Any, None]]:
    """Have something happen once so many pictures are drawn; the driver stands still meanwhile."""

    async def wait() -> None:
        while (folder / "renders.log").read_text().count("\n") < number:
            await asyncio.sleep(0.05)
        happens()

    return wait


@pytest.mark.parametrize("role, after", [("renderer", 5), ("proposer", 3), ("scorer", 9)])
def test_an_actor_that_dies_costs_nothing(
    nodes: Nodes, undisturbed: Run, tmp_path: Path, role: str, after: int
) -> None:
    dying: dict[str, Any] = {role: trouble(tmp_path, "exit", after)}
    run = steer(tmp_path, **dying)
    assert (run.failures, run.replaced) == ({}, {role: 1})
    assert run.records == undisturbed.records


def test_a_renderer_that_hangs_is_replaced_and_its_picture_drawn_elsewhere(
    nodes: Nodes, undisturbed: Run, tmp_path: Path
) -> None:
    run = steer(tmp_path, renderer=trouble(tmp_path, "hang", 5), timeout_s=4)
    assert (run.failures, run.replaced) == ({}, {"renderer": 1})
    assert run.records == undisturbed.records


def test_a_slow_renderer_gets_less_work(nodes: Nodes, undisturbed: Run, tmp_path: Path) -> None:
    run = steer(tmp_path, renderer={"slow": str(tmp_path / "slow")})
    slow = run.by_actor.count(int((tmp_path / "slow").read_text()))
    assert 0 < slow < len(run.by_actor) / 3
    assert run.records == undisturbed.records


def test_a_node_that_is_lost_costs_nothing_and_the_others_go_on(nodes: Nodes, undisturbed: Run, tmp_path: Path) -> None:
    run = steer(tmp_path, meanwhile=after_renders(tmp_path, 12, lambda: nodes.lose("renderer_1")))
    assert (run.failures, run.replaced) == ({}, {"renderer": 1})
    assert run.records == undisturbed.records


def test_a_driver_that_is_killed_goes_on_where_it_was(nodes: Nodes, undisturbed: Run, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.toy_run", str(tmp_path), nodes.address]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE) as driver:
        wait_for(lambda: journal_lines(tmp_path) >= 4, driver)
        driver.kill()
    before = journal_lines(tmp_path)

    run = steer(tmp_path)

    assert run.failures == {}
    assert run.records == undisturbed.records
    assert before < journal_lines(tmp_path) == len(set((tmp_path / "journal.jsonl").read_text().splitlines()))


def test_pictures_that_were_lost_with_their_node_are_taken_from_the_disk(
    nodes: Nodes, undisturbed: Run, tmp_path: Path
) -> None:
    import ray

    gate = tmp_path / "gate"

    def lose() -> None:
        held = [ray.put(b"x" * int(STORE * 0.6)) for _ in range(2)]  # the copies on the driver's own node make way
        nodes.lose("renderer_1")
        nodes.lose("renderer_2")
        nodes.need(renderer_1=1, renderer_2=1)
        del held
        gate.touch()

    run = steer(tmp_path, scorer={"gate": str(gate)}, meanwhile=after_renders(tmp_path, 5, lose))
    assert run.failures == {}
    assert run.records == undisturbed.records
    assert sorted(drawn(run)) == sorted(drawn(undisturbed))


def test_an_embedding_that_was_lost_with_its_node_is_made_again(nodes: Nodes, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    prompt = "cat" * LARGE

    async def main() -> list[bytes]:
        renderer = ActorPool(Role(name="renderer", make=ToyPainter, resources={"renderer": 1}))
        encoder = ActorPool(
            Role(name="encoder", make=ToyTextEncoder, arguments={"log": str(log)}, resources={"renderer": 1})
        )
        try:
            await asyncio.gather(renderer.start(), encoder.start())
            path = RenderPath(renderer, encoder)
            pngs = [(await path.render(RenderRequest(prompt=prompt, seed=0)))[1].png]
            nodes.lose("renderer_1")
            nodes.lose("renderer_2")
            nodes.need(renderer_1=1, renderer_2=1)
            again = await asyncio.gather(*(path.render(RenderRequest(prompt=prompt, seed=n)) for n in (1, 2)))
            pngs += [rendering.png for _, rendering in again]
        finally:
            renderer.stop()
            encoder.stop()
        return pngs

    assert asyncio.run(main()) == [f"{prompt.upper()}{n}".encode() for n in range(3)]
    assert log.read_text().splitlines() == [prompt] * 2


def test_a_place_on_a_node_that_dies_is_reserved_on_another(nodes: Nodes) -> None:
    role = Role(name="worker", make=Worker, resources={"renderer": 1})

    async def another_than(first: str, pool: ActorPool) -> None:
        while (await pool.call("node"))[1] == first:  # its process outlives its node by a moment
            await asyncio.sleep(0.1)

    async def main() -> None:
        reservation, pool = Reservation(), ActorPool(role)
        try:
            await reservation.make([role], 0, print)
            await pool.start(reservation.places(role))
            first = (await pool.call("node"))[1]
            nodes.lose(next(name for name, node in nodes.by_name.items() if node.node_id == first))
            await asyncio.wait_for(another_than(first, pool), 60)
        finally:
            pool.stop()
            reservation.release()

    asyncio.run(main())
