"""One run: cluster, pools, driver, from its plan until nothing is left to steer."""

import asyncio
import json
import platform
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.autoscaling import wait_for_nodes
from actors.cluster import ClusterError, check_resources, connect, disconnect, until_lost
from actors.metrics import Metrics
from actors.pool import ActorPool
from actors.render_path import RenderPath
from actors.role import Role
from actors.scorers.scales import SCORERS
from pipelines.costs import Costs, Images
from pipelines.driver import Driver
from pipelines.journal import Journal
from pipelines.plan import Plan
from pipelines.progress import RunProgress
from pipelines.recorded import unfinished
from pipelines.renderer_roles import renderer_role, text_encoder_role
from pipelines.report import Result, conclude, timestamp
from pipelines.roles import check_scorers, proposer_role, scorer_roles
from pipelines.run_folder import RunFolder
from pipelines.scorer_settings import PREDICTOR_SCORERS
from pipelines.search import Iteration
from pipelines.settings import differences, fingerprint
from predictor.checkpoint import checkpoint_categories
from predictor.encoders.registry import IMAGE_ENCODERS

if TYPE_CHECKING:
    from rich.console import Console

_EXPORT_EVERY_S = 2.0
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
    console: "Console", plan: Plan, folder: RunFolder | None, out: Path, *, address: str | None
) -> Result:
    """Run what is left of a plan, then write the records of all of it.

    The folder of a new run is made once every actor is up, not before.

    Raises
    ------
    ClusterError
        The cluster cannot be reached, is too small, or would draw other images than this machine says.
    ClusterLostError
        The cluster is gone. What was finished is in the journal.
    FolderError
        The folder of a new run cannot be made.
    PoolBrokenError
        A role's actors do not come up.
    OSError
        The disk is full or broken. What was finished is in the journal.
    """
    histories = _unfinished(plan, folder)
    if folder is not None and not histories:
        return conclude(plan, folder, (), {}, interrupted=False)
    roles = _roles(plan)
    if address in (None, "local"):
        _check_scorers(plan)
    connect(address)
    try:
        wait_for_nodes(roles.all, plan.settings.nodes_timeout_s, lambda line: console.print(line, markup=False))
        check_resources(roles.all)
        ended = asyncio.run(_steer(console, plan, folder, out, roles, histories))
    finally:
        disconnect()
    return conclude(plan, ended.folder, ended.warnings, ended.failures, interrupted=ended.interrupted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """How the steering ended."""

    folder: RunFolder
    warnings: Sequence[str]
    failures: Mapping[str, str]
    interrupted: bool


def _unfinished(plan: Plan, folder: RunFolder | None) -> dict[str, list[Iteration]]:
    """What is recorded of the trajectories that have not come to their end: nothing, where the run is a new one."""
    if folder is None:
        return {trajectory.id: [] for trajectory in plan.trajectories}
    return unfinished(folder.journal, plan.trajectories, plan.protocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Roles:
    """Who takes part. A role may stand behind several scorers."""

    renderer: Role
    text_encoder: Role | None
    """Of the renderer, where it has actors of its own."""
    proposer: Role
    scorers: Mapping[str, Role]

    @property
    def all(self) -> list[Role]:
        """Each once."""
        encoder = [self.text_encoder] if self.text_encoder else []
        roles = (self.renderer, *encoder, self.proposer, *self.scorers.values())
        return list({role.name: role for role in roles}.values())


def _roles(plan: Plan) -> _Roles:
    settings = plan.settings
    return _Roles(
        renderer=renderer_role(settings),
        text_encoder=text_encoder_role(settings),
        proposer=proposer_role(settings.proposer),
        scorers=scorer_roles(settings, plan.checkpoint),
    )


def _check_scorers(plan: Plan) -> None:
    """What a cluster's nodes have installed only their actors can tell; this machine can be asked."""
    try:
        check_scorers(plan.settings)
    except ValueError as error:
        raise ClusterError(str(error)) from error


async def _steer(
    console: "Console",
    plan: Plan,
    folder: RunFolder | None,
    out: Path,
    roles: _Roles,
    histories: dict[str, list[Iteration]],
) -> _Ended:
    """Bring up the pools, then steer what is left, until the end or a signal."""
    by_name = {role.name: ActorPool(role) for role in roles.all}
    pools = list(by_name.values())
    renderer = by_name[roles.renderer.name]

    async def steer() -> _Ended:
        nonlocal folder
        await asyncio.gather(*(pool.start() for pool in pools))
        await _check_identity(plan, renderer)
        folder = folder or _new_folder(plan, out)
        console.print(f"Run folder: {folder.path}", markup=False)
        waiting = [trajectory for trajectory in plan.trajectories if trajectory.id in histories]
        predictor = next((name for name in PREDICTOR_SCORERS if name in roles.scorers), None)
        total = len(plan.trajectories)
        progress = RunProgress(console, total, total - len(waiting), busy=lambda: renderer.ledger.utilisation)
        journal = Journal(folder.journal)
        driver = Driver(
            protocol=plan.protocol,
            renderer=RenderPath(renderer, by_name[roles.text_encoder.name] if roles.text_encoder else None),
            renderer_identity=plan.renderer.identity(),
            proposer=by_name[roles.proposer.name],
            scorers={name: by_name[role.name] for name, role in roles.scorers.items()},
            images=folder.images,
            journal=journal,
            observer=progress,
            describer=by_name[roles.scorers[predictor].name] if predictor and _describes(plan) else None,
            described=folder.about.get("zero_shot", {}),
            on_description=folder.describe,
        )
        costs = Costs(pools, driver.images_made)
        exporting = asyncio.create_task(_export(Metrics(), by_name, progress, driver.images_made))
        interrupted = False
        try:
            with progress:
                await driver.run(waiting, histories)
        except asyncio.CancelledError:
            interrupted = True
        finally:
            exporting.cancel()
            await asyncio.to_thread(journal.close)
            folder.about.setdefault("costs", []).append(costs.as_dict())
        warnings = [*progress.warnings, *_undescribed(plan), *(line for pool in pools for line in pool.lost)]
        return _Ended(folder=folder, warnings=warnings, failures=driver.failures, interrupted=interrupted)

    task = asyncio.create_task(steer())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        return await _while_there_is_a_cluster(task)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None  # before there was a folder: nothing to go on with
    finally:
        for pool in pools:
            pool.stop()


async def _export(metrics: Metrics, pools: Mapping[str, ActorPool], progress: RunProgress, images: Images) -> None:
    """Keep the metrics up to date until the run ends."""
    ledgers = {name: pool.ledger for name, pool in pools.items()}
    while True:
        made = {"rendered": images.rendered, "saved": images.saved}
        metrics.show(ledgers, trajectories=progress.states, images=made)
        await asyncio.sleep(_EXPORT_EVERY_S)


async def _while_there_is_a_cluster(task: "asyncio.Task[_Ended]") -> _Ended:
    """What the task ends with, unless the cluster is lost before."""
    watch = asyncio.create_task(until_lost())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})  # it closes the journal
            watch.result()
        return task.result()
    finally:
        watch.cancel()


