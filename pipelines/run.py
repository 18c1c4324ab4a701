"""One run, from its plan to its records."""

import asyncio
import logging
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.pool.actor_pool import RoleUnavailableError
from actors.pool.cluster import ClusterError, connect, disconnect, watch
from actors.scorers.registry import scale_of
from pipelines.cluster_run import StopRequest, run_on_cluster
from pipelines.end_of_run import Ending, end_notice, send_notice
from pipelines.execution.observer import Observer, Observers
from pipelines.planning.plan import Plan
from pipelines.planning.roles import check_scorers, run_roles
from pipelines.records.replay import Unfinished, unfinished
from pipelines.records.run_folder import RunFolder, timestamp
from pipelines.records.run_log import RunLog
from pipelines.run_pools import ActorsNeverUpError
from pipelines.search.rounds import Refusals
from pipelines.settings.settings import fingerprint
from pipelines.tracking.tracked_run import TrackedRun, params_of
from pipelines.tracking.tracker import Tracker, make_tracker
from predictor.error_messages import type_and_last_line

if TYPE_CHECKING:
    from rich.console import Console

    from pipelines.reporting.results import Result

logger = logging.getLogger(__name__)

_PACKAGES = ("pamela-steer", "ray", "torch", "transformers", "numpy", "pillow", "scikit-image")


def describe_run(plan: Plan) -> dict[str, Any]:
    """What run.json says of a run that begins now."""
    key = plan.reproducibility_key()
    return {
        "settings_hash": fingerprint(key),
        "settings": plan.settings.model_dump(mode="json"),
        "reproducibility_key": key,
        "checkpoint": None if plan.checkpoint is None else str(plan.checkpoint),
        "scorers": {name: asdict(scale_of(name)) for name in plan.settings.scorers},
        "users": [{"user": audience.name, "members": list(audience.user_ids)} for audience in plan.audiences],
        "prompts": [{"prompt_id": p.id, "text": p.text, "metadata": dict(p.metadata)} for p in plan.prompts],
        "seeds": {"seed": plan.settings.seed, "images": {t.prompt_id: t.image_seed for t in plan.trajectories}},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "started": timestamp(),
        "finished": None,
        "counts": {},
        "failures": {},
        "warnings": list(plan.renderer.skipped),
    }


@dataclass(kw_only=True)
class _Start:
    """One start of a run: its plan, and whom it tells what happens."""

    console: "Console"
    plan: Plan
    folder: RunFolder | None
    """None until the folder of a new run is made."""
    out: Path
    log: RunLog
    address: str | None
    observer: Observer | None
    tracked: TrackedRun
    stop: StopRequest


def start_or_continue(
    console: "Console",
    plan: Plan,
    folder: RunFolder | None,
    out: Path,
    log: RunLog,
    *,
    address: str | None,
    on_lost: Callable[[str], None],
    observer: Observer | None = None,
    stop: StopRequest | None = None,
) -> "Result":
    """Run what is left of a plan, then write the records of all of it.

    Everything that is finished is in the journal, whatever ends the run. The folder of a new run is made once the
    actors that render are up; a run whose other actors never come up leaves no folder.

    Parameters
    ----------
    log
        Entered here; it writes run.log, with the traceback of an error that ends the run.
    on_lost
        Called with the reason where the cluster is lost, from another thread. It has to end the process, because
        calls to Ray may block.
    observer
        Told what happens, beside the progress display.
    stop
        By which another thread stops the run, as Ctrl-C does.

    Raises
    ------
    ClusterError
        The cluster cannot be reached, is too small, or would render other images than this machine.
    FolderError
        The folder of a new run cannot be made.
    PoolBrokenError
        A role's actors do not come up.
    RoleUnavailableError
        A role answers nobody any more; the records of what is finished are written.
    OSError
        The disk is full or broken.
    """

    def report_problem(line: str) -> None:
        console.print(line, markup=False)

    settings = plan.settings
    trackers: dict[str, Tracker] = {name: make_tracker(name) for name in settings.tracking}
    start = _Start(
        console=console,
        plan=plan,
        folder=folder,
        out=out,
        log=log,
        address=address,
        observer=observer,
        tracked=TrackedRun(trackers, settings.tracking_project, report_problem),
        stop=stop or StopRequest(),
    )

    def announce_end(ending: Ending, reason: str = "") -> None:
        start.tracked.end(succeeded=ending == "finished")
        counts = start.folder.about["counts"] if start.folder else {}
        notice = end_notice(out, ending, reason, counts)
        send_notice(notice, settings.end_command, settings.end_webhook_env, report_problem)

    def lost(reason: str) -> None:
        announce_end("error", reason)
        on_lost(reason)

    try:
        with log:
            if folder is not None:
                log.open(folder.path)
            result = _run(start, lost)
            ending: Ending = "interrupted" if result.interrupted else "some failed" if result.failures else "finished"
            announce_end(ending, next(iter(result.failures.values()), ""))
            return result
    except BaseException as error:
        announce_end(_ENDINGS.get(type(error), "error"), type_and_last_line(error))
        raise
    finally:
        if start.folder is not None:
            start.folder.release()


