"""journal.jsonl: what has happened, one line for each finished iteration of one trajectory.

Append-only and forced to the disk before the search goes on; it is the only thing that `--resume`
replays. A process that is killed while it writes leaves a torn last line, which is dropped. Anything
else that does not read back is an error: a journal that was edited is not a record.
"""

import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from pipelines.image_store import sync_folder
from pipelines.search import Candidate, Iteration


class JournalError(ValueError):
    """A line that was written whole does not read back."""


class Journal:
    """The journal of one run folder, open for appending. The driver is its only writer."""

    def __init__(self, path: Path) -> None:
        """Open the journal, dropping a torn last line for good."""
        self._turn = Lock()
        self._whole = _whole_length(path)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(self._whole)
        sync_folder(path.parent)

    def append(self, trajectory_id: str, iteration: Iteration) -> None:
        """Write one line; returns once it would survive a power failure.

        Raises
        ------
        OSError
            The disk is full or broken; the line is then not in the journal.
        """
        line = json.dumps({"trajectory": trajectory_id, **asdict(iteration)}, ensure_ascii=False).encode() + b"\n"
        with self._turn:
            try:
                rest = memoryview(line)
                while rest:
                    rest = rest[self._file.write(rest) :]
                os.fsync(self._file.fileno())
            except OSError:
                os.ftruncate(self._file.fileno(), self._whole)
                raise
            self._whole += len(line)

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
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
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
        trajectory_id = values.pop("trajectory")
        candidates = tuple(Candidate(**candidate) for candidate in values.pop("candidates"))
        texts, scores = (trajectory_id, *(c.prompt for c in candidates)), (c.score for c in candidates)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name or a prompt is not text")
        if not all(isinstance(score, int | float | None) for score in scores):
            raise TypeError("a score is not a number")
        seeds = tuple(values.pop("seeds"))
        if not all(isinstance(seed, int) for seed in seeds):
            raise TypeError("a seed is not a whole number")
        return trajectory_id, Iteration(candidates=candidates, seeds=seeds, **values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise JournalError(f"{where}: not a line of a journal: {error}") from error


def _whole_length(path: Path) -> int:
    """Bytes up to and including the last line break."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            position = start
    return 0
