"""Progress of a run: a bar on a terminal; plain lines where the output is no terminal."""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines.execution.remaining_work import RemainingWork
from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.rounds import Round
from pipelines.search.trajectory import Trajectory
from pipelines.settings.search import SearchSettings

logger = logging.getLogger(__name__)

_PLAIN_EVERY_S = 10.0
_RATE_WINDOW_S = 20.0


class RunProgress:
    """Shows trajectories done and active, renders a second, how busy renderers are, the best gain, and time to go."""

    def __init__(
        self,
        console: Console,
        total: int,
        cohorts: Sequence[Cohort],
        settings: SearchSettings,
        busy: Callable[[], float] | None = None,
    ) -> None:
        """
        Parameters
        ----------
        total
            Trajectories of the whole run.
        cohorts
            Those that are left.
        busy
            The part of the renderers that is at work.
        """
        self._console = console
        self._busy = busy
        self._total, self._done = total, total - sum(map(len, cohorts))
        self._remaining = RemainingWork(cohorts, settings)
        self._active = 0
        self._failed = 0
        self._renders = 0
        self._under_way: set[str | None] = set()
        """Keys of images that were rendered for rounds that are not done."""
        self._steady: tuple[float, int] | None = None
        """When the first round was done, and how many renders there were: until then actors were coming up."""
        self._recent: deque[float] = deque()
        self._best_gain: dict[str, float] = {}
        self._began = self._spoke = time.monotonic()
        self._bar = Progress(
            TextColumn("steering"),
            BarColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("steering", total=total, completed=self._done, status=self.status())
        self._warned: Counter[str] = Counter()

    def begun(self, cohort: Cohort, rounds: int) -> None:
        self._active += len(cohort)
        if rounds:
            self._remaining.round_done(cohort.id, rounds, len(cohort))
        self._show()

    def round_done(self, history: History, searching: int) -> None:
        self._remaining.round_done(history.cohort.id, len(history.rounds), searching)
        self._under_way -= _keys_of(history.rounds[-1])
        self._steady = self._steady or (time.monotonic(), self._renders)
        self._show()

    def rendered(self, key: str) -> None:
        self._renders += 1
        self._under_way.add(key)
        self._recent.append(time.monotonic())
        self._show()

    def finished(self, trajectory: Trajectory, gain: float) -> None:
        self._active -= 1
        self._done += 1
        self._best_gain[trajectory.scorer] = max(self._best_gain.get(trajectory.scorer, 0.0), gain)
        self._show()

    def failed(self, trajectory: Trajectory, reason: str) -> None:
        self._active -= 1
        self._done += 1
        self._failed += 1
        self._console.print(f"failed: {trajectory.id}: {reason}", style="red", markup=False)
        self._show()

    def over(self, cohort: Cohort) -> None:
        self._remaining.over(cohort.id)

    def warned(self, warning: str) -> None:
        self._warned[warning] += 1
        if self._warned[warning] == 1:
            logger.warning("%s", warning)
            self._console.print(f"warning: {warning}", style="yellow", markup=False)

    @property
    def warnings(self) -> list[str]:
        """Each once, with how often it came."""
        return [f"{said} ({count} times)" if count > 1 else said for said, count in self._warned.items()]

    @property
    def states(self) -> dict[str, int]:
        """Trajectories by state."""
        return {"active": self._active, "finished": self._done - self._failed, "failed": self._failed}

    def status(self) -> str:
        elapsed = time.monotonic() - self._began
        self._forget_old_renders()
        rate = len(self._recent) / max(min(elapsed, _RATE_WINDOW_S), 1e-3)
        parts = [f"{self._done}/{self._total} trajectories", f"{self._active} active", f"{self._renders} renders"]
        gains = self._best_gain or {"": 0.0}
        by = {scorer: f" by {scorer}" if len(gains) > 1 else "" for scorer in gains}
        parts += [f"{rate:.0f}/s", *(f"best gain{by[scorer]} {gain:+.2f}" for scorer, gain in gains.items())]
        parts += [f"renderers {self._busy():.0%} busy"] if self._busy else []
        parts += [f"{self._failed} failed"] if self._failed else []
        if self._renders and self._done < self._total:
            parts.append(f"about {self._seconds_left():.0f} s to go")
        return ", ".join(parts)

    def _seconds_left(self) -> float:
        since, before = self._steady or (self._began, 0)
        if self._renders == before:
            since, before = self._began, 0
        images = max(0.0, self._remaining.images - len(self._under_way))
        return images * (time.monotonic() - since) / (self._renders - before)

    def __enter__(self) -> "RunProgress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if not self._console.is_terminal:
            self._console.print(f"steering: {self.status()}", markup=False)

    def _forget_old_renders(self) -> None:
        while self._recent and self._recent[0] < time.monotonic() - _RATE_WINDOW_S:
            self._recent.popleft()

    def _show(self) -> None:
        if self._console.is_terminal:
            self._bar.update(self._task, completed=self._done, status=self.status())
        elif time.monotonic() - self._spoke >= _PLAIN_EVERY_S:
            self._spoke = time.monotonic()
            self._console.print(f"steering: {self.status()}", markup=False)


def _keys_of(done: Round) -> set[str | None]:
    """The images of a round, those with fresh seeds too."""
    fresh = {image.image for again in done.reseeded.values() for image in (*again.initial, *again.final)}
    return fresh | {candidate.image for proposals in done.proposed for candidate in proposals.candidates}
