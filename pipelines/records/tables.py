"""The tables of a run: candidates.parquet and trajectories.parquet, with judgements.parquet and winners.parquet beside.

    candidates    every rendered image with its score: the trajectory's own, then those of the pool
    trajectories  from the base prompt to the best
    judgements    every proposal, rendered or not: previews, what guards measured, warnings, why it was rejected
    winners       every trajectory's best: the guards' warnings, and its score with fresh seeds

All are pure functions of the recorded histories, in the order of the trajectories. So the same records come out however
often a run was interrupted and resumed, and however many actors there were. They are written in row groups of equal
size; no table is in memory as a whole.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.search.guards import HELD_OUT, SATURATION, SHARPNESS, SUBJECT
from pipelines.search.notices import Notice
from pipelines.search.previews import agreement
from pipelines.search.state_machine import Stop, StopReason, next_step
from pipelines.search.trajectory import Candidate, Iteration, Reseeded, Trajectory, walk
from pipelines.settings.search import SearchSettings

ROW_GROUP = 5000
"""Rows; so many are in memory at a time."""

_IDENTITY = [
    ("trajectory_id", pa.string()),
    ("user", pa.string()),
    ("prompt_id", pa.string()),
    ("run", pa.int32()),
    ("scorer", pa.string()),
]

CANDIDATES = pa.schema(
    [
        *_IDENTITY,
        ("iteration", pa.int32()),
        ("candidate", pa.int32()),
        ("prompt", pa.string()),
        ("seed", pa.int64()),
        ("image", pa.string()),
        ("score", pa.float64()),
        ("best", pa.bool_()),
    ]
)

TRAJECTORIES = pa.schema(
    [
        *_IDENTITY,
        ("initial_prompt", pa.string()),
        ("initial_image", pa.string()),
        ("initial_score", pa.float64()),
        ("final_prompt", pa.string()),
        ("final_image", pa.string()),
        ("final_score", pa.float64()),
        ("iterations", pa.int32()),
        ("renders", pa.int32()),
        ("stop_reason", pa.string()),
    ]
)
"""`renders`: the trajectory's own candidates with an image; pooled ones count for the trajectory that rendered them."""

JUDGEMENTS = pa.schema(
    [
        *_IDENTITY,
        ("iteration", pa.int32()),
        ("candidate", pa.int32()),
        ("prompt", pa.string()),
        ("origin", pa.string()),
        ("preview_image", pa.string()),
        ("preview_score", pa.float64()),
        (HELD_OUT, pa.float64()),
        (SATURATION, pa.float64()),
        (SHARPNESS, pa.float64()),
        (SUBJECT, pa.float64()),
        ("warnings", pa.list_(pa.string())),
        ("rejected", pa.string()),
        ("error", pa.string()),
    ]
)
"""`candidate`: its number in candidates.parquet, where it has a row there. `origin`: the user for whom it was rendered,
where it is pooled. `held_out` to `subject_similarity`: only of candidates that would have been the best."""

