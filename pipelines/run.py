"""One run, from its plan to its records."""

import asyncio
import platform
import shutil
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.pool.cluster import ClusterError, connect, disconnect, watch
from actors.scorers.scales import SCORERS
from pipelines.planning.plan import Plan
from pipelines.planning.roles import check_scorers, run_roles
from pipelines.records.replay import Unfinished, unfinished
from pipelines.records.run_folder import RunFolder
from pipelines.reporting.report import Result, conclude, timestamp
from pipelines.settings.settings import fingerprint
from pipelines.steering import NeverUpError, steer

if TYPE_CHECKING:
    from rich.console import Console

_PACKAGES = ("pamela-steer", "ray", "torch", "transformers", "numpy", "pillow", "scikit-image")


def describe_run(plan: Plan) -> dict[str, Any]:
    """What run.json says of a run that begins now."""
    decisive = plan.decisive()
    return {
        "settings_hash": fingerprint(decisive),
        "settings": plan.settings.model_dump(mode="json"),
        "decisive": decisive,
        "checkpoint": None if plan.checkpoint is None else str(plan.checkpoint),
        "scorers": {name: asdict(SCORERS[name]) for name in plan.settings.scorers},
        "users": [{"user": audience.name, "members": list(audience.members)} for audience in plan.audiences],
        "prompts": [{"prompt_id": p.id, "text": p.text, "metadata": dict(p.metadata)} for p in plan.prompts],
        "seeds": {"seed": plan.settings.seed, "images": {t.prompt_id: t.image_seed for t in plan.trajectories}},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "started": timestamp(),
        "finished": None,
        "counts": {},
        "failures": {},
        "warnings": list(plan.renderer.skipped),
    }


def start_or_continue(
    console: "Console",
    plan: Plan,
    folder: RunFolder | None,
    out: Path,
    *,
    address: str | None,
    on_lost: Callable[[str], None],
) -> Result:
    """Run what is left of a plan, then write the records of all of it.

    Where the cluster is lost meanwhile, `on_lost` is told why, from another thread, and has to end the process: calls
    to Ray may block. What was finished is in the journal. A run whose actors never all come up leaves no new folder
    behind.

    Raises
    ------
    ClusterError
        The cluster cannot be reached, is too small, or would draw other images than this machine says.
    FolderError
        The folder of a new run cannot be made.
    PoolBrokenError
        A role's actors do not come up.
    OSError
        The disk is full or broken. What was finished is in the journal.
    """
    recorded = _unfinished(plan, folder)
    if folder is not None and not recorded.histories:
        return conclude(plan, folder, (), {}, interrupted=False)
    roles = run_roles(plan.settings, plan.checkpoint)
    if address in (None, "local"):
        _check_scorers(plan)
    made: list[RunFolder] = []

    def open_folder() -> RunFolder:
        if folder is not None:
            return folder
        made.append(_new_folder(plan, out))
        return made[0]

    connect(address)
    try:
        watch(on_lost)
        ended = asyncio.run(steer(console, plan, open_folder, roles, recorded))
    except NeverUpError:
        if made:  # a folder that somebody else has made meanwhile is theirs
            shutil.rmtree(made[0].path, ignore_errors=True)
        raise
    finally:
        disconnect()
    return conclude(plan, ended.folder, ended.warnings, ended.failures, interrupted=ended.interrupted)


def _unfinished(plan: Plan, folder: RunFolder | None) -> Unfinished:
    """What is recorded of the trajectories that have not come to their end: nothing, where the run is a new one."""
    if folder is None:
        return Unfinished({trajectory.id: [] for trajectory in plan.trajectories})
    return unfinished(folder.journal, plan.trajectories, plan.protocol)


def _check_scorers(plan: Plan) -> None:
    """What a cluster's nodes have installed only their actors can tell; this machine can be asked."""
    try:
        check_scorers(plan.settings)
    except ValueError as error:
        raise ClusterError(str(error)) from error


def _new_folder(plan: Plan, out: Path) -> RunFolder:
    """With a copy of the raters' truth, where there is one, so that the run can be judged anywhere."""
    folder = RunFolder.create(out, describe_run(plan))
    if plan.checkpoint is not None and (truth := plan.checkpoint / "truth.parquet").is_file():
        shutil.copyfile(truth, folder.truth)
    return folder
