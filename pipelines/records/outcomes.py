"""What became of each trajectory, as far as it is recorded: its bests, its gain, and why it stopped.

Pure functions of the recorded histories; tables, gallery and all other reports are made of these outcomes.
"""

from dataclasses import dataclass

from pipelines.search.history import NONE, History
from pipelines.search.notices import Notice
from pipelines.search.rounds import GuardVerdict, Reseeded
from pipelines.search.state_machine import Stop, StopReason, next_step
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """A user's best image after some round."""

    prompt: str
    image: str
    score: float
    proposed_for: str
    """As in scores.parquet."""
    verdict: GuardVerdict
    warnings: tuple[Notice, ...]
    """The guards', about its prompt and its image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One trajectory as far as it is recorded, without the candidates that never were its best."""

    trajectory: Trajectory
    bests: tuple[Best, ...]
    """The best after each iteration; empty where not even the base prompt has a score."""
    searched: int
    """Rounds of the search itself, without those of the reseed guard."""
    stop_reason: StopReason
    failure: str | None = None
    """What failed, where it has failed."""
    reseeded: Reseeded | None = None
    """The final image's prompt with fresh seeds."""

    @property
    def finished(self) -> bool:
        """Whether the search has come to its end."""
        return self.stop_reason.is_end

    @property
    def stopped_by(self) -> str:
        """The stop reason as trajectories.parquet has it, with the failure where there is one."""
        return self.stop_reason.value if self.failure is None else f"{self.stop_reason}: {self.failure}"

    @property
    def search_bests(self) -> tuple[Best, ...]:
        """The best after each iteration of the search itself, before the reseed guard; the last choice of a person."""
        return self.bests if self.stop_reason is StopReason.CHOSEN else self.bests[: self.searched]

    @property
    def warnings(self) -> list[Notice]:
        """The guards' warnings about the final image."""
        again = self.reseeded.warnings if self.reseeded else ()
        return [*(self.bests[-1].warnings if self.bests else ()), *again]

    @property
    def gain(self) -> float | None:
        """How much the score rose from the base prompt to the best; None where the base prompt has no score."""
        return self.bests[-1].score - self.bests[0].score if self.bests else None


def outcomes(history: History, settings: SearchSettings, failure: str | None = None) -> list[Outcome]:
    """What became of each trajectory of a cohort; `failure` is that of the whole cohort, where it has failed."""
    step = next_step(history, settings)
    reasons = step.reasons if isinstance(step, Stop) else (StopReason.UNFINISHED,) * len(history.cohort)
    found = []
    for row, (trajectory, reason) in enumerate(zip(history.cohort.trajectories, reasons, strict=True)):
        why = failure or history.failure(row)
        bests = tuple(_best(history, row, column) for column in history.bests[:, row] if column != NONE)
        every = history.reseeded(trajectory.user)
        found.append(
            Outcome(
                trajectory=trajectory,
                bests=bests,
                searched=history.searched,
                stop_reason=StopReason.FAILED if why is not None else reason,
                failure=why,
                reseeded=next((each for each in every if bests and each.prompt == bests[-1].prompt), None),
            )
        )
    return found


def _best(history: History, row: int, column: int) -> Best:
    image = history.images[column]
    verdict = history.verdicts.get(image.key, GuardVerdict())
    return Best(
        prompt=image.prompt,
        image=image.key,
        score=float(history.scores[row, column]),
        proposed_for=image.proposed_for,
        verdict=verdict,
        warnings=(*image.warnings, *verdict.warnings),
    )
