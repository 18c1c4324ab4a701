"""The tables of a run: candidates.parquet, scores.parquet and trajectories.parquet; judgements and winners beside.

    candidates    every image that was proposed for a trajectory, with the user's score
    scores        every image that was scored, with the scores of all users
    trajectories  from the base prompt to the best
    judgements    every proposal, rendered or not: previews, what guards measured, warnings, why it was rejected
    winners       every trajectory's best: the guards' warnings, and its score with fresh seeds

All are pure functions of the recorded histories, in the order of the trajectories. So the same records come out however
often a run was interrupted and resumed, and however many actors there were. They are written in row groups; no table is
in memory as a whole.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.records.outcomes import Outcome
from pipelines.search.guards import HELD_OUT, SATURATION, SHARPNESS, SUBJECT
from pipelines.search.history import NONE, History
from pipelines.search.previews import agreement
from pipelines.search.rounds import Candidate, GuardVerdict
from pipelines.search.trajectory import Trajectory

ROW_GROUP = 5000
"""Rows; so many are in memory at a time."""

_SCORES = 200_000
"""Scores of a row group of scores.parquet, about: a row has one for each user."""

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

SCORES = pa.schema(
    [
        ("image", pa.string()),
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("run", pa.int32()),
        ("scorer", pa.string()),
        ("iteration", pa.int32()),
        ("proposed_for", pa.string()),
        ("users", pa.list_(pa.string())),
        ("scores", pa.list_(pa.float32())),
    ]
)
"""`proposed_for`: a user, or "*" where all users share the proposal. `scores`: in the order of `users`; nan: none."""

TRAJECTORIES = pa.schema(
    [
        *_IDENTITY,
        ("initial_prompt", pa.string()),
        ("initial_image", pa.string()),
        ("initial_score", pa.float64()),
        ("final_prompt", pa.string()),
        ("final_image", pa.string()),
        ("final_score", pa.float64()),
        ("final_proposed_for", pa.string()),
        ("iterations", pa.int32()),
        ("renders", pa.int32()),
        ("stop_reason", pa.string()),
    ]
)
"""`final_proposed_for`: as `proposed_for` in scores.parquet. `renders`: candidates with an image that were proposed for
the trajectory, whoever it shares them with."""

JUDGEMENTS = pa.schema(
    [
        *_IDENTITY,
        ("iteration", pa.int32()),
        ("candidate", pa.int32()),
        ("prompt", pa.string()),
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
"""`candidate`: its number in candidates.parquet, where it has a row there. `held_out` to `subject_similarity`: only of
images that would have been somebody's best."""

