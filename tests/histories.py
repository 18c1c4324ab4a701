"""Histories made by hand, for tests of what reads them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipelines.records.outcomes import Best, Outcome, outcomes
from pipelines.records.tables import RecordsWriter
from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.rounds import Candidate, GuardVerdict, Proposed, Round, new_images
from pipelines.search.state_machine import StopReason
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings


def outcome_of(
    trajectory: Trajectory, *bests: Best, stop_reason: StopReason = StopReason.ITERATIONS, failure: str | None = None
) -> Outcome:
    """A trajectory that had these bests, round by round."""
    return Outcome(trajectory=trajectory, bests=bests, searched=len(bests), stop_reason=stop_reason, failure=failure)


def best(prompt: str, image: str, score: float, proposed_for: str = "*") -> Best:
    """A best image without anything to say against it."""
    return Best(prompt=prompt, image=image, score=score, proposed_for=proposed_for, verdict=GuardVerdict(), warnings=())


Scored = tuple[Sequence[str], Sequence[tuple[Candidate, Sequence[float]]]]
"""For whom candidates were proposed, and the candidates with everybody's scores of each."""


def pooled_history(cohort: Cohort, *rounds: Sequence[Scored]) -> History:
    """The history of a cohort of several users."""
    history = History(cohort)
    for number, scored in enumerate(rounds):
        proposed = [
            Proposed(users=tuple(users), candidates=tuple(c for c, _ in found), shared=not number)
            for users, found in scored
        ]
        scores = {candidate.image: values for _, found in scored for candidate, values in found}
        new = [candidate.image for candidate, _ in new_images(proposed, history.column_of_image.keys())]
        columns = np.array([scores[image] for image in new], np.float32).T
        history.append(Round(number=number, proposed=tuple(proposed), scores=columns))
    return history


def history_of_one(trajectory: Trajectory, *rounds: Sequence[tuple[Candidate, float | None]]) -> History:
    """The history of a cohort of one user: of each round, the candidates with their scores; None: no score."""
    history = History(Cohort(trajectory.id, (trajectory,)))
    for number, scored in enumerate(rounds):
        proposed = Proposed(users=(trajectory.user,), candidates=tuple(c for c, _ in scored), shared=not number)
        scores = {candidate.image: np.nan if score is None else score for candidate, score in scored}
        new = [candidate.image for candidate, _ in new_images([proposed], history.column_of_image.keys())]
        row = np.array([[scores[image] for image in new]], np.float32)
        history.append(Round(number=number, proposed=(proposed,), scores=row))
    return history


def write_records(histories: Iterable[History], settings: SearchSettings, folder: Path) -> None:
    """The tables of a run, written at once."""
    with RecordsWriter(folder) as records:
        for history in histories:
            records.add(history, outcomes(history, settings))
