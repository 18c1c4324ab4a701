"""journal.jsonl: one line for each finished iteration of each trajectory. It is all that `--resume` replays.

The file is append-only, and is forced to the disk before the search goes on. The lines of one round of a cohort are
written at once, and each says how many follow it. A process that is killed while it writes leaves a torn last line, or
a round that is not whole; both are dropped. Any other line that does not read back is an error, because a journal that
was edited is no record.

Of an image that another user's trajectory rendered, a line holds the owner, the place and the score, but no prompt:
`parse` leaves it empty, and `pipelines.records.replay` takes it from the owner's line of the same iteration.
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from pipelines.search.notices import Check, Notice
from pipelines.search.trajectory import Candidate, Iteration, Reseeded
from predictor.data.folders import sync_folder

_FOLLOW = re.compile(rb', "follow": (\d+)\}\n$')


class JournalError(ValueError):
    """A line that was written whole does not read back."""


class Journal:
    """The journal of one run folder, open for appending. The driver is its only writer."""

    def __init__(self, path: Path) -> None:
        """Open the journal, dropping a torn last line for good."""
        self._turn = Lock()
        self._whole = whole_length(path)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(self._whole)
        sync_folder(path.parent)

    def append(self, *entries: tuple[str, Iteration]) -> None:
        """Write the lines of one round, all or none; returns once they would survive a power failure.

        Raises
        ------
        OSError
            The disk is full or broken; none of the lines is then in the journal.
        """
        last = len(entries) - 1
        lines = b"".join(_line(name, iteration, last - number) for number, (name, iteration) in enumerate(entries))
        with self._turn:
            try:
                rest = memoryview(lines)
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                os.ftruncate(self._file.fileno(), self._whole)
                raise
            self._whole += len(lines)

    def close(self) -> None:
        """After a line that is being written: its thread outlives the task that waited for it."""
        with self._turn:
            self._file.close()


def entries(path: Path, trajectory_ids: Collection[str]) -> Iterator[tuple[str, Iteration]]:
    """What is recorded, line by line: trajectory id and iteration.

    Raises
    ------
    JournalError
        A whole line is not valid, out of turn, or of a trajectory that the run does not have.
    """
    if not path.exists():
        return
    due: dict[str, int] = dict.fromkeys(trajectory_ids, 0)
    whole = whole_length(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if (whole := whole - len(line)) < 0:
                break
            where = f"{path}, line {number}"
            trajectory_id, iteration = parse(where, line)
            if trajectory_id not in due:
                raise unknown(where, trajectory_id)
            check_turn(where, trajectory_id, iteration, due[trajectory_id])
            due[trajectory_id] += 1
            yield trajectory_id, iteration


def replay(path: Path, trajectory_ids: Iterable[str]) -> dict[str, list[Iteration]]:
    """The recorded history of each trajectory, all at once; empty for those without a line.

    Raises
    ------
    JournalError
        As `entries`.
    """
    histories: dict[str, list[Iteration]] = {trajectory_id: [] for trajectory_id in trajectory_ids}
    for trajectory_id, iteration in entries(path, histories.keys()):
        histories[trajectory_id].append(iteration)
    return histories


def unknown(where: str, trajectory_id: str) -> JournalError:
    return JournalError(f"{where}: trajectory {trajectory_id!r} is not one of this run")


def check_turn(where: str, trajectory_id: str, iteration: Iteration, due: int) -> None:
    if iteration.number != due:
        raise JournalError(
            f"{where}: iteration {due} of {trajectory_id!r} is due, got {iteration.number}; "
            "the journal was edited or mixed up"
        )


def parse(where: str, line: bytes) -> tuple[str, Iteration]:
    """Read a line back; `where` it stands is for the error."""
    try:
        values: dict[str, Any] = json.loads(line)
        values.pop("follow", None)
        trajectory_id = values.pop("trajectory")
        candidates = tuple(_candidate(values) for values in values.pop("candidates"))
        pooled = tuple(
            _candidate({"prompt": "", "origin": (user, int(place)), **_fields(recorded)})
            for user, places in values.pop("pooled", {}).items()
            for place, recorded in places.items()
        )
        reseeded = _reseeded(values.pop("reseeded")) if "reseeded" in values else None
        if not isinstance(trajectory_id, str):
            raise TypeError("a name is not text")
        seeds = _seeds(values.pop("seeds"))
        iteration = Iteration(candidates=candidates, seeds=seeds, pooled=pooled, reseeded=reseeded, **values)
        return trajectory_id, iteration
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise JournalError(f"{where}: not a line of a journal: {error}") from error


def whole_length(path: Path) -> int:
    """Bytes up to and including the last line of the last round that is whole."""
    if not path.exists():
        return 0
    whole = position = 0
    with path.open("rb") as file:
        for line in file:
            position += len(line)
            if line.endswith(b"\n") and not follow(line):
                whole = position
    return whole


def follow(line: bytes) -> int:
    """How many lines of the same round come after this one."""
    found = _FOLLOW.search(line, max(0, len(line) - 32))
    return int(found[1]) if found else 0


def _line(trajectory_id: str, iteration: Iteration, following: int) -> bytes:
    values: dict[str, Any] = {
        "trajectory": trajectory_id,
        "number": iteration.number,
        "candidates": [_as_recorded(candidate) for candidate in iteration.candidates],
        "seeds": iteration.seeds,
        "refused": dict(iteration.refused),
    }
    if iteration.pooled:
        values["pooled"] = _by_owner(iteration.pooled)
    if (again := iteration.reseeded) is not None:
        rendered = {part: [_as_recorded(c) for c in getattr(again, part)] for part in ("initial", "final")}
        values["reseeded"] = asdict(again) | rendered
    if following:
        values["follow"] = following
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


_ALWAYS = ("prompt", "image", "score", "error")
_DEFAULTS = asdict(Candidate(prompt=""))


def _as_recorded(candidate: Candidate) -> dict[str, Any]:
    """A candidate's fields; those with their default are left out."""
    values = asdict(candidate)
    return {name: value for name, value in values.items() if name in _ALWAYS or value != _DEFAULTS[name]}


