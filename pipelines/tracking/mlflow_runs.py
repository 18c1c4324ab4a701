"""Runs in MLflow, where MLFLOW_TRACKING_URI says: a server, or a database or folder on this machine."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pipelines.tracking.tracker import Beginning

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

Entity = TypeVar("Entity")

_KEY = "pamela_steer_run"
_MOST_AT_ONCE = 100
_LONGEST_PARAM = 6000
_NOT_IN_NAMES = re.compile(r"[^\w./ -]")


class MLflowRuns:
    """A run of the experiment that is called like the project."""

    _client: "MlflowClient"
    _id: str

    def begin(self, run: Beginning) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        experiment = self._client.get_experiment_by_name(run.project)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(run.project)
        if known := self._client.search_runs([experiment_id], f"tags.{_KEY} = '{run.key}'"):
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        made = self._client.create_run(experiment_id, run_name=run.folder.resolve().name, tags={_KEY: run.key})
        self._id = made.info.run_id
        params = [Param(_name(key), str(value)[:_LONGEST_PARAM]) for key, value in run.params.items()]
        for some in _batches(params):
            self._client.log_batch(self._id, params=some)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._client.log_batch(self._id, metrics=list(_metrics(values, step)))

    def end(self, summary: Mapping[str, float], files: Sequence[Path], *, succeeded: bool) -> None:
        for some in _batches(_metrics(summary, 0)):
            self._client.log_batch(self._id, metrics=some)
        for file in files:
            self._client.log_artifact(self._id, str(file))
        self._client.set_terminated(self._id, "FINISHED" if succeeded else "FAILED")


def _batches(values: Iterable[Entity]) -> Iterator[list[Entity]]:
    """As many at a time as a server takes."""
    rest = iter(values)
    while some := list(islice(rest, _MOST_AT_ONCE)):
        yield some


def _metrics(values: Mapping[str, float], step: int) -> "Iterator[Metric]":
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return (Metric(_name(key), value, now, step) for key, value in values.items())


def _name(key: str) -> str:
    """A key with nothing in it that MLflow refuses."""
    return _NOT_IN_NAMES.sub("_", key)
