"""Runs as trackers keep them: MLflow in SQLite, Weights & Biases offline, both by their own clients."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pipelines.records.run_folder import RunFolder
from pipelines.settings.settings import load_settings, reproducibility_key
from pipelines.tracking.mlflow_runs import MLflowRuns
from pipelines.tracking.tracked_run import TrackedRun, params_of
from pipelines.tracking.tracker import TRACKERS, Beginning, check_trackers, make_tracker
from pipelines.tracking.weights_and_biases import WeightsAndBiases
from tests.actors.proposers.chat.service import Scripted, serve
from tests.pipelines.conftest import Steer
from tests.pipelines.console import small

BLOCK, WHOLE, LAST = 32_768, 1, 4
"""Of LevelDB's log: the size of a block, and the kinds of records with which something ends."""


@pytest.fixture(autouse=True)
def nothing_leaves_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database(tmp_path))


def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def client_of(tmp_path: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(database(tmp_path))


def kept(tmp_path: Path) -> list[Any]:
    client = client_of(tmp_path)
    experiment = client.get_experiment_by_name("pamela-steer")
    return [] if experiment is None else client.search_runs([experiment.experiment_id])


def wandb_records(run: Path) -> Iterator[Any]:
    """What an offline run of Weights & Biases holds for `wandb sync`: protocol buffers in a log as LevelDB's."""
    messages: Any = import_module("wandb.proto.wandb_internal_pb2")
    (file,) = (run / "wandb").glob("offline-run-*/run-*.wandb")
    content, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (WHOLE, LAST):
            record = messages.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record


def history(records: list[Any], name: str) -> list[Any]:
    """Every value that was logged under a name."""
    items = [item for record in records for item in record.history.item]
    return [json.loads(item.value_json) for item in items if name in (item.key, "/".join(item.nested_key))]


@pytest.mark.slow  # a whole run, and MLflow makes its database
def test_a_tracked_run_tells_settings_scores_costs_and_gallery_and_nobodys_id(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    done = steer(*small(checkpoint, prompts, out), "--set", "tracking=[wandb, mlflow]")
    assert done.returncode == 0, done.stderr
    about = json.loads((out / "run.json").read_text("utf-8"))
    rounds = (out / "journal.jsonl").read_bytes().count(b"\n")

    (run,) = kept(tmp_path)
    client = client_of(tmp_path)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run")
    assert about["tracked_as"] in run.data.tags.values()
    assert run.data.params["renderer.kind"] == "darkroom"
    assert (run.data.params["users"], run.data.params["prompts"]) == ("4", "2")
    gains = client.get_metric_history(run.info.run_id, "pamela/gain")
    assert [metric.step for metric in gains] == list(range(1, rounds + 1))
    assert all(metric.value >= 0 for metric in gains)
    assert run.data.metrics["cost/renders"] == about["costs"][0]["renders"]
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["gallery.html"]

    records = list(wandb_records(out))
    assert history(records, "rounds") == list(range(1, rounds + 1))
    assert history(records, "pamela/gain") == pytest.approx([metric.value for metric in gains])
    (gallery,) = (out / "wandb").rglob("gallery*.html")
    assert gallery.read_bytes() == (out / "gallery.html").read_bytes()
    told = json.dumps([run.data.params, *map(str, records)])
    assert [row["user"] for row in about["users"] if f'"{row["user"]}"' in told] == []


@pytest.mark.slow  # as above
def test_a_run_that_goes_on_is_kept_under_the_same_id(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    options = ("--set", "tracking=mlflow")
    with monkeypatch.context() as broken:
        broken.setattr("pipelines.records.journal.Journal.append", _full_after(3))
        assert steer(*small(checkpoint, prompts, out), *options).returncode == 2
    (run,) = kept(tmp_path)
    assert run.info.status == "FAILED"
    done = steer("--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    (again,) = kept(tmp_path)
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    steps = [m.step for m in client_of(tmp_path).get_metric_history(run.info.run_id, "round")]
    assert steps == sorted(set(steps))


def test_a_tracker_that_fails_is_a_line_and_changes_nothing(
    steer: Steer, checkpoint: Path, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with serve(lambda _asked, _number: Scripted(status=401, body={"error": "who are you?"}), files=True) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        done = steer(*small(checkpoint, prompts, tmp_path / "run", users="u01"), "--set", "tracking=mlflow")
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("tracking: ")]
    assert len(told) == 1 and told[0].startswith("tracking: mlflow failed and gets nothing more of this run: ")
    assert "tracking: mlflow" in (tmp_path / "run" / "run.log").read_text("utf-8")


class Surprising:
    """A tracker whose client has a fault of its own."""

    def begin(self, run: Beginning) -> None:
        raise AttributeError("'NoneType' object has no attribute 'id'")

    def log(self, values: Mapping[str, float], step: int) -> None: ...

    def end(self, summary: Mapping[str, float], files: Sequence[Path], *, succeeded: bool) -> None: ...


class Listening(Surprising):
    """A tracker that takes everything."""

    def __init__(self) -> None:
        self.ended: list[bool] = []

    def begin(self, run: Beginning) -> None: ...

    def end(self, summary: Mapping[str, float], files: Sequence[Path], *, succeeded: bool) -> None:
        self.ended.append(succeeded)


def test_a_fault_of_one_client_is_a_line_and_other_trackers_are_told_everything(tmp_path: Path) -> None:
    said: list[str] = []
    listening = Listening()
    run = TrackedRun({"surprising": Surprising(), "listening": listening}, "project", said.append)
    folder = RunFolder.create(tmp_path / "run", {"counts": {}})
    run.begin(folder, {})
    run.end(succeeded=True)
    assert said == [
        "tracking: surprising failed and gets nothing more of this run: "
        "AttributeError: 'NoneType' object has no attribute 'id'"
    ]
    assert listening.ended == [True]


def test_tracking_is_off_unless_asked_for_and_decides_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    off, on = load_settings("embedded"), load_settings("embedded", ["tracking=wandb", "tracking_project=mine"])
    assert (off.tracking, on.tracking) == ((), ("wandb",))
    assert reproducibility_key(off) == reproducibility_key(on)
    with pytest.raises(ValueError, match="setting tracking"):
        load_settings("embedded", ["tracking=tensorboard"])
    monkeypatch.setattr("pipelines.tracking.tracker.find_spec", lambda _: None)
    for name in TRACKERS:
        with pytest.raises(
            ValueError, match=rf"tracking: {name} is not installed; pip install 'pamela-steer\[{name}\]'"
        ):
            check_trackers([name])
        assert isinstance(make_tracker(name), {"wandb": WeightsAndBiases, "mlflow": MLflowRuns}[name])


def test_params_are_flat() -> None:
    nested = {"seed": 0, "scorers": ["pamela", "laion"], "renderer": {"kind": "darkroom", "photos": None}}
    assert params_of(nested) == {
        "seed": 0,
        "scorers": "['pamela', 'laion']",
        "renderer.kind": "darkroom",
        "renderer.photos": None,
    }


def _full_after(lines: int) -> Any:
    """A disk that has room for so many rounds."""
    from pipelines.records.journal import Journal

    whole, written = Journal.append, [0]

    def append(self: Journal, *arguments: Any) -> None:
        written[0] += 1
        if written[0] > lines:
            raise OSError(28, "No space left on device", "journal.jsonl")
        whole(self, *arguments)

    return append
