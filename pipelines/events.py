"""What happens in a run, as `pipelines.steer` tells it."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.trajectory import Trajectory


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """Another image was rendered; `images` counts those of this start of the run."""

    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFinished:
    """A round is in the journal; `searching` of its users go on to the next one. Round 0 renders the base prompt."""

    prompt_id: str
    scorer: str
    run: int
    users: tuple[str, ...]
    round: int
    searching: int
    best_scores: tuple[float, ...]
    """Of each user so far, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryFinished:
    """A user's search for a prompt has ended, with this gain in score over the prompt as written."""

    trajectory_id: str
    user: str
    prompt_id: str
    scorer: str
    run: int
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrajectoryFailed:
    """A user's search for a prompt cannot go on, and why."""

    trajectory_id: str
    user: str
    prompt_id: str
    scorer: str
    run: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something that does not end the run, but that its owner should know."""

    warning: str


Event = Rendered | RoundFinished | TrajectoryFinished | TrajectoryFailed | Warned


class EventObserver:
    """Passes on what the driver tells, as events."""

    def __init__(self, pass_on: Callable[[Event], None]) -> None:
        self._pass_on = pass_on
        self._images = 0

    def begun(self, cohort: Cohort, rounds: int) -> None:
        pass

    def rendered(self, key: str) -> None:
        self._images += 1
        self._pass_on(Rendered(images=self._images))

    def round_done(self, history: History, searching: int) -> None:
        cohort = history.cohort
        self._pass_on(
            RoundFinished(
                prompt_id=cohort.prompt_id,
                scorer=cohort.scorer,
                run=cohort.run,
                users=cohort.users,
                round=len(history.rounds) - 1,
                searching=searching,
                best_scores=tuple(map(float, history.best_scores)),
            )
        )

    def over(self, cohort: Cohort) -> None:
        pass

    def finished(self, trajectory: Trajectory, gain: float) -> None:
        t = trajectory
        self._pass_on(
            TrajectoryFinished(
                trajectory_id=t.id, user=t.user, prompt_id=t.prompt_id, scorer=t.scorer, run=t.run, gain=gain
            )
        )

    def failed(self, trajectory: Trajectory, reason: str) -> None:
        t = trajectory
        self._pass_on(
            TrajectoryFailed(
                trajectory_id=t.id, user=t.user, prompt_id=t.prompt_id, scorer=t.scorer, run=t.run, reason=reason
            )
        )

    def warned(self, warning: str) -> None:
        self._pass_on(Warned(warning=warning))
