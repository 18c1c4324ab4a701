"""What the journal holds of each cohort, without holding all of it in memory.

The journal is read twice: once for the byte at which each line begins, then cohort by cohort, whatever the order in
which the lines were written. Memory grows with one cohort, and by eight bytes a line.
"""

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from pipelines.records.journal import JournalError, check_turn, parse, unknown, whole_length
from pipelines.search.cohort import Cohort, cohorts, next_round, resolve_pooled
from pipelines.search.state_machine import BasePromptFailedError, Stop, next_step
from pipelines.search.trajectory import Iteration, Trajectory
from pipelines.settings.search import SearchSettings

_BEGINS = b'{"trajectory": '


@dataclass(frozen=True, slots=True)
class FirstRound:
    """The first proposals for a prompt, which all its users share."""

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a run has still to do, and what of it is recorded already."""

    histories: dict[str, list[Iteration]] = field(default_factory=dict)
    """Of each member of the cohorts that are not done, by trajectory id, in the order of the trajectories."""
    first_rounds: dict[tuple[str, int], FirstRound] = field(default_factory=dict)
    """By prompt id and run, where first rounds are shared."""


def unfinished(path: Path, trajectories: Sequence[Trajectory], protocol: SearchSettings) -> Unfinished:
    """The cohorts that have not come to their end, and what of them is recorded.

    Raises
    ------
    JournalError
        A whole line is not valid, out of turn, or of a trajectory that the run does not have.
    """
    left = Unfinished()
    for cohort, histories in by_cohort(path, trajectories, protocol):
        for member in cohort:
            if protocol.shares_first_round and len(histories[member.id]) > 1:
                left.first_rounds.setdefault((member.prompt_id, member.run), _first_round(histories[member.id][1]))
        try:
            done = not next_round(cohort, histories, protocol)
        except BasePromptFailedError as error:
            raise JournalError(f"{path}: {cohort[0].id!r} begins without a score: {error}") from error
        if done:
            _check_ends(path, cohort, histories, protocol)
        else:
            left.histories.update(histories)
    return left


def in_order(
    path: Path, trajectories: Sequence[Trajectory], protocol: SearchSettings
) -> Iterator[tuple[Trajectory, list[Iteration]]]:
    """Each trajectory with its history.

    Raises
    ------
    JournalError
        As `unfinished`.
    """
    for cohort, histories in by_cohort(path, trajectories, protocol):
        yield from ((member, histories[member.id]) for member in cohort)


def by_cohort(
    path: Path, trajectories: Sequence[Trajectory], protocol: SearchSettings
) -> Iterator[tuple[Cohort, dict[str, list[Iteration]]]]:
    """Each cohort with its members' histories, in the order of the trajectories.

    Raises
    ------
    JournalError
        As `unfinished`.
    """
    places = _places(path, {trajectory.id: array("q") for trajectory in trajectories})
    if not path.exists():
        yield from ((cohort, {member.id: [] for member in cohort}) for cohort in cohorts(trajectories, protocol.share))
        return
    with path.open("rb") as file:
        for cohort in cohorts(trajectories, protocol.share):
            histories = {member.id: list(_history(path, file, member, places[member.id])) for member in cohort}
            _fill_in_prompts(path, cohort, histories)
            yield cohort, histories


def _history(path: Path, file: BinaryIO, member: Trajectory, places: "array[int]") -> Iterator[Iteration]:
    for due, place in enumerate(places):
        file.seek(place)
        where = f"{path}, byte {place}"
        trajectory_id, iteration = parse(where, file.readline())
        check_turn(where, trajectory_id, iteration, due)
        yield iteration


def _fill_in_prompts(path: Path, cohort: Cohort, histories: dict[str, list[Iteration]]) -> None:
    """Give pooled candidates the prompts and images of their owners' lines."""
    for member in cohort:
        history = histories[member.id]
        for number, iteration in enumerate(history):
            if not iteration.pooled:
                continue
            rounds = {o.user: histories[o.id][number] for o in cohort if len(histories[o.id]) > number}
            try:
                history[number] = replace(iteration, pooled=resolve_pooled(iteration.pooled, rounds))
            except (KeyError, IndexError) as error:
                raise JournalError(
                    f"{path}: iteration {number} of {member.id!r} has an image that its owner has not: {error}"
                ) from error


def _first_round(iteration: Iteration) -> FirstRound:
    prompts = tuple(candidate.prompt for candidate in iteration.candidates)
    return FirstRound(prompts, iteration.seeds, iteration.refused)


def _check_ends(path: Path, cohort: Cohort, histories: Mapping[str, list[Iteration]], protocol: SearchSettings) -> None:
    """A trajectory that is a cohort of its own has no line after it has stopped."""
    if len(cohort) == 1:
        history = histories[cohort[0].id]
        if any(isinstance(next_step(history[:end], protocol), Stop) for end in range(1, len(history))):
            raise JournalError(f"{path}: {cohort[0].id!r} goes on after its end; the journal was edited or mixed up")


def _places(path: Path, places: "dict[str, array[int]]") -> "Mapping[str, array[int]]":
    """The byte at which each line of each trajectory begins."""
    if not path.exists():
        return places
    whole, place = whole_length(path), 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if place + len(line) > whole:
                break
            where = f"{path}, line {number}"
            trajectory_id = _trajectory_of(where, line)
            if trajectory_id not in places:
                raise unknown(where, trajectory_id)
            places[trajectory_id].append(place)
            place += len(line)
    return places


def _trajectory_of(where: str, line: bytes) -> str:
    if line.startswith(_BEGINS):
        try:
            name, _ = json.JSONDecoder().raw_decode(line[len(_BEGINS) :].decode())
        except ValueError as error:
            raise JournalError(f"{where}: not a line of a journal: {error}") from error
        if isinstance(name, str):
            return name
    return parse(where, line)[0]
