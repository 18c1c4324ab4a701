"""What a run leaves to look at: records, verdict, gallery, and the last word in run.json.

All of it is made from the journal, whether the run ended, was interrupted or is resumed, so that there
is one way only in which it comes to be. The journal is read trajectory by trajectory, and of each only the
bests are kept for verdict and gallery. Failures alone are not in the journal: they are tried again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from PIL import Image

from pipelines.consistency import consistency
from pipelines.counts import Counts
from pipelines.gallery import Finding, Page, write_gallery
from pipelines.plan import Plan
from pipelines.recorded import in_order
from pipelines.records import Outcome, RecordsWriter, outcome
from pipelines.run_folder import RunFolder
from predictor.attributes import measure
from predictor.raters import read_truth
from predictor.verdict import Steered, Verdict, judge

_MOST_NOTES = 8
"""So many warnings are in the gallery; all are in run.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a run."""

    outcomes: list[Outcome]
    """Thinned: their bests only."""
    failures: Mapping[str, str]
    interrupted: bool
    verdict: Verdict | None
    gallery: Path

    @property
    def unfinished(self) -> int:
        return sum(o.stop_reason == "unfinished" for o in self.outcomes)

    @property
    def mean_gains(self) -> dict[str, float]:
        """By scorer, for each has a scale of its own."""
        gains: dict[str, list[float]] = {}
        for o in self.outcomes:
            if o.gain is not None:
                gains.setdefault(o.trajectory.scorer, []).append(o.gain)
        return {scorer: fmean(values) for scorer, values in gains.items()}


def conclude(
    plan: Plan, folder: RunFolder, warnings: Sequence[str], failures: Mapping[str, str], *, interrupted: bool
) -> Result:
    """Write records, verdict, gallery and run.json from the journal."""
    folder.about["warnings"] = sorted({*folder.about["warnings"], *warnings})
    counts = Counts()
    outcomes: list[Outcome] = []
    with RecordsWriter(folder.path) as records:
        for trajectory, history in in_order(folder.journal, plan.trajectories):
            whole = outcome(trajectory, history, plan.protocol, failures.get(trajectory.id))
            records.add(whole)
            counts.add(whole)
            outcomes.append(whole.thinned())
    verdict = _judge(plan, folder, outcomes)
    gallery = write_gallery(folder.path, outcomes, _page(plan, folder, verdict, failures, counts.images))
    finished = not interrupted and not any(o.stop_reason == "unfinished" for o in outcomes)
    folder.about |= {
        "finished": (folder.about["finished"] or timestamp()) if finished else None,
        "counts": {**counts.as_dict(), "failed": len(failures)},
        "failures": dict(failures),
    }
    folder.save()
    return Result(outcomes=outcomes, failures=failures, interrupted=interrupted, verdict=verdict, gallery=gallery)


def _judge(plan: Plan, folder: RunFolder, outcomes: Sequence[Outcome]) -> Verdict | None:
    """Judge the run by its raters' known taste, and its runs by each other, where there is something to judge."""
    truth = folder.truth
    complete = [o for o in outcomes if o.bests and o.stop_reason in ("iterations", "patience") and _kept(folder, o)]
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


def _kept(folder: RunFolder, outcome: Outcome) -> bool:
    """Whether the initial and the final image are still on the disk; the gallery shows which are not."""
    return all(folder.images.path(str(best.image)).is_file() for best in (outcome.bests[0], outcome.bests[-1]))


def _attributes(folder: RunFolder, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    keys = {str(best.image) for o in outcomes for best in (o.bests[0], o.bests[-1])}
    measured = {}
    for key in sorted(keys):
        with Image.open(folder.images.path(key)) as image:
            measured[key] = measure(image)
    return measured


def _page(plan: Plan, folder: RunFolder, verdict: Verdict | None, failures: Mapping[str, str], renders: int) -> Page:
    notes = []
    if plan.settings.renderer.kind == "darkroom":
        notes.append("The darkroom renderer develops real photographs as the prompt says; nothing is generated.")
    elif (model := getattr(plan.settings.renderer, "model", None)) is not None:
        notes.append(f"All images are generated, by {model}.")
    if verdict is not None:
        notes.append(
            "The users are simulated raters with a known taste, measured from the pixels; the predictor has "
            "seen their ratings, never their taste."
        )
        if verdict.caveat:
            notes.append(verdict.caveat)
    warnings = folder.about["warnings"]
    notes += warnings[:_MOST_NOTES]
    if len(warnings) > _MOST_NOTES:
        notes.append(f"{len(warnings) - _MOST_NOTES} more warnings are in run.json.")
    findings = verdict.differences.items() if verdict else ()
    return Page(
        title=folder.path.resolve().name,
        notes=tuple(notes),
        people=plan.people,
        renders=renders,
        verdict=tuple(
            Finding(label=label.replace(" - ", " − "), value=i.value, ci_low=i.ci_low, ci_high=i.ci_high)
            for label, i in findings
        ),
        failures=tuple(f"{name}: {reason}" for name, reason in failures.items()),
    )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", "utf-8")


def timestamp() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
