"""journal.jsonl: what has happened, one line for each finished iteration of one trajectory.

Append-only and forced to the disk before the search goes on; it is the only thing that `--resume`
replays. The lines of one round of a cohort are written as one, and each says how many of them follow: a process that is
killed while it writes leaves a round that is not whole, which is dropped, as a torn last line is. Anything
else that does not read back is an error: a journal that was edited is not a record.

A line says of others' images whose they were and which, and how this trajectory's scorer found them: `parse` leaves
their prompts empty, which stand in the owners' lines of the same iteration (`pipelines.records.replay` puts them in).
"""

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from threading import Lock
from typing import Any

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
    """What is recorded, line by line, each iteration with the trajectory that it is of.

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
            _candidate({"prompt": "", "origin": (user, int(place)), **_verdict(found)})
            for user, theirs in values.pop("pooled", {}).items()
            for place, found in theirs.items()
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
        "candidates": [_said(candidate) for candidate in iteration.candidates],
        "seeds": iteration.seeds,
        "refused": dict(iteration.refused),
    }
    if iteration.pooled:
        values["pooled"] = _by_owner(iteration.pooled)
    if iteration.reseeded is not None:
        drawn = {part: [_said(c) for c in getattr(iteration.reseeded, part)] for part in ("initial", "final")}
        values["reseeded"] = asdict(iteration.reseeded) | drawn
    if following:
        values["follow"] = following
    return json.dumps(values, ensure_ascii=False).encode() + b"\n"


_ALWAYS = ("prompt", "image", "score", "error")
_DEFAULTS = asdict(Candidate(prompt=""))


def _said(candidate: Candidate) -> dict[str, Any]:
    """What a line says of a candidate: what is nothing, it leaves out."""
    values = {field.name: getattr(candidate, field.name) for field in fields(candidate)}
    return {name: value for name, value in values.items() if name in _ALWAYS or value != _DEFAULTS[name]}


def _by_owner(pooled: Iterable[Candidate]) -> dict[str, dict[str, Any]]:
    """Whose, which, and what was found: a plain number where that is all there is to say."""
    owners: dict[str, dict[str, Any]] = {}
    for candidate in pooled:
        assert candidate.origin is not None
        user, place = candidate.origin
        known = ("prompt", "image", "origin")
        found = {name: value for name, value in _said(candidate).items() if name not in known and value is not None}
        owners.setdefault(user, {})[str(place)] = found["score"] if found.keys() == {"score"} else found
    return owners


def _verdict(found: float | Mapping[str, Any]) -> Mapping[str, Any]:
    return {"score": found} if isinstance(found, int | float) else found


def _candidate(values: Mapping[str, Any]) -> Candidate:
    candidate = Candidate(**{**values, "warnings": tuple(values.get("warnings", ()))})
    texts = (candidate.prompt, candidate.image or "", candidate.rejected or "", *candidate.warnings)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a prompt is not text")
    numbers = (candidate.score, candidate.preview_score, *candidate.measured.values())
    if not all(isinstance(number, int | float | None) for number in numbers):
        raise TypeError("a score is not a number")
    return candidate


def _reseeded(values: dict[str, Any]) -> Reseeded:
    drawn = {part: tuple(map(_candidate, values.pop(part))) for part in ("initial", "final")}
    seeds, warnings = _seeds(values.pop("seeds")), tuple(values.pop("warnings"))
    return Reseeded(**drawn, seeds=seeds, warnings=warnings, **values)


def _seeds(values: Iterable[Any]) -> tuple[int, ...]:
    seeds = tuple(values)
    if not all(isinstance(seed, int) for seed in seeds):
        raise TypeError("a seed is not a whole number")
    return seeds
