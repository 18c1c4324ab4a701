"""What a run leaves for others to read: candidates.parquet and trajectories.parquet (DESIGN 5).

Both are pure functions of the recorded histories, in the order of the trajectories, so that the same
records come out however often a run was broken and resumed, and whatever ran at the same time. They are
written row group by row group, each of the same number of rows: never is the whole table in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.search import Candidate, Iteration, Protocol, Stop, Trajectory, next_step, walk

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One trajectory as far as it is recorded."""

    trajectory: Trajectory
    history: tuple[Iteration, ...]
    stop_reason: str
    """One of "iterations" or "patience"; "failed: …" or "unfinished" where it did not reach its end."""

    @property
    def bests(self) -> list[Candidate]:
        """The best candidate after each iteration; empty where not even the base prompt has a score."""
        return [best for _, best in walk(self.history) if best is not None]

    @property
    def gain(self) -> float | None:
        """How much the score rose from the base prompt to the best; None where the base prompt has no score."""
        scores = [best.score for best in self.bests if best.score is not None]
        return scores[-1] - scores[0] if scores else None

    def thinned(self) -> "Outcome":
        """Without the candidates that never were the best: enough for whoever looks at the bests, and small."""
        kept = [
            replace(iteration, candidates=tuple(c for c in iteration.candidates if c is best))
            for iteration, best in walk(self.history)
        ]
        return replace(self, history=tuple(kept))


def outcome(
    trajectory: Trajectory, history: Sequence[Iteration], protocol: Protocol, failure: str | None = None
) -> Outcome:
    """What became of a trajectory."""
    step = None if failure else next_step(history, protocol)
    reason = f"failed: {failure}" if failure else step.reason if isinstance(step, Stop) else "unfinished"
    return Outcome(trajectory=trajectory, history=tuple(history), stop_reason=reason)


def write_records(outcomes: Iterable[Outcome], folder: Path) -> None:
    """Write both tables; each appears whole or not at all."""
    with RecordsWriter(folder) as records:
        for each in outcomes:
            records.add(each)


class RecordsWriter:
    """Both tables while they are written; they appear, whole, when nothing has gone wrong until the end.

    Example:

        with RecordsWriter(folder) as records:
            records.add(outcome)
    """

    def __init__(self, folder: Path) -> None:
        self._candidates = _Table(folder, "candidates", CANDIDATES)
        self._trajectories = _Table(folder, "trajectories", TRAJECTORIES)

    def add(self, outcome: Outcome) -> None:
        """In the order of the trajectories."""
        for row in _candidate_rows(outcome):
            self._candidates.add(row)
        self._trajectories.add(_trajectory_row(outcome))

    def __enter__(self) -> "RecordsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tables = (self._candidates, self._trajectories)
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
        """What has not appeared."""
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


def _candidate_rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    for iteration, best in walk(outcome.history):
        for number, candidate in enumerate(iteration.candidates):
            yield _identity(outcome) | {
                "iteration": iteration.number,
                "candidate": number,
                "prompt": candidate.prompt,
                "seed": outcome.trajectory.image_seed,
                "image": candidate.image,
                "score": candidate.score,
                "best": candidate is best,
            }


def _trajectory_row(outcome: Outcome) -> dict[str, Any]:
    bests = outcome.bests
    row = _identity(outcome) | {
        "initial_prompt": outcome.trajectory.base_prompt,
        "iterations": max(0, len(outcome.history) - 1),
        "renders": sum(c.image is not None for i in outcome.history for c in i.candidates),
        "stop_reason": outcome.stop_reason,
    }
    for part, candidate in (("initial", bests[0]), ("final", bests[-1])) if bests else ():
        row |= {f"{part}_prompt": candidate.prompt, f"{part}_image": candidate.image, f"{part}_score": candidate.score}
    return row