async def _check_identity(plan: Plan, renderer: ActorPool) -> None:
    """An image's key is made here, so every renderer has to be what this machine takes it for."""
    here = dict(plan.renderer.identity())
    for there in await renderer.ask_all("identity"):
        if changed := differences(here, dict(there)):
            raise ClusterError(
                f"a renderer on the cluster is not the one on this machine: {'; '.join(changed)}; "
                "install the same versions and photographs on every node"
            )


def _describes(plan: Plan) -> bool:
    """Whether the predictor can tell metadata from an image: it knows categories, and has an encoder of both."""
    return _categories(plan) != {} and not _undescribed(plan)


def _undescribed(plan: Plan) -> list[str]:
    """Why metadata that the predictor knows categories of stays unknown, where the prompts file does not give it."""
    if plan.checkpoint is None or not (known := _categories(plan)):
        return []
    config = json.loads((plan.checkpoint / "config.json").read_text("utf-8"))
    missing = sorted(name for name in known if any(name not in prompt.metadata for prompt in plan.prompts))
    if not missing or config["image_encoder"] not in IMAGE_ENCODERS:
        return []
    return [
        f"image metadata ({', '.join(missing)}) stays unknown: the predictor's image encoder "
        f"{config['image_encoder']} has no text half; give them as columns of the prompts file"
    ]


def _categories(plan: Plan) -> dict[str, list[str]]:
    return {} if plan.checkpoint is None else checkpoint_categories(plan.checkpoint)


def _new_folder(plan: Plan, out: Path) -> RunFolder:
    """With a copy of the raters' truth, where there is one, so that the run can be judged anywhere."""
    folder = RunFolder.create(out, describe_run(plan))
    if plan.checkpoint is not None and (truth := plan.checkpoint / "truth.parquet").is_file():
        shutil.copyfile(truth, folder.truth)
    return folder
