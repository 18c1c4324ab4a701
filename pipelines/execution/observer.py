"""Observers: who is told what the driver does, while it does it. None of them changes a run."""

from typing import Protocol

from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.trajectory import Trajectory


class Observer(Protocol):
    """What the driver tells of a run while it goes on; the progress display is one."""

    def begun(self, cohort: Cohort, rounds: int) -> None: ...
    def rendered(self, key: str) -> None: ...
    def round_done(self, history: History, searching: int) -> None: ...
    def over(self, cohort: Cohort) -> None: ...
    def finished(self, trajectory: Trajectory, gain: float) -> None: ...
    def failed(self, trajectory: Trajectory, reason: str) -> None: ...
    def warned(self, warning: str) -> None: ...


class Observers:
    """Several observers as one: each is told, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def begun(self, cohort: Cohort, rounds: int) -> None:
        for observer in self._observers:
            observer.begun(cohort, rounds)

    def rendered(self, key: str) -> None:
        for observer in self._observers:
            observer.rendered(key)

    def round_done(self, history: History, searching: int) -> None:
        for observer in self._observers:
            observer.round_done(history, searching)

    def over(self, cohort: Cohort) -> None:
        for observer in self._observers:
            observer.over(cohort)

    def finished(self, trajectory: Trajectory, gain: float) -> None:
        for observer in self._observers:
            observer.finished(trajectory, gain)

    def failed(self, trajectory: Trajectory, reason: str) -> None:
        for observer in self._observers:
            observer.failed(trajectory, reason)

    def warned(self, warning: str) -> None:
        for observer in self._observers:
            observer.warned(warning)
