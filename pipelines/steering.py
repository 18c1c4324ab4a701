"""The part of a run that needs a cluster: places are reserved, actor pools come up, the driver steers, all is released.

It ends when nothing is left to steer, on SIGINT or SIGTERM, where a role answers nobody any more, or with an error. In
each case the journal is closed, the costs are recorded, and all actors are stopped. Meanwhile progress is shown on the
terminal and exported to Prometheus.
"""

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from actors.pool.actor_pool import ActorPool, PoolBrokenError, RoleUnavailableError
from actors.pool.metrics import Metrics
from actors.pool.render_path import RenderPath
from actors.pool.reservation import Reservation
from actors.pool.text_embeddings import TextEmbeddings
from pipelines.execution.costs import CostAccount, ImageCounts
from pipelines.execution.driver import Driver
from pipelines.execution.observer import Observer, Observers
from pipelines.planning.description import compares, describes, undescribed, unguarded, unpreviewed, unseeded
from pipelines.planning.plan import Plan
from pipelines.planning.roles import RunRoles
from pipelines.progress import RunProgress
from pipelines.records.journal import Journal
from pipelines.records.replay import Unfinished
from pipelines.records.run_folder import RunFolder
from pipelines.search.rounds import Refusals
from pipelines.settings.settings import differences

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger(__name__)

_EXPORT_EVERY_S = 2.0

_HEAD_START_S = 4.0
"""Actors that only score start this much later than those that render, unless those are up sooner: importing PyTorch
on the same cores would delay the first image."""


class ActorsNeverUpError(PoolBrokenError):
    """A role's actors never came up, and so no candidate has been scored."""


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


