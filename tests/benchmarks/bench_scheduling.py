"""How busy the driver keeps renderers, beside the loop of its peers, and what a model says of larger clusters.

    bench_scheduling.py             8 renderers of 200 ms, proposals in 1 s, 8 users x 8 prompts
    bench_scheduling.py --users 200 --prompts 18 --runs 2 --scaling 8 256
                                    the model alone, by the paper's protocol and by the default one, with the time that
                                    the driver's own work takes on this machine

Three things run one after the other on the same work: the driver on a virtual cluster; the driver on real Ray with
roles that sleep, whose wall time has to be within 5% of the model's; and MILS's loop, one process a GPU that proposes,
renders all and scores all in turn. Utilisation is what the renders should take / (renderers x seconds), from the first
render to the last: it includes the end of the run, when too few trajectories are left.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, cast
from unittest.mock import patch

import numpy as np

from actors.messages import ProposalRequest, Proposals, Rendering, RenderRequest, ScoreRequest
from actors.pool.actor_pool import ActorPool
from actors.pool.cluster import connect, disconnect
from actors.pool.render_path import RenderPath
from actors.pool.role import Role
from pipelines.execution import render_cache
from pipelines.execution.driver import Driver
from pipelines.records.image_store import ImageStore
from pipelines.records.journal import Journal
from pipelines.search.cohort import Cohort, cohorts
from pipelines.search.history import History
from pipelines.search.rounds import Candidate, Proposed, Round
from pipelines.search.state_machine import Propose, Stop, admit, next_step
from pipelines.search.trajectory import Trajectory, proposal_seed
from pipelines.settings.search import GuardSettings, SearchSettings
from pipelines.settings.settings import load_settings
from tests.benchmarks.simulated_roles import (
    Memory,
    Proposer,
    Renderer,
    Scorer,
    Watcher,
    proposals_of,
    report,
    scores_of,
    seconds_of,
    trajectories,
)
from tests.benchmarks.virtual_cluster import VirtualPool, simulate

PROTOCOL = SearchSettings()
POOLED = load_settings("embedded").protocol.model_copy(update={"guards": GuardSettings()})
"""The default, without the guards, which call other roles."""
PROTOCOLS = {"base": PROTOCOL, "pool": POOLED}
RENDER_S, PROPOSE_S, SCORE_S = 0.2, 1.0, 0.001
_AT_ONCE = 64


def drive(pools: Sequence[Any], images: Any, journal: Any, watcher: Watcher, settings: SearchSettings) -> Driver:
    renderer, proposer, scorer = pools
    return Driver(
        settings=settings,
        renderer=RenderPath(cast(ActorPool, renderer)),
        renderer_identity={},
        proposer=proposer,
        scorers={"pamela": scorer},
        images=images,
        journal=journal,
        observer=watcher,
    )


def on_ray(work: list[Trajectory], renderers: int) -> dict[str, Any]:
    roles = [
        Role(name="renderer", make=Renderer, arguments={"seconds": RENDER_S}, actors=renderers),
        Role(name="proposer", make=Proposer, arguments={"seconds": PROPOSE_S}, in_flight=_AT_ONCE),
        Role(name="scorer", make=Scorer),
    ]
    watcher = Watcher()

    async def main(folder: Path) -> dict[str, Any]:
        pools = [ActorPool(role) for role in roles]
        journal = Journal(folder / "journal.jsonl")
        try:
            await asyncio.gather(*(pool.start() for pool in pools))
            driver = drive(pools, ImageStore(folder), journal, watcher, PROTOCOL)
            await driver.run(list(cohorts(work, PROTOCOL.share)), {})
            pools[0].accounting.settle()
            return {"idle_s": {why: round(s, 1) for why, s in pools[0].accounting.idle_s.items()}}
        finally:
            journal.close()
            for pool in pools:
                pool.stop()

    connect("local")
    try:
        with tempfile.TemporaryDirectory() as folder:
            idle = asyncio.run(main(Path(folder)))
    finally:
        disconnect()
    return measured(watcher, renderers) | idle


def measured(watcher: Watcher, renderers: int, render_s: float = RENDER_S) -> dict[str, Any]:
    first, last = watcher.rendered_at[0] - render_s, watcher.rendered_at[-1]
    renders = len(watcher.rendered_at)
    return {
        "renderers": renderers,
        "renders": renders,
        "wall_s": round(last - first, 2),
        "utilisation": round(renders * render_s / (renderers * (last - first)), 4),
    }


def on_virtual_cluster(
    work: list[Trajectory],
    renderers: int,
    render_s: float = RENDER_S,
    propose_s: float = PROPOSE_S,
    settings: SearchSettings = PROTOCOL,
    *,
    own_work: bool = False,
) -> dict[str, Any]:
    """The same driver, on a clock that jumps, and, with `own_work`, runs while the driver itself is at work."""
    watcher = Watcher()
    began = time.perf_counter()
    drive_virtually(
        work,
        watcher,
        renderers=renderers,
        render_s=render_s,
        propose_s=propose_s,
        settings=settings,
        own_work=own_work,
    )
    return measured(watcher, renderers, render_s) | {"computed_in_s": round(time.perf_counter() - began, 1)}


def drive_virtually(
    work: list[Trajectory],
    watcher: Watcher,
    *,
    renderers: int,
    render_s: float = RENDER_S,
    propose_s: float = PROPOSE_S,
    score_s: float = SCORE_S,
    settings: SearchSettings = PROTOCOL,
    own_work: bool = False,
    proposals: Callable[[ProposalRequest], Proposals] = proposals_of,
    scores: Callable[[ScoreRequest, Rendering], list[float]] = scores_of,
) -> list[VirtualPool]:
    """The pools as the driver has left them: renderers, proposers, scorers."""
    memory = Memory()

    def render(method: str, request: RenderRequest) -> tuple[Rendering, float]:
        return Rendering(png=request.prompt.encode()), seconds_of(render_s, request.prompt, request.seed)

    def propose(method: str, request: ProposalRequest) -> tuple[Any, float]:
        return proposals(request), seconds_of(propose_s, request.seed)

    def score(method: str, request: ScoreRequest, rendering: Rendering) -> tuple[list[float], float]:
        return scores(request, rendering), score_s

    async def main() -> list[VirtualPool]:
        pools = [
            VirtualPool(Role(name="renderer", make=Renderer, actors=renderers), render),
            VirtualPool(Role(name="proposer", make=Proposer, in_flight=_AT_ONCE), propose, all_at_once=True),
            VirtualPool(Role(name="scorer", make=Scorer, actors=max(1, renderers // 64)), score),
        ]
        await drive(pools, memory, memory, watcher, settings).run(list(cohorts(work, settings.share)), {})
        for pool in pools:
            pool.accounting.settle()
        return pools

    with patch.object(render_cache, "put", lambda value: value):  # there is no Ray to keep it
        return simulate(main(), own_work=own_work)[0]


def one_gpu_of_mils(work: list[Trajectory]) -> tuple[int, float]:
    """Renders and seconds of one process: propose, render all, score all, and again."""
    renderer, scorer = Renderer(RENDER_S), Scorer()
    renders, began = 0, time.perf_counter()
    for trajectory in work:
        history = History(Cohort(trajectory.id, (trajectory,)))
        while not isinstance(step := next_step(history, PROTOCOL), Stop):
            prompts = [trajectory.base_prompt]
            if isinstance(step, Propose):
                prompts = ask(trajectory, history)
            drawn = [renderer.render(RenderRequest(prompt=p, seed=trajectory.image_seed)) for p in prompts]
            renders += len(drawn)
            request = ScoreRequest(audiences=(trajectory.user_ids,), base_prompt=trajectory.base_prompt)
            scores = np.array([scorer.score_each(request, image) for image in drawn], np.float32).T
            proposed = Proposed(
                users=(trajectory.user,),
                candidates=tuple(Candidate(prompt=p, image=f"{len(history.rounds)} {p}") for p in prompts),
            )
            history.append(Round(number=len(history.rounds), proposed=(proposed,), scores=scores))
    return renders, time.perf_counter() - began


def ask(trajectory: Trajectory, history: History) -> list[str]:
    best = history.images[history.best[0]].prompt
    seed = proposal_seed(trajectory, len(history.rounds), 0)
    time.sleep(seconds_of(PROPOSE_S, seed))
    request = ProposalRequest(
        base_prompt=trajectory.base_prompt,
        best_prompt=best,
        best_score=float(history.best_scores[0]),
        count=PROTOCOL.candidates,
        seed=seed,
    )
    return admit(proposals_of(request).prompts, [best], PROTOCOL.candidates)[0]


def by_mils(work: list[Trajectory], renderers: int) -> dict[str, Any]:
    """The trajectories are dealt out beforehand, a fixed share to each process, as its authors' scripts do."""
    shares = [work[number::renderers] for number in range(renderers)]
    with get_context("spawn").Pool(renderers) as pool:
        pool.map(one_gpu_of_mils, [[] for _ in shares])  # imports are done before the clock runs
        began = time.perf_counter()
        results = pool.map(one_gpu_of_mils, shares, chunksize=1)
        wall_s = time.perf_counter() - began
    renders = sum(count for count, _ in results)
    return {
        "renderers": renderers,
        "renders": renders,
        "wall_s": round(wall_s, 2),
        "utilisation": round(renders * RENDER_S / (renderers * wall_s), 4),
        "fastest_and_slowest_s": [round(f([s for _, s in results]), 1) for f in (min, median, max)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Renderer utilisation")
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--renderers", type=int, default=8)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--share", choices=PROTOCOLS, nargs="+", default=list(PROTOCOLS), help="of the model alone")
    parser.add_argument("--scaling", type=int, nargs="+", metavar="RENDERERS", help="the model alone, of so many")
    said = parser.parse_args()
    if said.scaling:
        work = trajectories(said.users, said.prompts, said.runs)
        for settings in (PROTOCOLS[share] for share in said.share):
            for renderers in said.scaling:
                model = on_virtual_cluster(work, renderers, 9.0, 5.0, settings, own_work=True)
                report("scaling", {"share": settings.share} | model | {"hours": round(model["wall_s"] / 3600, 2)})
        return
    work = trajectories(said.users, said.prompts)
    model = on_virtual_cluster(work, said.renderers)
    report("virtual cluster", model)
    real = on_ray(work, said.renderers)
    report("driver on Ray", real | {"model_off_by": round(model["wall_s"] / real["wall_s"] - 1, 4)})
    report("MILS's loop", by_mils(work, said.renderers))
    if abs(model["wall_s"] / real["wall_s"] - 1) > 0.05:
        sys.exit("the model is off by more than 5%: the driver or the machine does something that it does not know of")


if __name__ == "__main__":
    main()
