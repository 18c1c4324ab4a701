"""One run from its plan to its gallery: cluster, pools, driver, and what is written when it ends.

The records are made from the journal alone, whether the run ended, was interrupted or is resumed, so
that there is one way only in which they come to be.
"""

import asyncio
import json
import platform
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.pool import ActorPool, Role, check_resources, connect, disconnect
from pipelines.consistency import consistency
from pipelines.driver import Driver
from pipelines.gallery import Finding, Page, write_gallery
from pipelines.journal import Journal, replay
from pipelines.plan import Plan
from pipelines.progress import RunProgress
from pipelines.records import Outcome, outcome, write_records
from pipelines.roles import proposer_role, renderer_role, scorer_role
from pipelines.run_folder import RunFolder
from pipelines.search import Stop, Trajectory, next_step
from pipelines.settings import fingerprint
from predictor.verdict import Verdict

if TYPE_CHECKING:
    from rich.console import Console

_PACKAGES = ("pamela-steer", "ray", "torch", "transformers", "numpy", "pillow", "scikit-image")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a run."""

    outcomes: list[Outcome]
    failures: Mapping[str, str]
    interrupted: bool
    verdict: Verdict | None
    gallery: Path

    @property
    def unfinished(self) -> int:
        return sum(o.stop_reason == "unfinished" for o in self.outcomes)


def describe_run(plan: Plan) -> dict[str, Any]:
    """What run.json says of a run that begins now."""
    decisive = plan.decisive()
    return {
        "settings_hash": fingerprint(decisive),
        "settings": plan.settings.model_dump(mode="json"),
        "decisive": decisive,
        "checkpoint": str(plan.checkpoint),
        "users": [{"user": audience.name, "members": list(audience.members)} for audience in plan.audiences],
        "prompts": [{"prompt_id": p.id, "text": p.text, "metadata": dict(p.metadata)} for p in plan.prompts],
        "seeds": {"seed": plan.settings.seed, "images": {t.prompt_id: t.image_seed for t in plan.trajectories}},
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "started": _now(),
        "finished": None,
        "counts": {},
        "failures": {},
        "warnings": list(plan.renderer.skipped),
    }


def start_or_continue(
    console: "Console", plan: Plan, folder: RunFolder | None, out: Path, *, address: str | None
) -> Result:
    """Run what is left of a plan, then write the records of all of it.

    The folder of a new run is made once the cluster is known to be large enough, not before.

    Raises
    ------
    ClusterError
        The cluster cannot be reached or is too small.
    FolderError
        The folder of a new run cannot be made.
    PoolBrokenError
        A role's actors do not come up.
    OSError
        The disk is full or broken. What was finished is in the journal.
    """
    if folder is not None and not _waiting(plan, folder):
        return conclude(plan, folder, (), {}, interrupted=False)
    roles = _roles(plan)
    connect(address)
    try:
        check_resources(roles)
        folder = folder or RunFolder.create(out, describe_run(plan))
        console.print(f"Run folder: {folder.path}", markup=False)
        progress = RunProgress(console, len(plan.trajectories), len(plan.trajectories) - len(_waiting(plan, folder)))
        journal = Journal(folder.journal)
        try:
            failures, interrupted = asyncio.run(_steer(plan, folder, journal, progress, roles))
        finally:
            journal.close()
    finally:
        disconnect()
    return conclude(plan, folder, progress.warnings, failures, interrupted=interrupted)


def _waiting(plan: Plan, folder: RunFolder) -> list[Trajectory]:
    """The trajectories that have not come to their end, by the journal."""
    histories = replay(folder.journal, (t.id for t in plan.trajectories))
    return [t for t in plan.trajectories if not isinstance(next_step(histories[t.id], plan.protocol), Stop)]


def _roles(plan: Plan) -> list[Role]:
    """Renderer, proposer, scorer."""
    assert plan.checkpoint is not None
    settings = plan.settings
    return [
        renderer_role(settings.renderer),
        proposer_role(settings.proposer),
        scorer_role(settings.scorer, plan.checkpoint),
    ]


def conclude(
    plan: Plan, folder: RunFolder, warnings: Sequence[str], failures: Mapping[str, str], *, interrupted: bool
) -> Result:
    """Write records, verdict, gallery and run.json from the journal."""
    trajectories = plan.trajectories
    histories = replay(folder.journal, (t.id for t in trajectories))
    outcomes = [outcome(t, histories[t.id], plan.protocol, failures.get(t.id)) for t in trajectories]
    write_records(outcomes, folder.path)
    verdict = _judge(plan, folder, outcomes)
    gallery = write_gallery(folder.path, outcomes, _page(plan, folder, verdict, failures))
    finished = not interrupted and not any(o.stop_reason == "unfinished" for o in outcomes)
    folder.about |= {
        "finished": _now() if finished else None,
        "counts": {
            "trajectories": len(outcomes),
            "failed": len(failures),
            "unfinished": sum(o.stop_reason == "unfinished" for o in outcomes),
            "candidates": sum(len(i.candidates) for o in outcomes for i in o.history),
            "failed_candidates": sum(c.score is None for o in outcomes for i in o.history for c in i.candidates),
            "images": len({c.image for o in outcomes for i in o.history for c in i.candidates if c.image}),
            "refused_proposals": _refused(outcomes),
        },
        "failures": dict(failures),
        "warnings": sorted({*folder.about["warnings"], *warnings}),
    }
    folder.save()
    return Result(outcomes=outcomes, failures=failures, interrupted=interrupted, verdict=verdict, gallery=gallery)


async def _steer(
    plan: Plan, folder: RunFolder, journal: Journal, progress: RunProgress, roles: Sequence[Role]
) -> tuple[dict[str, str], bool]:
    """Steer what is left; the failures, and whether it was interrupted."""
    histories = replay(folder.journal, (t.id for t in plan.trajectories))
    renderer, proposer, scorer = pools = [ActorPool(role) for role in roles]
    driver = Driver(
        protocol=plan.protocol,
        renderer=renderer,
        renderer_identity=plan.renderer.identity(),
        proposer=proposer,
        scorers=dict.fromkeys(plan.settings.scorers, scorer),
        images=folder.images,
        journal=journal,
        observer=progress,
    )

    async def steer() -> None:
        await asyncio.gather(*(pool.start() for pool in pools))
        with progress:
            await driver.run(_waiting(plan, folder), histories)

    task = asyncio.create_task(steer())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return driver.failures, True
    finally:
        for pool in pools:
            pool.stop()
    return driver.failures, False


def _judge(plan: Plan, folder: RunFolder, outcomes: Sequence[Outcome]) -> Verdict | None:
    """Judge the run by its raters' known taste, and its runs by each other, where there is something to judge."""
    from predictor.raters import read_truth
    from predictor.verdict import Steered, judge

    assert plan.checkpoint is not None
    truth = plan.checkpoint / "truth.parquet"
    complete = [o for o in outcomes if o.bests and o.stop_reason in ("iterations", "patience")]
    if not truth.is_file() and plan.settings.runs == 1:
        return None
    attributes = _attributes(folder, complete)
    if plan.settings.runs > 1:
        agreement = consistency(complete, attributes)
        _write_json(folder.path / "consistency.json", agreement or {"runs": plan.settings.runs, "comparable": 0})
    if not truth.is_file():
        return None
    cases = [
        Steered(
            user=o.trajectory.user,
            prompt_id=o.trajectory.prompt_id,
            run=o.trajectory.run,
            initial=str(o.bests[0].image),
            final=str(o.bests[-1].image),
        )
        for o in complete
        if o.trajectory.scorer == "pamela"
    ]
    verdict = judge(cases, attributes, read_truth(truth))
    if verdict is not None:
        _write_json(folder.path / "truth.json", verdict.as_dict())
    return verdict


