"""A run as its trackers get it: settings at its beginning, scores round by round, costs and gallery at its end.

Trackers are called from a thread of their own, so the driver never waits for them. Invariant: no tracker changes a run
or its exit status. One that fails gets nothing more, and that is a line on the screen and in run.log.
"""

import logging
import math
import queue
import secrets
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from pipelines.records.run_folder import RunFolder
from pipelines.search.cohort import Cohort
from pipelines.search.history import History
from pipelines.search.trajectory import Trajectory
from pipelines.tracking.tracker import Beginning, Tracker
from predictor.error_messages import type_and_last_line

logger = logging.getLogger(__name__)

_TIMEOUT_S = 120.0
"""How long trackers may take for the calls that are left when a run has ended."""

_TrackerCall = Callable[[Tracker], None]


class TrackedRun:
    """An observer that passes on what it observes to trackers; without any, it does nothing.

    Example:

        run = TrackedRun({"wandb": WeightsAndBiases()}, "pamela-steer", print)
    """

    def __init__(self, trackers: Mapping[str, Tracker], project: str, report_problem: Callable[[str], None]) -> None:
        self._trackers = dict(trackers)
        self._project = project
        self._report_problem = report_problem
        self._calls: queue.SimpleQueue[tuple[str, _TrackerCall] | None] = queue.SimpleQueue()
        """A tracker's name, and a call of it; None: no more."""
        self._thread: threading.Thread | None = None
        self._folder: RunFolder | None = None
        self._rounds = self._images = self._failed = 0
        self._gains: defaultdict[str, list[float]] = defaultdict(list)

    def begin(self, folder: RunFolder, params: Mapping[str, Any]) -> None:
        """Open the run in each tracker, or go on with it under the key that its folder keeps."""
        if not self._trackers:
            return
        self._folder = folder
        self._rounds = _lines(folder)
        if "tracked_as" not in folder.about:
            folder.about["tracked_as"] = secrets.token_hex(8)
            folder.save()
        key = folder.about["tracked_as"]
        beginning = Beginning(folder=folder.path, project=self._project, params=params, key=key)
        self._enqueue(lambda tracker: tracker.begin(beginning))
        self._thread = threading.Thread(target=self._make_calls, name="tracking", daemon=True)
        self._thread.start()

    def end(self, *, succeeded: bool) -> None:
        """Close the run in each tracker, and wait until all calls of them are done."""
        if self._thread is None:
            return
        assert self._folder is not None
        about, gallery = self._folder.about, self._folder.path / "gallery.html"
        costs = about.get("costs", [])
        summary = {
            **_numbers(about["counts"], "counts"),
            **_numbers(costs[-1] if costs else {}, "cost"),
            **{f"{scorer}/mean_gain": fmean(gains) for scorer, gains in self._gains.items()},
            "trajectories/failed": self._failed,
        }
        files = [gallery] if gallery.is_file() else []
        self._enqueue(lambda tracker: tracker.end(summary, files, succeeded=succeeded))
        self._calls.put(None)
        self._thread.join(_TIMEOUT_S)
        if self._thread.is_alive():
            self._give_up(", ".join(self._trackers), f"it took longer than {_TIMEOUT_S:g} s")
        self._thread = None

    def begun(self, cohort: Cohort, rounds: int) -> None:
        pass

    def rendered(self, key: str) -> None:
        self._images += 1

    def round_done(self, history: History, searching: int) -> None:
        """Means over the cohort's users of their best score so far, and of its gain over the base prompt's."""
        self._rounds += 1
        scorer, rows = history.cohort.scorer, range(len(history.cohort))
        numbers = {
            f"{scorer}/best_score": _mean(float(score) for score in history.best_scores),
            f"{scorer}/gain": _mean(history.gain(row) for row in rows),
            "round": float(len(history.rounds) - 1),
            "images": float(self._images),
            "searching": float(searching),
        }
        values, step = {name: value for name, value in numbers.items() if value is not None}, self._rounds
        self._enqueue(lambda tracker: tracker.log(values, step))

    def over(self, cohort: Cohort) -> None:
        pass

    def finished(self, trajectory: Trajectory, gain: float) -> None:
        self._gains[trajectory.scorer].append(gain)

    def failed(self, trajectory: Trajectory, reason: str) -> None:
        self._failed += 1

    def warned(self, warning: str) -> None:
        pass

    def _enqueue(self, call: _TrackerCall) -> None:
        for name in tuple(self._trackers):
            self._calls.put((name, call))

    def _make_calls(self) -> None:
        while (following := self._calls.get()) is not None:
            name, call = following
            tracker = self._trackers.get(name)
            if tracker is None:
                continue
            try:
                call(tracker)
            except Exception as error:  # clients raise dozens of kinds, none of which is the run's
                logger.info("tracking: %s failed", name, exc_info=True)
                del self._trackers[name]
                self._give_up(name, type_and_last_line(error))

    def _give_up(self, names: str, reason: str) -> None:
        line = f"tracking: {names} failed and gets nothing more of this run: {reason}"
        logger.warning("%s", line)
        self._report_problem(line)


def params_of(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by dotted key, lists as text.

    Example:

        params_of({"renderer": {"kind": "darkroom"}}) == {"renderer.kind": "darkroom"}
    """
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= params_of(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = str(value) if isinstance(value, list) else value
    return flat


def _numbers(values: Mapping[str, Any], prefix: str) -> dict[str, float]:
    """The numbers in nested values, by path."""
    found: dict[str, float] = {}
    for key, value in values.items():
        path = f"{prefix}/{key}"
        if isinstance(value, Mapping):
            found |= _numbers(value, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[path] = float(value)
    return found


def _mean(values: Iterator[float]) -> float | None:
    """Of those that are finite; None where none is."""
    finite: Sequence[float] = [value for value in values if math.isfinite(value)]
    return fmean(finite) if finite else None


def _lines(folder: RunFolder) -> int:
    """Rounds that are in the journal already."""
    if not folder.journal.is_file():
        return 0
    with folder.journal.open("rb") as file:
        return sum(1 for _ in file)
