"""What the journal holds of each trajectory, without holding it all.

A run that begins or goes on reads the journal once, and keeps only what is not finished: `unfinished`. When the
records are made, `in_order` reads each line once more, trajectory by trajectory, whatever the order in which the lines
were written; for that it keeps the place of each line. Memory grows with the trajectories in flight, and by a few
bytes a line.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.journal import JournalError, check_turn, entries, parse, unknown
from pipelines.search import BasePromptFailedError, Iteration, Protocol, Step, Stop, Trajectory, next_step

_BEGINS = b'{"trajectory": '


def unfinished(path: Path, trajectories: Sequence[Trajectory], protocol: Protocol) -> dict[str, list[Iteration]]:
    """The history of each trajectory that has not come to its end, in the order of the trajectories.

    Raises
    ------
    JournalError
        As `replay`.
    """
    histories: dict[str, list[Iteration]] = {trajectory.id: [] for trajectory in trajectories}
    for trajectory_id, iteration in entries(path, histories.keys()):
        history = histories[trajectory_id]
        if history == [_FINISHED]:
            raise JournalError(f"{path}: {trajectory_id!r} goes on after its end; the journal was edited or mixed up")
        history.append(iteration)
        if isinstance(_next(path, trajectory_id, history, protocol), Stop):
            history.clear()
            history.append(_FINISHED)
    return {name: history for name, history in histories.items() if history != [_FINISHED]}


def _next(path: Path, trajectory_id: str, history: list[Iteration], protocol: Protocol) -> Step:
    try:
        return next_step(history, protocol)
    except BasePromptFailedError as error:
        raise JournalError(f"{path}: {trajectory_id!r} begins without a score: {error}") from error


def in_order(path: Path, trajectories: Sequence[Trajectory]) -> Iterator[tuple[Trajectory, list[Iteration]]]:
    """Each trajectory with its history.

    Raises
    ------
    JournalError
        As `replay`.
    """
    places = _places(path, {trajectory.id: array("q") for trajectory in trajectories})
    if not path.exists():
        yield from ((trajectory, []) for trajectory in trajectories)
        return
    with path.open("rb") as file:
        for trajectory in trajectories:
            history: list[Iteration] = []
            for place in places[trajectory.id]:
                file.seek(place)
                where = f"{path}, byte {place}"
                trajectory_id, iteration = parse(where, file.readline())
                check_turn(where, trajectory_id, iteration, len(history))
                history.append(iteration)
            yield trajectory, history


def _places(path: Path, places: "dict[str, array[int]]") -> "Mapping[str, array[int]]":
    """At which bytes the lines of each trajectory begin; the lines themselves are not read here."""
    if not path.exists():
        return places
    with path.open("rb") as file:
        place = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            where = f"{path}, line {number}"
            trajectory_id = _whose(where, line)
            if trajectory_id not in places:
                raise unknown(where, trajectory_id)
            places[trajectory_id].append(place)
            place += len(line)
    return places


def _whose(where: str, line: bytes) -> str:
    if line.startswith(_BEGINS):
        try:
            name, _ = json.JSONDecoder().raw_decode(line[len(_BEGINS) :].decode())
        except ValueError as error:
            raise JournalError(f"{where}: not a line of a journal: {error}") from error
        if isinstance(name, str):
            return name
    return parse(where, line)[0]


_FINISHED = Iteration(number=-1, candidates=())
"""Stands for a history that nobody needs any more."""
