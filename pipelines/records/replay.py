"""What the journal holds of each cohort, without holding all of it in memory.

The journal is read once for the byte at which each line begins, then cohort by cohort, whatever the order in which the
lines were written. Memory grows with one cohort, and by eight bytes a line.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.records.journal import JournalError, cohort_of, lines, parse
from pipelines.search.cohort import Cohort
from pipelines.search.history import NONE, History
from pipelines.search.rounds import Proposed, Round
from pipelines.search.state_machine import Stop, next_step
from pipelines.settings.search import SearchSettings


@dataclass(frozen=True, slots=True)
class Unfinished:
    """What a run has still to do, and what of it is recorded already."""

    cohorts: list[Cohort] = field(default_factory=list)
    """Those that have not come to their end, in their order."""
    rounds: dict[str, Sequence[Round]] = field(default_factory=dict)
    """What is recorded of each of these, by its id; none where nothing is."""
    first_rounds: dict[tuple[str, int], Proposed] = field(default_factory=dict)
    """By prompt id and run, where first rounds are shared."""


def unfinished(path: Path, cohorts: Sequence[Cohort], settings: SearchSettings) -> Unfinished:
    """The cohorts that have not come to their end, and what of them is recorded.

    Raises
    ------
    JournalError
        A whole line is not valid, out of turn, or of a cohort that the run does not have.
    """
    left = Unfinished()
    for history in in_order(path, cohorts, settings):
        cohort = history.cohort
        if settings.shares_first_round and len(history.rounds) > 1:
            left.first_rounds.setdefault((cohort.prompt_id, cohort.run), history.rounds[1].proposed[0])
        if not isinstance(next_step(history, settings), Stop):
            left.cohorts.append(cohort)
            if history.rounds:
                left.rounds[cohort.id] = history.rounds
    return left


def in_order(path: Path, cohorts: Sequence[Cohort], settings: SearchSettings) -> Iterator[History]:
    """The history of each cohort, one at a time, in the order of the cohorts.

    Raises
    ------
    JournalError
        As `unfinished`.
    """
    places: dict[str, array[int]] = {cohort.id: array("q") for cohort in cohorts}
    for number, (place, line) in enumerate(lines(path), start=1):
        cohort_id = cohort_of(f"{path}, line {number}", line)
        if cohort_id not in places:
            raise JournalError(f"{path}, line {number}: cohort {cohort_id!r} is not one of this run")
        places[cohort_id].append(place)
    for cohort in cohorts:
        yield _history(path, cohort, places[cohort.id], settings)


def _history(path: Path, cohort: Cohort, places: "array[int]", settings: SearchSettings) -> History:
    history = History(cohort)
    if not places:
        return history
    with path.open("rb") as file:
        for place in places:
            where = f"{path}, byte {place}, {cohort.id!r}"
            file.seek(place)
            _, finished = parse(where, file.readline())
            goes_on = history.ends_with_keep or finished.chosen  # a person may go on from whatever a search came to
            if history.rounds and not goes_on and isinstance(next_step(history, settings), Stop):
                raise JournalError(f"{where}: goes on after its end; the journal was edited or mixed up")
            try:
                history.append(finished)
            except (ValueError, KeyError, IndexError) as error:
                raise JournalError(f"{where}: {error}; the journal was edited or mixed up") from error
            if (history.best == NONE).all():
                raise JournalError(f"{where}: begins without a score")
    return history