def _by_owner(pooled: Iterable[Candidate]) -> dict[str, dict[str, Any]]:
    """Owner -> place -> what is recorded; a bare number where that is a score and nothing else."""
    owners: dict[str, dict[str, Any]] = {}
    for candidate in pooled:
        assert candidate.origin is not None
        user, place = candidate.origin
        owned = ("prompt", "image", "origin")
        values = {k: value for k, value in _as_recorded(candidate).items() if k not in owned and value is not None}
        owners.setdefault(user, {})[str(place)] = values["score"] if values.keys() == {"score"} else values
    return owners


def _fields(recorded: float | Mapping[str, Any]) -> Mapping[str, Any]:
    return {"score": recorded} if isinstance(recorded, int | float) else recorded


def _candidate(values: Mapping[str, Any]) -> Candidate:
    candidate = Candidate(**{**values, **_notices(values)})
    if not all(isinstance(text, str) for text in (candidate.prompt, candidate.image or "")):
        raise TypeError("a prompt is not text")
    numbers = (candidate.score, candidate.preview_score, *candidate.measured.values())
    if not all(isinstance(number, int | float | None) for number in numbers):
        raise TypeError("a score is not a number")
    return candidate


def _reseeded(values: dict[str, Any]) -> Reseeded:
    rendered = {part: tuple(map(_candidate, values.pop(part))) for part in ("initial", "final")}
    return Reseeded(**{**values, **rendered, **_notices(values), "seeds": _seeds(values["seeds"])})


def _notices(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `warnings` and `rejected` of a candidate, or of what became of it with fresh seeds."""
    rejected = values.get("rejected")
    return {
        "warnings": tuple(map(_notice, values.get("warnings", ()))),
        "rejected": None if rejected is None else _notice(rejected),
    }


def _notice(values: Any) -> Notice:
    if not isinstance(values, Mapping):
        raise TypeError(f"a notice is not a mapping, got {values!r}; an earlier version wrote it: start a new run")
    notice = Notice(**{**values, "check": Check(values["check"])})
    if not all(isinstance(number, int | float) for number in (notice.measured, notice.limit)):
        raise TypeError("what a check measured is not a number")
    return notice


def _seeds(values: Iterable[Any]) -> tuple[int, ...]:
    seeds = tuple(values)
    if not all(isinstance(seed, int) for seed in seeds):
        raise TypeError("a seed is not a whole number")
    return seeds
