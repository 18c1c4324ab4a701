"""Trackers: services that keep the numbers of many runs side by side; what each gets, and which there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What a tracker gets of a run that begins, or goes on."""

    folder: Path
    project: str
    params: Mapping[str, Any]
    """Settings by dotted key, and how many users and prompts there are; nobody's id."""
    key: str
    """The same whenever the run goes on."""


class Tracker(Protocol):
    """One run, as a tracking service keeps it. Calls come from one thread, and may raise whatever its client does."""

    def begin(self, run: Beginning) -> None:
        """Open the run, or go on with it where the service knows its key."""
        ...

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers after so many rounds of the run."""
        ...

    def end(self, summary: Mapping[str, float], files: Sequence[Path], *, succeeded: bool) -> None:
        """Close the run, with its last numbers and its files."""
        ...


TRACKERS = ("wandb", "mlflow")
"""Names of settings, of packages and of this project's extras alike."""


def check_trackers(names: Sequence[str]) -> None:
    """See that the clients of these trackers are installed.

    Raises
    ------
    ValueError
        One is not; the message says how to install it.
    """
    for name in names:
        if find_spec(name) is None:
            raise ValueError(f"tracking: {name} is not installed; pip install 'pamela-steer[{name}]', or leave it out")


def make_tracker(name: str) -> Tracker:
    """The tracker of a name that is in `TRACKERS`."""
    if name == "wandb":
        from pipelines.tracking.weights_and_biases import WeightsAndBiases

        return WeightsAndBiases()
    from pipelines.tracking.mlflow_runs import MLflowRuns

    return MLflowRuns()
