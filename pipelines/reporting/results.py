"""The results of a run: tables, verdict, trends, consistency, gallery, and the counts in run.json.

All are made from the journal, in the same way whether the run has finished, was interrupted or was resumed. The journal
is read cohort by cohort, and only the best images of each trajectory are kept for verdict and gallery. A round that has
failed is not in the journal, because `--resume` tries it again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.planning.capabilities import seed_warnings
from pipelines.planning.plan import Plan
from pipelines.records.image_store import ImageStore
from pipelines.records.outcomes import Outcome
from pipelines.records.outcomes import outcomes as outcomes_of
from pipelines.records.replay import in_order
from pipelines.records.run_folder import RunFolder, timestamp
from pipelines.records.tables import RecordsWriter
from pipelines.reporting.certainty import CertaintyOfRun, below_its_uncertainty, certainty_of
from pipelines.reporting.consistency import consistency
from pipelines.reporting.counts import Counts
from pipelines.reporting.forest_plot import Finding
from pipelines.reporting.gallery import Page, write_gallery
from pipelines.reporting.trends import Trends, trends
from pipelines.search.rounds import Refusals
from pipelines.search.state_machine import StopReason
from pipelines.settings.scorer import PERSONAL
from predictor.checkpoint import checkpoint_users
from predictor.data.folders import write_atomically
from predictor.simulation.attributes import measure
from predictor.simulation.raters import read_truth
from predictor.simulation.verdict import Steered, Verdict, judge
from predictor.threads import thread_map

if TYPE_CHECKING:
    from predictor.taste.posterior import Posterior

_MOST_NOTES = 8
"""Warnings that the gallery shows; run.json has all."""

_ROUTINE = frozenset({"duplicate", "surplus"})
"""Why proposals are left out of every run."""

Attributes = Mapping[str, NDArray[np.float64]]
"""Image key -> measured attributes (7,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a run."""

    outcomes: list[Outcome]
    failures: Mapping[str, str]
    interrupted: bool
    verdict: Verdict | None
    """By the raters' true taste, where that is known."""
    gallery: Path
    images: int
    """Distinct ones."""
    certainty: CertaintyOfRun
    refusals: Sequence[str] = ()
    """What was refused by renderer, scorer or proposer, a line for each reason, with its number."""

    @property
    def uncertain(self) -> int:
        """How many gains are below their uncertainty."""
        return sum(below_its_uncertainty(o, self.certainty.gain_errors) for o in self.outcomes)

    @property
    def unfinished(self) -> int:
        return sum(o.stop_reason is StopReason.UNFINISHED for o in self.outcomes)

    @property
    def winner_warnings(self) -> list[str]:
        """The guards' warnings about winners, a line each with the trajectory."""
        return [f"{o.trajectory.id}: {warning}" for o in self.outcomes for warning in o.warnings]

    @property
    def mean_gains(self) -> dict[str, float]:
        """Of what has not failed, by scorer, since each has a scale of its own."""
        gains: dict[str, list[float]] = {}
        for o in self.outcomes:
            if o.gain is not None and o.failure is None:
                gains.setdefault(o.trajectory.scorer, []).append(o.gain)
        return {scorer: fmean(values) for scorer, values in gains.items()}


def write_results(
    plan: Plan,
    folder: RunFolder,
    warnings: Sequence[str],
    failed_cohorts: Mapping[str, str],
    failed_rounds: Refusals,
    *,
    interrupted: bool,
    others: "Mapping[str, Posterior] | None" = None,
) -> Result:
    """Write all results into the run folder.

    Parameters
    ----------
    failed_cohorts
        Cohort id -> why none of its trajectories goes on; the journal does not know.
    failed_rounds
        What was refused in the rounds that failed, which are not in the journal either.
    others
        Tastes of people whom the predictor's checkpoint does not know.
    """
    folder.about["warnings"] = sorted({*folder.about["warnings"], *warnings})
    counts = Counts(plan.protocol, failed_rounds)
    outcomes: list[Outcome] = []
    with RecordsWriter(folder.path) as records:
        for history in in_order(folder.journal, plan.cohorts, plan.protocol):
            found = outcomes_of(history, plan.protocol, failed_cohorts.get(history.cohort.id))
            records.add(history, found)
            counts.add(history, found)
            outcomes += found
    failures = {o.trajectory.id: o.failure for o in outcomes if o.failure is not None}
    complete = _complete(folder, outcomes)
    cases = cases_of(complete)
    compared = cases if len(plan.audiences) > 1 else ()  # one audience has nothing to be compared with
    attributes = measured(folder.images, (key for case in compared for key in (case.initial, case.final)))
    _compare_runs(plan, folder, complete, attributes)
    verdict = _judge(folder, cases, attributes)
    found = _compare_audiences(plan, folder, cases, attributes)
    certainty = certainty_of(plan, folder, complete, others)
    refused = refusal_lines(counts.refusals)
    failed = [f"{name}: {reason}" for name, reason in failures.items()]
    page = _page(plan, folder, verdict, found, certainty, [*failed, *refused], counts.images)
    gallery = write_gallery(folder.path, outcomes, page)
    finished = not interrupted and not any(o.stop_reason is StopReason.UNFINISHED for o in outcomes)
    folder.about |= {
        "finished": (folder.about["finished"] or timestamp()) if finished else None,
        "counts": counts.as_dict(),
        "failures": dict(failures),
    }
    folder.about["settings"]["title"] = plan.settings.title  # which may change when a run is resumed
    folder.save()
    return Result(
        outcomes=outcomes,
        failures=failures,
        interrupted=interrupted,
        verdict=verdict,
        gallery=gallery,
        images=counts.images,
        certainty=certainty,
        refusals=refused,
    )


def refusal_lines(refusals: Refusals) -> list[str]:
    """A line for each reason, the most frequent first; without proposals that were left out because there were enough.

    Example:

        refusal_lines(Refusals(images=Counter({"400 rejected": 3}))) == ["3 images refused: 400 rejected"]
    """
    lines = []
    for kind, counted in (("image", refusals.images), ("proposal", refusals.proposals)):
        for reason, count in sorted(counted.items(), key=lambda item: (-item[1], item[0])):
            if reason not in _ROUTINE:
                lines.append(f"{count} {kind}{'s' * (count != 1)} refused: {reason}")
    return lines


def measured(images: ImageStore, keys: Iterable[str]) -> Attributes:
    """Attributes of images by key: each measured once, on all cores."""

    def attributes(key: str) -> NDArray[np.float64]:
        with Image.open(images.path(key)) as image:
            return measure(image)

    distinct = list(dict.fromkeys(keys))
    return dict(zip(distinct, thread_map(attributes, distinct), strict=True))


def _complete(folder: RunFolder, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes of finished searches whose initial and final image are on the disk."""
    return [
        o
        for o in outcomes
        if o.bests
        and o.finished
        and all(folder.images.path(best.image).is_file() for best in (o.bests[0], o.bests[-1]))
    ]


def cases_of(outcomes: Sequence[Outcome]) -> list[Steered]:
    """Initial and final images of what was steered for users."""
    return [
        Steered(
            user=o.trajectory.user,
            prompt_id=o.trajectory.prompt_id,
            run=o.trajectory.run,
            initial=o.bests[0].image,
            final=o.bests[-1].image,
        )
        for o in outcomes
        if o.trajectory.scorer == PERSONAL
    ]


def _compare_runs(plan: Plan, folder: RunFolder, complete: Sequence[Outcome], attributes: Attributes) -> None:
    if plan.settings.runs > 1:
        agreement = consistency(complete, attributes)
        found = agreement or {"runs": plan.settings.runs, "comparable": 0}
        _write_json(folder.path / "consistency.json", {**found, "renderer_takes_seeds": not seed_warnings(plan)})


def _judge(folder: RunFolder, cases: Sequence[Steered], attributes: Attributes) -> Verdict | None:
    """Judge the run by its raters' true taste, where that is known."""
    if not folder.truth.is_file():
        return None
    verdict = judge(cases, attributes, read_truth(folder.truth))
    if verdict is not None:
        _write_json(folder.path / "truth.json", verdict.as_dict())
    return verdict


def _compare_audiences(
    plan: Plan, folder: RunFolder, cases: Sequence[Steered], attributes: Attributes
) -> Trends | None:
    table = checkpoint_users(plan.checkpoint).to_pylist() if plan.checkpoint and plan.checkpoint.is_dir() else []
    demographics = {row.pop("user_id"): row for row in table}
    found = trends(cases, attributes, plan.audiences, demographics)
    if found is not None:
        _write_json(folder.path / "trends.json", found.as_dict())
    return found


def _page(
    plan: Plan,
    folder: RunFolder,
    verdict: Verdict | None,
    found: Trends | None,
    certainty: CertaintyOfRun,
    failures: Sequence[str],
    renders: int,
) -> Page:
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
    if plan.checkpoint is not None and not plan.checkpoint.is_dir():
        notes.append("The predictor is gone from the disk, so nothing is said of uncertainty and demographics.")
    if certainty.not_kept:
        gains = "1 gain has" if certainty.not_kept == 1 else f"{certainty.not_kept} gains have"
        notes.append(f"{gains} no uncertainty: the image features it needs are cached on other machines.")
    warnings = folder.about["warnings"]
    notes += warnings[:_MOST_NOTES]
    if len(warnings) > _MOST_NOTES:
        notes.append(f"{len(warnings) - _MOST_NOTES} more warnings are in run.json.")
    findings = verdict.differences.items() if verdict else ()
    return Page(
        title=plan.settings.title or folder.path.resolve().name,
        notes=tuple(notes),
        people=plan.people,
        known={user: f"Error of a predicted preference: {known}." for user, known in certainty.people.items()},
        gain_errors=certainty.gain_errors,
        renders=renders,
        verdict=tuple(
            Finding(label=label.replace(" - ", " − "), value=i.value, ci_low=i.ci_low, ci_high=i.ci_high)
            for label, i in findings
        ),
        trends=found,
        failures=tuple(failures),
    )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(values, indent=2) + "\n")