_ENDINGS: Mapping[type[BaseException], Ending] = {RoleUnavailableError: "stopped", KeyboardInterrupt: "interrupted"}
"""What an error that ends a run is called in the notice of its end."""


def _run(start: _Start, on_lost: Callable[[str], None]) -> "Result":
    plan, folder = start.plan, start.folder
    recorded = _unfinished(plan, folder)
    logger.info(
        "run %s: steer-batch %s, preset %s, settings %s, %d of %d trajectories left",
        "started" if folder is None else "resumed",
        version("pamela-steer"),
        plan.settings.preset,
        fingerprint(plan.reproducibility_key()),
        sum(map(len, recorded.cohorts)),
        len(plan.trajectories),
    )
    if folder is not None and not recorded.cohorts:
        return _write(plan, folder, (), {}, Refusals(), interrupted=False)
    roles = run_roles(plan.settings, plan.checkpoint)
    if start.address in (None, "local"):
        _check_scorers(plan)
    existed = start.out.exists()

    def lost(reason: str) -> None:
        logger.error("the cluster is lost: %s", reason)
        on_lost(reason)

    def open_folder() -> RunFolder:
        if start.folder is None:
            start.folder = _new_folder(plan, start.out)
            start.log.open(start.folder.path)
        start.tracked.begin(start.folder, _params(plan))
        return start.folder

    observer = start.tracked if start.observer is None else Observers(start.observer, start.tracked)
    connect(start.address)
    try:
        watch(lost)
        steered = asyncio.run(run_on_cluster(start.console, plan, open_folder, roles, recorded, observer, start.stop))
    except ActorsNeverUpError:
        if folder is None and start.folder is not None:
            _remove(start.out, keep=existed)
        raise
    finally:
        disconnect()
    unavailable = steered.unavailable
    stopped = steered.interrupted or unavailable is not None
    result = _write(plan, steered.folder, steered.warnings, steered.failures, steered.refusals, interrupted=stopped)
    if unavailable is not None:
        raise unavailable
    return result


def _write(
    plan: Plan,
    folder: RunFolder,
    warnings: Sequence[str],
    failures: Mapping[str, str],
    refusals: Refusals,
    *,
    interrupted: bool,
) -> "Result":
    from pipelines.reporting.results import write_results  # SciPy among others: not before the first image

    result = write_results(plan, folder, warnings, failures, refusals, interrupted=interrupted)
    logger.info(
        "run %s: %d trajectories finished, %d failed, %d unfinished; %d distinct images",
        "interrupted" if interrupted else "finished",
        len(result.outcomes) - len(result.failures) - result.unfinished,
        len(result.failures),
        result.unfinished,
        result.images,
    )
    return result


def _remove(folder: Path, *, keep: bool) -> None:
    """Take back what a run that could not begin has written; `keep` the folder itself, where it was there before."""
    shutil.rmtree(folder, ignore_errors=True)
    if keep:
        folder.mkdir(exist_ok=True)


def _params(plan: Plan) -> dict[str, Any]:
    """What trackers record of a run: its settings, and how many users and prompts there are."""
    counts = {"users": len(plan.audiences), "prompts": len(plan.prompts), "trajectories": len(plan.trajectories)}
    hashed = {"settings_hash": fingerprint(plan.reproducibility_key())}
    return params_of(plan.settings.model_dump(mode="json")) | counts | hashed


def _unfinished(plan: Plan, folder: RunFolder | None) -> Unfinished:
    """The cohorts that have not come to their end, with what is recorded of them: nothing in a new run."""
    if folder is None:
        return Unfinished(plan.cohorts)
    return unfinished(folder.journal, plan.cohorts, plan.protocol)


def _check_scorers(plan: Plan) -> None:
    """Whether this machine has the scorers' libraries; on a cluster, only the actors themselves can tell."""
    try:
        check_scorers(plan.settings)
    except ValueError as error:
        raise ClusterError(str(error)) from error


def _new_folder(plan: Plan, out: Path) -> RunFolder:
    """Make the folder, with a copy of simulated raters' true taste, by which a run can be judged anywhere."""
    truth = plan.checkpoint / "truth.parquet" if plan.checkpoint is not None else None
    return RunFolder.create(out, describe_run(plan), truth if truth is not None and truth.is_file() else None)