async def steer(
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
        A role's actors do not come up.
    PoolBrokenError, OSError
        As `Driver.run`. A RoleUnavailableError is in the result, because there are records to write.
    """
    unlike = partial(_unlike, dict(plan.renderer.identity()))
    give_up_after_s = plan.settings.give_up_after_s
    pools = {
        role.name: ActorPool(
            replace(role, give_up_after_s=give_up_after_s), refuse=unlike if role is roles.renderer else None
        )
        for role in roles.all
    }
    reservation = Reservation()
    task = asyncio.create_task(_drive(console, plan, open_folder, roles, reservation, pools, recorded, observer))
    stop.stops(task)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        for pool in pools.values():
            pool.stop()
        reservation.release()


async def _drive(
    console: "Console",
    plan: Plan,
    open_folder: Callable[[], RunFolder],
    roles: RunRoles,
    reservation: Reservation,
    pools: Mapping[str, ActorPool],
    recorded: Unfinished,
    observer: Observer | None,
) -> SteeringResult:
    renderer = pools[roles.renderer.name]
    predictor = pools[roles.predictor.name] if roles.predictor else None
    embeddings = TextEmbeddings(pools[roles.feature_extractor.name]) if roles.feature_extractor else None
    costs = CostAccount(list(pools.values()))

    def waiting(line: str) -> None:
        logger.info("%s", line)
        console.print(line, markup=False)

    await reservation.make(roles.all, plan.settings.nodes_timeout_s, waiting)
    others = await _rendering_pools_up(pools, roles, reservation)
    folder = open_folder()
    cannot = [*undescribed(plan), *unguarded(plan), *unpreviewed(plan), *unseeded(plan)]
    for line in cannot:
        logger.warning("%s", line)
    console.print(f"Run folder: {folder.path}", markup=False)
    if plan.checkpoint is not None:
        console.print(f"Predictor: {plan.checkpoint}", markup=False)
    total = len(plan.trajectories)
    progress = RunProgress(
        console, total, recorded.cohorts, plan.protocol, busy=lambda: renderer.accounting.utilisation
    )
    journal = Journal(folder.journal)
    driver = Driver(
        settings=plan.protocol,
        renderer=RenderPath(
            renderer,
            pools[roles.text_encoder.name] if roles.text_encoder else None,
            _embedding(embeddings, roles.embedded_text),
        ),
        renderer_identity=plan.renderer.identity(),
        proposer=pools[roles.proposer.name],
        scorers={name: pools[role.name] for name, role in roles.scorers.items()},
        images=folder.images,
        journal=journal,
        observer=progress if observer is None else Observers(progress, observer),
        preview_identity=plan.renderer.preview_identity() if plan.protocol.previews else None,
        feature_extractor=pools[roles.feature_extractor.name] if roles.feature_extractor else None,
        embeddings=embeddings,
        describer=predictor if describes(plan) else None,
        similarity_scorer=predictor if compares(plan) else None,
        described=folder.about.get("zero_shot", {}),
        on_description=folder.describe,
        first_rounds=recorded.first_rounds,
    )
    exporting = asyncio.create_task(_export(Metrics(), pools, progress, driver.images_made))
    interrupted, unavailable = False, None
    try:
        with progress:
            await _both(others, driver.run(recorded.cohorts, recorded.rounds))
    except asyncio.CancelledError:
        interrupted = True
        logger.info("stopped by a signal (Ctrl-C)")
    except RoleUnavailableError as error:
        unavailable = error
        logger.error("stopped: %s", error)
    finally:
        exporting.cancel()
        await asyncio.to_thread(journal.close)
        account = costs.as_dict(driver.images_made, plan.renderer, plan.settings.price_per_gpu_hour)
        folder.about.setdefault("costs", []).append(account)
        with suppress(OSError):  # a full disk ends the run by the error that came first
            folder.save()
    lost = (line for pool in pools.values() for line in pool.start_failures)
    warnings = [*progress.warnings, *cannot, *lost]
    return SteeringResult(
        folder=folder,
        warnings=warnings,
        failures=driver.failures,
        refusals=driver.refusals,
        interrupted=interrupted,
        unavailable=unavailable,
    )


async def _start(pool: ActorPool, reservation: Reservation) -> None:
    began = time.monotonic()
    await pool.start(reservation.places(pool.role))
    logger.info("%s: up after %.1f s, actors: %d", pool.role.name, time.monotonic() - began, pool.role.actors)


async def _rendering_pools_up(
    pools: Mapping[str, ActorPool], roles: RunRoles, reservation: Reservation
) -> Awaitable[None]:
    """Wait until the pools that an image needs are up; answers what to wait for until the others are."""
    needed = {role.name for role in (roles.renderer, roles.text_encoder, roles.feature_extractor) if role is not None}
    first = asyncio.create_task(_up([pool for name, pool in pools.items() if name in needed], reservation))
    others: list[asyncio.Task[None]] = []
    try:
        await asyncio.wait({first}, timeout=_HEAD_START_S)
        later = [pool for name, pool in pools.items() if name not in needed]
        others.append(asyncio.create_task(_up(later, reservation)))
        await first
    except BaseException:
        for task in (first, *others):
            task.cancel()
        raise
    return others[0]


async def _up(pools: Sequence[ActorPool], reservation: Reservation) -> None:
    try:
        await asyncio.gather(*(_start(pool, reservation) for pool in pools))
    except PoolBrokenError as error:
        raise ActorsNeverUpError(str(error)) from error


async def _both(others: Awaitable[None], run: Coroutine[Any, Any, None]) -> None:
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


def _embedding(
    embeddings: TextEmbeddings | None, text: Callable[[str], str] | None
) -> Callable[[str], Awaitable[Any]] | None:
    """What makes of a prompt the embedding that renderers are given, where they are given one."""
    if embeddings is None or text is None:
        return None

    async def embed(prompt: str) -> Any:
        (vector,) = await embeddings.of([text(prompt)])
        return vector

    return embed


async def _export(metrics: Metrics, pools: Mapping[str, ActorPool], progress: RunProgress, images: ImageCounts) -> None:
    """Keep the metrics up to date until the run ends."""
    ledgers = {name: pool.accounting for name, pool in pools.items()}
    while True:
        made = {"rendered": images.rendered, "saved": images.saved}
        metrics.show(ledgers, trajectories=progress.states, images=made)
        await asyncio.sleep(_EXPORT_EVERY_S)


def _unlike(here: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    """How a renderer's identity differs from the one on this machine, which the keys of images are made of."""
    if not (changed := differences(here, dict(there))):
        return ""
    return (
        f"it is not the one on this machine: {'; '.join(changed)}; "
        "install the same versions and photographs on every node"
    )
