"""What an image costs the driver, and how much memory, by how many users share it: real Ray, roles that do nothing.

    python tests/benchmarks/bench_driver.py 10 40 100 200
    python tests/benchmarks/bench_driver.py 200 --share base

By the default protocol (a pool, whose proposals are screened) or by the paper's; everything is on the disk. Each number
of users is a process of its own, for its peak of memory (VmHWM). The time is of the whole of it, from the first cohort
to the last one, on two cores with the actors beside it; the driver's own processor time is apart from it, and so is the
time of the records that are made of the journal at the end.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
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
from pipelines.records.outcomes import Outcome, outcomes
from pipelines.records.replay import in_order
from pipelines.records.tables import RecordsWriter
from pipelines.search.cohort import Cohort, cohorts
from pipelines.search.history import History
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings
from tests.benchmarks.bench_scheduling import POOLED
from tests.benchmarks.simulated_roles import proposals_of, report, scores_of, trajectories
from tests.pipelines.console import peak_mb

PROTOCOLS = {
    "pool": POOLED.model_copy(update={"patience": POOLED.iterations}),
    "base": SearchSettings(patience=5),
}
"""Nobody stops early, so that all numbers of users have as many rounds."""


class NoRenderer:
    def setup(self) -> None: ...

    def render(self, request: RenderRequest) -> Rendering:
        return Rendering(png=request.prompt.encode())


class NoProposer:
    def setup(self) -> None: ...

    def propose(self, request: ProposalRequest) -> Proposals:
        return proposals_of(request)


class NoScorer:
    def setup(self) -> None: ...

    def score_each(self, request: ScoreRequest, rendering: Rendering) -> list[float]:
        return scores_of(request, rendering)


class Nobody:
    """An observer that looks away."""

    def begun(self, cohort: Cohort, rounds: int) -> None: ...
    def rendered(self, key: str) -> None: ...
    def round_done(self, history: History, searching: int) -> None: ...
    def finished(self, trajectory: Trajectory, gain: float) -> None: ...
    def over(self, cohort: Cohort) -> None: ...
    def failed(self, trajectory: Trajectory, reason: str) -> None:
        raise RuntimeError(reason)

    def warned(self, warning: str) -> None: ...


async def steer(folder: Path, todo: list[Cohort], settings: SearchSettings) -> tuple[float, float, int]:
    """Seconds from the first cohort to the last, of them the driver's own processor time, and the images."""
    pools = {
        "renderer": ActorPool(Role(name="renderer", make=NoRenderer, in_flight=8)),
        "proposer": ActorPool(Role(name="proposer", make=NoProposer, in_flight=4)),
        "scorer": ActorPool(Role(name="scorer", make=NoScorer, in_flight=8)),
    }
    journal = Journal(folder / "journal.jsonl")
    driver = Driver(
        settings=settings,
        renderer=RenderPath(pools["renderer"]),
        renderer_identity={"renderer": "none"},
        proposer=pools["proposer"],
        scorers={"pamela": pools["scorer"]},
        images=ImageStore(folder),
        journal=journal,
        observer=Nobody(),
    )
    try:
        await asyncio.gather(*(pool.start() for pool in pools.values()))
        began, own = time.monotonic(), time.process_time()
        await driver.run(todo, {})
        return time.monotonic() - began, time.process_time() - own, driver.images_made.rendered
    finally:
        for pool in pools.values():
            pool.stop()
        journal.close()


def records(folder: Path, todo: list[Cohort], settings: SearchSettings) -> float:
    """Seconds for the tables."""
    began = time.monotonic()
    thin: list[Outcome] = []
    with RecordsWriter(folder) as writer:
        for history in in_order(folder / "journal.jsonl", todo, settings):
            found = outcomes(history, settings)
            writer.add(history, found)
            thin += found
    return time.monotonic() - began


def measure(users: int, prompts: int, settings: SearchSettings) -> dict[str, Any]:
    todo = list(cohorts(trajectories(users, prompts), settings.share))
    connect(None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began_mb = peak_mb()
        steered, own, images = asyncio.run(steer(folder, todo, settings))
        steered_mb = peak_mb()
        disconnect()
        concluded = records(folder, todo, settings)
        journal = (folder / "journal.jsonl").stat().st_size
    scores = images * (users if settings.share == "pool" else 1)
    return {
        "users": users,
        "prompts": prompts,
        "share": settings.share,
        "images": images,
        "ms_per_image": round(1000 * steered / images, 3),
        "driver_ms_per_image": round(1000 * own / images, 3),
        "records_ms_per_image": round(1000 * concluded / images, 3),
        "journal_mb": round(journal / 1e6, 2),
        "journal_bytes_per_score": round(journal / scores, 2),
        "peak_mb_before": round(began_mb),
        "peak_mb_steered": round(steered_mb),
        "peak_mb": round(peak_mb()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("users", type=int, nargs="+")
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--share", choices=PROTOCOLS, default="pool")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    given = parser.parse_args()
    if given.here:
        report("driver", measure(given.users[0], given.prompts, PROTOCOLS[given.share]))
        return
    for number in given.users:
        options = ["--prompts", str(given.prompts), "--share", given.share, "--here"]
        subprocess.run([sys.executable, __file__, str(number), *options], check=True)


if __name__ == "__main__":
    main()