def _attributes(folder: RunFolder, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    from PIL import Image

    from predictor.attributes import measure

    keys = {str(best.image) for o in outcomes for best in (o.bests[0], o.bests[-1])}
    measured = {}
    for key in sorted(keys):
        with Image.open(folder.images.path(key)) as image:
            measured[key] = measure(image)
    return measured


def _page(plan: Plan, folder: RunFolder, verdict: Verdict | None, failures: Mapping[str, str]) -> Page:
    notes = []
    if plan.settings.renderer.kind == "darkroom":
        notes.append("The darkroom renderer develops real photographs as the prompt says; nothing is generated.")
    if verdict is not None:
        notes.append(
            "The users are simulated raters with a known taste, measured from the pixels; the predictor has "
            "seen their ratings, never their taste."
        )
    notes += sorted({*folder.about["warnings"]})
    findings = verdict.differences.items() if verdict else ()
    return Page(
        title=folder.path.resolve().name,
        notes=tuple(notes),
        people=plan.people,
        verdict=tuple(
            Finding(label=label.replace(" - ", " − "), value=i.value, ci_low=i.ci_low, ci_high=i.ci_high)
            for label, i in findings
        ),
        failures=tuple(f"{name}: {reason}" for name, reason in failures.items()),
    )


def _refused(outcomes: Sequence[Outcome]) -> dict[str, int]:
    total: dict[str, int] = {}
    for o in outcomes:
        for iteration in o.history:
            for reason, count in iteration.refused.items():
                total[reason] = total.get(reason, 0) + count
    return dict(sorted(total.items()))


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
