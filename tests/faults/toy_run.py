"""A run with toy roles, each on the nodes that have the resource of its name, and trouble where a test asks for it.

As a program, `python -m tests.faults.toy_run FOLDER ADDRESS`, it is a driver that can be killed.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.messages import ProposalRequest, Proposals, Rendering, RenderRequest, ScoreRequest
from actors.pool.actor_pool import ActorPool
from actors.pool.cluster import connect, disconnect
from actors.pool.render_path import RenderPath
from actors.pool.role import Role
from pipelines.execution.driver import Driver
from pipelines.records.image_store import ImageStore
from pipelines.records.journal import Journal
from pipelines.records.replay import in_order, unfinished
from pipelines.search.cohort import Cohort, cohorts
from pipelines.search.history import History
from pipelines.search.trajectory import Trajectory, image_seed
from pipelines.settings.search import SearchSettings
from tests.histories import write_records
from tests.pipelines.toys import ToyProposer, ToyRenderer, ToyScorer

PROTOCOL = SearchSettings(candidates=4, iterations=2, patience=2)
LARGE = 300_000
"""Bytes; what is smaller travels with the message and is never lost with a node."""

TODO = [
    Trajectory(
        user=user,
        user_ids=(user,),
        prompt_id=f"p{number}",
        base_prompt=prompt,
        scorer="pamela",
        run=1,
        image_seed=image_seed(0, prompt),
        seed=0,
    )
    for number, prompt in enumerate(("a cat", "a dog", "a terse poem"))
    for user in ("u1", "u2", "u3")
]
COHORTS = list(cohorts(TODO, PROTOCOL.share))


class Trouble:
    """Dies or hangs, once in all, in the call after so many; `mark` is the file that says that it has happened.

    Example:

        Trouble(kind="exit", after=3, mark="/tmp/…/died")
    """

    def __init__(self, kind: str, after: int, mark: str) -> None:
        self._kind, self._after, self._mark = kind, after, Path(mark)
        self._calls = 0

    def meet(self) -> None:
        self._calls += 1
        if self._calls <= self._after:
            return
        try:
            self._mark.touch(exist_ok=False)
        except FileExistsError:
            return
        if self._kind == "exit":
            os._exit(1)
        time.sleep(3600)


class Renderer(ToyRenderer):
    """Each of its pictures is large; the first one of several to start may be slow."""

    def __init__(self, log: str, trouble: Mapping[str, Any] | None = None, slow: str | None = None) -> None:
        super().__init__(log)
        self._trouble = Trouble(**trouble) if trouble else None
        self._slow = slow

    def setup(self) -> None:
        self._seconds = 0.02
        if self._slow and not Path(self._slow).exists():
            Path(self._slow).write_text(str(os.getpid()))
            self._seconds = 0.2

    def render(self, request: RenderRequest) -> Rendering:
        if self._trouble:
            self._trouble.meet()
        time.sleep(self._seconds)
        rendering = super().render(request)
        with self._log.with_suffix(".pids").open("a") as log:
            log.write(f"{os.getpid()}\n")
        return Rendering(png=rendering.png.ljust(LARGE), warning=rendering.warning)


class Proposer(ToyProposer):
    def __init__(self, trouble: Mapping[str, Any] | None = None) -> None:
        self._trouble = Trouble(**trouble) if trouble else None

    def propose(self, request: ProposalRequest) -> Proposals:
        if self._trouble:
            self._trouble.meet()
        return super().propose(request)


class Scorer(ToyScorer):
    """Waits for its gate, where it has one, before it says anything of a candidate."""

    def __init__(self, trouble: Mapping[str, Any] | None = None, gate: str | None = None) -> None:
        self._trouble = Trouble(**trouble) if trouble else None
        self._gate = gate

    def score_each(self, request: ScoreRequest, rendering: Rendering) -> list[float]:
        if self._trouble:
            self._trouble.meet()
        png = rendering.png.rstrip()
        while self._gate and png != request.base_prompt.encode() and not Path(self._gate).exists():
            time.sleep(0.05)
        return super().score_each(request, Rendering(png=png))


class Nobody:
    """An observer that looks away."""

    def begun(self, cohort: Cohort, rounds: int) -> None: ...
    def rendered(self, key: str) -> None: ...
    def round_done(self, history: History, searching: int) -> None: ...
    def finished(self, trajectory: Trajectory, gain: float) -> None: ...
    def over(self, cohort: Cohort) -> None: ...
    def failed(self, trajectory: Trajectory, reason: str) -> None: ...
    def warned(self, warning: str) -> None: ...


@dataclass
class Run:
    """What became of it: both tables, byte for byte, and the pools with what they lost."""

    records: tuple[bytes, bytes]
    failures: Mapping[str, str]
    replaced: Mapping[str, int]
    renders: list[str] = field(default_factory=list)
    by_actor: list[int] = field(default_factory=list)


def steer(
    folder: Path,
    *,
    renderer: Mapping[str, Any] | None = None,
    proposer: Mapping[str, Any] | None = None,
    scorer: Mapping[str, Any] | None = None,
    renderers: int = 2,
    timeout_s: float = 30,
    meanwhile: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Run:
    """Run what the journal in the folder does not have yet, within two minutes."""
    folder.mkdir(exist_ok=True)
    log = folder / "renders.log"
    log.touch()
    journal = Journal(folder / "journal.jsonl")
    roles = {
        "renderer": (Renderer, {"log": str(log), **(renderer or {})}, renderers),
        "proposer": (Proposer, proposer or {}, 1),
        "scorer": (Scorer, scorer or {}, 1),
    }
    pools = {
        name: ActorPool(
            Role(name=name, make=make, arguments=given, actors=actors, resources={name: 1}, timeout_s=timeout_s)
        )
        for name, (make, given, actors) in roles.items()
    }
    driver = Driver(
        settings=PROTOCOL,
        renderer=RenderPath(pools["renderer"]),
        renderer_identity={"renderer": "toy"},
        proposer=pools["proposer"],
        scorers={"pamela": pools["scorer"]},
        images=ImageStore(folder),
        journal=journal,
        observer=Nobody(),
    )

    async def main() -> None:
        try:
            await asyncio.gather(*(pool.start() for pool in pools.values()))
            trouble = asyncio.create_task(meanwhile()) if meanwhile else None
            left = unfinished(folder / "journal.jsonl", COHORTS, PROTOCOL)
            await asyncio.wait_for(driver.run(left.cohorts, left.rounds), 120)
            if trouble:
                await trouble
        finally:
            for pool in pools.values():
                pool.stop()

    try:
        asyncio.run(main())
    finally:
        journal.close()
    write_records(in_order(folder / "journal.jsonl", COHORTS, PROTOCOL), PROTOCOL, folder)
    pids = log.with_suffix(".pids")
    return Run(
        records=((folder / "candidates.parquet").read_bytes(), (folder / "trajectories.parquet").read_bytes()),
        failures=driver.failures,
        replaced={name: pool.replaced for name, pool in pools.items() if pool.replaced},
        renders=log.read_text().splitlines(),
        by_actor=[int(line) for line in pids.read_text().splitlines()] if pids.exists() else [],
    )


if __name__ == "__main__":
    connect(sys.argv[2])
    steer(Path(sys.argv[1]))
    disconnect()
