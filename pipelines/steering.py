"""The part of a run that needs a cluster: pools come up, the driver works, and everything ends in order.

It ends when nothing is left to steer, or at a signal. Whichever it is, the journal is closed and the actors are
stopped. Meanwhile whoever watches is told: the terminal, and Prometheus.
"""

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.pool.actor_pool import ActorPool
from actors.pool.autoscaling import wait_for_nodes
from actors.pool.cluster import check_resources
from actors.pool.metrics import Metrics
from actors.pool.render_path import RenderPath
from pipelines.execution.costs import Costs, Images
from pipelines.execution.driver import Driver
from pipelines.planning.cast import Cast
from pipelines.planning.description import compares, describes, undescribed, unguarded, unpreviewed
from pipelines.planning.plan import Plan
from pipelines.progress import RunProgress
from pipelines.records.journal import Journal
from pipelines.records.replay import Unfinished
from pipelines.records.run_folder import RunFolder
from pipelines.settings.settings import differences

if TYPE_CHECKING:
    from rich.console import Console

_EXPORT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How the steering ended."""

    folder: RunFolder
    warnings: Sequence[str]
    failures: Mapping[str, str]
    interrupted: bool


async def steer(
    console: "Console",
    plan: Plan,
    open_folder: Callable[[], RunFolder],
    cast: Cast,
    recorded: Unfinished,
) -> Ended:
    """Bring up the pools, then steer what is left, until the end or a signal.

    The folder is opened once every actor is up: a run that never began leaves nothing behind.
    """
    pools = {role.name: ActorPool(role) for role in cast.all if role is not cast.renderer}
    pools[cast.renderer.name] = ActorPool(cast.renderer, refuse=partial(_unlike, dict(plan.renderer.identity())))
    task = asyncio.create_task(_drive(console, plan, open_folder, cast, pools, recorded))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # before there was a folder: nothing to go on with
    finally:
        for pool in pools.values():
            pool.stop()


async def _drive(
    console: "Console",
    plan: Plan,
    open_folder: Callable[[], RunFolder],
    cast: Cast,
    pools: Mapping[str, ActorPool],
    recorded: Unfinished,
) -> Ended:
    renderer = pools[cast.renderer.name]
    predictor = pools[cast.predictor.name] if cast.predictor else None
    costs = Costs(list(pools.values()))
    await wait_for_nodes(cast.all, plan.settings.nodes_timeout_s, lambda line: console.print(line, markup=False))
    check_resources(cast.all)
    await asyncio.gather(*(pool.start() for pool in pools.values()))
    folder = open_folder()
    console.print(f"Run folder: {folder.path}", markup=False)
    waiting = [trajectory for trajectory in plan.trajectories if trajectory.id in recorded.histories]
    total = len(plan.trajectories)
    progress = RunProgress(console, total, total - len(waiting), busy=lambda: renderer.accounting.utilisation)
    journal = Journal(folder.journal)
    driver = Driver(
        protocol=plan.protocol,
        renderer=RenderPath(renderer, pools[cast.text_encoder.name] if cast.text_encoder else None),
        renderer_identity=plan.renderer.identity(),
        proposer=pools[cast.proposer.name],
        scorers={name: pools[role.name] for name, role in cast.scorers.items()},
        images=folder.images,
        journal=journal,
        observer=progress,
        preview_identity=plan.renderer.preview_identity() if plan.protocol.previews else None,
        examiner=pools[cast.examiner.name] if cast.examiner else None,
        describer=predictor if describes(plan) else None,
        beholder=predictor if compares(plan) else None,
        described=folder.about.get("zero_shot", {}),
        on_description=folder.describe,
        first_rounds=recorded.first_rounds,
    )
    exporting = asyncio.create_task(_export(Metrics(), pools, progress, driver.images_made))
    interrupted = False
    try:
        with progress:
            await driver.run(waiting, recorded.histories)
    except asyncio.CancelledError:
        interrupted = True
    finally:
        exporting.cancel()
        await asyncio.to_thread(journal.close)
        folder.about.setdefault("costs", []).append(costs.as_dict(driver.images_made, plan.renderer))
        with suppress(OSError):  # where the disk is full, that is what is said
            folder.save()
    lost = (line for pool in pools.values() for line in pool.start_failures)
    warnings = [*progress.warnings, *undescribed(plan), *unguarded(plan), *unpreviewed(plan), *lost]
    return Ended(folder=folder, warnings=warnings, failures=driver.failures, interrupted=interrupted)


async def _export(metrics: Metrics, pools: Mapping[str, ActorPool], progress: RunProgress, images: Images) -> None:
    """Keep the metrics up to date until the run ends."""
    ledgers = {name: pool.accounting for name, pool in pools.items()}
    while True:
        made = {"rendered": images.rendered, "saved": images.saved}
        metrics.show(ledgers, trajectories=progress.states, images=made)
        await asyncio.sleep(_EXPORT_EVERY_S)


def _unlike(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """An image's key is made here, so every renderer has to be what this machine takes it for."""
    if not (changed := differences(here, dict(there))):
        return ""
    return (
        f"it is not the one on this machine: {'; '.join(changed)}; "
        "install the same versions and photographs on every node"
    )