WINNERS = pa.schema(
    [
        *_IDENTITY,
        ("final_prompt", pa.string()),
        ("final_image", pa.string()),
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


class RecordsWriter:
    """The tables while they are written. All appear under their names at the end, or none where an error came first.

    Example:

        with RecordsWriter(folder) as records:
            records.add(history, outcomes(history, settings))
    """

    def __init__(self, folder: Path) -> None:
        self._candidates = _Table(folder, "candidates", CANDIDATES)
        self._scores = _Table(folder, "scores", SCORES)
        self._trajectories = _Table(folder, "trajectories", TRAJECTORIES)
        self._judgements = _Table(folder, "judgements", JUDGEMENTS)
        self._winners = _Table(folder, "winners", WINNERS)
        self._tables = (self._candidates, self._scores, self._trajectories, self._judgements, self._winners)

    def add(self, history: History, outcomes: Sequence[Outcome]) -> None:
        """Add the rows of a cohort and its outcomes; cohorts come in their order."""
        rows = max(1, min(ROW_GROUP, _SCORES // len(history.cohort)))
        for first in range(0, len(history.images), rows):
            self._scores.add_table(_scores(history, slice(first, first + rows)), rows=rows)
        for outcome in outcomes:
            for candidate, judgement in _candidate_rows(history, outcome):
                if candidate is not None:
                    self._candidates.add(candidate)
                self._judgements.add(judgement)
            self._trajectories.add(_trajectory_row(history, outcome))
            if outcome.bests:
                self._winners.add(_winner_row(history, outcome))

    def __enter__(self) -> "RecordsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for table in self._tables:
                    table.finish()
                for table in self._tables:
                    table.appear()
        finally:
            for table in self._tables:
                table.forget()


class _Table:
    """One Parquet file in the making."""

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        self._path, self._temporary = folder / f"{name}.parquet", folder / f".{name}.parquet.tmp"
        # Text repeats, scores do not: a dictionary of them is as long as they are, and more memory.
        text = [path for path, kind in map(_leaf, schema) if pa.types.is_string(kind)]
        self._writer = pq.ParquetWriter(self._temporary, schema, compression="zstd", use_dictionary=text)
        self._rows: list[dict[str, Any]] = []
        self._parts: list[pa.Table] = []

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def add_table(self, table: pa.Table, *, rows: int) -> None:
        """Rows that are an Arrow table already, in row groups of so many; a table has either those or single rows."""
        self._parts.append(table)
        if sum(map(len, self._parts)) >= rows:
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
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._writer.schema))
            self._rows.clear()
        if self._parts:
            self._writer.write_table(pa.concat_tables(self._parts))
            self._parts.clear()


def _leaf(field: pa.Field) -> tuple[str, pa.DataType]:
    """A column's path as Parquet calls it, and the type of its values."""
    if pa.types.is_list(field.type):
        return f"{field.name}.list.element", field.type.value_type
    return field.name, field.type


def _identity(trajectory: Trajectory) -> dict[str, Any]:
    return {
        "trajectory_id": trajectory.id,
        "user": trajectory.user,
        "prompt_id": trajectory.prompt_id,
        "run": trajectory.run,
        "scorer": trajectory.scorer,
    }


def _scores(history: History, some: slice) -> pa.Table:
    """A row for each of some images. Lists of users are one array of places in a dictionary, not a string a score."""
    cohort, images = history.cohort, history.images[some]
    count, users = len(images), len(cohort)
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * users)
    names = pa.DictionaryArray.from_arrays(pa.array(np.tile(np.arange(users, dtype=np.int32), count)), cohort.users)
    columns = {
        "image": [image.key for image in images],
        "prompt": [image.prompt for image in images],
        "prompt_id": [cohort.prompt_id] * count,
        "run": pa.array([cohort.run] * count, pa.int32()),
        "scorer": [cohort.scorer] * count,
        "iteration": pa.array([image.iteration for image in images], pa.int32()),
        "proposed_for": [image.proposed_for for image in images],
        "users": pa.ListArray.from_arrays(offsets, names.cast(pa.string())),
        "scores": pa.ListArray.from_arrays(offsets, pa.array(history.scores[:, some].T.ravel())),
    }
    return pa.table(columns).cast(SCORES)


def _candidate_rows(history: History, outcome: Outcome) -> Iterator[tuple[dict[str, Any] | None, dict[str, Any]]]:
    """Pairs of a row of candidates.parquet, None where nothing was to be rendered, and one of judgements.parquet."""
    user = outcome.trajectory.user
    bests, identity = history.bests[:, history.cohort.row_of_user[user]], _identity(outcome.trajectory)
    for finished, proposals in history.proposed_for(user):
        number = 0
        for candidate in proposals.candidates:
            where = identity | {"iteration": finished.number, "prompt": candidate.prompt}
            row = None
            if candidate.image is not None or candidate.error is not None:
                where["candidate"] = number
                number += 1
                column = NONE if candidate.error is not None else history.column_of_image[str(candidate.image)]
                row = where | {
                    "seed": outcome.trajectory.image_seed,
                    "image": candidate.image,
                    "score": history.score(user, candidate),
                    "best": bool(column != NONE and column == bests[finished.number]),
                }
            yield row, where | _judgement(history, candidate)


def _judgement(history: History, candidate: Candidate) -> dict[str, Any]:
    verdict = history.verdicts.get(str(candidate.image), GuardVerdict())
    rejected = candidate.rejected or verdict.rejected
    return {
        "preview_image": candidate.preview,
        "preview_score": candidate.preview_score,
        "warnings": [str(warning) for warning in (*candidate.warnings, *verdict.warnings)],
        "rejected": rejected and str(rejected),
        "error": candidate.error or verdict.error,
        **{name: verdict.measured.get(name) for name in (HELD_OUT, SATURATION, SHARPNESS, SUBJECT)},
    }


def _winner_row(history: History, outcome: Outcome) -> dict[str, Any]:
    initial, final = outcome.bests[0], outcome.bests[-1]
    row = _identity(outcome.trajectory) | {
        "final_prompt": final.prompt,
        "final_image": final.image,
        "warnings": [str(warning) for warning in outcome.warnings],
        "initial_held_out": initial.verdict.measured.get(HELD_OUT),
        "final_held_out": final.verdict.measured.get(HELD_OUT),
        "preview_agreement": agreement(history, outcome.trajectory.user),
    }
    if (again := outcome.reseeded) is not None:
        row |= {
            "fresh_seeds": list(again.seeds),
            "initial_images": [image.image for image in again.initial],
            "final_images": [image.image for image in again.final],
        }
        row["initial_mean"], row["final_mean"] = (None if math.isnan(mean) else mean for mean in again.means)
    return row


def _trajectory_row(history: History, outcome: Outcome) -> dict[str, Any]:
    bests, user = outcome.bests, outcome.trajectory.user
    row = _identity(outcome.trajectory) | {
        "initial_prompt": outcome.trajectory.base_prompt,
        "iterations": max(0, outcome.searched - 1),
        "renders": sum(c.image is not None for _, p in history.proposed_for(user) for c in p.candidates),
        "stop_reason": outcome.stopped_by,
    }
    for part, best in (("initial", bests[0]), ("final", bests[-1])) if bests else ():
        row |= {f"{part}_prompt": best.prompt, f"{part}_image": best.image, f"{part}_score": best.score}
    if bests:
        row["final_proposed_for"] = bests[-1].proposed_for
    return row