WINNERS = pa.schema(
    [
        *_IDENTITY,
        ("final_prompt", pa.string()),
        ("final_image", pa.string()),
        ("origin", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("initial_held_out", pa.float64()),
        ("final_held_out", pa.float64()),
        ("fresh_seeds", pa.list_(pa.int64())),
        ("initial_images", pa.list_(pa.string())),
        ("final_images", pa.list_(pa.string())),
        ("initial_mean", pa.float64()),
        ("final_mean", pa.float64()),
        ("preview_agreement", pa.float64()),
    ]
)
"""`…_images` and `…_mean`: of base prompt and winner, with the fresh seeds. `preview_agreement`: SROCC of preview and
final score over all images that this trajectory has finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One trajectory as far as it is recorded."""

    trajectory: Trajectory
    history: tuple[Iteration, ...]
    stop_reason: StopReason
    failure: str | None = None
    """What failed, where it has failed."""

    @property
    def finished(self) -> bool:
        """Whether the search has come to its end."""
        return self.stop_reason in (StopReason.ITERATIONS, StopReason.PATIENCE)

    @property
    def stopped_by(self) -> str:
        """The stop reason as trajectories.parquet has it, with the failure where there is one."""
        return self.stop_reason.value if self.failure is None else f"{self.stop_reason}: {self.failure}"

    @property
    def bests(self) -> list[Candidate]:
        """The best candidate after each iteration; empty where not even the base prompt has a score."""
        return [best for _, best in walk(self.history) if best is not None]

    @property
    def search_bests(self) -> list[Candidate]:
        """The best after each iteration of the search itself, before the reseed guard."""
        return [best for i, best in walk(self.history) if best is not None and i.reseeded is None]

    @property
    def reseeded(self) -> Reseeded | None:
        """The final candidate with fresh seeds."""
        every = (iteration.reseeded for iteration in self.history if iteration.reseeded is not None)
        return next((each for each in every if self.bests and each.prompt == self.bests[-1].prompt), None)

    @property
    def warnings(self) -> list[Notice]:
        """The guards' warnings about the final candidate."""
        again = self.reseeded.warnings if self.reseeded else ()
        return [*(self.bests[-1].warnings if self.bests else ()), *again]

    @property
    def gain(self) -> float | None:
        """How much the score rose from the base prompt to the best; None where the base prompt has no score."""
        scores = [best.score for best in self.bests if best.score is not None]
        return scores[-1] - scores[0] if scores else None

    def thinned(self) -> "Outcome":
        """Without the candidates that never were the best: small, and enough for verdict and gallery."""
        kept = [
            replace(
                iteration,
                candidates=tuple(c for c in iteration.candidates if c is best),
                pooled=tuple(c for c in iteration.pooled if c is best),
            )
            for iteration, best in walk(self.history)
        ]
        return replace(self, history=tuple(kept))


def outcome(
    trajectory: Trajectory, history: Sequence[Iteration], protocol: SearchSettings, failure: str | None = None
) -> Outcome:
    """What became of a trajectory."""
    if failure is not None:
        reason = StopReason.FAILED
    else:
        step = next_step(history, protocol)
        reason = step.reason if isinstance(step, Stop) else StopReason.UNFINISHED
    return Outcome(trajectory=trajectory, history=tuple(history), stop_reason=reason, failure=failure)


def write_records(outcomes: Iterable[Outcome], folder: Path) -> None:
    """Write the tables; each appears whole or not at all."""
    with RecordsWriter(folder) as records:
        for each in outcomes:
            records.add(each)


class RecordsWriter:
    """The tables while they are written. All appear under their names at the end, or none where an error came first.

    Example:

        with RecordsWriter(folder) as records:
            records.add(outcome)
    """

    def __init__(self, folder: Path) -> None:
        self._candidates = _Table(folder, "candidates", CANDIDATES)
        self._trajectories = _Table(folder, "trajectories", TRAJECTORIES)
        self._judgements = _Table(folder, "judgements", JUDGEMENTS)
        self._winners = _Table(folder, "winners", WINNERS)

    def add(self, outcome: Outcome) -> None:
        """Add a trajectory's rows; trajectories come in their order."""
        for candidate, judgement in _candidate_rows(outcome):
            if candidate is not None:
                self._candidates.add(candidate)
            self._judgements.add(judgement)
        self._trajectories.add(_trajectory_row(outcome))
        if outcome.bests:
            self._winners.add(_winner_row(outcome))

    def __enter__(self) -> "RecordsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tables = (self._candidates, self._trajectories, self._judgements, self._winners)
        try:
            if error is None:
                for table in tables:
                    table.finish()
                for table in tables:
                    table.appear()
        finally:
            for table in tables:
                table.forget()


class _Table:
    """One Parquet file in the making."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._path, self._temporary = folder / f"{name}.parquet", folder / f".{name}.parquet.tmp"
        self._writer = pq.ParquetWriter(self._temporary, schema)
        self._rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._writer.close()

    def appear(self) -> None:
        self._temporary.replace(self._path)

    def forget(self) -> None:
        """Remove the temporary file of a table that has not appeared."""
        self._temporary.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
        self._rows.clear()


def _identity(outcome: Outcome) -> dict[str, Any]:
    trajectory = outcome.trajectory
    return {
        "trajectory_id": trajectory.id,
        "user": trajectory.user,
        "prompt_id": trajectory.prompt_id,
        "run": trajectory.run,
        "scorer": trajectory.scorer,
    }


def _candidate_rows(outcome: Outcome) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """Pairs of a row of candidates.parquet, None where nothing was to be rendered, and one of judgements.parquet."""
    for iteration, best in walk(outcome.history):
        number = 0
        for candidate in (*iteration.candidates, *iteration.pooled):
            where = _identity(outcome) | {"iteration": iteration.number, "prompt": candidate.prompt}
            row = None
            if candidate.image is not None or candidate.error is not None:
                where["candidate"] = number
                number += 1
                row = where | {
                    "seed": outcome.trajectory.image_seed,
                    "image": candidate.image,
                    "score": candidate.score,
                    "best": candidate is best,
                }
            yield row, where | _judgement(candidate)


def _judgement(candidate: Candidate) -> dict[str, Any]:
    return {
        "origin": candidate.origin and candidate.origin[0],
        "preview_image": candidate.preview,
        "preview_score": candidate.preview_score,
        "warnings": [str(warning) for warning in candidate.warnings],
        "rejected": candidate.rejected and str(candidate.rejected),
        "error": candidate.error,
        **{name: candidate.measured.get(name) for name in (HELD_OUT, SATURATION, SHARPNESS, SUBJECT)},
    }


def _winner_row(outcome: Outcome) -> dict[str, Any]:
    initial, final = outcome.bests[0], outcome.bests[-1]
    row = _identity(outcome) | {
        "final_prompt": final.prompt,
        "final_image": final.image,
        "origin": final.origin and final.origin[0],
        "warnings": [str(warning) for warning in outcome.warnings],
        "initial_held_out": initial.measured.get(HELD_OUT),
        "final_held_out": final.measured.get(HELD_OUT),
        "preview_agreement": agreement(outcome.history),
    }
    if (again := outcome.reseeded) is not None:
        row |= {
            "fresh_seeds": list(again.seeds),
            "initial_images": [candidate.image for candidate in again.initial],
            "final_images": [candidate.image for candidate in again.final],
        }
        row["initial_mean"], row["final_mean"] = again.means
    return row


def _trajectory_row(outcome: Outcome) -> dict[str, Any]:
    bests = outcome.bests
    row = _identity(outcome) | {
        "initial_prompt": outcome.trajectory.base_prompt,
        "iterations": max(0, sum(iteration.reseeded is None for iteration in outcome.history) - 1),
        "renders": sum(c.image is not None for i in outcome.history for c in i.candidates),
        "stop_reason": outcome.stopped_by,
    }
    for part, candidate in (("initial", bests[0]), ("final", bests[-1])) if bests else ():
        row |= {f"{part}_prompt": candidate.prompt, f"{part}_image": candidate.image, f"{part}_score": candidate.score}
    return row
