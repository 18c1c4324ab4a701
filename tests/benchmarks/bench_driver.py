"""What a candidate costs the driver, and how much memory: real Ray, roles that do nothing, everything on the disk.

    python tests/benchmarks/bench_driver.py 1000 10000 100000

Each size is a process of its own, for its peak of memory (VmHWM). The time is of the whole of it, from the first
trajectory to the last one, and apart from it that of the records that are made of the journal at the end.
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
from pipelines.records.replay import in_order, unfinished
from pipelines.records.tables import Outcome, RecordsWriter, outcome
from pipelines.reporting.gallery import Page, write_gallery
from pipelines.search.trajectory import Iteration, Trajectory, image_seed
from pipelines.settings.search import SearchSettings
from tests.benchmarks.simulated_roles import report

PROTOCOL = SearchSettings(patience=5)
PER_TRAJECTORY = 1 + PROTOCOL.candidates * PROTOCOL.iterations


class NoRenderer:
    def setup(self) -> None: ...

    def render(self, request: RenderRequest) -> Rendering:
        return Rendering(png=request.prompt.encode())


class NoProposer:
    def setup(self) -> None: ...

    def propose(self, request: ProposalRequest) -> Proposals:
        return Proposals(prompts=tuple(f"{request.base_prompt}, {request.seed + n}" for n in range(request.count)))


class NoScorer:
    def setup(self) -> None: ...

    def score(self, request: ScoreRequest, rendering: Rendering) -> float:
        return (hash(rendering.png) % 1000) / 1000


class Nobody:
    """An observer that looks away."""

    def begun(self, trajectory: Trajectory) -> None: ...
    def rendered(self) -> None: ...
    def finished(self, trajectory: Trajectory, history: list[Iteration]) -> None: ...
    def failed(self, trajectory: Trajectory, reason: str) -> None:
        raise RuntimeError(reason)

    def warned(self, warning: str) -> None: ...


def trajectories(candidates: int) -> list[Trajectory]:
    return [
        Trajectory(
            user=f"u{n}",
            members=(f"u{n}",),
            prompt_id=f"p{n // 50}",
            base_prompt=f"prompt {n // 50}",
            scorer="pamela",
            run=1,
            image_seed=image_seed(0, f"prompt {n // 50}"),
            seed=0,
        )
        for n in range(round(candidates / PER_TRAJECTORY))
    ]


async def steer(folder: Path, todo: list[Trajectory]) -> float:
    """Seconds from the first trajectory to the last."""
    pools = {
        "renderer": ActorPool(Role(name="renderer", make=NoRenderer, in_flight=8)),
        "proposer": ActorPool(Role(name="proposer", make=NoProposer)),
        "scorer": ActorPool(Role(name="scorer", make=NoScorer, in_flight=8)),
    }
    journal = Journal(folder / "journal.jsonl")
    driver = Driver(
        protocol=PROTOCOL,
        renderer=RenderPath(pools["renderer"]),
        renderer_identity={"renderer": "none"},
        proposer=pools["proposer"],
        scorers={"pamela": pools["scorer"]},
        images=ImageStore(folder),
        journal=journal,
        observer=Nobody(),  # pyright: ignore[reportArgumentType]
    )
    try:
        await asyncio.gather(*(pool.start() for pool in pools.values()))
        began = time.monotonic()
        await driver.run(todo, unfinished(folder / "journal.jsonl", todo, PROTOCOL).histories)
        return time.monotonic() - began
    finally:
        for pool in pools.values():
            pool.stop()
        journal.close()


def records(folder: Path, todo: list[Trajectory]) -> float:
    """Seconds for tables and gallery."""
    began = time.monotonic()
    thin: list[Outcome] = []
    with RecordsWriter(folder) as writer:
        for trajectory, history in in_order(folder / "journal.jsonl", todo, PROTOCOL):
            whole = outcome(trajectory, history, PROTOCOL)
            writer.add(whole)
            thin.append(whole.thinned())
    write_gallery(folder, thin, Page(title="bench", notes=(), people={}))
    return time.monotonic() - began


def peak_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure(candidates: int) -> dict[str, Any]:
    todo = trajectories(candidates)
    connect(None)
    with tempfile.TemporaryDirectory() as name:
        began_mb = peak_mb()
        steered = asyncio.run(steer(Path(name), todo))
        steered_mb = peak_mb()
        disconnect()
        concluded = records(Path(name), todo)
    number = len(todo) * PER_TRAJECTORY
    return {
        "candidates": number,
        "ms_per_candidate": round(1000 * steered / number, 3),
        "records_ms_per_candidate": round(1000 * concluded / number, 3),
        "peak_mb_before": round(began_mb),
        "peak_mb_steered": round(steered_mb),
        "peak_mb": round(peak_mb()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", type=int, nargs="+")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    given = parser.parse_args()
    if given.here:
        report("driver", measure(given.candidates[0]))
        return
    for number in given.candidates:
        subprocess.run([sys.executable, __file__, str(number), "--here"], check=True)


if __name__ == "__main__":
    main()
