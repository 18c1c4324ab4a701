"""The part of a run that needs a cluster: places are reserved, actor pools come up, the driver steers, all is released.

It ends when nothing is left to steer, on SIGINT or SIGTERM, where a role answers nobody any more, or with an error. In
each case the journal is closed, the costs are recorded, and all actors are stopped. Meanwhile progress is shown on the
terminal and exported to Prometheus.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.pool.actor_pool import ActorPool, PoolBrokenError, RoleUnavailableError
from actors.pool.metrics import Metrics
from pipelines.execution.costs import CostAccount, ImageCounts
from pipelines.execution.observer import Observer, Observers
from pipelines.planning.capabilities import guard_warnings, metadata_warnings, preview_warnings, seed_warnings
from pipelines.planning.plan import Plan
from pipelines.planning.roles import RunRoles
from pipelines.progress import RunProgress
from pipelines.records.journal import Journal
from pipelines.records.replay import Unfinished
from pipelines.records.run_folder import RunFolder
from pipelines.run_pools import ActorsNeverUpError, RunPools
from pipelines.search.rounds import Refusals

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger(__name__)

_EXPORT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringResult:
    """What became of the trajectories that were left."""

    folder: RunFolder
    warnings: Sequence[str]
    failures: Mapping[str, str]
    refusals: Refusals
    """Of the rounds that failed."""
    interrupted: bool
    unavailable: RoleUnavailableError | None = None
    """Which role answers nobody any more; None unless that ended the run."""


class StopRequest:
    """How a run is told to stop. In the main thread SIGINT and SIGTERM do so as well."""

    def __init__(self) -> None:
        self._stop: Callable[[], object] | None = None
        self._requested = False
        self._turn = threading.Lock()

    def stops(self, task: asyncio.Task[Any]) -> None:
        """Cancel this task of the running loop on request, at once where the request came before."""
        loop = asyncio.get_running_loop()
        with self._turn:
            self._stop = lambda: loop.call_soon_threadsafe(task.cancel)
            if self._requested:
                task.cancel()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, task.cancel)

    def set(self) -> None:
        """Ask the run to stop; safe from any thread. Nothing happens where it has ended."""
        with self._turn:
            self._requested = True
            if self._stop is not None:
                with suppress(RuntimeError):  # the loop is closed: it has ended
                    self._stop()


async def run_on_cluster(
    console: "Console",
    plan: Plan,
    open_folder: Callable[[], RunFolder],
    roles: RunRoles,
    recorded: Unfinished,
    observer: Observer | None,
    stop: StopRequest,
) -> SteeringResult:
    """Bring up the pools, then steer what is left, until the end or until it is to stop.

    The folder is opened once the actors that render are up: from then on there are images to keep.

    Raises
    ------
    KeyboardInterrupt
        It was to stop before there was a folder.
    ClusterError
        The cluster lacks what the roles need.
    ActorsNeverUpError
        A role's actors do not come up, and nothing was recorded meanwhile.
    PoolBrokenError, OSError
        As `Driver.run`. A RoleUnavailableError is in the result, because there are records to write.
    """
    pools = RunPools(roles, plan)
    task = asyncio.create_task(_drive(console, plan, open_folder, pools, recorded, observer))
    stop.stops(task)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        pools.stop()


async def _drive(
    console: "Console",
    plan: Plan,
    open_folder: Callable[[], RunFolder],
    pools: RunPools,
    recorded: Unfinished,
    observer: Observer | None,
) -> SteeringResult:
    costs = CostAccount(list(pools.by_name.values()))

    def waiting(line: str) -> None:
        logger.info("%s", line)
        console.print(line, markup=False)

    others = await pools.start(plan.settings.nodes_timeout_s, waiting)
    folder = open_folder()
    cannot = [*metadata_warnings(plan), *guard_warnings(plan), *preview_warnings(plan), *seed_warnings(plan)]
    for line in cannot:
        logger.warning("%s", line)
    console.print(f"Run folder: {folder.path}", markup=False)
    if plan.checkpoint is not None:
        console.print(f"Predictor: {plan.checkpoint}", markup=False)
    total = len(plan.trajectories)
    progress = RunProgress(
        console, total, recorded.cohorts, plan.protocol, busy=lambda: pools.renderer.accounting.utilisation
    )
    journal = Journal(folder.journal)
    recorded_bytes = folder.journal.stat().st_size
    observers = progress if observer is None else Observers(progress, observer)
    driver = pools.driver(plan, folder, journal, observers, first_rounds=recorded.first_rounds)
    exporting = asyncio.create_task(_export(Metrics(), pools.by_name, progress, driver.images_made))
    interrupted, unavailable = False, None
    try:
        with progress:
            await _run_while_pools_start(others, driver.run(recorded.cohorts, recorded.rounds))
    except asyncio.CancelledError:
        interrupted = True
        logger.info("stopped by a signal (Ctrl-C)")
    except RoleUnavailableError as error:
        unavailable = error
        logger.error("stopped: %s", error)
    except ActorsNeverUpError as error:
        await asyncio.to_thread(journal.close)
        if folder.journal.stat().st_size == recorded_bytes:
            raise
        unavailable = RoleUnavailableError(str(error))  # what the others have made meanwhile is kept
        logger.error("stopped: %s", error)
    finally:
        exporting.cancel()
        await asyncio.to_thread(journal.close)
        account = costs.as_dict(driver.images_made, plan.renderer, plan.settings.price_per_gpu_hour)
        folder.about.setdefault("costs", []).append(account)
        with suppress(OSError):  # a full disk ends the run by the error that came first
            folder.save()
    lost = (line for pool in pools.by_name.values() for line in pool.start_failures)
    warnings = [*progress.warnings, *cannot, *lost]
    return SteeringResult(
        folder=folder,
        warnings=warnings,
        failures=driver.failures,
        refusals=driver.refusals,
        interrupted=interrupted,
        unavailable=unavailable,
    )


async def _run_while_pools_start(others: Awaitable[None], run: Coroutine[Any, Any, None]) -> None:
    """Steer while the other pools come up; the first error of either ends both.

    Raises
    ------
    ActorsNeverUpError
        A pool broke before all were up, whichever of the two noticed it first.
    """
    all_up = False

    async def wait_for_others() -> None:
        nonlocal all_up
        await others
        all_up = True

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait_for_others())
            group.create_task(run)
    except ExceptionGroup as errors:
        error = errors.exceptions[0]
        if isinstance(error, PoolBrokenError) and not all_up:
            raise ActorsNeverUpError(str(error)) from error
        raise error from None


async def _export(metrics: Metrics, pools: Mapping[str, ActorPool], progress: RunProgress, images: ImageCounts) -> None:
    """Keep the metrics up to date until the run ends."""
    ledgers = {name: pool.accounting for name, pool in pools.items()}
    while True:
        made = {"rendered": images.rendered, "saved": images.saved}
        metrics.show(ledgers, trajectories=progress.states, images=made)
        await asyncio.sleep(_EXPORT_EVERY_S)
